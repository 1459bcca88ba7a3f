/*
 * The block device (virtio 1.2, 5.2) in front of a disk image.
 *
 * Each queue has a lane and a block queue of its own, so that several processors do not meet.
 * Not modelled: secure erase, lifetime, SCSI commands and barriers of the legacy interface.
 */
#ifndef VIRTIO_VIRTIO_BLK_H
#define VIRTIO_VIRTIO_BLK_H

#include "block/block.h"
#include "virtio/virtio.h"

#define VIRTIO_BLK_ID_BYTES   20
#define VIRTIO_BLK_MAX_QUEUES VIRTIO_MAX_LANES

struct virtio_blk_config {
	const char *name; /* unique in the machine; must outlive the device */
	struct machine *machine;
	struct block_device *image; /* the caller's; outlives the device */
	const char *serial;         /* up to VIRTIO_BLK_ID_BYTES are used; may be NULL */
	unsigned nr_queues;         /* 1 to VIRTIO_BLK_MAX_QUEUES */
};

/* Returns 0, or fills `err`. The caller puts it on a bus. */
int virtio_blk_create(
	struct virtio_device **device, const struct virtio_blk_config *config, struct error *err);
/* Waits for what is in flight. Takes NULL. */
void virtio_blk_destroy(struct virtio_device *device);

/* The image has another size now (block_events.resized). Under the machine lock. */
void virtio_blk_resized(struct virtio_device *device, uint64_t bytes);

#endif
