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

/*
 * Executes one instruction without looking at events. Returns -1, or the vector it raised, which is
 * not delivered: vcpu->fault_error and CR2 tell the rest. For tests.
 */
int interpret_try(struct vcpu *vcpu);

/*
 * Runs until `instructions` more have been executed (an event's delivery is none) and then, if
 * `exceptions` is 1, to the delivery of an exception that the next one should raise; ends early at
 * another exception and where the processor rests. For a vCPU in lockstep.
 */
void interpret_for(struct vcpu *vcpu, uint64_t instructions, uint64_t exceptions);

/* Where RIP is in linear memory. */
static inline gva_t interpret_linear_rip(const struct vcpu *vcpu)
{
	if (vcpu->mode.insn == INSN_MODE_64)
		return vcpu->rip;
	return (uint32_t)(vcpu->rip + vcpu->segment[X86_CS].base);
}

/* What the translator shares with the interpreter's run loop: see interpret.c. */
typedef void run_blocks(struct vcpu *vcpu);
enum vcpu_exit_reason interpret_with(struct vcpu *vcpu, run_blocks *run_blocks);
bool interpret_must_look(const struct vcpu *vcpu);
/* One block; true if it ended in a string instruction that is to go on. One instruction of a block,
 * at vcpu->rip. Both raise. */
bool interpret_block(struct vcpu *vcpu);
void interpret_insn(struct vcpu *vcpu, const struct insn *insn);
/* The instruction at vcpu->rip; then the vector registers are put away. Raises. */
void interpret_one(struct vcpu *vcpu);
void interpret_poll_timer(struct vcpu *vcpu);

/* Runs in the place of insn->exec for rows that have conditions: privilege, mode, units. */
insn_exec interpret_prologue;

/* The seam for the translator: what runs a vCPU between two looks at its requests. */
struct executor {
	const char *name; /* "interpret", "translate" */
	enum vcpu_exit_reason (*execute)(struct vcpu *vcpu);
};

extern const struct executor interpret_executor, translate_executor;

#endif
