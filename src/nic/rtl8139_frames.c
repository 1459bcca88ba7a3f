/*
 * The RTL8139C+'s two ways to send and to receive: four buffers and a ring of bytes
 * (5.4, 5.6, 6.4), or descriptors (9). Like the e1000, it leaves where it is what the network does
 * not take, and holds a frame for which there is no room.
 */
#include "nic/rtl8139_internal.h"

#include "base/log.h"

#include <endian.h>
#include <string.h>
#include <zlib.h>

#define CRC_BYTES       4
#define MIN_FRAME       60
#define RX_HEADER_BYTES 4
#define RX_MAX_FRAME    4096
#define RX_SLACK        16 /* between what the driver read and what the chip writes */
#define VLAN_TAG_BYTES  4
#define VLAN_TAG_AT     12
#define MAX_DESCRIPTORS 64

static const struct guest_memory *memory_of(const struct rtl8139 *card)
{
	return &card->cable.machine->memory;
}

static bool is_loopback(const struct rtl8139 *card)
{
	return field_get(RTL8139_TCR_LOOPBACK, rtl8139_get32(card, RTL8139_TCR)) == 3;
}

static bool receive_frame(
	struct rtl8139 *card, const struct net_header *header, uint8_t *frame, size_t size);

static bool send(struct rtl8139 *card, struct net_header *header, size_t size)
{
	if (size < NET_ETHERNET_HEADER)
		return true;
	if (is_loopback(card)) {
		receive_frame(card, header, card->frame, size);
		return true;
	}
	return nic_cable_send(&card->cable, header, card->frame, size);
}

/* True: sent or dropped. */
static bool send_buffer(struct rtl8139 *card, unsigned index)
{
	uint32_t *tsd = &card->state.tsd[index];
	size_t size = *tsd & RTL8139_TSD_SIZE;
	struct net_header header = { 0 };

	if (size > 1792 ||
		guest_memory_read(memory_of(card), card->state.tsad[index], card->frame, size))
		log_guest("%s: a buffer to send is too large or not in RAM", card->function.name);
	else if (!send(card, &header, size))
		return false;
	*tsd |= (uint32_t)(RTL8139_TSD_OWN | RTL8139_TSD_TOK);
	return true;
}

static bool transmit_buffers(struct rtl8139 *card)
{
	bool sent = false;

	for (unsigned i = 0; i < 4; i++) {
		unsigned index = card->state.tx_next;

		if (card->state.tsd[index] & RTL8139_TSD_OWN || !send_buffer(card, index))
			break;
		sent = true;
		card->state.tx_next = (uint8_t)((index + 1) % 4);
	}
	if (sent)
		rtl8139_raise(card, RTL8139_INT_TOK);
	return false;
}

struct descriptor {
	uint32_t command, vlan;
	uint64_t address;
};

static bool read_descriptor(
	const struct rtl8139 *card, gpa_t ring, unsigned slot, struct descriptor *descriptor)
{
	if (guest_memory_read(memory_of(card), ring + slot * RTL8139_DESCRIPTOR_BYTES, descriptor,
		    sizeof(*descriptor)))
		return false;
	descriptor->command = le32toh(descriptor->command);
	descriptor->vlan = le32toh(descriptor->vlan);
	descriptor->address = le64toh(descriptor->address);
	return true;
}

static void write_status(const struct rtl8139 *card, gpa_t ring, unsigned slot, uint32_t command)
{
	command = htole32(command);
	guest_memory_write(
		memory_of(card), ring + slot * RTL8139_DESCRIPTOR_BYTES, &command, sizeof(command));
}

static unsigned next_slot(unsigned slot, uint32_t command)
{
	return command & RTL8139_EOR || slot + 1 >= RTL8139_RING_MAX ? 0 : slot + 1;
}

