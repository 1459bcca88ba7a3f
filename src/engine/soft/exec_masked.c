/*
 * Vector instructions with several memory accesses, of which a mask selects: VMASKMOV, VPMASKMOV,
 * MASKMOVQ, MASKMOVDQU and the gathers (SDM 2). Elements that the mask leaves out do not fault.
 *
 * They work on the image of the registers, an element at a time.
 */
#include "engine/soft/operand.h"
#include "engine/soft/vector_state.h"

#define VECTOR_BYTES 32

static bool vex_w(const struct insn *insn)
{
	return insn->prefixes & PREFIX_REX_W;
}

static unsigned vector_length(const struct insn *insn)
{
	return insn->operand_bytes;
}

static gva_t element_linear(struct vcpu *vcpu, const struct insn *insn, unsigned offset,
	unsigned size, enum mmu_access access)
{
	return segment_linear(vcpu, insn->segment, insn_offset(vcpu, insn) + offset, size, access);
}

static bool selects(const uint8_t *mask, unsigned element, unsigned size)
{
	return mask[(element + 1) * size - 1] & 0x80;
}

static void masked_load(struct vcpu *vcpu, const struct insn *insn, unsigned size)
{
	struct cpu_xsave *image = vector_image(vcpu);
	uint8_t mask[VECTOR_BYTES], value[VECTOR_BYTES] = { 0 };

	vector_image_read(image, insn->vvvv, mask);
	for (unsigned i = 0; i < vector_length(insn) / size; i++)
		if (selects(mask, i, size))
			mmu_read(vcpu, element_linear(vcpu, insn, i * size, size, MMU_READ),
				value + i * size, size);
	vector_image_write(vector_image(vcpu), insn->reg, value);
}

static void masked_store(struct vcpu *vcpu, const struct insn *insn, unsigned size)
{
	struct cpu_xsave *image = vector_image(vcpu);
	uint8_t mask[VECTOR_BYTES], value[VECTOR_BYTES];
	unsigned count = vector_length(insn) / size;

	vector_image_read(image, insn->vvvv, mask);
	vector_image_read(image, insn->reg, value);
	for (unsigned i = 0; i < count; i++)
		if (selects(mask, i, size))
			mmu_probe_write(
				vcpu, element_linear(vcpu, insn, i * size, size, MMU_WRITE), size);
	for (unsigned i = 0; i < count; i++)
		if (selects(mask, i, size))
			mmu_write(vcpu, element_linear(vcpu, insn, i * size, size, MMU_WRITE),
				value + i * size, size);
}

/* VMASKMOVPS and PD: 2C to 2F; VPMASKMOV: 8C and 8E, element size by VEX.W. */
static unsigned masked_element_bytes(const struct insn *insn)
{
	bool wide = insn->opcode < 0x80 ? insn->opcode & 1 : vex_w(insn);

	return wide ? 8 : 4;
}

EXEC(exec_vmaskmov_load)
{
	masked_load(vcpu, insn, masked_element_bytes(insn));
}

EXEC(exec_vmaskmov_store)
{
	masked_store(vcpu, insn, masked_element_bytes(insn));
}

/* Bytes to DS:rDI. As on the processor, the whole operand must be writable (SDM 2, MASKMOVQ). */
static void store_selected_bytes(struct vcpu *vcpu, const struct insn *insn, const uint8_t *value,
	const uint8_t *mask, unsigned size)
{
	uint64_t offset = vcpu->gpr[X86_RDI] & byte_mask(insn->address_bytes);
	gva_t address = segment_linear(vcpu, insn->segment, offset, size, MMU_WRITE);

	mmu_probe_write(vcpu, address, size);
	for (unsigned i = 0; i < size; i++)
		if (selects(mask, i, 1))
			mmu_write_u8(vcpu, address + i, value[i]);
}

