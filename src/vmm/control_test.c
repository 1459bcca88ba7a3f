/*
 * A VM's control socket: requests and answers, events, and clients that mean ill.
 */
#include "vmm/control.h"

#include "base/host_time.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
	struct bundle bundle;
	struct loop loop;
	struct control control;
	unsigned calls;
	char home[32];
};

static int run_count(void *context, const json_t *arguments, json_t **result, struct error *err)
{
	struct fixture *fixture = context;

	if (arguments && json_object_get(arguments, "wrong"))
		return error_set(err, EXIT_CODE_USAGE, "this is wrong");
	if (arguments && json_object_get(arguments, "fail"))
		return error_set(err, EXIT_CODE_HOST, "this failed");
	*result = json_pack("{s:i}", "calls", (int)++fixture->calls);
	return 0;
}

static const struct control_command commands[] = { { "count", run_count }, { 0 } };

static int setup(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	struct error err = { 0 };

	strcpy(fixture->home, "/tmp/control_test.XXXXXX");
	if (!mkdtemp(fixture->home) || setenv("ATOLL_HOME", fixture->home, 1) ||
		loop_init(&fixture->loop) || bundle_create(&fixture->bundle, "vm", &err) ||
		control_open(&fixture->control, &fixture->bundle, &fixture->loop, commands, fixture,
			&err))
		return -1;
	*state = fixture;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;
	struct error err = { 0 };
	char path[64];

	control_close(&fixture->control);
	loop_finish(&fixture->loop);
	if (bundle_lock(&fixture->bundle, &err) || bundle_remove(&fixture->bundle, &err))
		return -1;
	bundle_close(&fixture->bundle);
	snprintf(path, sizeof(path), "%s/vms", fixture->home);
	rmdir(path);
	rmdir(fixture->home);
	free(fixture);
	return 0;
}

/* Lets the server do all that there is to do. */
static void serve(struct fixture *fixture)
{
	for (unsigned i = 0; i < 50; i++)
		loop_run_once(&fixture->loop, host_now());
}

static int connect_client(struct fixture *fixture)
{
	int fd = bundle_connect(&fixture->bundle, BUNDLE_CONTROL);

	assert_true(fd >= 0);
	assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	serve(fixture);
	return fd;
}

static void say(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static void expect(struct fixture *fixture, int fd, const char *text)
{
	char bytes[4096] = "";

	serve(fixture);
	(void)!read(fd, bytes, sizeof(bytes) - 1);
	assert_string_equal(bytes, text);
}

#define HELLO "{\"protocol\":1,\"name\":\"vm\"}\n"

static void test_requests(void **state)
{
	struct fixture *fixture = *state;
	int fd = connect_client(fixture);

	expect(fixture, fd, HELLO);
	say(fd, "{\"id\":1,\"command\":\"count\"}\n");
	expect(fixture, fd, "{\"id\":1,\"result\":{\"calls\":1}}\n");
	/* In parts, and several at once. */
	say(fd, "{\"id\":2,\"comm");
	expect(fixture, fd, "");
	say(fd, "and\":\"count\"}\n{\"id\":3,\"command\":\"count\"}\n");
	expect(fixture, fd,
		"{\"id\":2,\"result\":{\"calls\":2}}\n{\"id\":3,\"result\":{\"calls\":3}}\n");
	say(fd, "{\"id\":4,\"command\":\"commands\"}\n");
	expect(fixture, fd,
		"{\"id\":4,\"result\":{\"commands\":[\"commands\",\"subscribe\",\"count\"]}}\n");
	close(fd);
}

static void test_errors(void **state)
{
	struct fixture *fixture = *state;
	int fd = connect_client(fixture);
	static const struct {
		const char *line, *code;
	} rows[] = {
		{ "nonsense\n", "\"bad-request\"" },
		{ "{\"id\":1,\"command\":\"fly\"}\n", "\"unknown-command\"" },
		{ "{\"id\":1,\"command\":\"count\",\"arguments\":{\"wrong\":1}}\n",
			"\"bad-argument\"" },
		{ "{\"id\":1,\"command\":\"count\",\"arguments\":{\"fail\":1}}\n", "\"failed\"" },
	};

	expect(fixture, fd, HELLO);
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char bytes[1024] = "";

		say(fd, rows[i].line);
		serve(fixture);
		assert_true(read(fd, bytes, sizeof(bytes) - 1) > 0);
		assert_non_null(strstr(bytes, rows[i].code));
	}
	assert_int_equal(fixture->calls, 0);
	close(fd);
}