/* Checksums, or the header of a large segment, of the frame that was gathered. */
static bool offload(struct rtl8139 *card, struct net_header *header, size_t size,
	const struct descriptor *first)
{
	const uint32_t checks = RTL8139_IPCS | RTL8139_UDPCS | RTL8139_TCPCS;
	uint8_t *ip = card->frame + NET_ETHERNET_HEADER;
	size_t l4 = NET_ETHERNET_HEADER + (size_t)(ip[0] & 15) * 4, end;

	if (size < NET_ETHERNET_HEADER + 20 || card->frame[12] != 8 || card->frame[13] != 0 ||
		ip[0] >> 4 != 4 || l4 < NET_ETHERNET_HEADER + 20)
		return !(first->command & RTL8139_LGSEN);
	if (first->command & RTL8139_LGSEN)
		return nic_frame_segment(header, card->frame, size, NET_ETHERNET_HEADER, l4,
			(uint16_t)field_get(RTL8139_MSS, first->command));
	if (!(first->command & checks))
		return true;
	end = NET_ETHERNET_HEADER + (size_t)(ip[2] << 8 | ip[3]);
	if (first->command & RTL8139_IPCS) {
		ip[10] = ip[11] = 0;
		nic_frame_sum(card->frame, size, NET_ETHERNET_HEADER, l4, NET_ETHERNET_HEADER + 10);
	}
	if (first->command & (RTL8139_TCPCS | RTL8139_UDPCS))
		nic_frame_fill(card->frame, size, l4, end);
	return true;
}

/* Returns the size with the tag that is wanted. */
static size_t insert_tag(struct rtl8139 *card, size_t size, uint32_t vlan)
{
	uint8_t *at = card->frame + VLAN_TAG_AT;

	if (!(vlan & RTL8139_TX_TAG) || size < NET_ETHERNET_HEADER)
		return size;
	memmove(at + VLAN_TAG_BYTES, at, size - VLAN_TAG_AT);
	at[0] = 0x81;
	at[1] = 0;
	at[2] = (uint8_t)vlan; /* the tag's bytes as they are sent */
	at[3] = (uint8_t)(vlan >> 8);
	return size + VLAN_TAG_BYTES;
}

/* True if a frame was sent or dropped; false if there is none, or it must wait. */
static bool transmit_descriptors(struct rtl8139 *card)
{
	gpa_t ring = card->state.tx_ring;
	struct descriptor first = { 0 }, piece;
	struct net_header header = { 0 };
	unsigned slot = card->state.tx_slot, count = 0;
	size_t size = 0;
	bool bad = false;

	do {
		size_t bytes;

		if (!read_descriptor(card, ring, slot, &piece) || !(piece.command & RTL8139_OWN)) {
			card->state.tx_polled = 0;
			return false;
		}
		if (!count)
			first = piece;
		bytes = piece.command & RTL8139_TX_BYTES;
		bad |= bytes > NET_MAX_FRAME - VLAN_TAG_BYTES - size;
		if (!bad && guest_memory_read(
				    memory_of(card), piece.address, card->frame + size, bytes))
			bad = true;
		size += bad ? 0 : bytes;
		slot = next_slot(slot, piece.command);
		count++;
	} while (!(piece.command & RTL8139_LS) && count < MAX_DESCRIPTORS);

	if (bad || !(piece.command & RTL8139_LS) || !offload(card, &header, size, &first)) {
		log_guest("%s: a frame to send is malformed", card->function.name);
	} else {
		size_t tagged = insert_tag(card, size, first.vlan);

		if (tagged != size && header.flags)
			header.checksum_start = (uint16_t)(header.checksum_start + VLAN_TAG_BYTES);
		if (!send(card, &header, tagged))
			return false;
	}
	for (slot = card->state.tx_slot; count > 0; count--) {
		if (!read_descriptor(card, ring, slot, &piece))
			break;
		write_status(card, ring, slot, piece.command & ~(uint32_t)RTL8139_OWN);
		slot = next_slot(slot, piece.command);
	}
	card->state.tx_slot = (uint8_t)slot;
	return true;
}

bool rtl8139_transmit(struct rtl8139 *card)
{
	unsigned sent = 0;

	if (!(card->state.reg[RTL8139_CR] & RTL8139_CR_TE) || !pci_is_bus_master(&card->function))
		return false;
	if (!(rtl8139_get16(card, RTL8139_CPCR) & RTL8139_CPCR_TXENABLE))
		return transmit_buffers(card);
	while (card->state.tx_polled && sent < NIC_CABLE_ROUND && transmit_descriptors(card))
		sent++;
	if (sent)
		rtl8139_raise(card, RTL8139_INT_TOK);
	if (sent && !card->state.tx_polled)
		rtl8139_raise(card, RTL8139_INT_TDU);
	return sent == NIC_CABLE_ROUND;
}

uint32_t rtl8139_ring_bytes(const struct rtl8139 *card)
{
	return 8192u << field_get(RTL8139_RCR_RBLEN, rtl8139_get32(card, RTL8139_RCR));
}

