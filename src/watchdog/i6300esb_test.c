/*
 * The watchdog as Linux's driver uses it (Intel 300641, chapter 16), against a fake clock.
 */
#include "chip/chip_fixture.h"
#include "pci/pci_fixture.h"
#include "watchdog/i6300esb.h"

#define SLOT 3
#define BASE UINT64_C(0xd0000000)

struct fixture {
	struct pci_fixture pci;
	struct fake_clock time;
	struct i6300esb *chip;
};

static void create(struct fixture *f, enum machine_request action)
{
	fixture_init(&f->pci);
	f->time.source_ns = 0;
	clock_init_source(&f->pci.machine.clock, fake_clock_source, &f->time);
	assert_int_equal(i6300esb_create(&f->chip, "watchdog0", &f->pci.machine, action, NULL), 0);
	assert_int_equal(pci_plug(f->pci.host, &f->chip->function, SLOT, false, NULL), 0);
	config_set(&f->pci, SLOT, PCI_BAR0, 4, BASE);
	config_set(&f->pci, SLOT, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
}

static int setup(void **context)
{
	struct fixture *f = calloc(1, sizeof(*f));

	create(f, MACHINE_REQUEST_RESET);
	*context = f;
	return 0;
}

static int teardown(void **context)
{
	struct fixture *f = *context;

	pci_unplug(&f->chip->function);
	i6300esb_destroy(f->chip);
	fixture_finish(&f->pci);
	free(f);
	return 0;
}

static void advance(struct fixture *f, ns_t ns)
{
	ns_t end_ns = f->time.source_ns + ns;

	while (clock_next_deadline(&f->pci.machine.clock) <= end_ns) {
		f->time.source_ns = clock_next_deadline(&f->pci.machine.clock);
		clock_run(&f->pci.machine.clock);
	}
	f->time.source_ns = end_ns;
}

static void write_locked(struct fixture *f, unsigned reg, unsigned size, uint32_t value)
{
	machine_mmio_write(&f->pci.machine, BASE + reg, size, value);
}

static void write_unlocked(struct fixture *f, unsigned reg, unsigned size, uint32_t value)
{
	write_locked(f, 0xc, 2, 0x80);
	write_locked(f, 0xc, 2, 0x86);
	write_locked(f, reg, size, value);
}

static uint32_t read_register(struct fixture *f, unsigned reg, unsigned size)
{
	return (uint32_t)machine_mmio_read(&f->pci.machine, BASE + reg, size);
}

/* Both stages of 1000 units of 2^15 clocks of 33 MHz: 0.993 s each. */
static void start(struct fixture *f, uint8_t lock)
{
	write_unlocked(f, 0x0, 4, 1000);
	write_unlocked(f, 0x4, 4, 1000);
	config_set(&f->pci, SLOT, 0x60, 2, 0x3); /* no interrupt */
	config_set(&f->pci, SLOT, 0x68, 1, lock);
}

static void test_registers_are_locked(void **context)
{
	struct fixture *f = *context;

	assert_int_equal(read_register(f, 0, 4), 0xfffff);
	write_locked(f, 0, 4, 5);
	assert_int_equal(read_register(f, 0, 4), 0xfffff);
	write_unlocked(f, 0, 4, 5);
	assert_int_equal(read_register(f, 0, 4), 5);
	/* Each write has to be unlocked anew. */
	write_locked(f, 4, 4, 6);
	assert_int_equal(read_register(f, 4, 4), 0xfffff);
	write_unlocked(f, 4, 4, 0xfff12345);
	assert_int_equal(read_register(f, 4, 4), 0x12345);
}

static void test_two_stages(void **context)
{
	struct fixture *f = *context;

	start(f, 2);
	advance(f, 1900 * NS_PER_MS);
	assert_int_equal(f->pci.machine.request, MACHINE_REQUEST_NONE);
	write_unlocked(f, 0xc, 2, 0x100);
	advance(f, 1900 * NS_PER_MS);
	assert_int_equal(f->pci.machine.request, MACHINE_REQUEST_NONE);
	advance(f, 100 * NS_PER_MS);
	assert_int_equal(f->pci.machine.request, MACHINE_REQUEST_RESET);
	assert_int_equal(read_register(f, 0xc, 2), 0x200);
	/* The next system learns of it, and clears it. */
	i6300esb_type.reset(f->chip);
	assert_int_equal(read_register(f, 0xc, 2), 0x200);
	write_unlocked(f, 0xc, 2, 0x200);
	assert_int_equal(read_register(f, 0xc, 2), 0);
}

static void test_interrupt_of_stage_1(void **context)
{
	struct fixture *f = *context;

	start(f, 2);
	config_set(&f->pci, SLOT, 0x60, 2, 0);
	advance(f, NS_PER_S);
	assert_true(f->pci.intx[SLOT % PCI_NR_PINS]);
	assert_int_equal(read_register(f, 8, 4), 1);
	write_locked(f, 8, 4, 1);
	assert_false(f->pci.intx[SLOT % PCI_NR_PINS]);
}

static void test_fast_clock(void **context)
{
	struct fixture *f = *context;

	start(f, 0);
	config_set(&f->pci, SLOT, 0x60, 2, 0x7);
	config_set(&f->pci, SLOT, 0x68, 1, 2);
	advance(f, 2 * NS_PER_MS);
	assert_int_equal(f->pci.machine.request, MACHINE_REQUEST_RESET);
}

static void test_output_can_be_off(void **context)
{
	struct fixture *f = *context;

	start(f, 2);
	config_set(&f->pci, SLOT, 0x60, 2, 0x23);
	advance(f, 10 * NS_PER_S);
	assert_int_equal(f->pci.machine.request, MACHINE_REQUEST_NONE);
}

/* Locked it cannot be stopped. */
static void test_lock(void **context)
{
	struct fixture *f = *context;

	start(f, 3);
	config_set(&f->pci, SLOT, 0x68, 1, 0);
	assert_int_equal(config_get(&f->pci, SLOT, 0x68, 1), 3);
	advance(f, 3 * NS_PER_S);
	assert_int_equal(f->pci.machine.request, MACHINE_REQUEST_RESET);
}

static void test_it_can_be_stopped(void **context)
{
	struct fixture *f = *context;

	start(f, 2);
	config_set(&f->pci, SLOT, 0x68, 1, 0);
	advance(f, 10 * NS_PER_S);
	assert_int_equal(f->pci.machine.request, MACHINE_REQUEST_NONE);
}

static void test_state_table(void **context)
{
	struct error err = { 0 };

	(void)context;
	assert_true(state_covers(i6300esb_type.state, &err));
}

#define watchdog_test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		watchdog_test(test_registers_are_locked),
		watchdog_test(test_two_stages),
		watchdog_test(test_interrupt_of_stage_1),
		watchdog_test(test_fast_clock),
		watchdog_test(test_output_can_be_off),
		watchdog_test(test_lock),
		watchdog_test(test_it_can_be_stopped),
		watchdog_test(test_state_table),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
