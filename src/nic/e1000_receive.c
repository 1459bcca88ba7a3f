/*
 * The 82540EM's receiver (3.2): address and VLAN filters, checksums, descriptors. A frame for which
 * the driver has not given enough descriptors is held, and no more are taken from the cable: a real
 * card would drop it, and a peer would send it again.
 */
#include "nic/e1000_internal.h"

#include "base/log.h"
#include "net/offload.h"

#include <endian.h>
#include <string.h>
#include <zlib.h>

#define CRC_BYTES      4
#define MIN_FRAME      60
#define MAX_FRAME      1518 /* untagged; with LPE the largest buffer */
#define MAX_LONG_FRAME 16384
#define VLAN_TAG_AT    12
#define VLAN_TAG_BYTES 4
#define ETHERTYPE_AT   12

/* What becomes of a frame on its way to memory. */
struct incoming {
	uint8_t *bytes;
	size_t size; /* in memory */
	uint8_t status, errors;
	uint16_t checksum, tag;
};

static bool has_tag(const struct e1000 *card, const uint8_t *frame, size_t size)
{
	return size >= NET_ETHERNET_HEADER + VLAN_TAG_BYTES &&
	       (frame[ETHERTYPE_AT] << 8 | frame[ETHERTYPE_AT + 1]) ==
		       (int)card->state.reg[E1000_VET];
}

static bool passes_vlan(const struct e1000 *card, const uint8_t *frame, size_t size)
{
	uint32_t rctl = card->state.reg[E1000_RCTL];
	unsigned tag, vlan;

	if (!(rctl & E1000_RCTL_VFE) || !has_tag(card, frame, size))
		return true;
	tag = (unsigned)frame[VLAN_TAG_AT + 2] << 8 | frame[VLAN_TAG_AT + 3];
	vlan = tag & 0xfff;
	if (!(card->state.vlans[vlan / 32] & BIT(vlan % 32)))
		return false;
	return !(rctl & E1000_RCTL_CFIEN) || !(tag & 0x1000) == !(rctl & E1000_RCTL_CFI);
}

static bool is_exact(const struct e1000 *card, const uint8_t *frame)
{
	uint32_t low = (uint32_t)(frame[0] | frame[1] << 8 | frame[2] << 16) | (uint32_t)frame[3]
										       << 24;
	uint32_t high = (uint32_t)(frame[4] | frame[5] << 8);

	for (unsigned i = 0; i < E1000_NR_RA; i++) {
		uint32_t upper = card->state.addresses[2 * i + 1];

		if (upper & E1000_RAH_VALID && !(upper & E1000_RAH_SELECT) &&
			card->state.addresses[2 * i] == low && (upper & 0xffff) == high)
			return true;
	}
	return false;
}

/* Sets `*inexact` if only the hash said so: the driver has to look itself. */
static bool passes_address(const struct e1000 *card, const uint8_t *frame, bool *inexact)
{
	static const uint8_t broadcast[] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
	static const uint8_t shifts[] = { 4, 3, 2, 0 };
	uint32_t rctl = card->state.reg[E1000_RCTL];
	bool is_group = frame[0] & 1;
	unsigned hash;

	if (memcmp(frame, broadcast, sizeof(broadcast)) == 0 && rctl & E1000_RCTL_BAM)
		return true;
	if (rctl & (is_group ? E1000_RCTL_MPE : E1000_RCTL_UPE) || is_exact(card, frame))
		return true;
	if (!is_group)
		return false;
	*inexact = true;
	hash = (unsigned)(frame[5] << 8 | frame[4]) >> shifts[field_get(E1000_RCTL_MO, rctl)] &
	       0xfff;
	return card->state.multicast[hash / 32] & BIT(hash % 32);
}

static uint32_t buffer_bytes(const struct e1000 *card)
{
	uint32_t rctl = card->state.reg[E1000_RCTL];
	uint32_t bytes = 2048u >> field_get(E1000_RCTL_BSIZE, rctl);

	return rctl & E1000_RCTL_BSEX && bytes < 2048 ? bytes * 16 : bytes;
}

static void check(const struct e1000 *card, const struct net_header *header, const uint8_t *frame,
	size_t size, struct incoming *in)
{
	uint32_t rxcsum = card->state.reg[E1000_RXCSUM];
	size_t start = rxcsum & E1000_RXCSUM_PCSS;
	unsigned found;

	if (start < size)
		in->checksum = (uint16_t)~offload_sum(frame + start, size - start);
	if (!(rxcsum & (E1000_RXCSUM_IPOFL | E1000_RXCSUM_TUOFL))) {
		in->status |= E1000_RX_IXSM;
		return;
	}
	found = nic_frame_check(header, frame, size);
	if (rxcsum & E1000_RXCSUM_IPOFL && found & NIC_FRAME_IPV4)
		in->status |= E1000_RX_IPCS;
	if (rxcsum & E1000_RXCSUM_TUOFL && found & (NIC_FRAME_TCP | NIC_FRAME_UDP))
		in->status |= E1000_RX_TCPCS;
	if (in->status & E1000_RX_IPCS && found & NIC_FRAME_IPV4_BAD)
		in->errors |= E1000_RX_ERROR_IPE;
	if (in->status & E1000_RX_TCPCS && found & NIC_FRAME_L4_BAD)
		in->errors |= E1000_RX_ERROR_TCPE;
	if (!(in->status & (E1000_RX_IPCS | E1000_RX_TCPCS)))
		in->status |= E1000_RX_IXSM;
}

