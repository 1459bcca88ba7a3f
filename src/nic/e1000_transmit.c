/*
 * The 82540EM's transmitter (3.3, 3.4, 3.5). A frame is gathered when its last descriptor is there,
 * and its descriptors are given back when the cable has taken it; so nothing is kept between two
 * rounds, and the head register stands at the beginning of a frame.
 */
#include "nic/e1000_internal.h"

#include "base/log.h"
#include "net/offload.h"

#include <endian.h>
#include <string.h>

/* A frame in more pieces than this is dropped; a driver that uses one page for each piece of the
 * largest segment needs 17. */
#define MAX_DESCRIPTORS 256
#define VLAN_TAG_BYTES  4
#define VLAN_TAG_AT     12
#define CRC_BYTES       4
#define MIN_FRAME       60

struct descriptor {
	uint64_t address;
	uint32_t command; /* the third doubleword */
	uint32_t status;
};

/* What the descriptors of one frame say. */
struct outgoing {
	size_t size;
	uint32_t options; /* IXSM, TXSM: of the first descriptor */
	uint32_t nr_descriptors;
	struct descriptor last;
	bool is_legacy, is_large, bad;
};

static bool read_descriptor(struct e1000 *card, const struct e1000_ring *ring, uint32_t at,
	struct descriptor *descriptor)
{
	const struct guest_memory *memory = &card->cable.machine->memory;
	uint32_t words[4];

	if (guest_memory_read(
		    memory, ring->base + (gpa_t)at * E1000_DESCRIPTOR_BYTES, words, sizeof(words)))
		return false;
	descriptor->address = le32toh(words[0]) | (uint64_t)le32toh(words[1]) << 32;
	descriptor->command = le32toh(words[2]);
	descriptor->status = le32toh(words[3]);
	return true;
}

static void set_context(struct e1000 *card, const struct descriptor *descriptor)
{
	uint64_t fields = descriptor->address;
	bool is_large = descriptor->command & E1000_TX_TSE;

	card->state.context[is_large] = (struct e1000_context){
		.ip_start = (uint8_t)fields,
		.ip_offset = (uint8_t)(fields >> 8),
		.ip_end = (uint16_t)(fields >> 16),
		.l4_start = (uint8_t)(fields >> 32),
		.l4_offset = (uint8_t)(fields >> 40),
		.l4_end = (uint16_t)(fields >> 48),
		.mss = (uint16_t)field_get(E1000_TX_MSS, descriptor->status),
		.header_bytes = (uint8_t)field_get(E1000_TX_HDRLEN, descriptor->status),
	};
}

static bool is_context(const struct descriptor *descriptor)
{
	return descriptor->command & E1000_TX_DEXT &&
	       field_get(E1000_TX_TYPE, descriptor->command) == E1000_TX_TYPE_CONTEXT;
}

static void gather(struct e1000 *card, struct outgoing *frame, const struct descriptor *piece)
{
	bool is_data = piece->command & E1000_TX_DEXT;
	size_t bytes = piece->command & (is_data ? E1000_TX_DATA_LENGTH : E1000_TX_LENGTH);

	if (frame->nr_descriptors++ == 0) {
		frame->is_legacy = !is_data;
		frame->is_large = is_data && piece->command & E1000_TX_TSE;
		frame->options = is_data ? piece->status : 0;
	}
	frame->last = *piece;
	if (frame->bad || bytes > NET_MAX_FRAME - VLAN_TAG_BYTES - frame->size) {
		frame->bad = true;
		return;
	}
	if (bytes && guest_memory_read(&card->cable.machine->memory, piece->address,
			     card->frame + frame->size, bytes)) {
		log_guest("%s: a descriptor points at what is not RAM", card->function.name);
		frame->bad = true;
		return;
	}
	frame->size += bytes;
}

