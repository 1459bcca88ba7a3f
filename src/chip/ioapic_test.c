/*
 * The I/O APIC against its data sheet (290566): registers, edge and level, messages.
 */
#include "chip/chip_fixture.h"
#include "chip/ioapic.h"
#include "chip/ioapic_regs.h"

struct fixture {
	struct cpu_bus bus;
	struct ioapic chip;
	unsigned nr_messages;
	gpa_t address;
	uint32_t data;
	unsigned nr_routes;
	bool route_masked, route_level;
	gpa_t route_address;
};

static void record_msi(void *engine, gpa_t address, uint32_t data)
{
	struct fixture *f = engine;

	f->nr_messages++;
	f->address = address;
	f->data = data;
}

static void record_route(
	void *engine, unsigned pin, gpa_t address, uint32_t data, bool level, bool masked)
{
	struct fixture *f = engine;

	(void)pin;
	(void)data;
	f->nr_routes++;
	f->route_address = address;
	f->route_level = level;
	f->route_masked = masked;
}

static int setup(void **context)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->bus = (struct cpu_bus){ .engine = f, .msi = record_msi, .route = record_route };
	ioapic_init(&f->chip, &f->bus);
	*context = f;
	return 0;
}

static int teardown(void **context)
{
	free(*context);
	return 0;
}

static void write_reg(struct fixture *f, uint8_t reg, uint32_t value)
{
	ioapic_write(&f->chip, IOAPIC_IOREGSEL, 4, reg);
	ioapic_write(&f->chip, IOAPIC_IOWIN, 4, value);
}

static uint32_t read_reg(struct fixture *f, uint8_t reg)
{
	ioapic_write(&f->chip, IOAPIC_IOREGSEL, 4, reg);
	return ioapic_read(&f->chip, IOAPIC_IOWIN, 4);
}

static void program(struct fixture *f, unsigned pin, uint64_t entry)
{
	write_reg(f, (uint8_t)(0x11 + 2 * pin), (uint32_t)(entry >> 32));
	write_reg(f, (uint8_t)(0x10 + 2 * pin), (uint32_t)entry);
}

static void set_pin(struct fixture *f, unsigned pin, bool level)
{
	struct irq_line line = ioapic_input(&f->chip, pin);

	irq_line_set(&line, level);
}

static void test_registers(void **context)
{
	struct fixture *f = *context;

	assert_int_equal(read_reg(f, 0x01), 0x00170020);
	write_reg(f, 0x00, 0xffffffff);
	assert_int_equal(read_reg(f, 0x00), 0x0f000000);
	assert_int_equal(read_reg(f, 0x02), 0x0f000000);
	for (uint8_t pin = 0; pin < 24; pin++)
		assert_int_equal(read_reg(f, 0x10 + 2 * pin), 0x00010000); /* masked */
	/* Delivery status and remote IRR are read-only, 17 to 55 reserved. */
	program(f, 23, UINT64_MAX);
	assert_int_equal(read_reg(f, 0x3e), 0x0001afff);
	assert_int_equal(read_reg(f, 0x3f), 0xff000000);
	assert_int_equal(read_reg(f, 0x40), 0);
}

static void test_edge(void **context)
{
	struct fixture *f = *context;

	program(f, 4, UINT64_C(3) << 56 | 0x0831); /* vector 0x31, logical, destination 3 */
	set_pin(f, 4, true);
	assert_int_equal(f->nr_messages, 1);
	assert_int_equal(f->address, 0xfee03004);
	assert_int_equal(f->data, 0x4031);
	set_pin(f, 4, true);
	assert_int_equal(f->nr_messages, 1);
	set_pin(f, 4, false);
	set_pin(f, 4, true);
	assert_int_equal(f->nr_messages, 2);
	assert_int_equal(read_reg(f, 0x18) & REDIRECTION_REMOTE_IRR, 0);
}

static void test_masked_edge_is_lost(void **context)
{
	struct fixture *f = *context;

	program(f, 4, 0x10031);
	set_pin(f, 4, true);
	program(f, 4, 0x00031);
	assert_int_equal(f->nr_messages, 0);
}

