/*
 * Functions and their bus as a guest sees them: PCI 3.0, 6; PCI Express Base 4.0, 7.
 */
#include "pci/pci_fixture.h"

#define CARD          3
#define MEMORY_MASTER (PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER)

struct card_fixture {
	struct pci_fixture f;
	struct pci_test_card card;
};

static int card_setup(void **context)
{
	struct card_fixture *c = calloc(1, sizeof(*c));

	fixture_init(&c->f);
	pci_test_card_init(&c->card, "card", NULL);
	assert_int_equal(pci_plug(c->f.host, &c->card.function, CARD, false, NULL), 0);
	machine_reset(&c->f.machine);
	*context = c;
	return 0;
}

static int card_teardown(void **context)
{
	struct card_fixture *c = *context;

	pci_test_card_finish(&c->card);
	fixture_finish(&c->f);
	free(c);
	return 0;
}

static uint64_t bar_of(struct pci_fixture *f, unsigned index)
{
	uint32_t low = config_get(f, CARD, PCI_BAR0 + 4 * index, 4);

	if (low & PCI_BAR_IO_SPACE)
		return low & ~3u;
	if (low & PCI_BAR_64BIT)
		return (low & ~15u) | (uint64_t)config_get(f, CARD, PCI_BAR0 + 4 * index + 4, 4)
					      << 32;
	return low & ~15u;
}

static uint32_t card_get(struct pci_fixture *f, unsigned reg)
{
	return (uint32_t)machine_mmio_read(&f->machine, bar_of(f, 0) + reg, 4);
}

static void machine_reset_locked(struct machine *machine)
{
	machine_lock(machine);
	machine_reset(machine);
	machine_unlock(machine);
}

static void card_set(struct pci_fixture *f, unsigned reg, uint32_t value)
{
	machine_mmio_write(&f->machine, bar_of(f, 0) + reg, 4, value);
}

static void msix_set(struct pci_fixture *f, unsigned vector, unsigned word, uint32_t value)
{
	machine_mmio_write(&f->machine, bar_of(f, 2) + 16 * vector + 4 * word, 4, value);
}

static void msix_enable(struct pci_fixture *f, uint32_t control)
{
	config_set(f, CARD, find_capability(f, CARD, PCI_CAP_MSIX) + PCI_MSIX_CONTROL, 2, control);
}

/* Vector v sends 0x40 + v to processor 1. */
static void msix_program(struct pci_fixture *f, unsigned vector)
{
	msix_set(f, vector, 0, 0xfee01000);
	msix_set(f, vector, 1, 0);
	msix_set(f, vector, 2, 0x40 + vector);
	msix_set(f, vector, 3, 0);
}

static void test_configuration_mechanism_1(void **context)
{
	struct pci_fixture *f = *context;
	struct machine *machine = &f->machine;

	machine_pio_write(machine, 0xcf8, 4, 0x80001800);
	assert_int_equal(machine_pio_read(machine, 0xcf8, 4), 0x80001800);
	assert_int_equal(machine_pio_read(machine, 0xcfc, 4), 0x41541234);
	assert_int_equal(machine_pio_read(machine, 0xcfe, 2), 0x4154);
	assert_int_equal(machine_pio_read(machine, 0xcff, 1), 0x41);
	/* The bridge, an empty device, another function, another bus, the enable bit clear. */
	machine_pio_write(machine, 0xcf8, 4, 0x80000008);
	assert_int_equal(machine_pio_read(machine, 0xcfc, 4) >> 8, 0x060000);
	machine_pio_write(machine, 0xcf8, 4, 0x80002000);
	assert_int_equal(machine_pio_read(machine, 0xcfc, 4), 0xffffffff);
	machine_pio_write(machine, 0xcf8, 4, 0x80001900);
	assert_int_equal(machine_pio_read(machine, 0xcfc, 4), 0xffffffff);
	machine_pio_write(machine, 0xcf8, 4, 0x80011800);
	assert_int_equal(machine_pio_read(machine, 0xcfc, 4), 0xffffffff);
	machine_pio_write(machine, 0xcf8, 4, 0x00001800);
	assert_int_equal(machine_pio_read(machine, 0xcfc, 4), 0xffffffff);
	/* Only a doubleword is the address register's. */
	machine_pio_write(machine, 0xcf8, 2, 0x5555);
	assert_int_equal(machine_pio_read(machine, 0xcf8, 4), 0x00001800);
}

