/*
 * Instructions that run as they are: with their memory operand moved to the host's address, and
 * with R10 and R11, which the guest does not have here, loaded and stored around them.
 */
#include "engine/soft/translator.h"

#include <assert.h>
#include <pthread.h>

#define NO_RENAME (-1)

/* Which of R10 and R11 an instruction names as operands, addresses left out. */
struct named {
	uint8_t gpr[2];
	bool written[2];
	unsigned count;
};

static void note(struct named *named, unsigned gpr, bool written)
{
	if (!is_in_memory(gpr))
		return;
	for (unsigned i = 0; i < named->count; i++) {
		if (named->gpr[i] == gpr) {
			named->written[i] |= written;
			return;
		}
	}
	named->gpr[named->count] = (uint8_t)gpr;
	named->written[named->count++] = written;
}

static struct named named_registers(const struct insn *insn)
{
	const struct isa_row *row = insn_row(insn);
	struct named named = { .count = 0 };

	for (unsigned i = 0; i < ISA_MAX_OPERANDS && row->operand[i].kind != ISA_NONE; i++) {
		bool written = row->operand[i].access & ISA_WRITE;

		switch (row->operand[i].kind) {
		case ISA_G:
		case ISA_Z: note(&named, insn->reg, written); break;
		case ISA_B: note(&named, insn->vvvv, written); break;
		case ISA_E:
		case ISA_R:
			if (!insn->has_memory)
				note(&named, insn->rm, written);
			break;
		default: break;
		}
	}
	return named;
}

static bool has_operand(const struct isa_row *row, enum isa_operand_kind kind)
{
	for (unsigned i = 0; i < ISA_MAX_OPERANDS; i++)
		if (row->operand[i].kind == kind)
			return true;
	return false;
}

static bool uses_units(const struct isa_row *row)
{
	return row->attributes & (ISA_X87 | ISA_MMX | ISA_VECTOR | ISA_AVX);
}

/* Bit instructions with a register reach memory beyond their operand. */
static bool is_bit_string(const struct insn *insn)
{
	return insn_row(insn)->encoding.map == ISA_MAP_0F && (insn->opcode & 0xe7) == 0xa3;
}

static insn_exec *variant(const struct insn *insn)
{
	return insn_row(insn)->exec[isa_exec_index(insn->operand_bytes, insn->has_memory)];
}

#define TRANSLATE_MAX_ROWS 2048

/* What follows is named by the table's functions. */
extern insn_exec exec_host_vector, exec_host_x87, exec_nop, exec_xlat, exec_enter, exec_leave;
extern insn_exec exec_clac, exec_stac, exec_mov_from_cr, exec_syscall, exec_sysret, exec_iret,
	exec_pause, exec_mov_from_sreg, exec_rdfsbase, exec_rdgsbase, exec_wrfsbase, exec_wrgsbase,
	exec_popf;
extern insn_exec exec_push_sreg, exec_loop, exec_jcxz, exec_mov_load_moffs_b_r,
	exec_mov_load_moffs_w_r, exec_mov_load_moffs_l_r, exec_mov_store_moffs_b_r,
	exec_mov_store_moffs_w_r, exec_mov_store_moffs_l_r;
extern insn_exec exec_push_r_w_r, exec_push_r_l_r, exec_push_imm_w_r, exec_push_imm_l_r,
	exec_push_ev_w_r, exec_push_ev_l_r, exec_push_ev_w_m, exec_push_ev_l_m, exec_pop_r_w_r,
	exec_pop_r_l_r, exec_jmp_ev_w_r, exec_jmp_ev_l_r, exec_jmp_ev_w_m, exec_jmp_ev_l_m,
	exec_call_ev_w_r, exec_call_ev_l_r, exec_call_ev_w_m, exec_call_ev_l_m;
extern insn_exec exec_cli, exec_sti, exec_swapgs, exec_rdtsc, exec_rdtscp, exec_pushf;
extern insn_exec exec_cld, exec_std, exec_clflush, exec_ret, exec_ret_imm, exec_jmp_rel,
	exec_call_rel, exec_push_r_q_r, exec_push_imm_q_r, exec_push_ev_q_r, exec_push_ev_q_m,
	exec_pop_r_q_r, exec_jmp_ev_q_r, exec_jmp_ev_q_m, exec_call_ev_q_r, exec_call_ev_q_m;

