/*
 * A pair of 8259As against the data sheet (231468): initialization, priority, the ends of
 * interrupt, rotation, special modes, polling, spurious interrupts, edge and level.
 */
#include "chip/chip_fixture.h"
#include "chip/i8259.h"
#include "chip/i8259_regs.h"

struct fixture {
	struct line_probe intr;
	struct i8259 master, slave;
};

#define MASTER_VECTOR 0x20
#define SLAVE_VECTOR  0x28

static void initialise(struct i8259 *chip, uint8_t vector, uint8_t icw3, uint8_t icw4)
{
	i8259_write(chip, I8259_REG_COMMAND, 0x11);
	i8259_write(chip, I8259_REG_DATA, vector);
	i8259_write(chip, I8259_REG_DATA, icw3);
	i8259_write(chip, I8259_REG_DATA, icw4);
}

static int setup(void **context)
{
	struct fixture *f = calloc(1, sizeof(*f));

	i8259_init(&f->master, line_probe_line(&f->intr), 0xf8);
	i8259_init(&f->slave, i8259_attach_slave(&f->master, 2, &f->slave), 0xde);
	initialise(&f->master, MASTER_VECTOR, 0x04, 0x01);
	initialise(&f->slave, SLAVE_VECTOR, 0x02, 0x01);
	*context = f;
	return 0;
}

static int teardown(void **context)
{
	free(*context);
	return 0;
}

static void set_irq(struct fixture *f, unsigned irq, bool level)
{
	struct irq_line line = i8259_input(irq < 8 ? &f->master : &f->slave, irq % 8);

	irq_line_set(&line, level);
}

static uint8_t read_isr(struct i8259 *chip)
{
	i8259_write(chip, I8259_REG_COMMAND, 0x0b);
	return i8259_read(chip, I8259_REG_COMMAND);
}

static uint8_t read_irr(struct i8259 *chip)
{
	i8259_write(chip, I8259_REG_COMMAND, 0x0a);
	return i8259_read(chip, I8259_REG_COMMAND);
}

static void eoi(struct i8259 *chip)
{
	i8259_write(chip, I8259_REG_COMMAND, 0x20);
}

static void test_nothing_before_initialization(void **context)
{
	struct fixture *f = *context;

	i8259_init(&f->master, line_probe_line(&f->intr), 0xf8);
	set_irq(f, 0, true);
	assert_false(f->intr.level);
	i8259_write(&f->master, I8259_REG_COMMAND, 0x11);
	set_irq(f, 1, true);
	assert_false(f->intr.level);
}

static void test_vectors_of_both_chips(void **context)
{
	struct fixture *f = *context;

	for (unsigned irq = 0; irq < 16; irq++) {
		if (irq == 2)
			continue;
		set_irq(f, irq, true);
		assert_true(f->intr.level);
		assert_int_equal(i8259_acknowledge(&f->master), MASTER_VECTOR + irq);
		assert_false(f->intr.level);
		assert_int_equal(read_isr(&f->master), irq < 8 ? 1 << irq : 0x04);
		set_irq(f, irq, false);
		if (irq >= 8)
			eoi(&f->slave);
		eoi(&f->master);
		assert_int_equal(read_isr(&f->master) | read_isr(&f->slave), 0);
	}
}

static void test_priority(void **context)
{
	struct fixture *f = *context;

	set_irq(f, 5, true);
	set_irq(f, 3, true);
	assert_int_equal(i8259_acknowledge(&f->master), MASTER_VECTOR + 3);
	assert_false(f->intr.level); /* 5 is lower */
	set_irq(f, 1, true);
	assert_true(f->intr.level); /* 1 is higher */
	assert_int_equal(i8259_acknowledge(&f->master), MASTER_VECTOR + 1);
	eoi(&f->master);
	assert_int_equal(read_isr(&f->master), 0x08);
	eoi(&f->master);
	assert_int_equal(i8259_acknowledge(&f->master), MASTER_VECTOR + 5);
}

static void test_mask(void **context)
{
	struct fixture *f = *context;

	i8259_write(&f->master, I8259_REG_DATA, 0x10);
	assert_int_equal(i8259_read(&f->master, I8259_REG_DATA), 0x10);
	set_irq(f, 4, true);
	assert_false(f->intr.level);
	assert_int_equal(read_irr(&f->master), 0x10); /* masked requests show in IRR */
	i8259_write(&f->master, I8259_REG_DATA, 0x00);
	assert_true(f->intr.level);
}