/* MASKMOVDQU and VMASKMOVDQU */
EXEC(exec_maskmovdqu)
{
	struct cpu_xsave *image = vector_image(vcpu);
	uint8_t mask[VECTOR_BYTES], value[VECTOR_BYTES];

	vector_image_read(image, insn->rm, mask);
	vector_image_read(image, insn->reg, value);
	store_selected_bytes(vcpu, insn, value, mask, 16);
}

/*
 * What every MMX instruction but EMMS does: TOP becomes 0, all tags valid (SDM 1 9.5.1). ST(i) of
 * the image is counted from TOP.
 */
static void enter_mmx(struct cpu_xsave *image)
{
	unsigned top = (unsigned)field_get(X87_FSW_TOP, image->fsw);
	uint8_t rotated[8][10];

	for (unsigned i = 0; i < 8; i++)
		for (unsigned k = 0; k < 10; k++)
			rotated[(top + i) & 7][k] = image->st[i][k];
	for (unsigned i = 0; i < 8; i++)
		for (unsigned k = 0; k < 10; k++)
			image->st[i][k] = rotated[i][k];
	image->fsw &= (uint16_t)~X87_FSW_TOP;
	image->ftw = 0xff;
	image->xstate_bv |= XCR0_X87;
}

EXEC(exec_maskmovq)
{
	struct cpu_xsave *image;
	uint8_t mask[8], value[8];

	x87_check_pending(vcpu);
	image = vector_image(vcpu);
	enter_mmx(image);
	for (unsigned i = 0; i < 8; i++) {
		mask[i] = image->st[insn->rm & 7][i];
		value[i] = image->st[insn->reg & 7][i];
	}
	store_selected_bytes(vcpu, insn, value, mask, 8);
}

static uint64_t element_index(const uint8_t *indices, unsigned element, unsigned size)
{
	uint64_t value = 0;

	for (unsigned k = 0; k < size; k++)
		value |= (uint64_t)indices[element * size + k] << (8 * k);
	return sign_extend(value, size);
}

static uint64_t gather_offset(const struct vcpu *vcpu, const struct insn *insn, uint64_t index)
{
	uint64_t offset = (uint64_t)(int64_t)insn->disp + (index << insn->scale);

	if (insn->base < INSN_NO_REGISTER)
		offset += vcpu->gpr[insn->base];
	return offset & byte_mask(insn->address_bytes);
}

/*
 * VGATHER and VPGATHER: 90 and 92 with indices of 4 bytes, 91 and 93 of 8; elements by VEX.W. The
 * mask of each element is cleared when it is done with, so that a fault restarts at the element
 * that caused it. The decoder has refused equal registers.
 */
EXEC(exec_gather)
{
	unsigned size = vex_w(insn) ? 8 : 4, index_size = insn->opcode & 1 ? 8 : 4;
	unsigned count = vector_length(insn) / (size > index_size ? size : index_size);
	uint8_t value[VECTOR_BYTES], mask[VECTOR_BYTES], indices[VECTOR_BYTES];
	struct cpu_xsave *image = vector_image(vcpu);

	vector_image_read(image, insn->reg, value);
	vector_image_read(image, insn->vvvv, mask);
	vector_image_read(image, insn->index, indices);
	for (unsigned i = 0; i < count; i++) {
		uint64_t index = element_index(indices, i, index_size);

		if (selects(mask, i, size))
			mmu_read(vcpu,
				segment_linear(vcpu, insn->segment,
					gather_offset(vcpu, insn, index), size, MMU_READ),
				value + i * size, size);
		for (unsigned k = 0; k < size; k++)
			mask[i * size + k] = 0;
		image = vector_image(vcpu);
		vector_image_write(image, insn->reg, value);
		vector_image_write(image, insn->vvvv, mask);
	}
	for (unsigned i = count * size; i < VECTOR_BYTES; i++)
		value[i] = 0;
	for (unsigned i = 0; i < VECTOR_BYTES; i++)
		mask[i] = 0;
	vector_image_write(image, insn->reg, value);
	vector_image_write(image, insn->vvvv, mask);
}
