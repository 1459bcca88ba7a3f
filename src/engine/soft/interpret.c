/*
 * The run loop: executes blocks, and between them looks at requests, interrupts, NMI and debug
 * traps in the order of SDM 3A 6.9. One instruction at a time where something wants to be seen
 * after each: TF, RF, breakpoints, an interrupt shadow with an event waiting.
 *
 * Exceptions come back here by __builtin_longjmp from any depth (exception.c).
 */
#include "engine/soft/interpret.h"

#include "engine/soft/apic.h"
#include "engine/soft/block.h"
#include "engine/soft/code_pages.h"
#include "engine/soft/debug.h"
#include "engine/soft/exception.h"
#include "engine/soft/execute.h"
#include "engine/soft/isa.h"
#include "engine/soft/smm.h"
#include "engine/soft/vector.h"

/* Instructions between two looks at the clock for the APIC's timer. */
#define TIMER_INTERVAL 512

#define REQUESTS_SERVED                                                                            \
	(REQUEST_KICK | REQUEST_INTERRUPT | REQUEST_NMI | REQUEST_INIT | REQUEST_SIPI |            \
		REQUEST_FLUSH_TLB | REQUEST_WRITES | REQUEST_SMI)

static uint64_t pending(const struct vcpu *vcpu)
{
	return atomic_load_explicit(&vcpu->requests, memory_order_relaxed) & REQUESTS_SERVED;
}

static bool in_shadow(const struct vcpu *vcpu)
{
	return vcpu->shadow_active && vcpu->shadow_rip == vcpu->rip;
}

static bool in_mov_ss_shadow(const struct vcpu *vcpu)
{
	return in_shadow(vcpu) && vcpu->shadow_mov_ss;
}

/* Requests that cannot be served now and need not be looked at after each block. */
static uint64_t masked_requests(const struct vcpu *vcpu)
{
	uint64_t masked = 0;

	if (!(vcpu->flags_system & RFLAGS_IF))
		masked |= REQUEST_INTERRUPT;
	if (vcpu->nmi_blocked)
		masked |= REQUEST_NMI;
	if (vcpu->smm)
		masked |= REQUEST_SMI | REQUEST_INIT | REQUEST_SIPI;
	return masked;
}

static bool wants_steps(const struct vcpu *vcpu)
{
	return vcpu->flags_system & (RFLAGS_TF | RFLAGS_RF) || vcpu->dr7 & DR7_ENABLES ||
	       vcpu->debug_pending;
}

static inline bool must_look(const struct vcpu *vcpu)
{
	uint64_t requests = pending(vcpu);

	if (__builtin_expect(!(requests | vcpu->debug_pending | vcpu->activity |
				     (vcpu->flags_system & (RFLAGS_TF | RFLAGS_RF)) |
				     (vcpu->dr7 & DR7_ENABLES)),
		    1))
		return false;
	return requests & ~masked_requests(vcpu) || vcpu->activity != CPU_RUNNING ||
	       wants_steps(vcpu);
}

/* An instruction that reaches beyond CS's limit faults; those before it in the block do not. */
static const struct insn *limit_block(struct vcpu *vcpu, const struct block *block)
{
	uint32_t limit = vcpu->segment[X86_CS].limit;

	if (vcpu->rip + block->insns[0].length - 1 > limit)
		cpu_raise_error(vcpu, X86_GP, 0);
	return block->insns + 1;
}

static inline const struct insn *block_end(struct vcpu *vcpu, const struct block *block)
{
	if (vcpu->mode.insn != INSN_MODE_64 &&
		__builtin_expect(vcpu->rip + block->size - 1 > vcpu->segment[X86_CS].limit, 0))
		return limit_block(vcpu, block);
	return block->insns + block->nr_insns;
}

/*
 * Only the last instruction of a block moves next_rip, so RIP runs along in a register: through
 * memory it would be a chain of stores and loads from one instruction to the next.
 */
