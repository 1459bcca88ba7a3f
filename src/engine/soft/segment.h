/*
 * Segmentation: from a logical to a linear address, loading segment registers, far transfers.
 * SDM 3A chapters 3, 5 and 7.
 */
#ifndef ENGINE_SOFT_SEGMENT_H
#define ENGINE_SOFT_SEGMENT_H

#include "engine/soft/mmu.h"

/*
 * The linear address of `size` bytes at `offset` in `segment`. Raises #SS(0) for SS and #GP(0) for
 * others on a limit, type or canonicality violation. In 64-bit mode only FS and GS have a base.
 */
gva_t segment_linear_checked(struct vcpu *vcpu, unsigned segment, uint64_t offset, unsigned size,
	enum mmu_access access);

static inline gva_t segment_linear(
	struct vcpu *vcpu, unsigned segment, uint64_t offset, unsigned size, enum mmu_access access)
{
	if (vcpu->mode.insn == INSN_MODE_64 && segment < X86_FS && x86_is_canonical(offset) &&
		x86_is_canonical(offset + size - 1))
		return offset;
	if (vcpu->mode.flat && segment < X86_FS && offset + size - 1 <= UINT32_MAX &&
		!(segment == X86_CS && access == MMU_WRITE))
		return offset;
	return segment_linear_checked(vcpu, segment, offset, size, access);
}

/* MOV and POP to a segment register, LDS and its kin: all checks of SDM 2, MOV. Not for CS. */
void segment_load(struct vcpu *vcpu, unsigned segment, uint16_t selector);

/* Far transfers; each does all of its checks, gates and task switches included, and sets
 * next_rip. `operand_bytes` is 2, 4 or 8. */
void far_jump(struct vcpu *vcpu, uint16_t selector, uint64_t offset, unsigned operand_bytes);
void far_call(struct vcpu *vcpu, uint16_t selector, uint64_t offset, unsigned operand_bytes);
void far_return(struct vcpu *vcpu, unsigned operand_bytes, unsigned pop_bytes);
void interrupt_return(struct vcpu *vcpu, unsigned operand_bytes);

enum task_switch_cause { TASK_SWITCH_JUMP, TASK_SWITCH_CALL, TASK_SWITCH_RETURN, TASK_SWITCH_GATE };
/* `error` < 0: none to push. */
void task_switch(struct vcpu *vcpu, uint16_t selector, enum task_switch_cause cause, int64_t error);

#endif
