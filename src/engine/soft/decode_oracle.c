/*
 * The decoder against Zydis 4.0. Where they differ on purpose, a table here says so.
 */
#include "engine/soft/decode_oracle.h"

#include <stdio.h>
#include <string.h>

void decode_oracle_init(struct decode_oracle *oracle)
{
	static const struct {
		ZydisMachineMode machine;
		ZydisStackWidth stack;
	} modes[] = {
		[INSN_MODE_16] = { ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16 },
		[INSN_MODE_32] = { ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32 },
		[INSN_MODE_64] = { ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64 },
	};

	memset(oracle, 0, sizeof(*oracle));
	for (unsigned i = 0; i < 3; i++) {
		ZydisDecoder *decoder = &oracle->decoders[i];

		ZydisDecoderInit(decoder, modes[i].machine, modes[i].stack);
		ZydisDecoderEnableMode(decoder, ZYDIS_DECODER_MODE_MPX, ZYAN_FALSE);
		ZydisDecoderEnableMode(decoder, ZYDIS_DECODER_MODE_CET, ZYAN_FALSE);
		ZydisDecoderEnableMode(decoder, ZYDIS_DECODER_MODE_WBNOINVD, ZYAN_FALSE);
		ZydisDecoderEnableMode(decoder, ZYDIS_DECODER_MODE_CLDEMOTE, ZYAN_FALSE);
	}
}

static bool disagree(
	struct decode_oracle *oracle, const char *what, const char *ours, const char *theirs)
{
	snprintf(oracle->why, sizeof(oracle->why), "%s: we say %s, Zydis %s", what, ours, theirs);
	return false;
}

static bool disagree_numbers(
	struct decode_oracle *oracle, const char *what, int64_t ours, int64_t theirs)
{
	snprintf(oracle->why, sizeof(oracle->why), "%s: we say %lld, Zydis %lld", what,
		(long long)ours, (long long)theirs);
	return false;
}

static bool is_among(const char *name, const char *const *names)
{
	while (*names && strcmp(name, *names) != 0)
		names++;
	return *names != NULL;
}

/* What Zydis knows and the guest's processor does not have. */
static bool is_absent(const ZydisDecodedInstruction *z)
{
	static const char *const extensions[] = { "AMD3DNOW", "AMD_INVLPGB", "AMX_BF16", "AMX_INT8",
		"AMX_TILE", "AVX512EVEX", "AVX512VEX", "AVX_VNNI", "CET", "CLDEMOTE", "CLZERO",
		"ENQCMD", "FMA4", "HRESET", "KEYLOCKER", "KEYLOCKER_WIDE", "KNC", "KNCE", "KNCV",
		"MCOMMIT", "MONITORX", "MOVDIR", "MPX", "PADLOCK", "PCONFIG", "PKU", "PT", "RDPRU",
		"RTM", "SERIALIZE", "SGX", "SGX_ENCLV", "SMX", "SNP", "SVM", "TBM", "TDX",
		"TSX_LDTRK", "UINTR", "VMFUNC", "VTX", "WAITPKG", "XOP", "XSAVES", NULL };

	return is_among(ZydisISAExtGetString(z->meta.isa_ext), extensions) ||
	       z->meta.isa_set == ZYDIS_ISA_SET_LWP;
}

/* Ours, theirs: where the names differ. */
static bool is_alias(const char *ours, const char *theirs)
{
	static const char *const pairs[][2] = {
		/* CET is off in Zydis, so that the rest of it is absent. */
		{ "endbr32", "nop" },
		{ "endbr64", "nop" },
		/* 0F 0D /0 and /3 to /7: 3DNow!'s, elsewhere a NOP. */
		{ "nop", "prefetch" },
		/* F3 41 90: exchanges R8 and RAX on hardware (tried on an AMD EPYC). */
		{ "xchg", "pause" },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(pairs); i++) {
		if (strcmp(ours, pairs[i][0]) == 0 && strcmp(theirs, pairs[i][1]) == 0)
			return true;
	}
	return false;
}

/* The number of a byte register as we count: AH to BH are 16 to 19. */
static int byte_register(int id)
{
	if (id < 4)
		return id;
	return id < 8 ? id - 4 + INSN_HIGH_BYTE : id - 4;
}

static int register_number(ZydisRegister reg)
{
	int id = ZydisRegisterGetId(reg);

	if (ZydisRegisterGetClass(reg) == ZYDIS_REGCLASS_GPR8)
		return byte_register(id);
	return id;
}

