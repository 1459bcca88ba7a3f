/*
 * A split ring (virtio 1.2, 2.7) that this process drives and a vhost-user back end serves: the
 * driver's half of a virtqueue, for requests that a guest's queue gave us.
 *
 * The ring lies in memory that the back end may write, so that nothing in it is believed: which
 * chains are out is remembered here, and an entry that was not given, is given twice, or an index
 * that jumps means that the back end is broken. Its buffers are the guest's, as virtqueue.h checked
 * them. No indirect tables, no event index.
 *
 * Belongs to whoever holds the device's lane.
 */
#ifndef VIRTIO_VHOST_RING_H
#define VIRTIO_VHOST_RING_H

#include "virtio/virtqueue.h"

#define VHOST_RING_SIZE 1024
/* Bytes of a request that can be given as a copy, which the guest cannot change. */
#define VHOST_HEAD_BYTES 64
/* Bytes of shared memory for one ring. */
#define VHOST_RING_BYTES (128u << 10)

struct vhost_ring {
	const struct guest_memory *memory;
	/* Shared. */
	uint8_t *descriptors, *available, *used, *heads;
	gpa_t heads_address; /* of `heads`, as the back end knows it */

	uint16_t next[VHOST_RING_SIZE];  /* of a free entry, or of a chain */
	void *requests[VHOST_RING_SIZE]; /* by the first entry of their chain */
	uint16_t free_entry, nr_free;
	uint16_t available_index, used_index;
	unsigned in_flight;
};

/* `shared`: VHOST_RING_BYTES of zeroed memory, which the back end knows at `address`. */
void vhost_ring_init(
	struct vhost_ring *ring, const struct guest_memory *memory, uint8_t *shared, gpa_t address);

/* False if vhost_ring_add of a request that was just popped may return -ENOSPC. */
bool vhost_ring_has_room(const struct vhost_ring *ring, const void *request);

/*
 * Gives the back end what is left of a popped request, behind `head_bytes` bytes of `head`. Returns
 * 0; -ENOSPC if the ring has no room now; -E2BIG if it never has; -EFAULT if a piece lies where the
 * back end does not reach.
 */
int vhost_ring_add(struct vhost_ring *ring, void *request, const void *head, unsigned head_bytes);

/* Makes what was added visible; true if the back end is to be kicked. */
bool vhost_ring_publish(struct vhost_ring *ring);

/*
 * The next request that the back end is done with and how many bytes it wrote, NULL if there is
 * none. `*broken` is set if it did what a back end must not.
 */
void *vhost_ring_take(struct vhost_ring *ring, uint32_t *written, bool *broken);

/* Any request that the back end has, which it can answer no more; NULL if there is none. */
void *vhost_ring_abandon(struct vhost_ring *ring);

#endif