static const struct {
	insn_exec *exec;
	enum translate_kind kind;
} kinds[] = {
	{ exec_nop, KIND_NOP },
	{ exec_cli, KIND_CLI },
	{ exec_sti, KIND_STI },
	{ exec_swapgs, KIND_SWAPGS },
	{ exec_rdtsc, KIND_RDTSC },
	{ exec_rdtscp, KIND_RDTSCP },
	{ exec_clac, KIND_CLAC },
	{ exec_stac, KIND_STAC },
	{ exec_mov_from_cr, KIND_MOV_FROM_CR },
	{ exec_syscall, KIND_SYSCALL },
	{ exec_sysret, KIND_SYSRET },
	{ exec_iret, KIND_IRET },
	{ exec_cld, KIND_CLD },
	{ exec_std, KIND_STD },
	{ exec_pause, KIND_PAUSE },
	{ exec_mov_from_sreg, KIND_MOV_FROM_SEGMENT },
	{ exec_rdfsbase, KIND_READ_BASE },
	{ exec_rdgsbase, KIND_READ_BASE },
	{ exec_wrfsbase, KIND_WRITE_BASE },
	{ exec_wrgsbase, KIND_WRITE_BASE },
	{ exec_pushf, KIND_PUSHF },
	{ exec_popf, KIND_POPF },
	{ exec_push_r_q_r, KIND_PUSH_REGISTER },
	{ exec_push_imm_q_r, KIND_PUSH_IMMEDIATE },
	{ exec_push_ev_q_r, KIND_PUSH_OPERAND },
	{ exec_push_ev_q_m, KIND_PUSH_OPERAND },
	{ exec_pop_r_q_r, KIND_POP_REGISTER },
	{ exec_leave, KIND_LEAVE },
	{ exec_jmp_rel, KIND_JMP },
	{ exec_call_rel, KIND_CALL },
	{ exec_jmp_ev_q_r, KIND_JMP_OPERAND },
	{ exec_jmp_ev_q_m, KIND_JMP_OPERAND },
	{ exec_call_ev_q_r, KIND_CALL_OPERAND },
	{ exec_call_ev_q_m, KIND_CALL_OPERAND },
	{ exec_ret, KIND_RET },
	{ exec_ret_imm, KIND_RET },
	{ exec_push_r_w_r, KIND_PUSH_REGISTER },
	{ exec_push_r_l_r, KIND_PUSH_REGISTER },
	{ exec_push_imm_w_r, KIND_PUSH_IMMEDIATE },
	{ exec_push_imm_l_r, KIND_PUSH_IMMEDIATE },
	{ exec_push_ev_w_r, KIND_PUSH_OPERAND },
	{ exec_push_ev_w_m, KIND_PUSH_OPERAND },
	{ exec_push_ev_l_r, KIND_PUSH_OPERAND },
	{ exec_push_ev_l_m, KIND_PUSH_OPERAND },
	{ exec_push_sreg, KIND_PUSH_SEGMENT },
	{ exec_pop_r_w_r, KIND_POP_REGISTER },
	{ exec_pop_r_l_r, KIND_POP_REGISTER },
	{ exec_jmp_ev_w_r, KIND_JMP_OPERAND },
	{ exec_jmp_ev_w_m, KIND_JMP_OPERAND },
	{ exec_jmp_ev_l_r, KIND_JMP_OPERAND },
	{ exec_jmp_ev_l_m, KIND_JMP_OPERAND },
	{ exec_call_ev_w_r, KIND_CALL_OPERAND },
	{ exec_call_ev_w_m, KIND_CALL_OPERAND },
	{ exec_call_ev_l_r, KIND_CALL_OPERAND },
	{ exec_call_ev_l_m, KIND_CALL_OPERAND },
	{ exec_loop, KIND_LOOP },
	{ exec_jcxz, KIND_LOOP },
	{ exec_mov_load_moffs_b_r, KIND_MOFFS },
	{ exec_mov_load_moffs_w_r, KIND_MOFFS },
	{ exec_mov_load_moffs_l_r, KIND_MOFFS },
	{ exec_mov_store_moffs_b_r, KIND_MOFFS },
	{ exec_mov_store_moffs_w_r, KIND_MOFFS },
	{ exec_mov_store_moffs_l_r, KIND_MOFFS },
	{ exec_xlat, KIND_INTERPRET },
	{ exec_enter, KIND_INTERPRET },
	{ exec_clflush, KIND_INTERPRET },
};

