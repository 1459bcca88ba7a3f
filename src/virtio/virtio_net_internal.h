/*
 * Inside virtio-net: frames (virtio_net.c), the control queue (virtio_net_control.c), and frames
 * that the kernel carries (virtio_net_vhost.c).
 */
#ifndef VIRTIO_VIRTIO_NET_INTERNAL_H
#define VIRTIO_VIRTIO_NET_INTERNAL_H

#include "virtio/vhost_net.h"
#include "virtio/virtio_net.h"
#include "virtio/virtio_net_filter.h"
#include "virtio/virtio_net_steering.h"

/* Guest-visible, beyond what the framework keeps. */
struct virtio_net_state {
	struct virtio_net_filter filter;
	uint32_t offloads; /* NET_OFFLOAD_*: what the driver takes undone now */
	uint16_t nr_pairs; /* in use */
	uint8_t reserved[2];
};

extern const struct state_table virtio_net_state_table;

struct virtio_net {
	struct virtio_device device;

	/* Lane 0, which all queues share: a back end belongs to one thread at a time. */
	struct virtio_net_state state;
	struct net_backend *backend;
	struct virtio_watch watch;
	bool running;
	bool link_up;
	unsigned wanted; /* NET_READ, NET_WRITE */
	struct virtio_net_steering steering;
	/* A frame that was received and waits for buffers; 0 bytes: none. */
	size_t held_bytes;
	unsigned held_pair; /* where it goes */
	struct net_header held_header;
	uint8_t held[NET_MAX_FRAME];
	uint8_t gathered[NET_MAX_FRAME]; /* a sent frame in too many pieces */

	/* NULL: the I/O thread does it all. The pointer is immutable. */
	struct vhost_net *vhost;
	bool vhost_receives;
	struct virtio_watch errors[VHOST_NET_QUEUES];

	/* Machine lock. */
	struct guest_memory_listener memory_listener;
	bool vhost_failed; /* guest memory is laid out so that it cannot be told of */
	struct virtio_net_registers registers;

	/* Immutable. */
	uint8_t address[NET_ADDRESS_BYTES];
	unsigned max_pairs;

	_Atomic bool address_changed; /* by the driver; not in `registers` yet */
};

static inline struct virtio_net *virtio_net_of(struct virtio_device *device)
{
	return (struct virtio_net *)device;
}

/* Which offloads of received frames the driver's features allow. */
uint32_t virtio_net_allowed_offloads(const struct virtio_device *device);

/* Bytes of the header before each frame (5.1.6.1). */
size_t virtio_net_header_bytes(const struct virtio_net *net);
/* What to wait for at the back end. Holds the lane. */
void virtio_net_want(struct virtio_net *net, unsigned events, bool wanted);

/* Of virtio_device_type. */
int virtio_net_delegate(struct virtio_device *device, unsigned index, int kick_fd);
void virtio_net_recall(struct virtio_device *device, unsigned index);
/* Watches what the kernel says. Returns 0 or -errno; `finish` takes a half of it. */
int virtio_net_vhost_init(struct virtio_net *net);
void virtio_net_vhost_finish(struct virtio_net *net);
/* The filter has changed. Holds the lane. */
void virtio_net_vhost_filter(struct virtio_net *net);

/* Serves the control queue. Holds the lane. */
bool virtio_net_serve_control(struct virtio_net *net, unsigned index);

#endif
