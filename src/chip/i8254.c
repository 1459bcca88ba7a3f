/*
 * Intel 8254 programmable interval timer (data sheet 231164).
 *
 * Nothing counts here: a counter's value, output and next edge are computed from the CLK pulse that
 * loaded it. Timers exist only to drive connected outputs. Where an output is low for a single CLK
 * (modes 2, 4 and 5) the line gets both edges at the end of it.
 *
 * Not modelled: edges of modes 2 and 3 closer than I8254_MIN_EDGE_NS, and periods that the host was
 * too late for, are merged into one; the value read between a write and the CLK pulse that loads it
 * is the new one. Runs under the machine lock.
 */
#include "chip/i8254.h"

#include "chip/i8254_regs.h"

#include <assert.h>
#include <string.h>

#define I8254_NEVER       UINT64_MAX
#define I8254_MIN_EDGE_NS (50 * NS_PER_US)
#define I8254_TICK_MAX    (STATE_TIME_MAX / 1000)
#define I8254_COUNT_MAX   65536

static unsigned counter_mode(const struct i8254_counter_state *counter)
{
	unsigned mode = (unsigned)field_get(I8254_CONTROL_MODE, counter->control);

	return mode > 5 ? mode & 3 : mode; /* the high bit of modes 2 and 3 is "don't care" */
}

static unsigned counter_access(const struct i8254_counter_state *counter)
{
	return (unsigned)field_get(I8254_CONTROL_ACCESS, counter->control);
}

static bool counter_is_periodic(const struct i8254_counter_state *counter)
{
	return counter_mode(counter) == 2 || counter_mode(counter) == 3;
}

/* Modes in which a rising gate loads the counter, rather than a write of the count. */
static bool counter_is_triggered(const struct i8254_counter_state *counter)
{
	return counter_mode(counter) == 1 || counter_mode(counter) == 5;
}

/* The count that a value of the count register stands for; 0 is the greatest. */
static uint32_t counter_decode(const struct i8254_counter_state *counter, uint16_t value)
{
	uint32_t count = value;

	if (counter->control & I8254_CONTROL_BCD)
		count = (value >> 12) * 1000 + (value >> 8 & 0xf) * 100 + (value >> 4 & 0xf) * 10 +
			(value & 0xf);
	if (count == 0)
		count = counter->control & I8254_CONTROL_BCD ? 10000 : I8254_COUNT_MAX;
	return count;
}

static uint16_t counter_encode(const struct i8254_counter_state *counter, uint32_t count)
{
	if (!(counter->control & I8254_CONTROL_BCD))
		return (uint16_t)count;
	return (uint16_t)(count / 1000 % 10 << 12 | count / 100 % 10 << 8 | count / 10 % 10 << 4 |
			  count % 10);
}

static uint64_t counter_elapsed(const struct i8254_counter_state *counter, uint64_t now)
{
	return now > counter->load_tick ? now - counter->load_tick : 0;
}

/* CLK pulses in the current half of mode 3's square wave: an odd count is high for one more. */
static uint32_t counter_half(const struct i8254_counter_state *counter)
{
	return (counter->loaded + !counter->low_half) / 2;
}

/*
 * Moves load_tick of a periodic counter to the start of the current period (of the current half in
 * mode 3), where a new count takes effect.
 */
static void counter_advance(struct i8254_counter_state *counter, uint64_t now)
{
	bool square = counter_mode(counter) == 3;
	uint64_t elapsed = counter_elapsed(counter, now);
	uint32_t span = square ? counter_half(counter) : counter->loaded;

	if (!counter->counting || !counter_is_periodic(counter) || elapsed < span)
		return;
	if (counter->next) {
		counter->load_tick += span;
		counter->low_half = square && !counter->low_half;
		counter->loaded = counter->next;
		counter->next = 0;
		elapsed -= span;
	}
	counter->load_tick += elapsed / counter->loaded * counter->loaded;
	if (square && elapsed % counter->loaded >= counter_half(counter)) {
		counter->load_tick += counter_half(counter);
		counter->low_half = !counter->low_half;
	}
}

static struct i8254_counter_state counter_at(
	const struct i8254_counter_state *counter, uint64_t now)
{
	struct i8254_counter_state current = *counter;

	counter_advance(&current, now);
	return current;
}

/* The counting element; `counter` is advanced to `now`. */
static uint32_t counter_value(const struct i8254_counter_state *counter, uint64_t now)
{
	uint32_t modulus = counter->control & I8254_CONTROL_BCD ? 10000 : I8254_COUNT_MAX;
	uint64_t elapsed = counter_elapsed(counter, now);

	if (!counter->counting)
		return counter->loaded;
	if (counter_mode(counter) == 3) {
		uint32_t even = counter->loaded & ~1u;

		return elapsed < even / 2 ? even - 2 * (uint32_t)elapsed : 0;
	}
	if (elapsed <= counter->loaded)
		return counter->loaded - (uint32_t)elapsed;
	return (modulus - (uint32_t)((elapsed - counter->loaded) % modulus)) % modulus;
}

