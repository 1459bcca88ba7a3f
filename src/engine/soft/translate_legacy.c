/*
 * What 16 and 32-bit code has and 64-bit code has not, or has in other encodings: INC and DEC in
 * one byte, absolute offsets, segment registers on the stack, LOOP, addresses of 16 bits; and which
 * instructions the host, in 64-bit mode, would take for others (SDM 2A 2.2.1, 2.3, 2.3.5).
 */
#include "engine/soft/translator.h"

#define OPCODE_JCXZ 0xe3

extern insn_exec exec_inc_r_w_r, exec_inc_r_l_r, exec_dec_r_w_r, exec_dec_r_l_r;

static insn_exec *variant(const struct insn *insn)
{
	return insn_row(insn)->exec[isa_exec_index(insn->operand_bytes, insn->has_memory)];
}

static bool is_short_inc(const struct insn *insn)
{
	insn_exec *exec = variant(insn);

	return exec == exec_inc_r_w_r || exec == exec_inc_r_l_r || exec == exec_dec_r_w_r ||
	       exec == exec_dec_r_l_r;
}

static bool has_operand(const struct isa_row *row, enum isa_operand_kind kind)
{
	for (unsigned i = 0; i < ISA_MAX_OPERANDS; i++)
		if (row->operand[i].kind == kind)
			return true;
	return false;
}

static bool has_size(const struct isa_row *row, enum isa_size size)
{
	for (unsigned i = 0; i < ISA_MAX_OPERANDS; i++)
		if (row->operand[i].size == size)
			return true;
	return false;
}

/* Bits of a VEX prefix that mean nothing here and more in 64-bit mode are as they are there. */
static bool vex_is_the_same(const struct insn *insn)
{
	const uint8_t *opcode = insn->bytes + insn->opcode_at;
	const struct isa_row *row = insn_row(insn);

	if (has_operand(row, ISA_L) && insn->imm & 0x80)
		return false;
	if (insn->opcode_at < 3 || opcode[-3] != 0xc4)
		return (opcode[-1] & 0xc0) == 0xc0;
	return (opcode[-2] & 0xe0) == 0xe0 && opcode[-1] & 0x40 &&
	       !(opcode[-1] & 0x80 && has_size(row, ISA_SIZE_Y));
}

/* VZEROALL and VZEROUPPER leave YMM8 to YMM15 alone here. */
static bool is_vzero(const struct insn *insn)
{
	return insn->prefixes & PREFIX_VEX && insn->opcode == 0x77;
}

bool translate_legacy_is_plain(const struct insn *insn, const struct code_mode *mode)
{
	const struct isa_row *row = insn_row(insn);

	if (row->attributes & ISA_NO_64 && !is_short_inc(insn))
		return false;
	/* In real and virtual-8086 mode the x87's pointers are linear addresses. */
	if (row->attributes & (ISA_PROTECTED | ISA_X87) && !mode->protected_mode)
		return false;
	if (insn->prefixes & PREFIX_VEX &&
		(!mode->protected_mode || is_vzero(insn) || !vex_is_the_same(insn)))
		return false;
	return !insn->has_memory ||
	       translate_segment_permits(mode, insn->segment, row->memory & ISA_MEM_WRITE);
}

static bool stack_is_translatable(const struct insn *insn, const struct code_mode *mode)
{
	return translate_segment_permits(mode, X86_SS, true) &&
	       (!insn->has_memory || translate_segment_permits(mode, insn->segment, false));
}

bool translate_legacy_permits(
	const struct insn *insn, const struct code_mode *mode, enum translate_kind kind)
{
	switch (kind) {
	case KIND_SYSCALL:
	case KIND_SYSRET:
	case KIND_IRET:
	case KIND_CLAC:
	case KIND_STAC: return false;
	case KIND_MOFFS:
		return translate_segment_permits(
			mode, insn->segment, insn_row(insn)->operand[0].kind == ISA_O);
	case KIND_LOOP:
		return insn->address_bytes != 8 &&
		       (insn->opcode == OPCODE_JCXZ || insn->opcode == OPCODE_JCXZ - 1);
	case KIND_MOV_FROM_SEGMENT:
		return !insn->has_memory || translate_segment_permits(mode, insn->segment, true);
	case KIND_PUSHF: return !mode->virtual_8086 && stack_is_translatable(insn, mode);
	case KIND_POP_REGISTER:
		/* The stack pointer itself, of another width than it has. */
		if (insn->reg == X86_RSP && insn->operand_bytes != mode->stack_bytes)
			return false;
		return stack_is_translatable(insn, mode);
	case KIND_POPF:
	case KIND_PUSH_REGISTER:
	case KIND_PUSH_IMMEDIATE:
	case KIND_PUSH_OPERAND:
	case KIND_PUSH_SEGMENT:
	case KIND_LEAVE:
	case KIND_CALL:
	case KIND_CALL_OPERAND:
	case KIND_RET: return stack_is_translatable(insn, mode);
	case KIND_JMP_OPERAND:
		return !insn->has_memory || translate_segment_permits(mode, insn->segment, false);
	default: return true;
	}
}

