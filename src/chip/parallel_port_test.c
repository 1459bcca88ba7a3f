/*
 * The parallel port as a driver uses it: write data, look whether the printer is ready, strobe.
 */
#include "chip/chip_fixture.h"
#include "chip/parallel_port.h"
#include "chip/pvpanic.h"

struct fixture {
	struct parallel_port chip;
	struct line_probe interrupt;
	char printed[16];
	size_t count, room;
};

static size_t take(void *context, const uint8_t *bytes, size_t size)
{
	struct fixture *f = context;

	for (size_t i = 0; i < size; i++) {
		if (f->count == f->room)
			return i;
		f->printed[f->count++] = (char)bytes[i];
	}
	return size;
}

static int setup(void **context)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->room = sizeof(f->printed);
	parallel_port_init(&f->chip, line_probe_line(&f->interrupt),
		(struct char_line){ .write = take, .context = f });
	parallel_port_type.reset(&f->chip);
	*context = f;
	return 0;
}

static int teardown(void **context)
{
	free(*context);
	return 0;
}

static void strobe(struct fixture *f, char byte, uint8_t control)
{
	parallel_port_write(&f->chip, 0, (uint8_t)byte);
	parallel_port_write(&f->chip, 2, control | 0x01);
	parallel_port_write(&f->chip, 2, control);
}

static void test_registers(void **context)
{
	struct fixture *f = *context;

	/* Ready, selected, no error, no acknowledgement, paper. */
	assert_int_equal(parallel_port_read(&f->chip, 1), 0xd8);
	parallel_port_write(&f->chip, 0, 0x5a);
	assert_int_equal(parallel_port_read(&f->chip, 0), 0x5a);
	parallel_port_write(&f->chip, 2, 0xff);
	assert_int_equal(parallel_port_read(&f->chip, 2), 0xff);
	parallel_port_write(&f->chip, 2, 0x0c);
	assert_int_equal(parallel_port_read(&f->chip, 2), 0xec);
	parallel_port_write(&f->chip, 1, 0x00);
	assert_int_equal(parallel_port_read(&f->chip, 1), 0xd8);
}

static void test_printing(void **context)
{
	struct fixture *f = *context;

	strobe(f, 'a', 0x0c);
	strobe(f, 'b', 0x0c);
	assert_int_equal(f->count, 2);
	assert_memory_equal(f->printed, "ab", 2);
	assert_int_equal(f->interrupt.rises, 0);
	/* Held at the strobe nothing more is printed. */
	parallel_port_write(&f->chip, 2, 0x0d);
	parallel_port_write(&f->chip, 2, 0x0d);
	assert_int_equal(f->count, 3);
	/* A printer that is held in reset takes nothing. */
	strobe(f, 'x', 0x08);
	assert_int_equal(f->count, 3);
	strobe(f, 'c', 0x1c);
	assert_int_equal(f->interrupt.rises, 1);
}

static void test_a_busy_printer(void **context)
{
	struct fixture *f = *context;

	f->room = 1;
	strobe(f, 'a', 0x1c);
	strobe(f, 'b', 0x1c);
	assert_int_equal(parallel_port_read(&f->chip, 1) & 0x80, 0);
	assert_int_equal(f->interrupt.rises, 1);
	strobe(f, 'x', 0x1c);
	parallel_port_writable(&f->chip);
	assert_int_equal(parallel_port_read(&f->chip, 1) & 0x80, 0);
	f->room = 2;
	parallel_port_writable(&f->chip);
	assert_int_equal(parallel_port_read(&f->chip, 1) & 0x80, 0x80);
	assert_int_equal(f->interrupt.rises, 2);
	assert_memory_equal(f->printed, "ab", 2);
}

static void test_state_table(void **context)
{
	struct error err = { 0 };

	(void)context;
	assert_true(state_covers(parallel_port_type.state, &err));
}

static void count_panic(void *context, uint8_t events)
{
	*(unsigned *)context = *(unsigned *)context * 16 + events;
}

static void test_pvpanic(void **context)
{
	unsigned told = 0;
	struct pvpanic chip = { .told = count_panic, .context = &told };

	(void)context;
	assert_int_equal(pvpanic_read(&chip), 3);
	pvpanic_write(&chip, 0xfc);
	assert_int_equal(told, 0);
	pvpanic_write(&chip, 1);
	pvpanic_write(&chip, 0xff);
	assert_int_equal(told, 0x13);
}

#define port_test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		port_test(test_registers),
		port_test(test_printing),
		port_test(test_a_busy_printer),
		port_test(test_state_table),
		cmocka_unit_test(test_pvpanic),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
