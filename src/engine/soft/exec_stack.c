/*
 * PUSH, POP, PUSHA, POPA, ENTER, LEAVE (SDM 2).
 *
 * PUSHA, POPA and ENTER do their accesses one by one and move RSP last, as processors do: a fault
 * in the middle leaves a part of them done, and they can be restarted.
 */
#include "engine/soft/operand.h"

static unsigned stack_width(const struct vcpu *vcpu, const struct insn *insn)
{
	if (insn->stack_bytes)
		return insn->stack_bytes;
	return vcpu->segment[X86_SS].attributes & SEG_DB ? 4 : 2;
}

#define PUSH(s)                                                                                    \
	EXEC(exec_push_r_##s##_r)                                                                  \
	{                                                                                          \
		stack_push(vcpu, sizeof(operand_##s), reg_read_##s(vcpu, insn->reg));              \
	}                                                                                          \
	EXEC(exec_push_imm_##s##_r)                                                                \
	{                                                                                          \
		stack_push(vcpu, sizeof(operand_##s), (operand_##s)insn->imm);                     \
	}                                                                                          \
	EXEC(exec_pop_r_##s##_r)                                                                   \
	{                                                                                          \
		reg_write_##s(vcpu, insn->reg, (operand_##s)stack_pop(vcpu, sizeof(operand_##s))); \
	}
#define PUSH_E(s, k)                                                                               \
	EXEC(exec_push_ev_##s##_##k)                                                               \
	{                                                                                          \
		stack_push(vcpu, sizeof(operand_##s), rm_read_##s##_##k(vcpu, insn));              \
	}
FOR_WIDE_SIZES(PUSH)
FOR_WIDE_OPERANDS(PUSH_E)

/* RSP as the base of the destination counts after the pop. */
#define POP_E(s)                                                                                   \
	EXEC(exec_pop_ev_##s##_r)                                                                  \
	{                                                                                          \
		reg_write_##s(vcpu, insn->rm, (operand_##s)stack_pop(vcpu, sizeof(operand_##s)));  \
	}                                                                                          \
	EXEC(exec_pop_ev_##s##_m)                                                                  \
	{                                                                                          \
		unsigned bytes = sizeof(operand_##s);                                              \
		uint64_t value = stack_peek(vcpu, bytes, 0);                                       \
		uint64_t rsp = vcpu->gpr[X86_RSP], offset;                                         \
                                                                                                   \
		stack_adjust(vcpu, bytes);                                                         \
		offset = insn_offset(vcpu, insn);                                                  \
		vcpu->gpr[X86_RSP] = rsp;                                                          \
		mmu_write_sized(vcpu,                                                              \
			segment_linear(vcpu, insn->segment, offset, bytes, MMU_WRITE), bytes,      \
			value);                                                                    \
		stack_adjust(vcpu, bytes);                                                         \
	}
FOR_WIDE_SIZES(POP_E)

static gva_t stack_linear(struct vcpu *vcpu, const struct insn *insn, uint64_t offset,
	unsigned bytes, enum mmu_access access)
{
	offset &= byte_mask(stack_width(vcpu, insn));
	return segment_linear(vcpu, X86_SS, offset, bytes, access);
}

static uint64_t read_stack(struct vcpu *vcpu, const struct insn *insn, uint64_t offset)
{
	unsigned bytes = insn->operand_bytes;

	return mmu_read_sized(vcpu, stack_linear(vcpu, insn, offset, bytes, MMU_READ), bytes);
}

static void write_stack(struct vcpu *vcpu, const struct insn *insn, uint64_t offset, uint64_t value)
{
	unsigned bytes = insn->operand_bytes;

	mmu_write_sized(vcpu, stack_linear(vcpu, insn, offset, bytes, MMU_WRITE), bytes, value);
}

EXEC(exec_pusha)
{
	unsigned bytes = insn->operand_bytes;
	uint64_t top = vcpu->gpr[X86_RSP];

	for (unsigned n = X86_RAX; n <= X86_RDI; n++) {
		top -= bytes;
		write_stack(vcpu, insn, top, vcpu->gpr[n]);
	}
	gpr_write(vcpu, X86_RSP, stack_width(vcpu, insn), top);
}

/* The saved RSP is skipped. */
EXEC(exec_popa)
{
	unsigned bytes = insn->operand_bytes;
	uint64_t top = vcpu->gpr[X86_RSP];

	for (unsigned n = X86_RDI + 1; n-- > X86_RAX; top += bytes) {
		uint64_t value = read_stack(vcpu, insn, top);

		if (n != X86_RSP)
			gpr_write(vcpu, n, bytes, value);
	}
	gpr_write(vcpu, X86_RSP, stack_width(vcpu, insn), top);
}

/* imm is the frame's size, imm2 the nesting level: how many frame pointers the frame gets. That the
 * frame's end could be written is checked, too. */
EXEC(exec_enter)
{
	unsigned bytes = insn->operand_bytes, width = stack_width(vcpu, insn);
	unsigned level = insn->imm2 & 31;
	uint64_t rbp = vcpu->gpr[X86_RBP], top = vcpu->gpr[X86_RSP] - bytes;
	uint64_t frame = top;

	write_stack(vcpu, insn, top, rbp);
	for (unsigned i = 1; i < level; i++) {
		rbp -= bytes;
		top -= bytes;
		write_stack(vcpu, insn, top, read_stack(vcpu, insn, rbp));
	}
	if (level) {
		top -= bytes;
		write_stack(vcpu, insn, top, frame);
	}
	top -= (uint16_t)insn->imm;
	mmu_probe_write(vcpu, stack_linear(vcpu, insn, top, bytes, MMU_WRITE), bytes);
	gpr_write(vcpu, X86_RBP, bytes, frame & byte_mask(width));
	gpr_write(vcpu, X86_RSP, width, top);
}

EXEC(exec_leave)
{
	unsigned bytes = insn->operand_bytes, width = stack_width(vcpu, insn);
	uint64_t rbp = vcpu->gpr[X86_RBP];
	gva_t address = stack_linear(vcpu, insn, rbp, bytes, MMU_READ);
	uint64_t value = mmu_read_sized(vcpu, address, bytes);

	gpr_write(vcpu, X86_RSP, width, rbp + bytes);
	gpr_write(vcpu, X86_RBP, bytes, value);
}
