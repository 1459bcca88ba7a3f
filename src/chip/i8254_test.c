/*
 * The 8254 against its data sheet (231164): the modes' waveforms, latches, the read-back command,
 * BCD. Time is counted in CLK pulses of 1193182 Hz.
 */
#include "chip/chip_fixture.h"
#include "chip/i8254.h"
#include "chip/i8254_regs.h"

struct fixture {
	struct fake_clock fake;
	struct line_probe probe;
	struct i8254 pit;
};

static int setup(void **context)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct irq_line outputs[I8254_NR_COUNTERS] = { line_probe_line(&f->probe) };

	fake_clock_init(&f->fake);
	i8254_init(&f->pit, &f->fake.clock, outputs);
	*context = f;
	return 0;
}

static int teardown(void **context)
{
	free(*context);
	return 0;
}

/* Moves time to `tick` CLK pulses after the start. */
static void run_to(struct fixture *f, uint64_t tick)
{
	fake_clock_run_to(&f->fake, ticks_to_ns(tick, I8254_HZ));
}

static void run(struct fixture *f, uint64_t ticks)
{
	run_to(f, ns_to_ticks(f->fake.source_ns, I8254_HZ) + ticks);
}

static void program(struct fixture *f, unsigned counter, unsigned mode, uint16_t count)
{
	i8254_write(&f->pit, I8254_REG_CONTROL,
		(uint8_t)(counter << 6 | I8254_ACCESS_WORD << 4 | mode << 1));
	i8254_write(&f->pit, counter, (uint8_t)count);
	i8254_write(&f->pit, counter, (uint8_t)(count >> 8));
}

static uint16_t read_word(struct fixture *f, unsigned counter)
{
	uint8_t low = i8254_read(&f->pit, counter);

	return (uint16_t)(i8254_read(&f->pit, counter) << 8 | low);
}

static uint8_t read_status(struct fixture *f, unsigned counter)
{
	i8254_write(&f->pit, I8254_REG_CONTROL,
		(uint8_t)(0xc0 | I8254_READ_BACK_NO_COUNT | 2u << counter));
	return i8254_read(&f->pit, counter);
}

/* "For an initial count of N, OUT does not go high until N + 1 CLK pulses" after the write. */
static void test_mode_0_interrupt_on_terminal_count(void **context)
{
	struct fixture *f = *context;

	program(f, 0, 0, 4);
	assert_false(i8254_output(&f->pit, 0));
	run_to(f, 4);
	assert_false(f->probe.level);
	run_to(f, 5);
	assert_true(f->probe.level);
	assert_int_equal(read_word(f, 0), 0);
	/* It goes on counting: the element wraps, OUT stays. */
	run_to(f, 6);
	assert_int_equal(read_word(f, 0), 0xffff);
	run_to(f, 100000);
	assert_true(f->probe.level);
	assert_int_equal(f->probe.rises, 1);
}

static void test_mode_0_first_byte_stops(void **context)
{
	struct fixture *f = *context;

	program(f, 0, 0, 1000);
	run_to(f, 11);
	i8254_write(&f->pit, 0, 5);
	run_to(f, 5000);
	assert_false(f->probe.level);
	i8254_write(&f->pit, 0, 0);
	run_to(f, 5005);
	assert_false(f->probe.level);
	run_to(f, 5006);
	assert_true(f->probe.level);
}

static void test_mode_0_gate_holds(void **context)
{
	struct fixture *f = *context;

	program(f, 0, 0, 100);
	run_to(f, 41);
	i8254_set_gate(&f->pit, 0, false);
	run_to(f, 1000);
	assert_int_equal(read_word(f, 0), 60);
	assert_false(f->probe.level);
	i8254_set_gate(&f->pit, 0, true);
	run_to(f, 1059);
	assert_false(f->probe.level);
	run_to(f, 1060);
	assert_true(f->probe.level);
}

static void test_mode_1_one_shot(void **context)
{
	struct fixture *f = *context;

	i8254_set_gate(&f->pit, 0, false);
	program(f, 0, 1, 10);
	run_to(f, 100);
	assert_true(f->probe.level);
	i8254_set_gate(&f->pit, 0, true);
	run_to(f, 101);
	assert_false(f->probe.level);
	/* Retriggered after 5 pulses: low for 10 more. */
	run_to(f, 105);
	i8254_set_gate(&f->pit, 0, false);
	i8254_set_gate(&f->pit, 0, true);
	run_to(f, 115);
	assert_false(f->probe.level);
	run_to(f, 116);
	assert_true(f->probe.level);
	assert_int_equal(f->probe.falls, 1);
}

static void test_mode_2_rate_generator(void **context)
{
	struct fixture *f = *context;

	program(f, 0, 2, 1000);
	run_to(f, 1);
	assert_int_equal(read_word(f, 0), 1000);
	assert_true(i8254_output(&f->pit, 0));
	run_to(f, 1 + 999);
	assert_int_equal(read_word(f, 0), 1);
	assert_false(i8254_output(&f->pit, 0));
	f->probe.rises = 0;
	run_to(f, 1 + 1000);
	assert_int_equal(read_word(f, 0), 1000);
	assert_true(i8254_output(&f->pit, 0));
	assert_int_equal(f->probe.rises, 1);
	run_to(f, 1 + 50000);
	assert_int_equal(f->probe.rises, 50);
}

