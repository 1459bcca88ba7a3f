/*
 * The assembler of the tests: see isa_assemble.h. Memory operands always use 32- or 64-bit
 * addressing (with 67 in 16-bit code); prefixes come in the order form->prefixes, 66, F2 or F3,
 * REX.
 */
#include "engine/soft/isa_assemble.h"

#include <string.h>

struct assembler {
	const struct isa_row *row;
	const struct isa_form *form;
	uint8_t bytes[2 * INSN_MAX_LENGTH];
	unsigned length;
	bool memory, is_64;
	bool w, r, x, b; /* REX's bits */
	bool rex_needed, rex_forbidden;
};

bool isa_row_has_memory(const struct isa_row *row)
{
	return row->memory_size != ISA_SIZE_NONE || row->rm_kind == ISA_M;
}

bool isa_row_has_register(const struct isa_row *row)
{
	return row->encoding.modrm != ISA_MODRM_ABSENT && row->encoding.mod != ISA_MOD_MEMORY;
}

static void put(struct assembler *a, uint64_t value, unsigned bytes)
{
	if (a->length + bytes <= sizeof(a->bytes))
		memcpy(a->bytes + a->length, &value, bytes);
	a->length += bytes;
}

static unsigned operand_bytes(const struct assembler *a)
{
	const struct isa_row *row = a->row;
	unsigned bytes = a->form->operand_bytes;

	if (row->encoding.w == 1 && row->operand_size == ISA_OPERAND_V)
		return 8;
	if (a->is_64 && row->attributes & ISA_FORCED_64)
		return 8;
	if (bytes == 8 && (!a->is_64 || row->encoding.w == 0))
		bytes = 4;
	if (a->is_64 && row->attributes & ISA_DEFAULT_64 && bytes == 4)
		bytes = 8;
	return bytes == 2 || bytes == 8 ? bytes : 4;
}

static bool opsize_prefix(const struct assembler *a)
{
	const struct isa_encoding *encoding = &a->row->encoding;

	if (encoding->map >= ISA_MAP_VEX_0F || encoding->prefix == ISA_PREFIX_NONE)
		return false;
	if (encoding->prefix == ISA_PREFIX_66)
		return true;
	if (a->row->operand_size != ISA_OPERAND_V && a->row->operand_size != ISA_OPERAND_Z)
		return false;
	return (operand_bytes(a) == 2) != (a->form->mode == INSN_MODE_16);
}

static bool wants_w(const struct assembler *a)
{
	const struct isa_row *row = a->row;

	if (row->encoding.w != ISA_ANY)
		return row->encoding.w;
	if (!a->is_64 || row->attributes & (ISA_DEFAULT_64 | ISA_FORCED_64))
		return false;
	if (row->operand_size == ISA_OPERAND_V || row->operand_size == ISA_OPERAND_Y)
		return operand_bytes(a) == 8;
	for (unsigned i = 0; i < ISA_MAX_OPERANDS; i++) {
		if (row->operand[i].size == ISA_SIZE_Y)
			return a->form->operand_bytes == 8;
	}
	return false;
}

/* The low three bits of a register number; sets `*extension` and what follows for REX. */
static unsigned register_bits(
	struct assembler *a, unsigned kind, bool byte, unsigned number, bool *extension)
{
	if (byte && number >= INSN_HIGH_BYTE && number < INSN_HIGH_BYTE + 4) {
		a->rex_forbidden = true;
		return number - INSN_HIGH_BYTE + 4;
	}
	number &= a->is_64 ? 15 : 7;
	if (kind == ISA_P || kind == ISA_Q || kind == ISA_N || kind == ISA_S || kind == ISA_STI ||
		kind == ISA_D)
		number &= 7;
	if (byte && number >= 4 && number < 8) {
		if (a->is_64)
			a->rex_needed = true;
		else
			number &= 3;
	}
	*extension = number >= 8;
	return number & 7;
}

static unsigned reg_field(struct assembler *a)
{
	static const uint8_t control[] = { 0, 2, 3, 4, 8, 0, 2, 3 };
	static const uint8_t segment[] = { X86_ES, X86_SS, X86_DS, X86_FS, X86_GS, X86_ES, X86_SS,
		X86_DS };
	const struct isa_row *row = a->row;
	unsigned number = a->form->reg;

	if (row->encoding.modrm != ISA_MODRM_REGISTER)
		return row->encoding.reg;
	if (row->reg_kind == ISA_C)
		number = control[number & 7];
	if (row->reg_kind == ISA_S)
		number = segment[number & 7];
	return register_bits(a, row->reg_kind, row->reg_byte, number, &a->r);
}

