/*
 * A PCI host bridge with its bus 0: configuration accesses, address windows, INTx wiring, and
 * plugging of functions before and while the guest runs.
 *
 * Where BARs overlap, the lowest device and function number wins, then the lowest BAR; a BAR that
 * is not wholly inside a window, or that is shadowed, is not decoded. What is decoded depends on
 * the registers' present values alone, never on the order in which they were written.
 */
#ifndef PCI_PCI_HOST_H
#define PCI_PCI_HOST_H

#include "base/error.h"
#include "machine/irq_line.h"
#include "machine/machine.h"
#include "pci/pci.h"

#include <limits.h>

#define PCI_NR_DEVICES 32
#define PCI_NR_PINS    4

/* The bus's first free device number with a hotplug slot. */
#define PCI_ANY_DEVICE UINT_MAX

struct pci_window {
	uint64_t base;
	uint64_t size;
};

struct pci_host_config {
	/* What function 00:00.0 is; NULL: a bridge without registers of its own. Not yet plugged;
	 * the caller finishes it after pci_host_destroy. */
	struct pci_function *bridge;
	gpa_t ecam_base;            /* at first; 0: none */
	uint64_t ecam_size;         /* 0: 1 MiB, for bus 0 */
	struct pci_window memory32; /* below 4 GiB */
	struct pci_window memory64; /* above */
	struct pci_window io;
	/* Firmware gives BARs their addresses, and a reset does not. */
	bool has_firmware;
	/* INTA to INTD of device 0; the pins of device n are these rotated by n. Active while any
	 * function asserts its pin. */
	struct irq_line intx[PCI_NR_PINS];
	uint8_t interrupt_line[PCI_NR_PINS]; /* what the Interrupt Line register says of them */
	/* Asks the guest to look at the hotplug registers (a general-purpose event). */
	struct irq_line hotplug_event;
};

/* Creates the bridge with its function 00:00.0 and maps ECAM. Returns 0, or fills `err`. */
int pci_host_create(struct pci_host **host, struct machine *machine,
	const struct pci_host_config *config, struct error *err);
/* Every function but the bridge's own has been unplugged or is never used again; takes NULL. */
void pci_host_destroy(struct pci_host *host);

/* CONFIG_ADDRESS and CONFIG_DATA, eight ports. Accesses to the first four that are not a whole
 * doubleword go to the region that was there before (the reset control register). */
void pci_host_map_config_ports(struct pci_host *host, uint16_t port);

/* Moves ECAM; `base` 0 takes it away, as does a place that is not free. */
void pci_host_move_ecam(struct pci_host *host, gpa_t base, uint64_t size);

/* Where it is; 0: nowhere. */
gpa_t pci_host_ecam(const struct pci_host *host);

/* What firmware does to the BARs, and to the lines' numbers, of a board that has no firmware to do
 * it just now. */
void pci_host_assign(struct pci_host *host);

/* The hotplug registers, PCI_HOTPLUG_PORTS ports; pci.asl drives them. */
#define PCI_HOTPLUG_PORTS 40
void pci_host_map_hotplug_ports(struct pci_host *host, uint16_t port);

/*
 * Plugs a function as function 0 of `device` (1 to 31, or PCI_ANY_DEVICE). While the guest runs
 * (`hot`) it is told; before that, BARs get addresses at reset, as firmware would give them.
 * Returns 0, or fills `err` (no free slot, or taken).
 */
int pci_plug(struct pci_host *host, struct pci_function *function, unsigned device, bool hot,
	struct error *err);

/* Before the guest runs, and for good: a function of the board's own. Function 0 of a device comes
 * before its others. */
void pci_plug_built_in(
	struct pci_host *host, struct pci_function *function, unsigned device, unsigned sub_number);

/* Asks the guest to give the device up; it answers with ops.ejected, or never. */
void pci_request_unplug(struct pci_function *function);

/* Takes it off the bus now, as if it were pulled out. ops.ejected is not called. */
void pci_unplug(struct pci_function *function);

/* Function 0 of `device`, or NULL. */
struct pci_function *pci_host_function(const struct pci_host *host, unsigned device);

#endif
