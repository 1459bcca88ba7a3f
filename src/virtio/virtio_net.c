/*
 * virtio-net (virtio_net.h): frames between queues and a back end. Offloads in both directions,
 * mergeable buffers, several pairs of queues, a control queue. Not modelled: receive-side scaling
 * and hash reports, guest announcements, notification coalescing.
 *
 * All queues share lane 0, because a back end belongs to one thread at a time: several pairs spare
 * a driver's processors a lock, and the interrupt of one for what another waits for, but make
 * nothing parallel here.
 */
#include "virtio/virtio_net_internal.h"

#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define QUEUE_SIZE         256
#define CONTROL_SIZE       64
#define MAX_PIECES         64 /* of a frame, for back ends */
#define MAX_BUFFERS        64 /* of a received frame, mergeable */
#define PCI_CLASS_ETHERNET 0x020000

/* The header before each frame: num_buffers is there with VERSION_1 or MRG_RXBUF (5.1.6.1). */
struct frame_header {
	struct net_header net;
	uint16_t nr_buffers;
} __attribute__((packed));

static const struct state_field filter_table_fields[] = {
	STATE_BYTES(struct filter_table, addresses),
	STATE_MAX(struct filter_table, count, FILTER_MAX_ADDRESSES),
	STATE(struct filter_table, overflow),
	STATE_PAD(struct filter_table, reserved),
};

static const struct state_table filter_table_table =
	STATE_TABLE_OF(struct filter_table, "virtio-net addresses", filter_table_fields, NULL);

static const struct state_field filter_fields[] = {
	STATE_ARRAY(struct virtio_net_filter, modes),
	STATE(struct virtio_net_filter, by_vlan),
	STATE_PAD(struct virtio_net_filter, reserved),
	STATE_BYTES(struct virtio_net_filter, address),
	STATE_PAD(struct virtio_net_filter, reserved2),
	STATE_STRUCT(struct virtio_net_filter, unicast, &filter_table_table),
	STATE_STRUCT(struct virtio_net_filter, multicast, &filter_table_table),
	STATE_BYTES(struct virtio_net_filter, vlans),
};

static const struct state_table filter_state_table =
	STATE_TABLE_OF(struct virtio_net_filter, "virtio-net filter", filter_fields, NULL);

static const struct state_field net_fields[] = {
	STATE_STRUCT(struct virtio_net_state, filter, &filter_state_table),
	STATE_MAX(struct virtio_net_state, offloads, BITS(4, 0)),
	STATE_MAX(struct virtio_net_state, nr_pairs, VIRTIO_NET_MAX_PAIRS),
	STATE_PAD(struct virtio_net_state, reserved),
};

const struct state_table virtio_net_state_table =
	STATE_TABLE_OF(struct virtio_net_state, "virtio-net", net_fields, NULL);

size_t virtio_net_header_bytes(const struct virtio_net *net)
{
	return virtio_has_feature(&net->device, VIRTIO_F_VERSION_1) ||
			       virtio_has_feature(&net->device, NET_F_MRG_RXBUF)
		       ? sizeof(struct frame_header)
		       : sizeof(struct net_header);
}

static unsigned control_index(const struct virtio_net *net)
{
	return virtio_has_feature(&net->device, NET_F_MQ) ? 2 * net->max_pairs : 2;
}

void virtio_net_want(struct virtio_net *net, unsigned events, bool wanted)
{
	unsigned now = wanted ? net->wanted | events : net->wanted & ~events;

	if (now == net->wanted)
		return;
	net->wanted = now;
	net_want(net->backend, now);
}

static void note_flow(struct virtio_net *net, const struct virtq_request *request, unsigned pair)
{
	uint8_t head[STEERING_BYTES];

	if (net->state.nr_pairs < 2)
		return;
	virtq_peek(request, head, sizeof(head));
	virtio_net_steering_sent(&net->steering, head, request->readable_bytes, pair);
}

