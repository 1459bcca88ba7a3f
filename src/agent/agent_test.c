/*
 * The guest agent protocol against a program that speaks it, one that says nothing, and several
 * that lie.
 */
#include "agent/agent.h"
#include "agent/base64.h"
#include "base/host_time.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

/* Says `answers`, one after each line that it gets; "%ld" in it becomes the request's "id". */
struct peer {
	int fd;
	const char *const *answers;
	pthread_t thread;
	char heard[8192]; /* all that was asked */
};

static bool read_line(int fd, char *line, size_t size)
{
	size_t used = 0;

	while (used + 1 < size && read(fd, line + used, 1) == 1)
		if (line[used++] == '\n') {
			line[used] = '\0';
			return true;
		}
	return false;
}

static void *peer_main(void *context)
{
	struct peer *peer = context;
	char line[131072], answer[131072];

	for (unsigned i = 0; peer->answers[i] && read_line(peer->fd, line, sizeof(line)); i++) {
		const char *id = strstr(line, "\"id\":");
		const char *mark = strstr(peer->answers[i], "%ld");
		int size;

		size = (int)strlen(peer->heard);
		snprintf(peer->heard + size, sizeof(peer->heard) - (size_t)size, "%s", line);
		if (mark)
			size = snprintf(answer, sizeof(answer), "%.*s%ld%s\n",
				(int)(mark - peer->answers[i]), peer->answers[i],
				id ? strtol(id + 5, NULL, 10) : 0, mark + 3);
		else
			size = snprintf(answer, sizeof(answer), "%s\n", peer->answers[i]);
		if (send(peer->fd, answer, (size_t)size, MSG_NOSIGNAL) != size)
			break;
	}
	shutdown(peer->fd, SHUT_WR);
	/* What is asked beyond the script is heard and not answered. */
	while (read(peer->fd, line, sizeof(line)) > 0)
		;
	return NULL;
}

