/*
 * Segmentation: the checks of an access, and what loading a segment register does (SDM 3A chapters
 * 3 and 5; 5.3 limits, 5.4 types, 5.5 to 5.8 privilege).
 */
#include "engine/soft/segment.h"

#include "engine/soft/descriptor.h"
#include "engine/soft/execute.h"

static _Noreturn void raise_violation(struct vcpu *vcpu, unsigned segment)
{
	cpu_raise_error(vcpu, segment == X86_SS ? X86_SS_FAULT : X86_GP, 0);
}

static bool type_permits(const struct vcpu *vcpu, uint32_t attributes, enum mmu_access access)
{
	if (attributes & SEG_UNUSABLE)
		return false;
	if (!vcpu->mode.protected_mode || vcpu->mode.virtual_8086)
		return true;
	if (access == MMU_WRITE)
		return attributes_are_writable_data(attributes);
	return !(attributes & SEG_TYPE_CODE) || attributes & SEG_TYPE_READABLE;
}

static bool within_limit(const struct cpu_segment *segment, uint64_t offset, unsigned size)
{
	uint64_t last = offset + size - 1;

	if ((segment->attributes & (SEG_TYPE_CODE | SEG_TYPE_EXPAND_DOWN)) == SEG_TYPE_EXPAND_DOWN)
		return offset > segment->limit &&
		       last <= (segment->attributes & SEG_DB ? UINT32_MAX : UINT16_MAX);
	return last <= segment->limit;
}

gva_t segment_linear_checked(
	struct vcpu *vcpu, unsigned segment, uint64_t offset, unsigned size, enum mmu_access access)
{
	const struct cpu_segment *loaded = &vcpu->segment[segment];

	if (vcpu->mode.insn == INSN_MODE_64) {
		if (segment >= X86_FS)
			offset += loaded->base;
		if (!x86_is_canonical(offset) || !x86_is_canonical(offset + size - 1))
			raise_violation(vcpu, segment);
		return offset;
	}
	if (!type_permits(vcpu, loaded->attributes, access) || !within_limit(loaded, offset, size))
		raise_violation(vcpu, segment);
	return (uint32_t)(loaded->base + offset);
}

struct cpu_segment segment_null(uint16_t selector, unsigned cpl)
{
	return (struct cpu_segment){
		.selector = selector,
		.attributes = SEG_UNUSABLE | field_set(SEG_DPL, 0, cpl),
	};
}

/* Limit and size stay as they were loaded last: "unreal mode". */
void segment_load_real(struct vcpu *vcpu, unsigned segment, uint16_t selector)
{
	struct cpu_segment *loaded = &vcpu->segment[segment];

	loaded->selector = selector;
	loaded->base = (uint32_t)selector << 4;
	if (vcpu->mode.virtual_8086) {
		loaded->limit = 0xffff;
		loaded->attributes =
			SEG_P | SEG_DPL | SEG_S | SEG_TYPE_WRITABLE | SEG_TYPE_ACCESSED;
		return;
	}
	if (loaded->attributes & SEG_UNUSABLE)
		loaded->limit = 0xffff;
	loaded->attributes = (loaded->attributes & (SEG_G | SEG_DB | SEG_AVL)) | SEG_P | SEG_S |
			     SEG_TYPE_WRITABLE | SEG_TYPE_ACCESSED;
}

struct cpu_segment segment_stack(
	struct vcpu *vcpu, uint16_t selector, unsigned cpl, enum x86_vector vector)
{
	struct descriptor descriptor;
	uint32_t attributes;

	if (selector_is_null(selector)) {
		if (vcpu->mode.long_mode && cpl != 3 && (selector & SELECTOR_RPL) == cpl)
			return segment_null(selector, cpl);
		cpu_raise_error(vcpu, vector, 0);
	}
	descriptor_need(vcpu, selector, &descriptor, vector);
	attributes = descriptor_attributes(&descriptor);
	if ((selector & SELECTOR_RPL) != cpl || attributes_dpl(attributes) != cpl ||
		!attributes_are_writable_data(attributes))
		cpu_raise_error(vcpu, vector, selector_error(selector));
	if (!(attributes & SEG_P))
		cpu_raise_error(vcpu, X86_SS_FAULT, selector_error(selector));
	descriptor_set_accessed(vcpu, &descriptor);
	return descriptor_segment(&descriptor, selector);
}