/* By row and variant: the place in kinds, plus one. Few rows have one, and all are looked up. */
static uint8_t kind_places[TRANSLATE_MAX_ROWS][ARRAY_SIZE(isa_rows->exec)];

_Static_assert(ARRAY_SIZE(kinds) < UINT8_MAX, "a place is a byte");

static void find_kinds(void)
{
	assert(isa_nr_rows <= TRANSLATE_MAX_ROWS);
	for (unsigned row = 0; row < isa_nr_rows; row++)
		for (unsigned i = 0; i < ARRAY_SIZE(isa_rows[row].exec); i++)
			for (unsigned k = 0; k < ARRAY_SIZE(kinds); k++)
				if (isa_rows[row].exec[i] == kinds[k].exec)
					kind_places[row][i] = (uint8_t)(k + 1);
}

void translate_kinds_init(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, find_kinds);
}

static bool is_jcc(const struct insn *insn)
{
	const struct isa_row *row = insn_row(insn);

	return (row->encoding.map == ISA_MAP_1 && (insn->opcode & 0xf0) == 0x70) ||
	       (row->encoding.map == ISA_MAP_0F && (insn->opcode & 0xf0) == 0x80);
}

static bool is_lea(const struct insn *insn)
{
	return insn_row(insn)->encoding.map == ISA_MAP_1 && insn->opcode == 0x8d;
}

static bool has_high_byte(const struct insn *insn)
{
	return insn_row(insn)->reg_byte && insn->reg >= INSN_HIGH_BYTE;
}

static bool memory_is_plain(const struct insn *insn, const struct code_mode *mode)
{
	bool swappable = !mode_is_wide(mode) && !has_operand(insn_row(insn), ISA_GPR);

	return insn->memory_bytes != 0 && insn->memory_bytes <= 32 &&
	       (!has_high_byte(insn) || swappable) && !is_bit_string(insn) &&
	       named_registers(insn).count <= 1 && insn->length <= INSN_MAX_LENGTH - 3 &&
	       insn_row(insn)->memory;
}

static bool is_plain(const struct insn *insn, const struct code_mode *mode)
{
	const struct isa_row *row = insn_row(insn);
	insn_exec *exec = variant(insn);

	if (!(row->attributes & ISA_USER) || row->attributes & (ISA_STRING | ISA_PRIVILEGED))
		return false;
	if (has_operand(row, ISA_O) || has_operand(row, ISA_VSIB))
		return false;
	if (uses_units(row) && exec != exec_host_vector && exec != exec_host_x87)
		return false;
	/* Its data pointer leaves the segment's base out. */
	if (exec == exec_host_x87 && (insn->segment == X86_FS || insn->segment == X86_GS))
		return false;
	if (!mode_is_wide(mode) && !translate_legacy_is_plain(insn, mode))
		return false;
	return !insn->has_memory || memory_is_plain(insn, mode);
}

static bool bit_string_is_inline(const struct insn *insn, const struct code_mode *mode)
{
	if (mode_is_wide(mode))
		return insn->address_bytes == 8;
	return translate_segment_permits(
		mode, insn->segment, insn_row(insn)->memory & ISA_MEM_WRITE);
}

static bool system_is_translatable(const struct insn *insn, enum translate_kind kind, unsigned set)
{
	switch (kind) {
	case KIND_MOV_FROM_CR: return insn->reg == 0 || (insn->reg >= 2 && insn->reg <= 4);
	case KIND_SYSRET:
	case KIND_IRET: return insn->operand_bytes == 8;
	case KIND_POPF: return set != TLB_USER;
	default: return true;
	}
}

/* Of kinds whose operands are of the stack's size. */
static bool size_is_translatable(
	const struct insn *insn, enum translate_kind kind, const struct code_mode *mode)
{
	if (mode_is_wide(mode))
		return kind < KIND_PUSHF ? kind != KIND_MOFFS
					 : insn->operand_bytes == 8 && kind != KIND_LOOP;
	return translate_legacy_permits(insn, mode, kind);
}

enum translate_kind translate_kind(const struct insn *insn, const struct code_mode *mode)
{
	const struct isa_row *row = insn_row(insn);
	unsigned variant = isa_exec_index(insn->operand_bytes, insn->has_memory);
	unsigned place = kind_places[insn->row][variant];

