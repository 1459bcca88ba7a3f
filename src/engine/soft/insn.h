/*
 * A decoded instruction, and the table it is decoded with.
 *
 * src/engine/soft/isa.tbl is the one description of the instruction set. tools/isa turns it, at
 * build time, into isa_rows[] (isa.h) and the decoder's lookup tables; the interpreter, the
 * translator, the tests and docs/instructions.md are driven by the same rows. Adding an instruction
 * is one row, and one function unless an existing one (such as the pass-through to the host's unit)
 * fits.
 */
#ifndef ENGINE_SOFT_INSN_H
#define ENGINE_SOFT_INSN_H

#include "engine/soft/isa.h"
#include "x86/cpu_model.h"
#include "x86/registers.h"

#define INSN_MAX_LENGTH 15

/* insn.prefixes */
#define PREFIX_LOCK   BIT(0)
#define PREFIX_REPNE  BIT(1) /* F2 as a repeat prefix (not as part of the opcode) */
#define PREFIX_REP    BIT(2) /* F3 likewise */
#define PREFIX_OPSIZE BIT(3) /* 66 was there */
#define PREFIX_ADSIZE BIT(4)
#define PREFIX_REX    BIT(5) /* any REX, even 40 */
#define PREFIX_REX_W  BIT(6)
#define PREFIX_VEX    BIT(7)

/* insn.base and insn.index beside X86_RAX..X86_R15 */
#define INSN_NO_REGISTER 16
#define INSN_RIP         17 /* base only: the address of the next instruction */

/*
 * Byte registers as insn.reg and insn.rm number them when the operand is a byte: 0..15 are the low
 * bytes of that register, 16..19 are AH, CH, DH, BH. The decoder resolves REX.
 */
#define INSN_HIGH_BYTE 16

struct insn {
	insn_exec *exec;
	uint64_t imm;  /* the (last) immediate, or a branch's displacement, sign-extended to 64
			* bits if the instruction sign-extends it, else zero-extended; the offset of
			* a far pointer or of a moffs */
	uint16_t imm2; /* ENTER's level, a far pointer's selector, EXTRQ/INSERTQ's second byte */
	uint16_t row;  /* index in isa_rows */
	int32_t disp;  /* of the memory operand, sign-extended */
	uint8_t length;
	uint8_t operand_bytes; /* effective operand size: 2, 4, 8; 1 where the row's operand is a
				* byte; for vectors 16 or 32 (VEX.L), 8 for MMX */
	uint8_t address_bytes; /* effective address size: 2, 4, 8 */
	uint8_t stack_bytes;   /* 8 in 64-bit mode; else 0: it depends on SS.B */
	uint16_t memory_bytes; /* size of the ModRM memory operand; 0 if there is none, or none that
				* the encoding tells (XSAVE) */
	uint8_t segment;       /* effective segment of the memory operand, overrides applied */
	uint8_t prefixes;
	uint8_t opcode; /* last opcode byte */
	uint8_t modrm;  /* as encoded; 0 if there is none */
	uint8_t reg;    /* ModRM.reg with REX.R/VEX.R; for opcodes with a register in the opcode
			 * byte (50..57, B0..BF, C8..CF) that register with REX.B */
	uint8_t rm;     /* ModRM.rm with REX.B, when ModRM.mod is 3 */
	uint8_t base, index, scale;     /* of the memory operand; scale is a shift count 0..3 */
	uint8_t vvvv;                   /* VEX.vvvv, not inverted */
	bool has_memory;                /* the operand in ModRM.rm is memory */
	uint8_t bytes[INSN_MAX_LENGTH]; /* as fetched; opcode_at and modrm_at index it */
	uint8_t opcode_at, modrm_at;

	/* Filled by vector.c when the instruction first runs, of use while the generation is that
	 * of the vCPU's thunks; 0 from the decoder. */
	uint32_t thunk;
	uint32_t thunk_generation;
};

/* What a decode depends on beside the bytes. */
enum insn_mode { INSN_MODE_16, INSN_MODE_32, INSN_MODE_64 }; /* CS.D clear, set; CS.L */

enum insn_error {
	INSN_OK = 0,
	INSN_TRUNCATED, /* `size` bytes do not hold the whole instruction */
	INSN_TOO_LONG,  /* over 15 bytes: #GP(0) */
	INSN_INVALID,   /* #UD; length is that of what was looked at */
};

/*
 * Decodes the instruction at `bytes` (`size` of them can be read). CPUID-dependent rows the guest's
 * model lacks decode to #UD: pass a set made by insn_features, or NULL for everything.
 */
struct insn_features {
	uint64_t bits[2]; /* by enum cpu_feature */
};

enum insn_error insn_decode(struct insn *insn, const uint8_t *bytes, unsigned size,
	enum insn_mode mode, const struct insn_features *features);

/* The set of what `model` has. */
void insn_features_init(struct insn_features *features, const struct cpu_model *model);

/* What the size of an operand of the decoded instruction comes to; 0 for none and ISA_SIZE_XSAVE.
 */
unsigned insn_size_in_bytes(const struct insn *insn, enum isa_size size);

/* The mnemonic, where the row has one for each size; writes to `name` and returns it. */
const char *insn_mnemonic(const struct insn *insn, char *name, size_t size);

static inline const struct isa_row *insn_row(const struct insn *insn)
{
	return &isa_rows[insn->row];
}

#endif
