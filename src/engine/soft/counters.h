/*
 * What the software engine counts for --stats: one table, SOFT_COUNTERS in counters.c, says what
 * each counter means and where it is kept. Each is owned by its vCPU's thread and is read when that
 * is stopped.
 */
#ifndef ENGINE_SOFT_COUNTERS_H
#define ENGINE_SOFT_COUNTERS_H

#include "engine/engine.h"

struct soft_engine;

/* Those of a vCPU, whatever executes it. */
struct vcpu_counters {
	uint64_t tlb_misses[3]; /* enum mmu_access: walks of the page tables for an access */
	uint64_t device_accesses;
	uint64_t interrupts, exceptions;
};

/* Of direct execution: direct.h. */
struct direct_counters {
	uint64_t entries, spaces, pauses, run_tsc;
	/* Why it ended. */
	uint64_t system_calls, kicks, faults_mapped, faults_interpreted, exceptions, unfit;
};

/* Sums over all vCPUs; as engine_ops.counters. */
unsigned soft_counters(struct engine *base, struct engine_counter *counters, unsigned max);

#endif
