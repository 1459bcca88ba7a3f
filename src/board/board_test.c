/*
 * The board "micro": its memory map, its wiring seen through ports and cpu_bus, and for every
 * device that it has that the state is declared whole and survives a restore.
 */
#include "board/board.h"
#include "pci/pci_test_card.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "board/board_fixture.h"

struct fixture {
	struct machine machine;
	struct board *board;
	ns_t now_ns;
	bool intr, a20;
	unsigned nr_messages;
	uint32_t message;
	char sent[64];
	size_t nr_sent;
};

static ns_t fixture_now(void *context)
{
	return ((struct fixture *)context)->now_ns;
}

static void fixture_intr(void *engine, bool level)
{
	((struct fixture *)engine)->intr = level;
}

static void fixture_a20(void *engine, bool enabled)
{
	((struct fixture *)engine)->a20 = enabled;
}

static void fixture_msi(void *engine, gpa_t address, uint32_t data)
{
	struct fixture *f = engine;

	(void)address;
	f->nr_messages++;
	f->message = data;
}

static size_t fixture_write(void *context, const uint8_t *bytes, size_t size)
{
	struct fixture *f = context;

	for (size_t i = 0; i < size && f->nr_sent < sizeof(f->sent); i++)
		f->sent[f->nr_sent++] = (char)bytes[i];
	return size;
}

static struct board_config config_of(struct fixture *f)
{
	return (struct board_config){
		.name = "micro",
		.memory_bytes = UINT64_C(64) << 20,
		.nr_vcpus = 2,
		.debug_exit_port = 0xf4,
		.has_pci = true,
		.com1 = { .write = fixture_write, .context = f },
		.wall_clock_ns = INT64_C(1700000000) * NS_PER_S,
	};
}

static void create(struct fixture *f, const struct board_config *config)
{
	machine_init(&f->machine);
	clock_init_source(&f->machine.clock, fixture_now, f);
	f->machine.cpu_bus.engine = f;
	f->machine.cpu_bus.intr = fixture_intr;
	f->machine.cpu_bus.set_a20 = fixture_a20;
	f->machine.cpu_bus.msi = fixture_msi;
	assert_int_equal(board_create(&f->board, config, &f->machine, NULL), 0);
}

static int setup(void **context)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct board_config config = config_of(f);

	create(f, &config);
	*context = f;
	return 0;
}

static int teardown(void **context)
{
	struct fixture *f = *context;

	board_destroy(f->board);
	machine_finish(&f->machine);
	free(f);
	return 0;
}

static void out(struct fixture *f, uint16_t port, unsigned size, uint32_t value)
{
	machine_pio_write(&f->machine, port, size, value);
}

static uint32_t in(struct fixture *f, uint16_t port, unsigned size)
{
	return (uint32_t)machine_pio_read(&f->machine, port, size);
}

static void advance(struct fixture *f, ns_t ns)
{
	ns_t end_ns = f->now_ns + ns;

	while (clock_next_deadline(&f->machine.clock) <= end_ns) {
		f->now_ns = clock_next_deadline(&f->machine.clock);
		clock_run(&f->machine.clock);
	}
	f->now_ns = end_ns;
}

static void initialise_pics(struct fixture *f)
{
	static const uint8_t words[][3] = { { 0x11, 0x20, 0x04 }, { 0x11, 0x28, 0x02 } };

	for (unsigned i = 0; i < 2; i++) {
		uint16_t port = i ? 0xa0 : 0x20;

		out(f, port, 1, words[i][0]);
		out(f, port + 1, 1, words[i][1]);
		out(f, port + 1, 1, words[i][2]);
		out(f, port + 1, 1, 0x01);
	}
}

static void program_ioapic(struct fixture *f, unsigned pin, uint32_t entry)
{
	machine_mmio_write(&f->machine, 0xfec00000, 4, 0x10 + 2 * pin);
	machine_mmio_write(&f->machine, 0xfec00010, 4, entry);
}