/* True if the frame was sent or dropped, false if it must wait. */
static bool send_frame(struct virtio_net *net, struct virtq_request *request, unsigned pair)
{
	struct frame_header header = { 0 };
	size_t size;

	if (virtq_read(request, &header, virtio_net_header_bytes(net)) !=
		virtio_net_header_bytes(net))
		return true;
	size = request->readable_bytes;
	if (size < NET_MIN_FRAME || size > NET_MAX_FRAME || !net->link_up)
		return true;
	note_flow(net, request, pair);
	if (request->nr_readable > MAX_PIECES) {
		struct iovec whole = { net->gathered, size };

		if (virtq_read(request, net->gathered, size) != size)
			return true;
		return net_send(net->backend, &header.net, &whole, 1, size) == 0;
	}
	return net_send(net->backend, &header.net, request->readable, request->nr_readable, size) ==
	       0;
}

static bool serve_transmit(struct virtio_net *net, unsigned index)
{
	struct virtq *queue = virtio_queue(&net->device, index);
	struct virtq_request *request;

	while ((request = virtq_pop(queue)) != NULL) {
		if (!send_frame(net, request, index / 2)) {
			virtq_unpop(queue, request);
			virtio_net_want(net, NET_WRITE, true);
			return false;
		}
		virtq_push(queue, request, 0);
	}
	return true;
}

static bool is_drained(const void *context, unsigned pair)
{
	const struct virtio_net *net = context;

	return !net->device.queues[2 * pair].running ||
	       virtq_used_is_seen(&net->device.queues[2 * pair].ring);
}

/* Fetches the next frame that the driver wants, if none is held. False: there is none. */
static bool hold_frame(struct virtio_net *net)
{
	while (!net->held_bytes) {
		size_t size = net_receive(net->backend, &net->held_header, net->held);

		if (!size)
			return false;
		if (!net->link_up || !virtio_net_filter_passes(&net->state.filter, net->held, size))
			continue;
		net->held_bytes = size;
		net->held_pair = net->state.nr_pairs < 2
					 ? 0
					 : virtio_net_steering_receive(&net->steering, net->held,
						   size, net->state.nr_pairs, is_drained, net);
	}
	return true;
}

static void put_back(struct virtq *queue, struct virtq_request **requests, unsigned count)
{
	while (count)
		virtq_unpop(queue, requests[--count]);
}

/*
 * Pops buffers for `bytes`; one, unless they are mergeable. Returns how many, 0 if the driver has
 * not given enough yet, or -1 if this frame will never fit.
 */
static int pop_buffers(
	struct virtio_net *net, struct virtq *queue, size_t bytes, struct virtq_request **requests)
{
	unsigned max = virtio_has_feature(&net->device, NET_F_MRG_RXBUF) ? MAX_BUFFERS : 1;
	unsigned count = 0;
	size_t room = 0;

	while (room < bytes && count < max) {
		struct virtq_request *request = virtq_pop(queue);

		if (!request) {
			put_back(queue, requests, count);
			return 0;
		}
		room += request->writable_bytes;
		requests[count++] = request;
	}
	if (count > 0 && room >= bytes &&
		requests[0]->writable_bytes >= virtio_net_header_bytes(net))
		return (int)count;
	put_back(queue, requests, count);
	return -1;
}

static void fill_buffers(struct virtio_net *net, struct virtq *queue,
	struct virtq_request **requests, unsigned count)
{
	const struct frame_header header = { net->held_header, (uint16_t)count };
	const uint8_t *from = net->held;
	size_t left = net->held_bytes;

	for (unsigned i = 0; i < count; i++) {
		size_t written =
			i ? 0 : virtq_write(requests[i], &header, virtio_net_header_bytes(net));
		size_t part = virtq_write(requests[i], from, left);

		from += part;
		left -= part;
		/* A driver that finds one looks for all (5.1.6.4). */
		if (i + 1 < count)
			virtq_push_part(queue, requests[i], written + part);
		else
			virtq_push(queue, requests[i], written + part);
	}
}

