/*
 * MOVS and STOS by the host's own instruction, where all of their elements lie within one page of
 * RAM each way. What descends, crosses a page, or may not be accessed directly is the
 * interpreter's, which runs it in chunks (exec_string.c).
 */
#include "engine/soft/translator.h"

#define OPCODE_MOVS 0xa4
#define OPCODE_STOS 0xaa

static bool is_movs(const struct insn *insn)
{
	return (insn->opcode & 0xfe) == OPCODE_MOVS;
}

static bool is_repeated(const struct insn *insn)
{
	return insn->prefixes & (PREFIX_REP | PREFIX_REPNE);
}

bool translate_string_is_inline(const struct insn *insn, const struct code_mode *mode)
{
	bool is_stos = (insn->opcode & 0xfe) == OPCODE_STOS;

	if (!mode_is_wide(mode))
		return insn->address_bytes == 4 && (is_stos || is_movs(insn)) &&
		       translate_segment_permits(mode, X86_ES, true) &&
		       (is_stos || translate_segment_permits(mode, insn->segment, false));
	return insn->address_bytes == 8 &&
	       (is_stos || (is_movs(insn) && insn->segment != X86_FS && insn->segment != X86_GS));
}

static unsigned size_shift(const struct insn *insn)
{
	return (unsigned)__builtin_ctz(insn->operand_bytes);
}

/* R11 = the address of the last byte that the elements from `index` on have. */
static void last_byte(struct work *work, const struct insn *insn, unsigned index)
{
	struct emitter *emitter = &work->emitter;

	if (!is_repeated(insn)) {
		emit_memory_op(emitter, OPCODE_LEA, TEMP_A,
			(struct emit_memory){
				(uint8_t)index, EMIT_NO_REGISTER, insn->operand_bytes - 1 });
		return;
	}
	emit_u8(emitter, 0x4c); /* lea r11, [index + rcx * size - 1] */
	emit_u8(emitter, OPCODE_LEA);
	emit_u8(emitter, 0x40 | (TEMP_A & 7) << 3 | 4);
	emit_u8(emitter, (uint8_t)(size_shift(insn) << 6 | X86_RCX << 3 | index));
	emit_u8(emitter, 0xff);
}

/* R10 = what makes a host address of `index`. */
static void check_run(struct work *work, const struct insn *insn, unsigned index, bool write)
{
	if (!mode_is_wide(work->mode)) {
		work_check_run(work, write ? X86_ES : insn->segment, index,
			is_repeated(insn) ? 0 : insn->operand_bytes, size_shift(insn), write);
		return;
	}
	emit_register_op(&work->emitter, OPCODE_LOAD, TEMP_B, index);
	last_byte(work, insn, index);
	work_lookup(work, write);
}

static void leave_if(struct work *work, unsigned condition)
{
	work_stub(work, emit_jcc(&work->emitter, condition), EXIT_INSN, 0, false);
}

/* More than a page's elements are in no page; with none nothing is done, not even a check. */
static uint8_t *check_count(struct work *work, const struct insn *insn)
{
	static const uint8_t test_rcx[] = { 0x48, 0x85, 0xc9 };
	static const uint8_t cmp_rcx[] = { 0x48, 0x81, 0xf9 };
	unsigned short_form = !mode_is_wide(work->mode); /* ECX: no REX */
	struct emitter *emitter = &work->emitter;
	uint8_t *none;

	emit_bytes(emitter, test_rcx + short_form, sizeof(test_rcx) - short_form);
	none = emit_jcc(emitter, CONDITION_E);
	emit_bytes(emitter, cmp_rcx + short_form, sizeof(cmp_rcx) - short_form);
	emit_u32(emitter, GUEST_PAGE_SIZE >> size_shift(insn));
	leave_if(work, CONDITION_A);
	return none;
}

static void emit_string(struct work *work, const struct insn *insn)
{
	struct emitter *emitter = &work->emitter;

	if (is_repeated(insn))
		emit_u8(emitter, 0xf3);
	if (insn->operand_bytes == 2)
		emit_u8(emitter, 0x66);
	if (insn->operand_bytes == 8)
		emit_u8(emitter, 0x48);
	emit_u8(emitter, insn->opcode);
}

/* Nothing can fault between the first change of a register and the last. */
static void move_to_host(struct work *work, const struct insn *insn, uint8_t opcode)
{
	emit_register_op(&work->emitter, opcode, X86_RDI, TEMP_B);
	if (is_movs(insn))
		emit_register_op(&work->emitter, opcode, X86_RSI, TEMP_A);
}

/* Of addresses of 32 bits the host must see no more, and leaves no more behind. */
static void truncate_registers(struct work *work, const struct insn *insn)
{
	struct emitter *emitter = &work->emitter;

	if (mode_is_wide(work->mode))
		return;
	emit_move_sized(emitter, 4, X86_RDI, X86_RDI);
	if (is_movs(insn))
		emit_move_sized(emitter, 4, X86_RSI, X86_RSI);
	if (is_repeated(insn))
		emit_move_sized(emitter, 4, X86_RCX, X86_RCX);
}

void work_string(struct work *work, const struct insn *insn)
{
	struct emitter *emitter = &work->emitter;
	size_t spill = offsetof(struct vcpu, translate.spill);
	uint8_t *none = NULL;

	work_before_clobber(work);
	emit_state_test(emitter, offsetof(struct vcpu, flags_system), RFLAGS_DF);
	leave_if(work, CONDITION_NE);
	if (is_repeated(insn))
		none = check_count(work, insn);
	if (is_movs(insn)) {
		check_run(work, insn, X86_RSI, false);
		emit_state_op(emitter, OPCODE_STORE, TEMP_B, spill);
	}
	check_run(work, insn, X86_RDI, true);
	if (is_movs(insn))
		emit_state_op(emitter, OPCODE_LOAD, TEMP_A, spill);
	truncate_registers(work, insn);
	move_to_host(work, insn, OPCODE_ADD);
	emit_string(work, insn);
	move_to_host(work, insn, OPCODE_SUB);
	truncate_registers(work, insn);
	if (none)
		emit_bind(none, emitter->at);
}