/* Writes status back where it is asked for; true if it was. */
static bool give_back(struct e1000 *card, const struct e1000_ring *ring, uint32_t at)
{
	const struct guest_memory *memory = &card->cable.machine->memory;
	gpa_t address = ring->base + (gpa_t)at * E1000_DESCRIPTOR_BYTES;
	uint32_t words[2];

	if (guest_memory_read(memory, address + 8, words, sizeof(words)) ||
		!(le32toh(words[0]) & E1000_TX_RS))
		return false;
	words[1] |= htole32(E1000_TX_DD);
	guest_memory_write(memory, address + 12, &words[1], sizeof(words[1]));
	return true;
}

static void insert_tag(struct e1000 *card, struct outgoing *frame)
{
	uint8_t *at = card->frame + VLAN_TAG_AT;
	uint16_t ether_type = (uint16_t)card->state.reg[E1000_VET];
	uint16_t tag = (uint16_t)field_get(E1000_TX_SPECIAL, frame->last.status);

	if (!(frame->last.command & E1000_TX_VLE) ||
		!(card->state.reg[E1000_CTRL] & E1000_CTRL_VME))
		return;
	memmove(at + VLAN_TAG_BYTES, at, frame->size - VLAN_TAG_AT);
	at[0] = (uint8_t)(ether_type >> 8);
	at[1] = (uint8_t)ether_type;
	at[2] = (uint8_t)(tag >> 8);
	at[3] = (uint8_t)tag;
	frame->size += VLAN_TAG_BYTES;
}

static size_t end_of(uint16_t last, size_t size)
{
	return last ? (size_t)last + 1 : size;
}

/* Checksums as the context says; large segments are left to the network. Offsets count from the
 * frame as it was gathered, before a tag went in. */
static bool offload(struct e1000 *card, struct outgoing *frame, struct net_header *header)
{
	const struct e1000_context *context = &card->state.context[frame->is_large];
	uint8_t *bytes = card->frame;
	size_t size = frame->size;

	if (frame->is_legacy) {
		if (frame->last.command & E1000_TX_IC)
			nic_frame_sum(bytes, size, field_get(E1000_TX_CSS, frame->last.status),
				size, field_get(E1000_TX_CSO, frame->last.command));
		return true;
	}
	if (frame->is_large)
		return nic_frame_segment(
			header, bytes, size, context->ip_start, context->l4_start, context->mss);
	if (frame->options & E1000_TX_IXSM)
		nic_frame_sum(bytes, size, context->ip_start, end_of(context->ip_end, size),
			context->ip_offset);
	if (!(frame->options & E1000_TX_TXSM))
		return true;
	if (end_of(context->l4_end, size) != size || context->l4_start < NET_ETHERNET_HEADER ||
		context->l4_offset < context->l4_start || (size_t)context->l4_offset + 2 > size) {
		nic_frame_sum(bytes, size, context->l4_start, end_of(context->l4_end, size),
			context->l4_offset);
		return true;
	}
	header->flags = NET_HEADER_NEEDS_CHECKSUM;
	header->checksum_start = context->l4_start;
	header->checksum_offset = (uint16_t)(context->l4_offset - context->l4_start);
	return true;
}

static void count(struct e1000 *card, const struct outgoing *frame, uint8_t first)
{
	uint32_t bytes = (uint32_t)frame->size + CRC_BYTES;

	e1000_count(card, E1000_TPT);
	e1000_count(card, E1000_GPTC);
	e1000_count_bytes(card, E1000_TOTL, bytes);
	e1000_count_bytes(card, E1000_GOTCL, bytes);
	e1000_count_size(card, E1000_PTC64, bytes);
	if (first == 0xff)
		e1000_count(card, E1000_BPTC);
	else if (first & 1)
		e1000_count(card, E1000_MPTC);
	if (frame->is_large)
		e1000_count(card, E1000_TSCTC);
}

static bool is_loopback(const struct e1000 *card)
{
	return card->state.reg[E1000_RCTL] & E1000_RCTL_LBM ||
	       card->state.phy[E1000_PHY_CONTROL] & E1000_PHY_CONTROL_LOOPBACK;
}

