/*
 * Which received frames a driver wants (virtio 1.2, 5.1.6.5.1 to 5.1.6.5.3), and the control queue
 * that tells.
 */
#ifndef VIRTIO_VIRTIO_NET_FILTER_H
#define VIRTIO_VIRTIO_NET_FILTER_H

#include "net/net.h"
#include "virtio/virtio_net_regs.h"

/* Of each kind, unicast and multicast. What a driver asks for beyond opens the filter. */
#define FILTER_MAX_ADDRESSES 64

struct filter_table {
	uint8_t addresses[FILTER_MAX_ADDRESSES][NET_ADDRESS_BYTES];
	uint32_t count;
	bool overflow;
	uint8_t reserved[3];
};

struct virtio_net_filter {
	bool modes[NET_CTRL_RX_MODES]; /* NET_CTRL_RX_* */
	bool by_vlan;                  /* NET_F_CTRL_VLAN was negotiated */
	uint8_t reserved[1];
	uint8_t address[NET_ADDRESS_BYTES];
	uint8_t reserved2[2];
	struct filter_table unicast, multicast;
	uint8_t vlans[NET_VLANS / 8];
};

/* A driver that has no say is given everything. */
void virtio_net_filter_reset(
	struct virtio_net_filter *filter, const uint8_t address[NET_ADDRESS_BYTES]);

/* `frame` has at least NET_MIN_FRAME bytes. */
bool virtio_net_filter_passes(
	const struct virtio_net_filter *filter, const uint8_t *frame, size_t size);

/* Commands of the classes RX, MAC (but for the address) and VLAN. False: the driver is told so. */
bool virtio_net_filter_set_mode(struct virtio_net_filter *filter, unsigned mode, uint8_t on);
bool virtio_net_filter_set_vlan(struct virtio_net_filter *filter, uint16_t vlan, bool on);

#endif