static void test_memory_has_a_hole(void **context)
{
	struct fixture big = { 0 };
	struct board_config config = config_of(&big);

	(void)context;
	config.memory_bytes = UINT64_C(4) << 30;
	create(&big, &config);
	assert_int_equal(big.machine.memory.nr_regions, 2);
	assert_int_equal(big.machine.memory.regions[0].size, 0xc0000000);
	assert_int_equal(big.machine.memory.regions[1].place, UINT64_C(0x100000000) | RAM_WRITABLE);
	assert_int_equal(big.machine.memory.regions[1].size, 0x40000000);
	board_destroy(big.board);
	machine_finish(&big.machine);
}

static void test_mistakes_are_explained(void **context)
{
	static const struct {
		const char *name;
		uint64_t memory_bytes;
		unsigned nr_vcpus;
		int debug_exit_port;
		enum exit_code exit_code;
		const char *text;
	} cases[] = {
		{ "pcie", 1 << 20, 1, -1, EXIT_CODE_USAGE, "no board named \"pcie\"" },
		{ "micro", 4096, 1, -1, EXIT_CODE_CONFIG, "use --memory" },
		{ "micro", (1 << 20) + 1, 1, -1, EXIT_CODE_CONFIG, "use --memory" },
		{ "micro", UINT64_C(1) << 50, 1, -1, EXIT_CODE_CONFIG, "use --memory" },
		{ "micro", 1 << 20, 0, -1, EXIT_CODE_CONFIG, "use --cpus" },
		{ "micro", 1 << 20, 65, -1, EXIT_CODE_CONFIG, "use --cpus" },
		{ "micro", 1 << 20, 1, 0x3fe, EXIT_CODE_CONFIG, "use --debug-exit" },
		{ "micro", 1 << 20, 1, 0xffff, EXIT_CODE_CONFIG, "use --debug-exit" },
	};

	(void)context;
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct fixture f = { 0 };
		struct board_config config = config_of(&f);
		struct error err = { 0 };

		config.name = cases[i].name;
		config.memory_bytes = cases[i].memory_bytes;
		config.nr_vcpus = cases[i].nr_vcpus;
		config.debug_exit_port = cases[i].debug_exit_port;
		machine_init(&f.machine);
		assert_true(board_create(&f.board, &config, &f.machine, &err) < 0);
		assert_null(f.board);
		assert_int_equal(err.exit_code, cases[i].exit_code);
		assert_non_null(strstr(err.text, cases[i].text));
		machine_finish(&f.machine);
	}
	board_destroy(NULL);
}

/* The timer interrupts through the 8259s, and at pin 2 of the IOAPIC. */
static void test_timer_interrupts(void **context)
{
	struct fixture *f = *context;

	initialise_pics(f);
	program_ioapic(f, 2, 0x30);
	out(f, 0x43, 1, 0x34);
	out(f, 0x40, 1, 0x9c);
	out(f, 0x40, 1, 0x2e);
	f->nr_messages = 0;
	advance(f, 11 * NS_PER_MS);
	assert_true(f->intr);
	assert_int_equal(f->machine.cpu_bus.acknowledge(f->machine.cpu_bus.board), 0x20);
	assert_false(f->intr);
	assert_int_equal(f->message & 0xff, 0x30);
	assert_int_equal(f->nr_messages, 1);
}

