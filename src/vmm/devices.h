/*
 * What is plugged into a virtual machine's PCI bus.
 */
#ifndef VMM_DEVICES_H
#define VMM_DEVICES_H

#include "board/board.h"
#include "pci/pci_test_card.h"
#include "sound/hda.h"
#include "vga/vga_card.h"
#include "virtio/virtio_balloon.h"
#include "virtio/virtio_mem.h"
#include "virtio/virtio_pci.h"
#include "vmm/disk.h"
#include "vmm/ports.h"
#include "vmm/vm.h"

#define DEVICES_MAX 31 /* slots of bus 0, but for the host bridge's */

/* A PCI device that is not virtio. */
struct devices_card {
	struct pci_function *function;
	void *object;
	/* Unplugged already, and without the machine lock. */
	void (*destroy)(void *object);
};

/*
 * Makes a card of an option's value. `name` is unique in the machine and outlives the card. Returns
 * 0, or fills `err` and leaves `card` zeroed.
 */
typedef int devices_create_card(struct devices_card *card, const char *name, const char *value,
	struct machine *machine, struct error *err);

/* A device in its slot: virtio, or a card. */
struct devices_entry {
	char name[16];                 /* "net0" */
	struct pci_function *function; /* NULL: this entry is free */
	struct virtio_device *device;  /* NULL: a card */
	struct virtio_pci *transport;
	void (*destroy)(struct virtio_device *device);
	struct devices_card card;
	bool is_nic;
	unsigned boot; /* of a NIC: its place in firmware's order, 0: none */
};

struct devices_events {
	/* A disk keeps requests that the host failed (block_events.stopped). Any thread. */
	void (*disk_stopped)(void *context, const struct error *why);
	/* The guest ejected a device: devices_sweep has something to do. Any thread. */
	void (*ejected)(void *context);
	void *context;
};

/* What can be told of a device. */
struct devices_info {
	const char *id; /* "disk0" */
	unsigned slot;  /* its device number on bus 0 */
};

/* Used by the event loop's thread only. */
struct devices {
	struct machine *machine;
	struct board *board;
	struct devices_events events;
	bool running;            /* the guest is told of what comes now */
	bool network_boot, uefi; /* NICs get the ROM of their model, for either firmware */
	_Atomic bool ejection;   /* set by any thread */
	/* Two: the second is for the guest to plug and unplug. NULL: not asked for. */
	struct pci_test_card *test_cards;
	/* Both with holes, where a device was removed. */
	struct disk disks[VM_MAX_DISKS]; /* and optical drives */
	struct controllers controllers;
	struct hda_sink sound; /* of the sound card, if the configuration has one; set before */
	struct ports ports;
	/* Of the entries: what the VM is asked about. NULL: not there. */
	struct virtio_balloon *balloon;
	struct virtio_mem *mem;
	struct virtio_device *console; /* of --console: hvc0 */
	struct devices_entry entries[DEVICES_MAX];
	/* Of these, those that a person sees and uses; NULL: not there. */
	struct vga_card *vga;
	struct virtio_device *keyboard, *tablet, *gpu;
};

/* Does anything of the configuration need a PCI bus? */
bool devices_need_pci(const struct vm_config *config);

/* Plugs what `config` asks for, before the engine is created. Returns 0, or fills `err`. */
int devices_create(struct devices *devices, const struct vm_config *config, struct machine *machine,
	struct board *board, const struct devices_events *events, struct error *err);

/* Before the engine and the board are destroyed; no vCPU runs. Takes half-built ones. */
void devices_destroy(struct devices *devices);

/*
 * While the guest runs: plugs a "disk" or "net" as the option of that name describes it; `*id` is
 * its name, valid as long as the device. Returns 0, or fills `err`.
 */
int devices_add(struct devices *devices, const char *kind, const char *value, const char **id,
	struct error *err);

/*
 * Makes a card, the next of its `kind`, and plugs it as `device` of the bus (PCI_ANY_DEVICE: where
 * there is room). `*id` is its name, valid as long as the device. Returns 0, or fills `err`.
 */
int devices_add_card(struct devices *devices, const char *kind, devices_create_card *create,
	const char *value, unsigned device, const char **id, struct error *err);

/* The object of a card, NULL if it is none. */
void *devices_card_object(struct devices *devices, const char *id);

/*
 * Asks the guest to give a device up, which is then swept; or, by force, pulls it out and destroys
 * it at once. Returns 0, or fills `err`.
 */
int devices_remove(struct devices *devices, const char *id, bool by_force, struct error *err);

/* Destroys what the guest has ejected, and tells of each. */
void devices_sweep(
	struct devices *devices, void (*gone)(void *context, const char *id), void *context);

/* The drive of that name, or NULL. */
struct disk *devices_disk(struct devices *devices, const char *id);

void devices_list(struct devices *devices,
	void (*visit)(void *context, const struct devices_info *info), void *context);

/* Makes the NIC "netN" of `value`, what --net was given. Returns 0, or fills `err`. */
int nic_create(struct virtio_device **device, const char *name, const char *value,
	struct machine *machine, struct error *err);

/* Its place in firmware's order, 0: none. Returns 0, or fills `err`. */
int nic_boot(const char *value, unsigned *boot, struct error *err);

/* Gives a NIC's function the network boot ROM that `value` names (romfile=), or that of its model
 * if somebody wants to boot from it (`wanted`). Before the guest runs. Returns 0, or fills `err`.
 */
int nic_add_rom(struct pci_function *function, const char *value, bool wanted, bool uefi,
	struct error *err);

/* Sets `*is_card` if `value` names a NIC that is not virtio; nic_create_card makes that. Returns 0,
 * or fills `err`. */
int nic_is_card(const char *value, bool *is_card, struct error *err);
devices_create_card nic_create_card;

/* Makes the shared folder of `value`, what --share was given. Returns 0, or fills `err`. */
int share_create(struct virtio_device **device, const char *name, const char *value,
	struct machine *machine, struct error *err);

#endif
