#include "base/loop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

struct seen {
	struct loop *loop;
	int fd;
	unsigned calls;
	unsigned events;
	bool remove;
};

static void ready(void *context, unsigned events)
{
	struct seen *seen = context;

	seen->calls++;
	seen->events |= events;
	if (seen->remove)
		loop_remove(seen->loop, seen->fd);
}

static ns_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * NS_PER_S + t.tv_nsec;
}

static void test_read_and_change(void **state)
{
	struct loop loop;
	int ends[2];
	struct seen seen = { .loop = &loop };

	(void)state;
	assert_int_equal(pipe(ends), 0);
	assert_int_equal(loop_init(&loop), 0);
	assert_int_equal(loop_add(&loop, ends[0], LOOP_READ, ready, &seen), 0);
	loop_run_once(&loop, now());
	assert_int_equal(seen.calls, 0);
	assert_int_equal(write(ends[1], "x", 1), 1);
	loop_run_once(&loop, INT64_MAX);
	assert_int_equal(seen.calls, 1);
	assert_int_equal(seen.events, LOOP_READ);
	/* Not interested: not called, not even when the other end hangs up. */
	loop_change(&loop, ends[0], 0);
	close(ends[1]);
	loop_run_once(&loop, now());
	assert_int_equal(seen.calls, 1);
	loop_change(&loop, ends[0], LOOP_READ);
	loop_run_once(&loop, INT64_MAX);
	assert_int_equal(seen.calls, 2);
	loop_finish(&loop);
	close(ends[0]);
}

static void test_remove_inside_callback(void **state)
{
	struct loop loop;
	int ends[2];
	struct seen seen = { .loop = &loop, .remove = true };

	(void)state;
	assert_int_equal(pipe(ends), 0);
	assert_int_equal(loop_init(&loop), 0);
	seen.fd = ends[1];
	assert_int_equal(loop_add(&loop, ends[1], LOOP_WRITE, ready, &seen), 0);
	loop_run_once(&loop, INT64_MAX);
	loop_run_once(&loop, now());
	assert_int_equal(seen.calls, 1);
	loop_finish(&loop);
	close(ends[0]);
	close(ends[1]);
}

static void test_regular_file_is_always_ready(void **state)
{
	struct loop loop;
	struct seen seen = { .loop = &loop };
	int fd = open("/proc/self/exe", O_RDONLY);

	(void)state;
	assert_int_equal(loop_init(&loop), 0);
	assert_int_equal(loop_add(&loop, fd, LOOP_READ, ready, &seen), 0);
	loop_run_once(&loop, INT64_MAX);
	loop_run_once(&loop, INT64_MAX);
	assert_int_equal(seen.calls, 2);
	loop_change(&loop, fd, 0);
	loop_run_once(&loop, now());
	assert_int_equal(seen.calls, 2);
	loop_finish(&loop);
	close(fd);
}

static void test_wake_and_deadline(void **state)
{
	struct loop loop;
	ns_t start;

	(void)state;
	assert_int_equal(loop_init(&loop), 0);
	loop_wake(&loop);
	loop_run_once(&loop, INT64_MAX);
	start = now();
	loop_run_once(&loop, start + 20 * NS_PER_MS);
	assert_true(now() - start >= 20 * NS_PER_MS);
	loop_finish(&loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_read_and_change),
		cmocka_unit_test(test_remove_inside_callback),
		cmocka_unit_test(test_regular_file_is_always_ready),
		cmocka_unit_test(test_wake_and_deadline),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