/* One register behind each port, written and read back. */
static void test_ports(void **context)
{
	struct fixture *f = *context;
	static const struct {
		uint16_t port;
		uint8_t value, expected;
	} cases[] = {
		{ 0x21, 0xa5, 0xa5 }, { 0xa1, 0x5a, 0x5a },    /* IMR */
		{ 0x4d0, 0xff, 0xf8 }, { 0x4d1, 0xff, 0xde },  /* ELCR */
		{ 0x43, 0x00, 0xff },                          /* write-only */
		{ 0x61, 0x02, 0x02 }, { 0x92, 0x02, 0x02 },    /* system ports B and A */
		{ 0x64, 0x20, 0x1d }, { 0x60, 0x00, 0x34 },    /* i8042: status, command byte */
		{ 0x70, 0x0d, 0xff }, { 0x71, 0x00, 0x80 },    /* RTC: register D */
		{ 0x3ff, 0x77, 0x77 }, { 0x3fd, 0x00, 0x60 },  /* COM1: SCR, LSR */
		{ 0x604, 0x02, 0x03 }, { 0xcf9, 0x02, 0x02 },  /* PM1 control, reset control */
		{ 0x80, 0x12, 0xff }, { 0xf4 + 4, 0x12, 0xff } /* nobody */
	};

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint32_t got;

		out(f, cases[i].port, 1, cases[i].value);
		got = in(f, cases[i].port, 1);
		if (cases[i].port == 0x61)
			got &= 0x0f;
		if (got != cases[i].expected)
			fail_msg("port 0x%x reads 0x%x, not 0x%x", cases[i].port, got,
				cases[i].expected);
	}
	/* A latched count: 16 bits through two byte accesses of one port. */
	out(f, 0x43, 1, 0x34);
	out(f, 0x40, 1, 0x34);
	out(f, 0x40, 1, 0x12);
	advance(f, 1 * NS_PER_US);
	out(f, 0x43, 1, 0x00);
	assert_int_equal(in(f, 0x40, 1) | in(f, 0x40, 1) << 8, 0x1234);
}

static void test_serial_line(void **context)
{
	struct fixture *f = *context;

	initialise_pics(f);
	for (const char *at = "hello"; *at; at++)
		out(f, 0x3f8, 1, (uint8_t)*at);
	assert_int_equal(f->nr_sent, 5);
	assert_memory_equal(f->sent, "hello", 5);

	out(f, 0x3fc, 1, 0x0b);
	out(f, 0x3f9, 1, 0x01);
	assert_int_equal(board_line_receive(f->board, BOARD_COM1, (const uint8_t *)"x", 1), 1);
	assert_true(f->intr);
	assert_int_equal(f->machine.cpu_bus.acknowledge(f->machine.cpu_bus.board), 0x24);
	assert_int_equal(in(f, 0x3f8, 1), 'x');
}

/* The power button raises the SCI, which is level triggered at pin 9. */
static void test_power_button(void **context)
{
	struct fixture *f = *context;

	program_ioapic(f, 9, 0x8039);
	out(f, 0x602, 2, 0x100);
	board_power_button(f->board);
	assert_int_equal(f->message, 0xc039);
	f->machine.cpu_bus.end_of_interrupt(f->machine.cpu_bus.board, 0x39);
	assert_int_equal(f->nr_messages, 2);
	out(f, 0x600, 2, 0x100);
	f->machine.cpu_bus.end_of_interrupt(f->machine.cpu_bus.board, 0x39);
	assert_int_equal(f->nr_messages, 2);
}

/* The RTC's interrupt: IRQ 8, and an ACPI event. */
static void test_rtc_alarm(void **context)
{
	struct fixture *f = *context;

	initialise_pics(f);
	out(f, 0x602, 2, 0x400);
	out(f, 0x70, 1, 0x0b);
	out(f, 0x71, 1, 0x12); /* update-ended interrupt */
	advance(f, NS_PER_S);
	assert_int_equal(f->machine.cpu_bus.acknowledge(f->machine.cpu_bus.board), 0x28);
	assert_int_equal(in(f, 0x600, 2), 0x400);
	assert_int_equal(in(f, 0xa0, 1), 0x02); /* the SCI waits behind it */
	out(f, 0x600, 2, 0x400);
	out(f, 0x71, 1, 0x12); /* the line is still up: no new event */
	assert_int_equal(in(f, 0x600, 2), 0);
}

static void expect_request(struct fixture *f, enum machine_request request)
{
	assert_int_equal(f->machine.request, request);
	f->machine.request = MACHINE_REQUEST_NONE;
}

