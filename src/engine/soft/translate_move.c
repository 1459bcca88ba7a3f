/*
 * Translated pages move in linear memory.
 *
 * A library is at another address in each process that is started, and code is translated for its
 * address. A page of code that has views at several addresses already, one of which no process uses
 * at present, is not translated once more: that view and its translations are taken to the new
 * address. What depends on the address was noted when it was emitted (work_fixup): addresses as
 * immediates of 64 bits, entries of the TLB, the second page of an instruction that crosses a
 * page's end. Code that holds addresses in less stays where it is (work_fix): kernels, and
 * programs that are not position-independent.
 *
 * Links within the page hold. Others are unbound on both sides, and whatever finds translations by
 * their address forgets these.
 */
#include "engine/soft/translator.h"

#include "engine/soft/tsc.h"
#include "engine/soft/vector.h"

#include <string.h>

/* A view is moved if it was not found mapped for so long: programs that run in turns, as a system's
 * services do, do not take it from each other all the time. */
#define UNUSED_MS 20

/* IDs stay far below: this is none. */
#define NO_ID UINT32_MAX

void work_fix(struct work *work)
{
	work->translator->views[work->translation->view].fixed = true;
}

void work_fixup(struct work *work, enum fixup_kind kind)
{
	struct translator *translator = work->translator;
	unsigned size = kind == FIXUP_ADDRESS ? 8 : 4;

	translator->fixups[translator->nr_fixups++] = (struct fixup){
		.at = (uint32_t)(work->emitter.at - size - translator->writable),
		.kind = kind,
	};
	work->translation->nr_fixups++;
}

void work_load_address(struct work *work, unsigned reg, gva_t address)
{
	emit_load_immediate(&work->emitter, reg, address);
	if (address > UINT32_MAX && address != (gva_t)(int32_t)address)
		work_fixup(work, FIXUP_ADDRESS);
	else
		work_fix(work);
}

static void forget_incoming(struct translator *translator, struct link *link)
{
	struct code_page_view *view = &translator->views[link->view];

	if (link->previous_incoming == NONE)
		view->incoming = link->next_incoming;
	else
		translator->links[link->previous_incoming].next_incoming = link->next_incoming;
	if (link->next_incoming != NONE)
		translator->links[link->next_incoming].previous_incoming = link->previous_incoming;
	link->view = NONE;
}

void translator_bind_incoming(struct translator *translator, uint32_t n, uint32_t to)
{
	struct link *link = &translator->links[n];
	struct code_page_view *view = &translator->views[to];

	if (link->view != NONE)
		forget_incoming(translator, link);
	link->view = to;
	link->previous_incoming = NONE;
	link->next_incoming = view->incoming;
	if (view->incoming != NONE)
		translator->links[view->incoming].previous_incoming = n;
	view->incoming = n;
}

static void unbind(struct translator *translator, struct link *link)
{
	translator_put_jump(translator, link->at, link->stub);
	forget_incoming(translator, link);
}

static void move_address(uint8_t *at, gva_t distance)
{
	uint64_t address;

	memcpy(&address, at, sizeof(address));
	address += distance;
	memcpy(at, &address, sizeof(address));
}

static void move_tlb_entry(uint8_t *at, unsigned set, gva_t distance)
{
	uint32_t base = (uint32_t)offsetof(struct vcpu, tlb.entries[0]) +
			set * (uint32_t)sizeof(((struct tlb *)0)->entries[0]);
	uint32_t offset, index;

	memcpy(&offset, at, sizeof(offset));
	offset -= base;
	index = offset / sizeof(struct tlb_entry) + (uint32_t)(distance >> GUEST_PAGE_SHIFT);
	offset = base + index % TLB_ENTRIES * (uint32_t)sizeof(struct tlb_entry) +
		 offset % sizeof(struct tlb_entry);
	memcpy(at, &offset, sizeof(offset));
}

static void move_code(struct translator *translator, const struct translation *translation,
	unsigned set, gva_t distance)
{
	for (unsigned i = 0; i < translation->nr_fixups; i++) {
		const struct fixup *fixup = &translator->fixups[translation->first_fixup + i];
		const uint32_t no_id = NO_ID;
		uint8_t *at = translator->writable + fixup->at;

		switch ((enum fixup_kind)fixup->kind) {
		case FIXUP_ADDRESS: move_address(at, distance); break;
		case FIXUP_TLB: move_tlb_entry(at, set, distance); break;
		case FIXUP_SECOND: memcpy(at, &no_id, sizeof(no_id)); break;
		}
	}
	memcpy(translator->writable + translation->code + translation->guard + GUARD_ID,
		&translation->page_id, sizeof(translation->page_id));
}

