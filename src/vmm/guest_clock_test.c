/*
 * The guest's clock is set when the host has slept, and is left alone when the host's clock was
 * merely set. The host's clocks are the test's; the agent is one that writes down what it is told.
 */
#include "vmm/guest_clock.h"

#include "base/host_time.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#define NOW_NS (INT64_C(1700000000) * NS_PER_S)

struct fixture {
	char directory[32];
	struct bundle bundle;
	struct loop loop;
	struct guest_clock clock;
	int listener;
	pthread_t agent;
	_Atomic unsigned settings;
	_Atomic ns_t set_to;
};

static _Atomic ns_t asleep_ns;

/* CLOCK_BOOTTIME goes on while the host sleeps. */
static ns_t fake_clock(clockid_t id)
{
	return id == CLOCK_REALTIME ? NOW_NS + asleep_ns
				    : 1000 * NS_PER_S + (id == CLOCK_BOOTTIME ? asleep_ns : 0);
}

static void answer(struct fixture *f, FILE *peer, const char *line)
{
	const char *id = strstr(line, "\"id\":"), *time = strstr(line, "\"time\":");

	if (strstr(line, "guest-sync-delimited")) {
		fprintf(peer, "\xff{\"return\": %ld}\n", id ? strtol(id + 5, NULL, 10) : 0);
	} else {
		if (strstr(line, "guest-set-time") && time) {
			atomic_store(&f->set_to, strtoll(time + 7, NULL, 10));
			atomic_fetch_add(&f->settings, 1);
		}
		fprintf(peer, "{\"return\": {}}\n");
	}
	fflush(peer);
}

/* One client after the other, until nobody listens. */
static void *agent_main(void *context)
{
	struct fixture *f = context;
	char line[4096];
	int fd;

	while ((fd = accept(f->listener, NULL, NULL)) >= 0) {
		FILE *peer = fdopen(fd, "r+");

		while (fgets(line, sizeof(line), peer))
			answer(f, peer, line);
		fclose(peer);
	}
	return NULL;
}

static int setup(void **context)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct fixture *f = calloc(1, sizeof(*f));

	snprintf(f->directory, sizeof(f->directory), "/tmp/atoll-clock-XXXXXX");
	assert_non_null(mkdtemp(f->directory));
	f->bundle.dir_fd = open(f->directory, O_DIRECTORY | O_CLOEXEC);
	snprintf(f->bundle.name, sizeof(f->bundle.name), "vm");
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/" BUNDLE_AGENT, f->directory);
	f->listener = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(bind(f->listener, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(f->listener, 4), 0);
	assert_int_equal(pthread_create(&f->agent, NULL, agent_main, f), 0);
	assert_int_equal(loop_init(&f->loop), 0);
	asleep_ns = 0;
	assert_int_equal(guest_clock_open(&f->clock, &f->bundle, &f->loop, fake_clock), 0);
	*context = f;
	return 0;
}

static int teardown(void **context)
{
	struct fixture *f = *context;
	char path[64];

	guest_clock_close(&f->clock);
	loop_finish(&f->loop);
	shutdown(f->listener, SHUT_RDWR);
	pthread_join(f->agent, NULL);
	close(f->listener);
	close(f->bundle.dir_fd);
	snprintf(path, sizeof(path), "%s/" BUNDLE_AGENT, f->directory);
	unlink(path);
	rmdir(f->directory);
	free(f);
	return 0;
}

/* The kernel makes the timer ready when the wall clock jumps; here it expires. */
static void jump(struct fixture *f)
{
	const struct itimerspec at_once = { .it_value.tv_nsec = 1 };

	assert_int_equal(timerfd_settime(f->clock.timer_fd, 0, &at_once, NULL), 0);
	loop_run_once(&f->loop, host_now() + 10 * NS_PER_S);
}

static void wait_for_settings(struct fixture *f, unsigned count)
{
	for (unsigned i = 0; i < 10000 && atomic_load(&f->settings) < count; i++)
		usleep(1000);
	assert_int_equal(atomic_load(&f->settings), count);
}

static void test_the_host_slept(void **context)
{
	struct fixture *f = *context;

	asleep_ns = 3600 * NS_PER_S;
	jump(f);
	wait_for_settings(f, 1);
	assert_true(atomic_load(&f->set_to) == NOW_NS + 3600 * NS_PER_S);
	/* And again. */
	asleep_ns += 5 * NS_PER_S;
	jump(f);
	wait_for_settings(f, 2);
	assert_true(atomic_load(&f->set_to) == NOW_NS + 3605 * NS_PER_S);
}

static void test_the_clock_was_set(void **context)
{
	struct fixture *f = *context;

	jump(f);
	assert_false(f->clock.has_thread);
	assert_int_equal(atomic_load(&f->settings), 0);
	/* It still hears of a sleep. */
	asleep_ns = 2 * NS_PER_S;
	jump(f);
	wait_for_settings(f, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_the_host_slept, setup, teardown),
		cmocka_unit_test_setup_teardown(test_the_clock_was_set, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
