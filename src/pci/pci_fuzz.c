/*
 * Fuzz target: what a guest can do to PCI: configuration space by both ways, BARs, the MSI-X table,
 * doorbells, hotplug registers; while the host plugs and asks for devices.
 *
 * Each byte picks an action. Afterwards decoded BARs must be disjoint and inside the windows, other
 * regions must be where they were, and every state must be the same after it was saved and
 * restored.
 */
#include "pci/pci_fixture.h"

#include "machine/fuzz.h"

#define NR_CARDS 3

/* Values at which something happens are likelier than a random one. */
static uint32_t take_value(struct fuzz_input *input)
{
	static const uint32_t likely[] = { 0, 1, 7, 0xffffffff, 0xc0000000, 0xd0000000, 0xfdfff000,
		0xfe000000, 0x8000, 0xc000, 0xfee00000, 0x1000, 0x1020, 0xffff };
	uint8_t choice = fuzz_u8(input);

	return choice < ARRAY_SIZE(likely) ? likely[choice] : fuzz_u32(input);
}

static uint64_t take_address(struct pci_fixture *f, struct fuzz_input *input)
{
	const struct pci_function *function = f->host->functions[fuzz_u8(input) % 4 * 8];
	uint8_t bar = fuzz_u8(input) % PCI_NR_BARS;
	uint64_t base = function && function->bars[bar].address != PCI_UNMAPPED
				? function->bars[bar].address
				: FIXTURE_MEMORY32;

	return base + (fuzz_u8(input) << 5) % 0x2000 + fuzz_u8(input) % 32;
}

static void host_action(struct pci_fixture *f, struct pci_test_card *card, uint8_t choice)
{
	struct pci_function *function = &card->function;

	switch (choice % 8) {
	case 0:
	case 1:
		if (!function->host)
			pci_plug(f->host, function, PCI_ANY_DEVICE, choice & 8, NULL);
		break;
	case 2:
		if (function->host)
			pci_request_unplug(function);
		break;
	case 3:
		if (function->host && choice > 0x80)
			pci_unplug(function);
		break;
	case 4: pci_msix_notify(function, choice / 8); break;
	case 5: pci_msi_notify(function, choice / 8); break;
	case 6: pci_set_intx(function, choice & 8); break;
	case 7:
		if (choice > 0xf0)
			machine_reset(&f->machine);
		break;
	}
}

static void act(struct pci_fixture *f, struct pci_test_card *cards, struct fuzz_input *input)
{
	struct machine *machine = &f->machine;
	uint8_t action = fuzz_u8(input);
	unsigned size = 1u << action / 16 % 3;
	uint64_t config = FIXTURE_ECAM + ((fuzz_u8(input) % 5u) << 15) + fuzz_u8(input);

	switch (action % 8) {
	case 0:
	case 1: machine_mmio_write(machine, config, size, take_value(input)); break;
	case 2: machine_mmio_read(machine, config, size); break;
	case 3:
		machine_pio_write(machine, 0xcf8 + fuzz_u8(input) % 8, size, fuzz_u32(input));
		machine_pio_read(machine, 0xcfc, size);
		break;
	case 4: machine_mmio_write(machine, take_address(f, input), size, take_value(input)); break;
	case 5: machine_mmio_read(machine, take_address(f, input), 1u << action / 16 % 4); break;
	case 6:
		machine_pio_read(machine, FIXTURE_HOTPLUG + fuzz_u8(input) % 32, size);
		machine_pio_write(
			machine, FIXTURE_HOTPLUG + fuzz_u8(input) % 16, size, fuzz_u32(input));
		break;
	case 7: host_action(f, &cards[fuzz_u8(input) % NR_CARDS], fuzz_u8(input)); break;
	}
}

static void check_regions(const struct address_space *space)
{
	for (unsigned i = 1; i < space->nr_regions; i++) {
		const struct io_region *before = &space->regions[i - 1];

		if (before->base + before->size > space->regions[i].base)
			abort();
	}
}

/* As they come back from a restore, which maps what was mapped. */
static void check_states(struct pci_fixture *f)
{
	unsigned regions = f->machine.mmio.nr_regions + f->machine.pio.nr_regions;

	fuzz_check_states(&f->machine, true);
	if (regions != f->machine.mmio.nr_regions + f->machine.pio.nr_regions)
		abort();
}

static void forget_message(void *engine, gpa_t address, uint32_t data)
{
	(void)engine;
	(void)data;
	if (address >> 20 != 0xfee)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	static const char *const names[NR_CARDS] = { "one", "two", "three" };
	struct fuzz_input input = { bytes, size };
	struct pci_test_card cards[NR_CARDS];
	struct pci_fixture f;

	log_set_level(LOG_ERROR);
	fixture_init(&f);
	f.machine.cpu_bus.msi = forget_message;
	for (unsigned i = 0; i < NR_CARDS; i++)
		pci_test_card_init(&cards[i], names[i], NULL);
	pci_plug(f.host, &cards[0].function, PCI_ANY_DEVICE, false, NULL);
	machine_reset(&f.machine);
	while (input.left > 0)
		act(&f, cards, &input);
	check_regions(&f.machine.mmio);
	check_regions(&f.machine.pio);
	check_states(&f);
	for (unsigned i = 0; i < NR_CARDS; i++)
		pci_test_card_finish(&cards[i]);
	if (f.machine.mmio.nr_regions != 1 || f.machine.pio.nr_regions != 3)
		abort();
	fixture_finish(&f);
	return 0;
}