static void test_edge_needs_a_new_edge(void **context)
{
	struct fixture *f = *context;

	set_irq(f, 4, true);
	i8259_acknowledge(&f->master);
	eoi(&f->master);
	assert_false(f->intr.level);
	set_irq(f, 4, false);
	set_irq(f, 4, true);
	assert_true(f->intr.level);
}

/* ELCR: the request is the level. */
static void test_level(void **context)
{
	struct fixture *f = *context;

	i8259_write_elcr(&f->slave, 0x02);
	set_irq(f, 9, true);
	assert_int_equal(i8259_acknowledge(&f->master), SLAVE_VECTOR + 1);
	eoi(&f->slave);
	eoi(&f->master);
	assert_true(f->intr.level);
	set_irq(f, 9, false);
	assert_false(f->intr.level);
}

static void test_elcr_has_fixed_bits(void **context)
{
	struct fixture *f = *context;

	i8259_write_elcr(&f->master, 0xff);
	i8259_write_elcr(&f->slave, 0xff);
	assert_int_equal(i8259_read_elcr(&f->master), 0xf8);
	assert_int_equal(i8259_read_elcr(&f->slave), 0xde);
}

/* A request that is gone at INTA gives level 7 and sets no in-service bit. */
static void test_spurious(void **context)
{
	struct fixture *f = *context;

	set_irq(f, 4, true);
	set_irq(f, 4, false);
	assert_false(f->intr.level);
	assert_int_equal(i8259_acknowledge(&f->master), MASTER_VECTOR + 7);
	assert_int_equal(read_isr(&f->master), 0);

	/* From the slave: the master's cascade input is in service, the slave's are not. */
	i8259_write_elcr(&f->slave, 0x02);
	set_irq(f, 9, true);
	f->slave.state.lines = 0;
	assert_int_equal(i8259_acknowledge(&f->master), SLAVE_VECTOR + 7);
	assert_int_equal(read_isr(&f->master), 0x04);
	assert_int_equal(read_isr(&f->slave), 0);
}

static void test_specific_eoi(void **context)
{
	struct fixture *f = *context;

	set_irq(f, 3, true);
	i8259_acknowledge(&f->master);
	set_irq(f, 1, true);
	i8259_acknowledge(&f->master);
	i8259_write(&f->master, I8259_REG_COMMAND, 0x60 | 3);
	assert_int_equal(read_isr(&f->master), 0x02);
}

static void test_automatic_eoi(void **context)
{
	struct fixture *f = *context;

	initialise(&f->master, MASTER_VECTOR, 0x04, 0x03);
	set_irq(f, 3, true);
	assert_int_equal(i8259_acknowledge(&f->master), MASTER_VECTOR + 3);
	assert_int_equal(read_isr(&f->master), 0);
	set_irq(f, 5, true);
	assert_true(f->intr.level);
}

static void test_rotation(void **context)
{
	struct fixture *f = *context;

	/* Rotate on non-specific EOI: 4 becomes the lowest. */
	set_irq(f, 4, true);
	i8259_acknowledge(&f->master);
	i8259_write(&f->master, I8259_REG_COMMAND, 0xa0);
	set_irq(f, 4, false);
	set_irq(f, 4, true);
	set_irq(f, 6, true);
	assert_int_equal(i8259_acknowledge(&f->master), MASTER_VECTOR + 6);
	i8259_write(&f->master, I8259_REG_COMMAND, 0x66);
	assert_int_equal(i8259_acknowledge(&f->master), MASTER_VECTOR + 4);
	eoi(&f->master);

	/* Set priority: 5 is the lowest, 6 the highest. */
	i8259_write(&f->master, I8259_REG_COMMAND, 0xc0 | 5);
	set_irq(f, 0, true);
	set_irq(f, 7, true);
	assert_int_equal(i8259_acknowledge(&f->master), MASTER_VECTOR + 7);
	i8259_write(&f->master, I8259_REG_COMMAND, 0xe0 | 7); /* rotate on specific EOI */
	assert_int_equal(i8259_acknowledge(&f->master), MASTER_VECTOR + 0);
}

static void test_rotation_on_automatic_eoi(void **context)
{
	struct fixture *f = *context;

	initialise(&f->master, MASTER_VECTOR, 0x04, 0x03);
	i8259_write(&f->master, I8259_REG_COMMAND, 0x80);
	set_irq(f, 0, true);
	i8259_acknowledge(&f->master);
	set_irq(f, 0, false);
	set_irq(f, 0, true);
	set_irq(f, 1, true);
	assert_int_equal(i8259_acknowledge(&f->master), MASTER_VECTOR + 1);
	i8259_write(&f->master, I8259_REG_COMMAND, 0x00);
}

