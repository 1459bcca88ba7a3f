/*
 * Far jumps, calls and returns, software interrupts and IRET: what the instructions name; how it is
 * done is in far_transfer.c and exception.c.
 */
#include "engine/soft/exception.h"
#include "engine/soft/operand.h"

struct far_pointer {
	uint64_t offset;
	uint16_t selector;
};

static struct far_pointer read_far_pointer(struct vcpu *vcpu, const struct insn *insn)
{
	unsigned bytes = insn->operand_bytes;
	gva_t linear = insn_linear(vcpu, insn, bytes + 2, MMU_READ);
	struct far_pointer pointer = { 0 };

	mmu_read(vcpu, linear, &pointer.offset, bytes);
	mmu_read(vcpu, linear + bytes, &pointer.selector, 2);
	return pointer;
}

EXEC(exec_jmp_far_imm)
{
	far_jump(vcpu, insn->imm2, insn->imm & byte_mask(insn->operand_bytes), insn->operand_bytes);
}

EXEC(exec_jmp_far_m)
{
	struct far_pointer pointer = read_far_pointer(vcpu, insn);

	far_jump(vcpu, pointer.selector, pointer.offset, insn->operand_bytes);
}

EXEC(exec_call_far_imm)
{
	far_call(vcpu, insn->imm2, insn->imm & byte_mask(insn->operand_bytes), insn->operand_bytes);
}

EXEC(exec_call_far_m)
{
	struct far_pointer pointer = read_far_pointer(vcpu, insn);

	far_call(vcpu, pointer.selector, pointer.offset, insn->operand_bytes);
}

EXEC(exec_ret_far)
{
	far_return(vcpu, insn->operand_bytes, 0);
}

EXEC(exec_ret_far_imm)
{
	far_return(vcpu, insn->operand_bytes, insn->imm & 0xffff);
}

EXEC(exec_iret)
{
	interrupt_return(vcpu, insn->operand_bytes);
}

EXEC(exec_int)
{
	cpu_software_interrupt(vcpu, (uint8_t)insn->imm, true);
}

EXEC(exec_int3)
{
	(void)insn;
	cpu_software_interrupt(vcpu, X86_BP, false);
}

EXEC(exec_into)
{
	(void)insn;
	if (vcpu->flags_of)
		cpu_software_interrupt(vcpu, X86_OF, false);
}

EXEC(exec_int1)
{
	(void)insn;
	cpu_software_debug(vcpu);
}
