/*
 * System control ports A and B, and the reset control register.
 */
#include "chip/chip_fixture.h"
#include "chip/i8254_regs.h"
#include "chip/reset_control.h"
#include "chip/system_port.h"

struct fixture {
	struct fake_clock fake;
	struct line_probe a20, reset;
	struct i8254 pit;
	struct system_port chip;
};

static int setup(void **context)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct irq_line outputs[I8254_NR_COUNTERS] = { 0 };

	fake_clock_init(&f->fake);
	i8254_init(&f->pit, &f->fake.clock, outputs);
	system_port_init(&f->chip, &f->fake.clock, &f->pit, line_probe_line(&f->a20),
		line_probe_line(&f->reset));
	*context = f;
	return 0;
}

static int teardown(void **context)
{
	free(*context);
	return 0;
}

static void test_port_a(void **context)
{
	struct fixture *f = *context;

	assert_false(f->a20.level);
	system_port_write_a(&f->chip, 0x02);
	assert_true(f->a20.level);
	assert_int_equal(system_port_read_a(&f->chip), 0x02);
	system_port_write_a(&f->chip, 0x03);
	system_port_write_a(&f->chip, 0x03);
	assert_int_equal(f->reset.rises, 1);
	system_port_type.reset(&f->chip);
	assert_false(f->a20.level);
}

/* How systems measure a clock with counter 2: mode 0, gate, wait for OUT. */
static void test_port_b_and_counter_2(void **context)
{
	struct fixture *f = *context;

	i8254_write(&f->pit, I8254_REG_CONTROL, 0xb0);
	i8254_write(&f->pit, 2, 0x9c);
	i8254_write(&f->pit, 2, 0x2e); /* 11932: 10 ms */
	fake_clock_advance(&f->fake, NS_PER_S);
	assert_false(system_port_read_b(&f->chip) & 0x20);
	system_port_write_b(&f->chip, 0x01);
	assert_int_equal(system_port_read_b(&f->chip) & 0x2f, 0x01);
	fake_clock_advance(&f->fake, 9990 * NS_PER_US);
	assert_false(system_port_read_b(&f->chip) & 0x20);
	fake_clock_advance(&f->fake, 20 * NS_PER_US);
	assert_true(system_port_read_b(&f->chip) & 0x20);
}

static void test_port_b_refresh(void **context)
{
	struct fixture *f = *context;
	unsigned changes = 0;
	uint8_t last = system_port_read_b(&f->chip) & 0x10;

	for (unsigned us = 0; us < 15085; us++) {
		uint8_t now;

		fake_clock_advance(&f->fake, NS_PER_US);
		now = system_port_read_b(&f->chip) & 0x10;
		changes += now != last;
		last = now;
	}
	assert_int_equal(changes, 1000); /* every 15.085 us */
}

static void test_reset_control(void **context)
{
	struct fixture *f = *context;
	struct reset_control chip;

	reset_control_init(&chip, line_probe_line(&f->reset));
	reset_control_write(&chip, 0x02);
	assert_int_equal(f->reset.rises, 0);
	assert_int_equal(reset_control_read(&chip), 0x02);
	reset_control_write(&chip, RESET_CONTROL_HARD_RESET);
	assert_int_equal(f->reset.rises, 1);
	reset_control_write(&chip, RESET_CONTROL_HARD_RESET); /* no new edge */
	assert_int_equal(f->reset.rises, 1);
	reset_control_type.reset(&chip);
	assert_int_equal(reset_control_read(&chip), 0);
}

#define system_port_test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		system_port_test(test_port_a),
		system_port_test(test_port_b_and_counter_2),
		system_port_test(test_port_b_refresh),
		system_port_test(test_reset_control),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
