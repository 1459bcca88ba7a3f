/*
 * The receive filter (virtio_net_filter.h). It saves the guest work; it is no protection of others.
 */
#include "virtio/virtio_net_filter.h"

#include <string.h>

#define GROUP_ADDRESS  BIT(0) /* of an Ethernet address's first byte */
#define ETHERTYPE_AT   12
#define VLAN_TAG_BYTES 4

void virtio_net_filter_reset(
	struct virtio_net_filter *filter, const uint8_t address[NET_ADDRESS_BYTES])
{
	*filter = (struct virtio_net_filter){ .modes[NET_CTRL_RX_PROMISC] = true };
	memcpy(filter->address, address, NET_ADDRESS_BYTES);
}

static bool has_address(const struct filter_table *table, const uint8_t *address)
{
	for (uint32_t i = 0; i < table->count; i++)
		if (memcmp(table->addresses[i], address, NET_ADDRESS_BYTES) == 0)
			return true;
	return table->overflow;
}

static bool passes_vlan(const struct virtio_net_filter *filter, const uint8_t *frame, size_t size)
{
	unsigned vlan;

	if (!filter->by_vlan || size < NET_MIN_FRAME + VLAN_TAG_BYTES ||
		frame[ETHERTYPE_AT] != 0x81 || frame[ETHERTYPE_AT + 1] != 0x00)
		return true;
	vlan = (unsigned)(frame[ETHERTYPE_AT + 2] & 15) << 8 | frame[ETHERTYPE_AT + 3];
	return filter->vlans[vlan / 8] & BIT(vlan % 8);
}

bool virtio_net_filter_passes(
	const struct virtio_net_filter *filter, const uint8_t *frame, size_t size)
{
	static const uint8_t broadcast[] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
	const bool *modes = filter->modes;

	if (!passes_vlan(filter, frame, size))
		return false;
	if (modes[NET_CTRL_RX_PROMISC])
		return true;
	if (memcmp(frame, broadcast, sizeof(broadcast)) == 0)
		return !modes[NET_CTRL_RX_NOBCAST];
	if (frame[0] & GROUP_ADDRESS)
		return !modes[NET_CTRL_RX_NOMULTI] &&
		       (modes[NET_CTRL_RX_ALLMULTI] || has_address(&filter->multicast, frame));
	if (modes[NET_CTRL_RX_NOUNI])
		return false;
	return modes[NET_CTRL_RX_ALLUNI] ||
	       memcmp(frame, filter->address, NET_ADDRESS_BYTES) == 0 ||
	       has_address(&filter->unicast, frame);
}

bool virtio_net_filter_set_mode(struct virtio_net_filter *filter, unsigned mode, uint8_t on)
{
	if (mode >= NET_CTRL_RX_MODES || on > 1)
		return false;
	filter->modes[mode] = on;
	return true;
}

bool virtio_net_filter_set_vlan(struct virtio_net_filter *filter, uint16_t vlan, bool on)
{
	if (vlan >= NET_VLANS)
		return false;
	if (on)
		filter->vlans[vlan / 8] |= (uint8_t)BIT(vlan % 8);
	else
		filter->vlans[vlan / 8] &= (uint8_t)~BIT(vlan % 8);
	return true;
}
