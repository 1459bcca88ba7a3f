/*
 * A TLB miss of translated code, without the interpreter: the accesses of the instruction that was
 * left are put into the TLB, if they may be, and it is executed again.
 *
 * Only pages that the instruction itself is about to reach are looked at, so that accessed and
 * dirty bits are set when they are due.
 */
#include "engine/soft/translator.h"

#include "engine/soft/operand.h"

static enum mmu_fill fill_operand(struct vcpu *vcpu, const struct insn *insn, unsigned size)
{
	bool write = insn_row(insn)->memory & ISA_MEM_WRITE;
	gva_t address;

	vcpu->next_rip = vcpu->rip + insn->length;
	address = insn_direct(vcpu, insn);
	/* It may be #GP, and then reaches nothing. */
	if (insn_row(insn)->attributes & ISA_ALIGNED && address & (size - 1))
		return MMU_NOT_DIRECT;
	return mmu_fill(vcpu, address, size, write ? MMU_WRITE : MMU_READ);
}

static enum mmu_fill fill_push(struct vcpu *vcpu)
{
	return mmu_fill(vcpu, vcpu->gpr[X86_RSP] - 8, 8, MMU_WRITE);
}

/* The operand, then the stack, unless the operand raises. */
static enum mmu_fill fill_operand_and_push(struct vcpu *vcpu, const struct insn *insn)
{
	enum mmu_fill operand = fill_operand(vcpu, insn, 8);

	return operand == MMU_NOT_DIRECT ? fill_push(vcpu) : operand;
}

enum mmu_fill translate_fill(struct vcpu *vcpu, const struct insn *insn)
{
	unsigned set = vcpu->mode.cpl == 3 ? TLB_USER : TLB_SUPERVISOR;

	switch (translate_kind(insn, set)) {
	case KIND_PLAIN:
		return insn->has_memory ? fill_operand(vcpu, insn, insn->memory_bytes)
					: MMU_NOT_DIRECT;
	case KIND_JMP_OPERAND:
		return insn->has_memory ? fill_operand(vcpu, insn, 8) : MMU_NOT_DIRECT;
	case KIND_PUSH_OPERAND:
	case KIND_CALL_OPERAND:
		return insn->has_memory ? fill_operand_and_push(vcpu, insn) : fill_push(vcpu);
	case KIND_PUSHF:
	case KIND_PUSH_REGISTER:
	case KIND_PUSH_IMMEDIATE:
	case KIND_CALL: return fill_push(vcpu);
	case KIND_POP_REGISTER:
	case KIND_POPF:
	case KIND_RET: return mmu_fill(vcpu, vcpu->gpr[X86_RSP], 8, MMU_READ);
	case KIND_LEAVE: return mmu_fill(vcpu, vcpu->gpr[X86_RBP], 8, MMU_READ);
	default: return MMU_NOT_DIRECT;
	}
}
