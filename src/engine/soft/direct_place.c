/*
 * Placement by affinity (direct_place.h). For the vCPU's thread.
 *
 * While they are bound, thread and runner together use all of a CPU: the thread waits for nothing
 * but the runner, and lets go before it sleeps. If they get less, others want that CPU.
 */
#include "engine/soft/direct_place.h"

#include "base/bits.h"
#include "engine/soft/direct_runner.h"
#include "engine/soft/ticker.h"
#include "engine/soft/tsc.h"

#include <stddef.h>

#define TOGETHER_NS (200 * NS_PER_MS)
#define REVIEW_NS   (8 * NS_PER_MS)
#define FLOAT_NS    NS_PER_MS
/* Of a CPU, what thread and runner must get together to stay there. */
#define ENOUGH_PERCENT 75

static ns_t used(pid_t runner)
{
	return direct_thread_time() + direct_runner_time(runner);
}

void direct_place_init(struct direct_place *place)
{
	*place = (struct direct_place){ 0 };
	if (sched_getaffinity(0, sizeof(place->allowed), &place->allowed) < 0)
		CPU_ZERO(&place->allowed);
}

static void set_affinity(pid_t tid, const cpu_set_t *cpus)
{
	if (tid > 0)
		sched_setaffinity(tid, sizeof(*cpus), cpus);
}

void direct_place_release(struct direct_place *place, struct vcpu *vcpu)
{
	if (atomic_load(&vcpu->direct_cpu) == 0)
		return;
	sched_setaffinity(0, sizeof(place->allowed), &place->allowed);
	set_affinity(place->runner, &place->allowed);
	set_affinity(place->ticker, &place->allowed);
	atomic_store(&vcpu->direct_cpu, 0);
	place->runner = 0;
}

static bool is_taken(const struct vcpu *vcpu, unsigned cpu)
{
	const struct soft_engine *engine = vcpu->engine;

	for (unsigned i = 0; i < engine->nr_vcpus; i++)
		if (&engine->vcpus[i] != vcpu &&
			atomic_load(&engine->vcpus[i].direct_cpu) == (int)cpu + 1)
			return true;
	return false;
}

/* Where the host's scheduler has put the thread, unless another vCPU is bound there. */
static int choose(const struct direct_place *place, const struct vcpu *vcpu)
{
	int here = sched_getcpu();

	if (here < 0 || !is_taken(vcpu, (unsigned)here))
		return here;
	for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &place->allowed) && !is_taken(vcpu, cpu))
			return (int)cpu;
	return here;
}

static void bind(struct direct_place *place, struct vcpu *vcpu, pid_t runner, uint64_t now)
{
	int cpu = choose(place, vcpu);
	cpu_set_t one;

	if (cpu < 0)
		return;
	CPU_ZERO(&one);
	CPU_SET((unsigned)cpu, &one);
	atomic_store(&vcpu->direct_cpu, cpu + 1);
	place->runner = runner;
	place->ticker = ticker_thread(vcpu);
	set_affinity(runner, &one);
	set_affinity(place->ticker, &one);
	sched_setaffinity(0, sizeof(one), &one);
	place->bound_at = place->reviewed_at = now;
	place->used_ns = used(runner);
}

/* Another address space's runner takes the place of the one that is bound. */
static void replace(struct direct_place *place, struct vcpu *vcpu, pid_t runner)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET((unsigned)atomic_load(&vcpu->direct_cpu) - 1, &one);
	set_affinity(place->runner, &place->allowed);
	set_affinity(runner, &one);
	place->used_ns += direct_runner_time(runner) - direct_runner_time(place->runner);
	place->runner = runner;
}

/* Is it time to let the host's scheduler choose? */
static bool must_float(struct direct_place *place, const struct vcpu *vcpu, uint64_t now)
{
	uint64_t passed = now - place->reviewed_at;
	uint64_t got;
	ns_t used_ns;

	if (passed < tsc_of_ns(vcpu, REVIEW_NS))
		return false;
	used_ns = used(place->runner);
	got = tsc_of_ns(vcpu, used_ns - place->used_ns);
	place->reviewed_at = now;
	place->used_ns = used_ns;
	return got < passed * ENOUGH_PERCENT / 100 ||
	       now - place->bound_at > tsc_of_ns(vcpu, TOGETHER_NS);
}

void direct_place_together(
	struct direct_place *place, struct vcpu *vcpu, pid_t runner, uint64_t now)
{
	if (atomic_load(&vcpu->direct_cpu) == 0) {
		if (now >= place->floats_until)
			bind(place, vcpu, runner, now);
		return;
	}
	if (runner != place->runner)
		replace(place, vcpu, runner);
	if (must_float(place, vcpu, now)) {
		direct_place_release(place, vcpu);
		place->floats_until = now + tsc_of_ns(vcpu, FLOAT_NS);
	}
}
