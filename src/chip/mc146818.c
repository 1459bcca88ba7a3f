/*
 * MC146818A real-time clock (Motorola data sheet), with the 128 bytes of memory and the century
 * byte of a PC.
 *
 * The second number `index` begins at guest time index * 1 s + phase_ns - 1 s; register values are
 * computed from it when they are read, flags are brought up to date when somebody can see them, and
 * the timer runs only for an enabled interrupt whose flag is clear.
 *
 * Not modelled: the square wave output, daylight saving, oscillators other than 32768 Hz (with
 * another divider the calendar stands still). Runs under the machine lock.
 */
#include "chip/mc146818.h"

#include "chip/mc146818_calendar.h"
#include "chip/mc146818_regs.h"

#include <string.h>

#define MC146818_HZ    32768
#define MC146818_NEVER UINT64_MAX
/* The update of the registers ends with the second; UIP is set 244 us before it begins. */
#define MC146818_UIP_NS (244 * NS_PER_US + 1984 * NS_PER_US)
/* A divider that leaves reset makes its first update half a second later. */
#define MC146818_FIRST_UPDATE_NS (NS_PER_S / 2)

static bool divider_runs(const struct mc146818_state *state)
{
	return field_get(RTC_A_DIVIDER, state->cmos[RTC_A]) == RTC_DIVIDER_32768;
}

static bool calendar_runs(const struct mc146818_state *state)
{
	return divider_runs(state) && !(state->cmos[RTC_B] & RTC_B_SET);
}

/* Nanoseconds since the second number 0 began. */
static uint64_t mc146818_elapsed(const struct mc146818 *chip)
{
	return (uint64_t)clock_now(chip->clock) + NS_PER_S - chip->state.phase_ns;
}

static uint64_t mc146818_index(const struct mc146818 *chip)
{
	return mc146818_elapsed(chip) / NS_PER_S;
}

static uint64_t mc146818_tick(const struct mc146818 *chip)
{
	return ns_to_ticks((ns_t)mc146818_elapsed(chip), MC146818_HZ);
}

/* Cycles between periodic interrupts, or 0 for none; the two highest codes repeat others. */
static unsigned periodic_cycles(const struct mc146818_state *state)
{
	unsigned rate = (unsigned)field_get(RTC_A_RATE, state->cmos[RTC_A]);

	if (rate == 0 || !divider_runs(state))
		return 0;
	return 1u << ((rate <= 2 ? rate + 7 : rate) - 1);
}

static uint8_t encode(const struct mc146818_state *state, unsigned value)
{
	if (state->cmos[RTC_B] & RTC_B_BINARY)
		return (uint8_t)value;
	return (uint8_t)(value / 10 << 4 | value % 10);
}

static unsigned decode(const struct mc146818_state *state, uint8_t byte)
{
	if (state->cmos[RTC_B] & RTC_B_BINARY)
		return byte;
	return (byte >> 4) * 10u + (byte & 0xf);
}

static uint8_t encode_hour(const struct mc146818_state *state, unsigned hour)
{
	if (state->cmos[RTC_B] & RTC_B_24H)
		return encode(state, hour);
	return encode(state, hour % 12 ? hour % 12 : 12) | (hour >= 12 ? RTC_HOURS_PM : 0);
}

static unsigned decode_hour(const struct mc146818_state *state, uint8_t byte)
{
	if (state->cmos[RTC_B] & RTC_B_24H)
		return decode(state, byte);
	return decode(state, byte & ~RTC_HOURS_PM) % 12 + (byte & RTC_HOURS_PM ? 12 : 0);
}

static bool is_calendar_register(unsigned reg)
{
	switch (reg) {
	case RTC_SECONDS:
	case RTC_MINUTES:
	case RTC_HOURS:
	case RTC_WEEKDAY:
	case RTC_DAY:
	case RTC_MONTH:
	case RTC_YEAR:
	case RTC_CENTURY: return true;
	default: return false;
	}
}

