/*
 * Where a vCPU's thread, its runner and its ticker run. Stopping a process that computes on another
 * CPU takes up to ten times as long as on one's own, so the three are kept on one CPU while native
 * code runs, and let go now and then for the host's scheduler to spread the load: seldom, but at
 * once if the runner has to share that CPU.
 */
#ifndef ENGINE_SOFT_DIRECT_PLACE_H
#define ENGINE_SOFT_DIRECT_PLACE_H

#include "engine/soft/vcpu.h"

#include <sched.h>
#include <sys/types.h>

struct direct_place {
	cpu_set_t allowed; /* what the thread may use by itself */
	pid_t runner;      /* that is bound, 0: none */
	pid_t ticker;
	/* Host TSC. */
	uint64_t bound_at, reviewed_at, floats_until;
	ns_t used_ns; /* processor time of thread and runner at the last review */
};

/* For the calling thread, which is the vCPU's. */
void direct_place_init(struct direct_place *place);

/* Before `runner` runs. `now` is the host's TSC. */
void direct_place_together(
	struct direct_place *place, struct vcpu *vcpu, pid_t runner, uint64_t now);

/* The thread will do something else for a while, or the runner ends. */
void direct_place_release(struct direct_place *place, struct vcpu *vcpu);

#endif