static ZydisRegisterClass register_class(unsigned kind, unsigned bytes)
{
	switch (kind) {
	case ISA_P:
	case ISA_Q:
	case ISA_N: return ZYDIS_REGCLASS_MMX;
	case ISA_C: return ZYDIS_REGCLASS_CONTROL;
	case ISA_D: return ZYDIS_REGCLASS_DEBUG;
	case ISA_S: return ZYDIS_REGCLASS_SEGMENT;
	case ISA_STI: return ZYDIS_REGCLASS_X87;
	case ISA_V:
	case ISA_W:
	case ISA_U:
	case ISA_H:
	case ISA_L: return bytes == 32 ? ZYDIS_REGCLASS_YMM : ZYDIS_REGCLASS_XMM;
	default: break;
	}
	switch (bytes) {
	case 1: return ZYDIS_REGCLASS_GPR8;
	case 2: return ZYDIS_REGCLASS_GPR16;
	case 4: return ZYDIS_REGCLASS_GPR32;
	default: return ZYDIS_REGCLASS_GPR64;
	}
}

static int operand_register(const struct insn *insn, unsigned kind)
{
	switch (kind) {
	case ISA_G:
	case ISA_V:
	case ISA_P:
	case ISA_S:
	case ISA_C:
	case ISA_D:
	case ISA_Z: return insn->reg;
	case ISA_H:
	case ISA_B: return insn->vvvv;
	case ISA_L: return insn->imm >> 4 & (insn->stack_bytes == 8 ? 15 : 7);
	default: return insn->rm;
	}
}

/*
 * MOVMSKPS, PEXTRW and their kin write 32 bits and clear the rest; Zydis calls that a 64-bit
 * register with REX.W.
 */
static bool is_mask_register(const struct insn *insn, const struct isa_operand *operand)
{
	return insn_row(insn)->attributes & (ISA_VECTOR | ISA_MMX) && operand->size == ISA_SIZE_D;
}

static bool agree_on_register(struct decode_oracle *oracle, const struct insn *insn,
	const struct isa_operand *operand, ZydisRegister reg)
{
	unsigned bytes = insn_size_in_bytes(insn, operand->size);
	int number = operand_register(insn, operand->kind);
	ZydisRegisterClass class = register_class(operand->kind, bytes);

	if (register_number(reg) != number)
		return disagree_numbers(oracle, "register", number, register_number(reg));
	if (ZydisRegisterGetClass(reg) != class && !is_mask_register(insn, operand))
		return disagree_numbers(
			oracle, "register class", class, ZydisRegisterGetClass(reg));
	return true;
}

static int base_number(ZydisRegister reg)
{
	if (reg == ZYDIS_REGISTER_NONE)
		return INSN_NO_REGISTER;
	if (reg == ZYDIS_REGISTER_RIP || reg == ZYDIS_REGISTER_EIP)
		return INSN_RIP;
	return ZydisRegisterGetId(reg);
}

/*
 * SIB without base under REX.B and 67: Zydis 4.0 says R13D and forgets the displacement; hardware
 * has no base, with or without REX.B (SDM 2A table 2-5; tried on an AMD EPYC).
 */
static bool is_without_base(const struct insn *insn)
{
	return insn->stack_bytes == 8 && insn->address_bytes == 4 && insn->modrm < 0x40 &&
	       (insn->modrm & 7) == 4 && insn->base == INSN_NO_REGISTER;
}

/* Zydis gives the size of the cache line. */
static bool is_cache_line(const struct insn *insn)
{
	return strncmp(insn_row(insn)->mnemonic, "cl", 2) == 0;
}

static bool agree_on_memory(
	struct decode_oracle *oracle, const struct insn *insn, const ZydisDecodedOperand *z)
{
	uint64_t mask = byte_mask(insn->address_bytes);
	int scale = z->mem.scale ? __builtin_ctz(z->mem.scale) : 0;

	if (is_without_base(insn))
		return true;
	if (insn->base != base_number(z->mem.base))
		return disagree_numbers(oracle, "base", insn->base, base_number(z->mem.base));
	if (insn->index != base_number(z->mem.index))
		return disagree_numbers(oracle, "index", insn->index, base_number(z->mem.index));
	if (insn->index != INSN_NO_REGISTER && insn->scale != scale)
		return disagree_numbers(oracle, "scale", insn->scale, scale);
	if (((uint64_t)(int64_t)insn->disp & mask) != ((uint64_t)z->mem.disp.value & mask))
		return disagree_numbers(oracle, "disp", insn->disp, z->mem.disp.value);
	if (insn_row(insn)->memory == ISA_MEM_NONE)
		return true;
	if (insn->segment != ZydisRegisterGetId(z->mem.segment))
		return disagree_numbers(
			oracle, "segment", insn->segment, ZydisRegisterGetId(z->mem.segment));
	if (insn->memory_bytes != z->size / 8 && insn_row(insn)->memory_size != ISA_SIZE_XSAVE &&
		!is_cache_line(insn))
		return disagree_numbers(oracle, "memory size", insn->memory_bytes, z->size / 8);
	return true;
}

