/*
 * PS/2 keyboard controller: A20, reset, and a keyboard and a mouse if they are plugged in.
 */
#ifndef CHIP_I8042_H
#define CHIP_I8042_H

#include "chip/ps2_keyboard.h"
#include "chip/ps2_mouse.h"
#include "machine/device.h"
#include "machine/irq_line.h"

struct i8042_state {
	uint8_t ram[32];
	uint8_t status;      /* without the bits that follow from others */
	uint8_t output;      /* the output buffer */
	uint8_t output_port; /* what was written */
	uint8_t pending;     /* the command that the next data byte belongs to, or 0 */
	/* An answer that came while the output buffer was full, and its status bits. */
	bool has_answer;
	uint8_t answer, answer_flags;
	bool translated_break; /* a break prefix was taken out of what the keyboard sends */
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
	/* What is plugged in; NULL: nothing. */
	struct ps2_keyboard *keyboard;
	struct ps2_mouse *mouse;
};

extern const struct device_type i8042_type;

void i8042_init(struct i8042 *chip, const struct i8042_lines *lines);

/* Plugs them in, for good. They are devices of the machine of their own. */
void i8042_plug(struct i8042 *chip, struct ps2_keyboard *keyboard, struct ps2_mouse *mouse);

uint8_t i8042_read(struct i8042 *chip, unsigned reg);
void i8042_write(struct i8042 *chip, unsigned reg, uint8_t value);

#endif
