/*
 * PS/2 keyboard and auxiliary device controller (IBM PS/2 Hardware Interface Technical Reference).
 *
 * What is sent to a port with nothing plugged in times out at once, as the controller reports it
 * (status bit 6, answer 0xfe). A device's bytes wait in the device until the output buffer is
 * empty, and the controller's own answers come before them. The input buffer is never seen full.
 * Not modelled: the security and password commands. Runs under the machine lock.
 */
#include "chip/i8042.h"

#include "chip/i8042_regs.h"
#include "chip/ps2_keys_table.h"

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
static void i8042_fill(struct i8042 *chip, uint8_t value, uint8_t flags)
{
	struct i8042_state *state = &chip->state;

	state->output = value;
	state->status &= ~(I8042_STATUS_AUX | I8042_STATUS_TIMEOUT);
	state->status |= I8042_STATUS_OUTPUT_FULL | flags;
}

/* The controller's own answer: it waits for what is in the output buffer, not for another. */
static void i8042_answer(struct i8042 *chip, uint8_t value, uint8_t flags)
{
	struct i8042_state *state = &chip->state;

	if (!(state->status & I8042_STATUS_OUTPUT_FULL)) {
		i8042_fill(chip, value, flags);
		return;
	}
	state->has_answer = true;
	state->answer = value;
	state->answer_flags = flags;
}

/* The keyboard's next byte, translated to set 1 if the command byte says so; false: none. */
static bool i8042_next_from_keyboard(struct i8042 *chip, uint8_t *byte)
{
	struct i8042_state *state = &chip->state;

	while (ps2_keyboard_read(chip->keyboard, byte)) {
		if (!(state->ram[0] & I8042_BYTE_TRANSLATE))
			return true;
		if (*byte == 0xf0) {
			state->translated_break = true;
			continue;
		}
		*byte = ps2_translate(*byte) | (state->translated_break ? 0x80 : 0);
		state->translated_break = false;
		return true;
	}
	return false;
}

/* Puts what comes next into the output buffer, if that is empty. */
static void i8042_deliver(struct i8042 *chip)
{
	struct i8042_state *state = &chip->state;
	uint8_t byte;

	if (state->status & I8042_STATUS_OUTPUT_FULL)
		return;
	if (state->has_answer) {
		state->has_answer = false;
		i8042_fill(chip, state->answer, state->answer_flags);
	} else if (chip->keyboard && !(state->ram[0] & I8042_BYTE_KEYBOARD_OFF) &&
		   i8042_next_from_keyboard(chip, &byte)) {
		i8042_fill(chip, byte, 0);
	} else if (chip->mouse && !(state->ram[0] & I8042_BYTE_AUX_OFF) &&
		   ps2_mouse_read(chip->mouse, &byte)) {
		i8042_fill(chip, byte, I8042_STATUS_AUX);
	}
}

static void i8042_device_has_bytes(void *context)
{
	i8042_deliver(context);
	i8042_update(context);
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

/* Sending to a device opens its port. */
static void i8042_send_to_keyboard(struct i8042 *chip, uint8_t value)
{
	if (!chip->keyboard) {
		i8042_answer(chip, I8042_RESEND, I8042_STATUS_TIMEOUT);
		return;
	}
	chip->state.ram[0] &= ~I8042_BYTE_KEYBOARD_OFF;
	ps2_keyboard_write(chip->keyboard, value);
}

static void i8042_send_to_mouse(struct i8042 *chip, uint8_t value)
{
	if (!chip->mouse) {
		i8042_answer(chip, I8042_RESEND, I8042_STATUS_AUX | I8042_STATUS_TIMEOUT);
		return;
	}
	chip->state.ram[0] &= ~I8042_BYTE_AUX_OFF;
	ps2_mouse_write(chip->mouse, value);
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
	case 0: i8042_send_to_keyboard(chip, value); break;
	case I8042_WRITE_AUX: i8042_send_to_mouse(chip, value); break;
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
	i8042_deliver(chip);
	i8042_update(chip);
}

static uint8_t i8042_read_data(struct i8042 *chip)
{
	uint8_t value = chip->state.output;

	chip->state.status &= ~(I8042_STATUS_OUTPUT_FULL | I8042_STATUS_AUX | I8042_STATUS_TIMEOUT);
	i8042_update(chip);
	/* The line has fallen, and rises again for the next byte. */
	i8042_deliver(chip);
	i8042_update(chip);
	return value;
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
	if (chip->keyboard)
		chip->state.ram[0] |= I8042_BYTE_TRANSLATE;
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

void i8042_plug(struct i8042 *chip, struct ps2_keyboard *keyboard, struct ps2_mouse *mouse)
{
	chip->keyboard = keyboard;
	chip->mouse = mouse;
	keyboard->has_bytes = mouse->has_bytes = i8042_device_has_bytes;
	keyboard->context = mouse->context = chip;
	i8042_reset(chip);
}

static const struct state_field i8042_fields[] = {
	STATE_ARRAY(struct i8042_state, ram),
	STATE(struct i8042_state, status),
	STATE(struct i8042_state, output),
	STATE(struct i8042_state, output_port),
	STATE(struct i8042_state, pending),
	STATE(struct i8042_state, has_answer),
	STATE(struct i8042_state, answer),
	STATE(struct i8042_state, answer_flags),
	STATE(struct i8042_state, translated_break),
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
