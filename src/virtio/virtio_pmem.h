/*
 * virtio-pmem (virtio 1.3, 5.19): a file of the host that the guest has as persistent memory, with
 * the page cache on the host's side only. What the guest writes is the file's; a flush request
 * makes it durable. A read-only file is memory that takes no writes, and a flush succeeds.
 *
 * Not modelled: F_SHMEM_REGION (the region in a BAR).
 *
 * A flush holds the queue's lane while the host writes, and under the software engine the vCPU that
 * rang.
 */
#ifndef VIRTIO_VIRTIO_PMEM_H
#define VIRTIO_VIRTIO_PMEM_H

#include "virtio/virtio.h"

struct virtio_pmem_config {
	const char *name; /* unique in the machine; must outlive the device */
	struct machine *machine;
	/* A region of the machine's (guest_memory_add_file), and its file, which stays the
	 * memory's. */
	gpa_t base;
	uint64_t bytes;
	int fd;
	bool read_only;
};

/* Returns 0, or fills `err`. */
int virtio_pmem_create(
	struct virtio_device **device, const struct virtio_pmem_config *config, struct error *err);
/* Off the bus, and not under the machine lock. Takes NULL. */
void virtio_pmem_destroy(struct virtio_device *device);

#endif
