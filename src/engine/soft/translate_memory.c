/*
 * Guest addresses in translated code: the look into the vCPU's TLB (tlb.h), as mmu_read_u64 does
 * it.
 *
 * A check leaves the entry's addend in R10, so that the access is the guest's own with one more
 * register in its address. It fails for everything that needs a thought: no entry, a device, a page
 * boundary, code in the page. Then translated code is left before the instruction has had any
 * effect, and the interpreter executes it. An address that is not canonical matches no tag.
 */
#include "engine/soft/translator.h"

#define TLB_ENTRY_SHIFT 6
#define TLB_INDEX_MASK  ((TLB_ENTRIES - 1) << TLB_ENTRY_SHIFT)
#define PAGE_MASK       (~UINT64_C(0xfff))

_Static_assert(sizeof(struct tlb_entry) == 1u << TLB_ENTRY_SHIFT, "an index is one shift");

static size_t set_offset(const struct work *work)
{
	return offsetof(struct vcpu, tlb.entries) +
	       work->set * sizeof(((struct tlb *)0)->entries[0]);
}

static size_t tag_offset(bool write)
{
	return write ? offsetof(struct tlb_entry, write_tag) : offsetof(struct tlb_entry, read_tag);
}

static bool has_segment_base(const struct insn *insn)
{
	return insn->segment == X86_FS || insn->segment == X86_GS;
}

static bool is_constant(const struct insn *insn)
{
	return !has_segment_base(insn) && insn->index == INSN_NO_REGISTER &&
	       (insn->base == INSN_RIP || insn->base == INSN_NO_REGISTER);
}

static gva_t constant_address(const struct work *work, const struct insn *insn)
{
	gva_t address = (gva_t)(int64_t)insn->disp;

	if (insn->base == INSN_RIP)
		address += work->next_rip;
	return insn->address_bytes == 8 ? address : (uint32_t)address;
}

static bool is_simple(const struct insn *insn)
{
	return !has_segment_base(insn) && insn->index == INSN_NO_REGISTER &&
	       insn->base < INSN_NO_REGISTER && !is_in_memory(insn->base) &&
	       insn->address_bytes == 8;
}

/* LEA of 32 or 64 bits from base + index * 2^scale + disp. */
static void emit_lea(struct emitter *emitter, bool wide, unsigned to, unsigned base, unsigned index,
	unsigned scale, int32_t disp)
{
	bool has_base = base != EMIT_NO_REGISTER, has_index = index != EMIT_NO_REGISTER;
	bool sib = has_index || !has_base || (base & 7) == X86_RSP;

	emit_u8(emitter, 0x40 | wide << 3 | (to & 8 ? 4 : 0) | (has_index && index & 8 ? 2 : 0) |
				 (has_base && base & 8 ? 1 : 0));
	emit_u8(emitter, OPCODE_LEA);
	emit_u8(emitter, (has_base ? 0x80 : 0) | (to & 7) << 3 | (sib ? 4 : base & 7));
	if (sib)
		emit_u8(emitter,
			scale << 6 | (has_index ? index & 7 : 4) << 3 | (has_base ? base & 7 : 5));
	emit_u32(emitter, (uint32_t)disp);
}

/* R11 = the linear address. May use R10; changes flags if there is a segment base. */
void work_linear(struct work *work, const struct insn *insn)
{
	struct emitter *emitter = &work->emitter;
	unsigned base = insn->base, index = insn->index;
	bool wide = insn->address_bytes == 8;

	if (base == INSN_RIP || (base == INSN_NO_REGISTER && index == INSN_NO_REGISTER)) {
		gva_t address = (gva_t)(int64_t)insn->disp;

		if (base == INSN_RIP)
			address += work->next_rip;
		emit_load_immediate(emitter, TEMP_A, wide ? address : (uint32_t)address);
	} else {
		if (base < INSN_NO_REGISTER && is_in_memory(base)) {
			emit_load_gpr(emitter, TEMP_A, base);
			base = TEMP_A;
		}
		if (index < INSN_NO_REGISTER && is_in_memory(index)) {
			emit_load_gpr(emitter, TEMP_B, index);
			index = TEMP_B;
		}
		emit_lea(emitter, wide, TEMP_A, base == INSN_NO_REGISTER ? EMIT_NO_REGISTER : base,
			index == INSN_NO_REGISTER ? EMIT_NO_REGISTER : index, insn->scale,
			insn->disp);
	}
	if (has_segment_base(insn))
		emit_state_op(emitter, OPCODE_ADD, TEMP_A,
			offsetof(struct vcpu, segment) +
				insn->segment * sizeof(struct cpu_segment) +
				offsetof(struct cpu_segment, base));
}