static void test_requests(void **context)
{
	struct fixture *f = *context;

	out(f, 0x604, 2, 0x3400);
	expect_request(f, MACHINE_REQUEST_POWEROFF);
	out(f, 0xcf9, 1, 0x06);
	expect_request(f, MACHINE_REQUEST_RESET);
	out(f, 0x64, 1, 0xfe);
	expect_request(f, MACHINE_REQUEST_RESET);
	out(f, 0x92, 1, 0x01);
	expect_request(f, MACHINE_REQUEST_RESET);
	out(f, 0xf4, 4, 0x10);
	expect_request(f, MACHINE_REQUEST_DEBUG_EXIT);
	assert_int_equal(f->machine.exit_code, 0x21);
	out(f, 0xcf9, 1, 0x00);
	out(f, 0xcf8, 4, 0x80000600); /* a PCI configuration address */
	expect_request(f, MACHINE_REQUEST_NONE);
	assert_int_equal(in(f, 0xcfc, 4), UINT32_MAX);
}

static void test_a20_has_two_sources(void **context)
{
	struct fixture *f = *context;

	out(f, 0x64, 1, 0xdd);
	assert_false(f->a20);
	out(f, 0x92, 1, 0x02);
	assert_true(f->a20);
	out(f, 0x64, 1, 0xdf);
	out(f, 0x92, 1, 0x00);
	assert_true(f->a20);
}

static void test_description(void **context)
{
	struct fixture *f = *context;
	struct acpi_config acpi;

	board_describe(f->board, &acpi);
	assert_int_equal(acpi.nr_vcpus, 2);
	assert_int_equal(acpi.ioapic_address, 0xfec00000);
	assert_int_equal(acpi.pm1_event_port, 0x600);
	assert_int_equal(acpi.pm1_control_port, 0x604);
	assert_int_equal(acpi.pm_timer_port, 0x608);
	assert_int_equal(acpi.reset_port, 0xcf9);
	assert_int_equal(acpi.sci_irq, 9);
	assert_ptr_equal(acpi.dsdt, acpi_micro_dsdt);
	assert_int_equal(acpi.gpe0_port, 0x610);
	assert_int_equal(acpi.ecam_address, 0xfe000000);
	assert_int_equal(acpi.nr_ssdts, 1);
}

static void test_no_pci_unless_asked_for(void **context)
{
	struct fixture f = { 0 };
	struct board_config config = config_of(&f);
	struct acpi_config acpi;

	(void)context;
	config.has_pci = false;
	create(&f, &config);
	assert_null(board_pci(f.board));
	board_describe(f.board, &acpi);
	assert_int_equal(acpi.gpe0_port, 0);
	assert_int_equal(acpi.ecam_address, 0);
	assert_int_equal(acpi.nr_ssdts, 0);
	out(&f, 0xcf8, 4, 0x80000000);
	assert_int_equal(in(&f, 0xcfc, 4), 0xffffffff);
	board_destroy(f.board);
	machine_finish(&f.machine);
}

/* INTA of device 1 is pin 17 of the IOAPIC, active low, and IRQ 11 of the 8259s. */
static void test_pci_interrupts(void **context)
{
	struct fixture *f = *context;
	struct pci_test_card card;

	pci_test_card_init(&card, "card", NULL);
	assert_int_equal(pci_plug(board_pci(f->board), &card.function, 1, false, NULL), 0);
	machine_reset(&f->machine);
	initialise_pics(f);
	out(f, 0x4d1, 1, 0x08);
	program_ioapic(f, 17, 0xa041);
	f->nr_messages = 0;
	assert_false(f->intr);
	pci_set_intx(&card.function, true);
	assert_int_equal(f->nr_messages, 1);
	assert_int_equal(f->message & 0xff, 0x41);
	assert_true(f->intr);
	assert_int_equal(f->machine.cpu_bus.acknowledge(f->machine.cpu_bus.board), 0x2b);
	/* Still asserted when the guest has ended it. */
	f->machine.cpu_bus.end_of_interrupt(f->machine.cpu_bus.board, 0x41);
	assert_int_equal(f->nr_messages, 2);
	pci_set_intx(&card.function, false);
	f->machine.cpu_bus.end_of_interrupt(f->machine.cpu_bus.board, 0x41);
	assert_int_equal(f->nr_messages, 2);
	pci_test_card_finish(&card);
}

