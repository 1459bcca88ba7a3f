/*
 * RFLAGS as a whole, and the interrupt flag: PUSHF, POPF, CLI, STI, CLAC, STAC (SDM 2), with the
 * virtual interrupt flag of VME and PVI (SDM 3A 20.3, 20.4).
 */
#include "engine/soft/operand.h"

static unsigned iopl(const struct vcpu *vcpu)
{
	return field_get(RFLAGS_IOPL, vcpu->flags_system);
}

static bool is_sensitive(const struct vcpu *vcpu)
{
	return vcpu->mode.virtual_8086 && iopl(vcpu) < 3;
}

EXEC(exec_pushf)
{
	uint64_t rflags = vcpu_rflags(vcpu) & ~(RFLAGS_RF | RFLAGS_VM);

	if (is_sensitive(vcpu)) {
		if (!(vcpu->cr4 & CR4_VME) || insn->operand_bytes != 2)
			cpu_raise_error(vcpu, X86_GP, 0);
		rflags = field_set(RFLAGS_IF, rflags, (rflags & RFLAGS_VIF) != 0);
		rflags |= RFLAGS_IOPL;
	}
	stack_push(vcpu, insn->operand_bytes, rflags);
}

/* What POPF may change. VIF, VIP and VM never; RF is cleared. */
static uint64_t popf_flags(const struct vcpu *vcpu, unsigned operand_bytes)
{
	uint64_t writable = RFLAGS_ARITHMETIC | RFLAGS_TF | RFLAGS_DF | RFLAGS_NT;

	if (operand_bytes > 2)
		writable |= RFLAGS_AC | RFLAGS_ID | RFLAGS_RF;
	if (vcpu->mode.cpl <= iopl(vcpu))
		writable |= RFLAGS_IF;
	if (vcpu->mode.cpl == 0)
		writable |= RFLAGS_IOPL;
	return writable;
}

static void popf_vme(struct vcpu *vcpu)
{
	uint64_t image = stack_peek(vcpu, 2, 0);
	uint64_t writable = RFLAGS_ARITHMETIC | RFLAGS_TF | RFLAGS_DF | RFLAGS_NT | RFLAGS_VIF;

	if (image & RFLAGS_TF || (image & RFLAGS_IF && vcpu->flags_system & RFLAGS_VIP))
		cpu_raise_error(vcpu, X86_GP, 0);
	image = field_set(RFLAGS_VIF, image, (image & RFLAGS_IF) != 0);
	stack_adjust(vcpu, 2);
	vcpu_set_rflags(vcpu, (vcpu_rflags(vcpu) & ~writable) | (image & writable));
}

EXEC(exec_popf)
{
	unsigned bytes = insn->operand_bytes;
	uint64_t image, writable = popf_flags(vcpu, bytes);

	if (is_sensitive(vcpu)) {
		if (!(vcpu->cr4 & CR4_VME) || bytes != 2)
			cpu_raise_error(vcpu, X86_GP, 0);
		popf_vme(vcpu);
		return;
	}
	image = stack_pop(vcpu, bytes) & ~RFLAGS_RF;
	vcpu_set_rflags(vcpu, (vcpu_rflags(vcpu) & ~writable) | (image & writable));
}

/* Which flag CLI and STI change: IF, VIF, or none (#GP). */
static uint64_t interrupt_flag(struct vcpu *vcpu)
{
	uint64_t virtualizes = vcpu->mode.virtual_8086 ? CR4_VME : CR4_PVI;

	if (vcpu->mode.cpl <= iopl(vcpu))
		return RFLAGS_IF;
	if (vcpu->mode.cpl == 3 && vcpu->cr4 & virtualizes)
		return RFLAGS_VIF;
	cpu_raise_error(vcpu, X86_GP, 0);
}

EXEC(exec_cli)
{
	(void)insn;
	vcpu->flags_system &= ~interrupt_flag(vcpu);
}

EXEC(exec_sti)
{
	uint64_t flag = interrupt_flag(vcpu);

	(void)insn;
	if (flag == RFLAGS_VIF && vcpu->flags_system & RFLAGS_VIP)
		cpu_raise_error(vcpu, X86_GP, 0);
	if (flag == RFLAGS_IF && !(vcpu->flags_system & RFLAGS_IF)) {
		vcpu->shadow_active = true;
		vcpu->shadow_mov_ss = false;
		vcpu->shadow_rip = vcpu->next_rip;
	}
	vcpu->flags_system |= flag;
}

static void set_ac(struct vcpu *vcpu, bool set)
{
	if (vcpu->mode.cpl != 0)
		cpu_raise(vcpu, X86_UD);
	vcpu->flags_system = field_set(RFLAGS_AC, vcpu->flags_system, set);
	mmu_update_mode(vcpu);
}

EXEC(exec_clac)
{
	(void)insn;
	set_ac(vcpu, false);
}

EXEC(exec_stac)
{
	(void)insn;
	set_ac(vcpu, true);
}