/* Returns false if the cable does not take it now. */
static bool send(struct e1000 *card, struct outgoing *frame)
{
	struct net_header header = { 0 };
	uint8_t first = card->frame[0];

	if (frame->bad || frame->size < NET_ETHERNET_HEADER)
		return true;
	if (frame->size < MIN_FRAME && card->state.reg[E1000_TCTL] & E1000_TCTL_PSP) {
		memset(card->frame + frame->size, 0, MIN_FRAME - frame->size);
		frame->size = MIN_FRAME;
	}
	if (!offload(card, frame, &header)) {
		log_guest("%s: the headers of a large segment are not those of TCP",
			card->function.name);
		e1000_count(card, E1000_TSCTFC);
		return true;
	}
	if (frame->size >= MIN_FRAME) {
		size_t before = frame->size;

		insert_tag(card, frame);
		if (frame->size != before && header.flags & NET_HEADER_NEEDS_CHECKSUM)
			header.checksum_start = (uint16_t)(header.checksum_start + VLAN_TAG_BYTES);
	}
	if (is_loopback(card)) {
		if (header.gso_type == NET_GSO_NONE)
			offload_checksum(&header, card->frame, frame->size);
		e1000_receive_frame(card, &header, card->frame, frame->size);
	} else if (!nic_cable_send(&card->cable, &header, card->frame, frame->size)) {
		return false;
	}
	count(card, frame, first);
	return true;
}

/* What became of the descriptors from the head on. */
enum progress { PROGRESS_DONE, PROGRESS_INCOMPLETE, PROGRESS_REFUSED };

/* Gives back `count` descriptors and moves the head; sets `*reported` if one asked for it. */
static void advance(struct e1000 *card, struct e1000_ring *ring, uint32_t count, bool *reported)
{
	for (uint32_t i = 0; i < count; i++) {
		*reported |= give_back(card, ring, ring->head);
		ring->head = (ring->head + 1) % ring->size;
	}
	card->state.reg[E1000_TDH] = ring->head;
}

static enum progress transmit_one(struct e1000 *card, struct e1000_ring *ring, bool *reported)
{
	struct outgoing frame = { .bad = card->state.skipping };
	uint32_t filled = e1000_ring_filled(ring);

	for (uint32_t i = 0; i < filled; i++) {
		struct descriptor piece;

		if (!read_descriptor(card, ring, (ring->head + i) % ring->size, &piece)) {
			log_guest("%s: the transmit ring is not in RAM", card->function.name);
			advance(card, ring, filled, reported);
			return PROGRESS_DONE;
		}
		if (is_context(&piece)) {
			/* Between frames; within one it would change what is already said. */
			set_context(card, &piece);
			if (i == 0) {
				advance(card, ring, 1, reported);
				return PROGRESS_DONE;
			}
			continue;
		}
		gather(card, &frame, &piece);
		if (piece.command & E1000_TX_EOP) {
			if (!send(card, &frame))
				return PROGRESS_REFUSED;
			card->state.skipping = 0;
			advance(card, ring, i + 1, reported);
			return PROGRESS_DONE;
		}
		if (i + 1 == MAX_DESCRIPTORS || i + 2 == ring->size) {
			card->state.skipping = 1;
			advance(card, ring, i + 1, reported);
			return PROGRESS_DONE;
		}
	}
	return PROGRESS_INCOMPLETE;
}

bool e1000_transmit(struct e1000 *card)
{
	struct e1000_ring ring = e1000_ring(card, E1000_TDBAL);
	enum progress progress = PROGRESS_DONE;
	bool reported = false;
	uint32_t causes = 0;

	if (!(card->state.reg[E1000_TCTL] & E1000_TCTL_EN) || !e1000_ring_filled(&ring) ||
		!pci_is_bus_master(&card->function))
		return false;
	for (unsigned i = 0; i < 2 * NIC_CABLE_ROUND && progress == PROGRESS_DONE; i++) {
		progress = transmit_one(card, &ring, &reported);
		if (progress == PROGRESS_DONE && ring.head == ring.tail) {
			progress = PROGRESS_INCOMPLETE;
			causes = E1000_ICR_TXQE;
		}
	}
	if (reported)
		causes |= E1000_ICR_TXDW;
	if (causes)
		e1000_raise(card, causes);
	return progress == PROGRESS_DONE;
}