static inline void execute(struct vcpu *vcpu, const struct block *block, const struct insn *end)
{
	uint64_t mask = vcpu->mode.insn == INSN_MODE_64 ? ~UINT64_C(0) : UINT32_MAX;
	const struct insn *insn = block->insns;
	uint64_t next = vcpu->rip;

	vcpu->block = block;
	vcpu->block_rip = next;
	vcpu->run_end = end;
	vcpu->shadow_active = false;
	do {
		vcpu->rip = next;
		next = (next + insn->length) & mask;
		vcpu->next_rip = next;
		insn->exec(vcpu, insn);
		vector_settle(vcpu);
	} while (++insn < vcpu->run_end);
	vcpu->rip = vcpu->next_rip;
	vcpu->instructions += insn - block->insns;
}

/* Counts what a block executed before one of its instructions raised. */
static void count_interrupted(struct vcpu *vcpu)
{
	const struct block *block = vcpu->block;
	uint64_t rip = vcpu->block_rip;

	if (!block)
		return;
	for (unsigned n = 0; n < block->nr_insns && rip != vcpu->rip; n++) {
		rip += block->insns[n].length;
		vcpu->instructions++;
	}
	vcpu->block = NULL;
}

void interpret_poll_timer(struct vcpu *vcpu)
{
	uint64_t deadline = vcpu->timer_deadline_tsc;

	if (deadline != UINT64_MAX && vcpu_tsc(vcpu) >= deadline)
		apic_timer_poll(vcpu);
}

static bool repeats(const struct vcpu *vcpu, const struct block *block)
{
	const struct insn *last = &block->insns[block->nr_insns - 1];
	uint64_t last_rip = vcpu->block_rip + block->size - last->length;

	return vcpu->rip == last_rip && insn_row(last)->attributes & ISA_STRING;
}

bool interpret_must_look(const struct vcpu *vcpu)
{
	return must_look(vcpu);
}

bool interpret_block(struct vcpu *vcpu)
{
	const struct block *block = block_find(vcpu, interpret_linear_rip(vcpu));

	execute(vcpu, block, block_end(vcpu, block));
	vcpu->block = NULL;
	return repeats(vcpu, block);
}

void interpret_insn(struct vcpu *vcpu, const struct insn *insn)
{
	vcpu->block = NULL;
	vcpu->shadow_active = false;
	vcpu->next_rip = vcpu->rip + insn->length;
	insn->exec(vcpu, insn);
	vector_settle(vcpu);
	vcpu->rip = vcpu->next_rip;
	vcpu->instructions++;
}

void interpret_one(struct vcpu *vcpu)
{
	const struct block *block = block_find(vcpu, interpret_linear_rip(vcpu));

	interpret_insn(vcpu, &block->insns[0]);
	vector_leave(vcpu);
}

/*
 * A string instruction that is to go on sets RF, which an event between two iterations has in its
 * frame (SDM 3B 18.3.1.1). Called when a block has run.
 */
static void mark_repetition(struct vcpu *vcpu, const struct block *block)
{
	if (repeats(vcpu, block))
		vcpu->flags_system |= RFLAGS_RF;
}

/* Not in the function of __builtin_setjmp, which keeps nothing in registers. */
static __attribute__((noinline)) void interpret_blocks(struct vcpu *vcpu)
{
	struct block *block = NULL;
	int budget = TIMER_INTERVAL;

	while (!must_look(vcpu)) {
		block = block_follow(vcpu, block, interpret_linear_rip(vcpu));
		execute(vcpu, block, block_end(vcpu, block));
		budget -= block->cost;
		if (budget <= 0) {
			interpret_poll_timer(vcpu);
			budget = TIMER_INTERVAL;
		}
	}
	if (block)
		mark_repetition(vcpu, block);
	vcpu->block = NULL;
}

/* One instruction, with everything that can happen around it. */
static void step(struct vcpu *vcpu)
{
	const struct block *block;
	gva_t linear = interpret_linear_rip(vcpu);
	bool resume = vcpu->flags_system & RFLAGS_RF;

	if (vcpu->dr7 & DR7_ENABLES && !resume && !in_mov_ss_shadow(vcpu)) {
		uint64_t hits = debug_instruction_hits(vcpu, linear);

		if (hits)
			debug_raise(vcpu, hits);
	}
	vcpu->single_step = vcpu->flags_system & RFLAGS_TF;
	block = block_find(vcpu, linear);
	if (vcpu->mode.insn != INSN_MODE_64)
		limit_block(vcpu, block);
	vcpu->flags_system &= ~RFLAGS_RF;
	execute(vcpu, block, block->insns + 1);
	if (block->nr_insns == 1)
		mark_repetition(vcpu, block);
	if (vcpu->single_step && !in_mov_ss_shadow(vcpu))
		vcpu->debug_pending |= DR6_BS;
	vcpu->single_step = false;
	vcpu->block = NULL;
}

