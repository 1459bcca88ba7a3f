/*
 * The MC146818 against its data sheet: the calendar, UIP, alarms, periodic and update-ended
 * interrupts, setting the time. Calendar values were computed with date(1).
 */
#include "chip/chip_fixture.h"
#include "chip/mc146818.h"
#include "chip/mc146818_calendar.h"
#include "chip/mc146818_regs.h"

struct fixture {
	struct fake_clock fake;
	struct line_probe probe;
	struct mc146818 rtc;
};

/* 2023-12-31 23:59:50.25 UTC, a Sunday. */
#define WALL_CLOCK_NS (INT64_C(1704067190250) * NS_PER_MS)

static int setup(void **context)
{
	struct fixture *f = calloc(1, sizeof(*f));

	fake_clock_init(&f->fake);
	mc146818_init(&f->rtc, &f->fake.clock, line_probe_line(&f->probe), WALL_CLOCK_NS);
	*context = f;
	return 0;
}

static int teardown(void **context)
{
	free(*context);
	return 0;
}

static uint8_t get(struct fixture *f, unsigned reg)
{
	mc146818_write(&f->rtc, MC146818_REG_INDEX, (uint8_t)reg);
	return mc146818_read(&f->rtc, MC146818_REG_DATA);
}

static void set(struct fixture *f, unsigned reg, uint64_t value)
{
	mc146818_write(&f->rtc, MC146818_REG_INDEX, (uint8_t)reg);
	mc146818_write(&f->rtc, MC146818_REG_DATA, (uint8_t)value);
}

static void expect_time(struct fixture *f, unsigned century, unsigned year, unsigned month,
	unsigned day, unsigned hour, unsigned minute, unsigned second)
{
	assert_int_equal(get(f, RTC_CENTURY), century);
	assert_int_equal(get(f, RTC_YEAR), year);
	assert_int_equal(get(f, RTC_MONTH), month);
	assert_int_equal(get(f, RTC_DAY), day);
	assert_int_equal(get(f, RTC_HOURS), hour);
	assert_int_equal(get(f, RTC_MINUTES), minute);
	assert_int_equal(get(f, RTC_SECONDS), second);
}

static void test_time_runs(void **context)
{
	struct fixture *f = *context;

	expect_time(f, 0x20, 0x23, 0x12, 0x31, 0x23, 0x59, 0x50);
	assert_int_equal(get(f, RTC_WEEKDAY), 1); /* Sunday */
	assert_int_equal(get(f, RTC_D), 0x80);
	fake_clock_advance(&f->fake, 749 * NS_PER_MS);
	assert_int_equal(get(f, RTC_SECONDS), 0x50);
	fake_clock_advance(&f->fake, 1 * NS_PER_MS);
	assert_int_equal(get(f, RTC_SECONDS), 0x51); /* with the wall clock's second */
	fake_clock_advance(&f->fake, 9 * NS_PER_S);
	expect_time(f, 0x20, 0x24, 0x01, 0x01, 0x00, 0x00, 0x00);
	assert_int_equal(get(f, RTC_WEEKDAY), 2);
}

static void test_formats(void **context)
{
	struct fixture *f = *context;

	set(f, RTC_B, RTC_B_SET | RTC_B_24H);
	set(f, RTC_B, RTC_B_24H | RTC_B_BINARY | RTC_B_SET);
	set(f, RTC_CENTURY, 20);
	set(f, RTC_YEAR, 24);
	set(f, RTC_MONTH, 2);
	set(f, RTC_DAY, 28);
	set(f, RTC_HOURS, 13);
	set(f, RTC_MINUTES, 59);
	set(f, RTC_SECONDS, 59);
	set(f, RTC_B, RTC_B_24H | RTC_B_BINARY);
	expect_time(f, 20, 24, 2, 28, 13, 59, 59);
	fake_clock_advance(&f->fake, 10 * 3600 * NS_PER_S + NS_PER_S);
	expect_time(f, 20, 24, 2, 29, 0, 0, 0); /* a leap year */

	set(f, RTC_B, RTC_B_BINARY | RTC_B_SET);
	set(f, RTC_HOURS, 0x80 | 12); /* noon */
	set(f, RTC_B, RTC_B_BINARY);
	assert_int_equal(get(f, RTC_HOURS), 0x8c);
	fake_clock_advance(&f->fake, 3600 * NS_PER_S);
	assert_int_equal(get(f, RTC_HOURS), 0x81);
	fake_clock_advance(&f->fake, 11 * 3600 * NS_PER_S);
	assert_int_equal(get(f, RTC_HOURS), 12); /* midnight */
	assert_int_equal(get(f, RTC_DAY), 1);

	set(f, RTC_B, RTC_B_SET);
	set(f, RTC_HOURS, 0x91); /* 11 pm in BCD */
	set(f, RTC_B, 0);
	fake_clock_advance(&f->fake, 3600 * NS_PER_S);
	assert_int_equal(get(f, RTC_HOURS), 0x12);
}

