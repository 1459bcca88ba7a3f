/*
 * The ticker (ticker.h). It sleeps until the first deadline it was told of; a later one does not
 * wake it, so a guest that moves its deadline on with each tick costs one wake-up a tick.
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

struct ticker {
	struct soft_engine *engine;
	pthread_t thread;
	_Atomic uint32_t changes;  /* the futex */
	_Atomic uint64_t wakes_at; /* host TSC */
	_Atomic bool stop;
	_Atomic uint64_t deadlines[]; /* of each vCPU, host TSC */
};

/* Requests a look of those that are due; returns the first deadline of the others. */
static uint64_t fire(struct ticker *ticker, uint64_t now)
{
	uint64_t first = UINT64_MAX;

	for (unsigned i = 0; i < ticker->engine->nr_vcpus; i++) {
		uint64_t deadline = atomic_load(&ticker->deadlines[i]);

		if (deadline <= now) {
			if (atomic_compare_exchange_strong(
				    &ticker->deadlines[i], &deadline, UINT64_MAX)) {
				atomic_fetch_or(&ticker->engine->vcpus[i].requests, REQUEST_TIMER);
				direct_kick(&ticker->engine->vcpus[i]);
			}
		} else if (deadline < first) {
			first = deadline;
		}
	}
	return first;
}

static void sleep_until(struct ticker *ticker, uint64_t deadline, uint32_t changes)
{
	uint64_t hz = ticker->engine->base.cpu_model->tsc_hz;
	uint64_t now = host_tsc();
	uint64_t ns = NS_PER_S;
	struct timespec timeout;

	if (deadline <= now)
		return;
	if (deadline - now < hz)
		ns = mul_div(deadline - now, NS_PER_S, hz);
	timeout = (struct timespec){ .tv_sec = ns / NS_PER_S, .tv_nsec = ns % NS_PER_S };
	syscall(SYS_futex, &ticker->changes, FUTEX_WAIT_PRIVATE, changes,
		deadline == UINT64_MAX ? NULL : &timeout, NULL, 0);
}

static void *run(void *argument)
{
	struct ticker *ticker = argument;

	prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);

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

void ticker_arm(struct vcpu *vcpu)
{
	struct ticker *ticker = vcpu->engine->ticker;
	uint64_t deadline = vcpu->timer_deadline_tsc;

	if (vcpu->lockstep)
		return;
	if (deadline != UINT64_MAX)
		deadline -= vcpu->tsc_offset;
	atomic_store(&ticker->deadlines[vcpu->index], deadline);
	if (deadline < atomic_load(&ticker->wakes_at))
		wake(ticker);
}

int ticker_create(struct soft_engine *engine, struct error *err)
{
	struct ticker *ticker =
		calloc(1, sizeof(*ticker) + engine->nr_vcpus * sizeof(ticker->deadlines[0]));
	int ret;

	if (!ticker)
		return error_set_errno(err, EXIT_CODE_HOST, ENOMEM, "cannot make the ticker");
	ticker->engine = engine;
	for (unsigned i = 0; i < engine->nr_vcpus; i++)
		atomic_init(&ticker->deadlines[i], UINT64_MAX);
	ret = pthread_create(&ticker->thread, NULL, run, ticker);
	if (ret) {
		free(ticker);
		return error_set_errno(err, EXIT_CODE_HOST, ret, "cannot start the ticker");
	}
	engine->ticker = ticker;
	return 0;
}

void ticker_destroy(struct soft_engine *engine)
{
	struct ticker *ticker = engine->ticker;

	if (!ticker)
		return;
	atomic_store(&ticker->stop, true);
	wake(ticker);
	pthread_join(ticker->thread, NULL);
	free(ticker);
	engine->ticker = NULL;
}
