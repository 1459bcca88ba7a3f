/*
 * MOV to and from debug registers (SDM 3B 18.2).
 */
#include "engine/soft/debug.h"
#include "engine/soft/operand.h"

static unsigned operand_size(const struct vcpu *vcpu)
{
	return vcpu->mode.insn == INSN_MODE_64 ? 8 : 4;
}

/* DR4 and DR5 are DR6 and DR7 unless CR4.DE is set. */
static unsigned check_register(struct vcpu *vcpu, const struct insn *insn)
{
	unsigned number = insn->reg & 7;

	if (number == 4 || number == 5) {
		if (vcpu->cr4 & CR4_DE)
			cpu_raise(vcpu, X86_UD);
		number += 2;
	}
	if (vcpu->dr7 & DR7_GD)
		debug_raise(vcpu, DR6_BD);
	return number;
}

EXEC(exec_mov_from_dr)
{
	unsigned number = check_register(vcpu, insn);
	uint64_t value;

	switch (number) {
	case 6: value = vcpu->dr6; break;
	case 7: value = vcpu->dr7; break;
	default: value = vcpu->dr[number];
	}
	gpr_write(vcpu, insn->rm, operand_size(vcpu), value);
}

EXEC(exec_mov_to_dr)
{
	unsigned number = check_register(vcpu, insn);
	uint64_t value = gpr_read(vcpu, insn->rm, operand_size(vcpu));

	if (number >= 6 && value >> 32)
		cpu_raise_error(vcpu, X86_GP, 0);
	switch (number) {
	case 6: vcpu->dr6 = (value & (DR6_B | DR6_BD | DR6_BS | DR6_BT)) | DR6_ONES; break;
	case 7: vcpu->dr7 = (value & ~DR7_ZEROS) | DR7_ONES; break;
	default: vcpu->dr[number] = value;
	}
	debug_update(vcpu);
}