/* R10D holds the address, R11 that of the access's last byte: R10 = addend, or out. */
static void emit_lookup(struct work *work, bool write)
{
	struct emitter *emitter = &work->emitter;
	size_t set = set_offset(work);

	emit_u8(emitter, 0x41); /* shr r10d, 6 */
	emit_u8(emitter, 0xc1);
	emit_u8(emitter, 0xea);
	emit_u8(emitter, 12 - TLB_ENTRY_SHIFT);
	emit_u8(emitter, 0x41); /* and r10d, mask */
	emit_u8(emitter, 0x81);
	emit_u8(emitter, 0xe2);
	emit_u32(emitter, TLB_INDEX_MASK);
	emit_u8(emitter, 0x49); /* and r11, -4096 */
	emit_u8(emitter, 0x81);
	emit_u8(emitter, 0xe3);
	emit_u32(emitter, (uint32_t)PAGE_MASK);
	emit_state_index_op(emitter, OPCODE_CMP, TEMP_A, TEMP_B, set + tag_offset(write));
	work_stub(work, emit_jcc(emitter, CONDITION_NE), EXIT_INSN, 0, false);
	emit_state_index_op(
		emitter, OPCODE_LOAD, TEMP_B, TEMP_B, set + offsetof(struct tlb_entry, addend));
}

static struct emit_memory check_constant(
	struct work *work, gva_t address, unsigned size, bool write)
{
	struct emitter *emitter = &work->emitter;
	size_t entry = set_offset(work) + tlb_index(address) * sizeof(struct tlb_entry);
	gva_t page = address & PAGE_MASK;

	if ((address & 0xfff) + size > GUEST_PAGE_SIZE) {
		work_stub(work, emit_jump(emitter), EXIT_INSN, 0, false);
	} else if (fits_i32(page)) {
		emit_u8(emitter, 0x65); /* cmp qword gs:[tag], page */
		emit_u8(emitter, 0x48);
		emit_u8(emitter, 0x81);
		emit_u8(emitter, 0x3c);
		emit_u8(emitter, 0x25);
		emit_u32(emitter, (uint32_t)(entry + tag_offset(write)));
		emit_u32(emitter, (uint32_t)page);
		work_stub(work, emit_jcc(emitter, CONDITION_NE), EXIT_INSN, 0, false);
	} else {
		emit_load_immediate(emitter, TEMP_A, page);
		emit_state_op(emitter, OPCODE_CMP, TEMP_A, entry + tag_offset(write));
		work_stub(work, emit_jcc(emitter, CONDITION_NE), EXIT_INSN, 0, false);
	}
	emit_state_op(emitter, OPCODE_LOAD, TEMP_B, entry + offsetof(struct tlb_entry, addend));
	if (fits_i32(address))
		return (struct emit_memory){ TEMP_B, EMIT_NO_REGISTER, (int32_t)address };
	emit_load_immediate(emitter, TEMP_A, address);
	return (struct emit_memory){ TEMP_A, TEMP_B, 0 };
}

static struct emit_memory check_simple(
	struct work *work, unsigned base, int32_t disp, unsigned size, bool write)
{
	struct emitter *emitter = &work->emitter;

	emit_lea(emitter, false, TEMP_B, base, EMIT_NO_REGISTER, 0, disp);
	emit_lea(emitter, true, TEMP_A, base, EMIT_NO_REGISTER, 0, disp + (int32_t)size - 1);
	emit_lookup(work, write);
	return (struct emit_memory){ (uint8_t)base, TEMP_B, disp };
}

static struct emit_memory check_general(
	struct work *work, const struct insn *insn, unsigned size, bool write)
{
	struct emitter *emitter = &work->emitter;
	size_t scratch = offsetof(struct vcpu, translate.scratch);

	work_linear(work, insn);
	emit_state_op(emitter, OPCODE_STORE, TEMP_A, scratch);
	emit_register_op(emitter, OPCODE_LOAD, TEMP_B, TEMP_A);
	if (size > 1)
		emit_lea(emitter, true, TEMP_A, TEMP_A, EMIT_NO_REGISTER, 0, (int32_t)size - 1);
	emit_lookup(work, write);
	if (is_in_memory(insn->index))
		emit_state_op(emitter, OPCODE_LOAD, TEMP_A, scratch);
	else
		work_linear(work, insn);
	return (struct emit_memory){ TEMP_A, TEMP_B, 0 };
}

struct emit_memory work_check_r11(struct work *work, unsigned size, bool write)
{
	struct emitter *emitter = &work->emitter;
	size_t scratch = offsetof(struct vcpu, translate.scratch);

	emit_state_op(emitter, OPCODE_STORE, TEMP_A, scratch);
	emit_register_op(emitter, OPCODE_LOAD, TEMP_B, TEMP_A);
	emit_lea(emitter, true, TEMP_A, TEMP_A, EMIT_NO_REGISTER, 0, (int32_t)size - 1);
	emit_lookup(work, write);
	emit_state_op(emitter, OPCODE_LOAD, TEMP_A, scratch);
	return (struct emit_memory){ TEMP_A, TEMP_B, 0 };
}

struct emit_memory work_check(
	struct work *work, struct place_in_memory place, unsigned size, bool write)
{
	const struct insn *insn = place.insn;

	work_before_clobber(work);
	if (!insn)
		return check_simple(work, place.base, place.disp, size, write);
	if (is_constant(insn))
		return check_constant(work, constant_address(work, insn), size, write);
	if (is_simple(insn) && insn->disp <= INT32_MAX - (int32_t)size)
		return check_simple(work, insn->base, insn->disp, size, write);
	return check_general(work, insn, size, write);
}
