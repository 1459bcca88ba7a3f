/*
 * The debug console that Bochs has at port 0xe9 and QEMU at 0x402, with no state that a guest sees.
 * Lines go to the trace (category firmware) and to whoever asked for them. Runs under the machine
 * lock.
 */
#include "chip/debug_console.h"

#include "base/trace.h"

#define PRESENT 0xe9 /* what firmware looks for */

uint8_t debug_console_read(const struct debug_console *chip)
{
	(void)chip;
	return PRESENT;
}

void debug_console_write(struct debug_console *chip, uint8_t value)
{
	if (value != '\n' && value >= ' ' && value < 0x7f)
		chip->line[chip->length++] = (char)value;
	if (value != '\n' && chip->length < DEBUG_CONSOLE_LINE - 1)
		return;
	chip->line[chip->length] = '\0';
	chip->length = 0;
	trace(firmware_line, trace_text(chip->line));
	if (chip->write)
		chip->write(chip->context, chip->line);
}