/* OUT; `counter` is advanced to `now`. */
static bool counter_output(const struct i8254_counter_state *counter, uint64_t now)
{
	uint64_t elapsed = counter_elapsed(counter, now);

	if (!counter->counting || now < counter->load_tick)
		return counter_mode(counter) == 0 || counter_mode(counter) == 1
			       ? counter->expired ||
					 (counter_mode(counter) == 1 && !counter->counting)
			       : true;
	switch (counter_mode(counter)) {
	case 0: return counter->expired || elapsed >= counter->loaded;
	case 1: return elapsed >= counter->loaded;
	case 2: return elapsed != counter->loaded - 1;
	case 3: return !counter->low_half;
	default: return counter->expired || elapsed != counter->loaded;
	}
}

/* The next CLK pulse at which the line has an edge; `counter` is advanced to `now`. */
static uint64_t counter_next_edge(const struct i8254_counter_state *counter, uint64_t now)
{
	uint64_t end = counter->load_tick + counter->loaded;

	if (!counter->counting)
		return I8254_NEVER;
	switch (counter_mode(counter)) {
	case 0: return counter->expired || now >= end ? I8254_NEVER : end;
	case 1:
		if (now < counter->load_tick && counter_output(counter, now))
			return counter->load_tick;
		return now >= end ? I8254_NEVER : end;
	case 2: return counter->loaded > 1 ? end : I8254_NEVER;
	case 3:
		return counter->loaded > 1 ? counter->load_tick + counter_half(counter)
					   : I8254_NEVER;
	default: return counter->expired || now > end ? I8254_NEVER : end + 1;
	}
}

/* The CLK pulse that has just passed. */
static uint64_t i8254_now(const struct i8254 *chip)
{
	return ns_to_ticks(clock_now(chip->clock), I8254_HZ);
}

static void i8254_arm(struct i8254 *chip, unsigned index, uint64_t now, ns_t not_before_ns)
{
	struct i8254_counter_state counter = counter_at(&chip->state.counters[index], now);
	struct timer *timer = &chip->counters[index].timer;
	uint64_t edge = counter_next_edge(&counter, now);
	ns_t deadline_ns;

	if (edge == I8254_NEVER || !chip->counters[index].output.set) {
		timer_cancel(timer);
		return;
	}
	deadline_ns = ticks_to_ns(edge, I8254_HZ);
	timer_arm(timer, deadline_ns > not_before_ns ? deadline_ns : not_before_ns);
}

static void i8254_drive(struct i8254 *chip, unsigned index, bool level)
{
	chip->counters[index].driven = level;
	irq_line_set(&chip->counters[index].output, level);
}

/* After anything but the passing of time: brings the line and the timer up to date. */
static void i8254_update(struct i8254 *chip, unsigned index)
{
	uint64_t now = i8254_now(chip);
	struct i8254_counter_state counter = counter_at(&chip->state.counters[index], now);

	i8254_drive(chip, index, counter_output(&counter, now));
	i8254_arm(chip, index, now, 0);
}

static void i8254_edge(void *context)
{
	struct i8254_counter *pins = context;
	struct i8254 *chip = pins->chip;
	unsigned index = (unsigned)(pins - chip->counters);
	struct i8254_counter_state *counter = &chip->state.counters[index];
	uint64_t now = i8254_now(chip);
	bool level;

	counter_advance(counter, now);
	level = counter_output(counter, now);
	/* Back where it was: two edges have passed. */
	if (level == pins->driven)
		i8254_drive(chip, index, !level);
	i8254_drive(chip, index, level);
	i8254_arm(chip, index, now,
		counter_is_periodic(counter) ? clock_now(chip->clock) + I8254_MIN_EDGE_NS : 0);
}

/* Loads the counting element at the next CLK pulse. */
static void counter_load(struct i8254_counter_state *counter, uint64_t now)
{
	counter->expired = counter_mode(counter) == 1 && counter_output(counter, now);
	counter->loaded = counter_decode(counter, counter->count_register);
	counter->load_tick = now + 1;
	counter->next = 0;
	counter->null_count = false;
	counter->low_half = false;
	counter->counting = counter->gate || counter_is_triggered(counter);
}

