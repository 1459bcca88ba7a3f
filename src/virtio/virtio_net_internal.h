/*
 * Inside virtio-net: frames (virtio_net.c) and the control queue (virtio_net_control.c).
 */
#ifndef VIRTIO_VIRTIO_NET_INTERNAL_H
#define VIRTIO_VIRTIO_NET_INTERNAL_H

#include "virtio/virtio_net.h"
#include "virtio/virtio_net_filter.h"

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
	/* A frame that was received and waits for buffers; 0 bytes: none. */
	size_t held_bytes;
	struct net_header held_header;
	uint8_t held[NET_MAX_FRAME];
	uint8_t gathered[NET_MAX_FRAME]; /* a sent frame in too many pieces */

	/* Machine lock. */
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

/* Serves the control queue. Holds the lane. */
bool virtio_net_serve_control(struct virtio_net *net, unsigned index);

#endif
