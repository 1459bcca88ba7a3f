/*
 * The reset control register of Intel's south bridges, at port 0xcf9.
 */
#ifndef CHIP_RESET_CONTROL_H
#define CHIP_RESET_CONTROL_H

#include "machine/device.h"
#include "machine/irq_line.h"

/* The value that resets the whole machine, for the FADT. */
#define RESET_CONTROL_HARD_RESET 0x06

struct reset_control_state {
	uint8_t control;
};

struct reset_control {
	struct reset_control_state state;
	struct irq_line reset; /* pulsed */
};

extern const struct device_type reset_control_type;

void reset_control_init(struct reset_control *chip, struct irq_line reset);

uint8_t reset_control_read(const struct reset_control *chip);
void reset_control_write(struct reset_control *chip, uint8_t value);

#endif