	if (place > 0) {
		enum translate_kind kind = kinds[place - 1].kind;

		if (row->attributes & ISA_X87)
			return KIND_INTERPRET;
		if (kind >= KIND_CLI && kind <= KIND_IRET && mode->set == TLB_USER)
			return KIND_INTERPRET;
		if (!system_is_translatable(insn, kind, mode->set))
			return KIND_INTERPRET;
		return size_is_translatable(insn, kind, mode) ? kind : KIND_INTERPRET;
	}
	if (is_jcc(insn))
		return insn->operand_bytes == 8 || !mode_is_wide(mode) ? KIND_JCC : KIND_INTERPRET;
	if (row->attributes & (ISA_BRANCH | ISA_ENDS_BLOCK))
		return KIND_INTERPRET;
	if (is_lea(insn))
		return insn->base == INSN_RIP && insn->operand_bytes == 2 ? KIND_INTERPRET
									  : KIND_LEA;
	/* What else the stack's functions do. */
	if (row->attributes & ISA_DEFAULT_64)
		return KIND_INTERPRET;
	if (row->attributes & ISA_STRING)
		return translate_string_is_inline(insn, mode) ? KIND_STRING : KIND_INTERPRET;
	if (insn->has_memory && is_bit_string(insn))
		return bit_string_is_inline(insn, mode) ? KIND_BIT_STRING : KIND_INTERPRET;
	return is_plain(insn, mode) ? KIND_PLAIN : KIND_INTERPRET;
}

uint8_t translate_units(const struct insn *insn)
{
	uint32_t attributes = insn_row(insn)->attributes;
	uint8_t units = 0;

	if (attributes & (ISA_X87 | ISA_MMX))
		units |= UNIT_X87;
	if (attributes & ISA_AVX)
		units |= UNIT_AVX;
	else if (attributes & ISA_VECTOR)
		units |= UNIT_SSE;
	return units;
}

void work_check_units(struct work *work, const struct insn *insn)
{
	struct emitter *emitter = &work->emitter;
	uint8_t units = translate_units(insn) & ~work->units_checked;

	if (!units)
		return;
	work_before_clobber(work);
	/* Translated code goes on here, without it. */
	work_forget_pointer(work);
	emit_u8(emitter, 0x65); /* test byte gs:[units_missing], units */
	emit_u8(emitter, 0xf6);
	emit_u8(emitter, 0x04);
	emit_u8(emitter, 0x25);
	emit_u32(emitter, offsetof(struct vcpu, translate.units_missing));
	emit_u8(emitter, units);
	work_stub(work, emit_jcc(emitter, CONDITION_NE), EXIT_UNIT, 0, false);
	work->units_checked |= units;
	work->translation->units |= units;
}

static unsigned displacement_bytes(const struct insn *insn)
{
	unsigned mod = insn->modrm >> 6, rm = insn->modrm & 7;
	bool sib = mod != 3 && rm == 4;

	if (mod == 1)
		return 1;
	if (insn->address_bytes == 2)
		return mod == 2 || (mod == 0 && rm == 6) ? 2 : 0;
	if (mod == 2)
		return 4;
	if (mod == 0 && (rm == 5 || (sib && (insn->bytes[insn->modrm_at + 1] & 7) == 5)))
		return 4;
	return 0;
}

static void emit_immediates(struct work *work, const struct insn *insn)
{
	bool sib = insn->modrm >> 6 != 3 && (insn->modrm & 7) == 4 && insn->address_bytes != 2;
	unsigned at = insn->modrm_at + 1 + sib + displacement_bytes(insn);

	while (at < insn->length)
		emit_u8(&work->emitter, insn->bytes[at++]);
}

static bool is_dropped_prefix(uint8_t byte)
{
	switch (byte) {
	case 0x26:
	case 0x2e:
	case 0x36:
	case 0x3e:
	case 0x64:
	case 0x65:
	case 0x67: return true;
	default: return false;
	}
}

static void emit_prefixes(struct work *work, const struct insn *insn, unsigned count)
{
	bool is_short = work->mode->insn == INSN_MODE_16;

	if (is_short && translate_legacy_needs_66(insn))
		emit_u8(&work->emitter, 0x66);
	for (unsigned i = 0; i < count; i++)
		if (!is_dropped_prefix(insn->bytes[i]) && !(is_short && insn->bytes[i] == 0x66))
			emit_u8(&work->emitter, insn->bytes[i]);
}