/* Takes the tag out, and appends the CRC if it is to be kept. `frame` has room for it. */
static void shape(const struct e1000 *card, struct incoming *in)
{
	uint8_t *frame = in->bytes;

	if (card->state.reg[E1000_CTRL] & E1000_CTRL_VME && has_tag(card, frame, in->size)) {
		in->status |= E1000_RX_VP;
		in->tag = (uint16_t)(frame[VLAN_TAG_AT + 2] << 8 | frame[VLAN_TAG_AT + 3]);
		memmove(frame + VLAN_TAG_AT, frame + VLAN_TAG_AT + VLAN_TAG_BYTES,
			in->size - VLAN_TAG_AT - VLAN_TAG_BYTES);
		in->size -= VLAN_TAG_BYTES;
	}
	if (in->size < MIN_FRAME) {
		memset(frame + in->size, 0, MIN_FRAME - in->size);
		in->size = MIN_FRAME;
	}
	if (!(card->state.reg[E1000_RCTL] & E1000_RCTL_SECRC)) {
		uint32_t crc = htole32((uint32_t)crc32(0, frame, (unsigned)in->size));

		memcpy(frame + in->size, &crc, sizeof(crc));
		in->size += CRC_BYTES;
	}
}

static void count(struct e1000 *card, const uint8_t *frame, uint32_t bytes)
{
	static const uint8_t broadcast[] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };

	e1000_count(card, E1000_GPRC);
	e1000_count_bytes(card, E1000_GORCL, bytes);
	e1000_count_size(card, E1000_PRC64, bytes);
	if (memcmp(frame, broadcast, sizeof(broadcast)) == 0)
		e1000_count(card, E1000_BPRC);
	else if (frame[0] & 1)
		e1000_count(card, E1000_MPRC);
}

static void fill_descriptors(struct e1000 *card, struct e1000_ring *ring, const struct incoming *in)
{
	const struct guest_memory *memory = &card->cable.machine->memory;
	uint32_t buffer = buffer_bytes(card);

	for (size_t done = 0; done < in->size;) {
		size_t part = in->size - done < buffer ? in->size - done : buffer;
		gpa_t at = ring->base + (gpa_t)ring->head * E1000_DESCRIPTOR_BYTES;
		bool is_last = done + part == in->size;
		struct {
			uint16_t length, checksum;
			uint8_t status, errors;
			uint16_t special;
		} end = { htole16((uint16_t)part), htole16(in->checksum),
			(uint8_t)(in->status | E1000_RX_DD | (is_last ? E1000_RX_EOP : 0)),
			is_last ? in->errors : 0, htole16(in->tag) };
		uint64_t address;

		if (guest_memory_read(memory, at, &address, sizeof(address)) ||
			guest_memory_write(memory, le64toh(address), in->bytes + done, part))
			log_guest("%s: a receive descriptor points at what is not RAM",
				card->function.name);
		guest_memory_write(memory, at + 8, &end, sizeof(end));
		done += part;
		ring->head = (ring->head + 1) % ring->size;
	}
	card->state.reg[E1000_RDH] = ring->head;
}

/* Raises RXDMT0 when few descriptors are left (13.4.22). */
static uint32_t causes_after(const struct e1000 *card, const struct e1000_ring *ring)
{
	uint64_t threshold = field_get(E1000_RCTL_RDMTS, card->state.reg[E1000_RCTL]);
	uint32_t causes = E1000_ICR_RXT0;

	if (e1000_ring_filled(ring) <= ring->size >> (threshold + 1))
		causes |= E1000_ICR_RXDMT0;
	return causes;
}

bool e1000_receive_frame(
	struct e1000 *card, const struct net_header *header, uint8_t *frame, size_t size)
{
	uint32_t rctl = card->state.reg[E1000_RCTL];
	struct e1000_ring ring = e1000_ring(card, E1000_RDBAL);
	struct incoming in = { .bytes = frame, .size = size };
	size_t wire = (size < MIN_FRAME ? MIN_FRAME : size) + CRC_BYTES, needed;
	bool inexact = false;

	if (!(rctl & E1000_RCTL_EN) || size < NET_ETHERNET_HEADER || !ring.size)
		return !ring.size ? !(rctl & E1000_RCTL_EN) : true;
	needed = (wire + buffer_bytes(card) - 1) / buffer_bytes(card);
	if (!passes_vlan(card, frame, size) || !passes_address(card, frame, &inexact))
		return true;
	if (wire > (rctl & E1000_RCTL_LPE ? MAX_LONG_FRAME
					  : MAX_FRAME + (has_tag(card, frame, size) ? 4u : 0)) ||
		needed >= ring.size) {
		e1000_count(card, E1000_ROC);
		return true;
	}
	if (needed > e1000_ring_filled(&ring)) {
		e1000_count(card, E1000_RNBC);
		e1000_raise(card, E1000_ICR_RXDMT0);
		return false;
	}
	if (inexact)
		in.status |= E1000_RX_PIF;
	check(card, header, frame, size, &in);
	count(card, frame, (uint32_t)wire);
	shape(card, &in);
	fill_descriptors(card, &ring, &in);
	e1000_raise(card, causes_after(card, &ring));
	return true;
}

bool e1000_receive(struct e1000 *card)
{
	struct nic_cable *cable = &card->cable;

	if (!(card->state.reg[E1000_RCTL] & E1000_RCTL_EN) || !pci_is_bus_master(&card->function))
		return false;
	for (unsigned i = 0; i < NIC_CABLE_ROUND; i++) {
		if (!nic_cable_hold(cable))
			return false;
		if (!e1000_receive_frame(
			    card, &cable->held_header, cable->held, cable->held_bytes)) {
			/* The driver tells when it has given more. */
			nic_cable_want(cable, NET_READ, false);
			return false;
		}
		e1000_count(card, E1000_TPR);
		e1000_count_bytes(card, E1000_TORL, (uint32_t)cable->held_bytes + CRC_BYTES);
		cable->held_bytes = 0;
	}
	return true;
}