/* Stops a counter that its gate, or half a count in mode 0, holds. */
static void counter_stop(struct i8254_counter_state *counter, uint64_t now)
{
	if (!counter->counting)
		return;
	if (!counter_is_periodic(counter) && counter_elapsed(counter, now) >= counter->loaded)
		counter->expired = true;
	counter->loaded = counter_value(counter, now);
	counter->counting = false;
	counter->low_half = false;
}

static void counter_write_count(struct i8254_counter_state *counter, uint64_t now)
{
	bool first = !counter->programmed;

	counter->programmed = true;
	if (counter_is_triggered(counter))
		counter->null_count = true;
	else if (counter_is_periodic(counter) && !first && counter->counting)
		counter->next = counter_decode(counter, counter->count_register);
	else
		counter_load(counter, now);
}

static void i8254_write_counter(struct i8254 *chip, unsigned index, uint8_t value)
{
	struct i8254_counter_state *counter = &chip->state.counters[index];
	uint64_t now = i8254_now(chip);

	counter_advance(counter, now);
	switch (counter_access(counter)) {
	case I8254_ACCESS_LSB: counter->count_register = value; break;
	case I8254_ACCESS_MSB: counter->count_register = (uint16_t)(value << 8); break;
	default:
		counter->write_high = !counter->write_high;
		if (counter->write_high) {
			counter->low_byte = value;
			if (counter_mode(counter) == 0) {
				counter_stop(counter, now);
				counter->expired = false;
			}
			i8254_update(chip, index);
			return;
		}
		counter->count_register = (uint16_t)(value << 8 | counter->low_byte);
		break;
	}
	counter_write_count(counter, now);
	i8254_update(chip, index);
}

static uint8_t counter_status(const struct i8254_counter_state *counter, uint64_t now)
{
	bool null_count = counter->null_count || counter->next ||
			  (counter->counting && now < counter->load_tick);

	return (uint8_t)((counter_output(counter, now) ? I8254_STATUS_OUTPUT : 0) |
			 (null_count ? I8254_STATUS_NULL_COUNT : 0) | counter->control);
}

/* A second latch command before the first was read is ignored. */
static void counter_latch(
	struct i8254_counter_state *counter, uint64_t now, bool count, bool status)
{
	struct i8254_counter_state current = counter_at(counter, now);

	if (count && !counter->count_latched) {
		counter->count_latch = counter_encode(&current, counter_value(&current, now));
		counter->count_latched = true;
	}
	if (status && !counter->status_latched) {
		counter->status_latch = counter_status(&current, now);
		counter->status_latched = true;
	}
}

static void i8254_read_back(struct i8254 *chip, uint8_t command, uint64_t now)
{
	for (unsigned i = 0; i < I8254_NR_COUNTERS; i++) {
		if (field_get(I8254_READ_BACK_COUNTERS, command) & BIT(i))
			counter_latch(&chip->state.counters[i], now,
				!(command & I8254_READ_BACK_NO_COUNT),
				!(command & I8254_READ_BACK_NO_STATUS));
	}
}

static void i8254_write_control(struct i8254 *chip, uint8_t value)
{
	unsigned index = (unsigned)field_get(I8254_CONTROL_SELECT, value);
	struct i8254_counter_state *counter = &chip->state.counters[index % I8254_NR_COUNTERS];
	uint64_t now = i8254_now(chip);

	if (index == I8254_SELECT_READ_BACK) {
		i8254_read_back(chip, value, now);
		return;
	}
	if (field_get(I8254_CONTROL_ACCESS, value) == I8254_ACCESS_LATCH) {
		counter_latch(counter, now, true, false);
		return;
	}
	counter_advance(counter, now);
	counter_stop(counter, now);
	counter->control = value & I8254_CONTROL_KEPT;
	counter->programmed = false;
	counter->expired = false;
	counter->null_count = true;
	counter->next = 0;
	counter->write_high = counter->read_high = false;
	counter->count_latched = counter->status_latched = false;
	i8254_update(chip, index);
}

static uint8_t i8254_read_counter(struct i8254 *chip, unsigned index)
{
	struct i8254_counter_state *counter = &chip->state.counters[index];
	uint64_t now = i8254_now(chip);
	struct i8254_counter_state current = counter_at(counter, now);
	bool word = counter_access(counter) == I8254_ACCESS_WORD;
	bool high = word ? counter->read_high : counter_access(counter) == I8254_ACCESS_MSB;
	uint16_t value;

	if (counter->status_latched) {
		counter->status_latched = false;
		return counter->status_latch;
	}
	value = counter->count_latched ? counter->count_latch
				       : counter_encode(&current, counter_value(&current, now));
	counter->read_high = word && !high;
	if (!counter->read_high)
		counter->count_latched = false;
	return (uint8_t)(high ? value >> 8 : value);
}

