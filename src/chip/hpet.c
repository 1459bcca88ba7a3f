/*
 * High precision event timers (IA-PC HPET 1.0a): a 64-bit counter, three timers, all periodic if
 * wanted, legacy replacement.
 *
 * A comparator matches when the counter becomes equal to it; one that is behind waits until the
 * counter has wrapped. Matches of a periodic timer that the host was too late for are merged into
 * one, as are those of less than 5 us. What a write with Tn_VAL_SET_CNF does to the period the
 * specification leaves open: it sets both, as most hardware does. Not modelled: FSB delivery. Under
 * the machine lock.
 */
#include "chip/hpet.h"

#include "base/log.h"
#include "chip/hpet_regs.h"

#include <string.h>

#define VENDOR    0x8086
#define REVISION  1
#define PERIOD_FS (HPET_TICK_NS * UINT64_C(1000000))

/* A periodic timer fires no more often, so that a guest cannot keep the host busy with it. */
#define MIN_INTERVAL_NS (5 * NS_PER_US)

#define LEGACY_INPUT 32 /* of timer 0 */

/* Deadlines beyond this are looked at again then: nearly 3 years. */
#define MAX_TICKS (UINT64_C(1) << 53)

static bool is_running(const struct hpet *chip)
{
	return chip->state.configuration & HPET_CONF_ENABLE;
}

static uint64_t counter_at(const struct hpet *chip, ns_t now_ns)
{
	const struct hpet_state *state = &chip->state;

	if (!is_running(chip) || now_ns < state->since_ns)
		return state->counter;
	return state->counter + (uint64_t)(now_ns - state->since_ns) / HPET_TICK_NS;
}

static uint64_t width_of(const struct hpet_timer_state *timer)
{
	return timer->configuration & HPET_TIMER_32BIT ? UINT32_MAX : UINT64_MAX;
}

static bool is_periodic(const struct hpet_timer_state *timer)
{
	return timer->configuration & HPET_TIMER_PERIODIC;
}

/* Interrupts. */

static unsigned input_of(const struct hpet *chip, unsigned index)
{
	if (chip->state.configuration & HPET_CONF_LEGACY && index < 2)
		return LEGACY_INPUT + index;
	return (unsigned)field_get(HPET_TIMER_ROUTE, chip->state.timers[index].configuration);
}

static void set_input(struct hpet *chip, unsigned input, bool level)
{
	if (input >= LEGACY_INPUT)
		irq_line_set(&chip->wiring.legacy[input - LEGACY_INPUT], level);
	else if (chip->wiring.routes >> input & 1)
		chip->wiring.set(chip->wiring.context, input, level);
}

/* Makes what a timer drives what its state says. */
static void drive(struct hpet *chip, unsigned index)
{
	struct hpet_timer *timer = &chip->timers[index];
	uint64_t configuration = chip->state.timers[index].configuration;
	unsigned input = input_of(chip, index);
	bool level = configuration & HPET_TIMER_ENABLE && configuration & HPET_TIMER_LEVEL &&
		     chip->state.status >> index & 1;

	if (timer->level && (timer->input != input || !level))
		set_input(chip, timer->input, false);
	if (level && (!timer->level || timer->input != input))
		set_input(chip, input, true);
	timer->level = level;
	timer->input = input;
}

static void drive_all(struct hpet *chip)
{
	irq_line_set(&chip->wiring.replaces, chip->state.configuration & HPET_CONF_LEGACY);
	for (unsigned i = 0; i < HPET_NR_TIMERS; i++)
		drive(chip, i);
}

static void match(struct hpet *chip, unsigned index)
{
	uint64_t configuration = chip->state.timers[index].configuration;

	if (configuration & HPET_TIMER_LEVEL) {
		/* The status says that it matched, whether it may interrupt or not. */
		chip->state.status |= UINT32_C(1) << index;
		drive(chip, index);
	} else if (configuration & HPET_TIMER_ENABLE) {
		set_input(chip, input_of(chip, index), true);
		set_input(chip, input_of(chip, index), false);
	}
}

/* Time. */

