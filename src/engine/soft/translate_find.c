/*
 * Finds or makes the translation of what is at RIP.
 */
#include "engine/soft/translator.h"

#include "engine/soft/code_dump.h"
#include "engine/soft/interpret.h"
#include "engine/soft/tsc.h"
#include "engine/soft/vector.h"

#define PAGE_MASK (~UINT64_C(0xfff))

/* As the view of a page that has just been found executable. */
static void map_view(struct vcpu *vcpu, gva_t linear, uint32_t view)
{
	const struct tlb_entry *entry = &vcpu->tlb_code[tlb_index(linear)];

	translator_map(vcpu->translate.translator, view,
		entry->linear == (linear & PAGE_MASK) && entry->global);
}

static uint32_t make_view(struct vcpu *vcpu, gva_t linear, gpa_t physical, unsigned mode)
{
	uint32_t view = translator_view(
		vcpu->translate.translator, linear & PAGE_MASK, physical & PAGE_MASK, mode);

	map_view(vcpu, linear, view);
	return view;
}

bool translate_is_dead(const struct translator *translator, const struct translation *translation)
{
	return translator->views[translation->view].id != translation->page_id ||
	       (translation->second_view != NONE &&
		       translator->views[translation->second_view].id != translation->second_id);
}

/* An instruction that reaches beyond CS's limit is the interpreter's. */
static bool is_within_limit(const struct vcpu *vcpu, const struct insn *insn)
{
	return vcpu->mode.insn == INSN_MODE_64 ||
	       vcpu->rip + insn->length - 1 <= vcpu->segment[X86_CS].limit;
}

/* Of the second page of an instruction. */
static gva_t next_page(const struct vcpu *vcpu, gva_t linear)
{
	gva_t next = linear + GUEST_PAGE_SIZE;

	return vcpu->mode.insn == INSN_MODE_64 ? next : (uint32_t)next;
}

/* Most code of a system that starts runs once or twice, and is not worth its translation. */
static bool is_cold(struct translator *translator, const struct block *block)
{
	uint64_t hash = block->physical * UINT64_C(0x9e3779b97f4a7c15);
	uint8_t *heat = &translator->heat[hash >> (64 - HEAT_BITS)];

	if (*heat >= translator->cold_runs)
		return false;
	++*heat;
	return true;
}

/* One that is there already and lies in one page. Raises what fetching does. */
static struct translation *find_translated(struct vcpu *vcpu, gva_t linear, bool single)
{
	struct translator *translator = vcpu->translate.translator;
	struct translation *translation;
	unsigned available;
	gpa_t physical;
	uint32_t view;

	/* What cannot be fetched raises elsewhere. */
	if (vcpu->mode.insn == INSN_MODE_64 ? !x86_is_canonical(linear)
					    : vcpu->rip > vcpu->segment[X86_CS].limit)
		return NULL;
	if (!mmu_fetch(vcpu, linear, &physical, &available))
		return NULL;
	view = translator_find_view(
		translator, linear & PAGE_MASK, physical & PAGE_MASK, translate_mode_now(vcpu));
	if (view == NONE || !translator->views[view].id)
		return NULL;
	translation = translator_find(translator, linear, translator->views[view].id, single);
	if (!translation || translation->second_view != NONE)
		return NULL;
	map_view(vcpu, linear, view);
	return translation;
}

/* Any; it is made if need be, but NULL if what is there is the interpreter's. Likewise. */
static struct translation *find_decoded(struct vcpu *vcpu, gva_t linear, bool single)
{
	struct translator *translator = vcpu->translate.translator;
	uint64_t started = host_tsc();
	const struct block *block = block_find(vcpu, linear);
	uint32_t view, second_view = NONE;
	struct translation *translation;
	unsigned mode;

	if ((block->crosses && !block->next_generation_now) ||
		!is_within_limit(vcpu, &block->insns[0]))
		return NULL;
	if (!translator_has_room(translator) || translate_mode(vcpu) == NO_MODE) {
		vector_leave(vcpu);
		translator_flush(translator);
	}
	mode = translate_mode(vcpu);
	view = make_view(vcpu, linear, block->physical, mode);
	if (block->crosses)
		second_view = make_view(vcpu, next_page(vcpu, linear), block->next_physical, mode);
	translation = translator_find(translator, linear, translator->views[view].id, single);
	if (translation && second_view != NONE)
		translator_revive(translator, translation, &block->insns[0], second_view);
	if (!translation || translation->second_view != second_view ||
		translate_is_dead(translator, translation)) {
		if (!single && is_cold(translator, block))
			return NULL;
		/* The compiler may copy and clear with the C library's functions. */
		vector_leave(vcpu);
		translator_populate(translator);
		translation = translate_block(translator, block, linear, view, second_view, single);
		translator->counters.translation_ticks += host_tsc() - started;
		if (vcpu->engine->code_dump)
			code_dump(vcpu->engine->code_dump, translator, translation);
	}
	return translation;
}

/* The translation of what is at vcpu->rip, NULL if there is none. Raises what fetching does. */
struct translation *translate_find_slow(struct vcpu *vcpu, bool single)
{
	struct translator *translator = vcpu->translate.translator;
	gva_t linear = interpret_linear_rip(vcpu);
	struct translation *translation = find_translated(vcpu, linear, single);

	if (!translation)
		translation = find_decoded(vcpu, linear, single);
	if (translation && !single)
		*translator_lookup(translator, linear) = (struct lookup){ linear, translation };
	return translation;
}

bool translate_is_mapped(struct vcpu *vcpu, const struct translation *translation)
{
	const struct translate_context *context = &vcpu->translate;

	return context->translator->views[translation->view].mode == translate_mode_now(vcpu) &&
	       context->code_ids[translation->view] == translation->page_id &&
	       (translation->second_view == NONE ||
		       context->code_ids[translation->second_view] == translation->second_id);
}

/* After a flush of the TLB: is the page where the translation has it? Raises what fetching does. */
static bool map_again(struct vcpu *vcpu, const struct translation *translation)
{
	struct translator *translator = vcpu->translate.translator;
	const struct code_page_view *view = &translator->views[translation->view];
	gva_t linear = translation->rip;
	unsigned available;
	gpa_t physical;

	if (view->mode != translate_mode_now(vcpu) || view->id != translation->page_id ||
		translation->second_view != NONE)
		return false;
	if (!mmu_fetch(vcpu, linear, &physical, &available) ||
		(physical & PAGE_MASK) != view->physical)
		return false;
	map_view(vcpu, linear, translation->view);
	return true;
}

struct translation *translate_find(struct vcpu *vcpu)
{
	struct translator *translator = vcpu->translate.translator;
	gva_t linear = interpret_linear_rip(vcpu);
	const struct lookup *lookup = translator_lookup(translator, linear);
	struct translation *translation = lookup->translation;

	if (lookup->rip == linear && translation &&
		(translate_is_mapped(vcpu, translation) || map_again(vcpu, translation)))
		return translation;
	return translate_find_slow(vcpu, false);
}