/* The SCI says that a card came; the power button's status does not hide it. */
static void test_pci_hotplug_event(void **context)
{
	struct fixture *f = *context;
	struct pci_test_card card;

	initialise_pics(f);
	out(f, 0x4d1, 1, 0x02);
	out(f, 0x602, 2, 0x100);
	out(f, 0x612, 2, 0x02);
	board_power_button(f->board);
	pci_test_card_init(&card, "card", NULL);
	assert_int_equal(pci_plug(board_pci(f->board), &card.function, 5, true, NULL), 0);
	assert_int_equal(in(f, 0x610, 2), 0x02);
	assert_int_equal(in(f, 0x620, 4), 1u << 5);
	out(f, 0x600, 2, 0x100);
	assert_true(f->intr);
	out(f, 0x610, 2, 0x02);
	assert_false(f->intr);
	pci_test_card_finish(&card);
}

/* Gives every chip something to remember. */
static void exercise(struct fixture *f)
{
	initialise_pics(f);
	out(f, 0x43, 1, 0x36);
	out(f, 0x40, 1, 0x34);
	out(f, 0x40, 1, 0x12);
	out(f, 0x61, 1, 0x03);
	out(f, 0x43, 1, 0xb6);
	out(f, 0x42, 1, 0x33);
	out(f, 0x42, 1, 0x05);
	program_ioapic(f, 4, 0x1234);
	out(f, 0x70, 1, 0x0b);
	out(f, 0x71, 1, 0x42);
	out(f, 0x3fa, 1, 0x81);
	out(f, 0x3fb, 1, 0x03);
	out(f, 0x3fc, 1, 0x0b);
	out(f, 0x602, 2, 0x100);
	out(f, 0x64, 1, 0xd1);
	out(f, 0xcf9, 1, 0x02);
	out(f, 0x92, 1, 0x02);
	board_line_receive(f->board, BOARD_COM1, (const uint8_t *)"abc", 3);
	out(f, 0x612, 2, 0x02);
	out(f, 0xcf8, 4, 0x80000004);
	out(f, 0xcfc, 2, 0x04);
	advance(f, 1234567);
}

static void test_states_are_declared_whole(void **context)
{
	struct fixture *f = *context;

	assert_states_are_declared_whole(&f->machine, 12);
}

static void test_save_restore_save(void **context)
{
	struct fixture *f = *context;

	exercise(f);
	assert_state_comes_back(&f->machine);
}

/* A reset machine is like a new one, but for the RTC, which keeps time and memory. */
static void test_reset_is_like_new(void **context)
{
	struct fixture *f = *context, fresh = { 0 };
	struct board_config config = config_of(&fresh);
	struct state_buffer a = { 0 }, b = { 0 };

	create(&fresh, &config);
	exercise(f);
	machine_reset(&f->machine);
	fresh.now_ns = f->now_ns;
	machine_reset(&fresh.machine);
	assert_false(f->intr);
	assert_true(f->a20);
	encode_devices(&f->machine, &a);
	encode_devices(&fresh.machine, &b);
	assert_int_equal(a.size, b.size);
	assert_memory_equal(a.bytes, b.bytes, a.size);
	state_buffer_finish(&a);
	state_buffer_finish(&b);
	board_destroy(fresh.board);
	machine_finish(&fresh.machine);
}

#define board_test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_memory_has_a_hole),
		cmocka_unit_test(test_mistakes_are_explained),
		board_test(test_timer_interrupts),
		board_test(test_ports),
		board_test(test_serial_line),
		board_test(test_power_button),
		board_test(test_rtc_alarm),
		board_test(test_requests),
		board_test(test_a20_has_two_sources),
		board_test(test_description),
		cmocka_unit_test(test_no_pci_unless_asked_for),
		board_test(test_pci_interrupts),
		board_test(test_pci_hotplug_event),
		board_test(test_states_are_declared_whole),
		board_test(test_save_restore_save),
		board_test(test_reset_is_like_new),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
