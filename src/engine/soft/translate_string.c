/*
 * MOVS and STOS by the host's own instruction, where all of their elements lie within one page of
 * RAM each way; LODS, SCAS and CMPS of one element, as 32-bit kernels compare strings. What
 * descends, crosses a page, or may not be accessed directly is the interpreter's, which runs it in
 * chunks (exec_string.c).
 */
#include "engine/soft/translator.h"

#define OPCODE_MOVS 0xa4
#define OPCODE_CMPS 0xa6
#define OPCODE_STOS 0xaa
#define OPCODE_LODS 0xac
#define OPCODE_SCAS 0xae

static unsigned operation(const struct insn *insn)
{
	return insn->opcode & 0xfe;
}

static bool is_movs(const struct insn *insn)
{
	return operation(insn) == OPCODE_MOVS;
}

static bool is_repeated(const struct insn *insn)
{
	return insn->prefixes & (PREFIX_REP | PREFIX_REPNE);
}

static bool reads_source(const struct insn *insn)
{
	return is_movs(insn) || operation(insn) == OPCODE_LODS || operation(insn) == OPCODE_CMPS;
}

static bool has_destination(const struct insn *insn)
{
	return operation(insn) != OPCODE_LODS;
}

static bool writes(const struct insn *insn)
{
	return is_movs(insn) || operation(insn) == OPCODE_STOS;
}

bool translate_string_is_inline(const struct insn *insn, const struct code_mode *mode)
{
	bool has_base = insn->segment == X86_FS || insn->segment == X86_GS;

	if (is_repeated(insn) && !writes(insn))
		return false;
	if (mode_is_wide(mode))
		return insn->address_bytes == 8 && !(reads_source(insn) && has_base);
	return insn->address_bytes == 4 &&
	       (!has_destination(insn) || translate_segment_permits(mode, X86_ES, writes(insn))) &&
	       (!reads_source(insn) || translate_segment_permits(mode, insn->segment, false));
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
static void check_run(struct work *work, const struct insn *insn, unsigned index)
{
	bool write = index == X86_RDI && writes(insn);

	if (!mode_is_wide(work->mode)) {
		work_check_run(work, index == X86_RDI ? X86_ES : insn->segment, index,
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
	if (has_destination(insn))
		emit_move_sized(emitter, 4, X86_RDI, X86_RDI);
	if (reads_source(insn))
		emit_move_sized(emitter, 4, X86_RSI, X86_RSI);
	if (is_repeated(insn))
		emit_move_sized(emitter, 4, X86_RCX, X86_RCX);
}

/* Of `reg` and the element at `index`, with what makes a host address of it in `addend`. */
static void emit_element_op(struct work *work, const struct insn *insn, uint8_t opcode,
	unsigned reg, unsigned index, unsigned addend)
{
	const struct emit_memory element = { (uint8_t)addend, (uint8_t)index, 0 };
	unsigned bytes = insn->operand_bytes;

	emit_sized_op(&work->emitter, bytes, bytes == 1 ? opcode - 1 : opcode, reg, element);
}

static void move_on(struct work *work, const struct insn *insn, unsigned index)
{
	const struct emit_memory next = { (uint8_t)index, EMIT_NO_REGISTER, insn->operand_bytes };

	emit_sized_op(&work->emitter, mode_word(work->mode), OPCODE_LEA, index, next);
}

/* LODS, SCAS, CMPS: R10 is the destination's addend, or LODS's only one; R11 CMPS's source's. */
static void emit_one(struct work *work, const struct insn *insn)
{
	switch (operation(insn)) {
	case OPCODE_LODS: emit_element_op(work, insn, OPCODE_LOAD, X86_RAX, X86_RSI, TEMP_B); break;
	case OPCODE_CMPS:
		emit_element_op(work, insn, OPCODE_LOAD, TEMP_A, X86_RSI, TEMP_A);
		emit_element_op(work, insn, OPCODE_CMP, TEMP_A, X86_RDI, TEMP_B);
		break;
	default: emit_element_op(work, insn, OPCODE_CMP, X86_RAX, X86_RDI, TEMP_B);
	}
	if (reads_source(insn))
		move_on(work, insn, X86_RSI);
	if (has_destination(insn))
		move_on(work, insn, X86_RDI);
	if (operation(insn) != OPCODE_LODS)
		work_flags_written(work);
}

/* Nothing can fault between the first change of a register and the last. */
static void emit_run(struct work *work, const struct insn *insn)
{
	move_to_host(work, insn, OPCODE_ADD);
	emit_string(work, insn);
	move_to_host(work, insn, OPCODE_SUB);
	truncate_registers(work, insn);
}

void work_string(struct work *work, const struct insn *insn)
{
	struct emitter *emitter = &work->emitter;
	size_t spill = offsetof(struct vcpu, translate.spill);
	bool both = reads_source(insn) && has_destination(insn);
	uint8_t *none = NULL;

	work_before_clobber(work);
	emit_state_test(emitter, offsetof(struct vcpu, flags_system), RFLAGS_DF);
	leave_if(work, CONDITION_NE);
	if (is_repeated(insn))
		none = check_count(work, insn);
	if (reads_source(insn))
		check_run(work, insn, X86_RSI);
	if (both)
		emit_state_op(emitter, OPCODE_STORE, TEMP_B, spill);
	if (has_destination(insn))
		check_run(work, insn, X86_RDI);
	if (both)
		emit_state_op(emitter, OPCODE_LOAD, TEMP_A, spill);
	truncate_registers(work, insn);
	if (writes(insn))
		emit_run(work, insn);
	else
		emit_one(work, insn);
	if (none)
		emit_bind(none, emitter->at);
}
