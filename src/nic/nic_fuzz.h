/*
 * What the fuzz targets of cards share: bytes that choose accesses to BARs, what is in RAM, frames
 * that come, and rounds of work.
 */
#ifndef NIC_NIC_FUZZ_H
#define NIC_NIC_FUZZ_H

#include "nic/nic_fixture.h"

#include "base/log.h"

struct nic_fuzz {
	struct nic_fixture nic;
	const uint8_t *bytes;
	size_t left;
};

static inline uint8_t nic_fuzz_take(struct nic_fuzz *fuzz)
{
	if (!fuzz->left)
		return 0;
	fuzz->left--;
	return *fuzz->bytes++;
}

static inline uint32_t nic_fuzz_take32(struct nic_fuzz *fuzz)
{
	uint32_t value = 0;

	for (unsigned i = 0; i < 4; i++)
		value = value << 8 | nic_fuzz_take(fuzz);
	return value;
}

static inline void nic_fuzz_fill(struct nic_fuzz *fuzz)
{
	gpa_t at = (gpa_t)nic_fuzz_take(fuzz) << 8;
	uint8_t bytes[64];

	for (unsigned i = 0; i < sizeof(bytes); i++)
		bytes[i] = nic_fuzz_take(fuzz);
	ram_write(&fuzz->nic, at, bytes, sizeof(bytes));
}

static inline void nic_fuzz_come(struct nic_fuzz *fuzz)
{
	uint8_t frame[2048] = { 0 };
	size_t size = 14 + (size_t)nic_fuzz_take(fuzz) * 8 % 2000;

	for (unsigned i = 0; i < 32; i++)
		frame[i] = nic_fuzz_take(fuzz);
	fuzz->nic.cable->incoming_header.flags = nic_fuzz_take(fuzz) & 2;
	if (fuzz->nic.cable->nr_incoming - fuzz->nic.cable->nr_taken < FIXTURE_DEPTH)
		nic_fixture_come(&fuzz->nic, frame, size);
}

/* The state of every device must be one that its table allows, and the same after restoring. */
static inline void nic_fuzz_check(struct nic_fuzz *fuzz)
{
	struct machine *machine = &fuzz->nic.pci.machine;

	for (unsigned i = 0; i < machine->nr_devices; i++) {
		const struct device *device = &machine->devices[i];

		if (!state_check(device->type->state, device_state(device), NULL))
			abort();
	}
}

/* Until the input ends. `serve` is a round of the card's. */
static inline void nic_fuzz_run(
	struct nic_fuzz *fuzz, const struct pci_function *function, struct nic_cable *cable)
{
	struct machine *machine = &fuzz->nic.pci.machine;
	struct timer *timer;

	while (fuzz->left) {
		uint8_t action = nic_fuzz_take(fuzz);
		const struct pci_bar *bar =
			&function->bars[action & 0x80 ? (function->bars[2].size ? 2 : 1) : 0];
		uint32_t offset = nic_fuzz_take32(fuzz) % (uint32_t)bar->size;
		unsigned size = 1u << (action >> 4 & 3) % 3;

		switch (action & 7) {
		case 0:
		case 1:
			if (bar->address == PCI_UNMAPPED)
				break;
			if (bar->kind == PCI_BAR_IO)
				machine_pio_write(machine, (uint16_t)(bar->address + offset), size,
					nic_fuzz_take32(fuzz));
			else
				machine_mmio_write(machine, bar->address + offset, size,
					nic_fuzz_take32(fuzz));
			break;
		case 2:
			if (bar->address == PCI_UNMAPPED)
				break;
			if (bar->kind == PCI_BAR_IO)
				machine_pio_read(machine, (uint16_t)(bar->address + offset), size);
			else
				machine_mmio_read(machine, bar->address + offset, size);
			break;
		case 3: nic_fuzz_fill(fuzz); break;
		case 4: nic_fuzz_come(fuzz); break;
		case 5:
			machine_lock(machine);
			cable->ops->serve(cable->card);
			machine_unlock(machine);
			break;
		case 6: fuzz->nic.cable->is_full = action & 8; break;
		case 7:
			machine_lock(machine);
			timer = machine->clock.timers;
			if (timer)
				timer->fire(timer->context);
			machine_unlock(machine);
			break;
		}
	}
	machine_lock(machine);
	nic_fuzz_check(fuzz);
	machine_unlock(machine);
}

#endif
