/*
 * Fuzz target: what a guest can do to PCI: configuration space by both ways, BARs, the MSI-X table,
 * doorbells, hotplug registers; while the host plugs and asks for devices.
 *
 * Each byte picks an action. Afterwards decoded BARs must be disjoint and inside the windows, other
 * regions must be where they were, and every state must be the same after it was saved and
 * restored.
 */
#include "pci/pci_fixture.h"

#include "base/log.h"

#define NR_CARDS 3

struct input {
	const uint8_t *bytes;
	size_t left;
};

static uint8_t take(struct input *input)
{
	if (input->left == 0)
		return 0;
	input->left--;
	return *input->bytes++;
}

static uint32_t take_u32(struct input *input)
{
	uint32_t value = 0;

	for (unsigned i = 0; i < 4; i++)
		value = value << 8 | take(input);
	return value;
}

/* Values at which something happens are likelier than a random one. */
static uint32_t take_value(struct input *input)
{
	static const uint32_t likely[] = { 0, 1, 7, 0xffffffff, 0xc0000000, 0xd0000000, 0xfdfff000,
		0xfe000000, 0x8000, 0xc000, 0xfee00000, 0x1000, 0x1020, 0xffff };
	uint8_t choice = take(input);

	return choice < ARRAY_SIZE(likely) ? likely[choice] : take_u32(input);
}

static uint64_t take_address(struct pci_fixture *f, struct input *input)
{
	const struct pci_function *function = f->host->functions[take(input) % 4 * 8];
	uint8_t bar = take(input) % PCI_NR_BARS;
	uint64_t base = function && function->bars[bar].address != PCI_UNMAPPED
				? function->bars[bar].address
				: FIXTURE_MEMORY32;

	return base + (take(input) << 5) % 0x2000 + take(input) % 32;
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

static void act(struct pci_fixture *f, struct pci_test_card *cards, struct input *input)
{
	struct machine *machine = &f->machine;
	uint8_t action = take(input);
	unsigned size = 1u << action / 16 % 3;
	uint64_t config = FIXTURE_ECAM + ((take(input) % 5u) << 15) + take(input);

	switch (action % 8) {
	case 0:
	case 1: machine_mmio_write(machine, config, size, take_value(input)); break;
	case 2: machine_mmio_read(machine, config, size); break;
	case 3:
		machine_pio_write(machine, 0xcf8 + take(input) % 8, size, take_u32(input));
		machine_pio_read(machine, 0xcfc, size);
		break;
	case 4: machine_mmio_write(machine, take_address(f, input), size, take_value(input)); break;
	case 5: machine_mmio_read(machine, take_address(f, input), 1u << action / 16 % 4); break;
	case 6:
		machine_pio_read(machine, FIXTURE_HOTPLUG + take(input) % 32, size);
		machine_pio_write(
			machine, FIXTURE_HOTPLUG + take(input) % 16, size, take_u32(input));
		break;
	case 7: host_action(f, &cards[take(input) % NR_CARDS], take(input)); break;
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

static void check_states(struct pci_fixture *f)
{
	for (unsigned i = 0; i < f->machine.nr_devices; i++) {
		const struct device *device = &f->machine.devices[i];
		struct state_buffer before = { 0 }, after = { 0 };
		unsigned regions = f->machine.mmio.nr_regions + f->machine.pio.nr_regions;

		state_encode(&before, device->type->state, device->instance, device_state(device));
		if (state_decode(before.bytes, before.size, device->type->state,
			    device_state(device), NULL) != (long)before.size)
			abort();
		if (device->type->restored)
			device->type->restored(device->object);
		state_encode(&after, device->type->state, device->instance, device_state(device));
		if (after.size != before.size ||
			memcmp(after.bytes, before.bytes, before.size) != 0 ||
			regions != f->machine.mmio.nr_regions + f->machine.pio.nr_regions)
			abort();
		state_buffer_finish(&before);
		state_buffer_finish(&after);
	}
}

static void forget_message(void *engine, gpa_t address, uint32_t data)
{
	(void)engine;
	(void)data;
	if (address >> 20 != 0xfee)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	static const char *const names[NR_CARDS] = { "one", "two", "three" };
	struct input input = { bytes, size };
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
