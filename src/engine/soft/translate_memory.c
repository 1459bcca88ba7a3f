/*
 * Guest addresses in translated code: the look into the vCPU's TLB (tlb.h), as mmu_read_u64 does
 * it.
 *
 * A check leaves the entry's addend in R10, so that the access is the guest's own with one more
 * register in its address; the check of a group (translate_group.c) leaves the host address of the
 * group's first byte there. It fails for everything that needs a thought: no entry, a device, a
 * page boundary, code in the page. Then translated code is left before the instruction has had any
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

static size_t pointer_offset(const struct group *group)
{
	return offsetof(struct vcpu, translate.pointers) + group->slot * sizeof(uint64_t);
}

static bool has_segment_base(const struct insn *insn)
{
	return insn->segment == X86_FS || insn->segment == X86_GS;
}

bool translate_is_constant(const struct insn *insn)
{
	return !has_segment_base(insn) && insn->index == INSN_NO_REGISTER &&
	       (insn->base == INSN_RIP || insn->base == INSN_NO_REGISTER);
}

gva_t translate_constant(const struct insn *insn, gva_t next_rip)
{
	gva_t address = (gva_t)(int64_t)insn->disp;

	if (insn->base == INSN_RIP)
		address += next_rip;
	return insn->address_bytes == 8 ? address : (uint32_t)address;
}

/* base + index * 2^scale + disp of registers that the host has, and no segment's base. */
static bool is_direct(const struct insn *insn)
{
	return !has_segment_base(insn) && insn->address_bytes == 8 && insn->base != INSN_RIP &&
	       (insn->base != INSN_NO_REGISTER || insn->index != INSN_NO_REGISTER) &&
	       !is_in_memory(insn->base) && !is_in_memory(insn->index);
}

/* LEA of 32 or 64 bits from base + index * 2^scale + disp. */
void work_emit_lea(struct emitter *emitter, bool wide, unsigned to, unsigned base, unsigned index,
	unsigned scale, int32_t disp)
{
	bool has_base = base != EMIT_NO_REGISTER, has_index = index != EMIT_NO_REGISTER;
	bool sib = has_index || !has_base || (base & 7) == X86_RSP;
	bool short_disp = has_base && fits_i8(disp);

	emit_u8(emitter, 0x40 | wide << 3 | (to & 8 ? 4 : 0) | (has_index && index & 8 ? 2 : 0) |
				 (has_base && base & 8 ? 1 : 0));
	emit_u8(emitter, OPCODE_LEA);
	emit_u8(emitter, (!has_base           ? 0
				 : short_disp ? 0x40
					      : 0x80) |
				 (to & 7) << 3 | (sib ? 4 : base & 7));
	if (sib)
		emit_u8(emitter,
			scale << 6 | (has_index ? index & 7 : 4) << 3 | (has_base ? base & 7 : 5));
	if (short_disp)
		emit_u8(emitter, (uint8_t)disp);
	else
		emit_u32(emitter, (uint32_t)disp);
}

/* An address that LEA can compute. */
struct direct {
	uint8_t base, index, scale;
	int32_t disp;
};

static void emit_lea_direct(
	struct emitter *emitter, bool wide, unsigned to, struct direct direct, int32_t add)
{
	work_emit_lea(
		emitter, wide, to, direct.base, direct.index, direct.scale, direct.disp + add);
}

static struct direct direct_of(const struct insn *insn)
{
	return (struct direct){
		.base = insn->base == INSN_NO_REGISTER ? EMIT_NO_REGISTER : insn->base,
		.index = insn->index == INSN_NO_REGISTER ? EMIT_NO_REGISTER : insn->index,
		.scale = insn->scale,
		.disp = insn->disp,
	};
}

static void emit_load_address(struct work *work, const struct insn *insn)
{
	struct emitter *emitter = &work->emitter;
	struct direct direct = direct_of(insn);

	if (insn->base < INSN_NO_REGISTER && is_in_memory(insn->base)) {
		emit_load_gpr(emitter, TEMP_A, insn->base);
		direct.base = TEMP_A;
	}
	if (insn->index < INSN_NO_REGISTER && is_in_memory(insn->index)) {
		work_forget_pointer(work);
		emit_load_gpr(emitter, TEMP_B, insn->index);
		direct.index = TEMP_B;
	}
	emit_lea_direct(emitter, insn->address_bytes == 8, TEMP_A, direct, 0);
}