static void clear_request(struct vcpu *vcpu, uint64_t bits)
{
	atomic_fetch_and(&vcpu->requests, ~bits);
}

/* This thread is the one that looks: nobody to wake. */
static void set_request(struct vcpu *vcpu, uint64_t bits)
{
	atomic_fetch_or(&vcpu->requests, bits);
}

static bool try_smi(struct vcpu *vcpu)
{
	if (vcpu->smm || in_shadow(vcpu))
		return false;
	clear_request(vcpu, REQUEST_SMI);
	smm_enter(vcpu);
	return true;
}

static bool try_nmi(struct vcpu *vcpu)
{
	if (vcpu->nmi_blocked || in_mov_ss_shadow(vcpu))
		return false;
	clear_request(vcpu, REQUEST_NMI);
	vcpu->activity = CPU_RUNNING;
	cpu_deliver_nmi(vcpu);
	return true;
}

static bool try_interrupt(struct vcpu *vcpu)
{
	int vector;

	clear_request(vcpu, REQUEST_INTERRUPT);
	if (!apic_interrupt_ready(vcpu))
		return false;
	set_request(vcpu, REQUEST_INTERRUPT);
	if (!(vcpu->flags_system & RFLAGS_IF) || in_shadow(vcpu))
		return false;
	vector = apic_acknowledge(vcpu);
	if (vector < 0)
		return false;
	vcpu->activity = CPU_RUNNING;
	cpu_deliver_interrupt(vcpu, vector);
	return true;
}

/* What set_state found recognised but not delivered. */
static bool deliver_restored(struct vcpu *vcpu)
{
	if (vcpu->exception_pending) {
		exception_deliver_pending(vcpu);
		return true;
	}
	if (vcpu->interrupt_pending) {
		vcpu->interrupt_pending = false;
		cpu_deliver_interrupt(vcpu, vcpu->interrupt_vector);
		return true;
	}
	return false;
}

/* Delivers at most one event; true if it did. */
static bool deliver_event(struct vcpu *vcpu)
{
	uint64_t requests = pending(vcpu);

	if (vcpu->exception_pending || vcpu->interrupt_pending)
		return deliver_restored(vcpu);
	if (vcpu->debug_pending && !in_mov_ss_shadow(vcpu))
		debug_raise(vcpu, vcpu->debug_pending);
	if (vcpu->activity == CPU_WAIT_FOR_SIPI)
		return false;
	if (requests & REQUEST_SMI && try_smi(vcpu))
		return true;
	if (requests & REQUEST_NMI && try_nmi(vcpu))
		return true;
	return requests & REQUEST_INTERRUPT && try_interrupt(vcpu);
}

/* Sleeps. A masked interrupt must neither keep the processor awake nor be forgotten. */
static void rest(struct vcpu *vcpu)
{
	uint64_t masked = pending(vcpu) & masked_requests(vcpu);

	if (vcpu->activity == CPU_WAIT_FOR_SIPI)
		masked = pending(vcpu) & (REQUEST_INTERRUPT | REQUEST_NMI | REQUEST_SMI);
	clear_request(vcpu, masked);
	atomic_store(&vcpu->quiescent, true);
	vcpu_wait(vcpu);
	atomic_store(&vcpu->quiescent, false);
	interpret_poll_timer(vcpu);
	set_request(vcpu, masked | REQUEST_INTERRUPT);
}

/* Requests of others that are not events. */
static void serve_requests(struct vcpu *vcpu)
{
	uint64_t requests = pending(vcpu);
	uint64_t start = vcpu->smm ? 0 : requests & (REQUEST_INIT | REQUEST_SIPI);

	if (requests & REQUEST_WRITES)
		code_pages_answer(vcpu);
	if (requests & REQUEST_FLUSH_TLB) {
		clear_request(vcpu, REQUEST_FLUSH_TLB);
		vcpu_take_flush(vcpu);
	}
	if (start) {
		clear_request(vcpu, start);
		vcpu_take_init_sipi(vcpu, start);
	}
}

/* What runs in SMM is seldom and short, and may see memory that others do not: it is not
 * translated. */