/* Where the held frame goes. The driver may use fewer pairs than when it came. */
static unsigned receiving_queue(const struct virtio_net *net)
{
	unsigned index = 2 * net->held_pair;

	return net->held_pair < net->state.nr_pairs && net->device.queues[index].running ? index
											 : 0;
}

static bool serve_receive(struct virtio_net *net, unsigned index)
{
	struct virtq *queue = virtio_queue(&net->device, index);

	while (hold_frame(net)) {
		struct virtq_request *requests[MAX_BUFFERS];
		unsigned receiving = receiving_queue(net);
		int count;

		if (receiving != index) {
			virtio_serve_again(&net->device, receiving);
			return false;
		}
		count = pop_buffers(
			net, queue, net->held_bytes + virtio_net_header_bytes(net), requests);
		if (!count) {
			/* The driver tells when it has given more. */
			virtio_net_want(net, NET_READ, false);
			return true;
		}
		if (count > 0)
			fill_buffers(net, queue, requests, (unsigned)count);
		net->held_bytes = 0;
	}
	virtio_net_want(net, NET_READ, true);
	return false;
}

static bool net_serve(struct virtio_device *device, unsigned index)
{
	struct virtio_net *net = virtio_net_of(device);

	if (virtio_has_feature(device, NET_F_CTRL_VQ) && index == control_index(net))
		return virtio_net_serve_control(net, index);
	if (index / 2 >= net->max_pairs || !net->running)
		return true;
	if (index & 1)
		return serve_transmit(net, index);
	return serve_receive(net, index);
}

/* The back end has frames, or room for them. Holds the lane. */
static void backend_ready(void *context)
{
	struct virtio_net *net = context;
	unsigned ready = net_ready(net->backend);

	if (!net->running)
		return;
	/* A queue that the driver broke or reset is not served: what has come must not wake this
	 * thread for ever. */
	if (ready & NET_READ && !net->device.queues[0].running)
		virtio_net_want(net, NET_READ, false);
	else if (ready & NET_READ)
		virtio_serve_again(&net->device, 0);
	if (!(ready & NET_WRITE))
		return;
	virtio_net_want(net, NET_WRITE, false);
	for (unsigned pair = 0; pair < net->max_pairs; pair++)
		virtio_serve_again(&net->device, 2 * pair + 1);
}

uint32_t virtio_net_allowed_offloads(const struct virtio_device *device)
{
	static const struct {
		uint64_t feature;
		uint32_t offload;
	} bits[] = {
		{ NET_F_GUEST_CSUM, NET_OFFLOAD_CHECKSUM },
		{ NET_F_GUEST_CSUM | NET_F_GUEST_TSO4, NET_OFFLOAD_TCPV4 },
		{ NET_F_GUEST_CSUM | NET_F_GUEST_TSO6, NET_OFFLOAD_TCPV6 },
		{ NET_F_GUEST_CSUM | NET_F_GUEST_ECN, NET_OFFLOAD_ECN },
	};
	uint32_t offloads = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(bits); i++)
		if (virtio_has_feature(device, bits[i].feature))
			offloads |= bits[i].offload;
	return offloads;
}

static void net_started(struct virtio_device *device)
{
	struct virtio_net *net = virtio_net_of(device);
	struct virtio_lane *lane = virtio_queue_lane(device, 0);

	virtio_lane_enter(lane);
	net->running = true;
	net->state.filter.by_vlan = virtio_has_feature(device, NET_F_CTRL_VLAN);
	net->state.offloads = virtio_net_allowed_offloads(device);
	net_set_offloads(net->backend, net->state.offloads);
	virtio_net_want(net, NET_READ, true);
	virtio_lane_leave(lane);
}

