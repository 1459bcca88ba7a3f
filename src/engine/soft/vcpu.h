/*
 * A vCPU of the software engine.
 *
 * Owned by the thread that runs it, except for the fields under "any thread". Guest-visible state
 * is kept in the form that is fast to execute on; vcpu_get_state and vcpu_set_state convert to and
 * from struct cpu_state.
 *
 * Everything between vcpu_enter and vcpu_leave is compiled with -mgeneral-regs-only: the guest's
 * vector registers may be live in the host's (see vector.h), and C code must not touch them.
 */
#ifndef ENGINE_SOFT_VCPU_H
#define ENGINE_SOFT_VCPU_H

#include "engine/engine.h"
#include "engine/soft/counters.h"
#include "engine/soft/insn.h"
#include "engine/soft/mmu_space.h"
#include "engine/soft/tlb.h"
#include "engine/soft/translate.h"

#include <stdatomic.h>
#include <stdio.h>

struct soft_engine;
struct block;
struct decoded_cache;
struct thunk_cache;

/* vcpu.requests: things to do at the next instruction boundary. */
#define REQUEST_KICK      BIT(0) /* return to the caller of run */
#define REQUEST_INTERRUPT BIT(1) /* the APIC, or INTR, may have an interrupt to deliver */
#define REQUEST_NMI       BIT(2)
#define REQUEST_INIT      BIT(3)
#define REQUEST_SIPI      BIT(4) /* vcpu.sipi_vector */
#define REQUEST_FLUSH_TLB BIT(5) /* A20 or memory layout changed */
#define REQUEST_WRITES    BIT(6) /* to be cleared when no write is under way: code_pages.h */
#define REQUEST_SMI       BIT(7) /* smm.h */
/* For translated code only: */
#define REQUEST_TIMER BIT(32) /* the APIC timer may be due */
#define REQUEST_CODE  BIT(33) /* code was written: code_pages_log */

/*
 * The local APIC. Its own thread alone writes the registers; others set bits of IRR and TMR and
 * error bits, and look at where a message is addressed to, all atomically, so no lock is needed.
 */
struct apic {
	struct cpu_apic regs; /* but for IRR, TMR and the timer's current count */
	_Atomic uint32_t irr[8], tmr[8];
	_Atomic bool intr_level; /* LINT0's input from the 8259 */
	_Atomic bool extint;     /* a message of delivery mode ExtINT waits */
	/* Guest TSC when the current count was loaded: one-shot and periodic modes. */
	uint64_t timer_started_tsc;
};

/* Why decoded code or TLB entries of one mode do not serve another. */
struct vcpu_mode {
	enum insn_mode insn;
	uint8_t cpl;
	bool long_mode; /* EFER.LMA */
	bool protected_mode;
	bool virtual_8086;
	bool paging;
	bool flat; /* ES, CS, SS, DS have base 0 and limit 2^32 - 1, or 64-bit mode */
	/* A bit for each segment whose accesses only paging has to judge; see insn_direct. */
	uint8_t direct_segments;
};

/*
 * For a test that runs two vCPUs in lockstep: they have the test's time instead of the host's, and
 * leave `run` where both can be compared: whenever translated code was left, after an exception's
 * delivery, and when halted.
 */
struct vcpu_lockstep {
	uint64_t host_tsc;            /* what it takes for the host's counter */
	uint64_t stop_at, exceptions; /* interpret_for's ends, of vcpu.instructions and counters */
	bool one_block;               /* do not link blocks: translated code is left after each */
};

struct vcpu {
	/* Hot: what every instruction touches. */
	uint64_t gpr[X86_NR_GPRS];
	uint64_t no_register; /* is 0: gpr[INSN_NO_REGISTER], so to speak */
	uint64_t next_rip;    /* gpr[INSN_RIP]: where it goes on; a branch sets it, truncated */
	uint64_t rip;         /* of the instruction being executed */
	/* Arithmetic flags: OF in a byte of 0 or 1, the others in place as LAHF stores them.
	 * Together they are AX after LAHF; SETO AL: see flags.h, which stores them at once. */
	uint8_t flags_of;
	uint8_t flags_low;
	uint64_t flags_system; /* RFLAGS without RFLAGS_ARITHMETIC */
	struct vcpu_mode mode; /* derived: vcpu_update_mode */
	/* Sets of the TLB for data accesses and for fetches, derived: mmu_update_mode. */
	struct tlb_entry *tlb_data, *tlb_code;
	/* The run loop executes up to here; anybody on this thread ends the block by clearing it.
	 */
	const struct insn *run_end;
	struct cpu_segment segment[X86_NR_SEGMENTS];
	struct tlb tlb;