static void test_ecam(void **context)
{
	struct pci_fixture *f = *context;

	assert_int_equal(config_get(f, CARD, PCI_VENDOR_ID, 4), 0x41541234);
	assert_int_equal(config_get(f, CARD, PCI_CLASS_CODE + 2, 1), 0xff);
	assert_int_equal(config_get(f, CARD + 1, PCI_VENDOR_ID, 4), 0xffffffff);
	/* No extended capabilities. */
	assert_int_equal(config_get(f, CARD, 0x100, 4), 0);
	/* Read-only registers stay. */
	config_set(f, CARD, PCI_VENDOR_ID, 4, 0);
	assert_int_equal(config_get(f, CARD, PCI_VENDOR_ID, 4), 0x41541234);
	config_set(f, CARD, PCI_INTERRUPT_LINE, 2, 0x0205);
	assert_int_equal(config_get(f, CARD, PCI_INTERRUPT_LINE, 2), 0x0105);
}

static void test_capability_list(void **context)
{
	struct pci_fixture *f = *context;
	unsigned express = find_capability(f, CARD, PCI_CAP_EXPRESS);
	unsigned msi = find_capability(f, CARD, PCI_CAP_MSI);
	unsigned msix = find_capability(f, CARD, PCI_CAP_MSIX);

	assert_true(config_get(f, CARD, PCI_STATUS, 2) & PCI_STATUS_CAPABILITIES);
	assert_int_equal(config_get(f, CARD, express + 2, 2), 0x92);
	assert_int_equal(config_get(f, CARD, msi + 2, 2), 0x0184); /* 4 vectors, 64-bit, maskable */
	assert_int_equal(config_get(f, CARD, msix + 2, 2), PCI_TEST_CARD_VECTORS - 1);
	assert_int_equal(config_get(f, CARD, msix + 4, 4), 0x0002);
	assert_int_equal(config_get(f, CARD, msix + 8, 4), 0x1002);
	assert_false(find_capability(f, 0, PCI_CAP_MSI));
}

static void test_bars_are_sized_and_assigned(void **context)
{
	struct pci_fixture *f = *context;

	assert_int_equal(bar_of(f, 0), FIXTURE_MEMORY32);
	assert_int_equal(bar_of(f, 2), FIXTURE_MEMORY32 + 0x2000);
	assert_int_equal(bar_of(f, 4), 0x1000);
	assert_int_equal(config_get(f, CARD, PCI_INTERRUPT_LINE, 1), 11);
	for (unsigned i = 0; i < PCI_NR_BARS; i++)
		config_set(f, CARD, PCI_BAR0 + 4 * i, 4, 0xffffffff);
	assert_int_equal(config_get(f, CARD, PCI_BAR0, 4), 0xfffff000);
	assert_int_equal(config_get(f, CARD, PCI_BAR0 + 4, 4), 0);
	assert_int_equal(config_get(f, CARD, PCI_BAR0 + 8, 4), 0xffffe00c);
	assert_int_equal(config_get(f, CARD, PCI_BAR0 + 12, 4), 0xffffffff);
	assert_int_equal(config_get(f, CARD, PCI_BAR0 + 16, 4), 0xffffffe1);
	assert_int_equal(config_get(f, CARD, PCI_BAR0 + 20, 4), 0);
	assert_int_equal(config_get(f, CARD, PCI_EXPANSION_ROM, 4), 0);
}

