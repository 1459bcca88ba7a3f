/*
 * A TLB miss of translated code, without the interpreter: the accesses of the instruction that was
 * left are put into the TLB, if they may be, and it is executed again.
 *
 * Only pages that the instruction itself is about to reach are looked at, so that accessed and
 * dirty bits are set when they are due.
 */
#include "engine/soft/translator.h"

#include "engine/soft/operand.h"

static enum mmu_fill fill_operand(
	struct vcpu *vcpu, const struct code_mode *mode, const struct insn *insn, unsigned size)
{
	bool write = insn_row(insn)->memory & ISA_MEM_WRITE;
	gva_t address;

	vcpu->next_rip = vcpu->rip + insn->length;
	if (mode_is_wide(mode))
		address = insn_direct(vcpu, insn);
	else if (!translate_segment_linear(
			 vcpu, mode, insn->segment, insn_offset(vcpu, insn), size, &address))
		return MMU_NOT_DIRECT;
	/* It may be #GP, and then reaches nothing. */
	if (insn_row(insn)->attributes & ISA_ALIGNED && address & (size - 1))
		return MMU_NOT_DIRECT;
	return mmu_fill(vcpu, address, size, write ? MMU_WRITE : MMU_READ);
}

static enum mmu_fill fill_stack(struct vcpu *vcpu, const struct code_mode *mode, uint64_t rsp,
	unsigned size, enum mmu_access access)
{
	gva_t address = rsp;

	if (!mode_is_wide(mode) && !translate_segment_linear(vcpu, mode, X86_SS,
					   rsp & byte_mask(mode->stack_bytes), size, &address))
		return MMU_NOT_DIRECT;
	return mmu_fill(vcpu, address, size, access);
}

static enum mmu_fill fill_push(
	struct vcpu *vcpu, const struct code_mode *mode, const struct insn *insn)
{
	unsigned size = insn->operand_bytes;

	return fill_stack(vcpu, mode, vcpu->gpr[X86_RSP] - size, size, MMU_WRITE);
}

/* The operand, then the stack, unless the operand raises. */
static enum mmu_fill fill_operand_and_push(
	struct vcpu *vcpu, const struct code_mode *mode, const struct insn *insn)
{
	enum mmu_fill operand = fill_operand(vcpu, mode, insn, insn->operand_bytes);

	return operand == MMU_NOT_DIRECT ? fill_push(vcpu, mode, insn) : operand;
}

enum mmu_fill translate_fill(
	struct vcpu *vcpu, const struct code_mode *mode, const struct insn *insn)
{
	unsigned size = insn->operand_bytes;

	switch (translate_kind(insn, mode)) {
	case KIND_PLAIN:
		return insn->has_memory ? fill_operand(vcpu, mode, insn, insn->memory_bytes)
					: MMU_NOT_DIRECT;
	case KIND_JMP_OPERAND:
		return insn->has_memory ? fill_operand(vcpu, mode, insn, size) : MMU_NOT_DIRECT;
	case KIND_PUSH_OPERAND:
	case KIND_CALL_OPERAND:
		return insn->has_memory ? fill_operand_and_push(vcpu, mode, insn)
					: fill_push(vcpu, mode, insn);
	case KIND_PUSHF:
	case KIND_PUSH_REGISTER:
	case KIND_PUSH_IMMEDIATE:
	case KIND_PUSH_SEGMENT:
	case KIND_CALL: return fill_push(vcpu, mode, insn);
	case KIND_POP_REGISTER:
	case KIND_POPF:
	case KIND_RET: return fill_stack(vcpu, mode, vcpu->gpr[X86_RSP], size, MMU_READ);
	case KIND_LEAVE: return fill_stack(vcpu, mode, vcpu->gpr[X86_RBP], size, MMU_READ);
	default: return MMU_NOT_DIRECT;
	}
}
