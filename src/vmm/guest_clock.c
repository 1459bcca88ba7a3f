#include "vmm/guest_clock.h"

#include "agent/agent.h"
#include "base/log.h"

#include <errno.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define MIN_SLEEP_NS (100 * NS_PER_MS)
/* Somebody else may be talking to the agent, or the guest's load keep it from answering. */
#define TRIES    20
#define RETRY_NS (500 * NS_PER_MS)

ns_t guest_clock_host(clockid_t id)
{
	struct timespec now = { 0 };

	clock_gettime(id, &now);
	return now.tv_sec * NS_PER_S + now.tv_nsec;
}

static ns_t slept_ns(const struct guest_clock *clock)
{
	return clock->read(CLOCK_BOOTTIME) - clock->read(CLOCK_MONOTONIC);
}

/* Returns 0, or fills `err`; what the agent says of the hardware's clock, which it sets as well and
 * which needs no setting, is no failure. */
static int ask_agent(const struct guest_clock *clock, struct error *err)
{
	const struct bundle *bundle = clock->bundle;
	struct agent agent;
	int fd = bundle_connect(bundle, BUNDLE_AGENT), result;

	if (fd < 0)
		return error_set_errno(
			err, EXIT_CODE_UNAVAILABLE, -fd, "the guest agent cannot be reached");
	result = agent_open(&agent, fd, bundle->name, err);
	if (result)
		return result;
	result = agent_set_time(&agent, clock->read(CLOCK_REALTIME), err);
	agent_close(&agent);
	if (result && strstr(err->text, "hwclock")) {
		*err = (struct error){ 0 };
		result = 0;
	}
	return result;
}

static void *set_clock(void *context)
{
	const struct timespec pause = { .tv_nsec = RETRY_NS };
	struct guest_clock *clock = context;
	struct error err = { 0 };
	unsigned done = 0;

	for (unsigned tries = 0; tries < TRIES && !atomic_load(&clock->ending); tries++) {
		unsigned wanted = atomic_load(&clock->wanted);

		err = (struct error){ 0 };
		if (ask_agent(clock, &err) == 0) {
			done = wanted;
			tries = 0;
		}
		/* Whoever wants it again does so before it looks for this thread. */
		if (done == wanted && atomic_compare_exchange_strong(&clock->wanted, &wanted, 0)) {
			log_info("the guest stood still: its clock is set");
			return NULL;
		}
		nanosleep(&pause, NULL);
	}
	atomic_store(&clock->wanted, 0);
	if (!atomic_load(&clock->ending))
		log_warning("the guest stood still, and its clock is late: %s", err.text);
	return NULL;
}

void guest_clock_set(struct guest_clock *clock)
{
	if (!clock->bundle)
		return;
	if (atomic_fetch_add(&clock->wanted, 1) > 0)
		return;
	if (clock->has_thread)
		pthread_join(clock->thread, NULL);
	clock->has_thread = pthread_create(&clock->thread, NULL, set_clock, clock) == 0;
	if (!clock->has_thread)
		atomic_store(&clock->wanted, 0);
}

/* Becomes ready when the host's wall clock is set, or has gone on while the host slept. */
static int arm(const struct guest_clock *clock)
{
	const struct itimerspec never = { .it_value.tv_sec = INT32_MAX };

	return timerfd_settime(
		clock->timer_fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &never, NULL);
}

static void clock_jumped(void *context, unsigned events)
{
	struct guest_clock *clock = context;
	ns_t asleep_ns = slept_ns(clock);
	uint64_t expirations;

	(void)events;
	(void)!read(clock->timer_fd, &expirations, sizeof(expirations));
	if (arm(clock) < 0)
		loop_change(clock->loop, clock->timer_fd, 0);
	/* A host's clock that was merely set is no reason to overrule the guest. */
	if (asleep_ns - clock->asleep_ns > MIN_SLEEP_NS)
		guest_clock_set(clock);
	clock->asleep_ns = asleep_ns;
}

int guest_clock_open(struct guest_clock *clock, const struct bundle *bundle, struct loop *loop,
	ns_t (*read)(clockid_t id))
{
	int ret;

	*clock = (struct guest_clock){ .timer_fd = -1 };
	if (!bundle)
		return 0;
	clock->loop = loop;
	clock->read = read;
	clock->asleep_ns = slept_ns(clock);
	clock->timer_fd = timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC | TFD_NONBLOCK);
	if (clock->timer_fd < 0 || arm(clock) < 0)
		ret = -errno;
	else
		ret = loop_add(loop, clock->timer_fd, LOOP_READ, clock_jumped, clock);
	if (ret < 0) {
		if (clock->timer_fd >= 0)
			close(clock->timer_fd);
		clock->timer_fd = -1;
		return ret;
	}
	clock->bundle = bundle;
	return 0;
}

void guest_clock_close(struct guest_clock *clock)
{
	atomic_store(&clock->ending, true);
	if (clock->has_thread)
		pthread_join(clock->thread, NULL);
	clock->has_thread = false;
	if (clock->bundle) {
		loop_remove(clock->loop, clock->timer_fd);
		close(clock->timer_fd);
		clock->bundle = NULL;
	}
}
