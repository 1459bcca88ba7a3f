/*
 * What the files of src/pci share: the host bridge's own struct, and the steps of a configuration
 * access. All under the machine lock.
 */
#ifndef PCI_PCI_BUS_H
#define PCI_PCI_BUS_H

#include "pci/pci_host.h"

#define PCI_BRIDGE_DEVICE 0
#define PCI_NR_FUNCTIONS  (PCI_NR_DEVICES * 8)

static inline unsigned pci_devfn(const struct pci_function *function)
{
	return function->number * 8u + function->sub_number;
}

struct pci_host_state {
	uint32_t config_address;
	uint32_t slots_up;   /* hotplug: a device came, and the guest was not told yet */
	uint32_t slots_down; /* hotplug: the guest is asked to give it up */
	uint8_t reserved[4];
};

struct pci_host {
	struct pci_host_state state;
	struct machine *machine;
	struct pci_host_config config;
	struct pci_function bridge;
	struct pci_function *functions[PCI_NR_FUNCTIONS]; /* by device and function */
	/* Functions that hold each of the host's pins. */
	uint64_t asserted[PCI_NR_PINS][PCI_NR_FUNCTIONS / 64];
	uint32_t built_in;        /* devices that cannot be ejected */
	gpa_t ecam_base;          /* where it is mapped now, 0: nowhere */
	struct io_region beneath; /* the region that CONFIG_ADDRESS lies on; no ops: none */
	/* Where the next BAR of each kind goes when addresses are given at reset. */
	uint64_t next_memory32, next_memory64, next_io;
};

extern const struct device_type pci_host_type;

/* pci_config.c: the guest's access, inside one function; `size` 1, 2 or 4. */
uint32_t pci_config_read(struct pci_function *function, unsigned offset, unsigned size);
void pci_config_write(
	struct pci_function *function, unsigned offset, unsigned size, uint32_t value);
/* To reset values; INTx goes low. Tells the device. */
void pci_config_reset(struct pci_function *function);
/* Derives everything from configuration space: decoding, interrupts. */
void pci_config_apply(struct pci_function *function);

/* pci_bar.c */
/* Gives every BAR of the function an address, as firmware does; does not enable them. */
void pci_bar_assign(struct pci_function *function);
/* Decodes what all functions' registers now say. */
void pci_bar_decode(struct pci_host *host);
/* Stops decoding the function's BARs. */
void pci_bar_unmap(struct pci_function *function);

/* pci_interrupt.c */
void pci_interrupt_reset(struct pci_function *function);
/* The function leaves the bus: takes irqfds from the engine. */
void pci_interrupt_detach(struct pci_function *function);
/* After configuration space changed. */
void pci_interrupt_update(struct pci_function *function);
/* Accesses to the MSI-X table and pending bits; false if they are elsewhere in the BAR. */
bool pci_msix_read(struct pci_function *function, unsigned bar, uint64_t offset, unsigned size,
	uint64_t *value);
bool pci_msix_write(struct pci_function *function, unsigned bar, uint64_t offset, unsigned size,
	uint64_t value);

/* pci_hotplug.c */
void pci_hotplug_came(struct pci_function *function);

/* pci_host.c: the level of a function's pin. */
void pci_host_set_intx(struct pci_function *function, bool level);

#endif
