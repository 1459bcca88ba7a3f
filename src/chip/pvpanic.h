/*
 * pvpanic: one port to which a guest says that it has crashed (QEMU's docs/specs/pvpanic).
 */
#ifndef CHIP_PVPANIC_H
#define CHIP_PVPANIC_H

#include "base/bits.h"

#define PVPANIC_PANICKED     BIT(0)
#define PVPANIC_CRASH_LOADED BIT(1) /* a kernel that saves the memory of the crashed one runs */

struct pvpanic {
	/* Takes the events of one write. Under the machine lock; may be NULL. */
	void (*told)(void *context, uint8_t events);
	void *context;
};

uint8_t pvpanic_read(const struct pvpanic *chip);
void pvpanic_write(struct pvpanic *chip, uint8_t value);

#endif
