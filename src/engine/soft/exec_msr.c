/*
 * RDMSR, WRMSR, CPUID, the time-stamp counter and its kin, FS and GS bases (SDM 2).
 */
#include "engine/soft/msr.h"
#include "engine/soft/operand.h"
#include "engine/soft/vector.h"

static void write_edx_eax(struct vcpu *vcpu, uint64_t value)
{
	gpr_write(vcpu, X86_RAX, 4, value);
	gpr_write(vcpu, X86_RDX, 4, value >> 32);
}

EXEC(exec_rdmsr)
{
	uint64_t value;

	(void)insn;
	if (!msr_read(vcpu, (uint32_t)vcpu->gpr[X86_RCX], &value))
		cpu_raise_error(vcpu, X86_GP, 0);
	write_edx_eax(vcpu, value);
}

EXEC(exec_wrmsr)
{
	uint64_t value = vcpu->gpr[X86_RDX] << 32 | (uint32_t)vcpu->gpr[X86_RAX];

	(void)insn;
	if (!msr_write(vcpu, (uint32_t)vcpu->gpr[X86_RCX], value))
		cpu_raise_error(vcpu, X86_GP, 0);
}

EXEC(exec_cpuid)
{
	uint32_t out[4];

	(void)insn;
	vector_leave(vcpu);
	cpu_model_cpuid(vcpu->cpu_model, vcpu->index, (uint32_t)vcpu->gpr[X86_RAX],
		(uint32_t)vcpu->gpr[X86_RCX], vcpu->cr4 & CR4_OSXSAVE, vcpu->xcr0, out);
	gpr_write(vcpu, X86_RAX, 4, out[0]);
	gpr_write(vcpu, X86_RBX, 4, out[1]);
	gpr_write(vcpu, X86_RCX, 4, out[2]);
	gpr_write(vcpu, X86_RDX, 4, out[3]);
}

static void check_tsd(struct vcpu *vcpu)
{
	if (vcpu->cr4 & CR4_TSD && vcpu->mode.cpl != 0)
		cpu_raise_error(vcpu, X86_GP, 0);
}

EXEC(exec_rdtsc)
{
	(void)insn;
	check_tsd(vcpu);
	write_edx_eax(vcpu, vcpu_tsc(vcpu));
}

EXEC(exec_rdtscp)
{
	(void)insn;
	check_tsd(vcpu);
	write_edx_eax(vcpu, vcpu_tsc(vcpu));
	gpr_write(vcpu, X86_RCX, 4, vcpu->tsc_aux);
}

EXEC(exec_rdpid)
{
	gpr_write(vcpu, insn->rm, vcpu->mode.insn == INSN_MODE_64 ? 8 : 4, vcpu->tsc_aux);
}

/* There are no counters to name. */
EXEC(exec_rdpmc)
{
	(void)insn;
	cpu_raise_error(vcpu, X86_GP, 0);
}

static uint64_t *base_register(struct vcpu *vcpu, enum x86_segment segment)
{
	if (!(vcpu->cr4 & CR4_FSGSBASE))
		cpu_raise(vcpu, X86_UD);
	return &vcpu->segment[segment].base;
}

static void write_base(struct vcpu *vcpu, const struct insn *insn, enum x86_segment segment)
{
	uint64_t *base = base_register(vcpu, segment);
	uint64_t value = gpr_read(vcpu, insn->rm, insn->operand_bytes);

	if (!x86_is_canonical(value))
		cpu_raise_error(vcpu, X86_GP, 0);
	*base = value;
}

EXEC(exec_rdfsbase)
{
	gpr_write(vcpu, insn->rm, insn->operand_bytes, *base_register(vcpu, X86_FS));
}

EXEC(exec_rdgsbase)
{
	gpr_write(vcpu, insn->rm, insn->operand_bytes, *base_register(vcpu, X86_GS));
}

EXEC(exec_wrfsbase)
{
	write_base(vcpu, insn, X86_FS);
}

EXEC(exec_wrgsbase)
{
	write_base(vcpu, insn, X86_GS);
}