/* PCI 3.0, 6.2.5.2: decoded if both its own enable bit and that of memory are set. */
static void test_expansion_rom(void **context)
{
	struct pci_fixture *f = *context;
	struct card_fixture *c = (struct card_fixture *)f;
	struct machine *machine = &f->machine;
	uint8_t bytes[5000] = { 0x55, 0xaa };

	assert_int_equal(pci_add_rom(&c->card.function, bytes, sizeof(bytes)), 0);
	assert_int_equal(config_get(f, CARD, PCI_EXPANSION_ROM, 4), 0);
	config_set(f, CARD, PCI_EXPANSION_ROM, 4, 0xffffffff);
	assert_int_equal(config_get(f, CARD, PCI_EXPANSION_ROM, 4), 0xffffe001);
	config_set(f, CARD, PCI_EXPANSION_ROM, 4, 0xd0200001);
	assert_int_equal(machine_mmio_read(machine, 0xd0200000, 4), 0xffffffff);
	config_set(f, CARD, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	assert_int_equal(machine_mmio_read(machine, 0xd0200000, 4), 0xaa55);
	assert_int_equal(machine_mmio_read(machine, 0xd0200000 + 4996, 8), 0xffffffff00000000);
	machine_mmio_write(machine, 0xd0200000, 4, 0);
	assert_int_equal(machine_mmio_read(machine, 0xd0200000, 4), 0xaa55);
	config_set(f, CARD, PCI_EXPANSION_ROM, 4, 0xd0200000);
	assert_int_equal(machine_mmio_read(machine, 0xd0200000, 4), 0xffffffff);
	/* A BAR comes first. */
	config_set(f, CARD, PCI_EXPANSION_ROM, 4, 0xd0200001);
	config_set(f, CARD, PCI_BAR0, 4, 0xd0201000);
	assert_int_equal(machine_mmio_read(machine, 0xd0200000, 4), 0xffffffff);
	assert_int_equal(card_get(f, PCI_TEST_CARD_ID), PCI_TEST_CARD_MAGIC);
	machine_reset_locked(machine);
	assert_int_equal(config_get(f, CARD, PCI_EXPANSION_ROM, 4), 0);
}

static void test_bars_are_decoded_where_the_guest_puts_them(void **context)
{
	struct pci_fixture *f = *context;
	struct machine *machine = &f->machine;

	assert_int_equal(card_get(f, PCI_TEST_CARD_ID), 0xffffffff); /* not enabled yet */
	config_set(f, CARD, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_IO);
	assert_int_equal(card_get(f, PCI_TEST_CARD_ID), PCI_TEST_CARD_MAGIC);
	assert_int_equal(machine_pio_read(machine, 0x1000, 4), PCI_TEST_CARD_MAGIC);
	card_set(f, PCI_TEST_CARD_SCRATCH, 0x12345678);
	assert_int_equal(machine_pio_read(machine, 0x1004, 2), 0x5678);

	config_set(f, CARD, PCI_BAR0, 4, 0xd0000000);
	assert_int_equal(machine_mmio_read(machine, FIXTURE_MEMORY32, 4), 0xffffffff);
	assert_int_equal(machine_mmio_read(machine, 0xd0000004, 4), 0x12345678);
	/* The upper half of a 64-bit BAR. */
	config_set(f, CARD, PCI_BAR0 + 8, 4, 0x40000000);
	config_set(f, CARD, PCI_BAR0 + 12, 4, 0x9);
	assert_int_equal(machine_mmio_read(machine, FIXTURE_MEMORY32 + 0x200c, 4), 0xffffffff);
	assert_int_equal(machine_mmio_read(machine, 0x94000000c, 4), PCI_MSIX_ENTRY_MASKED);
	config_set(f, CARD, PCI_COMMAND, 2, 0);
	assert_int_equal(machine_mmio_read(machine, 0xd0000004, 4), 0xffffffff);
	assert_int_equal(machine_pio_read(machine, 0x1000, 4), 0xffffffff);
}

static void test_bars_outside_the_windows_are_not_decoded(void **context)
{
	static const uint32_t places[] = { 0, 0x1000, 0xa0000, 0xbffff000, 0xfe000000, 0xfec00000,
		0xfee00000, 0xfffff000 };
	struct pci_fixture *f = *context;

	config_set(f, CARD, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_IO);
	for (unsigned i = 0; i < ARRAY_SIZE(places); i++) {
		config_set(f, CARD, PCI_BAR0, 4, places[i]);
		assert_int_equal(config_get(f, CARD, PCI_BAR0, 4), places[i]);
		assert_true(pci_host_function(f->host, CARD)->bars[0].address == PCI_UNMAPPED);
	}
	config_set(f, CARD, PCI_BAR0 + 16, 4, 0x620);
	assert_true(pci_host_function(f->host, CARD)->bars[4].address == PCI_UNMAPPED);
	config_set(f, CARD, PCI_BAR0, 4, 0xfdfff000); /* the last page */
	assert_int_equal(card_get(f, PCI_TEST_CARD_ID), PCI_TEST_CARD_MAGIC);
}

static void test_the_first_of_overlapping_bars_wins(void **context)
{
	struct pci_fixture *f = *context;
	struct pci_test_card other;
	const struct pci_function *card = pci_host_function(f->host, CARD);

	pci_test_card_init(&other, "other", NULL);
	assert_int_equal(pci_plug(f->host, &other.function, CARD + 2, true, NULL), 0);
	for (unsigned order = 0; order < 2; order++) {
		unsigned first = order ? CARD : CARD + 2, second = order ? CARD + 2 : CARD;

		config_set(f, first, PCI_COMMAND, 2, 0);
		config_set(f, second, PCI_COMMAND, 2, 0);
		config_set(f, first, PCI_BAR0, 4, 0xd0000000);
		config_set(f, first, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
		config_set(f, second, PCI_BAR0, 4, 0xd0000000);
		config_set(f, second, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
		assert_int_equal(card->bars[0].address, 0xd0000000);
		assert_true(other.function.bars[0].address == PCI_UNMAPPED);
	}
	/* What was hidden appears when the other goes away. */
	config_set(f, CARD, PCI_BAR0, 4, 0xd1000000);
	assert_int_equal(other.function.bars[0].address, 0xd0000000);
	config_set(f, CARD, PCI_BAR0, 4, 0xd0000000);
	pci_unplug(&((struct card_fixture *)f)->card.function);
	assert_int_equal(other.function.bars[0].address, 0xd0000000);
	pci_test_card_finish(&other);
}

/* Another region of the machine inside a window stays where it is. */
static void test_a_bar_does_not_hide_the_board(void **context)
{
	static const struct io_ops ops = { NULL, NULL, 4 };
	struct pci_fixture *f = *context;
	struct pci_function *card = pci_host_function(f->host, CARD);

	address_space_map(
		&f->machine.mmio, &(struct io_region){ 0xd0000800, 8, &ops, NULL, "board" });
	config_set(f, CARD, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	config_set(f, CARD, PCI_BAR0, 4, 0xd0000000);
	assert_true(card->bars[0].address == PCI_UNMAPPED);
	config_set(f, CARD, PCI_BAR0, 4, 0xd0001000);
	assert_int_equal(card->bars[0].address, 0xd0001000);
}

static void test_intx(void **context)
{
	struct pci_fixture *f = *context;

	config_set(f, CARD, PCI_COMMAND, 2, MEMORY_MASTER);
	card_set(f, PCI_TEST_CARD_RAISE, 0);
	/* INTA of device 3 is pin D of the host. */
	assert_true(f->intx[3] && !f->intx[0] && !f->intx[1] && !f->intx[2]);
	assert_true(config_get(f, CARD, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT);
	config_set(f, CARD, PCI_COMMAND, 2, MEMORY_MASTER | PCI_COMMAND_INTX_DISABLE);
	assert_false(f->intx[3]);
	assert_true(config_get(f, CARD, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT);
	config_set(f, CARD, PCI_COMMAND, 2, MEMORY_MASTER);
	assert_true(f->intx[3]);
	card_set(f, PCI_TEST_CARD_LOWER, 0);
	assert_false(f->intx[3]);
	assert_false(config_get(f, CARD, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT);
	assert_int_equal(f->nr_messages, 0);
}

static void test_intx_is_shared(void **context)
{
	struct pci_fixture *f = *context;
	struct pci_test_card other;

	pci_test_card_init(&other, "other", NULL);
	pci_plug(f->host, &other.function, CARD + 4, true, NULL);
	pci_set_intx(&other.function, true);
	pci_set_intx(pci_host_function(f->host, CARD), true);
	pci_set_intx(&other.function, false);
	assert_true(f->intx[3]);
	pci_set_intx(pci_host_function(f->host, CARD), false);
	assert_false(f->intx[3]);
	pci_set_intx(&other.function, true);
	assert_true(f->intx[3]);
	pci_unplug(&other.function); /* pulled out with its line asserted */
	assert_false(f->intx[3]);
	pci_test_card_finish(&other);
}

static void test_msi(void **context)
{
	struct pci_fixture *f = *context;
	unsigned msi = find_capability(f, CARD, PCI_CAP_MSI);

	config_set(f, CARD, PCI_COMMAND, 2, MEMORY_MASTER);
	config_set(f, CARD, msi + PCI_MSI_ADDRESS, 4, 0xfee02003);
	config_set(f, CARD, msi + PCI_MSI_UPPER, 4, 0);
	config_set(f, CARD, msi + PCI_MSI_DATA, 2, 0x4053);
	config_set(f, CARD, msi + PCI_MSI_CONTROL, 2, 0x0021); /* enabled, 4 vectors */
	card_set(f, PCI_TEST_CARD_RAISE, 2);
	assert_int_equal(f->nr_messages, 1);
	assert_int_equal(f->messages[0].address, 0xfee02000);
	assert_int_equal(f->messages[0].data, 0x4052); /* the low bits are the vector */
	card_set(f, PCI_TEST_CARD_RAISE, 4);           /* there is none */
	assert_int_equal(f->nr_messages, 1);

	config_set(f, CARD, msi + PCI_MSI_MASK, 4, 0xffffffff);
	assert_int_equal(config_get(f, CARD, msi + PCI_MSI_MASK, 4), 0xf);
	card_set(f, PCI_TEST_CARD_RAISE, 1);
	assert_int_equal(f->nr_messages, 1);
	assert_int_equal(config_get(f, CARD, msi + PCI_MSI_PENDING, 4), 1u << 1);
	config_set(f, CARD, msi + PCI_MSI_MASK, 4, 0);
	assert_int_equal(f->nr_messages, 2);
	assert_int_equal(f->messages[1].data, 0x4051);
	assert_int_equal(config_get(f, CARD, msi + PCI_MSI_PENDING, 4), 0);
	assert_false(f->intx[3]);
}

static void test_msix(void **context)
{
	struct pci_fixture *f = *context;

	config_set(f, CARD, PCI_COMMAND, 2, MEMORY_MASTER);
	assert_int_equal(machine_mmio_read(&f->machine, bar_of(f, 2) + 16 * 7 + 12, 4), 1);
	msix_program(f, 5);
	assert_int_equal(machine_mmio_read(&f->machine, bar_of(f, 2) + 16 * 5, 8), 0xfee01000);
	assert_int_equal(machine_mmio_read(&f->machine, bar_of(f, 2) + 16 * 5 + 8, 8), 0x45);
	msix_enable(f, PCI_MSIX_CONTROL_ENABLE);
	card_set(f, PCI_TEST_CARD_RAISE, 5);
	assert_int_equal(f->nr_messages, 1);
	assert_int_equal(f->messages[0].address, 0xfee01000);
	assert_int_equal(f->messages[0].data, 0x45);
	card_set(f, PCI_TEST_CARD_RAISE, PCI_TEST_CARD_VECTORS);
	card_set(f, PCI_TEST_CARD_RAISE, 0xffffffff);
	assert_int_equal(f->nr_messages, 1);
	assert_false(f->intx[3]);
}

static void test_masked_vectors_are_pending(void **context)
{
	struct pci_fixture *f = *context;
	uint64_t pba = bar_of(f, 2) + PCI_TEST_CARD_MSIX_PBA;

	config_set(f, CARD, PCI_COMMAND, 2, MEMORY_MASTER);
	msix_enable(f, PCI_MSIX_CONTROL_ENABLE);
	msix_program(f, 1);
	msix_program(f, 2);
	msix_set(f, 1, 3, 1);
	card_set(f, PCI_TEST_CARD_RAISE, 1);
	card_set(f, PCI_TEST_CARD_RAISE, 1);
	assert_int_equal(f->nr_messages, 0);
	assert_int_equal(machine_mmio_read(&f->machine, pba, 8), 1u << 1);
	machine_mmio_write(&f->machine, pba, 8, 0); /* read-only */
	msix_set(f, 1, 3, 0);
	assert_int_equal(f->nr_messages, 1);
	assert_int_equal(f->messages[0].data, 0x41);
	assert_int_equal(machine_mmio_read(&f->machine, pba, 8), 0);

	/* The function's mask, and the bus master bit. */
	msix_enable(f, PCI_MSIX_CONTROL_ENABLE | PCI_MSIX_CONTROL_MASKED);
	card_set(f, PCI_TEST_CARD_RAISE, 2);
	config_set(f, CARD, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	msix_enable(f, PCI_MSIX_CONTROL_ENABLE);
	assert_int_equal(f->nr_messages, 1);
	assert_int_equal(machine_mmio_read(&f->machine, pba, 1), 1u << 2);
	config_set(f, CARD, PCI_COMMAND, 2, MEMORY_MASTER);
	assert_int_equal(f->nr_messages, 2);
	assert_int_equal(f->messages[1].data, 0x42);
}

static void test_messages_are_for_apics_only(void **context)
{
	struct pci_fixture *f = *context;

	config_set(f, CARD, PCI_COMMAND, 2, MEMORY_MASTER);
	msix_enable(f, PCI_MSIX_CONTROL_ENABLE);
	msix_program(f, 0);
	msix_set(f, 0, 0, 0x1000);
	card_set(f, PCI_TEST_CARD_RAISE, 0);
	msix_set(f, 0, 0, 0xfee00000);
	msix_set(f, 0, 1, 1);
	card_set(f, PCI_TEST_CARD_RAISE, 0);
	assert_int_equal(f->nr_messages, 0);
}

static void test_irqfd(void **context)
{
	struct pci_fixture *f = *context;
	struct pci_function *card = pci_host_function(f->host, CARD);

	assert_int_equal(pci_msix_set_irqfd(card, 3, 77), -ENOTSUP);
	f->machine.cpu_bus.irqfd = fixture_irqfd;
	assert_int_equal(pci_msix_set_irqfd(card, 3, 77), 0);
	assert_int_equal(f->irqfd, 77);
	assert_int_equal(f->irqfd_message.address, 0);
	config_set(f, CARD, PCI_COMMAND, 2, MEMORY_MASTER);
	msix_enable(f, PCI_MSIX_CONTROL_ENABLE);
	msix_program(f, 3);
	assert_int_equal(f->irqfd_message.address, 0xfee01000);
	assert_int_equal(f->irqfd_message.data, 0x43);
	msix_set(f, 3, 3, 1);
	assert_int_equal(f->irqfd_message.address, 0);
	msix_set(f, 3, 3, 0);
	assert_int_equal(f->irqfd_message.address, 0xfee01000);
	pci_unplug(card);
	assert_int_equal(f->irqfd_message.address, 0);
	assert_int_equal(card->msix_irqfd[3], -1);
}

static void test_function_level_reset(void **context)
{
	struct pci_fixture *f = *context;
	unsigned express = find_capability(f, CARD, PCI_CAP_EXPRESS);

	config_set(f, CARD, PCI_COMMAND, 2, MEMORY_MASTER);
	card_set(f, PCI_TEST_CARD_SCRATCH, 7);
	msix_program(f, 0);
	card_set(f, PCI_TEST_CARD_RAISE, 0);
	assert_true(f->intx[3]);
	config_set(f, CARD, express + PCI_EXPRESS_DEVICE_CONTROL, 2, PCI_EXPRESS_CONTROL_FLR);
	assert_false(f->intx[3]);
	assert_int_equal(config_get(f, CARD, PCI_COMMAND, 2), 0);
	assert_int_equal(config_get(f, CARD, PCI_BAR0, 4), 0);
	assert_int_equal(config_get(f, CARD, express + PCI_EXPRESS_DEVICE_CONTROL, 2), 0);
	config_set(f, CARD, PCI_BAR0, 4, 0xd0000000);
	config_set(f, CARD, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	assert_int_equal(card_get(f, PCI_TEST_CARD_SCRATCH), 0);
}

static void test_doorbell_follows_its_bar(void **context)
{
	struct card_fixture *c = *context;
	struct pci_fixture *f = &c->f;

	config_set(f, CARD, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	/* Without the machine lock: held here, it would hang. */
	machine_lock(&f->machine);
	machine_mmio_write(&f->machine, FIXTURE_MEMORY32 + PCI_TEST_CARD_DOORBELL, 2, 1);
	machine_mmio_write(&f->machine, FIXTURE_MEMORY32 + PCI_TEST_CARD_DOORBELL, 4, 9);
	machine_unlock(&f->machine);
	assert_int_equal(card_get(f, PCI_TEST_CARD_RINGS), 2);
	config_set(f, CARD, PCI_BAR0, 4, 0xd0000000);
	machine_mmio_write(&f->machine, FIXTURE_MEMORY32 + PCI_TEST_CARD_DOORBELL, 2, 1);
	assert_int_equal(card_get(f, PCI_TEST_CARD_RINGS), 2);
	card_set(f, PCI_TEST_CARD_DOORBELL, 0);
	assert_int_equal(card_get(f, PCI_TEST_CARD_RINGS), 3);
	/* Detached, the region beneath does the same. */
	pci_detach_doorbell(&c->card.function, &c->card.doorbell);
	card_set(f, PCI_TEST_CARD_DOORBELL, 0);
	assert_int_equal(card_get(f, PCI_TEST_CARD_RINGS), 4);
}

static void test_state_is_restored(void **context)
{
	struct card_fixture *c = *context;
	struct pci_fixture *f = &c->f;
	struct pci_function_state saved;

	config_set(f, CARD, PCI_COMMAND, 2, MEMORY_MASTER);
	config_set(f, CARD, PCI_BAR0, 4, 0xd0000000);
	card_set(f, PCI_TEST_CARD_RAISE, 0);
	saved = c->card.function.state;
	machine_reset(&f->machine);
	assert_false(f->intx[3]);
	saved.config[PCI_VENDOR_ID] = 0; /* not the guest's to change */
	c->card.function.state = saved;
	pci_function_type.restored(&c->card.function);
	assert_true(f->intx[3]);
	assert_int_equal(config_get(f, CARD, PCI_VENDOR_ID, 2), PCI_TEST_CARD_VENDOR);
	assert_int_equal(machine_mmio_read(&f->machine, 0xd0000000, 4), PCI_TEST_CARD_MAGIC);
}

static void test_hotplug_registers(void **context)
{
	struct pci_fixture *f = *context;
	struct machine *machine = &f->machine;
	struct pci_test_card other;
	struct error err = { 0 };

	pci_test_card_init(&other, "other", NULL);
	assert_true(pci_plug(f->host, &other.function, CARD, true, &err) < 0);
	assert_int_equal(err.exit_code, EXIT_CODE_CONFIG);
	assert_int_equal(pci_plug(f->host, &other.function, PCI_ANY_DEVICE, true, NULL), 0);
	assert_int_equal(other.function.number, 1);
	assert_int_equal(f->events, 1);
	assert_int_equal(machine_pio_read(machine, FIXTURE_HOTPLUG, 4), 1u << 1);
	assert_int_equal(machine_pio_read(machine, FIXTURE_HOTPLUG + 8, 4), 1u << 1 | 1u << CARD);
	machine_pio_write(machine, FIXTURE_HOTPLUG, 4, 1u << 1);
	assert_int_equal(machine_pio_read(machine, FIXTURE_HOTPLUG, 4), 0);
	/* It has no addresses yet. */
	assert_int_equal(config_get(f, 1, PCI_BAR0, 4), 0);

	pci_request_unplug(&other.function);
	assert_int_equal(f->events, 2);
	assert_int_equal(machine_pio_read(machine, FIXTURE_HOTPLUG + 4, 4), 1u << 1);
	config_set(f, 1, PCI_BAR0, 4, 0xd0000000);
	config_set(f, 1, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	machine_pio_write(machine, FIXTURE_HOTPLUG + 8, 4, 1u << 1 | 1u << 9 | 1);
	assert_int_equal(other.nr_ejects, 1);
	assert_int_equal(config_get(f, 1, PCI_VENDOR_ID, 4), 0xffffffff);
	assert_int_equal(config_get(f, 0, PCI_VENDOR_ID, 2), 0x8086); /* the bridge has no slot */
	assert_int_equal(machine_mmio_read(machine, 0xd0000000, 4), 0xffffffff);
	assert_int_equal(machine_pio_read(machine, FIXTURE_HOTPLUG + 4, 4), 0);
	pci_test_card_finish(&other);

	assert_int_equal(machine_pio_read(machine, FIXTURE_HOTPLUG + 0x14, 4), 8);
	assert_int_equal(machine_pio_read(machine, FIXTURE_HOTPLUG + 0x1c, 4), 8);
}

static void test_all_slots(void **context)
{
	struct pci_fixture *f = *context;
	struct pci_test_card *cards = calloc(PCI_NR_DEVICES, sizeof(*cards));
	struct pci_test_card extra;

	for (unsigned i = 1; i < PCI_NR_DEVICES; i++) {
		if (i == CARD)
			continue;
		pci_test_card_init(&cards[i], "many", NULL);
		assert_int_equal(
			pci_plug(f->host, &cards[i].function, PCI_ANY_DEVICE, false, NULL), 0);
	}
	machine_reset(&f->machine);
	for (unsigned i = 1; i < PCI_NR_DEVICES; i++) {
		config_set(f, i, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_IO);
		for (unsigned bar = 0; bar < 6; bar += 2)
			assert_true(
				pci_host_function(f->host, i)->bars[bar].address != PCI_UNMAPPED);
	}
	pci_test_card_init(&extra, "extra", NULL);
	assert_true(pci_plug(f->host, &extra.function, PCI_ANY_DEVICE, true, NULL) < 0);
	pci_test_card_finish(&extra);
	for (unsigned i = 1; i < PCI_NR_DEVICES; i++) {
		if (i == CARD)
			continue;
		pci_test_card_finish(&cards[i]);
	}
	free(cards);
}

/* Raises vectors and rings until it is told to end, as an I/O thread and another vCPU do. */
struct neighbour {
	struct card_fixture *fixture;
	_Atomic bool end;
};

static void *raise_and_ring(void *context)
{
	struct neighbour *neighbour = context;
	struct card_fixture *c = neighbour->fixture;

	for (unsigned i = 0; !neighbour->end; i++) {
		pci_msix_notify(&c->card.function, i % PCI_TEST_CARD_VECTORS);
		machine_mmio_write(&c->f.machine, 0xd0000000 + PCI_TEST_CARD_DOORBELL, 2, i);
	}
	return NULL;
}

/* The guest masks, moves, resets and disables meanwhile. */
static void test_other_threads(void **context)
{
	struct card_fixture *c = *context;
	struct neighbour neighbour = { .fixture = c };
	pthread_t thread;

	msix_enable(&c->f, PCI_MSIX_CONTROL_ENABLE);
	assert_int_equal(pthread_create(&thread, NULL, raise_and_ring, &neighbour), 0);
	for (unsigned i = 0; i < 2000; i++) {
		config_set(&c->f, CARD, PCI_COMMAND, 2, i % 3 ? MEMORY_MASTER : 0);
		config_set(&c->f, CARD, PCI_BAR0, 4, i % 2 ? 0xd0000000 : 0xd0002000);
		msix_set(&c->f, i % 8, 3, i / 8 % 2);
		if (i % 100 == 0)
			machine_reset_locked(&c->f.machine);
		if (i % 100 == 1)
			msix_enable(&c->f, PCI_MSIX_CONTROL_ENABLE);
	}
	neighbour.end = true;
	pthread_join(thread, NULL);
	/* Nothing was lost for good: what is pending goes out now. */
	config_set(&c->f, CARD, PCI_COMMAND, 2, MEMORY_MASTER);
	msix_enable(&c->f, PCI_MSIX_CONTROL_ENABLE);
	for (unsigned i = 0; i < PCI_TEST_CARD_VECTORS; i++)
		msix_program(&c->f, i);
	assert_int_equal(c->card.function.state.msix_pending[0], 0);
}

static void test_state_tables(void **context)
{
	struct error err = { 0 };

	(void)context;
	if (!state_covers(pci_function_type.state, &err) ||
		!state_covers(pci_host_type.state, &err))
		fail_msg("%s", err.text);
}

/* A frame buffer: the guest moves it, and it is there when its BAR is. */
static void test_a_bar_with_memory(void **context)
{
	static const struct pci_identity identity = { .vendor_id = 0x1234 };
	struct card_fixture *c = *context;
	struct guest_memory *memory = &c->f.machine.memory;
	struct ram_region *ram = guest_memory_add_movable(memory, 0x10000, NULL);
	struct pci_bar bar = { .kind = PCI_BAR_MEMORY32,
		.prefetchable = true,
		.size = 0x10000,
		.ram = ram,
		.name = "vram" };
	struct pci_function function;

	pci_function_init(&function, "vga", &identity, NULL, NULL);
	pci_add_bar(&function, 0, &bar);
	assert_int_equal(pci_plug(c->f.host, &function, CARD + 1, false, NULL), 0);
	config_set(&c->f, CARD + 1, PCI_BAR0, 4, 0xd0000000);
	assert_null(guest_memory_host(memory, 0xd0000000, 1));
	config_set(&c->f, CARD + 1, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	assert_ptr_equal(guest_memory_host(memory, 0xd0000000, 0x10000), ram->host);
	config_set(&c->f, CARD + 1, PCI_BAR0, 4, 0xe0000000);
	assert_null(guest_memory_host(memory, 0xd0000000, 1));
	assert_ptr_equal(guest_memory_host(memory, 0xe0000000, 0x10000), ram->host);
	/* Not where another function is. */
	config_set(&c->f, CARD + 1, PCI_BAR0, 4, 0xffffffff);
	assert_null(guest_memory_host(memory, 0xe0000000, 1));
	config_set(&c->f, CARD + 1, PCI_BAR0, 4, 0xe0000000);
	pci_unplug(&function);
	assert_null(guest_memory_host(memory, 0xe0000000, 1));
	pci_function_finish(&function);
}

#define CARD_TEST(test) cmocka_unit_test_setup_teardown(test, card_setup, card_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CARD_TEST(test_configuration_mechanism_1),
		CARD_TEST(test_ecam),
		CARD_TEST(test_capability_list),
		CARD_TEST(test_bars_are_sized_and_assigned),
		CARD_TEST(test_expansion_rom),
		CARD_TEST(test_bars_are_decoded_where_the_guest_puts_them),
		CARD_TEST(test_bars_outside_the_windows_are_not_decoded),
		CARD_TEST(test_the_first_of_overlapping_bars_wins),
		CARD_TEST(test_a_bar_does_not_hide_the_board),
		CARD_TEST(test_a_bar_with_memory),
		CARD_TEST(test_intx),
		CARD_TEST(test_intx_is_shared),
		CARD_TEST(test_msi),
		CARD_TEST(test_msix),
		CARD_TEST(test_masked_vectors_are_pending),
		CARD_TEST(test_messages_are_for_apics_only),
		CARD_TEST(test_irqfd),
		CARD_TEST(test_function_level_reset),
		CARD_TEST(test_doorbell_follows_its_bar),
		CARD_TEST(test_state_is_restored),
		CARD_TEST(test_hotplug_registers),
		CARD_TEST(test_all_slots),
		CARD_TEST(test_other_threads),
		cmocka_unit_test(test_state_tables),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