static bool agree_on_immediate(struct decode_oracle *oracle, const struct insn *insn,
	const struct isa_operand *operand, uint64_t ours, uint64_t theirs)
{
	bool wide = operand->kind == ISA_J || insn->operand_bytes >= 8;
	uint64_t mask = wide ? UINT64_MAX : byte_mask(insn->operand_bytes);

	if (operand->size == ISA_SIZE_B)
		mask = 0xff;
	if ((ours & mask) != (theirs & mask))
		return disagree_numbers(oracle, "immediate", ours, theirs);
	return true;
}

static bool agree_on_offset(struct decode_oracle *oracle, const struct insn *insn, int64_t theirs)
{
	uint64_t mask = byte_mask(insn->address_bytes);

	if (insn->imm != ((uint64_t)theirs & mask))
		return disagree_numbers(oracle, "offset", insn->imm, theirs);
	return true;
}

static bool agree_on_operand(struct decode_oracle *oracle, const struct insn *insn,
	const struct isa_operand *operand, const ZydisDecodedOperand *z, unsigned *nr_immediates)
{
	switch (z->type) {
	case ZYDIS_OPERAND_TYPE_REGISTER:
		return agree_on_register(oracle, insn, operand, z->reg.value);
	case ZYDIS_OPERAND_TYPE_MEMORY:
		if (operand->kind != ISA_O)
			return agree_on_memory(oracle, insn, z);
		return agree_on_offset(oracle, insn, z->mem.disp.value);
	case ZYDIS_OPERAND_TYPE_POINTER:
		if (insn->imm2 != z->ptr.segment || insn->imm != z->ptr.offset)
			return disagree(oracle, "far pointer", "one thing", "another");
		return true;
	default:
		return agree_on_immediate(oracle, insn, operand,
			(*nr_immediates)++ ? insn->imm2 : insn->imm, z->imm.value.u);
	}
}

/* Operands that the encoding names: what Zydis calls explicit. */
static bool is_explicit(const struct isa_operand *operand)
{
	switch (operand->kind) {
	case ISA_NONE:
	case ISA_X:
	case ISA_Y:
	case ISA_GPR:
	case ISA_SREG:
	case ISA_XMM0:
	case ISA_ST0:
	case ISA_ONE:
	case ISA_FLAGS: return false;
	default: return !operand->implied;
	}
}

struct zydis_insn {
	ZydisDecodedInstruction insn;
	ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
};

/* The n-th operand of either that is explicit, or NULL. */
static const struct isa_operand *our_operand(const struct isa_row *row, unsigned n)
{
	for (unsigned i = 0; i < ISA_MAX_OPERANDS; i++) {
		if (is_explicit(&row->operand[i]) && n-- == 0)
			return &row->operand[i];
	}
	return NULL;
}

static const ZydisDecodedOperand *their_operand(const struct zydis_insn *z, unsigned n)
{
	for (unsigned i = 0; i < z->insn.operand_count; i++) {
		if (z->operands[i].visibility == ZYDIS_OPERAND_VISIBILITY_EXPLICIT && n-- == 0)
			return &z->operands[i];
	}
	return NULL;
}

static bool agree_on_operands(
	struct decode_oracle *oracle, const struct insn *insn, const struct zydis_insn *z)
{
	unsigned nr_immediates = 0;

	for (unsigned i = 0;; i++) {
		const struct isa_operand *ours = our_operand(insn_row(insn), i);
		const ZydisDecodedOperand *theirs = their_operand(z, i);

		if (!ours && !theirs)
			return true;
		if (!ours || !theirs)
			return disagree(
				oracle, "number of operands", ours ? "more" : "less", "not");
		if (!agree_on_operand(oracle, insn, ours, theirs, &nr_immediates))
			return false;
	}
}

/* Does any operand depend on the operand size? Where none does, Zydis has its own idea of it. */
static bool uses_operand_size(const struct isa_row *row)
{
	for (unsigned i = 0; i < ISA_MAX_OPERANDS; i++) {
		if (row->operand[i].implied)
			continue;
		switch (row->operand[i].size) {
		case ISA_SIZE_V:
		case ISA_SIZE_Z:
		case ISA_SIZE_A:
		case ISA_SIZE_P: return row->operand_size == ISA_OPERAND_V;
		default: break;
		}
	}
	return strchr(row->mnemonic, '/') && !(row->attributes & ISA_STRING);
}

static bool agree_on_widths(
	struct decode_oracle *oracle, const struct insn *insn, const ZydisDecodedInstruction *z)
{
	if (insn->address_bytes * 8 != z->address_width)
		return disagree_numbers(
			oracle, "address size", insn->address_bytes * 8, z->address_width);
	if (uses_operand_size(insn_row(insn)) && insn->operand_bytes * 8 != z->operand_width)
		return disagree_numbers(
			oracle, "operand size", insn->operand_bytes * 8, z->operand_width);
	return true;
}

