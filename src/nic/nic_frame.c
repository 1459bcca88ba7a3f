#include "nic/nic_frame.h"

#include "net/offload.h"

#include <string.h>

#define ETHERTYPE_AT     12
#define ETHERTYPE_IPV4   0x0800
#define ETHERTYPE_IPV6   0x86dd
#define ETHERTYPE_VLAN   0x8100
#define VLAN_TAG_BYTES   4
#define IPV4_HEADER      20
#define IPV6_HEADER      40
#define IPV4_FRAGMENT    0x3fff /* more to come, or not the first */
#define PROTOCOL_TCP     6
#define PROTOCOL_UDP     17
#define TCP_HEADER       20
#define UDP_HEADER       8
#define MIN_SEGMENT      64 /* net.h takes no smaller ones */
#define UDP_CHECKSUM_AT  6
#define TCP_CHECKSUM_AT  16
#define IPV4_CHECKSUM_AT 10

static uint16_t load16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

static void store16(uint8_t *at, uint16_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

static uint16_t add(uint32_t a, uint32_t b)
{
	uint32_t total = a + b;

	while (total >> 16)
		total = (total & 0xffff) + (total >> 16);
	return (uint16_t)total;
}

/* Of the pseudo header (RFC 793 3.1, RFC 8200 8.1); `bytes` are those behind IP's header. */
static uint16_t pseudo_header(const uint8_t *ip, bool is_ipv6, uint8_t protocol, size_t bytes)
{
	uint16_t addresses = is_ipv6 ? offload_sum(ip + 8, 32) : offload_sum(ip + 12, 8);

	return add(addresses, add(protocol, (uint32_t)bytes));
}

static unsigned check_l4(const struct net_header *header, const uint8_t *ip, bool is_ipv6,
	uint8_t protocol, const uint8_t *l4, size_t bytes)
{
	bool is_tcp = protocol == PROTOCOL_TCP;
	unsigned found = is_tcp ? NIC_FRAME_TCP : NIC_FRAME_UDP;

	if (!is_tcp && protocol != PROTOCOL_UDP)
		return 0;
	if (bytes < (is_tcp ? TCP_HEADER : UDP_HEADER))
		return 0;
	if (header->flags & (NET_HEADER_CHECKSUM_VALID | NET_HEADER_NEEDS_CHECKSUM))
		return found;
	/* UDP over IPv4 may have none. */
	if (!is_tcp && !is_ipv6 && load16(l4 + UDP_CHECKSUM_AT) == 0)
		return 0;
	if (add(pseudo_header(ip, is_ipv6, protocol, bytes), offload_sum(l4, bytes)) != 0xffff)
		found |= NIC_FRAME_L4_BAD;
	return found;
}

static unsigned check_ipv4(const struct net_header *header, const uint8_t *ip, size_t left)
{
	size_t ip_bytes, total;
	unsigned found = NIC_FRAME_IPV4;

	if (left < IPV4_HEADER || ip[0] >> 4 != 4)
		return 0;
	ip_bytes = (size_t)(ip[0] & 15) * 4;
	total = load16(ip + 2);
	if (ip_bytes < IPV4_HEADER || ip_bytes > total || total > left)
		return 0;
	if (offload_sum(ip, ip_bytes) != 0xffff)
		return found | NIC_FRAME_IPV4_BAD;
	if (load16(ip + 6) & IPV4_FRAGMENT)
		return found;
	return found | check_l4(header, ip, false, ip[9], ip + ip_bytes, total - ip_bytes);
}

unsigned nic_frame_check(const struct net_header *header, const uint8_t *frame, size_t size)
{
	size_t at = ETHERTYPE_AT;
	uint16_t type;

	if (size >= at + VLAN_TAG_BYTES + 2 && load16(frame + at) == ETHERTYPE_VLAN)
		at += VLAN_TAG_BYTES;
	if (size < at + 2)
		return 0;
	type = load16(frame + at);
	at += 2;
	if (type == ETHERTYPE_IPV4)
		return check_ipv4(header, frame + at, size - at);
	if (type == ETHERTYPE_IPV6 && size >= at + IPV6_HEADER) {
		size_t payload = load16(frame + at + 4);

		if (payload > size - at - IPV6_HEADER)
			return 0;
		return check_l4(
			header, frame + at, true, frame[at + 6], frame + at + IPV6_HEADER, payload);
	}
	return 0;
}

void nic_frame_sum(uint8_t *frame, size_t size, size_t start, size_t end, size_t at)
{
	if (start >= end || end > size || at + 2 > size)
		return;
	store16(frame + at, (uint16_t)~offload_sum(frame + start, end - start));
}

void nic_frame_fill(uint8_t *frame, size_t size, size_t l4, size_t end)
{
	const uint8_t *ip = frame + NET_ETHERNET_HEADER;
	uint8_t protocol = l4 <= size ? ip[9] : 0;
	size_t at = l4 + (protocol == PROTOCOL_TCP ? TCP_CHECKSUM_AT : UDP_CHECKSUM_AT);
	uint16_t sum;

	if ((protocol != PROTOCOL_TCP && protocol != PROTOCOL_UDP) || end > size ||
		l4 < NET_ETHERNET_HEADER + IPV4_HEADER || at + 2 > end)
		return;
	store16(frame + at, 0);
	sum = (uint16_t)~add(
		pseudo_header(ip, false, protocol, end - l4), offload_sum(frame + l4, end - l4));
	store16(frame + at, sum ? sum : 0xffff);
}

bool nic_frame_segment(
	struct net_header *header, uint8_t *frame, size_t size, size_t ip, size_t l4, uint16_t mss)
{
	bool is_ipv6;
	size_t headers;

	if (ip < NET_ETHERNET_HEADER || l4 + TCP_HEADER > size || mss < MIN_SEGMENT)
		return false;
	is_ipv6 = frame[ip] >> 4 == 6;
	headers = l4 + (size_t)(frame[l4 + 12] >> 4) * 4;
	if (l4 < ip + (is_ipv6 ? IPV6_HEADER : IPV4_HEADER) || headers < l4 + TCP_HEADER ||
		headers >= size || size - ip > UINT16_MAX)
		return false;
	if (is_ipv6) {
		store16(frame + ip + 4, (uint16_t)(size - ip - IPV6_HEADER));
	} else {
		store16(frame + ip + 2, (uint16_t)(size - ip));
		store16(frame + ip + IPV4_CHECKSUM_AT, 0);
		nic_frame_sum(frame, size, ip, l4, ip + IPV4_CHECKSUM_AT);
	}
	store16(frame + l4 + TCP_CHECKSUM_AT,
		pseudo_header(frame + ip, is_ipv6, PROTOCOL_TCP, size - l4));
	*header = (struct net_header){ .flags = NET_HEADER_NEEDS_CHECKSUM,
		.header_length = (uint16_t)headers,
		.checksum_start = (uint16_t)l4,
		.checksum_offset = TCP_CHECKSUM_AT };
	if (size - headers > mss) {
		header->gso_type = is_ipv6 ? NET_GSO_TCPV6 : NET_GSO_TCPV4;
		header->gso_size = mss;
	}
	return true;
}