static void reset_state(struct virtio_net *net)
{
	net->running = false;
	net->held_bytes = 0;
	net->steering = (struct virtio_net_steering){ 0 };
	net->state = (struct virtio_net_state){ .nr_pairs = 1 };
	virtio_net_filter_reset(&net->state.filter, net->address);
	net_set_offloads(net->backend, 0);
	virtio_net_want(net, NET_READ | NET_WRITE, false);
}

static void net_reset(struct virtio_device *device)
{
	struct virtio_net *net = virtio_net_of(device);
	struct virtio_lane *lane = virtio_queue_lane(device, 0);

	virtio_lane_enter(lane);
	reset_state(net);
	virtio_lane_leave(lane);
	memcpy(net->registers.address, net->address, NET_ADDRESS_BYTES);
}

static void net_outside(struct virtio_device *device, unsigned lane)
{
	struct virtio_net *net = virtio_net_of(device);
	uint8_t address[NET_ADDRESS_BYTES];

	if (!atomic_exchange(&net->address_changed, false))
		return;
	virtio_lane_enter(&device->lanes[lane]);
	memcpy(address, net->state.filter.address, sizeof(address));
	virtio_lane_leave(&device->lanes[lane]);
	machine_lock(device->machine);
	memcpy(net->registers.address, address, sizeof(address));
	machine_unlock(device->machine);
}

/* A legacy driver sets its address by writing it (5.1.4.1). */
static void net_config_written(struct virtio_device *device, unsigned offset, unsigned size)
{
	struct virtio_net *net = virtio_net_of(device);
	struct virtio_lane *lane = virtio_queue_lane(device, 0);

	(void)offset;
	(void)size;
	virtio_lane_enter(lane);
	memcpy(net->state.filter.address, net->registers.address, NET_ADDRESS_BYTES);
	virtio_lane_leave(lane);
}

static const struct virtio_device_type virtio_net_type = {
	.name = "virtio-net",
	.id = VIRTIO_ID_NET,
	.pci_class = PCI_CLASS_ETHERNET,
	.is_transitional = true,
	.legacy_features = BITS(31, 0),
	.serve = net_serve,
	.outside = net_outside,
	.delegate = virtio_net_delegate,
	.recall = virtio_net_recall,
	.started = net_started,
	.reset = net_reset,
	.config_written = net_config_written,
};

#define OFFERED                                                                                    \
	(NET_F_CSUM | NET_F_GUEST_CSUM | NET_F_CTRL_GUEST_OFFLOADS | NET_F_MAC |                   \
		NET_F_GUEST_TSO4 | NET_F_GUEST_TSO6 | NET_F_GUEST_ECN | NET_F_HOST_TSO4 |          \
		NET_F_HOST_TSO6 | NET_F_HOST_ECN | NET_F_MRG_RXBUF | NET_F_STATUS |                \
		NET_F_CTRL_VQ | NET_F_CTRL_RX | NET_F_CTRL_VLAN | NET_F_CTRL_RX_EXTRA |            \
		NET_F_CTRL_MAC_ADDR | NET_F_HOST_USO)

/* What a tap cannot do for vhost-net: leave out VLANs, and segment UDP. */
#define VHOST_UNABLE (NET_F_CTRL_VLAN | NET_F_HOST_USO)

static int init_device(
	struct virtio_net *net, const struct virtio_net_config *config, struct error *err)
{
	static const uint8_t writable[sizeof(struct virtio_net_registers)] = { 0xff, 0xff, 0xff,
		0xff, 0xff, 0xff };
	struct virtio_queue_config queues[2 * VIRTIO_NET_MAX_PAIRS + 1];
	struct virtio_device_config device = {
		.name = config->name,
		.machine = config->machine,
		.features = OFFERED | (config->mtu ? NET_F_MTU : 0) |
			    (net->max_pairs > 1 ? NET_F_MQ : 0),
		.config = &net->registers,
		.config_size = sizeof(net->registers),
		.config_writable = writable,
		.queues = queues,
		.nr_queues = 2 * net->max_pairs + 1,
		.nr_lanes = 1,
		.no_packed = net->vhost,
	};

