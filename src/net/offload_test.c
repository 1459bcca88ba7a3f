/*
 * Checksums (RFC 1071's own example) and segmentation: every segment is parsed again by what is
 * written here, and their payloads together are what was to be sent.
 */
#include "net/offload.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <string.h>

#define IP       14
#define PAYLOAD  4321
#define GSO_SIZE 1000
#define SEQUENCE 0xfffffe00u /* wraps */
#define FIN_PSH  0x09
#define CWR      0x80
#define ACK      0x10
#define FIRST_ID 0xfffe

static uint8_t frame[NET_MAX_FRAME], segment[NET_MAX_FRAME];

static void put16(uint8_t *at, unsigned value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

static unsigned get16(const uint8_t *at)
{
	return (unsigned)at[0] << 8 | at[1];
}

static uint32_t get32(const uint8_t *at)
{
	return get16(at) << 16 | get16(at + 2);
}

/* The one's complement sum of RFC 1071, one word at a time. */
static uint32_t add(uint32_t total, const uint8_t *bytes, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		total += (uint32_t)bytes[i] << (i & 1 ? 0 : 8);
		total = (total & 0xffff) + (total >> 16);
	}
	return total;
}

/* `ip_bytes` 20 or 40. Returns the frame's size. */
static size_t make_frame(unsigned ip_bytes, unsigned protocol, size_t payload)
{
	unsigned l4_bytes = protocol == 6 ? 32 : 8; /* TCP with 12 bytes of options */
	uint8_t *ip = frame + IP, *l4 = ip + ip_bytes;
	size_t size = IP + ip_bytes + l4_bytes + payload;

	for (size_t i = 0; i < size; i++)
		frame[i] = (uint8_t)(i * 7 + (i >> 8));
	put16(frame + 12, ip_bytes == 20 ? 0x0800 : 0x86dd);
	ip[0] = ip_bytes == 20 ? 0x45 : 0x60;
	if (ip_bytes == 20) {
		put16(ip + 2, (unsigned)(size - IP));
		put16(ip + 4, FIRST_ID);
		ip[9] = (uint8_t)protocol;
	} else {
		put16(ip + 4, (unsigned)(size - IP - 40));
		ip[6] = (uint8_t)protocol;
	}
	if (protocol == 6) {
		put16(l4 + 4, SEQUENCE >> 16);
		put16(l4 + 6, SEQUENCE & 0xffff);
		l4[12] = 8 << 4;
		l4[13] = ACK | FIN_PSH | CWR;
	}
	return size;
}

static struct net_header gso_header(unsigned type, unsigned ip_bytes)
{
	return (struct net_header){ .flags = NET_HEADER_NEEDS_CHECKSUM,
		.gso_type = (uint8_t)type,
		.gso_size = GSO_SIZE,
		.checksum_start = (uint16_t)(IP + ip_bytes),
		.checksum_offset = type == NET_GSO_UDP_L4 ? 6 : 16 };
}

static void check_l4_checksum(size_t size, unsigned ip_bytes, unsigned protocol)
{
	const uint8_t *ip = segment + IP, *l4 = ip + ip_bytes;
	size_t l4_size = size - IP - ip_bytes;
	uint8_t tail[4];
	uint32_t total;

	total = ip_bytes == 20 ? add(0, ip + 12, 8) : add(0, ip + 8, 32);
	put16(tail, (unsigned)l4_size);
	put16(tail + 2, protocol);
	total = add(total, tail, 4);
	assert_int_equal(add(total, l4, l4_size), 0xffff);
}

static void check_ip(size_t size, unsigned ip_bytes, unsigned number)
{
	const uint8_t *ip = segment + IP;

	if (ip_bytes == 20) {
		assert_int_equal(get16(ip + 2), size - IP);
		assert_int_equal(get16(ip + 4), (FIRST_ID + number) & 0xffff);
		assert_int_equal(add(0, ip, 20), 0xffff);
	} else {
		assert_int_equal(get16(ip + 4), size - IP - 40);
	}
}

static void check_tcp(unsigned ip_bytes, unsigned number, bool last)
{
	const uint8_t *tcp = segment + IP + ip_bytes;
	unsigned flags = ACK | (last ? FIN_PSH : 0) | (number ? 0 : CWR);

	assert_int_equal(get32(tcp + 4), (uint32_t)(SEQUENCE + number * GSO_SIZE));
	assert_int_equal(tcp[13], flags);
}

