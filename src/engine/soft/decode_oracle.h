/*
 * What Zydis thinks of an instruction, beside what our decoder does. For tests and fuzzing.
 */
#ifndef ENGINE_SOFT_DECODE_ORACLE_H
#define ENGINE_SOFT_DECODE_ORACLE_H

#include "engine/soft/insn.h"

#include <Zydis/Zydis.h>

struct decode_oracle {
	ZydisDecoder decoders[3]; /* by enum insn_mode */
	char why[512];            /* the first disagreement, in words */
};

void decode_oracle_init(struct decode_oracle *oracle);

/* Decodes with both; false: they disagree, oracle->why tells how. */
bool decode_oracle_agrees(struct decode_oracle *oracle, const uint8_t *bytes, unsigned size,
	enum insn_mode mode, struct insn *insn);

/*
 * Does Zydis say of the instruction that its operands are read and written, and which flags, as
 * the row says? Compares what a test of the instruction's effects relies on.
 */
bool decode_oracle_agrees_on_row(
	struct decode_oracle *oracle, const uint8_t *bytes, unsigned size, enum insn_mode mode);

#endif
