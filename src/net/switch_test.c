/*
 * The switch: floods what it does not know, learns, forgets a port that is gone, and is not filled
 * by one.
 */
#include "net/switch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "net/port.h"

#include <pthread.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define NR_PORTS 3
#define LONG_MS  5000 /* what comes, comes at once */
#define SHORT_MS 50

static struct net_switch *net_switch;
static pthread_t thread;
static char directory[] = "/tmp/atoll-switch-XXXXXX";
static char path[64];
static int ports[NR_PORTS];

static void *run(void *argument)
{
	(void)argument;
	switch_run(net_switch);
	return NULL;
}

static int plug(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);

	strcpy(address.sun_path, path);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

static int tear_down(void **state)
{
	(void)state;
	for (unsigned i = 0; i < NR_PORTS; i++)
		close(ports[i]);
	switch_stop(net_switch);
	pthread_join(thread, NULL);
	switch_close(net_switch);
	assert_int_equal(access(path, F_OK), -1);
	return rmdir(directory);
}

static void send_frame(int port, unsigned from, unsigned to)
{
	uint8_t message[sizeof(struct net_header) + 60] = { 0 };
	uint8_t *frame = message + sizeof(struct net_header);

	message[2] = 0x42; /* the header travels as it is */
	frame[0] = to == 0xff ? 0xff : 2;
	frame[4] = (uint8_t)(to >> 8);
	frame[5] = (uint8_t)to;
	frame[6] = 2;
	frame[10] = (uint8_t)(from >> 8);
	frame[11] = (uint8_t)from;
	assert_int_equal(send(port, message, sizeof(message), 0), sizeof(message));
}

static bool receives(int port, unsigned from, int timeout_ms)
{
	struct pollfd wait = { .fd = port, .events = POLLIN };
	uint8_t message[256];

	if (poll(&wait, 1, timeout_ms) != 1)
		return false;
	assert_int_equal(recv(port, message, sizeof(message), 0), sizeof(struct net_header) + 60);
	assert_int_equal(message[2], 0x42);
	return message[sizeof(struct net_header) + 11] == (uint8_t)from;
}

/* A connection is a port when the switch has accepted it: when a frame comes through. A group's
 * address as the source is not learned. */
static void wait_for_port(int port)
{
	uint8_t message[sizeof(struct net_header) + 60] = { 0 };
	struct pollfd wait = { .fd = port, .events = POLLIN };
	uint8_t *frame = message + sizeof(struct net_header);
	int other = port == ports[0] ? ports[1] : ports[0];

	memset(frame, 0xff, 12);
	do {
		assert_int_equal(send(other, message, sizeof(message), 0), sizeof(message));
	} while (poll(&wait, 1, 10) != 1);
}

/* What was sent before has come when a last frame of each other port has. */
static void drain(void)
{
	uint8_t last[sizeof(struct net_header) + 60] = { 0 }, message[256];

	memset(last + sizeof(struct net_header), 0xff, 12);
	last[2] = 0x43;
	for (unsigned i = 0; i < NR_PORTS; i++)
		assert_int_equal(send(ports[i], last, sizeof(last), 0), sizeof(last));
	for (unsigned i = 0; i < NR_PORTS; i++) {
		for (unsigned count = 0; count < NR_PORTS - 1; count += message[2] == 0x43) {
			struct pollfd wait = { .fd = ports[i], .events = POLLIN };

			assert_int_equal(poll(&wait, 1, LONG_MS), 1);
			assert_true(recv(ports[i], message, sizeof(message), 0) > 0);
		}
	}
}

static int set_up(void **state)
{
	(void)state;
	strcpy(directory, "/tmp/atoll-switch-XXXXXX");
	if (!mkdtemp(directory))
		return -1;
	snprintf(path, sizeof(path), "%s/s", directory);
	if (switch_open(&net_switch, path, NULL))
		return -1;
	if (pthread_create(&thread, NULL, run, NULL))
		return -1;
	for (unsigned i = 0; i < NR_PORTS; i++)
		ports[i] = plug();
	for (unsigned i = 0; i < NR_PORTS; i++)
		wait_for_port(ports[i]);
	drain();
	return 0;
}

static void floods_and_learns(void **state)
{
	(void)state;
	send_frame(ports[0], 1, 0xff);
	assert_true(receives(ports[1], 1, LONG_MS));
	assert_true(receives(ports[2], 1, LONG_MS));
	send_frame(ports[1], 2, 1); /* learned: to port 0 only */
	assert_true(receives(ports[0], 2, LONG_MS));
	send_frame(ports[2], 3, 9); /* not learned: to all */
	assert_true(receives(ports[0], 3, LONG_MS));
	assert_true(receives(ports[1], 3, LONG_MS));
	assert_false(receives(ports[2], 2, SHORT_MS));
}

static void follows_an_address(void **state)
{
	(void)state;
	send_frame(ports[0], 1, 0xff);
	assert_true(receives(ports[1], 1, LONG_MS) && receives(ports[2], 1, LONG_MS));
	send_frame(ports[1], 1, 0xff); /* moved */
	assert_true(receives(ports[0], 1, LONG_MS) && receives(ports[2], 1, LONG_MS));
	send_frame(ports[2], 3, 1);
	assert_true(receives(ports[1], 3, LONG_MS));
	assert_false(receives(ports[0], 3, SHORT_MS));
}

static void forgets_a_port(void **state)
{
	(void)state;
	send_frame(ports[0], 1, 0xff);
	assert_true(receives(ports[1], 1, LONG_MS) && receives(ports[2], 1, LONG_MS));
	close(ports[0]);
	/* To a port that is gone, then to all again. */
	for (;;) {
		send_frame(ports[1], 2, 1);
		if (receives(ports[2], 2, SHORT_MS))
			break;
	}
	ports[0] = plug();
	wait_for_port(ports[0]);
	drain();
	send_frame(ports[0], 4, 2);
	assert_true(receives(ports[1], 4, LONG_MS));
}

/* One port cannot take the table from the others. */
static void one_port_cannot_fill_it(void **state)
{
	(void)state;
	for (unsigned i = 0; i < SWITCH_PORT_ADDRESSES + 100; i++) {
		send_frame(ports[0], 0x100 + i, 0xff);
		assert_true(receives(ports[1], i, LONG_MS));
		assert_true(receives(ports[2], i, LONG_MS));
	}
	send_frame(ports[1], 2, 0xff);
	assert_true(receives(ports[0], 2, LONG_MS) && receives(ports[2], 2, LONG_MS));
	send_frame(ports[2], 3, 2);
	assert_true(receives(ports[1], 3, LONG_MS));
	assert_false(receives(ports[0], 3, SHORT_MS));
}

static void refuses_a_second(void **state)
{
	struct net_switch *second = NULL;
	struct error err = { 0 };

	(void)state;
	assert_int_not_equal(switch_open(&second, path, &err), 0);
	assert_null(second);
	assert_non_null(strstr(err.text, "there already is a switch"));
	assert_int_equal(access(path, F_OK), 0);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(floods_and_learns),
		TEST(follows_an_address),
		TEST(forgets_a_port),
		TEST(one_port_cannot_fill_it),
		TEST(refuses_a_second),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
