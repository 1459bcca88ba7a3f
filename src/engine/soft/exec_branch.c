/*
 * Near branches: Jcc, JMP, CALL, RET, LOOP, JrCXZ; and BOUND (SDM 2).
 *
 * In 64-bit mode the operand size is 64 whatever prefix 66 says, as Intel's processors have it.
 * A branch is checked before anything else changes, since #GP leaves no trace of it.
 */
#include "engine/soft/descriptor.h"
#include "engine/soft/flags.h"
#include "engine/soft/operand.h"

static inline void branch_near(struct vcpu *vcpu, const struct insn *insn, uint64_t target)
{
	if (likely(insn->operand_bytes == 8 && x86_is_canonical(target)))
		vcpu->next_rip = target;
	else
		branch_to(vcpu, target, insn->operand_bytes);
}

static inline void branch_relative(struct vcpu *vcpu, const struct insn *insn)
{
	branch_near(vcpu, insn, vcpu->next_rip + insn->imm);
}

#define JCC(name, condition)                                                                       \
	EXEC(exec_j##name)                                                                         \
	{                                                                                          \
		if (flags_condition(vcpu, condition))                                              \
			branch_relative(vcpu, insn);                                               \
	}
FOR_CONDITIONS(JCC)

EXEC(exec_jmp_rel)
{
	branch_relative(vcpu, insn);
}

#define JMP_E(s, k)                                                                                \
	EXEC(exec_jmp_ev_##s##_##k)                                                                \
	{                                                                                          \
		branch_near(vcpu, insn, rm_read_##s##_##k(vcpu, insn));                            \
	}
FOR_WIDE_OPERANDS(JMP_E)

static void probe_push(struct vcpu *vcpu, unsigned bytes)
{
	uint64_t mask = byte_mask(stack_width(vcpu, &vcpu->segment[X86_SS]));
	uint64_t offset = (vcpu->gpr[X86_RSP] - bytes) & mask;

	mmu_probe_write(vcpu, segment_linear(vcpu, X86_SS, offset, bytes, MMU_WRITE), bytes);
}

/* A fault of the push comes before one of the target. */
static inline void call_near(struct vcpu *vcpu, const struct insn *insn, uint64_t target)
{
	uint64_t from = vcpu->next_rip;

	if (likely(insn->operand_bytes == 8 && x86_is_canonical(target))) {
		push_quad(vcpu, from);
		vcpu->next_rip = target;
		return;
	}
	probe_push(vcpu, insn->operand_bytes);
	branch_to(vcpu, target, insn->operand_bytes);
	stack_push(vcpu, insn->operand_bytes, from);
}

EXEC(exec_call_rel)
{
	call_near(vcpu, insn, vcpu->next_rip + insn->imm);
}

#define CALL_E(s, k)                                                                               \
	EXEC(exec_call_ev_##s##_##k)                                                               \
	{                                                                                          \
		call_near(vcpu, insn, rm_read_##s##_##k(vcpu, insn));                              \
	}
FOR_WIDE_OPERANDS(CALL_E)

static inline void return_near(struct vcpu *vcpu, const struct insn *insn, uint16_t pop_bytes)
{
	unsigned bytes = insn->operand_bytes;

	if (likely(bytes == 8)) {
		branch_near(vcpu, insn, peek_quad(vcpu));
		vcpu->gpr[X86_RSP] += 8 + pop_bytes;
	} else {
		branch_to(vcpu, stack_peek(vcpu, bytes, 0), bytes);
		stack_adjust(vcpu, bytes + (int64_t)pop_bytes);
	}
}

EXEC(exec_ret)
{
	return_near(vcpu, insn, 0);
}

EXEC(exec_ret_imm)
{
	return_near(vcpu, insn, (uint16_t)insn->imm);
}

/* The count is rCX of the address size. */
static inline void loop_while(struct vcpu *vcpu, const struct insn *insn, bool condition)
{
	unsigned bytes = insn->address_bytes;
	uint64_t count = (vcpu->gpr[X86_RCX] - 1) & byte_mask(bytes);

	if (count && condition)
		branch_relative(vcpu, insn);
	gpr_write(vcpu, X86_RCX, bytes, count);
}

EXEC(exec_loop)
{
	loop_while(vcpu, insn, true);
}

EXEC(exec_loope)
{
	loop_while(vcpu, insn, vcpu->flags_low & FLAGS_ZF);
}

EXEC(exec_loopne)
{
	loop_while(vcpu, insn, !(vcpu->flags_low & FLAGS_ZF));
}

EXEC(exec_jcxz)
{
	if (!gpr_read(vcpu, X86_RCX, insn->address_bytes))
		branch_relative(vcpu, insn);
}

/* The bounds are a pair of signed values of the operand size. */
EXEC(exec_bound)
{
	unsigned bytes = insn->operand_bytes;
	gva_t address = insn_linear(vcpu, insn, 2 * bytes, MMU_READ);
	int64_t index = (int64_t)sign_extend(vcpu->gpr[insn->reg], bytes);
	uint32_t bounds[2];
	int64_t lower, upper;

	mmu_read(vcpu, address, bounds, 2 * bytes);
	if (bytes == 2) {
		lower = (int16_t)bounds[0];
		upper = (int16_t)(bounds[0] >> 16);
	} else {
		lower = (int32_t)bounds[0];
		upper = (int32_t)bounds[1];
	}
	if (index < lower || index > upper)
		cpu_raise(vcpu, X86_BR);
}
