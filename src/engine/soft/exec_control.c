/*
 * MOV to and from control registers, LMSW, SMSW, CLTS, XSETBV, XGETBV (SDM 2).
 */
#include "engine/soft/control_registers.h"
#include "engine/soft/operand.h"

#include "engine/soft/apic.h"
#include "engine/soft/vector.h"

static void raise_gp(struct vcpu *vcpu)
{
	cpu_raise_error(vcpu, X86_GP, 0);
}

EXEC(exec_mov_from_cr)
{
	uint64_t value;

	switch (insn->reg) {
	case 0: value = vcpu->cr0; break;
	case 2: value = vcpu->cr2; break;
	case 3: value = vcpu->cr3; break;
	case 4: value = vcpu->cr4; break;
	case 8: value = apic_cr8(vcpu); break;
	default: cpu_raise(vcpu, X86_UD);
	}
	gpr_write(vcpu, insn->rm, insn->operand_bytes, value);
}

static bool write_cr8(struct vcpu *vcpu, uint64_t value)
{
	if (value > 0xf)
		return false;
	apic_set_cr8(vcpu, value);
	return true;
}

EXEC(exec_mov_to_cr)
{
	uint64_t value = gpr_read(vcpu, insn->rm, insn->operand_bytes);
	bool done;

	switch (insn->reg) {
	case 0: done = cr0_write(vcpu, value); break;
	case 2:
		vcpu->cr2 = value;
		done = true;
		break;
	case 3: done = cr3_write(vcpu, value); break;
	case 4: done = cr4_write(vcpu, value); break;
	case 8: done = write_cr8(vcpu, value); break;
	default: cpu_raise(vcpu, X86_UD);
	}
	if (!done)
		raise_gp(vcpu);
}

/* Loads PE, MP, EM and TS; PE can be set but not cleared. */
EXEC(exec_lmsw)
{
	const uint64_t loaded = CR0_MP | CR0_EM | CR0_TS;
	uint64_t value, cr0;

	value = insn->has_memory ? mmu_read_u16(vcpu, insn_linear(vcpu, insn, 2, MMU_READ))
				 : gpr_read(vcpu, insn->rm, 2);
	cr0 = (vcpu->cr0 & ~loaded) | (value & (loaded | CR0_PE));
	if (!cr0_write(vcpu, cr0))
		raise_gp(vcpu);
}

EXEC(exec_smsw)
{
	if (vcpu->cr4 & CR4_UMIP && vcpu->mode.cpl != 0)
		raise_gp(vcpu);
	if (insn->has_memory)
		mmu_write_u16(vcpu, insn_linear(vcpu, insn, 2, MMU_WRITE), (uint16_t)vcpu->cr0);
	else
		gpr_write(vcpu, insn->rm, insn->operand_bytes, vcpu->cr0);
}

EXEC(exec_clts)
{
	(void)insn;
	vcpu->cr0 &= ~CR0_TS;
	vcpu_update_mode(vcpu);
}

EXEC(exec_xsetbv)
{
	(void)insn;
	if (!(vcpu->cr4 & CR4_OSXSAVE))
		cpu_raise(vcpu, X86_UD);
	vector_leave(vcpu);
	if ((uint32_t)vcpu->gpr[X86_RCX] != 0 ||
		!xcr0_write(vcpu, vcpu->gpr[X86_RDX] << 32 | (uint32_t)vcpu->gpr[X86_RAX]))
		raise_gp(vcpu);
}

/* Which components of XCR0 are not in their initial state, as XSAVEOPT would find them. */
static uint64_t components_in_use(struct vcpu *vcpu)
{
	struct cpu_xsave image;

	vector_leave(vcpu);
	vector_get(vcpu, &image);
	return image.xstate_bv & vcpu->xcr0;
}

EXEC(exec_xgetbv)
{
	uint64_t value = vcpu->xcr0;

	(void)insn;
	if (!(vcpu->cr4 & CR4_OSXSAVE))
		cpu_raise(vcpu, X86_UD);
	switch ((uint32_t)vcpu->gpr[X86_RCX]) {
	case 0: break;
	case 1:
		if (!cpu_model_has(vcpu->cpu_model, CPU_FEATURE_XGETBV1))
			raise_gp(vcpu);
		value = components_in_use(vcpu);
		break;
	default: raise_gp(vcpu);
	}
	gpr_write(vcpu, X86_RAX, 4, value);
	gpr_write(vcpu, X86_RDX, 4, value >> 32);
}
