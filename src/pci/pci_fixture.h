/*
 * What the tests of src/pci stand on: a machine with a bus, and an engine that records messages.
 */
#ifndef PCI_PCI_FIXTURE_H
#define PCI_PCI_FIXTURE_H

#include "pci/pci_bus.h"
#include "pci/pci_test_card.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define FIXTURE_ECAM     UINT64_C(0xfe000000)
#define FIXTURE_MEMORY32 UINT64_C(0xc0000000)
#define FIXTURE_MEMORY64 UINT64_C(0x800000000)
#define FIXTURE_HOTPLUG  0x620

struct message {
	gpa_t address;
	uint32_t data;
};

struct pci_fixture {
	struct machine machine;
	struct pci_host *host;
	bool intx[PCI_NR_PINS];
	unsigned events; /* of hotplug */
	struct message messages[64];
	unsigned nr_messages;
	/* The last irqfd. */
	int irqfd;
	struct message irqfd_message;
};

static inline void fixture_msi(void *engine, gpa_t address, uint32_t data)
{
	struct pci_fixture *f = engine;

	f->messages[f->nr_messages++ % ARRAY_SIZE(f->messages)] = (struct message){ address, data };
}

static inline int fixture_irqfd(void *engine, int fd, gpa_t address, uint32_t data)
{
	struct pci_fixture *f = engine;

	f->irqfd = fd;
	f->irqfd_message = (struct message){ address, data };
	return 0;
}

static inline void fixture_intx(void *context, unsigned pin, bool level)
{
	((struct pci_fixture *)context)->intx[pin] = level;
}

static inline void fixture_event(void *context, unsigned pin, bool level)
{
	(void)pin;
	((struct pci_fixture *)context)->events += level;
}

static inline void fixture_init(struct pci_fixture *f)
{
	struct pci_host_config config = {
		.ecam_base = FIXTURE_ECAM,
		.memory32 = { FIXTURE_MEMORY32, 0x3e000000 },
		.memory64 = { FIXTURE_MEMORY64, UINT64_C(32) << 30 },
		.io = { 0x1000, 0xf000 },
		.interrupt_line = { 10, 11, 10, 11 },
		.hotplug_event = { .set = fixture_event, .context = f },
	};

	memset(f, 0, sizeof(*f));
	machine_init(&f->machine);
	for (unsigned pin = 0; pin < PCI_NR_PINS; pin++)
		config.intx[pin] =
			(struct irq_line){ .set = fixture_intx, .context = f, .pin = pin };
	f->machine.cpu_bus.engine = f;
	f->machine.cpu_bus.msi = fixture_msi;
	pci_host_create(&f->host, &f->machine, &config, NULL);
	pci_host_map_config_ports(f->host, 0xcf8);
	pci_host_map_hotplug_ports(f->host, FIXTURE_HOTPLUG);
}

static inline void fixture_finish(struct pci_fixture *f)
{
	pci_host_destroy(f->host);
	machine_finish(&f->machine);
}

/* Configuration space through ECAM. */
static inline uint32_t config_get(
	struct pci_fixture *f, unsigned device, unsigned offset, unsigned size)
{
	return (uint32_t)machine_mmio_read(
		&f->machine, FIXTURE_ECAM + (device << 15) + offset, size);
}

static inline void config_set(
	struct pci_fixture *f, unsigned device, unsigned offset, unsigned size, uint32_t value)
{
	machine_mmio_write(&f->machine, FIXTURE_ECAM + (device << 15) + offset, size, value);
}

/* The offset of a capability, found as a guest finds it. */
static inline unsigned find_capability(struct pci_fixture *f, unsigned device, uint8_t id)
{
	unsigned at = config_get(f, device, PCI_CAPABILITIES, 1);

	while (at && config_get(f, device, at, 1) != id)
		at = config_get(f, device, at + 1, 1);
	return at;
}

#endif
