/*
 * PS/2 keyboard controller with nothing plugged in: A20, reset, and quick answers to a probe.
 */
#ifndef CHIP_I8042_H
#define CHIP_I8042_H

#include "machine/device.h"
#include "machine/irq_line.h"

struct i8042_state {
	uint8_t ram[32];
	uint8_t status;      /* without the bits that follow from others */
	uint8_t output;      /* the output buffer */
	uint8_t output_port; /* what was written */
	uint8_t pending;     /* the command that the next data byte belongs to, or 0 */
};

struct i8042_lines {
	struct irq_line keyboard_irq;
	struct irq_line aux_irq;
	struct irq_line a20;   /* high lets address line 20 through */
	struct irq_line reset; /* pulsed */
};

struct i8042 {
	struct i8042_state state;
	struct i8042_lines lines;
};

extern const struct device_type i8042_type;

void i8042_init(struct i8042 *chip, const struct i8042_lines *lines);

uint8_t i8042_read(struct i8042 *chip, unsigned reg);
void i8042_write(struct i8042 *chip, unsigned reg, uint8_t value);

#endif
