/*
 * Back ends through net.h: a port of a switch, whose other end is the test; what is undone is done;
 * rates, captures, loss and return; passt, if it is installed; mistakes.
 */
#include "net/net.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/properties.h"
#include "net/offload.h"
#include "net/port.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define LONG_MS 10000

static char directory[32], path[64];
static int listener;
static uint8_t frame[NET_MAX_FRAME], message[PORT_MAX_MESSAGE];

static int open_net(struct net_backend **backend, const char *spec, struct error *err)
{
	struct properties properties;
	int ret = properties_parse(&properties, "net", spec, err);

	if (ret)
		return ret;
	ret = net_open(backend, &properties, err);
	if (!ret)
		ret = properties_check(&properties, NET_PROPERTIES, err);
	properties_finish(&properties);
	return ret;
}

static void listen_at_path(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	strcpy(address.sun_path, path);
	listener = socket(AF_UNIX, SOCK_SEQPACKET, 0);
	assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(listener, 1), 0);
}

static int set_up(void **state)
{
	(void)state;
	strcpy(directory, "/tmp/atoll-net-XXXXXX");
	if (!mkdtemp(directory))
		return -1;
	snprintf(path, sizeof(path), "%s/s", directory);
	listen_at_path();
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	close(listener);
	unlink(path);
	snprintf(path, sizeof(path), "%s/c", directory);
	unlink(path);
	return rmdir(directory);
}

static struct net_backend *connect_port(int *peer, const char *more)
{
	struct net_backend *backend;
	char spec[256];

	snprintf(spec, sizeof(spec), "switch,path=%s%s", path, more);
	assert_int_equal(open_net(&backend, spec, NULL), 0);
	*peer = accept(listener, NULL, NULL);
	return backend;
}

/* TCP over IPv4 with 3000 bytes, to be cut at 1000. */
static size_t make_large(struct net_header *header)
{
	static const uint8_t start[] = { 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0 };

	memset(frame, 0x5a, sizeof(frame));
	memcpy(frame, start, sizeof(start));
	frame[14 + 20 + 12] = 5 << 4;
	*header = (struct net_header){ .flags = NET_HEADER_NEEDS_CHECKSUM,
		.gso_type = NET_GSO_TCPV4,
		.gso_size = 1000,
		.checksum_start = 34,
		.checksum_offset = 16 };
	return 14 + 20 + 20 + 3000;
}

static void frames_pass(void **state)
{
	struct net_header header;
	size_t size = make_large(&header);
	struct iovec iov[] = { { frame, 100 }, { frame + 100, size - 100 } };
	int peer;
	struct net_backend *backend = connect_port(&peer, "");

	(void)state;
	assert_int_equal(net_send(backend, &header, iov, 2, size), 0);
	assert_int_equal(recv(peer, message, sizeof(message), 0), sizeof(header) + size);
	assert_memory_equal(message, &header, sizeof(header));
	assert_memory_equal(message + sizeof(header), frame, size);
	/* A NIC that takes everything is given it as it was sent. */
	net_set_offloads(backend, NET_OFFLOAD_CHECKSUM | NET_OFFLOAD_TCPV4);
	assert_int_equal(send(peer, message, sizeof(header) + size, 0), sizeof(header) + size);
	memset(&header, 0, sizeof(header));
	assert_int_equal(net_receive(backend, &header, frame), size);
	assert_int_equal(header.gso_size, 1000);
	assert_int_equal(net_receive(backend, &header, frame), 0);
	net_close(backend);
	close(peer);
}

static void cuts_for_a_simple_nic(void **state)
{
	struct net_header header;
	size_t size = make_large(&header);
	int peer;
	struct net_backend *backend = connect_port(&peer, "");

	(void)state;
	memcpy(message, &header, sizeof(header));
	memcpy(message + sizeof(header), frame, size);
	assert_int_equal(send(peer, message, sizeof(header) + size, 0), sizeof(header) + size);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(net_receive(backend, &header, frame), 14 + 40 + 1000);
		assert_int_equal(header.flags, 0);
		assert_int_equal(header.gso_type, NET_GSO_NONE);
	}
	assert_int_equal(net_receive(backend, &header, frame), 0);
	net_close(backend);
	close(peer);
}