static unsigned rm_field(struct assembler *a)
{
	const struct isa_row *row = a->row;

	if (row->encoding.modrm == ISA_MODRM_BYTE)
		return row->encoding.rm;
	return register_bits(a, row->rm_kind, row->rm_byte, a->form->rm, &a->b);
}

static void choose_extensions(struct assembler *a)
{
	const struct isa_form *form = a->form;
	bool vsib = a->row->rm_kind == ISA_VSIB;

	a->w = wants_w(a);
	if (a->row->encoding.opcode_register)
		register_bits(a, ISA_Z, a->row->reg_byte, form->reg, &a->b);
	if (a->row->encoding.modrm == ISA_MODRM_ABSENT)
		return;
	reg_field(a);
	if (!a->memory) {
		rm_field(a);
		return;
	}
	a->b = form->base >= 8 && form->base < INSN_NO_REGISTER;
	a->x = form->index >= 8 && (vsib || form->index < INSN_NO_REGISTER);
}

static void put_legacy_opcode(struct assembler *a)
{
	static const uint8_t prefixes[] = { 0, 0, 0xf3, 0xf2, 0, 0 };
	const struct isa_encoding *encoding = &a->row->encoding;
	bool rex = a->w || a->r || a->x || a->b || a->rex_needed;
	unsigned opcode = encoding->opcode;
	bool ignored;

	if (opsize_prefix(a))
		put(a, 0x66, 1);
	if (prefixes[encoding->prefix])
		put(a, prefixes[encoding->prefix], 1);
	if (a->is_64 && rex)
		put(a, 0x40 | a->w << 3 | a->r << 2 | a->x << 1 | a->b, 1);
	if (encoding->map != ISA_MAP_1)
		put(a, 0x0f, 1);
	if (encoding->map == ISA_MAP_0F38 || encoding->map == ISA_MAP_0F3A)
		put(a, encoding->map == ISA_MAP_0F38 ? 0x38 : 0x3a, 1);
	if (encoding->opcode_register)
		opcode |= register_bits(a, ISA_Z, a->row->reg_byte, a->form->reg, &ignored);
	put(a, opcode, 1);
}

static void put_vex_opcode(struct assembler *a)
{
	static const uint8_t pp[] = { 0, 1, 2, 3, 0, 0 };
	const struct isa_encoding *encoding = &a->row->encoding;
	unsigned vvvv = encoding->vvvv ? a->form->vvvv & (a->is_64 ? 15 : 7) : 0;
	unsigned l = encoding->l == ISA_ANY ? a->form->operand_bytes == 32 : encoding->l;
	unsigned last = (~vvvv & 15) << 3 | l << 2 | pp[encoding->prefix];

	if (encoding->map == ISA_MAP_VEX_0F && !a->w && !a->x && !a->b) {
		put(a, 0xc5, 1);
		put(a, !a->r << 7 | last, 1);
	} else {
		put(a, 0xc4, 1);
		put(a, !a->r << 7 | !a->x << 6 | !a->b << 5 | (encoding->map - ISA_MAP_VEX_0F + 1),
			1);
		put(a, a->w << 7 | last, 1);
	}
	put(a, encoding->opcode, 1);
}

static void put_memory(struct assembler *a, unsigned reg)
{
	const struct isa_form *form = a->form;
	bool vsib = a->row->rm_kind == ISA_VSIB;
	bool has_base = form->base < INSN_NO_REGISTER;
	bool sib = form->index < INSN_NO_REGISTER || (has_base && (form->base & 7) == 4) || vsib ||
		   (a->is_64 && form->base == INSN_NO_REGISTER);
	bool disp8 = form->disp == (int8_t)form->disp;
	unsigned mod = disp8 ? 1 : 2;

	if (!has_base || (form->disp == 0 && (form->base & 7) != 5))
		mod = 0;
	put(a, mod << 6 | reg << 3 | (sib ? 4 : has_base ? form->base & 7 : 5), 1);
	if (sib)
		put(a,
			form->scale << 6 |
				(form->index < INSN_NO_REGISTER ? form->index & 7 : 4) << 3 |
				(has_base ? form->base & 7 : 5),
			1);
	if (mod == 1)
		put(a, (uint8_t)form->disp, 1);
	else if (mod == 2 || !has_base)
		put(a, (uint32_t)form->disp, 4);
}

