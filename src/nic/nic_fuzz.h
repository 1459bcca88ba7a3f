/*
 * What the fuzz targets of cards share: bytes that choose accesses to BARs, what is in RAM, frames
 * that come, and rounds of work.
 */
#ifndef NIC_NIC_FUZZ_H
#define NIC_NIC_FUZZ_H

#include "nic/nic_fixture.h"

#include "machine/fuzz.h"

struct nic_fuzz {
	struct nic_fixture nic;
	struct fuzz_input input;
};

static inline void nic_fuzz_fill(struct nic_fuzz *fuzz)
{
	gpa_t at = (gpa_t)fuzz_u8(&fuzz->input) << 8;
	uint8_t bytes[64];

	fuzz_bytes(&fuzz->input, bytes, sizeof(bytes));
	ram_write(&fuzz->nic, at, bytes, sizeof(bytes));
}

static inline void nic_fuzz_come(struct nic_fuzz *fuzz)
{
	uint8_t frame[2048] = { 0 };
	size_t size = 14 + (size_t)fuzz_u8(&fuzz->input) * 8 % 2000;

	fuzz_bytes(&fuzz->input, frame, 32);
	fuzz->nic.cable->incoming_header.flags = fuzz_u8(&fuzz->input) & 2;
	if (fuzz->nic.cable->nr_incoming - fuzz->nic.cable->nr_taken < FIXTURE_DEPTH)
		nic_fixture_come(&fuzz->nic, frame, size);
}

/* Until the input ends. `serve` is a round of the card's. */
static inline void nic_fuzz_run(
	struct nic_fuzz *fuzz, const struct pci_function *function, struct nic_cable *cable)
{
	struct machine *machine = &fuzz->nic.pci.machine;
	struct timer *timer;

	while (fuzz->input.left) {
		uint8_t action = fuzz_u8(&fuzz->input);
		const struct pci_bar *bar =
			&function->bars[action & 0x80 ? (function->bars[2].size ? 2 : 1) : 0];
		uint32_t offset = fuzz_u32(&fuzz->input) % (uint32_t)bar->size;
		unsigned size = 1u << (action >> 4 & 3) % 3;

		switch (action & 7) {
		case 0:
		case 1:
			if (bar->address == PCI_UNMAPPED)
				break;
			if (bar->kind == PCI_BAR_IO)
				machine_pio_write(machine, (uint16_t)(bar->address + offset), size,
					fuzz_u32(&fuzz->input));
			else
				machine_mmio_write(machine, bar->address + offset, size,
					fuzz_u32(&fuzz->input));
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
	fuzz_check_states(machine, false);
	machine_unlock(machine);
}

#endif
