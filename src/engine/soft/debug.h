/*
 * Debug registers: breakpoints, single step, and the traps they leave for the next boundary
 * (SDM 3B chapter 18).
 */
#ifndef ENGINE_SOFT_DEBUG_H
#define ENGINE_SOFT_DEBUG_H

#include "engine/soft/mmu.h"

#define DR6_B    BITS(3, 0)
#define DR6_BD   BIT(13)
#define DR6_BS   BIT(14)
#define DR6_BT   BIT(15)
#define DR6_ONES UINT64_C(0xffff0ff0) /* read as 1; bit 16 is RTM, which is not modelled */

#define DR7_ENABLES BITS(7, 0)
#define DR7_GD      BIT(13)
#define DR7_ONES    BIT(10)
#define DR7_ZEROS   (BITS(15, 14) | BIT(12) | BIT(11))

/* A data or I/O breakpoint is enabled. */
bool debug_watches_data(const struct vcpu *vcpu);

/* A data access was made: notes what it hit in debug_pending. */
void debug_data_access(struct vcpu *vcpu, gva_t address, unsigned size, enum mmu_access access);

/* Likewise for ports (CR4.DE). IN, OUT, INS and OUTS call it after the access. */
void debug_io_access(struct vcpu *vcpu, uint16_t port, unsigned size);

/* Instruction breakpoints at linear `address`, as DR6 bits. */
uint64_t debug_instruction_hits(const struct vcpu *vcpu, gva_t address);

/* Delivers #DB with `hits` merged into DR6; as a trap, or (instruction breakpoints) a fault. */
_Noreturn void debug_raise(struct vcpu *vcpu, uint64_t hits);

/* DR7 was replaced. */
void debug_update(struct vcpu *vcpu);

#endif