/* R11 = the linear address. May use R10; changes flags if there is a segment base. */
void work_linear(struct work *work, const struct insn *insn)
{
	struct emitter *emitter = &work->emitter;

	if (insn->base == INSN_RIP)
		work_load_address(work, TEMP_A, translate_constant(insn, work->next_rip));
	else if (insn->base == INSN_NO_REGISTER && insn->index == INSN_NO_REGISTER)
		emit_load_immediate(emitter, TEMP_A, translate_constant(insn, work->next_rip));
	else
		emit_load_address(work, insn);
	if (has_segment_base(insn))
		emit_state_op(emitter, OPCODE_ADD, TEMP_A,
			offsetof(struct vcpu, segment) +
				insn->segment * sizeof(struct cpu_segment) +
				offsetof(struct cpu_segment, base));
}

void work_leave_check(struct work *work, const struct work_span *span, unsigned condition)
{
	uint8_t *at = emit_jcc(&work->emitter, condition);

	if (span->group)
		work_leave_group(work, at);
	else
		work_stub(work, at, EXIT_INSN, 0, false);
}

/* R10D holds the span's address, R11 that of its last byte: R10 = addend, or out. */
void work_span_lookup(struct work *work, const struct work_span *span)
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
	emit_state_index_op(emitter, OPCODE_CMP, TEMP_A, TEMP_B, set + tag_offset(span->write));
	work_leave_check(work, span, CONDITION_NE);
	emit_state_index_op(
		emitter, OPCODE_LOAD, TEMP_B, TEMP_B, set + offsetof(struct tlb_entry, addend));
}

/* R10 is the host address of the span's first byte: keeps it for the rest of the group. */
struct emit_memory work_keep_pointer(struct work *work, const struct work_span *span)
{
	emit_state_op(&work->emitter, OPCODE_STORE, TEMP_B, pointer_offset(span->group));
	work->pointer = (uint8_t)(span->group - work->groups);
	return (struct emit_memory){ TEMP_B, EMIT_NO_REGISTER, -span->before };
}

struct emit_memory work_check_constant(
	struct work *work, gva_t address, const struct work_span *span)
{
	struct emitter *emitter = &work->emitter;
	size_t entry = set_offset(work) + tlb_index(address) * sizeof(struct tlb_entry);
	gva_t page = address & PAGE_MASK;
	struct emit_memory memory = { TEMP_B, EMIT_NO_REGISTER, 0 };

	if ((address & 0xfff) + (unsigned)span->size > GUEST_PAGE_SIZE && !span->group) {
		work_stub(work, emit_jump(emitter), EXIT_INSN, 0, false);
	} else if (fits_i32(page)) {
		work_fix(work);
		emit_u8(emitter, 0x65); /* cmp qword gs:[tag], page */
		emit_u8(emitter, 0x48);
		emit_u8(emitter, 0x81);
		emit_u8(emitter, 0x3c);
		emit_u8(emitter, 0x25);
		emit_u32(emitter, (uint32_t)(entry + tag_offset(span->write)));
		emit_u32(emitter, (uint32_t)page);
		work_leave_check(work, span, CONDITION_NE);
	} else {
		work_load_address(work, TEMP_A, page);
		emit_state_op(emitter, OPCODE_CMP, TEMP_A, entry + tag_offset(span->write));
		work_fixup(work, FIXUP_TLB);
		work_leave_check(work, span, CONDITION_NE);
	}
	emit_state_op(emitter, OPCODE_LOAD, TEMP_B, entry + offsetof(struct tlb_entry, addend));
	work_fixup(work, FIXUP_TLB);
	if (fits_i32(page)) {
		memory.disp = (int32_t)address;
	} else {
		memory = (struct emit_memory){ TEMP_A, TEMP_B, (int32_t)(address & 0xfff) };
	}
	if (!span->group)
		return memory;
	memory.disp += span->before;
	emit_memory_op(emitter, OPCODE_LEA, TEMP_B, memory);
	return work_keep_pointer(work, span);
}

