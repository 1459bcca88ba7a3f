/*
 * PS/2 keyboard and auxiliary device controller (IBM PS/2 Hardware Interface Technical Reference).
 *
 * Nothing is plugged into either port: what is sent to a device times out at once, as the
 * controller reports it (status bit 6, answer 0xfe). The input buffer is never seen full. Not
 * modelled: the security and password commands. Runs under the machine lock.
 */
#include "chip/i8042.h"

#include "chip/i8042_regs.h"

#include <string.h>

static void i8042_update(struct i8042 *chip)
{
	const struct i8042_state *state = &chip->state;
	bool full = state->status & I8042_STATUS_OUTPUT_FULL;
	bool aux = state->status & I8042_STATUS_AUX;

	irq_line_set(&chip->lines.keyboard_irq,
		full && !aux && (state->ram[0] & I8042_BYTE_KEYBOARD_IRQ));
	irq_line_set(&chip->lines.aux_irq, full && aux && (state->ram[0] & I8042_BYTE_AUX_IRQ));
	irq_line_set(&chip->lines.a20, state->output_port & I8042_OUTPUT_A20);
}

/* Fills the output buffer; `flags` are status bits. */
static void i8042_answer(struct i8042 *chip, uint8_t value, uint8_t flags)
{
	struct i8042_state *state = &chip->state;

	state->output = value;
	state->status &= ~(I8042_STATUS_AUX | I8042_STATUS_TIMEOUT);
	state->status |= I8042_STATUS_OUTPUT_FULL | flags;
}

static void i8042_set_output_port(struct i8042 *chip, uint8_t value)
{
	chip->state.output_port = value;
	if (!(value & I8042_OUTPUT_RESET))
		irq_line_pulse(&chip->lines.reset);
}

static uint8_t i8042_output_port(const struct i8042 *chip)
{
	const struct i8042_state *state = &chip->state;
	uint8_t value = state->output_port & ~(I8042_OUTPUT_FULL | I8042_OUTPUT_AUX_FULL);

	if (!(state->status & I8042_STATUS_OUTPUT_FULL))
		return value;
	return value |
	       (state->status & I8042_STATUS_AUX ? I8042_OUTPUT_AUX_FULL : I8042_OUTPUT_FULL);
}

static void i8042_pulse(struct i8042 *chip, uint8_t command)
{
	/* Of the four outputs that can be pulsed only the reset line is wired. */
	if (!(command & I8042_OUTPUT_RESET))
		irq_line_pulse(&chip->lines.reset);
}

static void i8042_command(struct i8042 *chip, uint8_t command)
{
	struct i8042_state *state = &chip->state;
	unsigned at = command % I8042_NR_RAM;

	state->pending = 0;
	state->status |= I8042_STATUS_COMMAND;
	if (command - at == I8042_READ_RAM) {
		i8042_answer(chip, state->ram[at], 0);
		return;
	}
	if (command >= I8042_PULSE) {
		i8042_pulse(chip, command);
		return;
	}
	switch (command) {
	case I8042_AUX_OFF: state->ram[0] |= I8042_BYTE_AUX_OFF; break;
	case I8042_AUX_ON: state->ram[0] &= ~I8042_BYTE_AUX_OFF; break;
	case I8042_KEYBOARD_OFF: state->ram[0] |= I8042_BYTE_KEYBOARD_OFF; break;
	case I8042_KEYBOARD_ON: state->ram[0] &= ~I8042_BYTE_KEYBOARD_OFF; break;
	case I8042_SELF_TEST:
		state->ram[0] |= I8042_BYTE_SYSTEM;
		i8042_answer(chip, I8042_SELF_TEST_PASSED, 0);
		break;
	case I8042_AUX_TEST:
	case I8042_KEYBOARD_TEST: i8042_answer(chip, I8042_PORT_TEST_PASSED, 0); break;
	case I8042_READ_INPUT: i8042_answer(chip, 0x80, 0); break; /* keyboard not locked */
	case I8042_READ_OUTPUT: i8042_answer(chip, i8042_output_port(chip), 0); break;
	case I8042_A20_OFF: state->output_port &= ~I8042_OUTPUT_A20; break;
	case I8042_A20_ON: state->output_port |= I8042_OUTPUT_A20; break;
	default: state->pending = command; break; /* the data byte decides */
	}
}

static void i8042_data(struct i8042 *chip, uint8_t value)
{
	struct i8042_state *state = &chip->state;
	uint8_t command = state->pending;
	unsigned at = command % I8042_NR_RAM;

	state->pending = 0;
	state->status &= ~I8042_STATUS_COMMAND;
	if (command - at == I8042_WRITE_RAM) {
		state->ram[at] = value;
		return;
	}
	switch (command) {
	case 0: /* for the keyboard */
		i8042_answer(chip, I8042_RESEND, I8042_STATUS_TIMEOUT);
		break;
	case I8042_WRITE_AUX:
		i8042_answer(chip, I8042_RESEND, I8042_STATUS_AUX | I8042_STATUS_TIMEOUT);
		break;
	case I8042_WRITE_OUTPUT: i8042_set_output_port(chip, value); break;
	case I8042_WRITE_KEYBOARD_BUFFER: i8042_answer(chip, value, 0); break;
	case I8042_WRITE_AUX_BUFFER: i8042_answer(chip, value, I8042_STATUS_AUX); break;
	}
}

void i8042_write(struct i8042 *chip, unsigned reg, uint8_t value)
{
	if (reg == I8042_REG_COMMAND)
		i8042_command(chip, value);
	else
		i8042_data(chip, value);
	i8042_update(chip);
}

static uint8_t i8042_read_data(struct i8042 *chip)
{
	chip->state.status &= ~(I8042_STATUS_OUTPUT_FULL | I8042_STATUS_AUX | I8042_STATUS_TIMEOUT);
	i8042_update(chip);
	return chip->state.output;
}

uint8_t i8042_read(struct i8042 *chip, unsigned reg)
{
	if (reg == I8042_REG_DATA)
		return i8042_read_data(chip);
	return chip->state.status | I8042_STATUS_UNLOCKED |
	       (chip->state.ram[0] & I8042_BYTE_SYSTEM ? I8042_STATUS_SYSTEM : 0);
}

/* As firmware would leave it: self-test passed, both ports off, A20 through. */
static void i8042_reset(void *device)
{
	struct i8042 *chip = device;

	memset(&chip->state, 0, sizeof(chip->state));
	chip->state.ram[0] = I8042_BYTE_SYSTEM | I8042_BYTE_KEYBOARD_OFF | I8042_BYTE_AUX_OFF;
	chip->state.output_port = I8042_OUTPUT_RESET | I8042_OUTPUT_A20;
	i8042_update(chip);
}

static void i8042_restored(void *device)
{
	i8042_update(device);
}

void i8042_init(struct i8042 *chip, const struct i8042_lines *lines)
{
	memset(chip, 0, sizeof(*chip));
	chip->lines = *lines;
	i8042_reset(chip);
}

static const struct state_field i8042_fields[] = {
	STATE_ARRAY(struct i8042_state, ram),
	STATE(struct i8042_state, status),
	STATE(struct i8042_state, output),
	STATE(struct i8042_state, output_port),
	STATE(struct i8042_state, pending),
};
static const struct state_table i8042_table =
	STATE_TABLE_OF(struct i8042_state, "i8042", i8042_fields, NULL);

const struct device_type i8042_type = {
	.name = "i8042",
	.state = &i8042_table,
	.state_offset = offsetof(struct i8042, state),
	.reset = i8042_reset,
	.restored = i8042_restored,
};
