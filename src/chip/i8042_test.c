/*
 * The keyboard controller without a keyboard: what an operating system's probe sees, A20, reset.
 */
#include "chip/chip_fixture.h"
#include "chip/i8042.h"
#include "chip/i8042_regs.h"

struct fixture {
	struct line_probe keyboard_irq, aux_irq, a20, reset;
	struct i8042 chip;
};

static int setup(void **context)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct i8042_lines lines = {
		.keyboard_irq = line_probe_line(&f->keyboard_irq),
		.aux_irq = line_probe_line(&f->aux_irq),
		.a20 = line_probe_line(&f->a20),
		.reset = line_probe_line(&f->reset),
	};

	i8042_init(&f->chip, &lines);
	*context = f;
	return 0;
}

static int teardown(void **context)
{
	free(*context);
	return 0;
}

static void command(struct fixture *f, uint8_t value)
{
	i8042_write(&f->chip, I8042_REG_COMMAND, value);
}

static void data(struct fixture *f, uint8_t value)
{
	i8042_write(&f->chip, I8042_REG_DATA, value);
}

static uint8_t status(struct fixture *f)
{
	return i8042_read(&f->chip, I8042_REG_COMMAND);
}

static uint8_t answer(struct fixture *f)
{
	assert_true(status(f) & I8042_STATUS_OUTPUT_FULL);
	return i8042_read(&f->chip, I8042_REG_DATA);
}

static void test_controller_tests(void **context)
{
	struct fixture *f = *context;

	assert_int_equal(status(f), I8042_STATUS_UNLOCKED | I8042_STATUS_SYSTEM);
	command(f, 0xaa);
	assert_true(status(f) & I8042_STATUS_COMMAND);
	assert_int_equal(answer(f), 0x55);
	assert_false(status(f) & I8042_STATUS_OUTPUT_FULL);
	command(f, 0xab);
	assert_int_equal(answer(f), 0x00);
	command(f, 0xa9);
	assert_int_equal(answer(f), 0x00);
}

static void test_command_byte(void **context)
{
	struct fixture *f = *context;

	command(f, 0x60);
	data(f, 0x65);
	command(f, 0x20);
	assert_int_equal(answer(f), 0x65);
	command(f, 0xad);
	command(f, 0xa8);
	command(f, 0x20);
	assert_int_equal(answer(f), 0x55);
	command(f, 0x7f);
	data(f, 0xa5);
	command(f, 0x3f);
	assert_int_equal(answer(f), 0xa5);
}

static void test_nobody_is_plugged_in(void **context)
{
	struct fixture *f = *context;

	data(f, 0xff); /* reset, to the keyboard */
	assert_true(status(f) & I8042_STATUS_TIMEOUT);
	assert_false(status(f) & I8042_STATUS_AUX);
	assert_int_equal(answer(f), 0xfe);
	command(f, 0xd4);
	data(f, 0xff);
	assert_true(status(f) & I8042_STATUS_TIMEOUT);
	assert_true(status(f) & I8042_STATUS_AUX);
	assert_int_equal(answer(f), 0xfe);
}

static void test_interrupts(void **context)
{
	struct fixture *f = *context;

	command(f, 0x60);
	data(f, 0x03);
	command(f, 0xd2);
	data(f, 0x5a);
	assert_true(f->keyboard_irq.level);
	assert_int_equal(answer(f), 0x5a);
	assert_false(f->keyboard_irq.level);
	command(f, 0xd3); /* how Linux looks for an auxiliary port */
	data(f, 0x5a);
	assert_true(f->aux_irq.level);
	assert_false(f->keyboard_irq.level);
	assert_true(status(f) & I8042_STATUS_AUX);
	assert_int_equal(answer(f), 0x5a);
	assert_false(f->aux_irq.level);
}

static void test_a20(void **context)
{
	struct fixture *f = *context;

	assert_true(f->a20.level);
	command(f, 0xd1);
	data(f, 0x01);
	assert_false(f->a20.level);
	command(f, 0xd0);
	assert_int_equal(answer(f), 0x01);
	command(f, 0xd1);
	data(f, 0x03);
	assert_true(f->a20.level);
	command(f, 0xdd);
	assert_false(f->a20.level);
	command(f, 0xdf);
	assert_true(f->a20.level);
	assert_int_equal(f->reset.rises, 0);
}

static void test_reset(void **context)
{
	struct fixture *f = *context;

	command(f, 0xff); /* pulses nothing */
	assert_int_equal(f->reset.rises, 0);
	command(f, 0xfe);
	assert_int_equal(f->reset.rises, 1);
	command(f, 0xd1);
	data(f, 0x02);
	assert_int_equal(f->reset.rises, 2);
}

#define i8042_test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		i8042_test(test_controller_tests),
		i8042_test(test_command_byte),
		i8042_test(test_nobody_is_plugged_in),
		i8042_test(test_interrupts),
		i8042_test(test_a20),
		i8042_test(test_reset),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