static void test_level(void **context)
{
	struct fixture *f = *context;

	program(f, 9, 0x8052);
	set_pin(f, 9, true);
	assert_int_equal(f->nr_messages, 1);
	assert_int_equal(f->data, 0xc052);
	assert_true(read_reg(f, 0x22) & REDIRECTION_REMOTE_IRR);
	set_pin(f, 9, false);
	set_pin(f, 9, true);
	assert_int_equal(f->nr_messages, 1); /* not before the end of interrupt */
	ioapic_end_of_interrupt(&f->chip, 0x51);
	assert_int_equal(f->nr_messages, 1);
	ioapic_end_of_interrupt(&f->chip, 0x52);
	assert_int_equal(f->nr_messages, 2); /* still active: again */
	set_pin(f, 9, false);
	ioapic_end_of_interrupt(&f->chip, 0x52);
	assert_int_equal(f->nr_messages, 2);
	assert_false(read_reg(f, 0x22) & REDIRECTION_REMOTE_IRR);
}

static void test_level_waits_while_masked(void **context)
{
	struct fixture *f = *context;

	program(f, 9, 0x18052);
	set_pin(f, 9, true);
	assert_int_equal(f->nr_messages, 0);
	program(f, 9, 0x08052);
	assert_int_equal(f->nr_messages, 1);
}

static void test_active_low(void **context)
{
	struct fixture *f = *context;

	set_pin(f, 9, true);
	program(f, 9, 0xa052);
	assert_int_equal(f->nr_messages, 0);
	set_pin(f, 9, false);
	assert_int_equal(f->nr_messages, 1);

	set_pin(f, 10, true);
	program(f, 10, 0x2053); /* edge, active low */
	set_pin(f, 10, false);
	assert_int_equal(f->data & 0xff, 0x53);
	assert_int_equal(f->nr_messages, 2);
}

static void test_eoi_register(void **context)
{
	struct fixture *f = *context;

	program(f, 9, 0x8052);
	set_pin(f, 9, true);
	set_pin(f, 9, false);
	ioapic_write(&f->chip, IOAPIC_EOIR, 4, 0x52);
	assert_false(read_reg(f, 0x22) & REDIRECTION_REMOTE_IRR);
}

/* What systems do whose I/O APIC has no end-of-interrupt register. */
static void test_edge_mode_clears_remote_irr(void **context)
{
	struct fixture *f = *context;

	program(f, 9, 0x8052);
	set_pin(f, 9, true);
	set_pin(f, 9, false);
	program(f, 9, 0x10052);
	program(f, 9, 0x18052);
	assert_false(read_reg(f, 0x22) & REDIRECTION_REMOTE_IRR);
}

/* NMI is an edge even if the entry says level. */
static void test_nmi(void **context)
{
	struct fixture *f = *context;

	program(f, 1, 0x8400);
	set_pin(f, 1, true);
	assert_int_equal(f->data, 0x4400);
	set_pin(f, 1, false);
	set_pin(f, 1, true);
	assert_int_equal(f->nr_messages, 2);
}

static void test_routes_follow_the_entries(void **context)
{
	struct fixture *f = *context;

	assert_int_equal(f->nr_routes, 24);
	program(f, 9, UINT64_C(1) << 56 | 0x8052);
	assert_int_equal(f->nr_routes, 26);
	assert_true(f->route_level);
	assert_false(f->route_masked);
	assert_int_equal(f->route_address, 0xfee01000);
	ioapic_type.reset(&f->chip);
	assert_true(f->route_masked);
}

static void test_restore_keeps_remote_irr(void **context)
{
	struct fixture *f = *context;
	struct state_buffer buffer = { 0 };
	struct error err = { 0 };

	program(f, 9, 0x8052);
	set_pin(f, 9, true);
	state_encode(&buffer, ioapic_type.state, "ioapic", &f->chip.state);
	ioapic_type.reset(&f->chip);
	assert_true(state_decode(buffer.bytes, buffer.size, ioapic_type.state, &f->chip.state,
			    &err) > 0);
	ioapic_type.restored(&f->chip);
	assert_int_equal(f->nr_messages, 1);
	ioapic_end_of_interrupt(&f->chip, 0x52);
	assert_int_equal(f->nr_messages, 2);
	state_buffer_finish(&buffer);
}

#define ioapic_test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ioapic_test(test_registers),
		ioapic_test(test_edge),
		ioapic_test(test_masked_edge_is_lost),
		ioapic_test(test_level),
		ioapic_test(test_level_waits_while_masked),
		ioapic_test(test_active_low),
		ioapic_test(test_eoi_register),
		ioapic_test(test_edge_mode_clears_remote_irr),
		ioapic_test(test_nmi),
		ioapic_test(test_routes_follow_the_entries),
		ioapic_test(test_restore_keeps_remote_irr),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
