/*
 * Tickers (ticker.h). One sleeps until the first deadline it was told of; a later one does not
 * wake it, so a guest that moves its deadline on with each tick costs one wake-up a tick. Where
 * ticks come at even distances it goes to sleep until the next before the guest has asked for it:
 * to be woken for that would cost two more changes of thread.
 *
 * Each vCPU has one of its own, which may then be kept on the CPU of what it interrupts
 * (direct_place.h): to stop a process that computes on another takes ten times as long.
 */
#include "engine/soft/ticker.h"

#include "engine/soft/direct.h"
#include "engine/soft/tsc.h"

#include <errno.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define NEVER UINT64_MAX

/* A deadline may be missed by so much, which is what Linux grants itself. */
#define SLACK_NS (20 * NS_PER_US)

struct ticker {
	struct vcpu *vcpu;
	pthread_t thread;
	_Atomic pid_t tid;
	_Atomic uint32_t changes;  /* the futex */
	_Atomic uint64_t wakes_at; /* host TSC */
	_Atomic uint64_t deadline; /* host TSC */
	_Atomic bool stop;
	uint64_t slack;
	uint64_t fired,
		distance; /* its thread's: the last deadline, and how far from that before */
};

/* A deadline has passed. Returns when the next one is to be expected. */
static uint64_t expected(struct ticker *ticker, uint64_t deadline)
{
	uint64_t distance = deadline - ticker->fired;
	bool even = distance - ticker->distance + ticker->slack <= 2 * ticker->slack;

	ticker->fired = deadline;
	ticker->distance = distance;
	return even ? deadline + distance : NEVER;
}

/* Requests a look if it is due. Returns when to look again. */
static uint64_t fire(struct ticker *ticker, uint64_t now)
{
	uint64_t deadline = atomic_load(&ticker->deadline);

	if (deadline > now)
		return deadline;
	if (atomic_compare_exchange_strong(&ticker->deadline, &deadline, NEVER)) {
		atomic_fetch_or(&ticker->vcpu->requests, REQUEST_TIMER);
		direct_kick(ticker->vcpu);
		return expected(ticker, deadline);
	}
	return now;
}

static void sleep_until(struct ticker *ticker, uint64_t deadline, uint32_t changes)
{
	uint64_t hz = ticker->vcpu->cpu_model->tsc_hz;
	uint64_t now = host_tsc();
	uint64_t ns = NS_PER_S;
	struct timespec timeout;

	if (deadline <= now)
		return;
	if (deadline - now < hz)
		ns = mul_div(deadline - now, NS_PER_S, hz);
	timeout = (struct timespec){ .tv_sec = ns / NS_PER_S, .tv_nsec = ns % NS_PER_S };
	syscall(SYS_futex, &ticker->changes, FUTEX_WAIT_PRIVATE, changes,
		deadline == NEVER ? NULL : &timeout, NULL, 0);
}

static void *run(void *argument)
{
	struct ticker *ticker = argument;

	prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);
	atomic_store(&ticker->tid, gettid());

	while (!atomic_load(&ticker->stop)) {
		uint32_t changes = atomic_load(&ticker->changes);
		uint64_t first;

		atomic_store(&ticker->wakes_at, 0);
		first = fire(ticker, host_tsc());
		atomic_store(&ticker->wakes_at, first);
		/* One that came between the look and the store. */
		if (fire(ticker, host_tsc()) < first)
			continue;
		sleep_until(ticker, first, changes);
	}
	return NULL;
}

static void wake(struct ticker *ticker)
{
	atomic_fetch_add(&ticker->changes, 1);
	syscall(SYS_futex, &ticker->changes, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

void ticker_arm(struct vcpu *vcpu, uint64_t deadline)
{
	struct ticker *ticker = vcpu->ticker;
	uint64_t wakes_at;

	if (vcpu->lockstep)
		return;
	if (deadline != NEVER)
		deadline -= vcpu->tsc_offset;
	atomic_store(&ticker->deadline, deadline);
	wakes_at = atomic_load(&ticker->wakes_at);
	if (deadline < wakes_at && wakes_at - deadline > ticker->slack)
		wake(ticker);
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
	ticker->slack = tsc_of_ns(vcpu, SLACK_NS);
	atomic_init(&ticker->deadline, NEVER);
	ret = pthread_create(&ticker->thread, NULL, run, ticker);
	if (ret)
		free(ticker);
	else
		vcpu->ticker = ticker;
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
		wake(ticker);
		pthread_join(ticker->thread, NULL);
		free(ticker);
		engine->vcpus[i].ticker = NULL;
	}
}
