/*
 * The sound card as a driver uses it (HD Audio 1.0a, 4.3 and 4.5): reset, commands by both ways, a
 * stream and its interrupts against a fake clock.
 */
#include "chip/chip_fixture.h"
#include "pci/pci_fixture.h"
#include "sound/hda.h"

#define SLOT  3
#define BASE  UINT64_C(0xd0000000)
#define CORB  0x1000
#define RIRB  0x2000
#define LIST  0x3000
#define SOUND 0x10000

struct fixture {
	struct pci_fixture pci;
	struct fake_clock time;
	struct hda *hda;
	size_t played;
	uint8_t last;
};

static void play(void *context, const uint8_t *bytes, size_t size)
{
	struct fixture *f = context;

	f->played += size;
	f->last = bytes[size - 1];
}

static uint32_t get(struct fixture *f, unsigned reg, unsigned size)
{
	return (uint32_t)machine_mmio_read(&f->pci.machine, BASE + reg, size);
}

static void set(struct fixture *f, unsigned reg, unsigned size, uint32_t value)
{
	machine_mmio_write(&f->pci.machine, BASE + reg, size, value);
}

static void store(struct fixture *f, gpa_t at, const void *bytes, size_t size)
{
	assert_int_equal(guest_memory_write(&f->pci.machine.memory, at, bytes, size), 0);
}

static uint32_t load(struct fixture *f, gpa_t at)
{
	uint32_t value;

	assert_int_equal(guest_memory_read(&f->pci.machine.memory, at, &value, sizeof(value)), 0);
	return value;
}

static int setup(void **context)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct hda_sink sink = { .play = play, .context = f };

	fixture_init(&f->pci);
	clock_init_source(&f->pci.machine.clock, fake_clock_source, &f->time);
	assert_int_equal(guest_memory_add(&f->pci.machine.memory, 0, 1 << 20, false, NULL), 0);
	assert_int_equal(hda_create(&f->hda, "sound0", &f->pci.machine, &sink, NULL), 0);
	assert_int_equal(pci_plug(f->pci.host, &f->hda->function, SLOT, false, NULL), 0);
	config_set(&f->pci, SLOT, PCI_BAR0, 4, BASE);
	config_set(&f->pci, SLOT, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	set(f, 0x08, 4, 1);
	*context = f;
	return 0;
}

