/*
 * The instruction decoder (SDM 2A chapter 2): prefixes, REX, VEX, ModRM, SIB, immediates, for 16-,
 * 32- and 64-bit code. What the opcodes are is in isa.tbl.
 *
 * Where processors differ it follows Intel: near branches ignore 66 in 64-bit mode. Not decoded:
 * EVEX, XOP, 3DNow!, and AMD's LOCK MOV CR0 as CR8; all are #UD.
 */
#include "engine/soft/insn.h"

#include <string.h>

/* REX and VEX bits, where REX has them. */
#define REX_W BIT(3)
#define REX_R BIT(2)
#define REX_X BIT(1)
#define REX_B BIT(0)

struct decoder {
	const uint8_t *bytes;
	unsigned at, limit;
	enum insn_error end; /* what it means to run out of bytes */
	enum insn_mode mode;
	struct insn *insn;
	uint8_t repeat; /* the last of F2 and F3, or 0 */
	uint8_t rex;
	uint8_t vex_l;
	uint8_t override; /* segment, or X86_NR_SEGMENTS */
	uint8_t map;
	uint8_t prefix; /* enum isa_prefix, the first four */
	bool has_modrm;
};

static enum insn_error fetch(struct decoder *d, unsigned bytes, uint64_t *value)
{
	if (d->limit - d->at < bytes) {
		d->at = d->limit;
		return d->end;
	}
	*value = 0;
	memcpy(value, d->bytes + d->at, bytes);
	d->at += bytes;
	return INSN_OK;
}

static enum insn_error fetch_u8(struct decoder *d, uint8_t *value)
{
	if (d->at == d->limit)
		return d->end;
	*value = d->bytes[d->at++];
	return INSN_OK;
}

/* In 64-bit mode the overrides of ES, CS, SS and DS are void (SDM 1 3.3.7.1). */
static void set_override(struct decoder *d, unsigned segment)
{
	if (d->mode != INSN_MODE_64 || segment >= X86_FS)
		d->override = segment;
}

static bool legacy_prefix(struct decoder *d, uint8_t byte)
{
	switch (byte) {
	case 0x26: set_override(d, X86_ES); break;
	case 0x2e: set_override(d, X86_CS); break;
	case 0x36: set_override(d, X86_SS); break;
	case 0x3e: set_override(d, X86_DS); break;
	case 0x64: set_override(d, X86_FS); break;
	case 0x65: set_override(d, X86_GS); break;
	case 0x66: d->insn->prefixes |= PREFIX_OPSIZE; break;
	case 0x67: d->insn->prefixes |= PREFIX_ADSIZE; break;
	case 0xf0: d->insn->prefixes |= PREFIX_LOCK; break;
	case 0xf2:
	case 0xf3: d->repeat = byte; break;
	default: return false;
	}
	return true;
}

/* Leaves in `opcode` the first byte that is no prefix. */
static enum insn_error decode_prefixes(struct decoder *d, uint8_t *opcode)
{
	enum insn_error error;

	for (;;) {
		error = fetch_u8(d, opcode);
		if (error)
			return error;
		if (d->mode == INSN_MODE_64 && (*opcode & 0xf0) == 0x40) {
			d->rex = *opcode;
			continue;
		}
		if (!legacy_prefix(d, *opcode))
			break;
		d->rex = 0; /* REX counts only where it comes last */
	}
	if (d->rex)
		d->insn->prefixes |= PREFIX_REX;
	return INSN_OK;
}

static uint8_t legacy_opcode_prefix(const struct decoder *d)
{
	if (d->repeat)
		return d->repeat == 0xf3 ? ISA_PREFIX_F3 : ISA_PREFIX_F2;
	return d->insn->prefixes & PREFIX_OPSIZE ? ISA_PREFIX_66 : ISA_PREFIX_NONE;
}

static enum insn_error decode_legacy_opcode(struct decoder *d, uint8_t opcode)
{
	enum insn_error error = INSN_OK;