	/* System registers, as cpu_state names them. */
	struct cpu_table_register gdtr, idtr;
	uint64_t cr0, cr2, cr3, cr4, efer, xcr0;
	uint64_t dr[4], dr6, dr7;
	uint64_t pdpte[4];
	uint64_t star, lstar, cstar, sfmask, kernel_gs_base;
	uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
	uint64_t tsc_offset; /* guest TSC = host TSC + tsc_offset, while the clock runs: tsc.h */
	uint64_t tsc_zero_offset;    /* tsc_offset if the machine clock's offset were 0 */
	bool tsc_fresh;              /* to become the host's when the vCPU first runs: tsc.h */
	uint64_t timer_deadline_tsc; /* when the APIC timer fires, UINT64_MAX if never */
	uint64_t tsc_adjust, tsc_aux, tsc_deadline, pat, apic_base, misc_enable, spec_ctrl,
		debugctl, xss;
	uint64_t mtrr_def_type, mtrr_fixed[11], mtrr_base[8], mtrr_mask[8];
	uint64_t mcg_status, mcg_ctl, mc_bank[10][4];
	uint64_t kvm_system_time, kvm_wall_clock, kvm_poll_control;
	uint32_t kvmclock_version;
	_Atomic bool kvmclock_stale; /* to be written before the guest goes on */
	uint8_t activity;            /* enum cpu_activity */
	uint64_t shadow_rip; /* the interrupt shadow covers the instruction at this address... */
	bool shadow_active;  /* ...if set */
	bool shadow_mov_ss;
	bool nmi_blocked;
	bool exception_pending, exception_has_error; /* set by set_state only */
	uint8_t exception_vector;
	uint32_t exception_error;
	bool interrupt_pending;
	uint8_t interrupt_vector;
	bool smm, smm_nmi_blocked;
	uint32_t smbase;

	/* Exceptions, see exception.c. */
	int delivering; /* vector + 1 of the event being delivered (benign ones: X86_NMI), or 0 */
	bool delivering_external; /* ...and it sets EXT in the error code of what it raises */
	bool shutdown;            /* triple fault; set_state ends it */
	uint8_t fault_vector;     /* what cpu_raise was told, for the run loop */
	bool fault_has_error;
	uint32_t fault_error;
	bool split_locked;    /* this vCPU holds engine->split_lock, see operand.h */
	void *fault_frame[5]; /* __builtin_setjmp buffer of the run loop */
	/* Debug traps to deliver at the next boundary, as DR6 bits; see debug.h. */
	uint64_t debug_pending;
	bool single_step;          /* TF was set when the current instruction began */
	const struct block *block; /* being executed, from block_rip on; NULL between blocks */
	uint64_t block_rip;
	uint64_t instructions; /* that the interpreter has executed */
	struct vcpu_counters counters;
	ns_t spin_ns;    /* how long vcpu_wait spins before it sleeps */
	uint64_t pauses; /* PAUSE instructions, see exec_idle.c */

	/* vector.h: vector_image. */
	bool vector_live; /* they are in the host's unit */
	bool vector_away; /* they are in a runner of direct.h */
	struct cpu_xsave xsave __attribute__((aligned(64)));
	uint64_t x87_last_ip, x87_last_dp; /* guest addresses, which the host's unit cannot know */
	uint16_t x87_last_opcode;
	struct thunk_cache *thunks;
	uint32_t vector_components; /* XCR0_* of what the host's XSAVE keeps; 0: FXSAVE */

	struct mmu_spaces spaces;
	struct vcpu_lockstep *lockstep; /* NULL: it runs free */
	struct decoded_cache *blocks;
	struct translate_context translate;
	struct ticker *ticker; /* of the translator */
	struct direct *direct; /* NULL: no direct execution */
	struct direct_counters direct_counters;
	uint64_t direct_flushes; /* of the TLB, whole or in part */
	/* User code is translated until then (guest's TSC); 0: it may run natively. */
	uint64_t direct_again_tsc;