static int teardown(void **context)
{
	struct fixture *f = *context;

	pci_unplug(&f->hda->function);
	hda_destroy(f->hda);
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

static void test_reset(void **context)
{
	struct fixture *f = *context;

	assert_int_equal(get(f, 0x00, 2), 0x1001);
	assert_int_equal(get(f, 0x02, 2), 0x0100);
	/* The codec says that it is there. */
	assert_int_equal(get(f, 0x0e, 2), 1);
	set(f, 0x0e, 2, 1);
	assert_int_equal(get(f, 0x0e, 2), 0);
	set(f, 0x40, 4, 0x12345678);
	assert_int_equal(get(f, 0x40, 4), 0x12345600);
	/* In reset nothing but its own register can be written. */
	set(f, 0x08, 4, 0);
	set(f, 0x40, 4, 0x1000);
	assert_int_equal(get(f, 0x40, 4), 0);
}

static void test_immediate_commands(void **context)
{
	struct fixture *f = *context;

	set(f, 0x60, 4, 0x000f0000);
	set(f, 0x68, 2, 1);
	assert_int_equal(get(f, 0x68, 2), 2);
	assert_int_equal(get(f, 0x64, 4), 0x1af40022);
	set(f, 0x68, 2, 2);
	/* Nobody is codec 1. */
	set(f, 0x60, 4, 0x100f0000);
	set(f, 0x68, 2, 1);
	assert_int_equal(get(f, 0x68, 2), 0);
}

static void test_rings(void **context)
{
	struct fixture *f = *context;
	static const uint32_t verbs[] = { 0, 0x000f0004, 0x001f0005, 0x00220011, 0x002a0000 };

	store(f, CORB, verbs, sizeof(verbs));
	set(f, 0x4a, 2, 0x8000);
	assert_int_equal(get(f, 0x4a, 2), 0x8000);
	set(f, 0x4a, 2, 0);
	assert_int_equal(get(f, 0x4a, 2), 0);
	set(f, 0x40, 4, CORB);
	set(f, 0x50, 4, RIRB);
	set(f, 0x58, 2, 0x8000);
	set(f, 0x5a, 2, 2);
	set(f, 0x20, 4, 0xc0000000);
	set(f, 0x4c, 1, 2);
	set(f, 0x5c, 1, 3);
	set(f, 0x48, 2, 4);
	assert_int_equal(get(f, 0x4a, 2), 4);
	assert_int_equal(get(f, 0x58, 2), 4);
	assert_int_equal(load(f, RIRB + 8), 1 << 16 | 1);
	assert_int_equal(load(f, RIRB + 16), 1);
	assert_int_equal(load(f, RIRB + 32), 0x0011);
	assert_int_equal(get(f, 0x24, 4), 0xc0000000);
	assert_true(f->pci.intx[SLOT % PCI_NR_PINS]);
	set(f, 0x5d, 1, 1);
	assert_false(f->pci.intx[SLOT % PCI_NR_PINS]);
}

/* Two pieces of 4800 bytes, 25 ms each; the second interrupts. */
static void start_stream(struct fixture *f, uint64_t address)
{
	struct {
		uint64_t address;
		uint32_t length, flags;
	} list[] = { { address, 4800, 0 }, { address + 4800, 4800, 1 } };
	uint8_t sound[9600];

	memset(sound, 0x11, 4800);
	memset(sound + 4800, 0x22, 4800);
	store(f, SOUND, sound, sizeof(sound));
	store(f, LIST, list, sizeof(list));
	set(f, 0x80, 1, 1);
	assert_int_equal(get(f, 0x80, 1), 1);
	set(f, 0x80, 1, 0);
	set(f, 0x98, 4, LIST);
	set(f, 0x88, 4, 9600);
	set(f, 0x8c, 2, 1);
	set(f, 0x92, 2, 0x0011);
	set(f, 0x20, 4, 0x80000001);
	set(f, 0x80, 1, 6);
}

static void test_stream(void **context)
{
	struct fixture *f = *context;

	start_stream(f, SOUND);
	advance(f, 20 * NS_PER_MS);
	assert_int_equal(get(f, 0x84, 4), 3840); /* 192 bytes a millisecond */
	assert_int_equal(f->played, 3840);
	assert_int_equal(f->last, 0x11);
	advance(f, 29 * NS_PER_MS);
	assert_int_equal(f->last, 0x22);
	assert_false(f->pci.intx[SLOT % PCI_NR_PINS]);
	advance(f, 6 * NS_PER_MS);
	assert_true(f->pci.intx[SLOT % PCI_NR_PINS]);
	assert_int_equal(get(f, 0x83, 1) & 4, 4);
	set(f, 0x83, 1, 4);
	assert_false(f->pci.intx[SLOT % PCI_NR_PINS]);
	/* Round and round. */
	assert_int_equal(get(f, 0x84, 4), 55 * 192 - 9600);
	set(f, 0x80, 1, 0);
	advance(f, NS_PER_S);
	assert_int_equal(f->played, 55 * 192);
}

/* Samples where there is no RAM are silence, a list that leads nowhere plays nothing. */
static void test_hostile_streams(void **context)
{
	struct fixture *f = *context;
	uint32_t zeros[8] = { 0 };

	start_stream(f, UINT64_C(0xfee00000));
	advance(f, 20 * NS_PER_MS);
	assert_int_equal(f->played, 3840);
	assert_int_equal(f->last, 0);
	store(f, LIST, zeros, sizeof(zeros));
	advance(f, NS_PER_S);
	assert_int_equal(f->played, 3840);
	set(f, 0x98, 4, 0xfee00000);
	advance(f, NS_PER_S);
	assert_int_equal(f->played, 3840);
}

static void test_state_table(void **context)
{
	struct error err = { 0 };

	(void)context;
	assert_true(state_covers(hda_type.state, &err));
}

#define hda_test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		hda_test(test_reset),
		hda_test(test_immediate_commands),
		hda_test(test_rings),
		hda_test(test_stream),
		hda_test(test_hostile_streams),
		hda_test(test_state_table),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
