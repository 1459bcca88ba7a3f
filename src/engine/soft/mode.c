/*
 * What the control registers, RFLAGS and the segments make of the processor: its mode.
 */
#include "engine/soft/mmu.h"
#include "engine/soft/vcpu.h"

static bool is_flat(const struct cpu_segment *segment, uint32_t type_mask, uint32_t type)
{
	return segment->base == 0 && segment->limit == UINT32_MAX &&
	       (segment->attributes & (SEG_UNUSABLE | type_mask)) == type;
}

static bool all_flat(const struct vcpu *vcpu)
{
	static const uint8_t data[] = { X86_ES, X86_SS, X86_DS };

	if (!is_flat(&vcpu->segment[X86_CS], SEG_TYPE_READABLE, SEG_TYPE_READABLE))
		return false;
	for (unsigned i = 0; i < ARRAY_SIZE(data); i++)
		if (!is_flat(&vcpu->segment[data[i]],
			    SEG_TYPE_CODE | SEG_TYPE_EXPAND_DOWN | SEG_TYPE_WRITABLE,
			    SEG_TYPE_WRITABLE))
			return false;
	return true;
}

static enum insn_mode decode_mode(const struct vcpu *vcpu)
{
	uint32_t attributes = vcpu->segment[X86_CS].attributes;

	if (vcpu->efer & EFER_LMA && attributes & SEG_L)
		return INSN_MODE_64;
	return attributes & SEG_DB ? INSN_MODE_32 : INSN_MODE_16;
}

/* As VMX keeps it, SS's DPL is the CPL in every protected mode. */
static uint8_t privilege(const struct vcpu *vcpu)
{
	if (!vcpu->mode.protected_mode)
		return 0;
	if (vcpu->mode.virtual_8086)
		return 3;
	return field_get(SEG_DPL, vcpu->segment[X86_SS].attributes);
}

/* In 64-bit mode FS and GS have a base, and no segment has a limit; elsewhere those that are flat
 * and allow every access. Addresses that are not canonical are in no TLB. */
static uint8_t direct_segments(const struct vcpu_mode *mode)
{
	uint8_t data = BIT(X86_ES) | BIT(X86_SS) | BIT(X86_DS);

	if (mode->insn == INSN_MODE_64)
		return data | BIT(X86_CS) | BIT(X86_FS) | BIT(X86_GS);
	return mode->flat ? data : 0;
}

void vcpu_update_mode(struct vcpu *vcpu)
{
	struct vcpu_mode *mode = &vcpu->mode;

	mode->protected_mode = vcpu->cr0 & CR0_PE;
	mode->virtual_8086 = mode->protected_mode && vcpu->flags_system & RFLAGS_VM;
	mode->long_mode = vcpu->efer & EFER_LMA;
	mode->paging = vcpu->cr0 & CR0_PG;
	mode->cpl = privilege(vcpu);
	mode->insn = decode_mode(vcpu);
	mode->flat = mode->insn != INSN_MODE_64 && mode->protected_mode && !mode->virtual_8086 &&
		     all_flat(vcpu);
	mode->direct_segments = direct_segments(mode);
	mmu_update_mode(vcpu);
}

void vcpu_set_rflags(struct vcpu *vcpu, uint64_t rflags)
{
	uint64_t system = rflags & RFLAGS_WRITABLE & ~RFLAGS_ARITHMETIC;
	uint64_t changed = system ^ vcpu->flags_system;

	vcpu->flags_low = rflags & 0xd5;
	vcpu->flags_of = (rflags & RFLAGS_OF) != 0;
	vcpu->flags_system = system;
	if (changed & (RFLAGS_VM | RFLAGS_AC))
		vcpu_update_mode(vcpu);
}
