/*
 * Tracks decoded code by physical page: one record for each page of RAM, in an array that is mapped
 * lazily, so that pages without code cost nothing.
 *
 * Adding is under a lock. A write clears the lines first and then moves the generation; an adder
 * that sees the generation move while it marks lines starts again. So a block with the current
 * generation always has its lines marked.
 *
 * Regions of memory move (machine/memory.h). Whoever moves one forgets its code. A vCPU that still
 * has the old place in its TLB may decode after that, and ties what it finds to the records of
 * whatever is there now; so each forgets once more when it has flushed its TLB, which is before it
 * can find what it has decoded.
 */
#include "engine/soft/code_pages.h"

#include "base/log.h"

#include "engine/soft/direct.h"
#include "engine/soft/paging.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LINE_SHIFT 6
#define LOG_SIZE   4096

#define SPINS_PER_YIELD 256

_Static_assert(MACHINE_MAX_VCPUS <= 64, "a set of vCPUs is a word");

struct code_page {
	_Atomic uint64_t lines;
	_Atomic uint32_t generation;
	_Atomic bool written_directly; /* some runner may have it mapped writable */
	_Atomic bool copied;           /* some runner may read a copy of it */
};

/* Of the memory's region of the same index. */
struct code_region {
	_Atomic(struct code_page *) pages; /* NULL: none yet */
	uint64_t size;
};

struct code_pages {
	pthread_mutex_t lock; /* code_pages_add */
	pthread_mutex_t log_lock;
	_Atomic uint64_t log_end; /* entries so far; the last LOG_SIZE are kept */
	gpa_t log[LOG_SIZE];
	struct code_region regions[GUEST_MEMORY_MAX_REGIONS];
	/* For whoever comes with an address that has led to RAM a moment ago. */
	struct code_page nowhere;
	_Atomic bool nowhere_used;
};

_Static_assert(GUEST_MEMORY_MAX_REGIONS <= 64, "a set of regions is a word");

static size_t region_bytes(const struct code_region *region)
{
	return (region->size >> GUEST_PAGE_SHIFT) * sizeof(struct code_page);
}

