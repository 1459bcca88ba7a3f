/*
 * Checksums and segmentation in software (offload.h). IPv4 with options and IPv6 with extension
 * headers are cut as they are: the transport header's place comes from the header's checksum_start,
 * and only the fixed fields of IP are changed.
 */
#include "net/offload.h"

#include <string.h>

#define ETHERTYPE_IPV4 0x0800
#define ETHERTYPE_IPV6 0x86dd
#define ETHERTYPE_VLAN 0x8100
#define ETHERTYPE_QINQ 0x88a8

#define IPV4_MIN_HEADER 20
#define IPV6_HEADER     40
#define TCP_MIN_HEADER  20
#define UDP_HEADER      8
#define PROTOCOL_TCP    6
#define PROTOCOL_UDP    17

#define TCP_FLAGS 13
#define TCP_FIN   BIT(0)
#define TCP_PSH   BIT(3)
#define TCP_CWR   BIT(7)

/* More would be a flood of tiny frames made out of one. */
#define MIN_GSO_SIZE 64

static uint16_t load16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

static uint32_t load32(const uint8_t *at)
{
	return (uint32_t)load16(at) << 16 | load16(at + 2);
}

static void store16(uint8_t *at, uint16_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

static void store32(uint8_t *at, uint32_t value)
{
	store16(at, (uint16_t)(value >> 16));
	store16(at + 2, (uint16_t)value);
}

/* The sum of big-endian words, not folded: 64 KiB fit with room to spare. */
static uint64_t sum(const uint8_t *bytes, size_t size)
{
	uint64_t total = 0;

	while (size >= 4) {
		total += load32(bytes);
		bytes += 4;
		size -= 4;
	}
	if (size >= 2) {
		total += load16(bytes);
		bytes += 2;
		size -= 2;
	}
	return size ? total + ((uint64_t)*bytes << 8) : total;
}

static uint16_t fold(uint64_t total)
{
	while (total >> 16)
		total = (total & 0xffff) + (total >> 16);
	return (uint16_t)total;
}

uint16_t offload_sum(const uint8_t *bytes, size_t size)
{
	return fold(sum(bytes, size));
}

bool offload_header_is_valid(const struct net_header *header, size_t size)
{
	unsigned type = header->gso_type & ~NET_GSO_ECN;

	if (header->flags & NET_HEADER_NEEDS_CHECKSUM) {
		size_t end = (size_t)header->checksum_start + header->checksum_offset + 2;

		if (end > size || header->checksum_start < NET_ETHERNET_HEADER)
			return false;
	}
	if (header->gso_type == NET_GSO_NONE)
		return true;
	if (type != NET_GSO_TCPV4 && type != NET_GSO_TCPV6 && type != NET_GSO_UDP_L4)
		return false;
	if (type == NET_GSO_UDP_L4 && header->gso_type & NET_GSO_ECN)
		return false;
	return header->flags & NET_HEADER_NEEDS_CHECKSUM && header->gso_size >= MIN_GSO_SIZE;
}

unsigned offload_needed(const struct net_header *header)
{
	unsigned needed = 0;

	if (header->flags & NET_HEADER_NEEDS_CHECKSUM)
		needed |= NET_OFFLOAD_CHECKSUM;
	if (header->gso_type & NET_GSO_ECN)
		needed |= NET_OFFLOAD_ECN;
	switch (header->gso_type & ~NET_GSO_ECN) {
	case NET_GSO_TCPV4: return needed | NET_OFFLOAD_TCPV4;
	case NET_GSO_TCPV6: return needed | NET_OFFLOAD_TCPV6;
	case NET_GSO_UDP_L4: return needed | NET_OFFLOAD_UDP;
	default: return needed;
	}
}

void offload_checksum(struct net_header *header, uint8_t *frame, size_t size)
{
	size_t start = header->checksum_start, at = start + header->checksum_offset;
	uint16_t checksum;

	if (!(header->flags & NET_HEADER_NEEDS_CHECKSUM))
		return;
	/* The field holds the pseudo header's sum. */
	checksum = (uint16_t)~fold(sum(frame + start, size - start));
	/* UDP's 0 says that there is none (RFC 768); for TCP the two mean the same. */
	store16(frame + at, checksum ? checksum : 0xffff);
	header->flags &= (uint8_t)~NET_HEADER_NEEDS_CHECKSUM;
}

/* Where the IP header begins, behind at most two VLAN tags; 0 if there is none. */
static size_t find_ip(const uint8_t *frame, size_t size, bool *is_ipv6)
{
	size_t at = 12;

	for (unsigned tags = 0; tags <= 2; tags++, at += 4) {
		uint16_t type;

		if (at + 2 > size)
			return 0;
		type = load16(frame + at);
		*is_ipv6 = type == ETHERTYPE_IPV6;
		if (type == ETHERTYPE_IPV4 || *is_ipv6)
			return at + 2;
		if (type != ETHERTYPE_VLAN && type != ETHERTYPE_QINQ)
			return 0;
	}
	return 0;
}

bool offload_segments_begin(struct offload_segments *segments, const struct net_header *header,
	const uint8_t *frame, size_t size)
{
	unsigned type = header->gso_type & ~NET_GSO_ECN;
	size_t ip_bytes, l4_bytes;

	*segments = (struct offload_segments){ .frame = frame,
		.size = size,
		.gso_size = header->gso_size,
		.l4 = header->checksum_start,
		.is_udp = type == NET_GSO_UDP_L4 };
	segments->ip = find_ip(frame, size, &segments->is_ipv6);
	ip_bytes = segments->is_ipv6 ? IPV6_HEADER : IPV4_MIN_HEADER;
	l4_bytes = segments->is_udp ? UDP_HEADER : TCP_MIN_HEADER;
	if (!segments->ip || segments->l4 < segments->ip + ip_bytes ||
		segments->l4 + l4_bytes > size)
		return false;
	if (!segments->is_udp && segments->is_ipv6 != (type == NET_GSO_TCPV6))
		return false;
	if (!segments->is_udp) {
		l4_bytes = (size_t)(frame[segments->l4 + 12] >> 4) * 4;
		segments->sequence = load32(frame + segments->l4 + 4);
		if (l4_bytes < TCP_MIN_HEADER)
			return false;
	}
	segments->payload = segments->l4 + l4_bytes;
	if (!segments->is_ipv6)
		segments->identification = load16(frame + segments->ip + 4);
	return segments->payload < size && segments->payload + segments->gso_size <= NET_MAX_FRAME;
}

static uint64_t pseudo_header_sum(const struct offload_segments *segments, size_t l4_bytes)
{
	const uint8_t *ip = segments->frame + segments->ip;
	uint64_t total = l4_bytes + (segments->is_udp ? PROTOCOL_UDP : PROTOCOL_TCP);

	return total + (segments->is_ipv6 ? sum(ip + 8, 32) : sum(ip + 12, 8));
}

static void write_ip(struct offload_segments *segments, uint8_t *to, size_t size)
{
	uint8_t *ip = to + segments->ip;
	size_t header = (size_t)(ip[0] & 15) * 4;

	if (segments->is_ipv6) {
		store16(ip + 4, (uint16_t)(size - segments->ip - IPV6_HEADER));
		return;
	}
	store16(ip + 2, (uint16_t)(size - segments->ip));
	store16(ip + 4, segments->identification++);
	store16(ip + 10, 0);
	if (header < IPV4_MIN_HEADER || segments->ip + header > segments->l4)
		header = IPV4_MIN_HEADER;
	store16(ip + 10, (uint16_t)~fold(sum(ip, header)));
}

static void write_l4(struct offload_segments *segments, uint8_t *to, size_t size, bool last)
{
	uint8_t *l4 = to + segments->l4, *field;
	size_t bytes = size - segments->l4;
	uint16_t checksum;

	if (segments->is_udp) {
		store16(l4 + 4, (uint16_t)bytes);
		field = l4 + 6;
	} else {
		store32(l4 + 4, segments->sequence + (uint32_t)segments->at);
		if (!last)
			l4[TCP_FLAGS] &= (uint8_t) ~(TCP_FIN | TCP_PSH);
		if (segments->at)
			l4[TCP_FLAGS] &= (uint8_t)~TCP_CWR;
		field = l4 + 16;
	}
	store16(field, 0);
	checksum = (uint16_t)~fold(sum(l4, bytes) + pseudo_header_sum(segments, bytes));
	store16(field, checksum ? checksum : 0xffff);
}

size_t offload_segments_next(struct offload_segments *segments, uint8_t *to)
{
	size_t left = segments->size - segments->payload - segments->at;
	size_t part = left < segments->gso_size ? left : segments->gso_size;
	size_t size = segments->payload + part;

	if (!part)
		return 0;
	memcpy(to, segments->frame, segments->payload);
	memcpy(to + segments->payload, segments->frame + segments->payload + segments->at, part);
	write_ip(segments, to, size);
	write_l4(segments, to, size, part == left);
	segments->at += part;
	return size;
}
