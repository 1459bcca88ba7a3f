/*
 * Hotplug through ACPI: registers that the methods of pci.asl read when the board's general-purpose
 * event says that something happened (ACPI 6.4, 5.6.4 and 6.3.3). A bit stands for a device of bus
 * 0. The registers are ours; no data sheet describes them.
 *
 *	0x00  up      a device came; writing 1 clears
 *	0x04  down    the guest is asked to give the device up; writing 1 clears
 *	0x08  eject   writing 1 takes the device off the bus; reads which devices are there
 *	0x10  the window for BARs above 4 GiB: base, 64 bits, read-only
 *	0x18  its size, 64 bits, read-only
 *	0x20  the window for BARs below 4 GiB: base, read-only
 *	0x24  ECAM: its base, read-only; 0: none
 */
#include "pci/pci_bus.h"

#include "base/log.h"

#define HOTPLUG_UP    0x00
#define HOTPLUG_DOWN  0x04
#define HOTPLUG_EJECT 0x08
#define HOTPLUG_BASE  0x10
#define HOTPLUG_SIZE  0x18
#define HOTPLUG_LOW   0x20
#define HOTPLUG_ECAM  0x24

static uint32_t occupied(const struct pci_host *host)
{
	uint32_t devices = 0;

	for (unsigned i = PCI_BRIDGE_DEVICE + 1; i < PCI_NR_DEVICES; i++)
		devices |= host->functions[i * 8] ? UINT32_C(1) << i : 0;
	return devices & ~host->built_in;
}

static uint32_t hotplug_register(const struct pci_host *host, uint64_t offset)
{
	switch (offset) {
	case HOTPLUG_UP: return host->state.slots_up;
	case HOTPLUG_DOWN: return host->state.slots_down;
	case HOTPLUG_EJECT: return occupied(host);
	case HOTPLUG_BASE: return (uint32_t)host->config.memory64.base;
	case HOTPLUG_BASE + 4: return (uint32_t)(host->config.memory64.base >> 32);
	case HOTPLUG_SIZE: return (uint32_t)host->config.memory64.size;
	case HOTPLUG_SIZE + 4: return (uint32_t)(host->config.memory64.size >> 32);
	case HOTPLUG_LOW: return (uint32_t)host->config.memory32.base;
	case HOTPLUG_ECAM: return (uint32_t)host->ecam_base;
	default: return 0;
	}
}

static uint64_t hotplug_read(void *device, uint64_t offset, unsigned size)
{
	uint64_t value = hotplug_register(device, align_down(offset, 4));

	return (value >> (8 * (offset % 4))) & byte_mask(size);
}

static void eject(struct pci_host *host, uint32_t devices)
{
	for (devices &= occupied(host); devices; devices &= devices - 1) {
		struct pci_function *function = host->functions[__builtin_ctz(devices) * 8];

		pci_unplug(function);
		if (function->ops->ejected)
			function->ops->ejected(function->device);
		if (function->ejected)
			function->ejected(function->owner);
	}
}

static void hotplug_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct pci_host *host = device;

	if (size != 4) {
		log_guest("PCI hotplug register %#llx was written with %u bytes",
			(unsigned long long)offset, size);
		return;
	}
	switch (offset) {
	case HOTPLUG_UP: host->state.slots_up &= ~(uint32_t)value; break;
	case HOTPLUG_DOWN: host->state.slots_down &= ~(uint32_t)value; break;
	case HOTPLUG_EJECT: eject(host, (uint32_t)value); break;
	}
}

void pci_host_map_hotplug_ports(struct pci_host *host, uint16_t port)
{
	static const struct io_ops ops = { hotplug_read, hotplug_write, 4 };

	address_space_map(&host->machine->pio,
		&(struct io_region){ port, PCI_HOTPLUG_PORTS, &ops, host, "pci-hotplug" });
}

void pci_hotplug_came(struct pci_function *function)
{
	struct pci_host *host = function->host;

	host->state.slots_up |= UINT32_C(1) << function->number;
	irq_line_pulse(&host->config.hotplug_event);
}

void pci_request_unplug(struct pci_function *function)
{
	struct pci_host *host = function->host;

	host->state.slots_down |= UINT32_C(1) << function->number;
	irq_line_pulse(&host->config.hotplug_event);
}
