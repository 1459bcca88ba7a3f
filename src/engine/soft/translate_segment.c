/*
 * Accesses of 16 and 32-bit code: an offset of 16 or 32 bits, a segment that may have a base and a
 * limit, a linear address of 32 bits; then the look into the TLB of translate_memory.c.
 *
 * What violates a limit, or runs over the end of the 4 GiB that offsets can name, is found by the
 * check and left to the interpreter. Bases and limits are looked up each time: the mode
 * (translate_mode.c) only says which segments have them.
 */
#include "engine/soft/translator.h"

#define CONDITION_C 2
#define CONDITION_G 15

/* An offset in a segment. */
struct logical {
	uint8_t segment, address_bytes;
	uint8_t base, index, scale;
	int32_t disp;
};

static struct logical operand_of(const struct insn *insn)
{
	return (struct logical){
		.segment = insn->segment,
		.address_bytes = insn->address_bytes,
		.base = insn->base == INSN_NO_REGISTER ? EMIT_NO_REGISTER : insn->base,
		.index = insn->index == INSN_NO_REGISTER ? EMIT_NO_REGISTER : insn->index,
		.scale = insn->scale,
		.disp = insn->disp,
	};
}

static bool is_constant(const struct logical *at)
{
	return at->base == EMIT_NO_REGISTER && at->index == EMIT_NO_REGISTER;
}

static uint32_t constant_of(const struct logical *at)
{
	return (uint32_t)at->disp & (uint32_t)byte_mask(at->address_bytes);
}

/* `to` = the offset, plus `add`, in 32 bits. Changes no flags. */
static void emit_offset(struct work *work, unsigned to, const struct logical *at, int32_t add)
{
	struct emitter *emitter = &work->emitter;
	bool is_short = at->address_bytes == 2;

	if (is_constant(at)) {
		emit_load_immediate(emitter, to, constant_of(at) + (uint32_t)add);
		return;
	}
	work_emit_lea(emitter, false, to, at->base, at->index, at->scale,
		is_short ? at->disp : (int32_t)((uint32_t)at->disp + (uint32_t)add));
	if (!is_short)
		return;
	emit_move_sized(emitter, 2, to, to);
	if (add)
		work_emit_lea(emitter, false, to, to, EMIT_NO_REGISTER, 0, add);
}

static size_t segment_field(unsigned segment, size_t field)
{
	return offsetof(struct vcpu, segment) + segment * sizeof(struct cpu_segment) + field;
}

static enum segment_kind kind_of(const struct work *work, unsigned segment)
{
	return (enum segment_kind)field_get(SEGMENT_KIND, work->mode->segments[segment]);
}

/* R11D += the segment's base */
static void emit_add_base(struct work *work, unsigned segment)
{
	static const uint8_t add_r11d_gs[] = { 0x65, 0x44, 0x03, 0x1c, 0x25 };
	struct emitter *emitter = &work->emitter;

	if (kind_of(work, segment) == SEGMENT_FLAT)
		return;
	emit_bytes(emitter, add_r11d_gs, sizeof(add_r11d_gs));
	emit_u32(emitter, (uint32_t)segment_field(segment, offsetof(struct cpu_segment, base)));
}

/* R10D = the segment's limit */
static void emit_load_limit(struct work *work, unsigned segment)
{
	static const uint8_t mov_r10d_gs[] = { 0x65, 0x44, 0x8b, 0x14, 0x25 };
	struct emitter *emitter = &work->emitter;

	emit_bytes(emitter, mov_r10d_gs, sizeof(mov_r10d_gs));
	emit_u32(emitter, (uint32_t)segment_field(segment, offsetof(struct cpu_segment, limit)));
}

