/*
 * VM directories: names, the lock that tells who runs, sockets behind long paths, removal.
 */
#include "bundle/bundle.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* Longer than a socket's address holds. */
static char home[256];

static int setup(void **state)
{
	char path[] = "/tmp/bundle_test.XXXXXX";

	(void)state;
	if (!mkdtemp(path))
		return -1;
	snprintf(home, sizeof(home), "%s/%0120d", path, 0);
	return setenv("ATOLL_HOME", home, 1);
}

static int teardown(void **state)
{
	char vms[sizeof(home) + 8];

	(void)state;
	snprintf(vms, sizeof(vms), "%s/vms", home);
	if (rmdir(vms) < 0 || rmdir(home) < 0)
		return -1;
	*strrchr(home, '/') = '\0';
	return rmdir(home);
}

static void create(struct bundle *bundle, const char *name)
{
	struct error err = { 0 };

	if (bundle_create(bundle, name, &err))
		fail_msg("%s", err.text);
}

static void remove_it(struct bundle *bundle)
{
	struct error err = { 0 };

	if (bundle->lock_fd < 0 && bundle_lock(bundle, &err))
		fail_msg("%s", err.text);
	if (bundle_remove(bundle, &err))
		fail_msg("%s", err.text);
	bundle_close(bundle);
}

static void test_names(void **state)
{
	static const char *const bad[] = { "", ".", "..", "a/b", "-a", ".a", "a b", "a\n",
		"\xc3\xa4", "aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffff0123" };

	(void)state;
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct error err = { 0 };

		assert_int_not_equal(bundle_check_name(bad[i], &err), 0);
		assert_int_equal(err.exit_code, EXIT_CODE_USAGE);
	}
	assert_int_equal(bundle_check_name("a", NULL), 0);
	assert_int_equal(bundle_check_name("9-Web_server.test", NULL), 0);
}

static void test_life(void **state)
{
	struct bundle bundle, again;
	struct error err = { 0 };
	char **names;

	(void)state;
	assert_int_not_equal(bundle_open(&bundle, "b", &err), 0);
	assert_int_equal(err.exit_code, EXIT_CODE_NO_FILE);
	create(&bundle, "b");
	err = (struct error){ 0 };
	assert_int_not_equal(bundle_create(&again, "b", &err), 0);
	assert_int_equal(err.exit_code, EXIT_CODE_CANNOT_WRITE);
	create(&again, "a");
	assert_int_equal(bundle_names(&names, &err), 0);
	assert_string_equal(names[0], "a");
	assert_string_equal(names[1], "b");
	assert_null(names[2]);
	bundle_free_names(names);
	remove_it(&again);
	remove_it(&bundle);
	err = (struct error){ 0 };
	assert_int_not_equal(bundle_open(&bundle, "b", &err), 0);
}

static void test_exit(void **state)
{
	struct bundle bundle;

	(void)state;
	create(&bundle, "vm");
	assert_int_equal(bundle_last_exit(&bundle), -1);
	bundle_write_exit(&bundle, 143);
	assert_int_equal(bundle_last_exit(&bundle), 143);
	bundle_write_exit(&bundle, 0);
	assert_int_equal(bundle_last_exit(&bundle), 0);
	remove_it(&bundle);
}

/* The lock is the running process's: taken by a parent, kept by its child, gone with it. */
static void test_lock(void **state)
{
	struct bundle bundle, other;
	struct error err = { 0 };
	int hold[2], status;
	pid_t child, pid;
	char byte;

	(void)state;
	create(&bundle, "vm");
	assert_int_equal(bundle_open(&other, "vm", &err), 0);
	assert_false(bundle_is_running(&bundle, NULL));
	assert_int_equal(bundle_lock(&bundle, &err), 0);
	assert_true(bundle_is_running(&other, &pid));
	assert_int_equal(pid, 0);

	assert_int_equal(pipe(hold), 0);
	child = fork();
	if (child == 0) {
		close(hold[1]);
		status = bundle_claim(&bundle, &err);
		/* The parent reads nothing: it sees the number once it appears. */
		_exit(read(hold[0], &byte, 1) == 0 && status == 0 ? 0 : 1);
	}
	bundle_close(&bundle);
	while (!pid) {
		assert_true(bundle_is_running(&other, &pid));
		usleep(1000);
	}
	assert_int_equal(pid, child);
	assert_int_not_equal(bundle_lock(&other, &err), 0);
	assert_int_equal(err.exit_code, EXIT_CODE_CONFIG);
	assert_non_null(strstr(err.text, "is running"));
	close(hold[0]);
	close(hold[1]);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_false(bundle_is_running(&other, NULL));
	remove_it(&other);
}

static void test_socket(void **state)
{
	struct bundle bundle;
	int listener, client, server;

	(void)state;
	create(&bundle, "vm");
	assert_true(strlen(bundle.path) > 108);
	assert_int_equal(bundle_connect(&bundle, BUNDLE_CONTROL), -ENOENT);
	listener = bundle_listen(&bundle, BUNDLE_CONTROL);
	assert_true(listener >= 0);
	client = bundle_connect(&bundle, BUNDLE_CONTROL);
	assert_true(client >= 0);
	server = accept(listener, NULL, NULL);
	assert_true(server >= 0);
	close(server);
	close(client);
	close(listener);
	/* One that was left behind is replaced. */
	listener = bundle_listen(&bundle, BUNDLE_CONTROL);
	assert_true(listener >= 0);
	close(listener);
	remove_it(&bundle);
}

/* Removal goes into directories and stops at links. */
static void test_remove(void **state)
{
	char outside[] = "/tmp/bundle_outside.XXXXXX", file[64];
	struct bundle bundle;
	int fd;

	(void)state;
	assert_non_null(mkdtemp(outside));
	snprintf(file, sizeof(file), "%s/kept", outside);
	fd = open(file, O_CREAT | O_WRONLY, 0600);
	assert_true(fd >= 0);
	close(fd);
	create(&bundle, "vm");
	assert_int_equal(mkdirat(bundle.dir_fd, "snapshots", 0700), 0);
	assert_int_equal(symlinkat(outside, bundle.dir_fd, "snapshots/link"), 0);
	assert_int_equal(symlinkat(outside, bundle.dir_fd, "link"), 0);
	remove_it(&bundle);
	assert_int_equal(access(file, F_OK), 0);
	unlink(file);
	rmdir(outside);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_life),
		cmocka_unit_test(test_exit),
		cmocka_unit_test(test_lock),
		cmocka_unit_test(test_socket),
		cmocka_unit_test(test_remove),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
