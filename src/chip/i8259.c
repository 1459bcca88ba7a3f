/*
 * Intel 8259A programmable interrupt controller (data sheet 231468), with the edge/level control
 * register that EISA and the PIIX put beside it.
 *
 * A request that goes away before it is acknowledged gives the spurious vector, as on the chip.
 * Not modelled: the MCS-80 mode and buffered mode, which no PC uses. Runs under the machine lock.
 */
#include "chip/i8259.h"

#include "chip/i8259_regs.h"

#include <assert.h>
#include <string.h>

#define I8259_NONE     8 /* no input */
#define I8259_SPURIOUS 7

static uint8_t i8259_level_pins(const struct i8259 *chip)
{
	return chip->state.icw1 & ICW1_LEVEL ? 0xff : chip->state.elcr;
}

static uint8_t i8259_irr(const struct i8259 *chip)
{
	uint8_t level_pins = i8259_level_pins(chip);

	return (chip->state.lines & level_pins) | (chip->state.latches & ~level_pins);
}

/* The input of highest priority among the bits of `set`. */
static unsigned i8259_highest(const struct i8259 *chip, uint8_t set)
{
	for (unsigned i = 1; i <= I8259_NR_PINS; i++) {
		unsigned pin = (chip->state.lowest + i) % I8259_NR_PINS;

		if (set & BIT(pin))
			return pin;
	}
	return I8259_NONE;
}

/* How far an input is from the highest priority; I8259_NONE is farther than all. */
static unsigned i8259_rank(const struct i8259 *chip, unsigned pin)
{
	if (pin == I8259_NONE)
		return I8259_NR_PINS;
	return (pin - chip->state.lowest - 1) % I8259_NR_PINS;
}

/* The input whose request the processor should see now. */
static unsigned i8259_pending(const struct i8259 *chip)
{
	const struct i8259_state *state = &chip->state;
	unsigned request = i8259_highest(chip, i8259_irr(chip) & ~state->imr);
	uint8_t blocking = state->isr;

	if (request == I8259_NONE)
		return I8259_NONE;
	/* In special mask mode a masked input that is in service blocks nobody. */
	if (state->special_mask)
		blocking &= ~state->imr;
	/* In special fully nested mode a slave in service may interrupt itself. */
	if ((state->icw4 & ICW4_SFNM) && chip->slave)
		blocking &= ~BIT(chip->slave_pin);
	if (i8259_rank(chip, request) >= i8259_rank(chip, i8259_highest(chip, blocking)))
		return I8259_NONE;
	return request;
}

static void i8259_update(struct i8259 *chip)
{
	bool initialising = chip->state.expects != I8259_EXPECTS_OCW1;

	irq_line_set(&chip->output, !initialising && i8259_pending(chip) != I8259_NONE);
}

static void i8259_set_input(void *context, unsigned pin, bool level)
{
	struct i8259 *chip = context;
	uint8_t bit = (uint8_t)BIT(pin);

	if (level && !(chip->state.lines & bit))
		chip->state.latches |= bit;
	if (!level)
		chip->state.latches &= ~bit;
	chip->state.lines = (chip->state.lines & ~bit) | (level ? bit : 0);
	i8259_update(chip);
}

struct irq_line i8259_input(struct i8259 *chip, unsigned pin)
{
	assert(pin < I8259_NR_PINS);
	return (struct irq_line){ .set = i8259_set_input, .context = chip, .pin = pin };
}

struct irq_line i8259_attach_slave(struct i8259 *chip, unsigned pin, struct i8259 *slave)
{
	chip->slave = slave;
	chip->slave_pin = pin;
	return i8259_input(chip, pin);
}

/* Puts a request into service; I8259_NONE is the spurious interrupt, which is never in service. */
static void i8259_serve(struct i8259 *chip, unsigned pin)
{
	if (pin == I8259_NONE)
		return;
	chip->state.latches &= ~BIT(pin);
	if (!(chip->state.icw4 & ICW4_AEOI))
		chip->state.isr |= BIT(pin);
	else if (chip->state.rotate_on_aeoi)
		chip->state.lowest = (uint8_t)pin;
	i8259_update(chip);
}

uint8_t i8259_acknowledge(struct i8259 *chip)
{
	unsigned pin = i8259_pending(chip);

	i8259_serve(chip, pin);
	if (chip->slave && pin == chip->slave_pin)
		return i8259_acknowledge(chip->slave);
	return (chip->state.icw2 & ICW2_VECTOR) | (pin == I8259_NONE ? I8259_SPURIOUS : pin);
}

static void i8259_write_icw1(struct i8259 *chip, uint8_t value)
{
	struct i8259_state *state = &chip->state;

	state->icw1 = value;
	state->latches = 0;
	state->isr = 0;
	state->imr = 0;
	state->lowest = 7;
	state->special_mask = false;
	state->rotate_on_aeoi = false;
	state->read_isr = false;
	state->poll = false;
	if (!(value & ICW1_ICW4))
		state->icw4 = 0;
	state->expects = I8259_EXPECTS_ICW2;
}

static void i8259_end(struct i8259 *chip, unsigned pin, bool rotate)
{
	if (pin == I8259_NONE)
		return;
	chip->state.isr &= ~BIT(pin);
	if (rotate)
		chip->state.lowest = (uint8_t)pin;
}

