/*
 * virtio-mem (virtio 1.3, 5.15): memory that a guest gets and gives back while it runs, in blocks
 * of 2 MiB of a region above its RAM.
 *
 * The host says how much of the region it wishes to be plugged; the driver picks blocks and follows
 * as it can. What is unplugged is given to the host at once and reads as zero. A reset of the
 * device leaves the blocks as they are, a reset of the machine unplugs all of them.
 *
 * A guest that writes to blocks that are not plugged, which it may not (F_UNPLUGGED_INACCESSIBLE),
 * reaches memory all the same: that of the region, so at most as much as --memory max= grants, and
 * what it wrote is thrown away when the block is plugged.
 *
 * Not modelled: F_ACPI_PXM (NUMA nodes), F_PERSISTENT_SUSPEND.
 */
#ifndef VIRTIO_VIRTIO_MEM_H
#define VIRTIO_VIRTIO_MEM_H

#include "virtio/virtio.h"

#define VIRTIO_MEM_BLOCK_BYTES (UINT64_C(2) << 20)

struct virtio_mem_config {
	const char *name; /* unique in the machine; must outlive the device */
	struct machine *machine;
	/* A region of the machine's (guest_memory_add_device): multiples of a block. */
	gpa_t base;
	uint64_t bytes;
};

struct virtio_mem;

/* Returns 0, or fills `err`. */
int virtio_mem_create(
	struct virtio_mem **mem, const struct virtio_mem_config *config, struct error *err);
/* Off the bus, and not under the machine lock. Takes NULL. */
void virtio_mem_destroy(struct virtio_device *device);

struct virtio_device *virtio_mem_device(struct virtio_mem *mem);

/* How much is to be plugged; rounded up to blocks, at most the region. Under the machine lock. */
void virtio_mem_request(struct virtio_mem *mem, uint64_t bytes);
/* What was asked for last, and how much is plugged. Under the machine lock. */
uint64_t virtio_mem_requested(const struct virtio_mem *mem);
uint64_t virtio_mem_plugged(const struct virtio_mem *mem);

#endif
