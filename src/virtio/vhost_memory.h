/*
 * Guest memory as the vhost of the host's kernel is told of it: which guest addresses are RAM, and
 * where they lie in this process.
 */
#ifndef VIRTIO_VHOST_MEMORY_H
#define VIRTIO_VHOST_MEMORY_H

#include "machine/memory.h"
#include "virtio/vhost_ioctl.h"

/* What the kernel takes unless it is told otherwise (max_mem_regions of the module vhost). */
#define VHOST_MEMORY_MAX 64

/* Zeroed memory of this size, aligned for struct vhost_memory, holds any table. */
#define VHOST_MEMORY_BYTES                                                                         \
	(sizeof(struct vhost_memory) + VHOST_MEMORY_MAX * sizeof(struct vhost_memory_region))

/*
 * Only what a device may write is in it: no ROM, nothing that is hidden now. Of regions that lie
 * over each other each address has one, the one that guest_memory_find names. Returns 0, or -E2BIG
 * if the layout has too many pieces. Under the machine lock.
 */
int vhost_memory_describe(struct vhost_memory *table, const struct guest_memory *memory);

#endif