/* UIP is set 244 us before the update, which takes 1984 us; then the new second is there. */
static void test_update_in_progress(void **context)
{
	struct fixture *f = *context;
	ns_t update_ns = 750 * NS_PER_MS;

	fake_clock_run_to(&f->fake, update_ns - 2300 * NS_PER_US);
	assert_false(get(f, RTC_A) & RTC_A_UIP);
	fake_clock_run_to(&f->fake, update_ns - 2200 * NS_PER_US);
	assert_true(get(f, RTC_A) & RTC_A_UIP);
	fake_clock_run_to(&f->fake, update_ns - 1);
	assert_true(get(f, RTC_A) & RTC_A_UIP);
	fake_clock_run_to(&f->fake, update_ns);
	assert_false(get(f, RTC_A) & RTC_A_UIP);
	assert_int_equal(get(f, RTC_SECONDS), 0x51);
}

static void test_set_freezes(void **context)
{
	struct fixture *f = *context;

	set(f, RTC_B, RTC_B_SET | RTC_B_UIE | RTC_B_24H);
	assert_int_equal(get(f, RTC_B), RTC_B_SET | RTC_B_24H); /* SET clears UIE */
	for (unsigned i = 0; i < 30; i++) {
		fake_clock_advance(&f->fake, 100 * NS_PER_MS);
		assert_int_equal(get(f, RTC_SECONDS), 0x50);
		assert_false(get(f, RTC_A) & RTC_A_UIP);
	}
	assert_false(get(f, RTC_C) & RTC_C_UF);
	set(f, RTC_B, RTC_B_24H);
	/* The divider went on: still at .25 of the second after 3 s. */
	fake_clock_advance(&f->fake, 750 * NS_PER_MS);
	assert_int_equal(get(f, RTC_SECONDS), 0x51);
}

/* "The first update cycle begins one-half second later" after the divider leaves reset. */
static void test_divider_reset(void **context)
{
	struct fixture *f = *context;

	set(f, RTC_A, 0x76);
	fake_clock_advance(&f->fake, 5 * NS_PER_S + 123 * NS_PER_MS);
	assert_int_equal(get(f, RTC_SECONDS), 0x50);
	set(f, RTC_A, 0x26);
	fake_clock_advance(&f->fake, 499 * NS_PER_MS);
	assert_int_equal(get(f, RTC_SECONDS), 0x50);
	fake_clock_advance(&f->fake, 1 * NS_PER_MS);
	assert_int_equal(get(f, RTC_SECONDS), 0x51);
}

static void test_update_ended_interrupt(void **context)
{
	struct fixture *f = *context;

	get(f, RTC_C);
	set(f, RTC_B, RTC_B_UIE | RTC_B_24H);
	fake_clock_run_to(&f->fake, 749 * NS_PER_MS);
	assert_false(f->probe.level);
	fake_clock_run_to(&f->fake, 750 * NS_PER_MS);
	assert_true(f->probe.level);
	fake_clock_run_to(&f->fake, 5 * NS_PER_S);
	assert_int_equal(f->probe.rises, 1); /* until register C is read */
	assert_int_equal(get(f, RTC_C), RTC_C_IRQF | RTC_C_UF | RTC_C_PF);
	assert_false(f->probe.level);
	assert_int_equal(get(f, RTC_C), 0);
	fake_clock_run_to(&f->fake, 5750 * NS_PER_MS);
	assert_true(f->probe.level);
}

static void test_flags_without_interrupt(void **context)
{
	struct fixture *f = *context;

	get(f, RTC_C);
	fake_clock_advance(&f->fake, 2 * NS_PER_S);
	assert_int_equal(get(f, RTC_C) & RTC_C_UF, RTC_C_UF);
	assert_false(f->probe.level);
	assert_int_equal(clock_next_deadline(&f->fake.clock), CLOCK_NEVER);
}

static void test_alarm(void **context)
{
	struct fixture *f = *context;

	set(f, RTC_HOURS_ALARM, 0x00);
	set(f, RTC_MINUTES_ALARM, 0x01);
	set(f, RTC_SECONDS_ALARM, 0x05);
	set(f, RTC_B, RTC_B_AIE | RTC_B_24H);
	/* 00:01:05 is 75 s after 23:59:50. */
	fake_clock_run_to(&f->fake, 750 * NS_PER_MS + 73 * NS_PER_S);
	assert_false(f->probe.level);
	fake_clock_run_to(&f->fake, 750 * NS_PER_MS + 74 * NS_PER_S);
	assert_true(f->probe.level);
	assert_int_equal(get(f, RTC_C) & (RTC_C_IRQF | RTC_C_AF), RTC_C_IRQF | RTC_C_AF);
	/* The next is a day later. */
	fake_clock_advance(&f->fake, 86399 * NS_PER_S);
	assert_false(f->probe.level);
	fake_clock_advance(&f->fake, 1 * NS_PER_S);
	assert_true(f->probe.level);
}