static void arm(struct hpet *chip, unsigned index)
{
	const struct hpet_state *state = &chip->state;
	const struct hpet_timer_state *timer = &state->timers[index];
	struct hpet_timer *armed = &chip->timers[index];
	uint64_t counter, ticks;
	ns_t deadline_ns;

	if (!is_running(chip)) {
		timer_cancel(&armed->timer);
		return;
	}
	counter = counter_at(chip, clock_now(chip->clock));
	ticks = (timer->comparator - counter) & width_of(timer);
	/* Once around. */
	if (ticks == 0)
		ticks = width_of(timer) == UINT32_MAX ? UINT64_C(1) << 32 : UINT64_MAX;
	armed->is_match = ticks <= MAX_TICKS;
	armed->due = counter + (armed->is_match ? ticks : MAX_TICKS);
	deadline_ns = state->since_ns + (ns_t)((armed->due - state->counter) * HPET_TICK_NS);
	if (is_periodic(timer) && deadline_ns < armed->not_before_ns)
		deadline_ns = armed->not_before_ns;
	timer_arm(&armed->timer, deadline_ns);
}

static void arm_all(struct hpet *chip)
{
	for (unsigned i = 0; i < HPET_NR_TIMERS; i++)
		arm(chip, i);
}

static void fire(void *context)
{
	struct hpet_timer *armed = context;
	struct hpet *chip = armed->chip;
	struct hpet_timer_state *timer = &chip->state.timers[armed->index];
	uint64_t period = timer->period & width_of(timer);
	uint64_t late = counter_at(chip, clock_now(chip->clock)) - armed->due;

	armed->not_before_ns = clock_now(chip->clock) + MIN_INTERVAL_NS;
	if (armed->is_match) {
		match(chip, armed->index);
		if (is_periodic(timer) && period)
			timer->comparator = (timer->comparator + (late / period + 1) * period) &
					    width_of(timer);
	}
	arm(chip, armed->index);
}

/* Registers. */

static uint64_t read_timer(const struct hpet *chip, unsigned index, unsigned reg)
{
	const struct hpet_timer_state *timer = &chip->state.timers[index];

	switch (reg) {
	case HPET_TIMER_CONFIGURATION:
		return timer->configuration | HPET_TIMER_SIZE_CAP | HPET_TIMER_PER_CAP |
		       (uint64_t)chip->wiring.routes << 32;
	case HPET_TIMER_COMPARATOR: return timer->comparator;
	default: return 0;
	}
}

/* `reg` is a multiple of 8. */
static uint64_t read_register(const struct hpet *chip, uint32_t reg)
{
	const struct hpet_state *state = &chip->state;

	if (reg >= HPET_TIMERS && reg < HPET_TIMERS + HPET_NR_TIMERS * HPET_TIMER_SIZE)
		return read_timer(chip, (reg - HPET_TIMERS) / HPET_TIMER_SIZE,
			(reg - HPET_TIMERS) % HPET_TIMER_SIZE);
	switch (reg) {
	case HPET_CAPABILITIES:
		return field_set(HPET_CAP_PERIOD, 0, PERIOD_FS) |
		       field_set(HPET_CAP_VENDOR, 0, VENDOR) | HPET_CAP_LEGACY | HPET_CAP_64BIT |
		       field_set(HPET_CAP_LAST, 0, HPET_NR_TIMERS - 1) | REVISION;
	case HPET_CONFIGURATION: return state->configuration;
	case HPET_STATUS: return state->status;
	case HPET_COUNTER: return counter_at(chip, clock_now(chip->clock));
	default: return 0;
	}
}

uint64_t hpet_read(struct hpet *chip, uint32_t offset, unsigned size)
{
	uint64_t value;

	if (offset % size || size < 4)
		return 0;
	value = read_register(chip, offset & ~7u);
	return size == 4 ? (uint32_t)(value >> (8 * (offset & 4))) : value;
}

static void write_configuration(struct hpet *chip, uint8_t value)
{
	struct hpet_state *state = &chip->state;
	ns_t now_ns = clock_now(chip->clock);

	state->counter = counter_at(chip, now_ns);
	state->since_ns = now_ns;
	state->configuration = value & (HPET_CONF_ENABLE | HPET_CONF_LEGACY);
	drive_all(chip);
	arm_all(chip);
}

static void write_timer_configuration(struct hpet *chip, unsigned index, uint64_t value)
{
	struct hpet_timer_state *timer = &chip->state.timers[index];

	value &= HPET_TIMER_WRITABLE;
	/* A route that it cannot take is not what is read then. */
	if (!(chip->wiring.routes >> field_get(HPET_TIMER_ROUTE, value) & 1))
		value = field_set(
			HPET_TIMER_ROUTE, value, field_get(HPET_TIMER_ROUTE, timer->configuration));
	timer->configuration = value;
	timer->comparator &= width_of(timer);
	timer->period &= width_of(timer);
	if (!(value & HPET_TIMER_LEVEL))
		chip->state.status &= ~(UINT32_C(1) << index);
	drive(chip, index);
	arm(chip, index);
}