	d->map = ISA_MAP_1;
	d->prefix = legacy_opcode_prefix(d);
	if (opcode == 0x0f) {
		d->map = ISA_MAP_0F;
		error = fetch_u8(d, &opcode);
		if (!error && (opcode == 0x38 || opcode == 0x3a)) {
			d->map = opcode == 0x38 ? ISA_MAP_0F38 : ISA_MAP_0F3A;
			error = fetch_u8(d, &opcode);
		}
	}
	d->insn->opcode = opcode;
	return error;
}

/* C5 and C4 are LDS and LES outside 64-bit mode unless what would be ModRM.mod is 3. */
static bool is_vex(const struct decoder *d, uint8_t opcode)
{
	if ((opcode & 0xfe) != 0xc4)
		return false;
	return d->mode == INSN_MODE_64 || (d->at < d->limit && d->bytes[d->at] >= 0xc0);
}

static enum insn_error decode_vex_opcode(struct decoder *d, bool three_bytes)
{
	static const uint8_t prefixes[] = { ISA_PREFIX_NONE, ISA_PREFIX_66, ISA_PREFIX_F3,
		ISA_PREFIX_F2 };
	uint8_t payload, last, map = 1;
	enum insn_error error = fetch_u8(d, &payload);

	if (error)
		return error;
	if (d->repeat || d->insn->prefixes & (PREFIX_LOCK | PREFIX_OPSIZE | PREFIX_REX))
		return INSN_INVALID;
	last = payload;
	d->rex = payload & 0x80 ? 0 : REX_R;
	if (three_bytes) {
		map = payload & 0x1f;
		error = fetch_u8(d, &last);
		if (error)
			return error;
		d->rex = (~payload >> 5 & 7) | (last & 0x80 ? REX_W : 0);
	}
	if (map < 1 || map > 3)
		return INSN_INVALID;
	d->map = ISA_MAP_VEX_0F + map - 1;
	d->prefix = prefixes[last & 3];
	d->vex_l = last >> 2 & 1;
	d->insn->vvvv = ~last >> 3 & 15;
	d->insn->prefixes |= PREFIX_VEX;
	if (d->mode != INSN_MODE_64)
		d->rex &= REX_W;
	return fetch_u8(d, &d->insn->opcode);
}

static enum insn_error need_modrm(struct decoder *d)
{
	if (d->has_modrm)
		return INSN_OK;
	d->has_modrm = true;
	d->insn->modrm_at = d->at;
	return fetch_u8(d, &d->insn->modrm);
}

static unsigned select_outcome(const struct decoder *d, unsigned selector)
{
	uint8_t modrm = d->insn->modrm;

	switch (selector) {
	case ISA_BY_MODE: return d->mode == INSN_MODE_64;
	case ISA_BY_MOD: return modrm >= 0xc0;
	case ISA_BY_REG: return modrm >> 3 & 7;
	case ISA_BY_RM: return modrm & 7;
	case ISA_BY_W: return (d->rex & REX_W) != 0;
	case ISA_BY_L: return d->vex_l;
	default: return (d->rex & REX_B) != 0;
	}
}

static enum insn_error find_row(struct decoder *d)
{
	unsigned value = isa_opcodes[d->map][d->prefix][d->insn->opcode];
	enum insn_error error;

	while (value & ISA_NODE) {
		const uint16_t *node = &isa_nodes[value - ISA_NODE];

		if (node[0] >= ISA_BY_MOD && node[0] <= ISA_BY_RM) {
			error = need_modrm(d);
			if (error)
				return error;
		}
		value = node[1 + select_outcome(d, node[0])];
	}
	if (value == 0)
		return INSN_INVALID;
	d->insn->row = value - 1;
	return INSN_OK;
}

static bool has_feature(const struct insn_features *features, unsigned feature)
{
	return !features || feature == CPU_NR_FEATURES ||
	       features->bits[feature / 64] & BIT(feature % 64);
}

