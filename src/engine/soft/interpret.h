/*
 * The interpreter: runs cached decoded blocks. Complete, and the oracle of the translator.
 */
#ifndef ENGINE_SOFT_INTERPRET_H
#define ENGINE_SOFT_INTERPRET_H

#include "engine/soft/vcpu.h"

int block_cache_create(struct vcpu *vcpu, struct error *err);
void block_cache_destroy(struct vcpu *vcpu);

/* Runs until a request that `run` has to return for, or shutdown. Events are delivered inside. */
enum vcpu_exit_reason interpret(struct vcpu *vcpu);

/*
 * Executes one instruction or delivers one event, and returns false in shutdown. For tests, single
 * steps and lockstep.
 */
bool interpret_step(struct vcpu *vcpu);

/* The seam for the translator: what runs a vCPU between two looks at its requests. */
struct executor {
	const char *name; /* "interpret", "translate" */
	enum vcpu_exit_reason (*execute)(struct vcpu *vcpu);
};

#endif