static void move_links(
	struct translator *translator, const struct translation *translation, gva_t distance)
{
	for (unsigned i = 0; i < translation->nr_links; i++) {
		struct link *link = &translator->links[translation->first_link + i];

		link->target += distance;
		if (link->view != NONE)
			unbind(translator, link);
	}
}

static void forget_lookups(struct translator *translator, const struct translation *translation)
{
	struct lookup *lookup = translator_lookup(translator, translation->rip);
	const struct code_page_view *view = &translator->views[translation->view];
	const struct code_mode *mode = &translator->modes[view->mode];

	if (lookup->translation == translation)
		*lookup = (struct lookup){ 0 };
	translator_forget_jump(translator, mode->set, translation->rip);
}

static void move_translation(
	struct translator *translator, struct translation *translation, uint32_t id, gva_t distance)
{
	unsigned set = translator->modes[translator->views[translation->view].mode].set;

	forget_lookups(translator, translation);
	if (!translation->forwarded)
		translator_remove(translator, translation);
	translation->rip += distance;
	translation->page_id = id;
	if (translation->second_view != NONE)
		translation->second_id = NO_ID;
	move_links(translator, translation, distance);
	move_code(translator, translation, set, distance);
	if (!translation->forwarded)
		translator_insert(translator, translation);
}

static void move_view(struct translator *translator, uint32_t n, gva_t linear)
{
	struct code_page_view *view = &translator->views[n];
	gva_t distance = linear - view->linear;
	uint32_t id = translator->next_id++;

	while (view->incoming != NONE)
		unbind(translator, &translator->links[view->incoming]);
	for (uint32_t i = view->translations; i != NONE;
		i = translator->translations[i].next_in_view)
		move_translation(translator, &translator->translations[i], id, distance);
	view->id = id;
	translator_rename_view(translator, n, linear);
	translator->written = true;
	translator->counters.moved++;
}

uint32_t translator_move_view(
	struct translator *translator, gva_t linear, gpa_t physical, unsigned mode)
{
	uint32_t n = translator_views_of(translator, physical), oldest = NONE;
	uint64_t now = host_tsc();
	uint64_t unused = translator->vcpu->cpu_model->tsc_hz / 1000 * UNUSED_MS;

	if (!mode_is_wide(&translator->modes[mode]))
		return NONE;
	for (; n != NONE; n = translator->views[n].next_physical) {
		const struct code_page_view *view = &translator->views[n];

		if (view->physical != physical || view->mode != mode || view->fixed ||
			view->id == 0 || translator->vcpu->translate.code_ids[n] != 0)
			continue;
		if (now - view->mapped_at >= unused) {
			unused = now - view->mapped_at;
			oldest = n;
		}
	}
	if (oldest != NONE) {
		/* The C library's functions use the registers that the guest's vectors are in. */
		vector_leave(translator->vcpu);
		move_view(translator, oldest, linear);
	}
	return oldest;
}

/*
 * A translation of an instruction that crosses its page's end, whose second page was moved, written
 * or replaced since: if it is `insn` still it is made to look at what is the second page now. One
 * more translation each time would leave a trail of those that lead to it.
 */
void translator_revive(struct translator *translator, struct translation *translation,
	const struct insn *insn, uint32_t second_view)
{
	const struct fixup *fixup = &translator->fixups[translation->first_fixup];
	const uint32_t slot = translator_id_offset(second_view);
	const uint32_t id = translator->views[second_view].id;
	uint8_t *at = translator->writable + fixup->at;

	if (translation->second_view == NONE ||
		(translation->second_view == second_view && translation->second_id == id))
		return;
	vector_leave(translator->vcpu);
	if (translation->crossing_bytes != insn->length ||
		memcmp(translation->crossing, insn->bytes, insn->length) != 0)
		return;
	translation->second_view = second_view;
	translation->second_id = id;
	memcpy(at, &id, sizeof(id));
	memcpy(at - sizeof(slot), &slot, sizeof(slot));
	translator->written = true;
}