static enum insn_error find_permitted_row(struct decoder *d, const struct insn_features *features)
{
	enum insn_error error = find_row(d);
	const struct isa_row *row = insn_row(d->insn);

	if (error || has_feature(features, row->feature))
		return error;
	if (!(row->attributes & ISA_FALLBACK))
		return INSN_INVALID;
	d->prefix = d->insn->prefixes & PREFIX_OPSIZE ? ISA_PREFIX_66 : ISA_PREFIX_NONE;
	return find_row(d);
}

static unsigned operand_bytes_v(const struct decoder *d, const struct isa_row *row)
{
	bool opsize = d->insn->prefixes & PREFIX_OPSIZE;

	if (d->mode != INSN_MODE_64)
		return (d->mode == INSN_MODE_32) != opsize ? 4 : 2;
	if (d->rex & REX_W || row->attributes & ISA_FORCED_64)
		return 8;
	if (opsize)
		return 2;
	return row->attributes & ISA_DEFAULT_64 ? 8 : 4;
}

static unsigned operand_bytes(const struct decoder *d, const struct isa_row *row)
{
	bool is_64 = d->mode == INSN_MODE_64;

	switch (row->operand_size) {
	case ISA_OPERAND_B: return 1;
	case ISA_OPERAND_Y: return is_64 && d->rex & REX_W ? 8 : 4;
	case ISA_OPERAND_N: return is_64 ? 8 : 4;
	case ISA_OPERAND_MMX: return 8;
	case ISA_OPERAND_XMM: return 16;
	case ISA_OPERAND_YMM: return 32;
	case ISA_OPERAND_VECTOR: return d->vex_l ? 32 : 16;
	case ISA_OPERAND_Z: return operand_bytes_v(d, row) == 2 ? 2 : 4;
	default: return operand_bytes_v(d, row);
	}
}

static unsigned address_bytes(const struct decoder *d)
{
	bool adsize = d->insn->prefixes & PREFIX_ADSIZE;

	switch (d->mode) {
	case INSN_MODE_16: return adsize ? 4 : 2;
	case INSN_MODE_32: return adsize ? 2 : 4;
	default: return adsize ? 4 : 8;
	}
}

static enum insn_error decode_displacement(struct decoder *d, unsigned bytes)
{
	uint64_t value;
	enum insn_error error;

	if (bytes == 0)
		return INSN_OK;
	error = fetch(d, bytes, &value);
	if (!error)
		d->insn->disp = (int32_t)sign_extend(value, bytes);
	return error;
}

/* SDM 2A table 2-1. */
static enum insn_error decode_memory_16(struct decoder *d)
{
	static const uint8_t bases[] = { X86_RBX, X86_RBX, X86_RBP, X86_RBP, X86_RSI, X86_RDI,
		X86_RBP, X86_RBX };
	static const uint8_t indexes[] = { X86_RSI, X86_RDI, X86_RSI, X86_RDI, INSN_NO_REGISTER,
		INSN_NO_REGISTER, INSN_NO_REGISTER, INSN_NO_REGISTER };
	struct insn *insn = d->insn;
	unsigned mod = insn->modrm >> 6, rm = insn->modrm & 7;

	if (mod == 0 && rm == 6)
		return decode_displacement(d, 2);
	insn->base = bases[rm];
	insn->index = indexes[rm];
	if (insn->base == X86_RBP)
		insn->segment = X86_SS;
	return decode_displacement(d, mod);
}

/* The registers of a SIB byte; false if there is a displacement of four bytes instead of a base. */
static bool decode_sib(struct decoder *d, uint8_t sib, bool vsib)
{
	struct insn *insn = d->insn;
	unsigned index = (sib >> 3 & 7) | (d->rex & REX_X ? 8 : 0);

	insn->scale = sib >> 6;
	if (vsib || index != X86_RSP)
		insn->index = index;
	if ((sib & 7) == X86_RBP && insn->modrm < 0x40)
		return false;
	insn->base = (sib & 7) | (d->rex & REX_B ? 8 : 0);
	return true;
}

