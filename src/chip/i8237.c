/*
 * Intel 8237A programmable DMA controller (data sheet 231466), with the registers that can be read
 * on an 82C37A.
 *
 * A device asks for cycles and gets as many as its channel allows, at once: bus timing, priorities
 * and the difference between demand, single and block mode, which is one of timing, are not
 * modelled. Nor are memory-to-memory transfers, which no PC wires up, and what a request of
 * software would move where no device listens. Runs under the machine lock.
 */
#include "chip/i8237.h"

#include "chip/i8237_regs.h"

#include <string.h>

#define WORD_REGISTERS 8 /* 0 to 7 */

/* One byte of a word register; the flip-flop says which. */
static void write_word(struct i8237_state *state, unsigned reg, uint8_t value)
{
	struct i8237_channel_state *channel = &state->channels[reg / 2];
	uint16_t *base = reg & 1 ? &channel->base_count : &channel->base_address;
	uint16_t *current = reg & 1 ? &channel->count : &channel->address;

	if (state->flip_flop) {
		*base = (uint16_t)((*base & 0xff) | value << 8);
		*current = (uint16_t)((*current & 0xff) | value << 8);
	} else {
		*base = (uint16_t)((*base & 0xff00) | value);
		*current = (uint16_t)((*current & 0xff00) | value);
	}
	state->flip_flop = !state->flip_flop;
}

static uint8_t read_word(struct i8237_state *state, unsigned reg)
{
	const struct i8237_channel_state *channel = &state->channels[reg / 2];
	uint16_t value = reg & 1 ? channel->count : channel->address;
	unsigned shift = state->flip_flop ? 8 : 0;

	state->flip_flop = !state->flip_flop;
	return (uint8_t)(value >> shift);
}

static void write_bit(uint8_t *bits, uint8_t value)
{
	uint8_t bit = (uint8_t)BIT(value & I8237_BIT_CHANNEL);

	*bits = value & I8237_BIT_SET ? *bits | bit : *bits & ~bit;
}

static void master_clear(struct i8237_state *state)
{
	state->command = 0;
	state->terminal = 0;
	state->requests = 0;
	state->flip_flop = false;
	state->mode_counter = 0;
	state->mask = I8237_ALL_CHANNELS;
}

uint8_t i8237_read(struct i8237 *chip, unsigned reg)
{
	struct i8237_state *state = &chip->state;
	uint8_t value;

	reg %= I8237_NR_REGISTERS;
	if (reg < WORD_REGISTERS)
		return read_word(state, reg);
	switch (reg) {
	case I8237_REG_STATUS:
		value = (uint8_t)(state->terminal | state->requests << 4);
		state->terminal = 0;
		return value;
	case I8237_REG_REQUEST: return state->requests | 0xf0;
	case I8237_REG_COMMAND_READ: return state->command;
	case I8237_REG_MODE:
		value = state->channels[state->mode_counter].mode | I8237_MODE_CHANNEL;
		state->mode_counter = (state->mode_counter + 1) % I8237_NR_CHANNELS;
		return value;
	case I8237_REG_FLIP_FLOP: state->flip_flop = true; return 0;
	case I8237_REG_MODE_COUNTER: state->mode_counter = 0; return 0;
	case I8237_REG_MASK: return state->mask | 0xf0;
	default: return 0; /* the temporary register: memory-to-memory transfers only */
	}
}

void i8237_write(struct i8237 *chip, unsigned reg, uint8_t value)
{
	struct i8237_state *state = &chip->state;

	reg %= I8237_NR_REGISTERS;
	if (reg < WORD_REGISTERS) {
		write_word(state, reg, value);
		return;
	}
	switch (reg) {
	case I8237_REG_COMMAND: state->command = value; break;
	case I8237_REG_REQUEST: write_bit(&state->requests, value); break;
	case I8237_REG_MASK_BIT: write_bit(&state->mask, value); break;
	case I8237_REG_MODE:
		state->channels[value & I8237_MODE_CHANNEL].mode =
			value & (uint8_t)~I8237_MODE_CHANNEL;
		break;
	case I8237_REG_FLIP_FLOP: state->flip_flop = false; break;
	case I8237_REG_MASTER_CLEAR: master_clear(state); break;
	case I8237_REG_CLEAR_MASK: state->mask = 0; break;
	case I8237_REG_MASK: state->mask = value & I8237_ALL_CHANNELS; break;
	}
}