static void test_events(void **state)
{
	struct fixture *fixture = *state;
	int listener = connect_client(fixture), other = connect_client(fixture), end = 0;
	char bytes[256] = "";
	long time_ms;

	expect(fixture, listener, HELLO);
	expect(fixture, other, HELLO);
	say(listener, "{\"id\":1,\"command\":\"subscribe\"}\n");
	expect(fixture, listener, "{\"id\":1,\"result\":{}}\n");
	fixture->control.started_ns = host_now() - NS_PER_S;
	control_event(&fixture->control, "paused", json_pack("{s:i}", "a", 1));
	serve(fixture);
	assert_true(read(listener, bytes, sizeof(bytes) - 1) > 0);
	assert_int_equal(
		sscanf(bytes, "{\"event\":\"paused\",\"time_ms\":%ld,\"data\":{\"a\":1}}%n",
			&time_ms, &end),
		1);
	assert_string_equal(bytes + end, "\n");
	assert_in_range(time_ms, 1000, (host_now() - fixture->control.started_ns) / NS_PER_MS);
	expect(fixture, other, "");
	close(listener);
	close(other);
}

static bool is_closed(int fd)
{
	char bytes[65536];
	ssize_t count;

	while ((count = read(fd, bytes, sizeof(bytes))) > 0)
		;
	return count == 0 || errno == ECONNRESET;
}

/* Who subscribes and does not read is cut off; the others go on. */
static void test_slow_reader(void **state)
{
	struct fixture *fixture = *state;
	int slow = connect_client(fixture), fast = connect_client(fixture);

	expect(fixture, slow, HELLO);
	expect(fixture, fast, HELLO);
	say(slow, "{\"id\":1,\"command\":\"subscribe\"}\n");
	serve(fixture);
	for (unsigned i = 0; i < 40000; i++)
		control_event(&fixture->control, "something", NULL);
	assert_true(is_closed(slow));
	say(fast, "{\"id\":1,\"command\":\"count\"}\n");
	expect(fixture, fast, "{\"id\":1,\"result\":{\"calls\":1}}\n");
	close(slow);
	close(fast);
}

/* Who asks and does not read waits, and loses nothing. */
static void test_pipelining(void **state)
{
	struct fixture *fixture = *state;
	int fd = connect_client(fixture);
	const char *line = "{\"id\":1,\"command\":\"count\"}\n";
	const unsigned wanted = 50000;
	unsigned sent = 0, answers = 0;
	size_t offset = 0;

	expect(fixture, fd, HELLO);
	/* Says as much as is taken before it reads anything. */
	for (unsigned rounds = 0; sent < wanted && rounds < 200;) {
		ssize_t count = send(fd, line + offset, strlen(line) - offset, MSG_NOSIGNAL);

		if (count < 0) {
			serve(fixture);
			rounds++;
			continue;
		}
		offset = (offset + (size_t)count) % strlen(line);
		sent += offset == 0;
	}
	assert_true(sent > 1000);
	assert_true(fixture->calls < wanted);
	for (unsigned rounds = 0; answers < sent && rounds < 5000; rounds++) {
		char bytes[65536];
		ssize_t count;

		serve(fixture);
		count = read(fd, bytes, sizeof(bytes));
		for (ssize_t i = 0; i < count; i++)
			answers += bytes[i] == '\n';
	}
	assert_int_equal(answers, sent);
	close(fd);
}

static void test_long_line(void **state)
{
	struct fixture *fixture = *state;
	int fd = connect_client(fixture);
	char *line = malloc(CONTROL_MAX_REQUEST_BYTES), bytes[4096] = "";
	size_t sent = 0;

	expect(fixture, fd, HELLO);
	memset(line, 'x', CONTROL_MAX_REQUEST_BYTES);
	while (sent < CONTROL_MAX_REQUEST_BYTES) {
		ssize_t count =
			send(fd, line + sent, CONTROL_MAX_REQUEST_BYTES - sent, MSG_NOSIGNAL);

		if (count > 0)
			sent += (size_t)count;
		serve(fixture);
	}
	serve(fixture);
	assert_true(read(fd, bytes, sizeof(bytes) - 1) > 0);
	assert_non_null(strstr(bytes, "bad-request"));
	assert_true(is_closed(fd));
	free(line);
	close(fd);
}

static void test_many_clients(void **state)
{
	struct fixture *fixture = *state;
	int fds[CONTROL_MAX_CLIENTS + 1];

	for (unsigned i = 0; i < CONTROL_MAX_CLIENTS; i++) {
		fds[i] = connect_client(fixture);
		expect(fixture, fds[i], HELLO);
	}
	fds[CONTROL_MAX_CLIENTS] = connect_client(fixture);
	assert_true(is_closed(fds[CONTROL_MAX_CLIENTS]));
	/* A place that is left is given again. */
	close(fds[0]);
	serve(fixture);
	fds[0] = connect_client(fixture);
	expect(fixture, fds[0], HELLO);
	for (unsigned i = 0; i <= CONTROL_MAX_CLIENTS; i++)
		close(fds[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_requests, setup, teardown),
		cmocka_unit_test_setup_teardown(test_errors, setup, teardown),
		cmocka_unit_test_setup_teardown(test_events, setup, teardown),
		cmocka_unit_test_setup_teardown(test_slow_reader, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pipelining, setup, teardown),
		cmocka_unit_test_setup_teardown(test_long_line, setup, teardown),
		cmocka_unit_test_setup_teardown(test_many_clients, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
