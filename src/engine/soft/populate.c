#include "engine/soft/populate.h"

#include "engine/soft/paging.h"
#include "engine/soft/vcpu.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

/* Of the memory's regions with the same index: a bit for each chunk that was asked for. Regions
 * that came later, whose content is a file's, or that a device gives out piecemeal have none. */
struct populate {
	_Atomic uint64_t *asked[GUEST_MEMORY_MAX_REGIONS];
};

static size_t nr_words(const struct ram_region *region)
{
	return (region->size >> POPULATE_SHIFT) / 64 + 1;
}

int populate_create(struct soft_engine *engine, struct error *err)
{
	const struct guest_memory *memory = &engine->base.machine->memory;

	engine->populate = calloc(1, sizeof(*engine->populate));
	if (!engine->populate)
		goto fail;
	for (unsigned i = 0; i < memory->nr_regions; i++) {
		const struct ram_region *region = &memory->regions[i];

		if (region->movable || region->device || region->foreign)
			continue;
		engine->populate->asked[i] = calloc(nr_words(region), sizeof(uint64_t));
		if (!engine->populate->asked[i])
			goto fail;
	}
	return 0;
fail:
	return error_set_errno(err, EXIT_CODE_HOST, ENOMEM, "cannot track guest memory");
}

void populate_destroy(struct soft_engine *engine)
{
	if (!engine->populate)
		return;
	for (unsigned i = 0; i < GUEST_MEMORY_MAX_REGIONS; i++)
		free(engine->populate->asked[i]);
	free(engine->populate);
	engine->populate = NULL;
}

void populate_at(const struct soft_engine *engine, gpa_t physical)
{
	const struct guest_memory *memory = &engine->base.machine->memory;
	_Atomic uint64_t *asked;
	struct ram_place place;
	uint64_t chunk, size;

	if (!paging_find(memory, physical, &place))
		return;
	asked = engine->populate->asked[place.region - memory->regions];
	chunk = place.offset >> POPULATE_SHIFT;
	if (!asked ||
		atomic_load_explicit(&asked[chunk / 64], memory_order_relaxed) >> (chunk % 64) & 1)
		return;
	atomic_fetch_or_explicit(
		&asked[chunk / 64], UINT64_C(1) << (chunk % 64), memory_order_relaxed);
	size = place.region->size - (chunk << POPULATE_SHIFT);
	if (size > UINT64_C(1) << POPULATE_SHIFT)
		size = UINT64_C(1) << POPULATE_SHIFT;
	guest_memory_populate(place.region->host + (chunk << POPULATE_SHIFT), size);
}

void *populate_map_large(size_t size)
{
	void *memory = guest_memory_map_large(0, align_up(size, GUEST_PAGE_SIZE));

	return memory == MAP_FAILED ? NULL : memory;
}

#define AHEAD_STEP (128u << 10)

void populate_more(struct populate_ahead *ahead, size_t used)
{
	size_t to = align_up(used, AHEAD_STEP);

	if (to > ahead->size)
		to = ahead->size;
	if (to <= ahead->asked)
		return;
	/* Only a hint: before Linux 5.14 there is no such advice. */
	madvise((char *)(uintptr_t)ahead->memory + ahead->asked, to - ahead->asked,
		ahead->read_only ? MADV_POPULATE_READ : MADV_POPULATE_WRITE);
	ahead->asked = to;
}