/* The look into the TLB: an operand of the span's first byte, R10 in it. */
static struct emit_memory look_direct(
	struct work *work, struct direct direct, const struct work_span *span)
{
	struct emitter *emitter = &work->emitter;

	emit_lea_direct(emitter, false, TEMP_B, direct, span->before);
	emit_lea_direct(emitter, true, TEMP_A, direct, span->before + span->size - 1);
	work_span_lookup(work, span);
	if (direct.index == EMIT_NO_REGISTER)
		return (struct emit_memory){ direct.base, TEMP_B, direct.disp + span->before };
	emit_lea_direct(emitter, true, TEMP_A, direct, span->before);
	return (struct emit_memory){ TEMP_A, TEMP_B, 0 };
}

static struct emit_memory look_general(
	struct work *work, const struct insn *insn, const struct work_span *span)
{
	struct emitter *emitter = &work->emitter;
	size_t scratch = offsetof(struct vcpu, translate.scratch);
	bool again = !is_in_memory(insn->index);

	work_linear(work, insn);
	if (!again)
		emit_state_op(emitter, OPCODE_STORE, TEMP_A, scratch);
	work_emit_lea(emitter, false, TEMP_B, TEMP_A, EMIT_NO_REGISTER, 0, span->before);
	if (span->before + span->size > 1)
		work_emit_lea(emitter, true, TEMP_A, TEMP_A, EMIT_NO_REGISTER, 0,
			span->before + span->size - 1);
	work_span_lookup(work, span);
	if (again)
		work_linear(work, insn);
	else
		emit_state_op(emitter, OPCODE_LOAD, TEMP_A, scratch);
	return (struct emit_memory){ TEMP_A, TEMP_B, span->before };
}

/* Can LEA compute the operand's address, and those of the span's bytes? */
static bool is_direct_span(const struct insn *insn, const struct work_span *span)
{
	return is_direct(insn) && insn->disp <= INT32_MAX - span->size &&
	       insn->disp >= INT32_MIN - span->before;
}

static struct emit_memory look(
	struct work *work, const struct insn *insn, const struct work_span *span)
{
	return is_direct_span(insn, span) ? look_direct(work, direct_of(insn), span)
					  : look_general(work, insn, span);
}

static struct emit_memory keep_first(
	struct work *work, struct emit_memory first, const struct work_span *span)
{
	if (!span->group)
		return first;
	emit_memory_op(&work->emitter, OPCODE_LEA, TEMP_B, first);
	return work_keep_pointer(work, span);
}

/* What does not read through the window: the user, who is not the kernel; the stack and what is
 * accessed with SMAP suspended, which are mapped elsewhere; what is seen to lie elsewhere. */
static bool uses_window(const struct work *work, const struct insn *insn,
	const struct access *access, const struct work_span *span)
{
	return !access->beside && work->set == TLB_SUPERVISOR && !span->write &&
	       insn->base != X86_RSP && insn->address_bytes == 8 && span->size <= MMU_WINDOW_SPAN;
}

/* R10 = the span's first byte. What lies outside of the window is looked up behind the block. */
static struct emit_memory check_window(
	struct work *work, const struct insn *insn, const struct work_span *span)
{
	struct emitter *emitter = &work->emitter;
	struct detour *detour = &work->detours[work->nr_detours++];
	struct emit_memory first = { TEMP_B, EMIT_NO_REGISTER, 0 };