/* Writes the calendar's time into the registers that show it. */
static void mc146818_latch_time(struct mc146818 *chip)
{
	struct mc146818_state *state = &chip->state;
	struct civil_time time = calendar_civil(state->base_s + mc146818_index(chip));

	state->cmos[RTC_SECONDS] = encode(state, time.second);
	state->cmos[RTC_MINUTES] = encode(state, time.minute);
	state->cmos[RTC_HOURS] = encode_hour(state, time.hour);
	state->cmos[RTC_WEEKDAY] = encode(state, 1 + (time.weekday + state->weekday_shift) % 7);
	state->cmos[RTC_DAY] = encode(state, time.day);
	state->cmos[RTC_MONTH] = encode(state, time.month);
	state->cmos[RTC_YEAR] = encode(state, time.year % 100);
	state->cmos[RTC_CENTURY] = encode(state, time.year / 100 % 100);
}

/* Makes the registers' time the calendar's. */
static void mc146818_take_time(struct mc146818 *chip)
{
	struct mc146818_state *state = &chip->state;
	struct civil_time time = {
		.year = decode(state, state->cmos[RTC_CENTURY]) * 100 +
			decode(state, state->cmos[RTC_YEAR]),
		.month = decode(state, state->cmos[RTC_MONTH]),
		.day = decode(state, state->cmos[RTC_DAY]),
		.hour = decode_hour(state, state->cmos[RTC_HOURS]),
		.minute = decode(state, state->cmos[RTC_MINUTES]),
		.second = decode(state, state->cmos[RTC_SECONDS]),
	};
	unsigned weekday = decode(state, state->cmos[RTC_WEEKDAY]);
	uint64_t seconds = calendar_seconds(&time);

	state->weekday_shift = 0;
	if (weekday >= 1 && weekday <= 7)
		state->weekday_shift =
			(uint8_t)((weekday + 6 - calendar_civil(seconds).weekday) % 7);
	/* Modulo 2^64: the sum with the index is what counts. */
	state->base_s = seconds - mc146818_index(chip);
}

static bool alarm_matches(const struct mc146818_state *state, unsigned reg, uint8_t value)
{
	return state->cmos[reg] >= RTC_ALARM_ANY || state->cmos[reg] == value;
}

/* The first second after `index` at which the alarm goes off. */
static uint64_t mc146818_next_alarm(const struct mc146818 *chip, uint64_t index)
{
	const struct mc146818_state *state = &chip->state;
	unsigned in_day = (unsigned)((state->base_s + index + 1) % CALENDAR_DAY_S);
	unsigned ahead = 0;

	while (ahead < CALENDAR_DAY_S) {
		unsigned at = (in_day + ahead) % CALENDAR_DAY_S;

		if (!alarm_matches(state, RTC_HOURS_ALARM, encode_hour(state, at / 3600)))
			ahead += 3600 - at % 3600;
		else if (!alarm_matches(state, RTC_MINUTES_ALARM, encode(state, at / 60 % 60)))
			ahead += 60 - at % 60;
		else if (!alarm_matches(state, RTC_SECONDS_ALARM, encode(state, at % 60)))
			ahead++;
		else
			return index + 1 + ahead;
	}
	return MC146818_NEVER;
}

/* Sets the flags of what has happened since the last time. */
static void mc146818_sync(struct mc146818 *chip)
{
	struct mc146818_state *state = &chip->state;
	uint64_t index = mc146818_index(chip), tick = mc146818_tick(chip);
	unsigned cycles = periodic_cycles(state);

	if (cycles && tick / cycles > state->seen_tick / cycles)
		state->flags |= RTC_C_PF;
	if (calendar_runs(state) && index > state->seen_index) {
		state->flags |= RTC_C_UF;
		if (mc146818_next_alarm(chip, state->seen_index) <= index)
			state->flags |= RTC_C_AF;
	}
	state->seen_index = index;
	state->seen_tick = tick;
}