static void drops_what_lies(void **state)
{
	struct net_header header = { .flags = NET_HEADER_NEEDS_CHECKSUM, .checksum_start = 9999 };
	struct net_counters sent, received;
	int peer;
	struct net_backend *backend = connect_port(&peer, "");
	struct iovec iov = { frame, 60 };

	(void)state;
	assert_int_equal(net_send(backend, &header, &iov, 1, 60), 0);
	memcpy(message, &header, sizeof(header));
	assert_int_equal(send(peer, message, sizeof(header) + 60, 0), sizeof(header) + 60);
	assert_int_equal(send(peer, message, 3, 0), 3);
	assert_int_equal(net_receive(backend, &header, frame), 0);
	net_get_counters(backend, &sent, &received);
	assert_int_equal(sent.dropped, 1);
	assert_int_equal(sent.frames, 0);
	assert_int_equal(received.dropped, 2);
	assert_int_equal(received.frames, 0);
	net_close(backend);
	close(peer);
}

static unsigned wait_ready(struct net_backend *backend)
{
	struct pollfd wait = { .fd = net_fd(backend), .events = POLLIN };

	return poll(&wait, 1, LONG_MS) == 1 ? net_ready(backend) : 0;
}

/* The bucket holds 64 KiB at least; after that the rate holds back until the timer wakes it. */
static void a_rate_holds_back(void **state)
{
	struct net_header header = { 0 };
	int peer;
	struct net_backend *backend = connect_port(&peer, ",rate=100K,burst=64K");
	struct iovec iov = { frame, 60000 };
	unsigned sent = 0;

	(void)state;
	while (net_send(backend, &header, &iov, 1, 60000) == 0) {
		assert_true(recv(peer, message, sizeof(message), 0) > 0);
		assert_in_range(++sent, 1, 3);
	}
	net_want(backend, NET_WRITE);
	while (!(wait_ready(backend) & NET_WRITE))
		;
	assert_int_equal(net_send(backend, &header, &iov, 1, 60000), 0);
	net_close(backend);
	close(peer);
}

static void captures(void **state)
{
	struct net_header header = { 0 };
	int peer;
	struct net_backend *backend;
	struct iovec iov = { frame, 77 };
	uint32_t words[10];
	char more[80];
	FILE *file;

	(void)state;
	snprintf(more, sizeof(more), ",capture=%s/c", directory);
	backend = connect_port(&peer, more);
	assert_int_equal(net_send(backend, &header, &iov, 1, 77), 0);
	net_close(backend);
	close(peer);
	snprintf(more, sizeof(more), "%s/c", directory);
	file = fopen(more, "rb");
	assert_non_null(file);
	assert_int_equal(fread(words, 4, ARRAY_SIZE(words), file), ARRAY_SIZE(words));
	assert_int_equal(words[0], 0xa1b23c4d); /* pcap with nanoseconds */
	assert_int_equal(words[5], 1);          /* Ethernet */
	assert_int_equal(words[8], 77);
	assert_int_equal(words[9], 77);
	assert_int_equal(fread(message, 1, sizeof(message), file), 77);
	fclose(file);
}

static void comes_back(void **state)
{
	struct net_header header = { 0 };
	struct iovec iov = { frame, 60 };
	int peer;
	struct net_backend *backend = connect_port(&peer, "");
	struct pollfd wait = { .events = POLLIN };

	(void)state;
	close(peer);
	close(listener);
	unlink(path);
	assert_int_equal(net_receive(backend, &header, frame), 0);
	assert_int_equal(net_send(backend, &header, &iov, 1, 60), 0); /* lost, as on a wire */
	listen_at_path();
	wait.fd = listener;
	net_want(backend, NET_READ);
	while (poll(&wait, 1, 0) != 1)
		wait_ready(backend);
	peer = accept(listener, NULL, NULL);
	assert_int_equal(net_send(backend, &header, &iov, 1, 60), 0);
	assert_int_equal(recv(peer, message, sizeof(message), 0), sizeof(header) + 60);
	net_close(backend);
	close(peer);
}