static void load_stack(struct vcpu *vcpu, uint16_t selector)
{
	/* A null SS is for 64-bit mode alone, not for compatibility mode. */
	if (selector_is_null(selector) && vcpu->mode.insn != INSN_MODE_64)
		cpu_raise_error(vcpu, X86_GP, 0);
	vcpu->segment[X86_SS] = segment_stack(vcpu, selector, vcpu->mode.cpl, X86_GP);
}

static void load_data(struct vcpu *vcpu, unsigned segment, uint16_t selector)
{
	unsigned rpl = selector & SELECTOR_RPL;
	struct descriptor descriptor;
	uint32_t attributes;
	bool conforming;

	if (selector_is_null(selector)) {
		vcpu->segment[segment] = segment_null(selector, 0);
		return;
	}
	descriptor_need(vcpu, selector, &descriptor, X86_GP);
	attributes = descriptor_attributes(&descriptor);
	if (!(attributes & SEG_S) ||
		(attributes & SEG_TYPE_CODE && !(attributes & SEG_TYPE_READABLE)))
		cpu_raise_error(vcpu, X86_GP, selector_error(selector));
	conforming = attributes & SEG_TYPE_CODE && attributes & SEG_TYPE_CONFORMING;
	if (!conforming &&
		(rpl > attributes_dpl(attributes) || vcpu->mode.cpl > attributes_dpl(attributes)))
		cpu_raise_error(vcpu, X86_GP, selector_error(selector));
	if (!(attributes & SEG_P))
		cpu_raise_error(vcpu, X86_NP, selector_error(selector));
	descriptor_set_accessed(vcpu, &descriptor);
	vcpu->segment[segment] = descriptor_segment(&descriptor, selector);
}

void segment_load(struct vcpu *vcpu, unsigned segment, uint16_t selector)
{
	if (!vcpu->mode.protected_mode || vcpu->mode.virtual_8086)
		segment_load_real(vcpu, segment, selector);
	else if (segment == X86_SS)
		load_stack(vcpu, selector);
	else
		load_data(vcpu, segment, selector);
	vcpu_update_mode(vcpu);
}

void segment_check_code(struct vcpu *vcpu, const struct descriptor *descriptor)
{
	uint32_t attributes = descriptor_attributes(descriptor);
	unsigned dpl = attributes_dpl(attributes);
	uint32_t error = selector_error(descriptor->selector);
	bool permitted;

	if (!attributes_are_code(attributes))
		cpu_raise_error(vcpu, X86_GP, error);
	if (attributes_are_conforming(attributes))
		permitted = dpl <= vcpu->mode.cpl;
	else
		permitted = (descriptor->selector & SELECTOR_RPL) <= vcpu->mode.cpl &&
			    dpl == vcpu->mode.cpl;
	if (!permitted)
		cpu_raise_error(vcpu, X86_GP, error);
	if (vcpu->mode.long_mode && (attributes & (SEG_L | SEG_DB)) == (SEG_L | SEG_DB))
		cpu_raise_error(vcpu, X86_GP, error);
	if (!(attributes & SEG_P))
		cpu_raise_error(vcpu, X86_NP, error);
}

void segment_check_target(struct vcpu *vcpu, const struct cpu_segment *code, uint64_t offset)
{
	if (vcpu->mode.long_mode && code->attributes & SEG_L) {
		if (!x86_is_canonical(offset))
			cpu_raise_error(vcpu, X86_GP, 0);
	} else if (offset > code->limit) {
		cpu_raise_error(vcpu, X86_GP, 0);
	}
}

void segment_set_cs(struct vcpu *vcpu, const struct descriptor *descriptor, unsigned cpl)
{
	uint16_t selector = (descriptor->selector & ~SELECTOR_RPL) | cpl;

	vcpu->segment[X86_CS] = descriptor_segment(descriptor, selector);
}

void branch_to(struct vcpu *vcpu, uint64_t target, unsigned operand_bytes)
{
	target &= byte_mask(operand_bytes);
	segment_check_target(vcpu, &vcpu->segment[X86_CS], target);
	vcpu->next_rip = target;
}
