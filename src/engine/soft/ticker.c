/*
 * Tickers (ticker.h). One waits for a timer of the host's, which the vCPU's thread sets when it has
 * a deadline that comes before what the timer is set for. A later one does not touch the timer, so
 * a guest that moves its deadline on all the time costs nothing; when the timer expires too early,
 * the ticker sets it anew.
 *
 * Each vCPU has one of its own, which may then be kept on the CPU of what it interrupts
 * (direct_place.h): to stop a process that computes on another takes ten times as long.
 */
#include "engine/soft/ticker.h"

#include "engine/soft/direct.h"
#include "engine/soft/tsc.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define NEVER UINT64_MAX

struct ticker {
	struct vcpu *vcpu;
	int timer_fd;
	pthread_t thread;
	_Atomic pid_t tid;
	_Atomic bool stop;
	pthread_mutex_t lock; /* of what follows, in the host's TSC; and of setting the timer */
	uint64_t deadline;
	uint64_t set_for; /* before it, when it is far */
};

static void set_timer(struct ticker *ticker, uint64_t deadline, uint64_t now)
{
	uint64_t hz = ticker->vcpu->cpu_model->tsc_hz;
	uint64_t ns = NS_PER_S;
	struct itimerspec at = { 0 };

	ticker->set_for = deadline;
	if (deadline <= now)
		ns = 1;
	else if (deadline - now < hz)
		ns = mul_div(deadline - now, NS_PER_S, hz) + 1;
	at.it_value = (struct timespec){ .tv_sec = ns / NS_PER_S, .tv_nsec = ns % NS_PER_S };
	timerfd_settime(ticker->timer_fd, 0, &at, NULL);
}

/* The timer has expired. True if the deadline has passed. */
static bool expire(struct ticker *ticker)
{
	uint64_t now = host_tsc();
	bool due;

	pthread_mutex_lock(&ticker->lock);
	due = ticker->deadline <= now;
	if (due)
		ticker->deadline = NEVER;
	ticker->set_for = NEVER;
	if (ticker->deadline != NEVER)
		set_timer(ticker, ticker->deadline, now);
	pthread_mutex_unlock(&ticker->lock);
	return due;
}

static void *run(void *argument)
{
	struct ticker *ticker = argument;
	uint64_t expirations;

	atomic_store(&ticker->tid, gettid());
	while (!atomic_load(&ticker->stop)) {
		if (read(ticker->timer_fd, &expirations, sizeof(expirations)) < 0 ||
			!expire(ticker))
			continue;
		atomic_fetch_or(&ticker->vcpu->requests, REQUEST_TIMER);
		direct_kick(ticker->vcpu);
	}
	return NULL;
}

static void set_deadline(struct ticker *ticker, uint64_t deadline)
{
	pthread_mutex_lock(&ticker->lock);
	ticker->deadline = deadline;
	if (deadline < ticker->set_for)
		set_timer(ticker, deadline, host_tsc());
	pthread_mutex_unlock(&ticker->lock);
}

void ticker_arm(struct vcpu *vcpu, uint64_t deadline)
{
	if (vcpu->lockstep)
		return;
	if (deadline != NEVER)
		deadline -= vcpu->tsc_offset;
	set_deadline(vcpu->ticker, deadline);
}

void ticker_rest(struct vcpu *vcpu)
{
	static const struct itimerspec never = { 0 };
	struct ticker *ticker = vcpu->ticker;

	pthread_mutex_lock(&ticker->lock);
	ticker->deadline = NEVER;
	if (ticker->set_for != NEVER) {
		ticker->set_for = NEVER;
		timerfd_settime(ticker->timer_fd, 0, &never, NULL);
	}
	pthread_mutex_unlock(&ticker->lock);
}

pid_t ticker_thread(const struct vcpu *vcpu)
{
	return vcpu->ticker ? atomic_load(&vcpu->ticker->tid) : 0;
}

static int create(struct vcpu *vcpu)
{
	struct ticker *ticker = calloc(1, sizeof(*ticker));
	int ret;

	if (!ticker)
		return ENOMEM;
	ticker->vcpu = vcpu;
	ticker->deadline = ticker->set_for = NEVER;
	ticker->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	if (ticker->timer_fd < 0) {
		ret = errno;
		free(ticker);
		return ret;
	}
	pthread_mutex_init(&ticker->lock, NULL);
	ret = pthread_create(&ticker->thread, NULL, run, ticker);
	if (ret) {
		close(ticker->timer_fd);
		free(ticker);
	} else {
		vcpu->ticker = ticker;
	}
	return ret;
}

int tickers_create(struct soft_engine *engine, struct error *err)
{
	for (unsigned i = 0; i < engine->nr_vcpus; i++) {
		int ret = create(&engine->vcpus[i]);

		if (ret)
			return error_set_errno(
				err, EXIT_CODE_HOST, ret, "cannot start the ticker of vCPU %u", i);
	}
	return 0;
}

void tickers_destroy(struct soft_engine *engine)
{
	for (unsigned i = 0; i < engine->nr_vcpus; i++) {
		struct ticker *ticker = engine->vcpus[i].ticker;

		if (!ticker)
			continue;
		atomic_store(&ticker->stop, true);
		set_deadline(ticker, 0);
		pthread_join(ticker->thread, NULL);
		pthread_mutex_destroy(&ticker->lock);
		close(ticker->timer_fd);
		free(ticker);
		engine->vcpus[i].ticker = NULL;
	}
}