static void test_mode_2_new_count_waits_for_the_period(void **context)
{
	struct fixture *f = *context;

	program(f, 0, 2, 1000);
	run_to(f, 1 + 2500);
	i8254_write(&f->pit, 0, 100);
	i8254_write(&f->pit, 0, 0);
	assert_true(read_status(f, 0) & I8254_STATUS_NULL_COUNT);
	assert_int_equal(read_word(f, 0), 500);
	run_to(f, 1 + 3000);
	assert_false(read_status(f, 0) & I8254_STATUS_NULL_COUNT);
	assert_int_equal(read_word(f, 0), 100);
	run_to(f, 1 + 3030);
	assert_int_equal(read_word(f, 0), 70);
	run_to(f, 1 + 3130);
	assert_int_equal(read_word(f, 0), 70);
}

static void test_mode_2_gate_sets_output_and_reloads(void **context)
{
	struct fixture *f = *context;

	program(f, 0, 2, 1000);
	run_to(f, 1 + 400);
	i8254_set_gate(&f->pit, 0, false);
	run_to(f, 1 + 999);
	assert_true(i8254_output(&f->pit, 0));
	assert_int_equal(read_word(f, 0), 600);
	run_to(f, 2000);
	i8254_set_gate(&f->pit, 0, true);
	run_to(f, 2001 + 10);
	assert_int_equal(read_word(f, 0), 990);
}

/* Even counts: N/2 high, N/2 low; odd: (N + 1)/2 high, (N - 1)/2 low; counts by two. */
static void test_mode_3_square_wave(void **context)
{
	struct fixture *f = *context;

	program(f, 0, 3, 1000);
	run_to(f, 1 + 10);
	assert_int_equal(read_word(f, 0), 980);
	run_to(f, 1 + 499);
	assert_true(f->probe.level);
	assert_int_equal(read_word(f, 0), 2);
	run_to(f, 1 + 500);
	assert_false(f->probe.level);
	assert_int_equal(read_word(f, 0), 1000);
	run_to(f, 1 + 999);
	assert_false(f->probe.level);
	run_to(f, 1 + 1000);
	assert_true(f->probe.level);

	program(f, 0, 3, 1001);
	f->probe = (struct line_probe){ .level = true };
	run_to(f, 1001 + 1 + 500);
	assert_true(f->probe.level);
	assert_int_equal(read_word(f, 0), 0);
	run_to(f, 1001 + 1 + 501);
	assert_false(f->probe.level);
	run_to(f, 1001 + 1 + 1000);
	assert_false(f->probe.level);
	run_to(f, 1001 + 1 + 1001);
	assert_true(f->probe.level);
}

static void test_mode_4_software_strobe(void **context)
{
	struct fixture *f = *context;

	program(f, 0, 4, 100);
	f->probe.rises = 0;
	run_to(f, 100);
	assert_true(i8254_output(&f->pit, 0));
	run_to(f, 101);
	assert_false(i8254_output(&f->pit, 0));
	run_to(f, 102);
	assert_true(i8254_output(&f->pit, 0));
	assert_int_equal(f->probe.rises, 1);
	run_to(f, 1000000);
	assert_int_equal(f->probe.rises, 1);
}

static void test_mode_5_hardware_strobe(void **context)
{
	struct fixture *f = *context;

	i8254_set_gate(&f->pit, 0, false);
	program(f, 0, 5, 100);
	f->probe.rises = 0;
	run_to(f, 1000);
	assert_int_equal(f->probe.rises, 0);
	i8254_set_gate(&f->pit, 0, true);
	run_to(f, 1101);
	assert_false(i8254_output(&f->pit, 0));
	run_to(f, 1102);
	assert_true(i8254_output(&f->pit, 0));
	assert_int_equal(f->probe.rises, 1);
}

static void test_count_0_is_65536(void **context)
{
	struct fixture *f = *context;

	program(f, 0, 2, 0);
	f->probe.rises = 0;
	run_to(f, 1 + 65535);
	assert_int_equal(f->probe.rises, 0);
	run_to(f, 1 + 65536);
	assert_int_equal(f->probe.rises, 1);
	assert_int_equal(read_word(f, 0), 0); /* 65536 reads as 0 */
	run(f, 1);
	assert_int_equal(read_word(f, 0), 65535);
}

static void test_bcd(void **context)
{
	struct fixture *f = *context;

	i8254_write(&f->pit, I8254_REG_CONTROL, 0x35); /* counter 0, word, mode 2, BCD */
	i8254_write(&f->pit, 0, 0x00);
	i8254_write(&f->pit, 0, 0x10);
	run_to(f, 1 + 1);
	assert_int_equal(read_word(f, 0), 0x0999);
	run_to(f, 1 + 1000);
	assert_int_equal(read_word(f, 0), 0x1000);

	i8254_write(&f->pit, I8254_REG_CONTROL, 0x35);
	i8254_write(&f->pit, 0, 0);
	i8254_write(&f->pit, 0, 0); /* 10000 */
	run(f, 2);
	assert_int_equal(read_word(f, 0), 0x9999);
}