static unsigned escape_bytes(const struct isa_row *row)
{
	switch (row->encoding.map) {
	case ISA_MAP_1: return 0;
	case ISA_MAP_0F: return 1;
	default: return 2;
	}
}

/* Renamed operands: the host register that stands for the guest's, or NO_RENAME. */
struct renaming {
	int reg, vvvv;
};

static void emit_legacy_opcode(struct work *work, const struct insn *insn, struct renaming rename,
	struct emit_memory memory)
{
	struct emitter *emitter = &work->emitter;
	unsigned escape = insn->opcode_at - escape_bytes(insn_row(insn));
	uint8_t rex = 0;

	if (insn->prefixes & PREFIX_REX)
		rex = insn->bytes[--escape] & 0x0c;
	if (rename.reg != NO_RENAME && rename.reg & 8)
		rex |= 4;
	emit_prefixes(work, insn, escape);
	rex |= 0x40 | emit_memory_rex(memory);
	if (rex != 0x40 || insn->prefixes & PREFIX_REX)
		emit_u8(emitter, rex);
	for (unsigned i = escape + !!(insn->prefixes & PREFIX_REX); i <= insn->opcode_at; i++)
		emit_u8(emitter, insn->bytes[i]);
}

static void emit_vex_opcode(struct work *work, const struct insn *insn, struct renaming rename,
	struct emit_memory memory)
{
	struct emitter *emitter = &work->emitter;
	const uint8_t *opcode = insn->bytes + insn->opcode_at;
	bool three_bytes = insn->opcode_at >= 3 && opcode[-3] == 0xc4;
	uint8_t not_r = (three_bytes ? opcode[-2] : opcode[-1]) & 0x80;
	uint8_t last = three_bytes ? opcode[-1] : opcode[-1] & 0x7f;
	uint8_t rex = emit_memory_rex(memory);

	if (rename.reg != NO_RENAME)
		not_r = 0;
	if (rename.vvvv != NO_RENAME)
		last = (last & ~0x78) | (~rename.vvvv & 15) << 3;
	emit_u8(emitter, 0xc4);
	emit_u8(emitter, not_r | (rex & 2 ? 0 : 0x40) | (rex & 1 ? 0 : 0x20) |
				 (insn_row(insn)->encoding.map - ISA_MAP_VEX_0F + 1));
	emit_u8(emitter, last);
	emit_u8(emitter, insn->opcode);
}

static void emit_with_memory(struct work *work, const struct insn *insn, struct renaming rename,
	struct emit_memory memory)
{
	unsigned reg = insn->modrm >> 3 & 7;

	if (insn->prefixes & PREFIX_VEX)
		emit_vex_opcode(work, insn, rename, memory);
	else
		emit_legacy_opcode(work, insn, rename, memory);
	if (rename.reg != NO_RENAME)
		reg = (unsigned)rename.reg & 7;
	emit_modrm_memory(&work->emitter, reg, memory);
	emit_immediates(work, insn);
}

static bool touches_flags(const struct insn *insn)
{
	const struct isa_row *row = insn_row(insn);

	return (row->flags_read | row->flags_written) & RFLAGS_ARITHMETIC;
}

static void after(struct work *work, const struct insn *insn)
{
	if (insn_row(insn)->flags_written & RFLAGS_ARITHMETIC)
		work_flags_written(work);
}

/* What the host has in the same encoding, but for the prefixes. */
static void emit_legacy_registers(struct work *work, const struct insn *insn)
{
	unsigned escape = 0;

	if (work_short_inc(work, insn))
		return;
	if (!(insn->prefixes & PREFIX_VEX)) {
		escape = insn->opcode_at - escape_bytes(insn_row(insn));
		emit_prefixes(work, insn, escape);
	}
	for (unsigned i = escape; i < insn->length; i++)
		emit_u8(&work->emitter, insn->bytes[i]);
}

static void run_on_registers(struct work *work, const struct insn *insn)
{
	struct named named = named_registers(insn);

	if (touches_flags(insn))
		work_restore_flags(work, TEMP_A);
	if (named.count)
		work_forget_pointer(work);
	for (unsigned i = 0; i < named.count; i++)
		emit_load_gpr(&work->emitter, named.gpr[i], named.gpr[i]);
	if (mode_is_wide(work->mode))
		emit_bytes(&work->emitter, insn->bytes, insn->length);
	else
		emit_legacy_registers(work, insn);
	for (unsigned i = 0; i < named.count; i++)
		if (named.written[i])
			emit_store_gpr(&work->emitter, named.gpr[i], named.gpr[i]);
}

