/*
 * The clock: pausing, setting, timers in order; conversions that neither overflow nor run early.
 */
#include "machine/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static ns_t source_ns;

static ns_t source(void *context)
{
	(void)context;
	return source_ns;
}

struct recorder {
	struct timer timer;
	int *order;
	int fired;
	ns_t again_ns; /* arms again this much later, up to three times */
};

static void record(void *context)
{
	struct recorder *recorder = context;

	recorder->fired = ++*recorder->order;
	if (recorder->again_ns && *recorder->order < 3)
		timer_arm(&recorder->timer, clock_now(recorder->timer.clock) + recorder->again_ns);
}

static void count_moves(void *context)
{
	++*(int *)context;
}

static void test_starts_at_zero_and_pauses(void **context)
{
	struct clock clock;

	(void)context;
	source_ns = 1000;
	clock_init_source(&clock, source, NULL);
	assert_int_equal(clock_now(&clock), 0);
	source_ns = 1500;
	assert_int_equal(clock_now(&clock), 500);
	clock_pause(&clock);
	clock_pause(&clock);
	source_ns = 9000;
	assert_int_equal(clock_now(&clock), 500);
	clock_resume(&clock);
	clock_resume(&clock);
	assert_int_equal(clock_now(&clock), 500);
	source_ns = 9001;
	assert_int_equal(clock_now(&clock), 501);
}

static void test_can_be_set(void **context)
{
	struct clock clock;
	int moves = 0;

	(void)context;
	source_ns = 1000;
	clock_init_source(&clock, source, NULL);
	clock.deadline_moved = count_moves;
	clock.deadline_context = &moves;
	clock_set(&clock, 70);
	assert_int_equal(clock_now(&clock), 70);
	assert_int_equal(moves, 1);
	clock_pause(&clock);
	clock_set(&clock, 80);
	source_ns = 2000;
	assert_int_equal(clock_now(&clock), 80);
	clock_resume(&clock);
	source_ns = 2005;
	assert_int_equal(clock_now(&clock), 85);
}

static void test_timers_fire_in_order(void **context)
{
	struct clock clock;
	struct recorder r[4] = { 0 };
	int order = 0, moves = 0;

	(void)context;
	source_ns = 0;
	clock_init_source(&clock, source, NULL);
	clock.deadline_moved = count_moves;
	clock.deadline_context = &moves;
	for (int i = 0; i < 4; i++) {
		r[i].order = &order;
		timer_init(&r[i].timer, &clock, record, &r[i]);
	}
	assert_int_equal(clock_next_deadline(&clock), CLOCK_NEVER);
	timer_arm(&r[0].timer, 300);
	timer_arm(&r[1].timer, 100);
	timer_arm(&r[2].timer, 200);
	timer_arm(&r[3].timer, 250);
	assert_int_equal(moves, 2); /* the earliest was 300, then 100 */
	assert_int_equal(clock_next_deadline(&clock), 100);
	timer_cancel(&r[3].timer);
	timer_cancel(&r[3].timer);

	source_ns = 99;
	clock_run(&clock);
	assert_int_equal(order, 0);
	source_ns = 200;
	clock_run(&clock);
	assert_int_equal(r[1].fired, 1);
	assert_int_equal(r[2].fired, 2);
	assert_false(timer_is_armed(&r[1].timer));
	source_ns = 400;
	clock_pause(&clock);
	assert_int_equal(clock_next_deadline(&clock), CLOCK_NEVER);
	clock_resume(&clock);
	clock_run(&clock);
	assert_int_equal(r[0].fired, 3);
	assert_int_equal(r[3].fired, 0);
}

static void test_rearming(void **context)
{
	struct clock clock;
	int order = 0;
	struct recorder r = { .order = &order, .again_ns = 50 };

	(void)context;
	source_ns = 0;
	clock_init_source(&clock, source, NULL);
	timer_init(&r.timer, &clock, record, &r);
	timer_arm(&r.timer, 500);
	timer_arm(&r.timer, 100); /* replaces */
	source_ns = 120;
	clock_run(&clock);
	assert_int_equal(order, 1);
	assert_int_equal(clock_next_deadline(&clock), 170);
	source_ns = 170;
	clock_run(&clock);
	source_ns = 1000;
	clock_run(&clock);
	assert_int_equal(order, 3);
	assert_int_equal(clock_next_deadline(&clock), CLOCK_NEVER);
}

/* A deadline computed from ticks is never before them, and the sums are exact for centuries. */
static void test_conversions(void **context)
{
	static const uint64_t rates[] = { 1193182, 3579545, 32768, 1843200, 1000000000,
		3000000000 };
	const ns_t century_ns = INT64_C(100) * 365 * 86400 * NS_PER_S;

	(void)context;
	for (unsigned i = 0; i < sizeof(rates) / sizeof(rates[0]); i++) {
		for (uint64_t ticks = 0; ticks < 5000; ticks++) {
			ns_t ns = ticks_to_ns(ticks, rates[i]);

			assert_true(ns_to_ticks(ns, rates[i]) >= ticks);
			if (ns > 0 && rates[i] <= 1000000000)
				assert_true(ns_to_ticks(ns - 1, rates[i]) < ticks);
		}
		assert_int_equal(ns_to_ticks(century_ns, rates[i]),
			(uint64_t)(century_ns / NS_PER_S) * rates[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_starts_at_zero_and_pauses),
		cmocka_unit_test(test_can_be_set),
		cmocka_unit_test(test_timers_fire_in_order),
		cmocka_unit_test(test_rearming),
		cmocka_unit_test(test_conversions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