static unsigned immediate_bytes(const struct assembler *a, unsigned size)
{
	switch (size) {
	case ISA_SIZE_B:
	case ISA_SIZE_BS: return 1;
	case ISA_SIZE_W: return 2;
	case ISA_SIZE_Z: return operand_bytes(a) == 2 ? 2 : 4;
	case ISA_SIZE_V:
	case ISA_SIZE_P: return operand_bytes(a);
	default: return 0;
	}
}

static unsigned moffs_bytes(const struct assembler *a)
{
	static const uint8_t bytes[] = { 2, 4, 8 };
	bool adsize = memchr(a->form->prefixes, 0x67, a->form->nr_prefixes) != NULL;

	if (!adsize)
		return bytes[a->form->mode];
	return a->form->mode == INSN_MODE_32 ? 2 : 4;
}

static void put_immediates(struct assembler *a)
{
	const struct isa_row *row = a->row;

	put(a, a->form->imm, immediate_bytes(a, row->immediate[0]));
	if (row->immediate[0] == ISA_SIZE_P)
		put(a, a->form->imm2, 2);
	put(a, a->form->imm2, immediate_bytes(a, row->immediate[1]));
	if (row->operand[0].kind == ISA_O || row->operand[1].kind == ISA_O)
		put(a, a->form->imm, moffs_bytes(a));
}

static bool fits_mode(const struct isa_row *row, enum insn_mode mode)
{
	bool is_64 = mode == INSN_MODE_64;
	bool rex_w = row->encoding.w == 1 && row->encoding.map < ISA_MAP_VEX_0F;

	return is_64 ? !(row->attributes & ISA_NO_64) : !(row->attributes & ISA_ONLY_64) && !rex_w;
}

unsigned isa_assemble(const struct isa_row *row, const struct isa_form *form, uint8_t *bytes)
{
	struct assembler a = { .row = row, .form = form, .is_64 = form->mode == INSN_MODE_64 };
	bool system = row->reg_kind == ISA_C || row->reg_kind == ISA_D;
	unsigned reg;

	if (!fits_mode(row, form->mode))
		return 0;
	a.memory =
		!system && isa_row_has_memory(row) && (form->memory || !isa_row_has_register(row));
	choose_extensions(&a);
	if (a.rex_forbidden && (a.w || a.r || a.x || a.b || a.rex_needed))
		return 0;
	for (unsigned i = 0; i < form->nr_prefixes; i++)
		put(&a, form->prefixes[i], 1);
	if (a.memory && form->mode == INSN_MODE_16)
		put(&a, 0x67, 1);
	if (row->encoding.map >= ISA_MAP_VEX_0F)
		put_vex_opcode(&a);
	else
		put_legacy_opcode(&a);
	if (row->encoding.modrm != ISA_MODRM_ABSENT) {
		reg = reg_field(&a);
		if (a.memory)
			put_memory(&a, reg);
		else
			put(&a, 0xc0 | reg << 3 | rm_field(&a), 1);
	}
	put_immediates(&a);
	if (a.length > INSN_MAX_LENGTH)
		return 0;
	memcpy(bytes, a.bytes, a.length);
	return a.length;
}

uint64_t isa_random(uint64_t *seed)
{
	*seed ^= *seed >> 12;
	*seed ^= *seed << 25;
	*seed ^= *seed >> 27;
	return *seed * UINT64_C(0x2545f4914f6cdd1d);
}

/* A register; a fifth of the byte registers are AH, CH, DH, BH. */
static uint8_t random_register(uint64_t *seed, bool byte, bool is_64)
{
	unsigned number = isa_random(seed) >> 32;

	if (byte && number % 5 == 0)
		return INSN_HIGH_BYTE + number / 5 % 4;
	return number / 5 % (is_64 ? 16 : 8);
}

void isa_form_random(
	const struct isa_row *row, enum insn_mode mode, uint64_t *seed, struct isa_form *form)
{
	static const uint8_t sizes[] = { 2, 4, 8, 4 };
	bool is_64 = mode == INSN_MODE_64;
	bool vector = row->operand_size == ISA_OPERAND_VECTOR;

	*form = (struct isa_form){
		.mode = mode,
		.operand_bytes =
			vector ? 16 << (isa_random(seed) >> 63) : sizes[isa_random(seed) >> 62],
		.memory = isa_random(seed) >> 63,
		.reg = random_register(seed, row->reg_byte, is_64),
		.rm = random_register(seed, row->rm_byte, is_64),
		.vvvv = random_register(seed, false, is_64),
		.base = X86_RAX,
		.index = INSN_NO_REGISTER,
		.imm = isa_random(seed),
		.imm2 = (uint16_t)isa_random(seed),
	};
}
