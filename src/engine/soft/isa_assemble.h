/*
 * Assembles instructions from rows of the table, for tests: what decode.c takes apart, put
 * together.
 */
#ifndef ENGINE_SOFT_ISA_ASSEMBLE_H
#define ENGINE_SOFT_ISA_ASSEMBLE_H

#include "engine/soft/insn.h"

/* What a row leaves open. Fields that it has no use for are ignored. */
struct isa_form {
	enum insn_mode mode;
	uint8_t operand_bytes; /* 2, 4, 8 where the row takes several, 16 or 32 with VEX.L; what
				* the row or the mode does not have becomes what it has */
	bool memory;           /* the operand in ModRM.rm is memory, if it may be */
	uint8_t reg, rm, vvvv; /* register operands: 0 to 15, and 16 to 19 for AH, CH, DH, BH;
				* `reg` is also the register in the opcode */
	uint8_t base, index;   /* of the memory operand, or INSN_NO_REGISTER; index may not be
				* RSP; base INSN_RIP */
	uint8_t scale;         /* 0 to 3 */
	int32_t disp;          /* encoded in as few bytes as it can be */
	uint64_t imm;        /* cut to what the row has room for; moffs and far pointers' offset */
	uint16_t imm2;       /* second immediate, far pointer's selector */
	uint8_t prefixes[4]; /* put in front: segment overrides, F0, F2, F3, 67 */
	unsigned nr_prefixes;
};

/*
 * Writes the instruction to `bytes` (INSN_MAX_LENGTH of them) and returns its length, or 0 if the
 * mode does not have the row, or it would be too long.
 */
unsigned isa_assemble(const struct isa_row *row, const struct isa_form *form, uint8_t *bytes);

/*
 * Random choices for everything but mode, prefixes, index, base and disp (none, RAX, 0). A register
 * operand is RSP as often as another. `seed` may not be 0.
 */
void isa_form_random(
	const struct isa_row *row, enum insn_mode mode, uint64_t *seed, struct isa_form *form);

/* xorshift64*. */
uint64_t isa_random(uint64_t *seed);

/* Has the row a form with a register, with memory, in ModRM.rm? */
bool isa_row_has_memory(const struct isa_row *row);
bool isa_row_has_register(const struct isa_row *row);

#endif