static void cut(unsigned type, unsigned ip_bytes, unsigned protocol)
{
	struct net_header header = gso_header(type, ip_bytes);
	size_t size = make_frame(ip_bytes, protocol, PAYLOAD), got = 0, part;
	size_t headers = size - PAYLOAD;
	struct offload_segments segments;
	unsigned number = 0;

	assert_true(offload_header_is_valid(&header, size));
	assert_true(offload_segments_begin(&segments, &header, frame, size));
	while ((part = offload_segments_next(&segments, segment)) != 0) {
		bool last = got + GSO_SIZE >= PAYLOAD;

		assert_int_equal(part, headers + (last ? PAYLOAD - got : GSO_SIZE));
		check_ip(part, ip_bytes, number);
		check_l4_checksum(part, ip_bytes, protocol);
		if (protocol == 6)
			check_tcp(ip_bytes, number, last);
		else
			assert_int_equal(get16(segment + IP + ip_bytes + 4), part - IP - ip_bytes);
		assert_memory_equal(segment + headers, frame + headers + got, part - headers);
		got += part - headers;
		number++;
	}
	assert_int_equal(number, 5);
	assert_int_equal(got, PAYLOAD);
}

static void tcp_over_ipv4(void **state)
{
	(void)state;
	cut(NET_GSO_TCPV4, 20, 6);
}

static void tcp_over_ipv6(void **state)
{
	(void)state;
	cut(NET_GSO_TCPV6 | NET_GSO_ECN, 40, 6);
}

static void udp(void **state)
{
	(void)state;
	cut(NET_GSO_UDP_L4, 20, 17);
	cut(NET_GSO_UDP_L4, 40, 17);
}

static void rfc1071_example(void **state)
{
	static const uint8_t bytes[] = { 0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7 };
	struct net_header header = {
		.flags = NET_HEADER_NEEDS_CHECKSUM, .checksum_start = 20, .checksum_offset = 8
	};

	(void)state;
	memset(frame, 0, 64);
	memcpy(frame + 20, bytes, sizeof(bytes));
	offload_checksum(&header, frame, 30);
	assert_int_equal(get16(frame + 28), 0x220d);
	assert_int_equal(header.flags, 0);
	/* Of an odd number of bytes, the last is the high one. */
	memset(frame, 0, 64);
	frame[30] = 0x12;
	header.flags = NET_HEADER_NEEDS_CHECKSUM;
	offload_checksum(&header, frame, 31);
	assert_int_equal(get16(frame + 28), 0xffff & ~0x1200);
}

static void invalid_headers(void **state)
{
	static const struct net_header cases[] = {
		{ .flags = NET_HEADER_NEEDS_CHECKSUM, .checksum_start = 99, .checksum_offset = 0 },
		{ .flags = NET_HEADER_NEEDS_CHECKSUM, .checksum_start = 0, .checksum_offset = 0 },
		{ .flags = NET_HEADER_NEEDS_CHECKSUM,
			.checksum_start = 0xffff,
			.checksum_offset = 0xffff },
		{ .gso_type = NET_GSO_TCPV4, .gso_size = 1000 },
		{ .flags = NET_HEADER_NEEDS_CHECKSUM,
			.checksum_start = 34,
			.checksum_offset = 16,
			.gso_type = NET_GSO_TCPV4,
			.gso_size = 0 },
		{ .flags = NET_HEADER_NEEDS_CHECKSUM,
			.checksum_start = 34,
			.checksum_offset = 16,
			.gso_type = 3,
			.gso_size = 1000 },
		{ .flags = NET_HEADER_NEEDS_CHECKSUM,
			.checksum_start = 34,
			.checksum_offset = 16,
			.gso_type = NET_GSO_ECN,
			.gso_size = 1000 },
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++)
		assert_false(offload_header_is_valid(&cases[i], 100));
}

/* What the header says and what the frame holds are two things. */
static void frames_that_lie(void **state)
{
	struct net_header header = gso_header(NET_GSO_TCPV4, 20);
	struct offload_segments segments;
	size_t size = make_frame(20, 6, PAYLOAD);

	(void)state;
	put16(frame + 12, 0x0806); /* ARP */
	assert_false(offload_segments_begin(&segments, &header, frame, size));
	put16(frame + 12, 0x86dd); /* IPv6 */
	assert_false(offload_segments_begin(&segments, &header, frame, size));
	size = make_frame(20, 6, PAYLOAD);
	frame[IP + 20 + 12] = 4 << 4; /* a TCP header of 16 bytes */
	assert_false(offload_segments_begin(&segments, &header, frame, size));
	frame[IP + 20 + 12] = 8 << 4;
	assert_false(offload_segments_begin(&segments, &header, frame, IP + 20 + 32));
	assert_true(offload_segments_begin(&segments, &header, frame, IP + 20 + 33));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tcp_over_ipv4),
		cmocka_unit_test(tcp_over_ipv6),
		cmocka_unit_test(udp),
		cmocka_unit_test(rfc1071_example),
		cmocka_unit_test(invalid_headers),
		cmocka_unit_test(frames_that_lie),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
