/*
 * vhost-net: two queues of a NIC, served by a thread of the host's kernel, between the driver's
 * rings and a tap (linux/vhost.h; drivers/vhost in Linux).
 *
 * The kernel follows split rings in the guest's memory itself. It finds buffers by a table of RAM
 * that it is given, checks descriptors and headers, and signals an eventfd where the guest wants an
 * interrupt, another where the driver did what it must not.
 *
 * Nothing of what it writes is announced (guest_memory.written), and no log of it is kept: for
 * engines that need neither.
 */
#ifndef VIRTIO_VHOST_NET_H
#define VIRTIO_VHOST_NET_H

#include "base/error.h"
#include "virtio/virtqueue.h"

#define VHOST_NET_QUEUES 2 /* 0 receives, 1 transmits, as those of the NIC's first pair */

struct vhost_net {
	int fd;
	uint64_t features; /* that the kernel can do */
	/* Eventfds of each queue: the guest is to be interrupted; it did what it must not. */
	int call_fds[VHOST_NET_QUEUES], error_fds[VHOST_NET_QUEUES];
};

/* Returns 0, or fills `err`; the link can be closed in any case. */
int vhost_net_open(struct vhost_net *link, struct error *err);
/* Its queues must not be running. */
void vhost_net_close(struct vhost_net *link);

/* Tells of guest memory, as it is now. Under the machine lock. Returns 0 or -errno. */
int vhost_net_set_memory(const struct vhost_net *link, const struct guest_memory *memory);

/*
 * Begins to serve an enabled queue from where it is, which nobody else touches until it is
 * stopped. `features`: what driver and device agreed on; `kick_fd`: its doorbell; `tap_fd`: with
 * headers of the size that the features say. Returns 0 or -errno: then it is not served.
 */
int vhost_net_start(const struct vhost_net *link, unsigned index, const struct virtq *queue,
	uint64_t features, int kick_fd, int tap_fd);

/* Returns when nothing of the queue is in flight; it goes on from where it is. */
void vhost_net_stop(const struct vhost_net *link, unsigned index, struct virtq *queue);

#endif