	*detour = (struct detour){
		.span = *span,
		.insn = (uint8_t)work->n,
		.flags_in_host = work->flags_in_host,
		.flags_in_memory = work->flags_in_memory,
	};
	if (is_direct_span(insn, span)) {
		emit_lea_direct(emitter, true, TEMP_B, direct_of(insn), span->before);
	} else {
		work_linear(work, insn);
		work_emit_lea(emitter, true, TEMP_B, TEMP_A, EMIT_NO_REGISTER, 0, span->before);
	}
	emit_state_op(emitter, OPCODE_SUB, TEMP_B, offsetof(struct vcpu, tlb.window.from));
	emit_state_op(emitter, OPCODE_CMP, TEMP_B, offsetof(struct vcpu, tlb.window.limit));
	detour->at = emit_jcc(emitter, CONDITION_AE);
	emit_state_op(emitter, OPCODE_ADD, TEMP_B, offsetof(struct vcpu, tlb.window.host));
	detour->back = emitter->at;
	if (span->group)
		return work_keep_pointer(work, span);
	return first;
}

void work_detours(struct work *work)
{
	struct emitter *emitter = &work->emitter;

	for (unsigned i = 0; i < work->nr_detours; i++) {
		const struct detour *detour = &work->detours[i];
		struct emit_memory first;

		work->n = detour->insn;
		work->rip = work->at[work->n];
		work->next_rip = mode_next(work->mode, work->rip, work->insns[work->n]);
		work->flags_in_host = detour->flags_in_host;
		work->flags_in_memory = detour->flags_in_memory;
		work_forget_pointer(work);
		emit_bind(detour->at, emitter->at);
		first = look(work, work->insns[work->n], &detour->span);
		emit_memory_op(emitter, OPCODE_LEA, TEMP_B, first);
		emit_bind(emit_jump(emitter), detour->back);
	}
}

/* An access that another one's check has covered. */
static struct emit_memory use_pointer(struct work *work, const struct access *access)
{
	const struct group *group = &work->groups[access->group];

	if (work->pointer != access->group)
		emit_state_op(&work->emitter, OPCODE_LOAD, TEMP_B, pointer_offset(group));
	work->pointer = access->group;
	return (struct emit_memory){ TEMP_B, EMIT_NO_REGISTER, access->from - group->from };
}

static struct work_span span_of(
	const struct work *work, const struct access *access, unsigned size, bool write)
{
	const struct group *group;

	if (!access->leads)
		return (struct work_span){ .size = (int32_t)size, .write = write };
	group = &work->groups[access->group];
	return (struct work_span){
		.before = group->from - access->from,
		.size = group->to - group->from,
		.write = group->write,
		.group = group,
	};
}

void work_lookup(struct work *work, bool write)
{
	work_span_lookup(work, &(struct work_span){ .write = write });
}

struct emit_memory work_check_r11(struct work *work, unsigned size, bool write)
{
	struct emitter *emitter = &work->emitter;
	size_t scratch = offsetof(struct vcpu, translate.scratch);

	emit_state_op(emitter, OPCODE_STORE, TEMP_A, scratch);
	emit_register_op(emitter, OPCODE_LOAD, TEMP_B, TEMP_A);
	work_emit_lea(emitter, true, TEMP_A, TEMP_A, EMIT_NO_REGISTER, 0, (int32_t)size - 1);
	work_span_lookup(work, &(struct work_span){ .size = (int32_t)size, .write = write });
	emit_state_op(emitter, OPCODE_LOAD, TEMP_A, scratch);
	return (struct emit_memory){ TEMP_A, TEMP_B, 0 };
}

struct emit_memory work_check(
	struct work *work, struct place_in_memory place, unsigned size, bool write)
{
	const struct insn *insn = place.insn;
	const struct access *access =
		&work->accesses[insn ? ACCESS_OPERAND(work->n) : ACCESS_STACK(work->n)];
	struct work_span span;

	if (access->group != NO_GROUP && !access->leads)
		return use_pointer(work, access);
	span = span_of(work, access, size, write);
	work_forget_pointer(work);
	work_before_clobber(work);
	if (!mode_is_wide(work->mode))
		return work_check_logical(work, place, &span);
	if (!insn)
		return keep_first(work,
			look_direct(work,
				(struct direct){ place.base, EMIT_NO_REGISTER, 0, place.disp },
				&span),
			&span);
	if (translate_is_constant(insn))
		return work_check_constant(work, translate_constant(insn, work->next_rip), &span);
	if (uses_window(work, insn, access, &span))
		return check_window(work, insn, &span);
	return keep_first(work, look(work, insn, &span), &span);
}