static void run_on_memory(struct work *work, const struct insn *insn)
{
	struct emitter *emitter = &work->emitter;
	struct named named = named_registers(insn);
	struct renaming rename = { NO_RENAME, NO_RENAME };
	bool restore, write = insn_row(insn)->memory & ISA_MEM_WRITE;
	struct emit_memory memory;
	unsigned free_register = TEMP_A;

	memory = work_check(
		work, (struct place_in_memory){ .insn = insn }, insn->memory_bytes, write);
	restore = touches_flags(insn) && !work->flags_in_host;
	if (memory.base == TEMP_A && (named.count || restore)) {
		emit_memory_op(emitter, OPCODE_LEA, TEMP_A, memory);
		memory = (struct emit_memory){ TEMP_A, EMIT_NO_REGISTER, 0 };
		free_register = TEMP_B;
	}
	if (restore)
		work_restore_flags(work, free_register);
	if (named.count) {
		if (is_in_memory(insn->vvvv) && has_operand(insn_row(insn), ISA_B))
			rename.vvvv = (int)free_register;
		else
			rename.reg = (int)free_register;
		if (is_in_memory(insn->reg) && insn_row(insn)->reg_kind == ISA_G)
			rename.reg = (int)free_register;
		emit_load_gpr(emitter, free_register, named.gpr[0]);
	}
	if (has_high_byte(insn)) {
		rename.reg = insn->reg - INSN_HIGH_BYTE;
		work_swap_bytes(work, insn->reg);
	}
	emit_with_memory(work, insn, rename, memory);
	if (has_high_byte(insn))
		work_swap_bytes(work, insn->reg);
	if (named.count && named.written[0])
		emit_store_gpr(emitter, free_register, named.gpr[0]);
}

/* As exec_host_x87 notes it. */
static void note_last_x87(struct work *work, const struct insn *insn)
{
	struct emitter *emitter = &work->emitter;

	work_load_address(work, TEMP_A, mode_rip(work->mode, work->rip));
	emit_state_op(emitter, OPCODE_STORE, TEMP_A, offsetof(struct vcpu, x87_last_ip));
	emit_store_state_u16(emitter, offsetof(struct vcpu, x87_last_opcode),
		(uint16_t)((insn->opcode & 7) << 8 | insn->modrm));
	if (!insn->has_memory)
		return;
	if (mode_is_wide(work->mode))
		work_linear(work, insn);
	else
		work_offset(work, insn);
	emit_state_op(emitter, OPCODE_STORE, TEMP_A, offsetof(struct vcpu, x87_last_dp));
}

void work_plain(struct work *work, const struct insn *insn)
{
	work_check_units(work, insn);
	if (insn->has_memory)
		run_on_memory(work, insn);
	else
		run_on_registers(work, insn);
	after(work, insn);
	if (variant(insn) == exec_host_x87)
		note_last_x87(work, insn);
}

/* LEA: with R10 and R11 loaded it is what it is, unless it is relative to RIP. */
void work_lea(struct work *work, const struct insn *insn)
{
	struct emitter *emitter = &work->emitter;
	unsigned registers[] = { insn->base, insn->index, insn->reg };

	if (!mode_is_wide(work->mode)) {
		work_legacy_lea(work, insn);
		return;
	}
	for (unsigned i = 0; i < ARRAY_SIZE(registers); i++)
		if (is_in_memory(registers[i])) {
			work_forget_pointer(work);
			emit_load_gpr(emitter, registers[i], registers[i]);
		}
	if (insn->base == INSN_RIP) {
		uint64_t address = work->next_rip + (uint64_t)(int64_t)insn->disp;

		if (insn->address_bytes == 4 || insn->operand_bytes != 8)
			address = (uint32_t)address;
		work_load_address(work, insn->reg, address);
	} else {
		for (unsigned i = 0; i < insn->length; i++)
			emit_u8(emitter, insn->bytes[i]);
	}
	if (is_in_memory(insn->reg))
		emit_store_gpr(emitter, insn->reg, insn->reg);
}