static int peer_start(struct peer *peer, const char *const *answers)
{
	int ends[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	*peer = (struct peer){ .fd = ends[1], .answers = answers };
	assert_int_equal(pthread_create(&peer->thread, NULL, peer_main, peer), 0);
	return ends[0];
}

static void peer_end(struct peer *peer)
{
	pthread_join(peer->thread, NULL);
	close(peer->fd);
}

#define SYNC "\xff{\"return\": %ld}"

#define SCRIPT(...) ((const char *const[]){ __VA_ARGS__, NULL })

static void open_agent(struct agent *agent, struct peer *peer, const char *const *answers)
{
	struct error err = { 0 };

	if (agent_open(agent, peer_start(peer, answers), "vm", &err))
		fail_msg("%s", err.text);
}

static void test_sync(void **state)
{
	struct error err = { 0 };
	struct agent agent;
	struct peer peer;

	(void)state;
	/* Half an answer to somebody else, an error about the delimiter, an older sync. */
	open_agent(&agent, &peer,
		SCRIPT("rn\": 1}\n{\"error\": {\"desc\": \"stray\"}}\n\xff{\"return\": 3}\n" SYNC,
			"{\"return\": {}}"));
	assert_int_equal(agent_ping(&agent, &err), 0);
	assert_true((uint8_t)peer.heard[0] == 0xff);
	agent_close(&agent);
	peer_end(&peer);
}

/* Answers that fill more than a line here. */
static const char exited[] =
	"{\"return\": {\"exited\": true, \"exitcode\": 3, \"out-data\": \"YSBiCg==\", "
	"\"err-data\": \"\", \"out-truncated\": true}}";
static const char interfaces_answer[] =
	"{\"return\": [{\"name\": \"lo\", \"ip-addresses\": [{\"ip-address\": \"127.0.0.1\", "
	"\"ip-address-type\": \"ipv4\", \"prefix\": 8}]}]}";

static void test_exec(void **state)
{
	char *const argv[] = { (char *)"echo", (char *)"a b", NULL };
	struct agent_result result;
	struct error err = { 0 };
	struct agent agent;
	struct peer peer;

	(void)state;
	open_agent(&agent, &peer,
		SCRIPT(SYNC, "{\"return\": {\"pid\": 77}}", "{\"return\": {\"exited\": false}}",
			exited));
	assert_int_equal(agent_exec(&agent, argv, (const uint8_t *)"in", 2, 0, &result, &err), 0);
	assert_int_equal(result.exit_code, 3);
	assert_int_equal(result.out.size, 4);
	assert_memory_equal(result.out.bytes, "a b\n", 4);
	assert_true(result.out.truncated);
	assert_int_equal(result.err.size, 0);
	agent_result_finish(&result);
	agent_close(&agent);
	peer_end(&peer);
	assert_non_null(strstr(peer.heard, "\"path\":\"echo\",\"arg\":[\"a b\"],"
					   "\"capture-output\":true,\"input-data\":\"aW4=\""));
	assert_non_null(strstr(peer.heard, "\"pid\":77"));
}

static void test_exec_signal(void **state)
{
	char *const argv[] = { (char *)"x", NULL };
	struct agent_result result;
	struct error err = { 0 };
	struct agent agent;
	struct peer peer;

	(void)state;
	open_agent(&agent, &peer,
		SCRIPT(SYNC, "{\"return\": {\"pid\": 1}}",
			"{\"return\": {\"exited\": true, \"signal\": 9}}"));
	assert_int_equal(agent_exec(&agent, argv, NULL, 0, 0, &result, &err), 0);
	assert_int_equal(result.exit_code, 137);
	agent_close(&agent);
	peer_end(&peer);
}

static void test_files(void **state)
{
	char path[] = "/tmp/agent_test.XXXXXX", bytes[16] = "";
	int fd = mkstemp(path);
	struct error err = { 0 };
	struct agent agent;
	struct peer peer;

	(void)state;
	unlink(path);
	open_agent(&agent, &peer,
		SCRIPT(SYNC, "{\"return\": 1000}",
			"{\"return\": {\"count\": 3, \"buf-b64\": \"YWJj\", \"eof\": false}}",
			"{\"return\": {\"count\": 1, \"buf-b64\": \"ZA==\", \"eof\": true}}",
			"{\"return\": {}}", "{\"return\": 1001}",
			"{\"return\": {\"count\": 3, \"eof\": false}}",
			"{\"return\": {\"count\": 1, \"eof\": false}}", "{\"return\": {}}"));
	if (agent_file_get(&agent, "/etc/x", fd, &err))
		fail_msg("%s", err.text);
	assert_int_equal(pread(fd, bytes, sizeof(bytes), 0), 4);
	assert_string_equal(bytes, "abcd");
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	/* The agent takes three bytes, then the last. */
	if (agent_file_put(&agent, fd, "/etc/y", &err))
		fail_msg("%s", err.text);
	agent_close(&agent);
	peer_end(&peer);
	assert_non_null(strstr(peer.heard, "\"handle\":1001,\"buf-b64\":\"YWJjZA==\""));
	assert_non_null(strstr(peer.heard, "\"handle\":1001,\"buf-b64\":\"ZA==\""));
	close(fd);
}

static void test_others(void **state)
{
	struct error err = { 0 };
	struct agent agent;
	struct peer peer;
	json_t *interfaces;
	unsigned count;

	(void)state;
	open_agent(&agent, &peer,
		SCRIPT(SYNC, "{\"return\": 2}", "{\"return\": 2}", "{\"return\": {}}",
			interfaces_answer));
	assert_int_equal(agent_freeze(&agent, true, &count, &err), 0);
	assert_int_equal(count, 2);
	assert_int_equal(agent_freeze(&agent, false, &count, &err), 0);
	assert_int_equal(agent_set_time(&agent, NS_PER_S, &err), 0);
	assert_int_equal(agent_interfaces(&agent, &interfaces, &err), 0);
	assert_int_equal(json_array_size(interfaces), 1);
	json_decref(interfaces);
	agent_close(&agent);
	peer_end(&peer);
	assert_non_null(strstr(peer.heard, "guest-fsfreeze-freeze"));
	assert_non_null(strstr(peer.heard, "\"time\":1000000000"));
}

/* Each of these is a lie, told where the named call waits for its last answer. */
static void test_lies(void **state)
{
	static const char *const lies[] = { "", "[]", "1", "{}", "{\"return\": \"x\"}",
		"{\"return\": {\"pid\": \"1\"}}", "{\"return\": [[]]}", "\xff\xff" };
	char *const argv[] = { (char *)"x", NULL };

	(void)state;
	for (unsigned i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		struct agent_result result;
		struct error err = { 0 };
		struct agent agent;
		struct peer peer;

		open_agent(&agent, &peer, SCRIPT(SYNC, lies[i]));
		assert_int_not_equal(agent_exec(&agent, argv, NULL, 0, 0, &result, &err), 0);
		assert_int_equal(err.exit_code, EXIT_CODE_UNAVAILABLE);
		agent_close(&agent);
		peer_end(&peer);
	}
}

/* A file that never ends and never gives a byte. */
static void test_endless_file(void **state)
{
	struct error err = { 0 };
	struct agent agent;
	struct peer peer;

	(void)state;
	open_agent(&agent, &peer,
		SCRIPT(SYNC, "{\"return\": 1}",
			"{\"return\": {\"count\": 0, \"buf-b64\": \"\", \"eof\": false}}",
			"{\"return\": {}}"));
	assert_int_not_equal(agent_file_get(&agent, "/x", STDOUT_FILENO, &err), 0);
	assert_non_null(strstr(err.text, "something else"));
	agent_close(&agent);
	peer_end(&peer);
}

/* What the guest says of its mistake cannot steer a terminal. */
static void test_escape_sequences(void **state)
{
	struct error err = { 0 };
	struct agent agent;
	struct peer peer;

	(void)state;
	open_agent(&agent, &peer,
		SCRIPT(SYNC, "{\"error\": {\"class\": \"x\", \"desc\": \"a\\u001b[2Jb\\nc\"}}"));
	assert_int_not_equal(agent_ping(&agent, &err), 0);
	assert_non_null(strstr(err.text, "refuses 'guest-ping': a?[2Jb?c"));
	agent_close(&agent);
	peer_end(&peer);
}

static void test_silence(void **state)
{
	struct error err = { 0 };
	struct agent agent;
	int ends[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	agent = (struct agent){ .fd = ends[0], .vm_name = "vm", .timeout_ns = NS_PER_MS };
	assert_int_not_equal(agent_ping(&agent, &err), 0);
	assert_non_null(strstr(err.text, "does not answer"));
	agent_close(&agent);
	close(ends[1]);
}

/* RFC 4648, section 10. */
static void test_base64(void **state)
{
	static const char *const vectors[][2] = { { "", "" }, { "f", "Zg==" }, { "fo", "Zm8=" },
		{ "foo", "Zm9v" }, { "foob", "Zm9vYg==" }, { "fooba", "Zm9vYmE=" },
		{ "foobar", "Zm9vYmFy" } };
	static const char *const bad[] = { "Z", "Zg",
		"Zg=", "Z===", "=g==", "Zg==Zg==", "Z g=", "Zm9v\n" };
	size_t size;

	(void)state;
	for (unsigned i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
		const char *plain = vectors[i][0], *coded = vectors[i][1];
		char *text = base64_encode((const uint8_t *)plain, strlen(plain));
		uint8_t *bytes = base64_decode(coded, strlen(coded), &size);

		assert_string_equal(text, coded);
		assert_non_null(bytes);
		assert_int_equal(size, strlen(plain));
		assert_memory_equal(bytes, plain, size);
		free(text);
		free(bytes);
	}
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_null(base64_decode(bad[i], strlen(bad[i]), &size));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sync),
		cmocka_unit_test(test_exec),
		cmocka_unit_test(test_exec_signal),
		cmocka_unit_test(test_files),
		cmocka_unit_test(test_others),
		cmocka_unit_test(test_lies),
		cmocka_unit_test(test_endless_file),
		cmocka_unit_test(test_escape_sequences),
		cmocka_unit_test(test_silence),
		cmocka_unit_test(test_base64),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