/* A masked input in service lets lower ones through, and a non-specific EOI does not end it. */
static void test_special_mask_mode(void **context)
{
	struct fixture *f = *context;

	set_irq(f, 3, true);
	i8259_acknowledge(&f->master);
	i8259_write(&f->master, I8259_REG_DATA, 0x08);
	set_irq(f, 6, true);
	assert_false(f->intr.level);
	i8259_write(&f->master, I8259_REG_COMMAND, 0x68);
	assert_true(f->intr.level);
	assert_int_equal(i8259_acknowledge(&f->master), MASTER_VECTOR + 6);
	eoi(&f->master);
	assert_int_equal(read_isr(&f->master), 0x08);
	eoi(&f->master);
	assert_int_equal(read_isr(&f->master), 0x08);
	i8259_write(&f->master, I8259_REG_COMMAND, 0x48);
	eoi(&f->master);
	assert_int_equal(read_isr(&f->master), 0);
}

static void test_special_fully_nested_mode(void **context)
{
	struct fixture *f = *context;

	set_irq(f, 12, true);
	i8259_acknowledge(&f->master);
	set_irq(f, 8, true);
	assert_false(f->intr.level); /* the master sees its input 2 in service */

	initialise(&f->master, MASTER_VECTOR, 0x04, 0x11);
	initialise(&f->slave, SLAVE_VECTOR, 0x02, 0x01);
	set_irq(f, 12, false);
	set_irq(f, 8, false);
	set_irq(f, 12, true);
	assert_int_equal(i8259_acknowledge(&f->master), SLAVE_VECTOR + 4);
	set_irq(f, 8, true);
	assert_true(f->intr.level);
	assert_int_equal(i8259_acknowledge(&f->master), SLAVE_VECTOR + 0);
}

static void test_poll(void **context)
{
	struct fixture *f = *context;

	i8259_write(&f->master, I8259_REG_COMMAND, 0x0c);
	assert_int_equal(i8259_read(&f->master, I8259_REG_COMMAND) & 0x80, 0);
	set_irq(f, 5, true);
	i8259_write(&f->master, I8259_REG_COMMAND, 0x0c);
	assert_int_equal(i8259_read(&f->master, I8259_REG_COMMAND), 0x85);
	assert_int_equal(read_isr(&f->master), 0x20);
	assert_false(f->intr.level);
}

static void test_icw1_clears(void **context)
{
	struct fixture *f = *context;

	set_irq(f, 4, true);
	i8259_write(&f->master, I8259_REG_DATA, 0xff);
	i8259_write(&f->master, I8259_REG_COMMAND, 0xc0 | 3);
	initialise(&f->master, MASTER_VECTOR, 0x04, 0x01);
	assert_int_equal(i8259_read(&f->master, I8259_REG_DATA), 0);
	/* An input that is high must see a new edge. */
	assert_int_equal(read_irr(&f->master), 0);
	assert_false(f->intr.level);
}

static void test_single_chip_takes_no_icw3(void **context)
{
	struct fixture *f = *context;

	i8259_write(&f->master, I8259_REG_COMMAND, 0x13);
	i8259_write(&f->master, I8259_REG_DATA, 0x40);
	i8259_write(&f->master, I8259_REG_DATA, 0x01); /* ICW4 */
	i8259_write(&f->master, I8259_REG_DATA, 0xa5); /* OCW1 */
	assert_int_equal(i8259_read(&f->master, I8259_REG_DATA), 0xa5);
}

#define pic_test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		pic_test(test_nothing_before_initialization),
		pic_test(test_vectors_of_both_chips),
		pic_test(test_priority),
		pic_test(test_mask),
		pic_test(test_edge_needs_a_new_edge),
		pic_test(test_level),
		pic_test(test_elcr_has_fixed_bits),
		pic_test(test_spurious),
		pic_test(test_specific_eoi),
		pic_test(test_automatic_eoi),
		pic_test(test_rotation),
		pic_test(test_rotation_on_automatic_eoi),
		pic_test(test_special_mask_mode),
		pic_test(test_special_fully_nested_mode),
		pic_test(test_poll),
		pic_test(test_icw1_clears),
		pic_test(test_single_chip_takes_no_icw3),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
