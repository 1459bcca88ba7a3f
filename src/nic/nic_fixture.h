/*
 * What the tests of cards stand on: a machine with RAM and a bus, and a cable whose other end is
 * the test. Cards serve it when the test says so.
 */
#ifndef NIC_NIC_FIXTURE_H
#define NIC_NIC_FIXTURE_H

#include "pci/pci_fixture.h"

#include "net/cable_fixture.h"
#include "nic/e1000.h"

#define FIXTURE_RAM (1u << 20)

struct nic_fixture {
	struct pci_fixture pci;
	struct fixture_cable *cable; /* the card's, which destroys it */
};

static inline void nic_fixture_init(struct nic_fixture *f)
{
	fixture_init(&f->pci);
	guest_memory_add(&f->pci.machine.memory, 0, FIXTURE_RAM, false, NULL);
	f->cable = fixture_cable_new();
}

/* Plugs a card as device 1 and turns its BARs and bus mastering on. */
static inline void nic_fixture_plug(struct nic_fixture *f, struct pci_function *function)
{
	machine_lock(&f->pci.machine);
	pci_plug(f->pci.host, function, 1, false, NULL);
	machine_reset(&f->pci.machine);
	machine_unlock(&f->pci.machine);
	config_set(&f->pci, 1, PCI_COMMAND, 2,
		PCI_COMMAND_MEMORY | PCI_COMMAND_IO | PCI_COMMAND_MASTER);
}

static inline void nic_fixture_unplug(struct nic_fixture *f, struct pci_function *function)
{
	machine_lock(&f->pci.machine);
	pci_unplug(function);
	machine_unlock(&f->pci.machine);
}

static inline void nic_fixture_come(struct nic_fixture *f, const void *frame, size_t size)
{
	fixture_cable_come(f->cable, frame, size);
}

static inline void ram_write(struct nic_fixture *f, gpa_t at, const void *from, size_t size)
{
	guest_memory_write(&f->pci.machine.memory, at, from, size);
}

static inline void ram_read(struct nic_fixture *f, gpa_t at, void *to, size_t size)
{
	guest_memory_read(&f->pci.machine.memory, at, to, size);
}

#endif