uint8_t i8254_read(struct i8254 *chip, unsigned reg)
{
	assert(reg <= I8254_REG_CONTROL);
	/* The control word cannot be read: the bus floats. */
	return reg == I8254_REG_CONTROL ? 0xff : i8254_read_counter(chip, reg);
}

void i8254_write(struct i8254 *chip, unsigned reg, uint8_t value)
{
	assert(reg <= I8254_REG_CONTROL);
	if (reg == I8254_REG_CONTROL)
		i8254_write_control(chip, value);
	else
		i8254_write_counter(chip, reg, value);
}

void i8254_set_gate(struct i8254 *chip, unsigned index, bool level)
{
	struct i8254_counter_state *counter = &chip->state.counters[index];
	uint64_t now = i8254_now(chip);

	if (counter->gate == level)
		return;
	counter_advance(counter, now);
	counter->gate = level;
	if (!level && !counter_is_triggered(counter)) {
		counter_stop(counter, now);
	} else if (level && counter->programmed) {
		if (counter_is_triggered(counter) || counter_is_periodic(counter)) {
			counter_load(counter, now);
		} else {
			counter->load_tick = now;
			counter->counting = true;
		}
	}
	i8254_update(chip, index);
}

bool i8254_output(const struct i8254 *chip, unsigned index)
{
	uint64_t now = i8254_now(chip);
	struct i8254_counter_state counter = counter_at(&chip->state.counters[index], now);

	return counter_output(&counter, now);
}

static void i8254_reset(void *device)
{
	struct i8254 *chip = device;

	memset(&chip->state, 0, sizeof(chip->state));
	for (unsigned i = 0; i < I8254_NR_COUNTERS; i++) {
		chip->state.counters[i].control = I8254_ACCESS_WORD << 4;
		chip->state.counters[i].gate = true;
		chip->state.counters[i].null_count = true;
		i8254_update(chip, i);
	}
}

static void i8254_restored(void *device)
{
	for (unsigned i = 0; i < I8254_NR_COUNTERS; i++)
		i8254_update(device, i);
}

void i8254_init(
	struct i8254 *chip, struct clock *clock, const struct irq_line outputs[I8254_NR_COUNTERS])
{
	memset(chip, 0, sizeof(*chip));
	chip->clock = clock;
	for (unsigned i = 0; i < I8254_NR_COUNTERS; i++) {
		chip->counters[i].chip = chip;
		chip->counters[i].output = outputs[i];
		timer_init(&chip->counters[i].timer, clock, i8254_edge, &chip->counters[i]);
	}
	i8254_reset(chip);
}

static bool i8254_counter_check(const void *state, struct error *err)
{
	const struct i8254_counter_state *counter = state;

	(void)err;
	if (counter_access(counter) == I8254_ACCESS_LATCH)
		return false;
	return counter->loaded > 0 || !counter->counting || !counter_is_periodic(counter);
}

static const struct state_field i8254_counter_fields[] = {
	STATE_MAX(struct i8254_counter_state, load_tick, I8254_TICK_MAX),
	STATE_MAX(struct i8254_counter_state, loaded, I8254_COUNT_MAX),
	STATE_MAX(struct i8254_counter_state, next, I8254_COUNT_MAX),
	STATE(struct i8254_counter_state, count_register),
	STATE(struct i8254_counter_state, count_latch),
	STATE_MAX(struct i8254_counter_state, control, I8254_CONTROL_KEPT),
	STATE(struct i8254_counter_state, status_latch),
	STATE(struct i8254_counter_state, low_byte),
	STATE(struct i8254_counter_state, count_latched),
	STATE(struct i8254_counter_state, status_latched),
	STATE(struct i8254_counter_state, write_high),
	STATE(struct i8254_counter_state, read_high),
	STATE(struct i8254_counter_state, programmed),
	STATE(struct i8254_counter_state, counting),
	STATE(struct i8254_counter_state, expired),
	STATE(struct i8254_counter_state, null_count),
	STATE(struct i8254_counter_state, gate),
	STATE(struct i8254_counter_state, low_half),
	STATE_PAD(struct i8254_counter_state, reserved),
};
static const struct state_table i8254_counter_table = STATE_TABLE_OF(
	struct i8254_counter_state, "i8254_counter", i8254_counter_fields, i8254_counter_check);

static const struct state_field i8254_fields[] = {
	STATE_STRUCTS(struct i8254_state, counters, &i8254_counter_table),
};
static const struct state_table i8254_table =
	STATE_TABLE_OF(struct i8254_state, "i8254", i8254_fields, NULL);

const struct device_type i8254_type = {
	.name = "i8254",
	.state = &i8254_table,
	.state_offset = offsetof(struct i8254, state),
	.reset = i8254_reset,
	.restored = i8254_restored,
};