/* SDM 2A tables 2-2 and 2-3, 2.2.1.6 for RIP. */
static enum insn_error decode_memory_32(struct decoder *d, bool vsib)
{
	static const uint8_t displacements[] = { 0, 1, 4 };
	struct insn *insn = d->insn;
	unsigned displacement = displacements[insn->modrm >> 6], rm = insn->modrm & 7;
	uint8_t sib = 0;
	enum insn_error error;

	if (rm == 4) {
		error = fetch_u8(d, &sib);
		if (error)
			return error;
		if (!decode_sib(d, sib, vsib))
			displacement = 4;
	} else if (rm == 5 && insn->modrm < 0x40) {
		displacement = 4;
		if (d->mode == INSN_MODE_64)
			insn->base = INSN_RIP;
	} else {
		insn->base = rm | (d->rex & REX_B ? 8 : 0);
	}
	if (insn->base == X86_RSP || insn->base == X86_RBP)
		insn->segment = X86_SS;
	return decode_displacement(d, displacement);
}

static enum insn_error decode_memory(struct decoder *d, const struct isa_row *row)
{
	struct insn *insn = d->insn;
	bool vsib = row->rm_kind == ISA_VSIB;
	enum insn_error error;

	if (vsib && (insn->address_bytes == 2 || (insn->modrm & 7) != 4))
		return INSN_INVALID;
	insn->has_memory = true;
	error = insn->address_bytes == 2 ? decode_memory_16(d) : decode_memory_32(d, vsib);
	/* SDM 2C, VPGATHERDD: destination, index and mask must differ. */
	if (!error && vsib &&
		(insn->reg == insn->index || insn->reg == insn->vvvv || insn->index == insn->vvvv))
		return INSN_INVALID;
	return error;
}

/* Without any REX, byte registers 4 to 7 are AH, CH, DH and BH. */
static uint8_t byte_register(const struct decoder *d, uint8_t number)
{
	bool high = number >= 4 && number < 8 && !(d->insn->prefixes & PREFIX_REX);

	return high ? number - 4 + INSN_HIGH_BYTE : number;
}

static bool is_control_register(unsigned number)
{
	return number == 0 || (number >= 2 && number <= 4) || number == 8;
}

static enum insn_error decode_reg(struct decoder *d, const struct isa_row *row)
{
	struct insn *insn = d->insn;
	uint8_t number = insn->modrm >> 3 & 7;
	uint8_t extended = number | (d->rex & REX_R ? 8 : 0);

	switch (row->reg_kind) {
	case ISA_G:
		insn->reg = row->reg_byte ? byte_register(d, extended) : extended;
		return INSN_OK;
	case ISA_S:
		insn->reg = number;
		if (number > X86_GS || (number == X86_CS && row->operand[0].kind == ISA_S))
			return INSN_INVALID;
		return INSN_OK;
	case ISA_C:
		insn->reg = extended;
		return is_control_register(extended) ? INSN_OK : INSN_INVALID;
	case ISA_D: insn->reg = extended; return extended < 8 ? INSN_OK : INSN_INVALID;
	case ISA_V: insn->reg = extended; return INSN_OK;
	default: insn->reg = number; return INSN_OK;
	}
}

static void decode_rm_register(struct decoder *d, const struct isa_row *row)
{
	struct insn *insn = d->insn;
	uint8_t number = insn->modrm & 7;

	insn->rm = number;
	if (row->rm_kind == ISA_Q || row->rm_kind == ISA_N || row->rm_kind == ISA_STI)
		return;
	insn->rm |= d->rex & REX_B ? 8 : 0;
	if (row->rm_byte)
		insn->rm = byte_register(d, insn->rm);
}

