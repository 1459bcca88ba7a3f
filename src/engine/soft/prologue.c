/*
 * Conditions that an instruction's row sets and that depend on the processor's state: mode,
 * privilege, and whether the x87, MMX, SSE or AVX unit may be used (SDM 3A 2.5 CR0 and CR4, 13.1;
 * SDM 1 13.5.4; SDM 2A 2.4 for AVX).
 */
#include "engine/soft/execute.h"
#include "engine/soft/interpret.h"
#include "engine/soft/isa.h"

#define AVX_STATE (XCR0_SSE | XCR0_AVX)

static bool in_protected_mode(const struct vcpu *vcpu)
{
	return vcpu->mode.protected_mode && !vcpu->mode.virtual_8086;
}

static void check_vex(struct vcpu *vcpu)
{
	if (!in_protected_mode(vcpu))
		cpu_raise(vcpu, X86_UD);
}

static void check_avx(struct vcpu *vcpu)
{
	if (!(vcpu->cr4 & CR4_OSXSAVE) || (vcpu->xcr0 & AVX_STATE) != AVX_STATE)
		cpu_raise(vcpu, X86_UD);
	if (vcpu->cr0 & CR0_TS)
		cpu_raise(vcpu, X86_NM);
}

static void check_sse(struct vcpu *vcpu)
{
	if (vcpu->cr0 & CR0_EM || !(vcpu->cr4 & CR4_OSFXSR))
		cpu_raise(vcpu, X86_UD);
	if (vcpu->cr0 & CR0_TS)
		cpu_raise(vcpu, X86_NM);
}

static void check_mmx(struct vcpu *vcpu)
{
	if (vcpu->cr0 & CR0_EM)
		cpu_raise(vcpu, X86_UD);
	if (vcpu->cr0 & CR0_TS)
		cpu_raise(vcpu, X86_NM);
}

static void check_x87(struct vcpu *vcpu, const struct insn *insn)
{
	uint64_t blocking = CR0_TS | CR0_EM;
	bool is_wait = insn->opcode == 0x9b;

	if (is_wait ? (vcpu->cr0 & (CR0_MP | CR0_TS)) == (CR0_MP | CR0_TS)
		    : (vcpu->cr0 & blocking) != 0)
		cpu_raise(vcpu, X86_NM);
}

void interpret_prologue(struct vcpu *vcpu, const struct insn *insn)
{
	const struct isa_row *row = insn_row(insn);
	uint32_t attributes = row->attributes;

	if (insn->prefixes & PREFIX_VEX)
		check_vex(vcpu);
	if (attributes & ISA_PROTECTED && !in_protected_mode(vcpu))
		cpu_raise(vcpu, X86_UD);
	if (attributes & ISA_PRIVILEGED && vcpu->mode.cpl != 0)
		cpu_raise_error(vcpu, X86_GP, 0);
	if (attributes & ISA_AVX)
		check_avx(vcpu);
	else if (attributes & ISA_VECTOR)
		check_sse(vcpu);
	else if (attributes & ISA_MMX)
		check_mmx(vcpu);
	else if (attributes & ISA_X87)
		check_x87(vcpu, insn);
	row->exec[isa_exec_index(insn->operand_bytes, insn->has_memory)](vcpu, insn);
}