static int track(struct code_pages *code, const struct guest_memory *memory, unsigned index)
{
	struct code_region *region = &code->regions[index];
	void *pages;

	region->size = memory->regions[index].size;
	pages = mmap(NULL, region_bytes(region), PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (pages == MAP_FAILED)
		return -errno;
	atomic_store(&region->pages, pages);
	return 0;
}

int code_pages_create(struct soft_engine *engine, struct error *err)
{
	const struct guest_memory *memory = &engine->base.machine->memory;
	struct code_pages *code = calloc(1, sizeof(*code));

	if (!code)
		return error_set_errno(err, EXIT_CODE_HOST, ENOMEM, "cannot track guest code");
	pthread_mutex_init(&code->lock, NULL);
	pthread_mutex_init(&code->log_lock, NULL);
	engine->code_pages = code;
	for (unsigned i = 0; i < memory->nr_regions; i++) {
		int rc = track(code, memory, i);

		if (rc < 0) {
			code_pages_destroy(engine);
			return error_set_errno(err, EXIT_CODE_HOST, -rc, "cannot track guest code");
		}
	}
	return 0;
}

void code_pages_destroy(struct soft_engine *engine)
{
	struct code_pages *code = engine->code_pages;

	if (!code)
		return;
	for (unsigned i = 0; i < GUEST_MEMORY_MAX_REGIONS; i++) {
		if (code->regions[i].pages)
			munmap(code->regions[i].pages, region_bytes(&code->regions[i]));
	}
	pthread_mutex_destroy(&code->lock);
	pthread_mutex_destroy(&code->log_lock);
	free(code);
	engine->code_pages = NULL;
}

static struct code_page *find(const struct soft_engine *engine, gpa_t physical)
{
	const struct guest_memory *memory = &engine->base.machine->memory;
	struct code_page *pages;
	struct ram_place place;

	if (!paging_find(memory, physical, &place))
		return NULL;
	pages = atomic_load_explicit(
		&engine->code_pages->regions[place.region - memory->regions].pages,
		memory_order_acquire);
	return pages ? &pages[place.offset >> GUEST_PAGE_SHIFT] : NULL;
}

/* The lines of a page that [offset, offset + size) touches; size is at least 1. */
static uint64_t line_mask(unsigned offset, unsigned size)
{
	return BITS((offset + size - 1) >> LINE_SHIFT, offset >> LINE_SHIFT);
}

static bool revoke_logged(struct tlb *tlb, bool global, enum tlb_set set, gpa_t page)
{
	unsigned count = atomic_load(&tlb->nr_logged[global][set]);
	bool had = false;

	for (unsigned n = 0; n < count; n++) {
		struct tlb_entry *entry = tlb_logged(tlb, global, set, n);

		if (atomic_load_explicit(&entry->physical, memory_order_relaxed) != page)
			continue;
		if (atomic_exchange(&entry->write_tag, TLB_INVALID) != TLB_INVALID)
			had = true;
	}
	return had;
}

/*
 * Takes the page's direct write entries from one vCPU's TLB; did it have any? Those that its thread
 * adds meanwhile find that the page holds code.
 */
static bool revoke_from(struct vcpu *vcpu, gpa_t page)
{
	bool had = false;

	for (unsigned set = 0; set < TLB_NEVER; set++) {
		had |= revoke_logged(&vcpu->tlb, false, set, page);
		had |= revoke_logged(&vcpu->tlb, true, set, page);
	}
	return had;
}

static void await_write(struct vcpu *writer)
{
	unsigned spins = 0;

	while (!atomic_load(&writer->quiescent) &&
		atomic_load(&writer->requests) & REQUEST_WRITES) {
		__builtin_ia32_pause();
		if (++spins % SPINS_PER_YIELD == 0)
			syscall(SYS_sched_yield);
	}
}

/*
 * Takes away the direct write entries that any vCPU has for the page. A vCPU that had one may have
 * checked it and not written yet: it has when it next stands between two instructions.
 */
static void revoke_writes(struct vcpu *vcpu, struct code_page *record, gpa_t page)
{
	struct soft_engine *engine = vcpu->engine;
	uint64_t writers = 0;

	if (atomic_exchange(&record->written_directly, false))
		direct_revoke(engine);
	for (unsigned i = 0; i < engine->nr_vcpus; i++) {
		struct vcpu *other = &engine->vcpus[i];

		if (!revoke_from(other, page) || other == vcpu)
			continue;
		writers |= BIT(i);
		atomic_fetch_or(&other->requests, REQUEST_WRITES);
	}
	for (; writers; writers &= writers - 1)
		await_write(&engine->vcpus[__builtin_ctzll(writers)]);
}

const _Atomic uint32_t *code_pages_generation_at(const struct soft_engine *engine, gpa_t physical)
{
	const struct code_page *page = find(engine, physical);

	return page ? &page->generation : &engine->code_pages->nowhere.generation;
}

/* The region has code, or had some since it was last forgotten. */
static void note_code(struct soft_engine *engine, gpa_t physical)
{
	struct guest_memory *memory = &engine->base.machine->memory;
	struct ram_place place;

	if (paging_find(memory, physical, &place) && place.region->movable)
		atomic_store(&memory->regions[place.region - memory->regions].watched, true);
}

static struct code_page *nowhere(struct code_pages *code)
{
	atomic_store(&code->nowhere_used, true);
	return &code->nowhere;
}

/* Two that wait for each other's writes do not wait forever: each is quiescent. */
uint32_t code_pages_add(struct vcpu *vcpu, gpa_t physical, unsigned size)
{
	struct soft_engine *engine = vcpu->engine;
	bool was_quiescent = atomic_exchange(&vcpu->quiescent, true);
	struct code_page *page = find(engine, physical);
	uint64_t lines = line_mask(physical & (GUEST_PAGE_SIZE - 1), size);
	uint32_t before, after;

	if (!page)
		page = nowhere(engine->code_pages);
	pthread_mutex_lock(&engine->code_pages->lock);
	after = atomic_load(&page->generation);
	do {
		before = after;
		if (atomic_fetch_or(&page->lines, lines) == 0)
			revoke_writes(vcpu, page, align_down(physical, GUEST_PAGE_SIZE));
		note_code(engine, physical);
		after = atomic_load(&page->generation);
	} while (after != before);
	pthread_mutex_unlock(&engine->code_pages->lock);
	atomic_store(&vcpu->quiescent, was_quiescent);
	return after;
}

bool code_pages_write_directly(struct soft_engine *engine, gpa_t physical)
{
	struct code_page *page = find(engine, physical);

	if (!page)
		return false;
	/* Either this thread sees the code that another adds, or that one sees the mark. */
	atomic_store(&page->written_directly, true);
	return atomic_load(&page->lines) == 0;
}

void code_pages_note_copy(struct soft_engine *engine, gpa_t physical)
{
	struct code_page *page = find(engine, physical);

	if (page)
		atomic_store(&page->copied, true);
}

bool code_pages_is_code(const struct soft_engine *engine, gpa_t physical)
{
	const struct code_page *page = find(engine, physical);

	return page && atomic_load(&page->lines) != 0;
}

static void log_write(struct soft_engine *engine, gpa_t page)
{
	struct code_pages *code = engine->code_pages;
	uint64_t end;

	if (engine->mode != SOFT_MODE_TRANSLATE)
		return;
	pthread_mutex_lock(&code->log_lock);
	end = atomic_load_explicit(&code->log_end, memory_order_relaxed);
	/* Code that SMM alone sees is not translated; the same page without the bit may have been.
	 */
	code->log[end % LOG_SIZE] = page & ~PAGING_SMRAM;
	atomic_store(&code->log_end, end + 1);
	pthread_mutex_unlock(&code->log_lock);
	for (unsigned i = 0; i < engine->nr_vcpus; i++)
		atomic_fetch_or(&engine->vcpus[i].requests, REQUEST_CODE);
}

uint64_t code_pages_log_end(const struct soft_engine *engine)
{
	return atomic_load(&engine->code_pages->log_end);
}

int code_pages_log(struct soft_engine *engine, uint64_t *position, gpa_t *pages, unsigned max)
{
	struct code_pages *code = engine->code_pages;
	uint64_t end;
	int count = 0;

	pthread_mutex_lock(&code->log_lock);
	end = atomic_load_explicit(&code->log_end, memory_order_relaxed);
	if (end - *position > LOG_SIZE) {
		*position = end;
		count = -1;
	}
	while (*position != end && (unsigned)count < max)
		pages[count++] = code->log[(*position)++ % LOG_SIZE];
	pthread_mutex_unlock(&code->log_lock);
	return count;
}

bool code_pages_written(struct soft_engine *engine, gpa_t physical, uint64_t size)
{
	bool hit = false;

	/* The store before the look: see code_pages_add's order. */
	atomic_thread_fence(memory_order_seq_cst);
	while (size > 0) {
		unsigned offset = physical & (GUEST_PAGE_SIZE - 1);
		uint64_t chunk = GUEST_PAGE_SIZE - offset;
		struct code_page *page = find(engine, physical);

		if (chunk > size)
			chunk = size;
		if (page && (atomic_load(&page->lines) & line_mask(offset, chunk))) {
			atomic_store(&page->lines, 0);
			atomic_fetch_add(&page->generation, 1);
			log_write(engine, physical - offset);
			/* Nobody reads the old bytes when the writer goes on. */
			if (atomic_exchange(&page->copied, false))
				direct_revoke(engine);
			hit = true;
		}
		physical += chunk;
		size -= chunk;
	}
	return hit;
}

/* More than the log holds: everybody drops everything. */
static void log_everything(struct soft_engine *engine)
{
	struct code_pages *code = engine->code_pages;

	pthread_mutex_lock(&code->log_lock);
	atomic_fetch_add(&code->log_end, LOG_SIZE + 1);
	pthread_mutex_unlock(&code->log_lock);
	for (unsigned i = 0; i < engine->nr_vcpus; i++)
		atomic_fetch_or(&engine->vcpus[i].requests, REQUEST_CODE);
}

static void forget(struct soft_engine *engine, unsigned index, gpa_t base)
{
	struct code_region *region = &engine->code_pages->regions[index];
	struct code_page *pages = atomic_load(&region->pages);
	uint64_t count = region->size >> GUEST_PAGE_SHIFT;

	if (!pages || !atomic_exchange(&engine->base.machine->memory.regions[index].watched, false))
		return;
	for (uint64_t n = 0; n < count; n++) {
		if (!atomic_exchange(&pages[n].lines, 0))
			continue;
		atomic_fetch_add(&pages[n].generation, 1);
		log_write(engine, base + (n << GUEST_PAGE_SHIFT));
	}
}

void code_pages_moved(struct soft_engine *engine, const struct ram_region *region, uint64_t from)
{
	const struct guest_memory *memory = &engine->base.machine->memory;
	unsigned index = (unsigned)(region - memory->regions);
	struct code_pages *code = engine->code_pages;

	if (!code->regions[index].pages && track(code, memory, index) < 0)
		log_warning("there is no memory to watch code in a device's memory");
	/* Its owner may have changed what was hidden. */
	if (ram_place_base(from) == ram_region_base(region) && ram_place_kind(from) != RAM_HIDDEN)
		return;
	forget(engine, index, ram_place_base(from));
	for (unsigned i = 0; i < engine->nr_vcpus; i++)
		atomic_fetch_or(&engine->vcpus[i].moved_regions, BIT(index));
}

void code_pages_settle(struct vcpu *vcpu)
{
	struct soft_engine *engine = vcpu->engine;
	const struct guest_memory *memory = &engine->base.machine->memory;
	struct code_pages *code = engine->code_pages;
	uint64_t moved = atomic_exchange(&vcpu->moved_regions, 0);

	for (; moved; moved &= moved - 1) {
		unsigned index = (unsigned)__builtin_ctzll(moved);

		forget(engine, index, ram_region_base(&memory->regions[index]));
	}
	if (atomic_load(&code->nowhere_used) && atomic_exchange(&code->nowhere_used, false)) {
		atomic_store(&code->nowhere.lines, 0);
		atomic_fetch_add(&code->nowhere.generation, 1);
		log_everything(engine);
	}
}
