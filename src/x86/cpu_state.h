/*
 * The architectural state of one processor: the one form in which both engines give and take it.
 *
 * It is complete at an instruction boundary: a processor stopped on one engine goes on on the
 * other. Layout is plain data without holes; x86/cpu_state.c holds the state table.
 */
#ifndef X86_CPU_STATE_H
#define X86_CPU_STATE_H

#include "state/state.h"
#include "x86/registers.h"

struct cpu_segment {
	uint64_t base;
	uint32_t limit;      /* in bytes, granularity applied */
	uint32_t attributes; /* SEG_* */
	uint16_t selector;
	uint8_t reserved[6];
};

struct cpu_table_register {
	uint64_t base;
	uint16_t limit;
	uint8_t reserved[6];
};

/*
 * The XSAVE area in standard format (SDM 1 13.4) with x87, SSE and AVX; what XRSTOR takes.
 * FIP and FDP are the 64-bit forms. Must be 64-byte aligned where the processor touches it.
 */
struct cpu_xsave {
	uint16_t fcw, fsw;
	uint8_t ftw; /* abridged: a bit is set if the register is not empty */
	uint8_t reserved0;
	uint16_t fop;
	uint64_t fip, fdp;
	uint32_t mxcsr, mxcsr_mask;
	uint8_t st[8][16];
	uint8_t xmm[16][16];
	uint8_t reserved1[96];
	uint64_t xstate_bv;
	uint64_t xcomp_bv;
	uint8_t reserved2[48];
	uint8_t ymm_high[16][16];
};

/* The local APIC (SDM 3A 11.4); registers as they read in MMIO, times as remaining durations. */
struct cpu_apic {
	uint32_t id; /* the x2APIC id; xAPIC shows the low byte */
	uint32_t tpr;
	uint32_t ldr;
	uint32_t dfr;
	uint32_t svr;
	uint32_t esr;         /* as last latched by a write */
	uint32_t esr_pending; /* errors since */
	uint32_t icr_low;
	uint32_t icr_high;
	uint32_t lvt_cmci;
	uint32_t lvt_timer;
	uint32_t lvt_thermal;
	uint32_t lvt_performance;
	uint32_t lvt_lint0;
	uint32_t lvt_lint1;
	uint32_t lvt_error;
	uint32_t timer_initial;
	uint32_t timer_current; /* one-shot and periodic modes: counts left at the time of saving */
	uint32_t timer_divide;
	uint32_t isr[8];
	uint32_t tmr[8];
	uint32_t irr[8];
	uint8_t reserved[4];
};

/* Bits 17 and 15..0: with AMD's misaligned exception mask. */
#define CPU_MXCSR_WRITABLE 0x2ffff

#define CPU_MTRR_ENABLE    BIT(11)
#define CPU_MEMORY_TYPE_WB 6

#define CPU_APIC_LVT_MASKED BIT(16)

#define CPU_SMBASE_RESET 0x30000

/* IA32_MISC_ENABLE after reset: fast strings; BTS and PEBS are unavailable. */
#define CPU_MISC_ENABLE_RESET (BIT(0) | BIT(11) | BIT(12))

enum cpu_activity {
	CPU_RUNNING,
	CPU_HALTED,
	CPU_WAIT_FOR_SIPI, /* after INIT */
};

struct cpu_state {
	uint64_t gpr[X86_NR_GPRS];
	uint64_t rip;
	uint64_t rflags;
	struct cpu_segment segment[X86_NR_SEGMENTS];
	struct cpu_table_register gdtr, idtr;
	uint64_t cr0, cr2, cr3, cr4;
	uint64_t efer;
	uint64_t xcr0;
	uint64_t dr[4];
	uint64_t dr6, dr7;
	/* PAE's four page-directory pointers, loaded with CR3 (SDM 3A 4.4.1). */
	uint64_t pdpte[4];

	uint64_t star, lstar, cstar, sfmask;
	uint64_t kernel_gs_base;
	uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
	uint64_t tsc; /* the guest's counter at guest time `tsc_time_ns` */
	int64_t tsc_time_ns;
	uint64_t tsc_adjust;
	uint64_t tsc_aux;
	uint64_t tsc_deadline;
	uint64_t pat;
	uint64_t apic_base;
	uint64_t misc_enable;
	uint64_t spec_ctrl;
	uint64_t debugctl;
	uint64_t xss;
	uint64_t mtrr_def_type;
	uint64_t mtrr_fixed[11];
	uint64_t mtrr_base[8], mtrr_mask[8];
	uint64_t mcg_status, mcg_ctl;
	uint64_t mc_bank[10][4];  /* CTL, STATUS, ADDR, MISC */
	uint64_t kvm_system_time; /* MSR_KVM_SYSTEM_TIME as written */
	uint64_t kvm_wall_clock;
	uint64_t kvm_pv_eoi; /* MSR_KVM_PV_EOI_EN; the software engine drops it */
	uint64_t kvm_poll_control;

	uint8_t activity;             /* enum cpu_activity */
	bool interrupt_shadow;        /* STI or MOV SS: interrupts wait for one instruction */
	bool interrupt_shadow_mov_ss; /* the shadow is MOV SS's: debug traps and NMI wait too */
	bool nmi_blocked;             /* until IRET */
	bool nmi_pending;
	/* An event that was recognised but not yet delivered; re-delivered first. */
	bool exception_pending;
	bool exception_has_error;
	uint8_t exception_vector;
	uint32_t exception_error;
	bool interrupt_pending; /* an acknowledged external interrupt, not yet delivered */
	uint8_t interrupt_vector;
	/* System management mode (APM 2, 10). */
	bool smm;
	bool smm_nmi_blocked; /* nmi_blocked, when it was entered */
	bool smi_pending;
	bool init_pending; /* waits for the end of SMM */
	uint8_t reserved[2];
	uint32_t smbase;

	struct cpu_apic apic;
	uint8_t reserved_before_xsave[32];
	struct cpu_xsave xsave __attribute__((aligned(64)));
};

extern const struct state_table cpu_state_table;

/*
 * The state after power-on or reset (SDM 3A table 10-1) of vCPU `index`; the first is the bootstrap
 * processor, the others wait for SIPI. `pat` and the APIC included; `tsc` is left 0.
 */
void cpu_state_reset(struct cpu_state *state, unsigned index);

/* The state that INIT sets (SDM 3A table 10-1, column INIT): keeps FPU, MTRR, TSC and most MSRs. */
void cpu_state_init(struct cpu_state *state, unsigned index);

/*
 * What firmware changes on every processor before it gives the machine away: caches on, memory
 * write-back unless page tables say otherwise, and on the bootstrap processor the 8259 wired
 * through the local APIC (MP 1.4, 3.6.2.2, virtual wire mode).
 */
void cpu_state_firmware(struct cpu_state *state, unsigned index);

#endif
