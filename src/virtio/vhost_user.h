/*
 * The front end of vhost-user (QEMU's docs/interop/vhost-user.rst): hands a device's queues to
 * another process, over a unix socket, once.
 *
 * The back end maps the guest's RAM, but never sees the guest's rings: it serves rings of ours
 * (vhost_ring.h), which requests reach after the framework has checked them. So packed rings,
 * indirect tables, interrupts, resets and hostile drivers stay the framework's business; the guest
 * resets its device without the back end's hearing of it; a back end that ends leaves no request
 * behind; and what it writes into the guest's memory is announced to the engine, by virtq_push,
 * before the guest learns of it. The price is one table entry written for each piece of a request.
 *
 * The back end is trusted with the guest's memory and nothing else.
 */
#ifndef VIRTIO_VHOST_USER_H
#define VIRTIO_VHOST_USER_H

#include "base/error.h"
#include "virtio/vhost_ring.h"

#define VHOST_MAX_QUEUES 4

struct vhost_queue {
	struct vhost_ring ring;
	int kick_fd, call_fd; /* eventfds; the back end signals the second */
};

struct vhost_user {
	int socket; /* readable when the back end is gone; -1: not connected */
	unsigned nr_queues;
	uint8_t *shared; /* the rings */
	size_t shared_bytes;
	struct vhost_queue queues[VHOST_MAX_QUEUES];
};

/*
 * Starts the queues of the back end behind `socket`, which is taken over in any case. Waits for its
 * answers. Returns 0 or -errno: -EPROTO if it is no back end that we know, -EOPNOTSUPP if the
 * guest's memory cannot be shared.
 */
int vhost_user_connect(
	struct vhost_user *link, int socket, const struct guest_memory *memory, unsigned nr_queues);
/* No request may be in flight. A link that failed to connect is fine. */
void vhost_user_disconnect(struct vhost_user *link);

/* Tells the back end of what was added to a queue's ring. */
void vhost_user_kick(struct vhost_user *link, unsigned index);

#endif
