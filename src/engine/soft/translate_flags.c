/*
 * The guest's arithmetic flags within a block: which matter where, and where they are.
 *
 * They live in the host's flags. A check of an address changes those; where the guest's still
 * matter they are put into vcpu->flags_of and flags_low first, stay there, and come back before an
 * instruction that reads them or leaves some of them alone. What matters after a block is unknown,
 * so all six do. Where a flag does not matter its value in an exception's frame may be any.
 */
#include "engine/soft/translator.h"

static bool is_shift(const struct insn *insn)
{
	uint8_t opcode = insn->opcode;

	switch (insn_row(insn)->encoding.map) {
	case ISA_MAP_1: return opcode == 0xc0 || opcode == 0xc1 || (opcode & 0xfc) == 0xd0;
	case ISA_MAP_0F: return (opcode & 0xf6) == 0xa4;
	default: return false;
	}
}

/*
 * Shifts by 0 change nothing; processors leave undefined flags alone at times, but AND, OR, XOR and
 * TEST give AF a value.
 */
static uint16_t flags_surely_written(const struct insn *insn)
{
	const struct isa_row *row = insn_row(insn);
	uint16_t written = row->flags_written & RFLAGS_ARITHMETIC;

	if (is_shift(insn)) {
		bool by_one = row->encoding.map == ISA_MAP_1 && (insn->opcode & 0xfe) == 0xd0;
		bool by_immediate = insn->opcode == 0xc0 || insn->opcode == 0xc1;
		unsigned group = insn->modrm >> 3 & 7;

		if (!by_one && !(by_immediate && insn->imm & 31 && group >= 4))
			return 0;
		return written & ~row->flags_undefined;
	}
	if (row->flags_undefined != RFLAGS_AF)
		written &= ~row->flags_undefined;
	return written;
}

static uint16_t flags_needed(const struct insn *insn, enum translate_kind kind)
{
	if (kind == KIND_INTERPRET)
		return RFLAGS_ARITHMETIC;
	return insn_row(insn)->flags_read & RFLAGS_ARITHMETIC;
}

void translate_liveness(struct work *work)
{
	const struct block *block = work->block;
	uint16_t live = RFLAGS_ARITHMETIC;

	work->live[work->nr_insns] = live;
	for (unsigned n = work->nr_insns; n-- > 0;) {
		const struct insn *insn = &block->insns[n];

		if (work->kinds[n] != KIND_INTERPRET)
			live &= ~flags_surely_written(insn);
		live |= flags_needed(insn, work->kinds[n]);
		work->live[n] = live;
	}
}

void work_save_flags(struct work *work)
{
	if (work->flags_in_memory)
		return;
	emit_save_flags(&work->emitter, TEMP_A);
	work->flags_in_memory = true;
}

/* The host's flags are about to change, before the instruction's own effect. */
void work_before_clobber(struct work *work)
{
	if (!work->live[work->n])
		return;
	work_save_flags(work);
	work->flags_in_host = false;
}

/* For an instruction that has to do with flags. */
void work_restore_flags(struct work *work, unsigned temporary)
{
	if (work->flags_in_host || !work->live[work->n])
		return;
	emit_restore_flags(&work->emitter, temporary);
	work->flags_in_host = true;
}

void work_flags_written(struct work *work)
{
	work->flags_in_host = true;
	work->flags_in_memory = false;
}