/* CAPR stands 16 bytes before what the driver reads next (5.8). */
static uint32_t driver_at(const struct rtl8139 *card)
{
	return ((uint32_t)rtl8139_get16(card, RTL8139_CAPR) + 16) % rtl8139_ring_bytes(card);
}

bool rtl8139_ring_is_empty(const struct rtl8139 *card)
{
	return driver_at(card) == rtl8139_get16(card, RTL8139_CBR) % rtl8139_ring_bytes(card);
}

/* The hash is the upper six bits of the address's CRC, first bit first (5.2). */
static bool passes_hash(const struct rtl8139 *card, const uint8_t *address)
{
	uint32_t crc = ~(uint32_t)crc32(0, address, NET_ADDRESS_BYTES), reversed = 0;
	unsigned hash;

	for (unsigned i = 0; i < 32; i++)
		reversed |= (crc >> i & 1) << (31 - i);
	hash = reversed >> 26;
	return card->state.reg[RTL8139_MAR + hash / 8] & BIT(hash % 8);
}

/* The status bit that says why a frame is received, 0: it is not. */
static uint32_t classify(const struct rtl8139 *card, const uint8_t *frame, bool *passes)
{
	static const uint8_t broadcast[] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
	uint32_t rcr = rtl8139_get32(card, RTL8139_RCR);

	*passes = rcr & RTL8139_RCR_AAP;
	if (memcmp(frame, broadcast, sizeof(broadcast)) == 0) {
		*passes |= (rcr & RTL8139_RCR_AB) != 0;
		return RTL8139_RX_BAR;
	}
	if (frame[0] & 1) {
		*passes |= rcr & RTL8139_RCR_AM && passes_hash(card, frame);
		return RTL8139_RX_MAR;
	}
	if (memcmp(frame, card->state.reg + RTL8139_IDR, NET_ADDRESS_BYTES) != 0)
		return 0;
	*passes |= (rcr & RTL8139_RCR_APM) != 0;
	return RTL8139_RX_PAM;
}

static void ring_write(const struct rtl8139 *card, uint32_t at, const void *from, uint32_t bytes)
{
	uint32_t ring = rtl8139_ring_bytes(card), to_end = ring - at;
	gpa_t start = rtl8139_get32(card, RTL8139_RBSTART);
	bool wraps = !(rtl8139_get32(card, RTL8139_RCR) & RTL8139_RCR_WRAP) || ring == 65536;
	uint32_t part = wraps && bytes > to_end ? to_end : bytes;

	guest_memory_write(memory_of(card), start + at, from, part);
	if (part < bytes)
		guest_memory_write(
			memory_of(card), start, (const uint8_t *)from + part, bytes - part);
}

/* Into the ring of bytes: status, length with the CRC, the frame, the CRC; on four bytes. */
static bool receive_into_ring(struct rtl8139 *card, uint8_t *frame, uint32_t size, uint32_t status)
{
	uint32_t ring = rtl8139_ring_bytes(card), at = rtl8139_get16(card, RTL8139_CBR) % ring;
	uint32_t needed = (uint32_t)align_up(RX_HEADER_BYTES + size + CRC_BYTES, 4);
	uint32_t used = (at + ring - driver_at(card)) % ring;
	uint32_t header = htole32(status | (uint32_t)RTL8139_RX_ROK | (size + CRC_BYTES) << 16);
	uint32_t crc = htole32((uint32_t)crc32(0, frame, size));

	if (needed + RX_SLACK > ring - used)
		return false;
	memcpy(frame + size, &crc, sizeof(crc));
	ring_write(card, at, &header, sizeof(header));
	ring_write(card, (at + RX_HEADER_BYTES) % ring, frame, size + CRC_BYTES);
	rtl8139_set16(card, RTL8139_CBR, (uint16_t)((at + needed) % ring));
	return true;
}

static uint32_t checked(const struct net_header *header, const uint8_t *frame, uint32_t size)
{
	unsigned found = nic_frame_check(header, frame, size);
	uint32_t bits = 0;

	if (!(found & NIC_FRAME_IPV4))
		return 0;
	if (found & NIC_FRAME_IPV4_BAD)
		bits |= (uint32_t)RTL8139_CRX_IPF;
	if (found & NIC_FRAME_TCP)
		return bits | 1u << 16 |
		       (found & NIC_FRAME_L4_BAD ? (uint32_t)RTL8139_CRX_TCPF : 0);
	if (found & NIC_FRAME_UDP)
		return bits | 2u << 16 |
		       (found & NIC_FRAME_L4_BAD ? (uint32_t)RTL8139_CRX_UDPF : 0);
	return bits | 3u << 16;
}