	if (net->vhost)
		device.features &= ~VHOST_UNABLE;

	for (unsigned i = 0; i < device.nr_queues; i++)
		queues[i] = (struct virtio_queue_config){
			.size = i == 2 * net->max_pairs ? CONTROL_SIZE : QUEUE_SIZE
		};
	return virtio_device_init(&net->device, &virtio_net_type, &device, err);
}

int virtio_net_create(
	struct virtio_net **result, const struct virtio_net_config *config, struct error *err)
{
	struct virtio_net *net = calloc(1, sizeof(*net));
	int ret;

	if (!net) {
		if (config->vhost)
			vhost_net_close(config->vhost);
		free(config->vhost);
		net_close(config->backend);
		return error_set_errno(
			err, EXIT_CODE_HOST, ENOMEM, "cannot make the NIC '%s'", config->name);
	}
	net->backend = config->backend;
	net->vhost = config->vhost;
	net->max_pairs = config->nr_pairs;
	net->link_up = true;
	memcpy(net->address, config->address, NET_ADDRESS_BYTES);
	net->registers = (struct virtio_net_registers){
		.status = NET_S_LINK_UP, .max_pairs = (uint16_t)config->nr_pairs, .mtu = config->mtu
	};
	memcpy(net->registers.address, config->address, NET_ADDRESS_BYTES);
	reset_state(net);
	if (init_device(net, config, err))
		goto fail;
	net->watch = (struct virtio_watch){
		.fd = net_fd(net->backend), .ready = backend_ready, .context = net
	};
	virtio_lane_enter(&net->device.lanes[0]);
	ret = virtio_lane_share(&net->device.lanes[0], &net->watch);
	virtio_lane_leave(&net->device.lanes[0]);
	if (ret == 0)
		ret = virtio_net_vhost_init(net);
	if (ret < 0) {
		error_set_errno(
			err, EXIT_CODE_HOST, -ret, "cannot make the NIC '%s'", config->name);
		goto fail;
	}
	*result = net;
	return 0;
fail:
	virtio_net_destroy(&net->device);
	return -EINVAL;
}

void virtio_net_destroy(struct virtio_device *device)
{
	struct virtio_net *net = virtio_net_of(device);

	if (!device)
		return;
	virtio_device_finish(&net->device);
	virtio_net_vhost_finish(net);
	net_close(net->backend);
	free(net);
}

struct virtio_device *virtio_net_device(struct virtio_net *net)
{
	return &net->device;
}

void virtio_net_set_link(struct virtio_net *net, bool up)
{
	struct virtio_lane *lane = &net->device.lanes[0];
	uint16_t status = up ? NET_S_LINK_UP : 0;

	virtio_lane_enter(lane);
	net->link_up = up;
	virtio_lane_leave(lane);
	if (net->vhost)
		virtio_delegate_again(&net->device);
	virtio_config_change(&net->device, offsetof(struct virtio_net_registers, status), &status,
		sizeof(status));
}

int virtio_net_parse_address(const char *text, uint8_t address[NET_ADDRESS_BYTES])
{
	unsigned bytes[NET_ADDRESS_BYTES];
	int end = 0;

	if (sscanf(text, "%2x:%2x:%2x:%2x:%2x:%2x%n", &bytes[0], &bytes[1], &bytes[2], &bytes[3],
		    &bytes[4], &bytes[5], &end) != NET_ADDRESS_BYTES ||
		text[end])
		return -EINVAL;
	for (unsigned i = 0; i < NET_ADDRESS_BYTES; i++)
		address[i] = (uint8_t)bytes[i];
	/* A group's, or none. */
	if (address[0] & 1 || !(bytes[0] | bytes[1] | bytes[2] | bytes[3] | bytes[4] | bytes[5]))
		return -EINVAL;
	return 0;
}
