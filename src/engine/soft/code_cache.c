/*
 * The translator's memory: code, blocks, code pages, and how they are found.
 *
 * Everything belongs to one vCPU and is bounded; when one part is full everything is dropped. The
 * code is a file in memory that is mapped twice, so that no page is writable and executable.
 */
#include "engine/soft/translator.h"

#include "base/trace.h"
#include "engine/soft/thunk.h"
#include "engine/soft/tsc.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static void *map(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return memory == MAP_FAILED ? NULL : memory;
}

static void unmap(const void *memory, size_t size)
{
	if (memory)
		munmap((void *)(uintptr_t)memory, size);
}

uint32_t translator_code_bytes(const struct soft_engine *engine)
{
	uint64_t share = guest_memory_size(&engine->base.machine->memory) / 4 /
			 engine->base.machine->nr_vcpus;

	if (share < MIN_CODE_BYTES)
		return MIN_CODE_BYTES;
	return share < MAX_CODE_BYTES ? (uint32_t)(share & ~UINT64_C(0xfffff)) : MAX_CODE_BYTES;
}

static int map_code(struct translator *translator)
{
	int fd = memfd_create("atoll-code", MFD_CLOEXEC);
	void *writable, *executable;

	if (fd < 0 || ftruncate(fd, translator->code_bytes) < 0) {
		if (fd >= 0)
			close(fd);
		return -errno;
	}
	writable = mmap(NULL, translator->code_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	executable = mmap(NULL, translator->code_bytes, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
	close(fd);
	if (writable != MAP_FAILED)
		translator->writable = writable;
	if (executable != MAP_FAILED)
		translator->executable = executable;
	return translator->writable && translator->executable ? 0 : -ENOMEM;
}

#define BUCKETS_BYTES           (sizeof(uint32_t) << TRANSLATION_BUCKET_BITS)
#define MAPPED_VIEWS_BYTES      (sizeof(uint32_t) * MAX_CODE_PAGES)
#define CODE_PAGE_BUCKETS_BYTES (sizeof(uint32_t) << CODE_PAGE_BUCKET_BITS)

int translator_create(struct vcpu *vcpu)
{
	struct translator *translator = calloc(1, sizeof(*translator));

	if (!translator)
		return -ENOMEM;
	translate_kinds_init();
	vcpu->translate.translator = translator;
	translator->vcpu = vcpu;
	translator->counting = vcpu->engine->count_exactly;
	translator->code_bytes = translator_code_bytes(vcpu->engine);
	translator->translations =
		populate_map_large(MAX_TRANSLATIONS * sizeof(struct translation));
	translator->sites = populate_map_large(MAX_SITES * sizeof(struct site));
	translator->links = populate_map_large(MAX_LINKS * sizeof(struct link));
	translator->fixups = map(MAX_FIXUPS * sizeof(struct fixup));
	translator->views = map(MAX_CODE_PAGES * sizeof(struct code_page_view));
	for (unsigned i = 0; i < ARRAY_SIZE(translator->mapped_views); i++)
		translator->mapped_views[i] = map(MAPPED_VIEWS_BYTES);
	translator->buckets = populate_map_large(BUCKETS_BYTES);
	translator->views_by_linear = map(CODE_PAGE_BUCKETS_BYTES);
	translator->views_by_physical = map(CODE_PAGE_BUCKETS_BYTES);
	translator->signal_stack = map(SIGNAL_STACK_BYTES);
	if (map_code(translator) < 0 || !translator->translations || !translator->sites ||
		!translator->links || !translator->fixups || !translator->views ||
		!translator->mapped_views[0] || !translator->mapped_views[1] ||
		!translator->buckets || !translator->views_by_linear ||
		!translator->views_by_physical || !translator->signal_stack) {
		translator_destroy(vcpu);
		return -ENOMEM;
	}
	translator->ahead[0] =
		(struct populate_ahead){ translator->writable, translator->code_bytes };
	translator->ahead[1] = (struct populate_ahead){ translator->executable,
		translator->code_bytes, .read_only = true };
	translator->ahead[2] = (struct populate_ahead){ translator->translations,
		MAX_TRANSLATIONS * sizeof(struct translation) };
	translator->ahead[3] =
		(struct populate_ahead){ translator->sites, MAX_SITES * sizeof(struct site) };
	translator->ahead[4] =
		(struct populate_ahead){ translator->links, MAX_LINKS * sizeof(struct link) };
	translator_emit_routines(translator);
	translator->reserved = translator->used;
	translator->next_id = 1;
	translator->max_insns = BLOCK_MAX_INSNS;
	translator->armed_deadline = UINT64_MAX;
	translator_flush(translator);
	return 0;
}

void translator_destroy(struct vcpu *vcpu)
{
	struct translator *translator = vcpu->translate.translator;

	if (!translator)
		return;
	unmap(translator->translations, MAX_TRANSLATIONS * sizeof(struct translation));
	unmap(translator->sites, MAX_SITES * sizeof(struct site));
	unmap(translator->links, MAX_LINKS * sizeof(struct link));
	unmap(translator->fixups, MAX_FIXUPS * sizeof(struct fixup));
	unmap(translator->views, MAX_CODE_PAGES * sizeof(struct code_page_view));
	for (unsigned i = 0; i < ARRAY_SIZE(translator->mapped_views); i++)
		unmap(translator->mapped_views[i], MAPPED_VIEWS_BYTES);
	unmap(translator->buckets, BUCKETS_BYTES);
	unmap(translator->views_by_linear, CODE_PAGE_BUCKETS_BYTES);
	unmap(translator->views_by_physical, CODE_PAGE_BUCKETS_BYTES);
	unmap(translator->signal_stack, SIGNAL_STACK_BYTES);
	unmap(translator->writable, translator->code_bytes);
	unmap(translator->executable, translator->code_bytes);
	free(translator);
	vcpu->translate.translator = NULL;
}

/* Without the C library's memset, which uses vector registers. */
static void fill_u64(void *at, uint64_t value, size_t count)
{
	__asm__ volatile("rep stosq" : "+D"(at), "+c"(count) : "a"(value) : "memory");
}

/* What no target that is looked up in an entry can be: it has other low bits, another hash. */
static gva_t no_target(unsigned slot)
{
	return slot == 0 || slot == JUMP_CACHE_SIZE ? 8 : 0;
}

void translator_forget_jump(struct translator *translator, unsigned set, gva_t rip)
{
	struct jump_cache_entry *entries = translator->vcpu->translate.jump_cache[set];
	const unsigned slots[] = { jump_cache_slot(rip), jump_cache_second_slot(rip) };

	for (unsigned i = 0; i < ARRAY_SIZE(slots); i++)
		if (entries[slots[i]].target == rip)
			entries[slots[i]].target = no_target(slots[i]);
}

static void empty_jump_cache(struct translate_context *context)
{
	for (unsigned set = 0; set < TRANSLATE_SETS; set++)
		for (unsigned slot = 0; slot < JUMP_CACHE_SIZE + JUMP_CACHE_SECOND_SIZE; slot++)
			context->jump_cache[set][slot].target = no_target(slot);
}

void translator_flush(struct translator *translator)
{
	struct translate_context *context = &translator->vcpu->translate;
	trace(cache_flushed, translator->nr_translations, translator->used);
	fill_u64(translator->buckets, UINT64_MAX, BUCKETS_BYTES / 8);
	fill_u64(translator->views_by_linear, UINT64_MAX, CODE_PAGE_BUCKETS_BYTES / 8);
	fill_u64(translator->views_by_physical, UINT64_MAX, CODE_PAGE_BUCKETS_BYTES / 8);
	fill_u64(context->code_ids, 0, sizeof(context->code_ids) / 8);
	empty_jump_cache(context);
	translate_modes_reset(translator);
	fill_u64(translator->lookup, 0, sizeof(translator->lookup) / 8);
	translator->nr_translations = 0;
	translator->nr_sites = 0;
	translator->nr_links = 0;
	translator->nr_fixups = 0;
	translator->nr_views = 0;
	translator->nr_mapped_views[0] = translator->nr_mapped_views[1] = 0;
	translator->used = translator->reserved;
	translator->counters.flushes++;
	/* Numbers start over long before they run out: no ID survives a flush. */
	mmu_space_forget_others(translator->vcpu);
	if (translator->next_id > MAX_ID)
		translator->next_id = 1;
}

bool translator_has_room(const struct translator *translator)
{
	/* Views that move, and pages that are written, use up IDs without any room. */
	return translator->code_bytes - translator->used > MAX_BLOCK_CODE &&
	       translator->next_id <= MAX_ID && translator->nr_translations < MAX_TRANSLATIONS &&
	       MAX_SITES - translator->nr_sites > BLOCK_MAX_INSNS &&
	       MAX_LINKS - translator->nr_links > 4 * BLOCK_MAX_INSNS &&
	       MAX_FIXUPS - translator->nr_fixups > FIXUPS_OF_A_INSN * BLOCK_MAX_INSNS &&
	       translator->nr_views + 2 <= MAX_CODE_PAGES;
}

void translator_populate(struct translator *translator)
{
	const size_t used[] = {
		translator->used,
		translator->used,
		translator->nr_translations * sizeof(struct translation),
		translator->nr_sites * sizeof(struct site),
		translator->nr_links * sizeof(struct link),
	};

	for (unsigned i = 0; i < ARRAY_SIZE(used); i++)
		populate_ahead(&translator->ahead[i], used[i]);
}

static uint32_t page_hash(uint64_t page)
{
	return (uint32_t)((page >> 12) * UINT64_C(0x9e3779b97f4a7c15) >>
			  (64 - CODE_PAGE_BUCKET_BITS));
}

uint32_t translator_find_view(
	const struct translator *translator, gva_t linear, gpa_t physical, unsigned mode)
{
	const struct code_page_view *view;
	uint32_t n = translator->views_by_linear[page_hash(linear)];

	for (; n != NONE; n = view->next_linear) {
		view = &translator->views[n];
		if (view->linear == linear && view->physical == physical && view->mode == mode)
			break;
	}
	return n;
}

/* The view of the page, made if need be. */
uint32_t translator_view(struct translator *translator, gva_t linear, gpa_t physical, unsigned mode)
{
	uint32_t *by_linear = &translator->views_by_linear[page_hash(linear)];
	uint32_t *by_physical = &translator->views_by_physical[page_hash(physical)];
	uint32_t n = translator_find_view(translator, linear, physical, mode);

	if (n != NONE) {
		if (translator->views[n].id == 0)
			translator->views[n].id = translator->next_id++;
		return n;
	}
	n = translator_move_view(translator, linear, physical, mode);
	if (n != NONE)
		return n;
	n = translator->nr_views++;
	translator->vcpu->translate.code_ids[n] = 0;
	translator->views[n] = (struct code_page_view){
		.linear = linear,
		.physical = physical,
		.id = translator->next_id++,
		.mode = (uint16_t)mode,
		.translations = NONE,
		.incoming = NONE,
		.next_linear = *by_linear,
		.next_physical = *by_physical,
	};
	*by_linear = *by_physical = n;
	return n;
}

uint32_t translator_views_of(const struct translator *translator, gpa_t physical)
{
	return translator->views_by_physical[page_hash(physical)];
}

void translator_rename_view(struct translator *translator, uint32_t n, gva_t linear)
{
	struct code_page_view *view = &translator->views[n];
	uint32_t *at = &translator->views_by_linear[page_hash(view->linear)];

	while (*at != n)
		at = &translator->views[*at].next_linear;
	*at = view->next_linear;
	at = &translator->views_by_linear[page_hash(linear)];
	view->linear = linear;
	view->next_linear = *at;
	*at = n;
}

/* The page's content has changed: its blocks are not found any more. */
void translator_kill(struct translator *translator, gpa_t physical)
{
	uint32_t n = translator->views_by_physical[page_hash(physical)];

	while (n != NONE) {
		struct code_page_view *view = &translator->views[n];

		if (view->physical == physical && view->id) {
			translator->vcpu->translate.code_ids[n] = 0;
			view->id = 0;
			view->translations = NONE;
			view->fixed = false;
			trace(page_killed, view->linear, physical);
			translator->counters.killed++;
		}
		n = view->next_physical;
	}
}

void translator_map(struct translator *translator, uint32_t n, bool global)
{
	struct code_page_view *view = &translator->views[n];

	translator->vcpu->translate.code_ids[n] = view->id;
	view->global = global;
	view->mapped_at = host_tsc();
	if (view->logged[global])
		return;
	view->logged[global] = true;
	translator->mapped_views[global][translator->nr_mapped_views[global]++] = n;
}

/* As the TLB flushes its own logs. */
static void unmap_log(struct translator *translator, bool global, bool keep_global)
{
	for (uint32_t i = 0; i < translator->nr_mapped_views[global]; i++) {
		uint32_t n = translator->mapped_views[global][i];
		struct code_page_view *view = &translator->views[n];

		view->logged[global] = false;
		if (!(keep_global && view->global))
			translator->vcpu->translate.code_ids[n] = 0;
	}
	translator->nr_mapped_views[global] = 0;
}

void translator_unmap_all(struct translator *translator, bool keep_global)
{
	unmap_log(translator, false, keep_global);
	if (!keep_global)
		unmap_log(translator, true, false);
}

unsigned translator_mapped_views(
	const struct translator *translator, struct mmu_space_view *views, unsigned max)
{
	unsigned count = 0;

	for (uint32_t i = translator->nr_mapped_views[false]; i-- > 0 && count < max;) {
		uint32_t n = translator->mapped_views[false][i];
		uint32_t id = translator->vcpu->translate.code_ids[n];

		if (id && !translator->views[n].global)
			views[count++] = (struct mmu_space_view){ .view = n, .id = id };
	}
	return count;
}

/* An ID stands for all that matters. */
void translator_map_views(
	struct translator *translator, const struct mmu_space_view *views, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		uint32_t n = views[i].view;

		if (n < translator->nr_views && translator->views[n].id == views[i].id)
			translator_map(translator, n, false);
	}
}

void translator_unmap(struct translator *translator, gva_t linear)
{
	uint32_t n = translator->views_by_linear[page_hash(linear)];

	for (; n != NONE; n = translator->views[n].next_linear)
		if (translator->views[n].linear == linear)
			translator->vcpu->translate.code_ids[n] = 0;
}

struct translation *translator_find(
	struct translator *translator, gva_t rip, uint32_t page_id, bool single)
{
	uint32_t n = translator->buckets[translation_hash(rip, page_id)];

	while (n != NONE) {
		struct translation *translation = &translator->translations[n];

		if (translation->rip == rip && translation->page_id == page_id &&
			translation->single == single)
			return translation;
		n = translation->next;
	}
	return NULL;
}

void translator_insert(struct translator *translator, struct translation *translation)
{
	uint32_t *bucket =
		&translator->buckets[translation_hash(translation->rip, translation->page_id)];

	translation->next = *bucket;
	*bucket = (uint32_t)(translation - translator->translations);
}

void translator_remove(struct translator *translator, const struct translation *translation)
{
	uint32_t *at =
		&translator->buckets[translation_hash(translation->rip, translation->page_id)];
	uint32_t n = (uint32_t)(translation - translator->translations);

	while (*at != n)
		at = &translator->translations[*at].next;
	*at = translation->next;
}

/* Binds the rel32 at `at`; nobody executes translated code of this vCPU meanwhile. */
void translator_put_jump(struct translator *translator, uint32_t at, uint32_t target)
{
	emit_bind(translator->writable + at, translator->writable + target);
	translator->written = true;
}

/* Registers that translated code shares with the guest: all but the temporaries. */
static bool is_live(unsigned gpr)
{
	return gpr != X86_R10 && gpr != X86_R11;
}

static const uint8_t host_saved[] = { X86_RBX, X86_RBP, X86_R12, X86_R13, X86_R14, X86_R15 };

static void emit_push_pop(struct emitter *emitter, uint8_t opcode, unsigned reg)
{
	if (reg & 8)
		emit_u8(emitter, 0x41);
	emit_u8(emitter, opcode | (reg & 7));
}

/* uint32_t enter(void): from C to context.target with the guest's registers and flags. */
static void emit_enter(struct emitter *emitter)
{
	for (unsigned i = 0; i < ARRAY_SIZE(host_saved); i++)
		emit_push_pop(emitter, 0x50, host_saved[i]);
	emit_state_op(emitter, OPCODE_STORE, X86_RSP, offsetof(struct vcpu, translate.host_rsp));
	emit_restore_flags(emitter, TEMP_A);
	for (unsigned gpr = 0; gpr < X86_NR_GPRS; gpr++)
		if (is_live(gpr))
			emit_load_gpr(emitter, gpr, gpr);
	emit_u8(emitter, 0x65); /* jmp gs:[target] */
	emit_u8(emitter, 0xff);
	emit_u8(emitter, 0x24);
	emit_u8(emitter, 0x25);
	emit_u32(emitter, offsetof(struct vcpu, translate.target));
}

/* Back to C, with the registers in the vCPU already. */
static void emit_exit_stored(struct emitter *emitter)
{
	emit_state_op(emitter, OPCODE_LOAD, X86_RSP, offsetof(struct vcpu, translate.host_rsp));
	for (unsigned i = ARRAY_SIZE(host_saved); i-- > 0;)
		emit_push_pop(emitter, 0x58, host_saved[i]);
	emit_state_op(emitter, OPCODE_LOAD, X86_RAX, offsetof(struct vcpu, translate.exit));
	emit_u8(emitter, 0xc3);
}

void translator_emit_routines(struct translator *translator)
{
	struct emitter emitter = { .at = translator->writable };

	translator->enter = 0;
	emit_enter(&emitter);
	translator->jump_miss = (uint32_t)(emitter.at - translator->writable);
	emit_state_op(&emitter, OPCODE_STORE, TEMP_A, offsetof(struct vcpu, rip));
	emit_load_immediate(&emitter, TEMP_B, EXIT_BRANCH);
	/* TEMP_B has the exit's word. */
	translator->exit_saved = (uint32_t)(emitter.at - translator->writable);
	emit_state_op(&emitter, OPCODE_STORE, TEMP_B, offsetof(struct vcpu, translate.exit));
	for (unsigned gpr = 0; gpr < X86_NR_GPRS; gpr++)
		if (is_live(gpr))
			emit_store_gpr(&emitter, gpr, gpr);
	translator->exit_stored = (uint32_t)(emitter.at - translator->writable);
	emit_exit_stored(&emitter);
	translator->exit_live = (uint32_t)(emitter.at - translator->writable);
	emit_save_flags(&emitter, TEMP_A);
	emit_bind(emit_jump(&emitter), translator->writable + translator->exit_saved);
	translator->used = (uint32_t)align_up((uint64_t)(emitter.at - translator->writable), 64);
	translator->written = true;
}