/* R11 is the offset of `size` bytes: leaves if they are not all in the segment. Uses R10. */
static void check_limit(struct work *work, unsigned segment, const struct work_span *span)
{
	static const uint8_t bt_r10_32[] = { 0x49, 0x0f, 0xba, 0xe2, 32 };
	struct emitter *emitter = &work->emitter;

	switch (kind_of(work, segment)) {
	case SEGMENT_FLAT: return; /* the page's end is where the 4 GiB end */
	case SEGMENT_BASED:
		if (span->size == 1)
			return;
		work_emit_lea(emitter, true, TEMP_B, TEMP_A, EMIT_NO_REGISTER, 0, span->size - 1);
		emit_bytes(emitter, bt_r10_32, sizeof(bt_r10_32));
		work_leave_check(work, span, CONDITION_C);
		return;
	default:
		emit_load_limit(work, segment);
		work_emit_lea(emitter, true, TEMP_B, TEMP_B, EMIT_NO_REGISTER, 0, 1 - span->size);
		emit_register_op(emitter, OPCODE_CMP, TEMP_A, TEMP_B);
		work_leave_check(work, span, CONDITION_G);
	}
}

/* R11 is the offset of the last of several bytes, not truncated; uses R10. */
static void check_end(struct work *work, unsigned segment, const struct work_span *span)
{
	static const uint8_t bt_r11_32[] = { 0x49, 0x0f, 0xba, 0xe3, 32 };

	if (kind_of(work, segment) != SEGMENT_BASED) {
		check_limit(work, segment, span);
		return;
	}
	emit_bytes(&work->emitter, bt_r11_32, sizeof(bt_r11_32));
	work_leave_check(work, span, CONDITION_C);
}

/* A constant that surely is within the 4 GiB needs no check of a segment without a limit. */
static bool limit_is_certain(
	const struct work *work, const struct logical *at, const struct work_span *span)
{
	uint64_t first = (uint64_t)constant_of(at) + (uint64_t)(int64_t)span->before;

	return kind_of(work, at->segment) == SEGMENT_BASED && is_constant(at) &&
	       first <= UINT32_MAX && first + (unsigned)span->size - 1 <= UINT32_MAX;
}

/* R11 = the linear address of the span. */
static void emit_linear(struct work *work, const struct logical *at, const struct work_span *span)
{
	emit_offset(work, TEMP_A, at, span->before);
	emit_add_base(work, at->segment);
}

static struct emit_memory check(
	struct work *work, const struct logical *at, const struct work_span *span)
{
	struct emitter *emitter = &work->emitter;
	bool flat = kind_of(work, at->segment) == SEGMENT_FLAT;

	if (flat && is_constant(at))
		return work_check_constant(work, constant_of(at), span);
	if (flat && at->address_bytes == 4) {
		emit_offset(work, TEMP_B, at, span->before);
		emit_offset(work, TEMP_A, at, span->before + span->size - 1);
	} else {
		emit_offset(work, TEMP_A, at, span->before);
		if (!limit_is_certain(work, at, span))
			check_limit(work, at->segment, span);
		emit_add_base(work, at->segment);
		emit_move_sized(emitter, 4, TEMP_B, TEMP_A);
		work_emit_lea(emitter, false, TEMP_A, TEMP_A, EMIT_NO_REGISTER, 0, span->size - 1);
	}
	work_span_lookup(work, span);
	emit_linear(work, at, span);
	if (!span->group)
		return (struct emit_memory){ TEMP_A, TEMP_B, 0 };
	emit_memory_op(emitter, OPCODE_LEA, TEMP_B, (struct emit_memory){ TEMP_A, TEMP_B, 0 });
	return work_keep_pointer(work, span);
}

struct emit_memory work_check_logical(
	struct work *work, struct place_in_memory place, const struct work_span *span)
{
	struct logical stack = {
		.segment = X86_SS,
		.address_bytes = work->mode->stack_bytes,
		.base = place.base,
		.index = EMIT_NO_REGISTER,
		.disp = place.disp,
	};
	struct logical operand;

	if (!place.insn)
		return check(work, &stack, span);
	operand = operand_of(place.insn);
	return check(work, &operand, span);
}