static enum insn_error decode_operands(struct decoder *d, const struct isa_row *row)
{
	struct insn *insn = d->insn;
	enum insn_error error;

	if (row->encoding.opcode_register) {
		insn->reg = (insn->opcode & 7) | (d->rex & REX_B ? 8 : 0);
		if (row->reg_byte)
			insn->reg = byte_register(d, insn->reg);
	}
	if (row->encoding.modrm == ISA_MODRM_ABSENT)
		return INSN_OK;
	error = need_modrm(d);
	if (!error)
		error = decode_reg(d, row);
	if (error)
		return error;
	/* MOV to and from control and debug registers takes any mod for 3 (SDM 2B, MOV). */
	if (insn->modrm >= 0xc0 || row->reg_kind == ISA_C || row->reg_kind == ISA_D) {
		decode_rm_register(d, row);
		return INSN_OK;
	}
	error = decode_memory(d, row);
	insn->memory_bytes = insn_size_in_bytes(insn, row->memory_size);
	return error;
}

static enum insn_error decode_far_pointer(struct decoder *d)
{
	uint64_t selector = 0;
	enum insn_error error = fetch(d, d->insn->operand_bytes, &d->insn->imm);

	if (!error)
		error = fetch(d, 2, &selector);
	d->insn->imm2 = (uint16_t)selector;
	return error;
}

static enum insn_error decode_immediate(struct decoder *d, const struct isa_row *row)
{
	struct insn *insn = d->insn;
	unsigned size = row->immediate[0];
	unsigned bytes = insn_size_in_bytes(insn, size);
	bool sign =
		size == ISA_SIZE_BS ||
		(size == ISA_SIZE_Z && (insn->operand_bytes == 8 || row->attributes & ISA_BRANCH));
	enum insn_error error;

	if (size == ISA_SIZE_P)
		return decode_far_pointer(d);
	error = fetch(d, bytes, &insn->imm);
	if (!error && sign)
		insn->imm = sign_extend(insn->imm, bytes);
	if (!error && row->immediate[1] != ISA_SIZE_NONE) {
		uint8_t second = 0;

		error = fetch_u8(d, &second);
		insn->imm2 = second;
	}
	return error;
}

static bool has_moffs(const struct isa_row *row)
{
	return row->operand[0].kind == ISA_O || row->operand[1].kind == ISA_O;
}

static enum insn_error decode_immediates(struct decoder *d, const struct isa_row *row)
{
	if (row->immediate[0] != ISA_SIZE_NONE)
		return decode_immediate(d, row);
	if (has_moffs(row))
		return fetch(d, d->insn->address_bytes, &d->insn->imm);
	return INSN_OK;
}

static bool is_lockable(const struct insn *insn, const struct isa_row *row)
{
	return row->attributes & ISA_LOCKABLE && insn->has_memory;
}

static enum insn_error decode_row(struct decoder *d, const struct isa_row *row)
{
	struct insn *insn = d->insn;
	enum insn_error error;

	if (d->rex & REX_W)
		insn->prefixes |= PREFIX_REX_W;
	if (row->encoding.prefix == ISA_PREFIX_ANY && d->repeat)
		insn->prefixes |= d->repeat == 0xf3 ? PREFIX_REP : PREFIX_REPNE;
	if (insn->prefixes & PREFIX_VEX && !row->encoding.vvvv && insn->vvvv != 0)
		return INSN_INVALID;
	if (d->mode != INSN_MODE_64)
		insn->vvvv &= 7;
	insn->operand_bytes = operand_bytes(d, row);
	insn->address_bytes = address_bytes(d);
	insn->stack_bytes = d->mode == INSN_MODE_64 ? 8 : 0;
	error = decode_operands(d, row);
	if (!error)
		error = decode_immediates(d, row);
	if (error)
		return error;
	if (insn->prefixes & PREFIX_LOCK && !is_lockable(insn, row))
		return INSN_INVALID;
	if (d->override != X86_NR_SEGMENTS)
		insn->segment = d->override;
	insn->exec = row->exec[isa_exec_index(insn->operand_bytes, insn->has_memory)];
	return INSN_OK;
}