bool decode_oracle_agrees(struct decode_oracle *oracle, const uint8_t *bytes, unsigned size,
	enum insn_mode mode, struct insn *insn)
{
	enum insn_error error = insn_decode(insn, bytes, size, mode, NULL);
	struct zydis_insn z;
	ZyanStatus status =
		ZydisDecoderDecodeFull(&oracle->decoders[mode], bytes, size, &z.insn, z.operands);
	const char *theirs;
	char name[32];

	if (!ZYAN_SUCCESS(status))
		return error || disagree(oracle, "validity", insn_row(insn)->mnemonic, "no");
	if (error)
		return is_absent(&z.insn) ||
		       disagree(oracle, "validity", "no", ZydisMnemonicGetString(z.insn.mnemonic));
	insn_mnemonic(insn, name, sizeof(name));
	theirs = ZydisMnemonicGetString(z.insn.mnemonic);
	if (strcmp(name, theirs) != 0 && !is_alias(name, theirs))
		return disagree(oracle, "mnemonic", name, theirs);
	if (insn->length != z.insn.length)
		return disagree_numbers(oracle, "length", insn->length, z.insn.length);
	if (is_alias(name, theirs))
		return true;
	if (strcmp(name, "nop") == 0) /* of the NOP space: Zydis has other operands in part of it */
		return true;
	return agree_on_widths(oracle, insn, &z.insn) && agree_on_operands(oracle, insn, &z);
}

static unsigned our_flags(uint64_t rflags)
{
	return rflags & (RFLAGS_ARITHMETIC | RFLAGS_DF);
}

/*
 * The table is never vaguer than Zydis and sometimes stricter: SBB leaves no flag undefined, shifts
 * by 1 define OF, MOV to CR0 changes the flags (SDM 1 appendix A).
 */
static bool agree_on_flags(
	struct decode_oracle *oracle, const struct isa_row *row, const ZydisAccessedFlags *flags)
{
	unsigned written =
		our_flags(flags->modified | flags->set_0 | flags->set_1 | flags->undefined);
	unsigned read = our_flags(flags->tested), undefined = our_flags(flags->undefined);

	if (read & ~row->flags_read)
		return disagree_numbers(oracle, "flags read", row->flags_read, read);
	if (written & ~row->flags_written)
		return disagree_numbers(oracle, "flags written", row->flags_written, written);
	if (row->flags_undefined & ~undefined)
		return disagree_numbers(oracle, "flags undefined", row->flags_undefined, undefined);
	return true;
}

/*
 * Zydis does not say that what a scalar instruction leaves of its destination is read, nor CMOV's
 * and BSF's destination, and says that hints read.
 */
static bool agree_on_access(
	struct decode_oracle *oracle, const struct isa_row *row, const struct zydis_insn *z)
{
	for (unsigned i = 0; our_operand(row, i); i++) {
		unsigned ours = our_operand(row, i)->access;
		unsigned actions = their_operand(z, i)->actions;
		unsigned theirs = (actions & ZYDIS_OPERAND_ACTION_MASK_READ ? ISA_READ : 0) |
				  (actions & ZYDIS_OPERAND_ACTION_MASK_WRITE ? ISA_WRITE : 0);

		if (ours && ours != theirs && ours != (theirs | ISA_READ))
			return disagree_numbers(oracle, "access", ours, theirs);
	}
	return true;
}

/* Whose flags or operands Zydis sees otherwise. */
static bool is_special(const struct isa_row *row)
{
	static const char *const mnemonics[] = { "vmcall", "ffree", "ffreep", "xsave", "xsave64",
		"xsaveopt", "xsaveopt64", NULL };

	return is_among(row->mnemonic, mnemonics) || row->reg_kind == ISA_C ||
	       row->reg_kind == ISA_D;
}

bool decode_oracle_agrees_on_row(
	struct decode_oracle *oracle, const uint8_t *bytes, unsigned size, enum insn_mode mode)
{
	struct zydis_insn z;
	struct insn insn;

	if (!decode_oracle_agrees(oracle, bytes, size, mode, &insn))
		return false;
	if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(
		    &oracle->decoders[mode], bytes, size, &z.insn, z.operands)))
		return true;
	if (is_special(insn_row(&insn)) || strcmp(insn_row(&insn)->mnemonic, "nop") == 0)
		return true;
	return agree_on_access(oracle, insn_row(&insn), &z) &&
	       (!z.insn.cpu_flags || agree_on_flags(oracle, insn_row(&insn), z.insn.cpu_flags));
}
