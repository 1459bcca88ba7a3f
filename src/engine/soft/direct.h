/*
 * Direct execution: hot user code runs natively, in a process whose address space is the guest's.
 * docs/direct-execution.md explains the design.
 *
 * It is a way of running the code of a vCPU that the translator's loop may take: all state is in
 * struct vcpu before and after.
 */
#ifndef ENGINE_SOFT_DIRECT_H
#define ENGINE_SOFT_DIRECT_H

#include "engine/soft/vcpu.h"

/* Prepares for it on every vCPU. A host that cannot is no error: the counters stay 0. */
void direct_create(struct soft_engine *engine);
void direct_destroy(struct soft_engine *engine);

/* Would user code of the current CR3 run natively, in a mode that suits? */
bool direct_wants(const struct vcpu *vcpu);

/*
 * Runs user code natively if that is worth while and possible, until something else has to be done.
 * False if nothing was run: the translator is to go on. Raises.
 */
bool direct_enter(struct vcpu *vcpu);

/* Translated code was left for a request: notes what was running. */
void direct_sample(struct vcpu *vcpu);

/* vcpu->vector_away: brings the vector registers back from the runner that has them. The vCPU's
 * thread, whose registers are not live. */
void direct_take_vectors(struct vcpu *vcpu);

/* The vCPU's thread is about to sleep, or to leave the engine. */
void direct_rest(struct vcpu *vcpu);

/* The vCPU's thread has slept: what it does first is seldom worth a native run. */
void direct_woke(struct vcpu *vcpu);

/*
 * For tests: from now on all user code of the current address space runs natively. False if the
 * host cannot.
 */
bool direct_force(struct vcpu *vcpu);
/* For tests: the current address space is hot. */
bool direct_make_hot(struct vcpu *vcpu);

/* A page that a runner may have writable holds code now: returns when none can write it. Not while
 * the caller's own vCPU runs natively. */
void direct_revoke(struct soft_engine *engine);

/* Stops a runner: direct_runner.h. */
void direct_runner_kick(int pid);

/* Ends native execution soon, because a request waits. Any thread; async-signal-safe. */
static inline void direct_kick(struct vcpu *vcpu)
{
	int pid = atomic_load(&vcpu->direct_running);

	if (pid > 0)
		direct_runner_kick(pid);
}

#endif
