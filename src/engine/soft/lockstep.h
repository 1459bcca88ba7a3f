/*
 * Programs for the lockstep test: random instructions from the table's rows in blocks that branch,
 * call and loop, for 64-bit and 32-bit code at any privilege.
 *
 * A program ends at a write to FIXTURE_STOP. It goes backward only to heads of loops, which count
 * down at LOCKSTEP_COUNTER, so that it always ends. Where a label is, all flags are defined.
 */
#ifndef ENGINE_SOFT_LOCKSTEP_H
#define ENGINE_SOFT_LOCKSTEP_H

#include "engine/soft/native.h"

#define LOCKSTEP_CODE      0x100c00 /* programs may reach into the next pages */
#define LOCKSTEP_CODE_SIZE 0x2400
#define LOCKSTEP_DATA      0x200000 /* two pages to write, one to read, one not present */
#define LOCKSTEP_DATA_SIZE 0x2000
#define LOCKSTEP_COUNTER   0x210000
#define LOCKSTEP_STACK     0x220800 /* with one page */
#define LOCKSTEP_FS_BASE   0x1f0000
#define LOCKSTEP_GS_BASE   0x1e0000

#define LOCKSTEP_MAX_INSNS 2048

struct lockstep_insn {
	uint16_t at;        /* offset in the code */
	uint16_t undefined; /* flags before it */
	uint16_t needed;    /* flags before it that something may look at */
};

struct lockstep_program {
	enum insn_mode mode; /* INSN_MODE_64 or INSN_MODE_32 */
	uint32_t data_base;  /* of DS, ES and SS: what it is to subtract from addresses */
	uint8_t code[LOCKSTEP_CODE_SIZE];
	unsigned length;
	struct lockstep_insn insns[LOCKSTEP_MAX_INSNS];
	unsigned nr_insns;
};

/* For the program's mode and data_base; instructions of `model`, the vector ones among them in half
 * of the programs. */
void lockstep_program_make(struct lockstep_program *program, const struct cpu_model *model,
	struct native_random *random);

/* The instruction at `rip`, or NULL. */
const struct lockstep_insn *lockstep_insn_at(const struct lockstep_program *program, gva_t rip);

#endif
