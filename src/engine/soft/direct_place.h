/*
 * Where a vCPU's thread and its runner run. Waking a thread on another CPU takes several times as
 * long as switching to one on the same, so the two are kept on one, and let go now and then for the
 * host's scheduler to spread the load.
 */
#ifndef ENGINE_SOFT_DIRECT_PLACE_H
#define ENGINE_SOFT_DIRECT_PLACE_H

#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct direct_place {
	cpu_set_t allowed;   /* what the thread may use by itself */
	int cpu;             /* that both are bound to; -1: none */
	pid_t runner;        /* that is bound */
	uint64_t floated_at; /* host TSC */
};

void direct_place_init(struct direct_place *place);
/* Before `runner` runs. `period` is how long to keep them on one CPU, in host TSC. */
void direct_place_together(struct direct_place *place, pid_t runner, uint64_t now, uint64_t period);
void direct_place_release(struct direct_place *place);

#endif
