/*
 * PUSH, POP, PUSHA, POPA, ENTER, LEAVE (SDM 2).
 *
 * PUSHA, POPA and ENTER do their accesses one by one and move RSP last, as processors do: a fault
 * in the middle leaves a part of them done, and they can be restarted.
 */
#include "engine/soft/descriptor.h"
#include "engine/soft/operand.h"

static unsigned width(const struct vcpu *vcpu)
{
	return stack_width(vcpu, &vcpu->segment[X86_SS]);
}

/* Operands of 8 bytes are 64-bit mode's. */
#define PUSH_w(value) stack_push(vcpu, 2, value)
#define PUSH_l(value) stack_push(vcpu, 4, value)
#define PUSH_q(value) push_quad(vcpu, value)

#define PUSH(s)                                                                                    \
	EXEC(exec_push_r_##s##_r)                                                                  \
	{                                                                                          \
		PUSH_##s(reg_read_##s(vcpu, insn->reg));                                           \
	}                                                                                          \
	EXEC(exec_push_imm_##s##_r)                                                                \
	{                                                                                          \
		PUSH_##s((operand_##s)insn->imm);                                                  \
	}
#define PUSH_E(s, k)                                                                               \
	EXEC(exec_push_ev_##s##_##k)                                                               \
	{                                                                                          \
		PUSH_##s(rm_read_##s##_##k(vcpu, insn));                                           \
	}
FOR_WIDE_SIZES(PUSH)
FOR_WIDE_OPERANDS(PUSH_E)

EXEC(exec_pop_r_w_r)
{
	reg_write_w(vcpu, insn->reg, (uint16_t)stack_pop(vcpu, 2));
}

EXEC(exec_pop_r_l_r)
{
	reg_write_l(vcpu, insn->reg, (uint32_t)stack_pop(vcpu, 4));
}

EXEC(exec_pop_r_q_r)
{
	uint64_t value = peek_quad(vcpu);

	vcpu->gpr[X86_RSP] += 8;
	vcpu->gpr[insn->reg] = value;
}

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

static gva_t stack_linear(
	struct vcpu *vcpu, uint64_t offset, unsigned bytes, enum mmu_access access)
{
	return segment_linear(vcpu, X86_SS, offset & byte_mask(width(vcpu)), bytes, access);
}

static uint64_t read_stack(struct vcpu *vcpu, const struct insn *insn, uint64_t offset)
{
	unsigned bytes = insn->operand_bytes;

	return mmu_read_sized(vcpu, stack_linear(vcpu, offset, bytes, MMU_READ), bytes);
}

static void write_stack(struct vcpu *vcpu, const struct insn *insn, uint64_t offset, uint64_t value)
{
	unsigned bytes = insn->operand_bytes;

	mmu_write_sized(vcpu, stack_linear(vcpu, offset, bytes, MMU_WRITE), bytes, value);
}

EXEC(exec_pusha)
{
	unsigned bytes = insn->operand_bytes;
	uint64_t top = vcpu->gpr[X86_RSP];

	for (unsigned n = X86_RAX; n <= X86_RDI; n++) {
		top -= bytes;
		write_stack(vcpu, insn, top, vcpu->gpr[n]);
	}
	gpr_write(vcpu, X86_RSP, width(vcpu), top);
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
	gpr_write(vcpu, X86_RSP, width(vcpu), top);
}

/* imm is the frame's size, imm2 the nesting level: how many frame pointers the frame gets. That the
 * frame's end could be written is checked, too. */
EXEC(exec_enter)
{
	unsigned bytes = insn->operand_bytes;
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
	mmu_probe_write(vcpu, stack_linear(vcpu, top, bytes, MMU_WRITE), bytes);
	gpr_write(vcpu, X86_RBP, bytes, frame & byte_mask(width(vcpu)));
	gpr_write(vcpu, X86_RSP, width(vcpu), top);
}

EXEC(exec_leave)
{
	unsigned bytes = insn->operand_bytes;
	uint64_t rbp = vcpu->gpr[X86_RBP];
	gva_t address = stack_linear(vcpu, rbp, bytes, MMU_READ);
	uint64_t value = mmu_read_sized(vcpu, address, bytes);

	gpr_write(vcpu, X86_RSP, width(vcpu), rbp + bytes);
	gpr_write(vcpu, X86_RBP, bytes, value);
}
