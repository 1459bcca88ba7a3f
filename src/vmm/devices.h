/*
 * What is plugged into a virtual machine's PCI bus.
 */
#ifndef VMM_DEVICES_H
#define VMM_DEVICES_H

#include "board/board.h"
#include "pci/pci_test_card.h"
#include "virtio/virtio_pci.h"
#include "vmm/disk.h"
#include "vmm/vm.h"

#define DEVICES_MAX 31 /* slots of bus 0, but for the host bridge's */

/* A virtio device in its slot. */
struct devices_entry {
	char name[16]; /* "net0" */
	struct virtio_device *device;
	struct virtio_pci *transport;
	void (*destroy)(struct virtio_device *device);
};

struct devices_events {
	/* A disk keeps requests that the host failed (block_events.stopped). Any thread. */
	void (*disk_stopped)(void *context, const struct error *why);
	void *context;
};

struct devices {
	/* Two: the second is for the guest to plug and unplug. NULL: not asked for. */
	struct pci_test_card *test_cards;
	struct disk disks[VM_MAX_DISKS];
	unsigned nr_disks;
	struct devices_entry entries[DEVICES_MAX];
	unsigned count;
};

/* Does anything of the configuration need a PCI bus? */
bool devices_need_pci(const struct vm_config *config);

/* Plugs what `config` asks for, before the engine is created. Returns 0, or fills `err`. */
int devices_create(struct devices *devices, const struct vm_config *config, struct machine *machine,
	struct board *board, const struct devices_events *events, struct error *err);

/* Before the engine and the board are destroyed; no vCPU runs. Takes half-built ones. */
void devices_destroy(struct devices *devices);

/* Makes the NIC "netN" of `value`, what --net was given. Returns 0, or fills `err`. */
int nic_create(struct virtio_device **device, const char *name, const char *value,
	struct machine *machine, struct error *err);

#endif
