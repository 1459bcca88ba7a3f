/*
 * See pvpanic.h. It has no state that a guest sees. Runs under the machine lock.
 */
#include "chip/pvpanic.h"

#define SUPPORTED (PVPANIC_PANICKED | PVPANIC_CRASH_LOADED)

uint8_t pvpanic_read(const struct pvpanic *chip)
{
	(void)chip;
	return SUPPORTED;
}

void pvpanic_write(struct pvpanic *chip, uint8_t value)
{
	if ((value & SUPPORTED) && chip->told)
		chip->told(chip->context, value & SUPPORTED);
}