static void test_alarm_with_wildcards(void **context)
{
	struct fixture *f = *context;

	set(f, RTC_HOURS_ALARM, 0xff);
	set(f, RTC_MINUTES_ALARM, 0xc0);
	set(f, RTC_SECONDS_ALARM, 0x30);
	set(f, RTC_B, RTC_B_AIE | RTC_B_24H);
	for (unsigned i = 0; i < 3; i++) {
		fake_clock_run_to(&f->fake, (39 + 60 * i) * NS_PER_S);
		assert_false(f->probe.level);
		fake_clock_run_to(&f->fake, (40 + 60 * i) * NS_PER_S);
		assert_true(f->probe.level);
		get(f, RTC_C);
	}
	set(f, RTC_SECONDS_ALARM, 0x7a); /* never */
	assert_int_equal(clock_next_deadline(&f->fake.clock), CLOCK_NEVER);
}

/* Rates of table 5 of the data sheet with a 32768 Hz crystal. */
static void test_periodic_interrupt(void **context)
{
	struct fixture *f = *context;
	static const struct {
		uint8_t rate;
		unsigned hz;
	} rates[] = { { 1, 256 }, { 2, 128 }, { 3, 8192 }, { 6, 1024 }, { 10, 64 }, { 15, 2 } };

	for (unsigned i = 0; i < ARRAY_SIZE(rates); i++) {
		ns_t end_ns;

		set(f, RTC_A, 0x20 | rates[i].rate);
		set(f, RTC_B, RTC_B_PIE | RTC_B_24H);
		get(f, RTC_C);
		f->probe.rises = 0;
		end_ns = f->fake.source_ns + NS_PER_S;
		while (clock_next_deadline(&f->fake.clock) <= end_ns) {
			fake_clock_run_to(&f->fake, clock_next_deadline(&f->fake.clock));
			assert_true(get(f, RTC_C) & RTC_C_PF);
		}
		fake_clock_run_to(&f->fake, end_ns);
		assert_int_equal(f->probe.rises, rates[i].hz);
	}
	set(f, RTC_A, 0x20);
	assert_int_equal(clock_next_deadline(&f->fake.clock), CLOCK_NEVER);
}

static void test_memory_and_reset(void **context)
{
	struct fixture *f = *context;

	for (unsigned i = 0x0e; i < 0x80; i++) {
		if (i != RTC_CENTURY)
			set(f, i, i ^ 0x5a);
	}
	set(f, RTC_B, RTC_B_PIE | RTC_B_24H);
	mc146818_type.reset(&f->rtc);
	for (unsigned i = 0x0e; i < 0x80; i++) {
		if (i != RTC_CENTURY)
			assert_int_equal(get(f, i | 0x80), i ^ 0x5a); /* bit 7 masks NMI */
	}
	assert_int_equal(get(f, RTC_B), RTC_B_24H);
	expect_time(f, 0x20, 0x23, 0x12, 0x31, 0x23, 0x59, 0x50);
	assert_int_equal(mc146818_read(&f->rtc, MC146818_REG_INDEX), 0xff);
}

static void test_weekday_can_be_set(void **context)
{
	struct fixture *f = *context;

	set(f, RTC_WEEKDAY, 5);
	assert_int_equal(get(f, RTC_WEEKDAY), 5);
	fake_clock_advance(&f->fake, 3 * CALENDAR_DAY_S * NS_PER_S);
	assert_int_equal(get(f, RTC_WEEKDAY), 1);
	assert_int_equal(get(f, RTC_DAY), 0x03);
}

static void test_calendar(void **context)
{
	static const struct {
		int64_t unix_s;
		struct civil_time time;
	} cases[] = {
		{ 0, { 1970, 1, 1, 4, 0, 0, 0 } },
		{ 951782400, { 2000, 2, 29, 2, 0, 0, 0 } },
		{ 4107542399, { 2100, 2, 28, 0, 23, 59, 59 } },
		{ 4107542400, { 2100, 3, 1, 1, 0, 0, 0 } },
		{ -62167219200, { 0, 1, 1, 6, 0, 0, 0 } },
		{ 253402300799, { 9999, 12, 31, 5, 23, 59, 59 } },
	};

	(void)context;
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		uint64_t seconds = CALENDAR_1970_S + (uint64_t)cases[i].unix_s;
		struct civil_time time = calendar_civil(seconds);

		assert_memory_equal(&time, &cases[i].time, sizeof(time));
		assert_int_equal(calendar_seconds(&time), seconds);
	}
}

#define rtc_test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		rtc_test(test_time_runs),
		rtc_test(test_formats),
		rtc_test(test_update_in_progress),
		rtc_test(test_set_freezes),
		rtc_test(test_divider_reset),
		rtc_test(test_update_ended_interrupt),
		rtc_test(test_flags_without_interrupt),
		rtc_test(test_alarm),
		rtc_test(test_alarm_with_wildcards),
		rtc_test(test_periodic_interrupt),
		rtc_test(test_memory_and_reset),
		rtc_test(test_weekday_can_be_set),
		rtc_test(test_calendar),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