/* In 16-bit code 66 says the opposite, so that an operand of 16 bits has none. */
bool translate_legacy_needs_66(const struct insn *insn)
{
	const struct isa_row *row = insn_row(insn);

	if (row->encoding.prefix == ISA_PREFIX_66)
		return true;
	return (row->operand_size == ISA_OPERAND_V || row->operand_size == ISA_OPERAND_Z) &&
	       insn->operand_bytes == 2;
}

bool work_short_inc(struct work *work, const struct insn *insn)
{
	struct emitter *emitter = &work->emitter;

	if (!is_short_inc(insn))
		return false;
	if (insn->operand_bytes == 2)
		emit_u8(emitter, 0x66);
	emit_u8(emitter, 0xff);
	emit_u8(emitter, 0xc0 | (insn->opcode & 15));
	return true;
}

void work_legacy_lea(struct work *work, const struct insn *insn)
{
	struct emitter *emitter = &work->emitter;

	work_offset(work, insn);
	if (insn->operand_bytes == 2)
		emit_move_word(emitter, insn->reg, TEMP_A);
	else
		emit_move_sized(emitter, 4, insn->reg, TEMP_A);
}

/* MOV of AL, AX or EAX and an absolute offset. */
void work_moffs(struct work *work, const struct insn *insn)
{
	bool write = insn_row(insn)->operand[0].kind == ISA_O;
	uint8_t opcode = write ? OPCODE_STORE : OPCODE_LOAD;
	struct emit_memory memory;

	work_before_clobber(work);
	memory = work_check_moffs(work, insn, write);
	/* The forms for bytes are one below. */
	if (insn->operand_bytes == 1)
		emit_sized_op(&work->emitter, 4, opcode - 1, X86_RAX, memory);
	else
		emit_sized_op(&work->emitter, insn->operand_bytes, opcode, X86_RAX, memory);
}

/* XCHG of AL and AH, or the same of another register, which any prefix can name then. */
void work_swap_bytes(struct work *work, unsigned high)
{
	emit_u8(&work->emitter, 0x86);
	emit_u8(&work->emitter,
		(uint8_t)(0xc0 | (high - INSN_HIGH_BYTE + 4) << 3 | (high - INSN_HIGH_BYTE)));
}

/* LOOP and JCXZ change no flags. */
void work_loop(struct work *work, const struct insn *insn)
{
	static const uint8_t jecxz_over_jump[] = { 0x67, 0xe3, 5 };
	struct emitter *emitter = &work->emitter;
	gva_t target = mode_target(work->mode, work->rip, insn);
	bool is_loop = insn->opcode != OPCODE_JCXZ, is_short = insn->address_bytes == 2;
	uint8_t *not_zero;

	if (!work_in_page(work, target) || !work_in_page(work, work->next_rip))
		work_save_flags(work);
	if (is_loop) {
		emit_sized_op(emitter, 4, OPCODE_LEA, is_short ? TEMP_A : X86_RCX,
			(struct emit_memory){ X86_RCX, EMIT_NO_REGISTER, -1 });
		if (is_short)
			emit_move_word(emitter, X86_RCX, TEMP_A);
	}
	if (is_short) {
		emit_register_op(emitter, OPCODE_LOAD, TEMP_A, X86_RCX);
		emit_move_sized(emitter, 2, X86_RCX, X86_RCX);
	}
	emit_bytes(emitter, jecxz_over_jump, sizeof(jecxz_over_jump));
	not_zero = emit_jump(emitter);
	if (is_short)
		emit_register_op(emitter, OPCODE_LOAD, X86_RCX, TEMP_A);
	work_link(work, is_loop ? work->next_rip : target);
	emit_bind(not_zero, emitter->at);
	if (is_short)
		emit_register_op(emitter, OPCODE_LOAD, X86_RCX, TEMP_A);
	work_link(work, is_loop ? target : work->next_rip);
}

static unsigned segment_of_opcode(const struct insn *insn)
{
	return insn->opcode >> 3 & (insn->opcode < 0xa0 ? 3 : 7);
}

/* The selector, with zeros above it. */
void work_push_segment(struct work *work, const struct insn *insn)
{
	struct emitter *emitter = &work->emitter;
	size_t spill = offsetof(struct vcpu, translate.spill);

	emit_load_state_u16(emitter, TEMP_A,
		offsetof(struct vcpu, segment) +
			segment_of_opcode(insn) * sizeof(struct cpu_segment) +
			offsetof(struct cpu_segment, selector));
	emit_state_op(emitter, OPCODE_STORE, TEMP_A, spill);
	work_push_state(work, insn->operand_bytes, spill);
}
