/*
 * A disk of a virtual machine: an image behind a virtio block device on the PCI bus, as
 * `--disk FILE,format=raw,...` describes it.
 */
#ifndef VMM_DISK_H
#define VMM_DISK_H

#include "base/properties.h"
#include "block/block.h"
#include "board/board.h"
#include "virtio/virtio_pci.h"

struct disk_options {
	struct block_options block;
	const char *serial;
	unsigned queues; /* 0: one for each processor, up to DISK_DEFAULT_QUEUES */
	bool transitional;
	struct properties properties; /* owns the texts */
};

struct disk {
	char name[16]; /* "disk0" */
	struct disk_options options;
	struct machine *machine;
	struct block_device *image;
	struct virtio_device *device;
	struct virtio_pci *transport;
	/* A request was kept after a failure (block_events.stopped). */
	void (*stopped)(void *context, const struct error *why);
	void *context;
};

#define DISK_DEFAULT_QUEUES 4

/* Reads an option's value. Returns 0, or fills `err`; finish it in either case. */
int disk_options_parse(struct disk_options *options, const char *text, struct error *err);
void disk_options_finish(struct disk_options *options);

/*
 * Opens the image of `text` and plugs the device; `hot`: the guest runs, and is told. `stopped` may
 * be called on any thread; see block_events. Returns 0, or fills `err`; disk_destroy in either
 * case.
 */
int disk_create(struct disk *disk, unsigned index, const char *text, struct board *board, bool hot,
	void (*stopped)(void *context, const struct error *why), void *context, struct error *err);
/* Unplugs it first, if the guest has not ejected it. A zeroed disk is fine. */
void disk_destroy(struct disk *disk);

#endif