static void i8259_write_ocw2(struct i8259 *chip, uint8_t value)
{
	struct i8259_state *state = &chip->state;
	unsigned level = (unsigned)field_get(OCW2_LEVEL, value);
	uint8_t served = state->special_mask ? state->isr & ~state->imr : state->isr;

	switch (field_get(OCW2_COMMAND, value)) {
	case OCW2_ROTATE_AEOI_CLEAR: state->rotate_on_aeoi = false; break;
	case OCW2_ROTATE_AEOI_SET: state->rotate_on_aeoi = true; break;
	case OCW2_EOI: i8259_end(chip, i8259_highest(chip, served), false); break;
	case OCW2_EOI_ROTATE: i8259_end(chip, i8259_highest(chip, served), true); break;
	case OCW2_EOI_SPECIFIC: i8259_end(chip, level, false); break;
	case OCW2_EOI_ROTATE_LEVEL: i8259_end(chip, level, true); break;
	case OCW2_SET_PRIORITY: state->lowest = (uint8_t)level; break;
	case OCW2_NOP: break;
	}
}

static void i8259_write_ocw3(struct i8259 *chip, uint8_t value)
{
	struct i8259_state *state = &chip->state;

	if (field_get(OCW3_SMM, value) == OCW3_SMM_SET)
		state->special_mask = true;
	else if (field_get(OCW3_SMM, value) == OCW3_SMM_CLEAR)
		state->special_mask = false;

	/* A poll overrides a choice of register. */
	state->poll = value & OCW3_POLL;
	if (field_get(OCW3_READ, value) == OCW3_READ_ISR)
		state->read_isr = true;
	else if (field_get(OCW3_READ, value) == OCW3_READ_IRR)
		state->read_isr = false;
}

static void i8259_write_data(struct i8259 *chip, uint8_t value)
{
	struct i8259_state *state = &chip->state;

	switch (state->expects) {
	case I8259_EXPECTS_OCW1: state->imr = value; return;
	case I8259_EXPECTS_ICW2:
		state->icw2 = value;
		if (!(state->icw1 & ICW1_SINGLE)) {
			state->expects = I8259_EXPECTS_ICW3;
			return;
		}
		break;
	case I8259_EXPECTS_ICW3: state->icw3 = value; break;
	case I8259_EXPECTS_ICW4:
		state->icw4 = value;
		state->expects = I8259_EXPECTS_OCW1;
		return;
	}
	state->expects = state->icw1 & ICW1_ICW4 ? I8259_EXPECTS_ICW4 : I8259_EXPECTS_OCW1;
}

void i8259_write(struct i8259 *chip, unsigned reg, uint8_t value)
{
	if (reg == I8259_REG_DATA)
		i8259_write_data(chip, value);
	else if (value & ICW1_INIT)
		i8259_write_icw1(chip, value);
	else if (value & OCW3_SELECT)
		i8259_write_ocw3(chip, value);
	else
		i8259_write_ocw2(chip, value);
	i8259_update(chip);
}

static uint8_t i8259_read_poll(struct i8259 *chip)
{
	unsigned pin = i8259_pending(chip);

	chip->state.poll = false;
	i8259_serve(chip, pin);
	return pin == I8259_NONE ? I8259_SPURIOUS : (uint8_t)(I8259_POLL_INTERRUPT | pin);
}

uint8_t i8259_read(struct i8259 *chip, unsigned reg)
{
	if (chip->state.poll)
		return i8259_read_poll(chip);
	if (reg == I8259_REG_DATA)
		return chip->state.imr;
	return chip->state.read_isr ? chip->state.isr : i8259_irr(chip);
}

uint8_t i8259_read_elcr(const struct i8259 *chip)
{
	return chip->state.elcr;
}

void i8259_write_elcr(struct i8259 *chip, uint8_t value)
{
	chip->state.elcr = value & chip->elcr_writable;
	i8259_update(chip);
}

static void i8259_reset(void *device)
{
	struct i8259 *chip = device;
	uint8_t lines = chip->state.lines; /* driven from outside */

	chip->state = (struct i8259_state){ .lines = lines, .lowest = 7 };
	/* Nothing interrupts before the initialization command words. */
	chip->state.imr = 0xff;
	i8259_update(chip);
}

static void i8259_restored(void *device)
{
	i8259_update(device);
}

void i8259_init(struct i8259 *chip, struct irq_line output, uint8_t elcr_writable)
{
	memset(chip, 0, sizeof(*chip));
	chip->output = output;
	chip->elcr_writable = elcr_writable;
	i8259_reset(chip);
}

static const struct state_field i8259_fields[] = {
	STATE(struct i8259_state, lines),
	STATE(struct i8259_state, latches),
	STATE(struct i8259_state, isr),
	STATE(struct i8259_state, imr),
	STATE(struct i8259_state, elcr),
	STATE_MAX(struct i8259_state, lowest, 7),
	STATE(struct i8259_state, icw1),
	STATE(struct i8259_state, icw2),
	STATE(struct i8259_state, icw3),
	STATE(struct i8259_state, icw4),
	STATE_MAX(struct i8259_state, expects, I8259_EXPECTS_ICW4),
	STATE(struct i8259_state, special_mask),
	STATE(struct i8259_state, rotate_on_aeoi),
	STATE(struct i8259_state, read_isr),
	STATE(struct i8259_state, poll),
	STATE_PAD(struct i8259_state, reserved),
};
static const struct state_table i8259_table =
	STATE_TABLE_OF(struct i8259_state, "i8259", i8259_fields, NULL);

const struct device_type i8259_type = {
	.name = "i8259",
	.state = &i8259_table,
	.state_offset = offsetof(struct i8259, state),
	.reset = i8259_reset,
	.restored = i8259_restored,
};
