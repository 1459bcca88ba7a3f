/*
 * Which pair of queues receives (virtio 1.2, 5.1.6.5.6): frames of both directions of a flow are
 * made by hand.
 */
#include "virtio/virtio_net_steering.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdbool.h>
#include <string.h>

struct flow {
	uint8_t near, far; /* last bytes of the addresses */
	uint16_t near_port, far_port;
};

enum { TCP = 6, UDP = 17, ICMP = 1 };

static void put16(uint8_t *at, unsigned value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

/* Returns the size. `options`: words of the header beyond five. */
static size_t ipv4(uint8_t *frame, struct flow flow, unsigned protocol, bool back, unsigned options)
{
	uint8_t *ip = frame + 14, *l4 = ip + 20 + 4 * options;

	memset(frame, 0, STEERING_BYTES);
	put16(frame + 12, 0x0800);
	ip[0] = (uint8_t)(0x45 + options);
	ip[9] = (uint8_t)protocol;
	memcpy(ip + 12, (uint8_t[]){ 10, 0, 0, back ? flow.far : flow.near }, 4);
	memcpy(ip + 16, (uint8_t[]){ 10, 0, 0, back ? flow.near : flow.far }, 4);
	put16(l4, back ? flow.far_port : flow.near_port);
	put16(l4 + 2, back ? flow.near_port : flow.far_port);
	return 14 + 20 + 4 * options + 20;
}

static size_t ipv6(uint8_t *frame, struct flow flow, bool back)
{
	uint8_t *ip = frame + 14;

	memset(frame, 0, STEERING_BYTES);
	put16(frame + 12, 0x86dd);
	ip[0] = 0x60;
	ip[6] = TCP;
	ip[8] = ip[24] = 0xfd;
	ip[23] = back ? flow.far : flow.near;
	ip[39] = back ? flow.near : flow.far;
	put16(ip + 40, back ? flow.far_port : flow.near_port);
	put16(ip + 42, back ? flow.near_port : flow.far_port);
	return 14 + 40 + 20;
}

static size_t tagged(uint8_t *frame, size_t size)
{
	memmove(frame + 16, frame + 12, size - 12);
	put16(frame + 12, 0x8100);
	put16(frame + 14, 5);
	return size + 4;
}

/* `context`: the pair that is not, or NULL. */
static bool is_drained(const void *context, unsigned pair)
{
	const unsigned *behind = context;

	return !behind || *behind != pair;
}

static unsigned receive(struct virtio_net_steering *steering, const uint8_t *frame, size_t size)
{
	return virtio_net_steering_receive(steering, frame, size, 8, is_drained, NULL);
}

static const struct flow web = { 15, 2, 40000, 80 };
static const struct flow other = { 15, 2, 40001, 80 };

static void answers(unsigned protocol)
{
	struct virtio_net_steering steering = { 0 };
	uint8_t frame[STEERING_BYTES + 64];

	virtio_net_steering_sent(&steering, frame, ipv4(frame, web, protocol, false, 0), 3);
	assert_int_equal(receive(&steering, frame, ipv4(frame, web, protocol, true, 0)), 3);
	assert_int_equal(receive(&steering, frame, ipv4(frame, other, protocol, true, 0)), 0);
	virtio_net_steering_sent(&steering, frame, ipv4(frame, other, protocol, false, 0), 1);
	assert_int_equal(receive(&steering, frame, ipv4(frame, web, protocol, true, 0)), 3);
	/* The program has moved to another processor. */
	virtio_net_steering_sent(&steering, frame, ipv4(frame, web, protocol, false, 0), 2);
	assert_int_equal(receive(&steering, frame, ipv4(frame, web, protocol, true, 0)), 2);
}

static void an_answer_comes_where_its_question_went(void **state)
{
	(void)state;
	answers(TCP);
	answers(UDP);
}

static void headers_of_all_kinds(void **state)
{
	struct virtio_net_steering steering = { 0 };
	uint8_t frame[STEERING_BYTES + 64];

	(void)state;
	virtio_net_steering_sent(&steering, frame, ipv4(frame, web, TCP, false, 10), 1);
	assert_int_equal(receive(&steering, frame, ipv4(frame, web, TCP, true, 0)), 1);
	virtio_net_steering_sent(&steering, frame, ipv6(frame, web, false), 2);
	assert_int_equal(receive(&steering, frame, ipv6(frame, web, true)), 2);
	virtio_net_steering_sent(
		&steering, frame, tagged(frame, ipv4(frame, other, UDP, false, 0)), 3);
	assert_int_equal(
		receive(&steering, frame, tagged(frame, ipv4(frame, other, UDP, true, 0))), 3);
	/* No ports: by its addresses. */
	virtio_net_steering_sent(&steering, frame, ipv4(frame, web, ICMP, false, 0), 4);
	assert_int_equal(receive(&steering, frame, ipv4(frame, other, ICMP, true, 0)), 4);
}

/* All fragments of a datagram go one way, though the first alone has ports. */
static void fragments(void **state)
{
	struct virtio_net_steering steering = { 0 };
	uint8_t frame[STEERING_BYTES + 64];
	size_t size = ipv4(frame, web, UDP, true, 0);

	(void)state;
	put16(frame + 14 + 6, 0x2000);
	virtio_net_steering_sent(&steering, frame, size, 5);
	size = ipv4(frame, other, UDP, true, 0);
	put16(frame + 14 + 6, 0x00b9);
	assert_int_equal(receive(&steering, frame, size), 5);
}

/* ...is received on one pair, not its program's, whatever its acknowledgements do, until it carries
 * little again. */
static void a_flow_that_carries_much(void **state)
{
	struct virtio_net_steering steering = { 0 };
	uint8_t sent[STEERING_BYTES + 64], back[STEERING_BYTES + 64];
	size_t small = ipv4(sent, web, TCP, false, 0);
	unsigned pair, own;

	(void)state;
	ipv4(back, web, TCP, true, 0);
	virtio_net_steering_sent(&steering, sent, small, 5);
	for (unsigned i = 0; i < STEERING_MANY; i++)
		receive(&steering, back, 1514);
	own = receive(&steering, back, 1514);
	assert_int_not_equal(own, 5);
	for (unsigned i = 0; i < 100; i++) {
		pair = i % 8;
		virtio_net_steering_sent(&steering, sent, small, pair);
		assert_int_equal(receive(&steering, back, i % 2 ? 1514 : 60000), own);
	}
	/* The other way round: what comes are the acknowledgements. */
	for (unsigned i = 0; i < 100; i++) {
		virtio_net_steering_sent(&steering, sent, 60000, (own + 1) % 8);
		assert_int_equal(receive(&steering, back, small), own);
	}
	for (unsigned i = 0; i < 100; i++) {
		pair = i % 8;
		virtio_net_steering_sent(&steering, sent, small, pair);
		if (i > 4 * 4 * STEERING_MANY)
			assert_int_equal(receive(&steering, back, small), pair);
		else
			receive(&steering, back, small);
	}
}

/* ...stays where it is until the driver has taken what it was given there. */
static void a_flow_that_moves(void **state)
{
	struct virtio_net_steering steering = { 0 };
	uint8_t sent[STEERING_BYTES + 64], back[STEERING_BYTES + 64];
	size_t small = ipv4(sent, web, TCP, false, 0);
	const unsigned three = 3, five = 5;

	(void)state;
	ipv4(back, web, TCP, true, 0);
	virtio_net_steering_sent(&steering, sent, small, 3);
	assert_int_equal(receive(&steering, back, small), 3);
	virtio_net_steering_sent(&steering, sent, small, 5);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(
			virtio_net_steering_receive(&steering, back, small, 8, is_drained, &three),
			3);
	assert_int_equal(
		virtio_net_steering_receive(&steering, back, small, 8, is_drained, &five), 5);
	virtio_net_steering_sent(&steering, sent, small, 3);
	assert_int_equal(
		virtio_net_steering_receive(&steering, back, small, 8, is_drained, &five), 5);
	/* The driver uses fewer pairs now. */
	assert_int_equal(
		virtio_net_steering_receive(&steering, back, small, 4, is_drained, &five), 3);
	/* That it carries much moves it no sooner. */
	for (unsigned i = 0; i < 3 * STEERING_MANY; i++)
		assert_int_equal(
			virtio_net_steering_receive(&steering, back, 1514, 8, is_drained, &three),
			3);
	assert_int_not_equal(receive(&steering, back, 1514), 3);
}

static void what_is_short_or_no_ip(void **state)
{
	struct virtio_net_steering steering;
	uint8_t frame[STEERING_BYTES + 64];
	size_t size = ipv4(frame, web, TCP, false, 0);

	(void)state;
	for (unsigned i = 0; i < STEERING_SLOTS; i++)
		steering.slots[i] = (struct steering_slot){ .pair = 7 };
	for (size_t bytes = 0; bytes < 34; bytes++)
		assert_int_equal(receive(&steering, frame, bytes), 0);
	assert_int_equal(receive(&steering, frame, 34), 7);
	put16(frame + 12, 0x0806);
	assert_int_equal(receive(&steering, frame, size), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_answer_comes_where_its_question_went),
		cmocka_unit_test(headers_of_all_kinds),
		cmocka_unit_test(fragments),
		cmocka_unit_test(a_flow_that_carries_much),
		cmocka_unit_test(a_flow_that_moves),
		cmocka_unit_test(what_is_short_or_no_ip),
	};

	return cmocka_run_group_tests_name("virtio_net_steering", tests, NULL, NULL);
}
