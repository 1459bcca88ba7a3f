/*
 * The HPET against IA-PC HPET 1.0a. A tick is 10 ns.
 */
#include "chip/chip_fixture.h"
#include "chip/hpet.h"

#define TICK      INT64_C(10)
#define T(n, reg) (0x100u + 0x20u * (n) + (reg))

struct fixture {
	struct fake_clock fake;
	struct hpet chip;
	struct line_probe inputs[24], legacy[2], replaces;
};

static void set_input(void *context, unsigned input, bool level)
{
	struct fixture *f = context;

	assert_true(input < 24);
	line_probe_set(&f->inputs[input], 0, level);
}

static int setup(void **context)
{
	struct fixture *f = calloc(1, sizeof(*f));
	const struct hpet_wiring wiring = {
		.routes = 0x000f0000,
		.set = set_input,
		.context = f,
		.legacy = { line_probe_line(&f->legacy[0]), line_probe_line(&f->legacy[1]) },
		.replaces = line_probe_line(&f->replaces),
	};

	fake_clock_init(&f->fake);
	hpet_init(&f->chip, &f->fake.clock, &wiring);
	hpet_type.reset(&f->chip);
	*context = f;
	return 0;
}

static int teardown(void **context)
{
	free(*context);
	return 0;
}

static uint64_t get(struct fixture *f, uint32_t offset)
{
	return hpet_read(&f->chip, offset, 8);
}

static void put(struct fixture *f, uint32_t offset, uint64_t value)
{
	hpet_write(&f->chip, offset, 8, value);
}

static void run(struct fixture *f, int64_t ticks)
{
	fake_clock_advance(&f->fake, ticks * TICK);
}

/* 2.3.4: 10000000 fs, Intel, legacy replacement, 64 bits, three timers, revision 1. */
static void test_capabilities(void **context)
{
	struct fixture *f = *context;

	assert_int_equal(get(f, 0), UINT64_C(0x009896808086a201));
	assert_int_equal(hpet_read(&f->chip, 4, 4), 0x00989680);
	put(f, 0, 0);
	assert_int_equal(get(f, 0), UINT64_C(0x009896808086a201));
	assert_int_equal(get(f, T(0, 0)), UINT64_C(0x000f000000000030));
	assert_int_equal(get(f, T(3, 0)), 0);
	/* Registers are accessed in whole halves. */
	assert_int_equal(hpet_read(&f->chip, 1, 1), 0);
}

static void test_counter(void **context)
{
	struct fixture *f = *context;

	run(f, 5);
	assert_int_equal(get(f, 0xf0), 0);
	put(f, 0xf0, UINT64_C(0xfffffffe));
	put(f, 0x10, 1);
	run(f, 3);
	assert_int_equal(get(f, 0xf0), UINT64_C(0x100000001));
	assert_int_equal(hpet_read(&f->chip, 0xf4, 4), 1);
	/* Not while it runs. */
	put(f, 0xf0, 0);
	assert_int_equal(get(f, 0xf0), UINT64_C(0x100000001));
	put(f, 0x10, 0);
	run(f, 100);
	assert_int_equal(get(f, 0xf0), UINT64_C(0x100000001));
	hpet_write(&f->chip, 0xf4, 4, 7);
	assert_int_equal(get(f, 0xf0), UINT64_C(0x700000001));
}

static void test_one_shot_edge(void **context)
{
	struct fixture *f = *context;

	put(f, T(0, 0), 17 << 9 | 0x04);
	put(f, T(0, 8), 1000);
	put(f, 0x10, 1);
	run(f, 999);
	assert_int_equal(f->inputs[17].rises, 0);
	run(f, 1);
	assert_int_equal(f->inputs[17].rises, 1);
	assert_false(f->inputs[17].level);
	assert_int_equal(get(f, 0x20), 0);
	run(f, 1000000);
	assert_int_equal(f->inputs[17].rises, 1);
	/* One that is behind does not match. */
	put(f, T(0, 8), 500);
	run(f, 1000000);
	assert_int_equal(f->inputs[17].rises, 1);
}

/* 2.3.8: with 32 bits it matches each time the counter comes around. */
static void test_one_shot_of_32_bits(void **context)
{
	struct fixture *f = *context;

	put(f, T(1, 0), 16 << 9 | 0x104);
	put(f, T(1, 8), UINT64_C(0x5000003e8));
	assert_int_equal(get(f, T(1, 8)), 1000);
	put(f, 0x10, 1);
	run(f, 1000);
	assert_int_equal(f->inputs[16].rises, 1);
	run(f, INT64_C(0xffffffff));
	assert_int_equal(f->inputs[16].rises, 1);
	run(f, 1);
	assert_int_equal(f->inputs[16].rises, 2);
}

