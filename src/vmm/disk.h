/*
 * A disk or optical drive of a virtual machine: an image behind a device on the PCI bus, or on a
 * controller there, as `--disk FILE,format=raw,...` and `--cdrom FILE` describe it.
 */
#ifndef VMM_DISK_H
#define VMM_DISK_H

#include "base/properties.h"
#include "block/block.h"
#include "board/board.h"
#include "storage/nvme.h"
#include "usb/usb_storage.h"
#include "virtio/virtio_pci.h"
#include "vmm/controllers.h"

struct disk_options {
	struct block_options block;
	const char *serial;
	unsigned queues; /* 0: one for each processor, up to DISK_DEFAULT_QUEUES */
	bool transitional;
	bool is_optical; /* --cdrom */
	bool is_floppy;  /* --floppy */
	enum disk_bus bus;
	unsigned boot;                /* boot=N: 1 comes first; 0: not given */
	struct properties properties; /* owns the texts */
};

struct disk {
	char name[16]; /* "disk0" */
	struct disk_options options;
	struct machine *machine;
	struct block_device *image; /* NULL: an optical drive that is empty */
	/* Its function, or its controller's; NULL: this entry is free. */
	struct pci_function *function;
	/* One of these. */
	struct virtio_device *device;
	struct virtio_pci *transport; /* of `device` */
	struct nvme *nvme;
	struct ata_device *ata; /* the controller's, which other drives share */
	unsigned port;          /* there */
	struct usb_storage *usb;
	char usb_name[24];
	/* A request was kept after a failure (block_events.stopped). */
	void (*stopped)(void *context, const struct error *why);
	void *context;
};

#define DISK_DEFAULT_QUEUES 4

/* Reads the value of `option`: "disk", "cdrom" or "floppy". Returns 0, or fills `err`; finish it in
 * either case. */
int disk_options_parse(
	struct disk_options *options, const char *option, const char *text, struct error *err);
/* Is the drive to be empty? */
bool disk_options_are_empty(const struct disk_options *options);
void disk_options_finish(struct disk_options *options);

/*
 * Opens the image of `text` and plugs the device; `hot`: the guest runs, and is told. `stopped` may
 * be called on any thread; see block_events. Returns 0, or fills `err`; disk_destroy in either
 * case.
 */
int disk_create(struct disk *disk, const char *name, bool is_optical, const char *text,
	struct board *board, struct controllers *controllers, bool hot,
	void (*stopped)(void *context, const struct error *why), void *context, struct error *err);
/* Unplugs it first, if the guest has not ejected it; after its controller, if it is on one. A
 * zeroed disk is fine. */
void disk_destroy(struct disk *disk);

/* Its function is a controller's, which others may use too. */
static inline bool disk_shares_function(const struct disk *disk)
{
	return disk->ata || disk->usb;
}

/*
 * Changes the medium of an optical drive while the guest runs: `text` as --cdrom has it, or NULL to
 * take it out. `force`: even if the guest has locked the door. Returns 0, or fills `err`.
 */
int disk_change_medium(struct disk *disk, const char *text, bool force, struct error *err);

/* Gives the image of a disk that the guest uses more room, and tells the guest. Not under the
 * machine lock. Returns 0, or fills `err`. */
int disk_resize(struct disk *disk, uint64_t bytes, struct error *err);

#endif