static ns_t mc146818_deadline(const struct mc146818 *chip)
{
	const struct mc146818_state *state = &chip->state;
	uint8_t enabled = state->cmos[RTC_B];
	unsigned cycles = periodic_cycles(state);
	uint64_t elapsed = MC146818_NEVER;

	if ((enabled & RTC_B_PIE) && cycles)
		elapsed = (uint64_t)ticks_to_ns(
			(state->seen_tick / cycles + 1) * cycles, MC146818_HZ);
	if (calendar_runs(state) && (enabled & (RTC_B_UIE | RTC_B_AIE))) {
		uint64_t index = enabled & RTC_B_UIE ? state->seen_index + 1
						     : mc146818_next_alarm(chip, state->seen_index);

		if (index != MC146818_NEVER && index * NS_PER_S < elapsed)
			elapsed = index * NS_PER_S;
	}
	if (elapsed == MC146818_NEVER)
		return CLOCK_NEVER;
	return (ns_t)(elapsed + state->phase_ns - NS_PER_S);
}

/* Brings the line and the timer up to date with the flags. */
static void mc146818_drive(struct mc146818 *chip)
{
	bool interrupt = chip->state.flags & chip->state.cmos[RTC_B] & RTC_C_FLAGS;
	/* The line stays up until register C is read: nothing can happen before. */
	ns_t deadline_ns = interrupt ? CLOCK_NEVER : mc146818_deadline(chip);

	irq_line_set(&chip->interrupt, interrupt);
	if (deadline_ns == CLOCK_NEVER)
		timer_cancel(&chip->timer);
	else
		timer_arm(&chip->timer, deadline_ns);
}

static void mc146818_update(struct mc146818 *chip)
{
	mc146818_sync(chip);
	mc146818_drive(chip);
}

static void mc146818_fire(void *context)
{
	mc146818_update(context);
}

static bool mc146818_update_in_progress(const struct mc146818 *chip)
{
	return calendar_runs(&chip->state) &&
	       mc146818_elapsed(chip) % NS_PER_S >= NS_PER_S - MC146818_UIP_NS;
}

/* Registers A and B decide whether the calendar runs, and how it is written. */
static void mc146818_write_control(struct mc146818 *chip, unsigned reg, uint8_t value)
{
	struct mc146818_state *state = &chip->state;
	bool divider_ran = divider_runs(state);

	mc146818_sync(chip);
	if (calendar_runs(state))
		mc146818_latch_time(chip);
	state->cmos[reg] = value;
	if (reg == RTC_A)
		state->cmos[RTC_A] &= ~RTC_A_UIP;
	else if (value & RTC_B_SET)
		state->cmos[RTC_B] &= ~RTC_B_UIE;

	if (!divider_ran && divider_runs(state)) {
		state->phase_ns =
			(uint32_t)((clock_now(chip->clock) + MC146818_FIRST_UPDATE_NS) % NS_PER_S);
		state->seen_index = mc146818_index(chip);
		state->seen_tick = mc146818_tick(chip);
	}
	if (calendar_runs(state))
		mc146818_take_time(chip);
}

static void mc146818_write_time(struct mc146818 *chip, unsigned reg, uint8_t value)
{
	if (calendar_runs(&chip->state))
		mc146818_latch_time(chip);
	chip->state.cmos[reg] = value;
	if (calendar_runs(&chip->state))
		mc146818_take_time(chip);
}

static void mc146818_write_register(struct mc146818 *chip, unsigned reg, uint8_t value)
{
	mc146818_sync(chip);
	switch (reg) {
	case RTC_A:
	case RTC_B: mc146818_write_control(chip, reg, value); break;
	case RTC_C:
	case RTC_D: break; /* read-only */
	default:
		if (is_calendar_register(reg))
			mc146818_write_time(chip, reg, value);
		else
			chip->state.cmos[reg] = value;
		break;
	}
	mc146818_update(chip);
}

