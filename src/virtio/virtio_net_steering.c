#include "virtio/virtio_net_steering.h"

#define ETHERNET_TYPE  12
#define ETHERNET_BYTES 14
#define TAG_BYTES      4
#define TYPE_VLAN      0x8100
#define TYPE_IPV4      0x0800
#define TYPE_IPV6      0x86dd
#define PROTOCOL_TCP   6
#define PROTOCOL_UDP   17
#define IPV4_BYTES     20
#define IPV6_BYTES     40

/* A large frame weighs as much as so many small ones, such as its acknowledgements. */
#define LOAD_LARGE 4
#define LOAD_MAX   (4 * STEERING_MANY * LOAD_LARGE)

static unsigned be16(const uint8_t *at)
{
	return (unsigned)at[0] << 8 | at[1];
}

static uint32_t be32(const uint8_t *at)
{
	return (uint32_t)be16(at) << 16 | be16(at + 2);
}

/* Alike for both directions of a flow. */
static uint32_t of_addresses(const uint8_t *source, unsigned bytes)
{
	uint32_t sum = 0;

	for (unsigned i = 0; i < 2 * bytes; i += 4)
		sum ^= be32(source + i);
	return sum;
}

static uint32_t of_ports(const uint8_t *l4)
{
	return (be16(l4) ^ be16(l4 + 2)) | (be16(l4) + be16(l4 + 2)) << 16;
}

/* The slot of a frame's flow; false if it has none. */
static bool find_slot(const uint8_t *frame, size_t size, unsigned *slot)
{
	size_t ip = ETHERNET_BYTES, l4 = 0;
	unsigned type, protocol;
	uint32_t flow;

	if (size < ETHERNET_BYTES + TAG_BYTES)
		return false;
	type = be16(frame + ETHERNET_TYPE);
	if (type == TYPE_VLAN) {
		type = be16(frame + ETHERNET_TYPE + TAG_BYTES);
		ip += TAG_BYTES;
	}
	if (type == TYPE_IPV4 && size >= ip + IPV4_BYTES) {
		flow = of_addresses(frame + ip + 12, 4);
		protocol = frame[ip + 9];
		/* Only a datagram's first fragment has ports: all of them go without. */
		if (!(be16(frame + ip + 6) & 0x3fff))
			l4 = ip + 4 * (frame[ip] & 15u);
	} else if (type == TYPE_IPV6 && size >= ip + IPV6_BYTES) {
		flow = of_addresses(frame + ip + 8, 16);
		protocol = frame[ip + 6];
		l4 = ip + IPV6_BYTES;
	} else {
		return false;
	}
	if (l4 && (protocol == PROTOCOL_TCP || protocol == PROTOCOL_UDP) && size >= l4 + 4)
		flow += of_ports(frame + l4) * UINT32_C(0x9e3779b1);
	/* The upper bits of a product depend on all of the lower ones. */
	*slot = (flow ^ flow >> 16) * UINT32_C(0x85ebca6b) >> 24;
	return true;
}

static struct steering_slot *count_frame(
	struct virtio_net_steering *steering, const uint8_t *head, size_t size)
{
	struct steering_slot *slot;
	unsigned index;

	if (!find_slot(head, size < STEERING_BYTES ? size : STEERING_BYTES, &index))
		return NULL;
	slot = &steering->slots[index];
	if (size > STEERING_LARGE)
		slot->load += slot->load <= LOAD_MAX - LOAD_LARGE ? LOAD_LARGE : 0;
	else if (slot->load)
		slot->load--;
	if (!slot->load) {
		slot->carries_much = false;
	} else if (!slot->carries_much && slot->load >= STEERING_MANY * LOAD_LARGE) {
		/* Fixed, because the kernel's part sends too. */
		slot->carries_much = true;
		slot->receives = slot->pair + 1;
	}
	return slot;
}

void virtio_net_steering_sent(
	struct virtio_net_steering *steering, const uint8_t *head, size_t size, unsigned pair)
{
	struct steering_slot *slot = count_frame(steering, head, size);

	if (slot)
		slot->pair = (uint8_t)pair;
}

unsigned virtio_net_steering_receive(struct virtio_net_steering *steering, const uint8_t *head,
	size_t size, unsigned nr_pairs, steering_is_drained_fn *is_drained, const void *context)
{
	struct steering_slot *slot = count_frame(steering, head, size);
	unsigned pair, last;

	if (!slot)
		return 0;
	pair = (slot->carries_much ? slot->receives : slot->pair) % nr_pairs;
	if (slot->last && slot->last <= nr_pairs) {
		last = slot->last - 1u;
		if (pair != last && !is_drained(context, last))
			return last;
	}
	slot->last = (uint8_t)(pair + 1);
	return pair;
}
