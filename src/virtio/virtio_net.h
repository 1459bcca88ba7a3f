/*
 * virtio-net (virtio 1.2, 5.1): a NIC on a network back end (net/net.h).
 */
#ifndef VIRTIO_VIRTIO_NET_H
#define VIRTIO_VIRTIO_NET_H

#include "base/error.h"
#include "net/net.h"
#include "virtio/virtio.h"

#define VIRTIO_NET_MAX_PAIRS 16

struct virtio_net_config {
	const char *name; /* unique in the machine: "net0"; must outlive the device */
	struct machine *machine;
	struct net_backend *backend; /* belongs to the device from now on, also if it fails */
	uint8_t address[NET_ADDRESS_BYTES];
	unsigned nr_pairs; /* of queues, 1 to VIRTIO_NET_MAX_PAIRS */
	uint16_t mtu;      /* that the driver is to use; 0: its own choice */
	/* That carries frames while it can, and belongs to the device as the back end does; with
	 * one pair, and a back end that net_vhost_refusal does not name. NULL: none. */
	struct vhost_net *vhost;
};

struct virtio_net;

/* For the configuration; NULL, and `err`, if it cannot be had. */
struct vhost_net *virtio_net_open_vhost(struct error *err);

/* Returns 0, or fills `err`. */
int virtio_net_create(
	struct virtio_net **net, const struct virtio_net_config *config, struct error *err);
/* Off the bus, and not under the machine lock. Takes NULL. */
void virtio_net_destroy(struct virtio_device *device);

struct virtio_device *virtio_net_device(struct virtio_net *net);

/* Plugs the cable in or out. Under the machine lock. */
void virtio_net_set_link(struct virtio_net *net, bool up);

/* Reads AA:BB:CC:DD:EE:FF of a unicast address that is not zero. Returns 0 or -EINVAL. */
int virtio_net_parse_address(const char *text, uint8_t address[NET_ADDRESS_BYTES]);

#endif