static uint8_t mc146818_read_c(struct mc146818 *chip)
{
	uint8_t flags;

	mc146818_sync(chip);
	flags = chip->state.flags;
	if (flags & chip->state.cmos[RTC_B])
		flags |= RTC_C_IRQF;
	chip->state.flags = 0;
	mc146818_update(chip);
	return flags;
}

static uint8_t mc146818_read_register(struct mc146818 *chip, unsigned reg)
{
	struct mc146818_state *state = &chip->state;

	switch (reg) {
	case RTC_A: return state->cmos[RTC_A] | (mc146818_update_in_progress(chip) ? RTC_A_UIP : 0);
	case RTC_C: return mc146818_read_c(chip);
	case RTC_D: return RTC_D_VRT;
	}
	if (is_calendar_register(reg) && calendar_runs(state))
		mc146818_latch_time(chip);
	return state->cmos[reg];
}

uint8_t mc146818_read(struct mc146818 *chip, unsigned reg)
{
	/* The index cannot be read: the bus floats. */
	if (reg == MC146818_REG_INDEX)
		return 0xff;
	return mc146818_read_register(chip, chip->state.index & MC146818_INDEX);
}

void mc146818_write(struct mc146818 *chip, unsigned reg, uint8_t value)
{
	if (reg == MC146818_REG_INDEX)
		chip->state.index = value;
	else
		mc146818_write_register(chip, chip->state.index & MC146818_INDEX, value);
}

/* The RESET pin leaves the time and the memory alone. */
static void mc146818_reset(void *device)
{
	struct mc146818 *chip = device;

	mc146818_sync(chip);
	chip->state.cmos[RTC_B] &= ~(RTC_B_PIE | RTC_B_AIE | RTC_B_UIE | RTC_B_SQWE);
	chip->state.flags = 0;
	chip->state.index = 0;
	mc146818_update(chip);
}

static void mc146818_restored(void *device)
{
	mc146818_drive(device);
}

void mc146818_init(
	struct mc146818 *chip, struct clock *clock, struct irq_line interrupt, ns_t wall_clock_ns)
{
	struct mc146818_state *state = &chip->state;
	ns_t now_ns = clock_now(clock);

	memset(chip, 0, sizeof(*chip));
	chip->clock = clock;
	chip->interrupt = interrupt;
	timer_init(&chip->timer, clock, mc146818_fire, chip);

	state->cmos[RTC_A] = RTC_A_RESET;
	state->cmos[RTC_B] = RTC_B_RESET;
	/* The calendar's second changes with the wall clock's. */
	state->phase_ns = (uint32_t)(((now_ns - wall_clock_ns) % NS_PER_S + NS_PER_S) % NS_PER_S);
	state->base_s =
		CALENDAR_1970_S + (uint64_t)(wall_clock_ns / NS_PER_S) - mc146818_index(chip);
	state->seen_index = mc146818_index(chip);
	state->seen_tick = mc146818_tick(chip);
	mc146818_latch_time(chip);
	mc146818_reset(chip);
}

static const struct state_field mc146818_fields[] = {
	STATE(struct mc146818_state, base_s),
	STATE_MAX(struct mc146818_state, seen_index, STATE_TIME_MAX / NS_PER_S),
	STATE_MAX(struct mc146818_state, seen_tick, STATE_TIME_MAX / NS_PER_S * MC146818_HZ),
	STATE_MAX(struct mc146818_state, phase_ns, NS_PER_S - 1),
	STATE(struct mc146818_state, index),
	STATE_MAX(struct mc146818_state, flags, RTC_C_FLAGS),
	STATE_MAX(struct mc146818_state, weekday_shift, 6),
	STATE_PAD(struct mc146818_state, reserved),
	STATE_ARRAY(struct mc146818_state, cmos),
};
static const struct state_table mc146818_table =
	STATE_TABLE_OF(struct mc146818_state, "mc146818", mc146818_fields, NULL);

const struct device_type mc146818_type = {
	.name = "mc146818",
	.state = &mc146818_table,
	.state_offset = offsetof(struct mc146818, state),
	.reset = mc146818_reset,
	.restored = mc146818_restored,
};