	/* Any thread. */
	_Atomic uint64_t requests;
	/* Not between the check of a write's address and the write. Set wherever the vCPU's thread
	 * may stay for long; while it is not it answers REQUEST_WRITES soon. */
	_Atomic bool quiescent;
	_Atomic uint32_t sipi_vector;
	_Atomic int futex;             /* a halted vCPU sleeps on it */
	_Atomic int direct_running;    /* the process that runs the guest's code, 0 if none does */
	_Atomic uint64_t direct_stops; /* how often it has stopped */
	_Atomic int direct_cpu;        /* 1 + the host CPU its native code is kept on, or 0 */
	struct apic apic;

	/* Immutable. */
	unsigned index;
	struct soft_engine *engine;
	struct machine *machine;
	const struct cpu_model *cpu_model;
	struct insn_features features;
	_Atomic uint64_t moved_regions; /* with REQUEST_FLUSH_TLB: see code_pages_moved */
	gpa_t a20_mask;                 /* follows the engine's on REQUEST_FLUSH_TLB */
};

struct tsc_anchor {
	uint64_t host_tsc;
	ns_t source_ns;
	_Atomic bool stale; /* some vCPU has run since */
};

struct soft_engine {
	struct engine base;
	struct vcpu *vcpus; /* base.machine->nr_vcpus of them */
	unsigned nr_vcpus;
	enum soft_mode mode;
	bool count_exactly;
	FILE *code_dump; /* NULL: off */
	/* By physical page of RAM, see code_pages.h. */
	struct code_pages *code_pages;
	struct populate *populate;
	_Atomic uint64_t a20_mask;
	unsigned host_cpus; /* that this process may use */
	/* One point of both the host's TSC and the machine clock's source: tsc.h. */
	pthread_mutex_t tsc_lock;
	struct tsc_anchor tsc_anchor;
	bool host_tsc;                   /* counters begin as the host's */
	bool host_zero_known;            /* since a vCPU ran with that; */
	uint64_t host_zero_offset;       /* then their tsc_zero_offset */
	_Atomic uint64_t direct_revokes; /* see direct_revoke */
	_Atomic uint64_t layouts;        /* changes of the memory's layout */
	/* For atomic accesses that one host instruction cannot do: MMIO, across pages. */
	pthread_mutex_t split_lock;
};

/* Sets request bits and wakes the vCPU if it sleeps. Any thread; async-signal-safe. */
void vcpu_request(struct vcpu *vcpu, uint64_t bits);

/* Derives vcpu->mode from CR0, EFER, RFLAGS.VM and the segments. Call after any of them changes. */
void vcpu_update_mode(struct vcpu *vcpu);

static inline uint64_t vcpu_rflags(const struct vcpu *vcpu)
{
	return vcpu->flags_system | RFLAGS_ONE | (vcpu->flags_low & 0xd5) |
	       (uint64_t)vcpu->flags_of << 11;
}

/* The whole state, while the vCPU is not running. set: after state_check. vcpu_state.c */
void vcpu_get_state(struct vcpu *vcpu, struct cpu_state *state);
void vcpu_set_state(struct vcpu *vcpu, const struct cpu_state *state);

/* At an instruction boundary, for the run loop: answers REQUEST_INIT and REQUEST_SIPI, in that
 * order, among `requests` (which it has taken), and REQUEST_FLUSH_TLB. */
void vcpu_take_init_sipi(struct vcpu *vcpu, uint64_t requests);
void vcpu_take_flush(struct vcpu *vcpu);

/* Blocks while the vCPU is halted or waits for SIPI and nothing is there that could end that; the
 * run loop calls it with `activity` other than CPU_RUNNING. wait.c */
void vcpu_wait(struct vcpu *vcpu);

/* Replaces all of RFLAGS; the caller has decided which bits may change. Updates the mode if VM
 * does. */
void vcpu_set_rflags(struct vcpu *vcpu, uint64_t rflags);

static inline uint64_t host_tsc(void)
{
	return __builtin_ia32_rdtsc();
}

static inline uint64_t vcpu_host_tsc(const struct vcpu *vcpu)
{
	return __builtin_expect(vcpu->lockstep != NULL, 0) ? vcpu->lockstep->host_tsc : host_tsc();
}

static inline uint64_t vcpu_tsc(const struct vcpu *vcpu)
{
	return vcpu_host_tsc(vcpu) + vcpu->tsc_offset;
}

#endif
