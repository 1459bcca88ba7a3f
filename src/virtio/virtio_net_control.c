/*
 * The control queue of virtio-net (virtio 1.2, 5.1.6.5): a command is a class, a number and its
 * data; the driver waits for one byte.
 */
#include "virtio/virtio_net_internal.h"

#include <string.h>

struct command {
	uint8_t class, number;
};

/* Exactly `size` bytes, or false. */
static bool take(struct virtq_request *request, void *to, size_t size)
{
	return virtq_read(request, to, size) == size;
}

static bool set_mode(struct virtio_net *net, unsigned mode, struct virtq_request *request)
{
	uint8_t on;

	return take(request, &on, sizeof(on)) &&
	       virtio_net_filter_set_mode(&net->state.filter, mode, on);
}

static bool take_table(struct filter_table *table, struct virtq_request *request)
{
	uint32_t count;

	*table = (struct filter_table){ 0 };
	if (!take(request, &count, sizeof(count)) ||
		count > request->readable_bytes / NET_ADDRESS_BYTES)
		return false;
	for (uint32_t i = 0; i < count; i++) {
		uint8_t address[NET_ADDRESS_BYTES];

		if (!take(request, address, sizeof(address)))
			return false;
		if (i < FILTER_MAX_ADDRESSES)
			memcpy(table->addresses[table->count++], address, sizeof(address));
	}
	table->overflow = count > FILTER_MAX_ADDRESSES;
	return true;
}

static bool set_tables(struct virtio_net *net, struct virtq_request *request)
{
	struct filter_table unicast, multicast;

	if (!take_table(&unicast, request) || !take_table(&multicast, request))
		return false;
	net->state.filter.unicast = unicast;
	net->state.filter.multicast = multicast;
	return true;
}

static bool set_address(struct virtio_net *net, struct virtq_request *request)
{
	uint8_t address[NET_ADDRESS_BYTES];

	if (!take(request, address, sizeof(address)))
		return false;
	memcpy(net->state.filter.address, address, sizeof(address));
	/* Configuration space is the machine lock's. */
	net->address_changed = true;
	virtio_call_outside(&net->device, 0);
	return true;
}

static bool set_vlan(struct virtio_net *net, unsigned number, struct virtq_request *request)
{
	uint16_t vlan;

	return number <= NET_CTRL_VLAN_DEL && take(request, &vlan, sizeof(vlan)) &&
	       virtio_net_filter_set_vlan(&net->state.filter, vlan, number == NET_CTRL_VLAN_ADD);
}

static bool set_pairs(struct virtio_net *net, struct virtq_request *request)
{
	uint16_t pairs;

	if (!take(request, &pairs, sizeof(pairs)) || pairs < 1 || pairs > net->max_pairs)
		return false;
	net->state.nr_pairs = pairs;
	/* A frame may be waiting for buffers of a pair that is not used any more. */
	virtio_serve_again(&net->device, 0);
	return true;
}

/* The bits are those of the features (5.1.6.5.6.1). */
static bool set_offloads(struct virtio_net *net, struct virtq_request *request)
{
	static const struct {
		uint64_t feature;
		uint32_t offload;
	} bits[] = {
		{ NET_F_GUEST_CSUM, NET_OFFLOAD_CHECKSUM },
		{ NET_F_GUEST_TSO4, NET_OFFLOAD_TCPV4 },
		{ NET_F_GUEST_TSO6, NET_OFFLOAD_TCPV6 },
		{ NET_F_GUEST_ECN, NET_OFFLOAD_ECN },
	};
	uint32_t offloads = 0;
	uint64_t wanted;

	if (!take(request, &wanted, sizeof(wanted)))
		return false;
	for (unsigned i = 0; i < ARRAY_SIZE(bits); i++) {
		if (wanted & bits[i].feature)
			offloads |= bits[i].offload;
		wanted &= ~bits[i].feature;
	}
	if (wanted || offloads & ~virtio_net_allowed_offloads(&net->device))
		return false;
	net->state.offloads = offloads;
	net_set_offloads(net->backend, offloads);
	return true;
}

static bool execute(
	struct virtio_net *net, const struct command *command, struct virtq_request *request)
{
	const struct virtio_device *device = &net->device;

	switch (command->class) {
	case NET_CTRL_RX:
		return virtio_has_feature(device, NET_F_CTRL_RX) &&
		       (command->number <= NET_CTRL_RX_ALLMULTI ||
			       virtio_has_feature(device, NET_F_CTRL_RX_EXTRA)) &&
		       set_mode(net, command->number, request);
	case NET_CTRL_MAC:
		if (command->number == NET_CTRL_MAC_TABLE_SET)
			return virtio_has_feature(device, NET_F_CTRL_RX) &&
			       set_tables(net, request);
		return command->number == NET_CTRL_MAC_ADDR_SET &&
		       virtio_has_feature(device, NET_F_CTRL_MAC_ADDR) && set_address(net, request);
	case NET_CTRL_VLAN:
		return virtio_has_feature(device, NET_F_CTRL_VLAN) &&
		       set_vlan(net, command->number, request);
	case NET_CTRL_MQ:
		return command->number == NET_CTRL_MQ_PAIRS_SET &&
		       virtio_has_feature(device, NET_F_MQ) && set_pairs(net, request);
	case NET_CTRL_GUEST_OFFLOADS:
		return command->number == NET_CTRL_GUEST_OFFLOADS_SET &&
		       virtio_has_feature(device, NET_F_CTRL_GUEST_OFFLOADS) &&
		       set_offloads(net, request);
	default: return false;
	}
}

bool virtio_net_serve_control(struct virtio_net *net, unsigned index)
{
	struct virtq *queue = virtio_queue(&net->device, index);
	struct virtq_request *request;

	while ((request = virtq_pop(queue)) != NULL) {
		uint8_t *status = virtq_take_last_byte(request);
		struct command command;

		if (status)
			*status = take(request, &command, sizeof(command)) &&
						  execute(net, &command, request)
					  ? NET_CTRL_OK
					  : NET_CTRL_ERR;
		virtq_push(queue, request, status ? 1 : 0);
	}
	virtio_net_vhost_filter(net);
	return true;
}