static bool receive_into_descriptor(struct rtl8139 *card, const struct net_header *header,
	uint8_t *frame, uint32_t size, uint32_t status)
{
	gpa_t ring = rtl8139_get32(card, RTL8139_RDSAR) |
		     (gpa_t)rtl8139_get32(card, RTL8139_RDSAR + 4) << 32;
	uint16_t cpcr = rtl8139_get16(card, RTL8139_CPCR);
	unsigned slot = card->state.rx_slot;
	struct descriptor descriptor;
	uint32_t command, vlan = 0, crc;

	if (!read_descriptor(card, ring, slot, &descriptor) || !(descriptor.command & RTL8139_OWN))
		return false;
	command = descriptor.command & (uint32_t)RTL8139_EOR;
	command |= (uint32_t)(RTL8139_FS | RTL8139_LS) | (status & 0xe000) << 11;
	if (cpcr & RTL8139_CPCR_RXCHECK)
		command |= checked(header, frame, size);
	if (cpcr & RTL8139_CPCR_RXVLAN && size >= NET_ETHERNET_HEADER + VLAN_TAG_BYTES &&
		frame[VLAN_TAG_AT] == 0x81 && frame[VLAN_TAG_AT + 1] == 0) {
		vlan = (uint32_t)(RTL8139_RX_TAG | frame[VLAN_TAG_AT + 2] |
				  frame[VLAN_TAG_AT + 3] << 8);
		memmove(frame + VLAN_TAG_AT, frame + VLAN_TAG_AT + VLAN_TAG_BYTES,
			size - VLAN_TAG_AT - VLAN_TAG_BYTES);
		size -= VLAN_TAG_BYTES;
	}
	crc = htole32((uint32_t)crc32(0, frame, size));
	memcpy(frame + size, &crc, sizeof(crc));
	size += CRC_BYTES;
	if (size > (descriptor.command & RTL8139_RX_BYTES))
		size = descriptor.command & RTL8139_RX_BYTES;
	if (guest_memory_write(memory_of(card), descriptor.address, frame, size))
		log_guest("%s: a buffer to receive is not in RAM", card->function.name);
	vlan = htole32(vlan);
	guest_memory_write(
		memory_of(card), ring + slot * RTL8139_DESCRIPTOR_BYTES + 4, &vlan, sizeof(vlan));
	write_status(card, ring, slot, command | size);
	card->state.rx_slot = (uint8_t)next_slot(slot, descriptor.command);
	return true;
}

/* Returns false if it must wait for room. */
static bool receive_frame(
	struct rtl8139 *card, const struct net_header *header, uint8_t *frame, size_t size)
{
	bool uses_descriptors = rtl8139_get16(card, RTL8139_CPCR) & RTL8139_CPCR_RXENABLE, passes;
	uint32_t status = classify(card, frame, &passes);

	if (!passes || size > RX_MAX_FRAME)
		return true;
	if (size < MIN_FRAME) {
		memset(frame + size, 0, MIN_FRAME - size);
		size = MIN_FRAME;
	}
	if (uses_descriptors ? receive_into_descriptor(card, header, frame, (uint32_t)size, status)
			     : receive_into_ring(card, frame, (uint32_t)size, status)) {
		rtl8139_raise(card, RTL8139_INT_ROK);
		return true;
	}
	rtl8139_raise(card, RTL8139_INT_RXOVW);
	return false;
}

bool rtl8139_receive(struct rtl8139 *card)
{
	struct nic_cable *cable = &card->cable;

	if (!(card->state.reg[RTL8139_CR] & RTL8139_CR_RE) || !pci_is_bus_master(&card->function))
		return false;
	for (unsigned i = 0; i < NIC_CABLE_ROUND; i++) {
		if (!nic_cable_hold(cable))
			return false;
		if (!receive_frame(card, &cable->held_header, cable->held, cable->held_bytes)) {
			/* Tried again when the driver writes a register that makes room. */
			nic_cable_want(cable, NET_READ, false);
			return false;
		}
		cable->held_bytes = 0;
	}
	return true;
}