/* `written` are the bytes that the guest writes. */
static void write_comparator(struct hpet *chip, unsigned index, uint64_t written, uint64_t value)
{
	struct hpet_timer_state *timer = &chip->state.timers[index];

	written &= width_of(timer);
	if (!is_periodic(timer) || timer->configuration & HPET_TIMER_VAL_SET)
		timer->comparator = (timer->comparator & ~written) | (value & written);
	if (is_periodic(timer))
		timer->period = (timer->period & ~written) | (value & written);
	timer->configuration &= ~HPET_TIMER_VAL_SET;
	arm(chip, index);
}

static void write_counter(struct hpet *chip, uint64_t written, uint64_t value)
{
	if (is_running(chip)) {
		log_guest("the guest set the HPET's counter while it runs");
		return;
	}
	chip->state.counter = (chip->state.counter & ~written) | (value & written);
}

static void write_timer(
	struct hpet *chip, unsigned index, unsigned reg, uint64_t written, uint64_t value)
{
	switch (reg) {
	case HPET_TIMER_CONFIGURATION:
		if (written & UINT32_MAX)
			write_timer_configuration(chip, index, value);
		break;
	case HPET_TIMER_COMPARATOR: write_comparator(chip, index, written, value); break;
	default: break;
	}
}

void hpet_write(struct hpet *chip, uint32_t offset, unsigned size, uint64_t value)
{
	uint32_t reg = offset & ~7u;
	uint64_t written;

	if (offset % size || size < 4)
		return;
	written = byte_mask(size) << (8 * (offset & 4));
	value <<= 8 * (offset & 4);
	if (reg >= HPET_TIMERS && reg < HPET_TIMERS + HPET_NR_TIMERS * HPET_TIMER_SIZE) {
		write_timer(chip, (reg - HPET_TIMERS) / HPET_TIMER_SIZE,
			(reg - HPET_TIMERS) % HPET_TIMER_SIZE, written, value);
		return;
	}
	switch (reg) {
	case HPET_CONFIGURATION:
		if (written & UINT32_MAX)
			write_configuration(chip, (uint8_t)value);
		break;
	case HPET_STATUS:
		chip->state.status &= ~(uint32_t)(value & written);
		drive_all(chip);
		break;
	case HPET_COUNTER: write_counter(chip, written, value); break;
	default: break;
	}
}

static void hpet_reset(void *device)
{
	struct hpet *chip = device;

	memset(&chip->state, 0, sizeof(chip->state));
	drive_all(chip);
	arm_all(chip);
}

static void hpet_restored(void *device)
{
	struct hpet *chip = device;

	drive_all(chip);
	arm_all(chip);
}

void hpet_init(struct hpet *chip, struct clock *clock, const struct hpet_wiring *wiring)
{
	memset(chip, 0, sizeof(*chip));
	chip->clock = clock;
	chip->wiring = *wiring;
	for (unsigned i = 0; i < HPET_NR_TIMERS; i++) {
		chip->timers[i].chip = chip;
		chip->timers[i].index = i;
		timer_init(&chip->timers[i].timer, clock, fire, &chip->timers[i]);
	}
}

static const struct state_field hpet_timer_fields[] = {
	STATE_MAX(struct hpet_timer_state, configuration, HPET_TIMER_WRITABLE),
	STATE(struct hpet_timer_state, comparator),
	STATE(struct hpet_timer_state, period),
};
static const struct state_table hpet_timer_table =
	STATE_TABLE_OF(struct hpet_timer_state, "hpet_timer", hpet_timer_fields, NULL);

static const struct state_field hpet_fields[] = {
	STATE(struct hpet_state, counter),
	STATE_TIME(struct hpet_state, since_ns),
	STATE_MAX(struct hpet_state, status, (1 << HPET_NR_TIMERS) - 1),
	STATE_MAX(struct hpet_state, configuration, HPET_CONF_ENABLE | HPET_CONF_LEGACY),
	STATE_PAD(struct hpet_state, reserved),
	STATE_STRUCTS(struct hpet_state, timers, &hpet_timer_table),
};
static const struct state_table hpet_table =
	STATE_TABLE_OF(struct hpet_state, "hpet", hpet_fields, NULL);

const struct device_type hpet_type = {
	.name = "hpet",
	.state = &hpet_table,
	.state_offset = offsetof(struct hpet, state),
	.reset = hpet_reset,
	.restored = hpet_restored,
};
