/*
 * SYSCALL, SYSRET, SYSENTER, SYSEXIT. Both pairs work in every mode in which any vendor has them:
 * SYSCALL in legacy and compatibility mode as AMD does (APM 3), SYSENTER in long mode as Intel does
 * (SDM 2).
 */
#include "engine/soft/debug.h"
#include "engine/soft/descriptor.h"
#include "engine/soft/operand.h"

/* Fixed, flat segments: no descriptor is read. */
static void set_segments(struct vcpu *vcpu, uint16_t cs, uint16_t ss, unsigned cpl, bool is_64bit)
{
	uint32_t dpl = field_set(SEG_DPL, 0, cpl);

	vcpu->segment[X86_CS] = (struct cpu_segment){
		.selector = (cs & ~SELECTOR_RPL) | cpl,
		.limit = UINT32_MAX,
		.attributes = SEGMENT_FLAT_CODE | dpl | (is_64bit ? SEG_L : SEG_DB),
	};
	vcpu->segment[X86_SS] = (struct cpu_segment){
		.selector = (ss & ~SELECTOR_RPL) | cpl,
		.limit = UINT32_MAX,
		.attributes = SEGMENT_FLAT_DATA | dpl,
	};
	vcpu_update_mode(vcpu);
}

static void need_syscall(struct vcpu *vcpu)
{
	if (!(vcpu->efer & EFER_SCE) || !vcpu->mode.protected_mode || vcpu->mode.virtual_8086)
		cpu_raise(vcpu, X86_UD);
}

EXEC(exec_syscall)
{
	uint16_t selector = field_get(BITS(47, 32), vcpu->star);
	uint64_t rflags = vcpu_rflags(vcpu) & ~RFLAGS_RF;

	(void)insn;
	need_syscall(vcpu);
	vcpu->gpr[X86_RCX] = vcpu->next_rip;
	if (vcpu->mode.long_mode) {
		vcpu->gpr[X86_R11] = rflags;
		vcpu->next_rip = vcpu->mode.insn == INSN_MODE_64 ? vcpu->lstar : vcpu->cstar;
		rflags &= ~vcpu->sfmask;
	} else {
		vcpu->next_rip = (uint32_t)vcpu->star;
		rflags &= ~(RFLAGS_IF | RFLAGS_VM);
	}
	vcpu_set_rflags(vcpu, rflags);
	set_segments(vcpu, selector, selector + 8, 0, vcpu->mode.long_mode);
	vcpu->single_step = rflags & RFLAGS_TF;
}

EXEC(exec_sysret)
{
	uint16_t selector = field_get(BITS(63, 48), vcpu->star);
	bool to_64bit = insn->operand_bytes == 8;
	uint64_t rip = vcpu->gpr[X86_RCX];

	need_syscall(vcpu);
	if (to_64bit && !x86_is_canonical(rip))
		cpu_raise_error(vcpu, X86_GP, 0);
	vcpu->next_rip = to_64bit ? rip : (uint32_t)rip;
	if (vcpu->mode.long_mode)
		vcpu_set_rflags(vcpu, vcpu->gpr[X86_R11] & ~(RFLAGS_RF | RFLAGS_VM));
	else
		vcpu_set_rflags(vcpu, vcpu_rflags(vcpu) | RFLAGS_IF);
	set_segments(vcpu, to_64bit ? selector + 16 : selector, selector + 8, 3, to_64bit);
	/* A TF that is set by SYSRET traps before the first instruction. */
	vcpu->single_step = false;
	if (vcpu->flags_system & RFLAGS_TF)
		vcpu->debug_pending |= DR6_BS;
}

EXEC(exec_sysenter)
{
	uint16_t selector = vcpu->sysenter_cs;
	bool long_mode = vcpu->mode.long_mode;

	(void)insn;
	if (!vcpu->mode.protected_mode || selector_is_null(selector))
		cpu_raise_error(vcpu, X86_GP, 0);
	vcpu->gpr[X86_RSP] = long_mode ? vcpu->sysenter_esp : (uint32_t)vcpu->sysenter_esp;
	vcpu->next_rip = long_mode ? vcpu->sysenter_eip : (uint32_t)vcpu->sysenter_eip;
	vcpu_set_rflags(vcpu, vcpu_rflags(vcpu) & ~(RFLAGS_IF | RFLAGS_VM | RFLAGS_RF));
	set_segments(vcpu, selector, selector + 8, 0, long_mode);
}

EXEC(exec_sysexit)
{
	uint16_t selector = vcpu->sysenter_cs;
	bool to_64bit = insn->operand_bytes == 8;
	uint64_t rip = vcpu->gpr[X86_RDX], rsp = vcpu->gpr[X86_RCX];

	if (!vcpu->mode.protected_mode || selector_is_null(selector))
		cpu_raise_error(vcpu, X86_GP, 0);
	if (to_64bit && (!x86_is_canonical(rip) || !x86_is_canonical(rsp)))
		cpu_raise_error(vcpu, X86_GP, 0);
	vcpu->gpr[X86_RSP] = to_64bit ? rsp : (uint32_t)rsp;
	vcpu->next_rip = to_64bit ? rip : (uint32_t)rip;
	if (to_64bit)
		selector += 16;
	set_segments(vcpu, selector + 16, selector + 24, 3, to_64bit);
}
