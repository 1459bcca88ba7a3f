/*
 * System management mode of a vCPU (APM 2, 10; docs/smm.md).
 */
#ifndef ENGINE_SOFT_SMM_H
#define ENGINE_SOFT_SMM_H

#include "engine/soft/vcpu.h"

/*
 * What a processor writes at SMBASE + FE00H when it enters SMM, and RSM reads (APM 2, table 10-1).
 * Attributes are those of struct cpu_segment, without SEG_UNUSABLE: SEG_P is clear instead.
 */
struct smm_segment {
	uint16_t selector, attributes;
	uint32_t limit;
	uint64_t base;
};

struct smm_map {
	struct smm_segment segment[6]; /* as enum x86_segment has them */
	struct smm_segment gdtr, ldtr, idtr, tr;
	uint64_t io_restart_registers[4]; /* RIP, RCX, RSI, RDI */
	uint32_t io_restart_port;         /* bit 0: it holds something */
	uint32_t local_status;
	uint8_t io_restart;
	uint8_t halt_restart; /* entered from HLT, and RSM goes back to it */
	uint8_t reserved0[6];
	uint64_t efer;
	uint64_t svm_guest[3];
	uint8_t reserved1[12];
	uint32_t revision;
	uint32_t smbase;
	uint8_t reserved2[28];
	uint64_t svm_host[5];
	uint64_t cr4, cr3, cr0, dr7, dr6, rflags, rip;
	uint64_t gpr[X86_NR_GPRS]; /* R15 first */
};
_Static_assert(sizeof(struct smm_map) == 0x200, "the save map ends at SMBASE + FFFFH");

#define SMM_MAP_OFFSET   0xfe00
#define SMM_ENTRY_OFFSET 0x8000
#define SMM_REVISION     0x20064 /* AMD64's layout; SMBASE can be moved, I/O is not restarted */

/* SMI#, any thread. Nothing, if the machine has no SMM. */
void smm_request(struct vcpu *vcpu);

/* For the run loop, between two instructions, if the vCPU is not in SMM. */
void smm_enter(struct vcpu *vcpu);

#endif