static void test_level(void **context)
{
	struct fixture *f = *context;

	put(f, T(2, 0), 18 << 9 | 0x06);
	put(f, T(2, 8), 10);
	put(f, 0x10, 1);
	run(f, 10);
	assert_true(f->inputs[18].level);
	assert_int_equal(get(f, 0x20), 4);
	put(f, 0x20, 3);
	assert_true(f->inputs[18].level);
	put(f, 0x20, 4);
	assert_false(f->inputs[18].level);
	/* Moved while it is asserted. */
	put(f, T(2, 8), get(f, 0xf0) + 10);
	run(f, 10);
	put(f, T(2, 0), 19 << 9 | 0x06);
	assert_false(f->inputs[18].level);
	assert_true(f->inputs[19].level);
	hpet_type.reset(&f->chip);
	assert_false(f->inputs[19].level);
}

/* 2.3.9.2.2, in the order in which Linux writes: the first match, then the period. */
static void test_periodic(void **context)
{
	struct fixture *f = *context;

	put(f, 0x10, 1);
	put(f, T(0, 0), 16 << 9 | 0x4c);
	put(f, T(0, 8), 3000);
	put(f, T(0, 8), 1000);
	assert_int_equal(get(f, T(0, 0)) & 0x40, 0);
	run(f, 2999);
	assert_int_equal(f->inputs[16].rises, 0);
	run(f, 1);
	assert_int_equal(f->inputs[16].rises, 1);
	assert_int_equal(get(f, T(0, 8)), 4000);
	run(f, 10000);
	assert_int_equal(f->inputs[16].rises, 11);
	/* A host that was late: merged, and in step again. */
	f->fake.source_ns += 5500 * TICK;
	clock_run(&f->fake.clock);
	assert_int_equal(f->inputs[16].rises, 12);
	assert_int_equal(get(f, T(0, 8)), 19000);
}

/* Periods that the host could not keep up with, and none. */
static void test_shortest_periods(void **context)
{
	struct fixture *f = *context;

	put(f, 0x10, 1);
	put(f, T(0, 0), 16 << 9 | 0x4c);
	put(f, T(0, 8), 1);
	run(f, 100000);
	assert_in_range(f->inputs[16].rises, 1, 201);
	put(f, T(0, 8), 0);
	run(f, 100000);
	assert_in_range(f->inputs[16].rises, 1, 202);
}

/* 2.3.5: timers 0 and 1 take the place of the PIT and the RTC. */
static void test_legacy_replacement(void **context)
{
	struct fixture *f = *context;

	put(f, T(0, 0), 16 << 9 | 0x04);
	put(f, T(1, 0), 17 << 9 | 0x04);
	put(f, T(0, 8), 100);
	put(f, T(1, 8), 200);
	put(f, 0x10, 3);
	assert_true(f->replaces.level);
	run(f, 200);
	assert_int_equal(f->legacy[0].rises, 1);
	assert_int_equal(f->legacy[1].rises, 1);
	assert_int_equal(f->inputs[16].rises + f->inputs[17].rises, 0);
	put(f, 0x10, 1);
	assert_false(f->replaces.level);
}

static void test_routes(void **context)
{
	struct fixture *f = *context;

	put(f, T(0, 0), 17 << 9);
	put(f, T(0, 0), 2 << 9 | 0x04);
	assert_int_equal(get(f, T(0, 0)) & 0xffff, 17 << 9 | 0x34);
}

static void test_state(void **context)
{
	struct fixture *f = *context;
	struct state_buffer saved = { 0 };
	struct error err = { 0 };

	assert_true(state_covers(hpet_type.state, &err));
	put(f, T(2, 0), 18 << 9 | 0x06);
	put(f, T(2, 8), 1000);
	put(f, 0x10, 1);
	run(f, 600);
	assert_int_equal(state_encode(&saved, hpet_type.state, "hpet", &f->chip.state), 0);
	hpet_type.reset(&f->chip);
	assert_int_equal(
		state_decode(saved.bytes, saved.size, hpet_type.state, &f->chip.state, &err),
		(long)saved.size);
	hpet_type.restored(&f->chip);
	run(f, 400);
	assert_true(f->inputs[18].level);
	state_buffer_finish(&saved);
}

int main(void)
{
#define hpet_test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		hpet_test(test_capabilities),
		hpet_test(test_counter),
		hpet_test(test_one_shot_edge),
		hpet_test(test_one_shot_of_32_bits),
		hpet_test(test_level),
		hpet_test(test_periodic),
		hpet_test(test_shortest_periods),
		hpet_test(test_legacy_replacement),
		hpet_test(test_routes),
		hpet_test(test_state),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
