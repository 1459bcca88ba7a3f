/*
 * The debug console of firmware: one port that takes characters and says that it is there.
 */
#ifndef CHIP_DEBUG_CONSOLE_H
#define CHIP_DEBUG_CONSOLE_H

#include "base/types.h"

#include <stddef.h>

#define DEBUG_CONSOLE_LINE 160

struct debug_console {
	char line[DEBUG_CONSOLE_LINE]; /* what has come of it */
	unsigned length;
	/* Takes each line, without its end; NULL: traces only. */
	void (*write)(void *context, const char *line);
	void *context;
};

uint8_t debug_console_read(const struct debug_console *chip);
void debug_console_write(struct debug_console *chip, uint8_t value);

#endif
