/*
 * The instructions of a translation: a decoded block, and what follows it where its last branch is
 * not taken or is a jump forward in the page, up to MAX_PARTS blocks. What already has a
 * translation of its own is not translated again but linked to. A short block that branches back to
 * its own start is repeated, so that accesses of several rounds can share checks. But for that,
 * addresses along a path grow.
 */
#include "engine/soft/translator.h"

#define MAX_ROUNDS      4
#define MAX_ROUND_INSNS 14

static gva_t next_of(const struct work *work, unsigned n)
{
	return mode_next(work->mode, work->at[n], work->insns[n]);
}

/* Of a direct branch. */
static gva_t target_of(const struct work *work, unsigned n)
{
	return mode_target(work->mode, work->at[n], work->insns[n]);
}

/* The host's time is not that of a vCPU in lockstep. */
static enum translate_kind kind_of(const struct work *work, const struct insn *insn, gva_t at)
{
	enum translate_kind kind = translate_kind(insn, work->mode);

	if (work->translator->vcpu->lockstep && (kind == KIND_RDTSC || kind == KIND_RDTSCP))
		return KIND_INTERPRET;
	if (translate_is_direct_branch(kind) &&
		mode_exceeds(work->mode, mode_target(work->mode, at, insn), 1))
		return KIND_INTERPRET;
	return kind;
}

/* Adds what of the block there is room for, and lies within CS's limit; false if that is not all
 * of it. The first instruction does. */
static bool add_block(struct work *work, const struct block *block, gva_t at)
{
	struct translation *translation = work->translation;
	unsigned max = work->translator->max_insns;

	translation->parts[translation->nr_parts++] = (struct translation_part){
		.block = (uint32_t)((const uint8_t *)block - work->translator->vcpu->blocks->arena),
		.first = (uint8_t)work->nr_insns,
	};
	for (unsigned i = 0; i < block->nr_insns; i++) {
		if (work->nr_insns == max || mode_exceeds(work->mode, at, block->insns[i].length))
			return false;
		work->insns[work->nr_insns] = &block->insns[i];
		work->at[work->nr_insns] = at;
		work->kinds[work->nr_insns++] = (uint8_t)kind_of(work, &block->insns[i], at);
		at = mode_next(work->mode, at, &block->insns[i]);
	}
	return true;
}

/* Is all so far one round, or several, of a loop that may be repeated? */
static bool is_loop(const struct work *work)
{
	const struct translation *translation = work->translation;
	unsigned last = work->nr_insns - 1;
	const struct block *block = translation_block(work->translator->vcpu, translation, 0);

	return work->kinds[last] == KIND_JCC && block->nr_insns <= MAX_ROUND_INSNS &&
	       translation->parts[translation->nr_parts - 1].block == translation->parts[0].block &&
	       target_of(work, last) == translation->rip;
}

/* Where the path goes on if it may; else false. */
static bool find_next(const struct work *work, gva_t *next)
{
	unsigned last = work->nr_insns - 1;

	*next = next_of(work, last);
	if (work->kinds[last] == KIND_JMP) {
		*next = target_of(work, last);
		return *next > work->at[last];
	}
	return work->kinds[last] == KIND_JCC;
}

static const struct block *next_block(const struct work *work, gva_t next)
{
	const struct translation *translation = work->translation;
	const struct block *block;

	if (translation->nr_parts == MAX_PARTS || work->nr_insns == work->translator->max_insns ||
		!work_in_page(work, next) ||
		translator_find(work->translator, next, translation->page_id, false))
		return NULL;
	block = block_ahead(work->translator->vcpu, next);
	return block && work->nr_insns + block->nr_insns <= BLOCK_MAX_INSNS ? block : NULL;
}

void translate_path(struct work *work, const struct block *block)
{
	gva_t at = work->translation->rip;

	work->nr_insns = 0;
	work->translation->nr_parts = 0;
	while (add_block(work, block, at) && work->page && !work->translation->single &&
		find_next(work, &at)) {
		if (is_loop(work) && work->translation->nr_parts < MAX_ROUNDS &&
			work->nr_insns + block->nr_insns <= work->translator->max_insns) {
			work->kinds[work->nr_insns - 1] = KIND_JCC_BACK;
			at = work->translation->rip;
			continue;
		}
		block = next_block(work, at);
		if (!block)
			break;
		/* The jump is the path's own. */
		if (work->kinds[work->nr_insns - 1] == KIND_JMP)
			work->kinds[work->nr_insns - 1] = KIND_NOP;
	}
	work->at[work->nr_insns] = next_of(work, work->nr_insns - 1);
	work->translation->nr_insns = (uint8_t)work->nr_insns;
}