/* Asks for an address, as a guest does first (RFC 2131). */
static size_t make_discover(void)
{
	static const uint8_t head[] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52, 0x54, 0, 1, 2, 3,
		8, 0, 0x45, 0, 1, 16, 0, 0, 0, 0, 64, 17, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff,
		0, 68, 0, 67, 0, 252, 0, 0, 1, 1, 6, 0, 0, 0, 0, 1 };
	static const uint8_t cookie[] = { 0x63, 0x82, 0x53, 0x63, 53, 1, 1, 255 };
	struct net_header ip = {
		.flags = NET_HEADER_NEEDS_CHECKSUM, .checksum_start = 14, .checksum_offset = 10
	};

	memset(frame, 0, 14 + 20 + 252);
	memcpy(frame, head, sizeof(head));
	memcpy(frame + 42 + 28, head + 6, 6);
	memcpy(frame + 42 + 236, cookie, sizeof(cookie));
	frame[16] = (20 + 252) >> 8;
	frame[17] = (20 + 252) & 0xff;
	/* Only the IP header's: a UDP checksum of 0 is none. */

	offload_checksum(&ip, frame, 34);
	return 14 + 20 + 252;
}

static void passt_answers(void **state)
{
	struct net_header header = { 0 };
	struct net_backend *backend;
	struct error err = { 0 };
	struct iovec iov = { frame, make_discover() };
	size_t size;

	(void)state;
	if (open_net(&backend, "user,address=10.7.8.15", &err)) {
		print_message("no passt: %s\n", err.text);
		skip();
	}
	assert_int_equal(net_send(backend, &header, &iov, 1, iov.iov_len), 0);
	net_want(backend, NET_READ);
	do {
		assert_true(wait_ready(backend) & NET_READ);
		size = net_receive(backend, &header, message);
	} while (size < 14 + 20 + 8 + 240 || message[12] != 8 || message[23] != 17);
	assert_int_equal(message[42], 2); /* BOOTREPLY, and our address: */
	assert_memory_equal(message + 42 + 16, "\x0a\x07\x08\x0f", 4);
	net_close(backend);
}

static void mistakes(void **state)
{
	static const struct {
		const char *spec, *text;
		int exit_code;
	} cases[] = {
		{ "", "begin with one of", EXIT_CODE_USAGE },
		{ "lan", "does not know 'lan'", EXIT_CODE_USAGE },
		{ "tap", "needs name=INTERFACE", EXIT_CODE_USAGE },
		{ "tap,name=abcdefghijklmnopq", "15 characters", EXIT_CODE_USAGE },
		{ "bridge,name=nosuchbridge", "ip link add nosuchbridge", EXIT_CODE_CONFIG },
		{ "switch", "needs path=SOCKET", EXIT_CODE_USAGE },
		{ "switch,path=/nonexistent/s", "nobody listens", EXIT_CODE_UNAVAILABLE },
		{ "user,forward=2222:22", "give tcp:HOST_PORT:GUEST_PORT", EXIT_CODE_USAGE },
		{ "user,forward=tcp:0:22", "give tcp:HOST_PORT:GUEST_PORT", EXIT_CODE_USAGE },
		{ "user,forward=tcp:1:22x", "give tcp:HOST_PORT:GUEST_PORT", EXIT_CODE_USAGE },
		{ "user,address=10.0.0", "give an IPv4 address", EXIT_CODE_USAGE },
		{ "user,mtu=10", "from 68 to 65520", EXIT_CODE_USAGE },
		{ "none,rate=fast", "cannot read rate=fast", EXIT_CODE_USAGE },
		{ "none,capture=/nonexistent/c", "cannot write the packet capture",
			EXIT_CODE_CANNOT_WRITE },
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct net_backend *backend = NULL;
		struct error err = { 0 };

		assert_int_not_equal(open_net(&backend, cases[i].spec, &err), 0);
		if (!strstr(err.text, cases[i].text))
			fail_msg("%s: %s", cases[i].spec, err.text);
		assert_int_equal(err.exit_code, cases[i].exit_code);
		assert_null(backend);
	}
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(frames_pass),
		TEST(cuts_for_a_simple_nic),
		TEST(drops_what_lies),
		TEST(a_rate_holds_back),
		TEST(captures),
		TEST(comes_back),
		cmocka_unit_test(passt_answers),
		cmocka_unit_test(mistakes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
