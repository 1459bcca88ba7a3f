/*
 * Looking at descriptors without loading them: LAR, LSL, VERR, VERW, ARPL (SDM 3A 5.10). They clear
 * ZF where a load would fault.
 */
#include "engine/soft/descriptor.h"
#include "engine/soft/flags.h"
#include "engine/soft/operand.h"

static uint16_t read_selector(struct vcpu *vcpu, const struct insn *insn)
{
	if (insn->has_memory)
		return mmu_read_u16(vcpu, insn_linear(vcpu, insn, 2, MMU_READ));
	return vcpu->gpr[insn->rm];
}

static bool is_conforming_code(uint32_t attributes)
{
	return attributes_are_code(attributes) && attributes_are_conforming(attributes);
}

static bool privilege_permits(const struct vcpu *vcpu, uint16_t selector, uint32_t attributes)
{
	unsigned dpl = attributes_dpl(attributes);

	return is_conforming_code(attributes) ||
	       (dpl >= vcpu->mode.cpl && dpl >= (selector & SELECTOR_RPL));
}

#define TYPES_LAR                                                                                  \
	(BIT(SEG_TYPE_TSS16_FREE) | BIT(SEG_TYPE_LDT) | BIT(SEG_TYPE_TSS16_BUSY) |                 \
		BIT(SEG_TYPE_CALL16) | BIT(SEG_TYPE_TASK_GATE) | BIT(SEG_TYPE_TSS_FREE) |          \
		BIT(SEG_TYPE_TSS_BUSY) | BIT(SEG_TYPE_CALL))
#define TYPES_LSL                                                                                  \
	(BIT(SEG_TYPE_TSS16_FREE) | BIT(SEG_TYPE_LDT) | BIT(SEG_TYPE_TSS16_BUSY) |                 \
		BIT(SEG_TYPE_TSS_FREE) | BIT(SEG_TYPE_TSS_BUSY))
#define TYPES_LONG                                                                                 \
	(BIT(SEG_TYPE_LDT) | BIT(SEG_TYPE_TSS_FREE) | BIT(SEG_TYPE_TSS_BUSY) | BIT(SEG_TYPE_CALL))

/* SDM 2, LAR and LSL: tables of valid types. */
static bool type_is_valid(const struct vcpu *vcpu, uint32_t attributes, uint64_t types)
{
	if (attributes & SEG_S)
		return true;
	if (vcpu->mode.long_mode)
		types &= TYPES_LONG;
	return types >> attributes_type(attributes) & 1;
}

static bool visible(struct vcpu *vcpu, uint16_t selector, struct descriptor *descriptor)
{
	return !selector_is_null(selector) && descriptor_read(vcpu, selector, descriptor) &&
	       privilege_permits(vcpu, selector, descriptor_attributes(descriptor));
}

EXEC(exec_lar)
{
	uint16_t selector = read_selector(vcpu, insn);
	struct descriptor descriptor;
	bool valid = visible(vcpu, selector, &descriptor) &&
		     type_is_valid(vcpu, descriptor_attributes(&descriptor), TYPES_LAR);

	if (valid)
		gpr_write(vcpu, insn->reg, insn->operand_bytes,
			descriptor.low >> 32 & (insn->operand_bytes == 2 ? 0xff00 : 0xf0ff00));
	flags_assign(vcpu, FLAGS_ZF, valid);
}

EXEC(exec_lsl)
{
	uint16_t selector = read_selector(vcpu, insn);
	struct descriptor descriptor;
	bool valid = visible(vcpu, selector, &descriptor) &&
		     type_is_valid(vcpu, descriptor_attributes(&descriptor), TYPES_LSL);

	if (valid)
		gpr_write(vcpu, insn->reg, insn->operand_bytes,
			descriptor_segment(&descriptor, selector).limit);
	flags_assign(vcpu, FLAGS_ZF, valid);
}

EXEC(exec_verr)
{
	uint16_t selector = read_selector(vcpu, insn);
	struct descriptor descriptor;
	uint32_t attributes;
	bool readable = false;

	if (visible(vcpu, selector, &descriptor)) {
		attributes = descriptor_attributes(&descriptor);
		readable = attributes & SEG_S &&
			   (!(attributes & SEG_TYPE_CODE) || attributes & SEG_TYPE_READABLE);
	}
	flags_assign(vcpu, FLAGS_ZF, readable);
}

EXEC(exec_verw)
{
	uint16_t selector = read_selector(vcpu, insn);
	struct descriptor descriptor;
	bool writable = visible(vcpu, selector, &descriptor) &&
			attributes_are_writable_data(descriptor_attributes(&descriptor));

	flags_assign(vcpu, FLAGS_ZF, writable);
}

EXEC(exec_arpl)
{
	uint16_t source = vcpu->gpr[insn->reg];
	uint16_t selector = read_selector(vcpu, insn);
	bool raises = (selector & SELECTOR_RPL) < (source & SELECTOR_RPL);

	if (raises) {
		selector = (selector & ~SELECTOR_RPL) | (source & SELECTOR_RPL);
		if (insn->has_memory)
			mmu_write_u16(vcpu, insn_linear(vcpu, insn, 2, MMU_WRITE), selector);
		else
			gpr_write(vcpu, insn->rm, 2, selector);
	}
	flags_assign(vcpu, FLAGS_ZF, raises);
}