/* The count went from 0 to 0xffff. */
static void end_of_process(struct i8237_state *state, unsigned number)
{
	struct i8237_channel_state *channel = &state->channels[number];
	uint8_t bit = (uint8_t)BIT(number);

	state->terminal |= bit;
	state->requests &= ~bit;
	if (channel->mode & I8237_MODE_AUTO) {
		channel->address = channel->base_address;
		channel->count = channel->base_count;
	} else {
		state->mask |= bit;
	}
}

struct i8237_run i8237_request(struct i8237 *chip, unsigned number, unsigned units)
{
	struct i8237_state *state = &chip->state;
	struct i8237_channel_state *channel = &state->channels[number % I8237_NR_CHANNELS];
	struct i8237_run run = {
		.address = channel->address,
		.decrement = channel->mode & I8237_MODE_DECREMENT,
		.transfer = (enum i8237_transfer)field_get(I8237_MODE_TRANSFER, channel->mode),
	};
	unsigned room = run.decrement ? channel->address + 1u : 0x10000u - channel->address;

	number %= I8237_NR_CHANNELS;
	if ((state->command & I8237_COMMAND_DISABLE) || (state->mask & BIT(number)) ||
		field_get(I8237_MODE_KIND, channel->mode) == I8237_KIND_CASCADE)
		return run;
	if (units > channel->count + 1u)
		units = channel->count + 1u;
	run.units = units < room ? units : room;
	run.terminal = run.units == channel->count + 1u;
	channel->count = (uint16_t)(channel->count - run.units);
	channel->address = (uint16_t)(run.decrement ? channel->address - run.units
						    : channel->address + run.units);
	if (run.terminal)
		end_of_process(state, number);
	return run;
}

static void i8237_reset(void *device)
{
	struct i8237 *chip = device;

	memset(&chip->state, 0, sizeof(chip->state));
	master_clear(&chip->state);
}

void i8237_init(struct i8237 *chip)
{
	i8237_reset(chip);
}

static const struct state_field channel_fields[] = {
	STATE(struct i8237_channel_state, base_address),
	STATE(struct i8237_channel_state, base_count),
	STATE(struct i8237_channel_state, address),
	STATE(struct i8237_channel_state, count),
	STATE_MAX(struct i8237_channel_state, mode, 0xfc),
	STATE_PAD(struct i8237_channel_state, reserved),
};
static const struct state_table channel_table =
	STATE_TABLE_OF(struct i8237_channel_state, "i8237_channel", channel_fields, NULL);

static const struct state_field i8237_fields[] = {
	STATE_STRUCTS(struct i8237_state, channels, &channel_table),
	STATE(struct i8237_state, command),
	STATE_MAX(struct i8237_state, terminal, I8237_ALL_CHANNELS),
	STATE_MAX(struct i8237_state, requests, I8237_ALL_CHANNELS),
	STATE_MAX(struct i8237_state, mask, I8237_ALL_CHANNELS),
	STATE(struct i8237_state, flip_flop),
	STATE_MAX(struct i8237_state, mode_counter, I8237_NR_CHANNELS - 1),
};
static const struct state_table i8237_table =
	STATE_TABLE_OF(struct i8237_state, "i8237", i8237_fields, NULL);

const struct device_type i8237_type = {
	.name = "i8237",
	.state = &i8237_table,
	.state_offset = offsetof(struct i8237, state),
	.reset = i8237_reset,
};