struct emit_memory work_check_moffs(struct work *work, const struct insn *insn, bool write)
{
	const struct logical at = {
		.segment = insn->segment,
		.address_bytes = insn->address_bytes,
		.base = EMIT_NO_REGISTER,
		.index = EMIT_NO_REGISTER,
		.disp = (int32_t)insn->imm,
	};

	return check(work, &at, &(struct work_span){ .size = insn->operand_bytes, .write = write });
}

void work_offset(struct work *work, const struct insn *insn)
{
	struct logical at = operand_of(insn);

	emit_offset(work, TEMP_A, &at, 0);
}

struct emit_memory work_check_offset_r11(
	struct work *work, unsigned segment, unsigned size, bool write)
{
	struct emitter *emitter = &work->emitter;
	const struct work_span span = { .size = (int32_t)size, .write = write };
	size_t scratch = offsetof(struct vcpu, translate.scratch);

	check_limit(work, segment, &span);
	emit_add_base(work, segment);
	emit_state_op(emitter, OPCODE_STORE, TEMP_A, scratch);
	emit_move_sized(emitter, 4, TEMP_B, TEMP_A);
	work_emit_lea(emitter, false, TEMP_A, TEMP_A, EMIT_NO_REGISTER, 0, span.size - 1);
	work_span_lookup(work, &span);
	emit_state_op(emitter, OPCODE_LOAD, TEMP_A, scratch);
	return (struct emit_memory){ TEMP_A, TEMP_B, 0 };
}

void work_check_run(struct work *work, unsigned segment, unsigned index, unsigned size,
	unsigned shift, bool write)
{
	struct emitter *emitter = &work->emitter;
	/* Of the last byte; only whether there is more than one matters. */
	const struct work_span span = { .size = 1, .write = write };
	bool flat = kind_of(work, segment) == SEGMENT_FLAT;

	emit_move_sized(emitter, 4, TEMP_A, index);
	if (size) {
		work_emit_lea(
			emitter, true, TEMP_A, TEMP_A, EMIT_NO_REGISTER, 0, (int32_t)size - 1);
	} else {
		emit_move_sized(emitter, 4, TEMP_B, X86_RCX);
		work_emit_lea(emitter, true, TEMP_A, TEMP_A, TEMP_B, shift, -1);
	}
	if (!flat) {
		check_end(work, segment, &span);
		emit_add_base(work, segment);
		emit_state_op(
			emitter, OPCODE_STORE, TEMP_A, offsetof(struct vcpu, translate.scratch));
		emit_move_sized(emitter, 4, TEMP_A, index);
		emit_add_base(work, segment);
		emit_move_sized(emitter, 4, TEMP_B, TEMP_A);
		emit_state_op(
			emitter, OPCODE_LOAD, TEMP_A, offsetof(struct vcpu, translate.scratch));
	} else {
		emit_move_sized(emitter, 4, TEMP_B, index);
	}
	work_span_lookup(work, &span);
	if (flat)
		return;
	emit_move_sized(emitter, 4, TEMP_A, index);
	emit_add_base(work, segment);
	emit_register_op(emitter, OPCODE_ADD, TEMP_B, TEMP_A);
	emit_move_sized(emitter, 4, TEMP_A, index);
	emit_register_op(emitter, OPCODE_SUB, TEMP_B, TEMP_A);
}

bool translate_segment_permits(const struct code_mode *mode, unsigned segment, bool write)
{
	uint8_t kind = mode->segments[segment];

	return mode_is_wide(mode) || (field_get(SEGMENT_KIND, kind) != SEGMENT_INTERPRETED &&
					     !(write && kind & SEGMENT_READ_ONLY));
}

/* Without raising: what cannot be accessed is not to be looked up. */
bool translate_segment_linear(struct vcpu *vcpu, const struct code_mode *mode, unsigned segment,
	uint64_t offset, unsigned size, gva_t *linear)
{
	const struct cpu_segment *loaded = &vcpu->segment[segment];

	*linear = (uint32_t)(loaded->base + offset);
	return translate_segment_permits(mode, segment, false) &&
	       offset + size - 1 <= loaded->limit;
}