static enum insn_error decode(struct decoder *d, const struct insn_features *features)
{
	uint8_t opcode;
	enum insn_error error = decode_prefixes(d, &opcode);

	if (error)
		return error;
	d->insn->opcode_at = d->at - 1;
	if (is_vex(d, opcode))
		error = decode_vex_opcode(d, opcode == 0xc4);
	else
		error = decode_legacy_opcode(d, opcode);
	if (error)
		return error;
	d->insn->opcode_at = d->at - 1;
	error = find_permitted_row(d, features);
	if (error)
		return error;
	return decode_row(d, insn_row(d->insn));
}

enum insn_error insn_decode(struct insn *insn, const uint8_t *bytes, unsigned size,
	enum insn_mode mode, const struct insn_features *features)
{
	struct decoder d = {
		.bytes = bytes,
		.limit = size < INSN_MAX_LENGTH ? size : INSN_MAX_LENGTH,
		.end = size < INSN_MAX_LENGTH ? INSN_TRUNCATED : INSN_TOO_LONG,
		.mode = mode,
		.insn = insn,
		.override = X86_NR_SEGMENTS,
	};
	enum insn_error error;

	*insn = (struct insn){
		.segment = X86_DS,
		.base = INSN_NO_REGISTER,
		.index = INSN_NO_REGISTER,
	};
	error = decode(&d, features);
	insn->length = d.at;
	memcpy(insn->bytes, bytes, d.at);
	return error;
}

unsigned insn_size_in_bytes(const struct insn *insn, enum isa_size size)
{
	unsigned operand = insn->operand_bytes;
	bool is_64 = insn->stack_bytes == 8;

	switch (size) {
	case ISA_SIZE_B:
	case ISA_SIZE_BS: return 1;
	case ISA_SIZE_W: return 2;
	case ISA_SIZE_D: return 4;
	case ISA_SIZE_Q: return 8;
	case ISA_SIZE_T: return 10;
	case ISA_SIZE_DQ: return 16;
	case ISA_SIZE_QQ: return 32;
	case ISA_SIZE_V:
	case ISA_SIZE_X: return operand;
	case ISA_SIZE_Z: return operand == 2 ? 2 : 4;
	case ISA_SIZE_Y: return is_64 && insn->prefixes & PREFIX_REX_W ? 8 : 4;
	case ISA_SIZE_N: return is_64 ? 8 : 4;
	case ISA_SIZE_X2: return operand / 2;
	case ISA_SIZE_X4: return operand / 4;
	case ISA_SIZE_X8: return operand / 8;
	case ISA_SIZE_A: return 2 * operand;
	case ISA_SIZE_P: return 2 + operand;
	case ISA_SIZE_S: return is_64 ? 10 : 6;
	case ISA_SIZE_ENV: return operand == 2 ? 14 : 28;
	case ISA_SIZE_SAVE: return operand == 2 ? 94 : 108;
	case ISA_SIZE_FXSAVE: return 512;
	default: return 0;
	}
}

const char *insn_mnemonic(const struct insn *insn, char *name, size_t size)
{
	const struct isa_row *row = insn_row(insn);
	bool by_address = insn->opcode == 0xe3;
	unsigned bytes = by_address ? insn->address_bytes : insn->operand_bytes;
	const char *from = row->mnemonic, *slash;
	unsigned length;

	for (; bytes > 2 && (slash = strchr(from, '/')); bytes /= 2)
		from = slash + 1;
	length = strcspn(from, "/");
	if (size > 0) {
		length = length < size ? length : size - 1;
		memcpy(name, from, length);
		name[length] = 0;
	}
	return name;
}