static __attribute__((noinline)) void interpret_smm(struct vcpu *vcpu)
{
	bool repeats = false;

	while (vcpu->smm && !vcpu->shutdown && !must_look(vcpu)) {
		repeats = interpret_block(vcpu);
		interpret_poll_timer(vcpu);
	}
	if (repeats)
		vcpu->flags_system |= RFLAGS_RF;
}

static bool event_waits_for_shadow(const struct vcpu *vcpu)
{
	return in_shadow(vcpu) && pending(vcpu) & ~masked_requests(vcpu);
}

static enum vcpu_exit_reason run(struct vcpu *vcpu, run_blocks *run_blocks)
{
	while (!vcpu->shutdown) {
		if (pending(vcpu) & REQUEST_KICK) {
			clear_request(vcpu, REQUEST_KICK);
			return VCPU_EXIT_KICKED;
		}
		serve_requests(vcpu);
		if (deliver_event(vcpu))
			continue;
		if (vcpu->activity != CPU_RUNNING) {
			rest(vcpu);
		} else if (wants_steps(vcpu) || event_waits_for_shadow(vcpu)) {
			step(vcpu);
			interpret_poll_timer(vcpu);
		} else if (vcpu->smm) {
			interpret_smm(vcpu);
		} else {
			run_blocks(vcpu);
		}
	}
	return VCPU_EXIT_TRIPLE_FAULT;
}

/* An instruction raised, or the delivery of an event did. */
static void land(struct vcpu *vcpu)
{
	count_interrupted(vcpu);
	vcpu->single_step = false;
	vcpu->debug_pending = 0;
	exception_deliver(vcpu);
	if (vcpu->lockstep)
		set_request(vcpu, REQUEST_KICK);
}

enum vcpu_exit_reason interpret_with(struct vcpu *vcpu, run_blocks *run_blocks)
{
	enum vcpu_exit_reason reason;

	atomic_store(&vcpu->quiescent, false);
	if (__builtin_setjmp(vcpu->fault_frame))
		land(vcpu);
	reason = run(vcpu, run_blocks);
	atomic_store(&vcpu->quiescent, true);
	return reason;
}

enum vcpu_exit_reason interpret(struct vcpu *vcpu)
{
	return interpret_with(vcpu, interpret_blocks);
}

static bool has_come_far_enough(const struct vcpu *vcpu)
{
	return vcpu->instructions >= vcpu->lockstep->stop_at &&
	       vcpu->counters.exceptions >= vcpu->lockstep->exceptions;
}

/* As interpret_blocks, but events wait for the end. */
static void interpret_some(struct vcpu *vcpu)
{
	while (!has_come_far_enough(vcpu)) {
		uint64_t left = vcpu->lockstep->stop_at - vcpu->instructions;
		const struct block *block;
		const struct insn *end;

		if (wants_steps(vcpu))
			return;
		block = block_find(vcpu, interpret_linear_rip(vcpu));
		end = block_end(vcpu, block);
		/* 0: the next one raises. */
		if ((uint64_t)(end - block->insns) > left)
			end = block->insns + (left ? left : 1);
		execute(vcpu, block, end);
		vcpu->block = NULL;
	}
	set_request(vcpu, REQUEST_KICK);
}

void interpret_for(struct vcpu *vcpu, uint64_t instructions, uint64_t exceptions)
{
	vcpu->lockstep->exceptions = vcpu->counters.exceptions + exceptions;
	vcpu->lockstep->stop_at = vcpu->instructions + instructions;
	interpret_with(vcpu, interpret_some);
}

bool interpret_step(struct vcpu *vcpu)
{
	if (__builtin_setjmp(vcpu->fault_frame)) {
		land(vcpu);
	} else {
		serve_requests(vcpu);
		if (!deliver_event(vcpu) && vcpu->activity == CPU_RUNNING)
			step(vcpu);
	}
	return !vcpu->shutdown;
}

int interpret_try(struct vcpu *vcpu)
{
	vcpu->delivering = 0;
	if (__builtin_setjmp(vcpu->fault_frame)) {
		vcpu->single_step = false;
		return vcpu->fault_vector;
	}
	step(vcpu);
	return -1;
}

const struct executor interpret_executor = {
	.name = "interpret",
	.execute = interpret,
};