static void test_access_of_one_byte(void **context)
{
	struct fixture *f = *context;

	i8254_write(&f->pit, I8254_REG_CONTROL, 0x14); /* counter 0, LSB, mode 2 */
	i8254_write(&f->pit, 0, 100);
	run_to(f, 1 + 10);
	assert_int_equal(i8254_read(&f->pit, 0), 90);
	assert_int_equal(i8254_read(&f->pit, 0), 90);

	i8254_write(&f->pit, I8254_REG_CONTROL, 0x24); /* MSB */
	i8254_write(&f->pit, 0, 2);
	run(f, 1 + 10);
	assert_int_equal(i8254_read(&f->pit, 0), 1); /* 512 - 10 = 0x1f6 */
}

static void test_latch_holds_until_read(void **context)
{
	struct fixture *f = *context;

	program(f, 0, 2, 60000);
	run_to(f, 1 + 1000);
	i8254_write(&f->pit, I8254_REG_CONTROL, 0x00);
	run_to(f, 1 + 2000);
	i8254_write(&f->pit, I8254_REG_CONTROL, 0x00); /* ignored */
	assert_int_equal(read_word(f, 0), 59000);
	assert_int_equal(read_word(f, 0), 58000);
}

static void test_read_back(void **context)
{
	struct fixture *f = *context;

	program(f, 0, 2, 60000);
	program(f, 2, 3, 40000);
	run_to(f, 1 + 1000);
	/* Count and status of counters 0 and 2. */
	i8254_write(&f->pit, I8254_REG_CONTROL, 0xc0 | 0x0a);
	run_to(f, 1 + 1500);
	assert_int_equal(i8254_read(&f->pit, 0), 0xb4); /* OUT, word, mode 2 */
	assert_int_equal(read_word(f, 0), 59000);
	assert_int_equal(read_word(f, 0), 58500);
	assert_int_equal(i8254_read(&f->pit, 2), 0xb6);
	assert_int_equal(read_word(f, 2), 38000);
}

static void test_null_count(void **context)
{
	struct fixture *f = *context;

	i8254_write(&f->pit, I8254_REG_CONTROL, 0x30);
	assert_int_equal(read_status(f, 0), 0x70);
	i8254_write(&f->pit, 0, 10);
	i8254_write(&f->pit, 0, 0);
	assert_int_equal(read_status(f, 0), 0x70);
	run(f, 1);
	assert_int_equal(read_status(f, 0), 0x30);
}

static void test_state_survives_in_the_middle_of_a_period(void **context)
{
	struct fixture *f = *context;
	struct state_buffer buffer = { 0 };
	struct i8254_state before;

	program(f, 0, 3, 1000);
	run_to(f, 1 + 1700);
	assert_int_equal(state_encode(&buffer, i8254_type.state, "pit", &f->pit.state), 0);
	before = f->pit.state;
	program(f, 0, 0, 7);
	run(f, 3);
	assert_true(
		state_decode(buffer.bytes, buffer.size, i8254_type.state, &f->pit.state, NULL) > 0);
	assert_memory_equal(&before, &f->pit.state, sizeof(before));
	i8254_type.restored(&f->pit);
	state_buffer_finish(&buffer);
	assert_false(f->probe.level);
	run_to(f, 1 + 2000);
	assert_true(f->probe.level);
}

/* The shortest periods may not keep the host busy. */
static void test_edges_are_limited(void **context)
{
	struct fixture *f = *context;

	for (uint16_t count = 1; count < 60; count++) {
		for (unsigned mode = 2; mode <= 3; mode++) {
			program(f, 0, mode, count);
			f->probe.rises = 0;
			fake_clock_advance(&f->fake, 10 * NS_PER_MS);
			assert_in_range(f->probe.rises, 0, 10000 / 50 + 1);
		}
	}
}

#define pit_test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		pit_test(test_mode_0_interrupt_on_terminal_count),
		pit_test(test_mode_0_first_byte_stops),
		pit_test(test_mode_0_gate_holds),
		pit_test(test_mode_1_one_shot),
		pit_test(test_mode_2_rate_generator),
		pit_test(test_mode_2_new_count_waits_for_the_period),
		pit_test(test_mode_2_gate_sets_output_and_reloads),
		pit_test(test_mode_3_square_wave),
		pit_test(test_mode_4_software_strobe),
		pit_test(test_mode_5_hardware_strobe),
		pit_test(test_count_0_is_65536),
		pit_test(test_bcd),
		pit_test(test_access_of_one_byte),
		pit_test(test_latch_holds_until_read),
		pit_test(test_read_back),
		pit_test(test_null_count),
		pit_test(test_state_survives_in_the_middle_of_a_period),
		pit_test(test_edges_are_limited),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
