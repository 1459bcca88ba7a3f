/*
 * The guest's arithmetic flags within a block: which matter where, and where they are.
 *
 * They live in the host's flags. A check of an address changes those; where the guest's still
 * matter they are put into vcpu->flags_of and flags_low first, stay there, and come back before an
 * instruction that reads them or leaves some of them alone. What matters behind a direct branch is
 * found by a look at the code there, if it is in the same page, for then what kills that kills this
 * block too; elsewhere all six do. Where a flag does not matter its value in an exception's or
 * interrupt's frame may be any.
 */
#include "engine/soft/translator.h"

#include "engine/soft/code_pages.h"

/* How far to look behind a branch. */
#define LOOKAHEAD_INSNS 10
#define CODE_LINE       64

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

/* Bytes of the block's page from `address` on, declared decoded a line at a time. */
struct lookahead {
	const struct work *work;
	gpa_t marked; /* up to here */
};

/* The bytes at `address`, and how many may be looked at. The block's page is known to be RAM. */
static const uint8_t *look_at(struct lookahead *look, gva_t address, unsigned *available)
{
	const struct work *work = look->work;
	unsigned offset = address & (GUEST_PAGE_SIZE - 1);
	gpa_t physical = (work->physical & ~(gpa_t)(GUEST_PAGE_SIZE - 1)) | offset;
	gpa_t end = align_down(physical, CODE_LINE) + 2 * CODE_LINE;

	*available = GUEST_PAGE_SIZE - offset;
	if (*available > INSN_MAX_LENGTH)
		*available = INSN_MAX_LENGTH;
	if (physical + *available > look->marked) {
		gpa_t page_end = align_down(physical, GUEST_PAGE_SIZE) + GUEST_PAGE_SIZE;

		look->marked = end < page_end ? end : page_end;
		code_pages_add(
			work->translator->vcpu, physical, (unsigned)(look->marked - physical));
	}
	return work->page + offset;
}

/* Flags that matter to what is at `address`, in the block's page. */
static uint16_t live_at(const struct work *work, gva_t address)
{
	const struct vcpu *vcpu = work->translator->vcpu;
	struct lookahead look = { .work = work };
	uint16_t live = 0, unknown = RFLAGS_ARITHMETIC;

	for (unsigned i = 0; i < LOOKAHEAD_INSNS && unknown; i++) {
		enum translate_kind kind;
		unsigned available;
		struct insn insn;
		const uint8_t *bytes = look_at(&look, address, &available);

		if (insn_decode(&insn, bytes, available, (enum insn_mode)work->mode->insn,
			    &vcpu->features) != INSN_OK)
			break;
		kind = translate_kind(&insn, work->mode);
		live |= flags_needed(&insn, kind) & unknown;
		if (kind == KIND_INTERPRET)
			return live;
		unknown &= ~flags_surely_written(&insn);
		if (kind == KIND_JMP)
			address = mode_target(work->mode, address, &insn);
		else if (insn_row(&insn)->attributes & ISA_BRANCH)
			break;
		else
			address = mode_next(work->mode, address, &insn);
		if (!work_in_page(work, address))
			break;
	}
	return live | unknown;
}

/* Flags that matter where a direct branch leads. */
static uint16_t live_behind(const struct work *work, gva_t target)
{
	if (!work->page || work->translator->exact_flags || !work_in_page(work, target))
		return RFLAGS_ARITHMETIC;
	return live_at(work, target);
}

static uint16_t live_at_end(const struct work *work)
{
	unsigned last = work->nr_insns - 1;
	const struct insn *insn = work->insns[last];
	gva_t end = work->at[work->nr_insns];
	gva_t target = mode_target(work->mode, work->at[last], insn);

	switch (work->kinds[last]) {
	case KIND_JCC: return live_behind(work, end);
	case KIND_JMP:
	case KIND_CALL: return live_behind(work, target);
	default:
		if (insn_row(insn)->attributes & ISA_BRANCH || work->kinds[last] == KIND_INTERPRET)
			return RFLAGS_ARITHMETIC;
		return live_behind(work, end);
	}
}

void translate_liveness(struct work *work)
{
	uint16_t live = live_at_end(work);

	work->live[work->nr_insns] = live;
	for (unsigned n = work->nr_insns; n-- > 0;) {
		const struct insn *insn = work->insns[n];

		if (work->kinds[n] == KIND_JCC)
			live |= live_behind(work, mode_target(work->mode, work->at[n], insn));
		if (work->kinds[n] == KIND_JCC_BACK)
			live |= live_behind(work, mode_next(work->mode, work->at[n], insn));
		if (work->kinds[n] != KIND_INTERPRET)
			live &= ~flags_surely_written(insn);
		live |= flags_needed(insn, work->kinds[n]);
		work->live[n] = live;
	}
}

bool translate_flags_stay(const struct work *work)
{
	if (!work->live[0])
		return false;
	for (unsigned n = 0; n < work->nr_insns; n++) {
		const struct insn *insn = work->insns[n];
		const struct isa_row *row = insn_row(insn);

		switch (work->kinds[n]) {
		case KIND_NOP:
		case KIND_LEA: continue;
		case KIND_PLAIN:
			if (insn->has_memory || translate_units(insn))
				return true;
			if ((row->flags_read | row->flags_written) & RFLAGS_ARITHMETIC)
				return false;
			continue;
		case KIND_JCC:
		case KIND_JCC_BACK:
		case KIND_LOOP: return false;
		default: return true;
		}
	}
	return true;
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
