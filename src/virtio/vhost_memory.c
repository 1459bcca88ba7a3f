#include "virtio/vhost_memory.h"

#include <errno.h>
#include <stdlib.h>

/* Where regions begin and end. */
#define MAX_EDGES (2 * GUEST_MEMORY_MAX_REGIONS)

static int compare(const void *a, const void *b)
{
	gpa_t left = *(const gpa_t *)a, right = *(const gpa_t *)b;

	return left < right ? -1 : left > right;
}

static unsigned find_edges(gpa_t edges[MAX_EDGES], const struct guest_memory *memory)
{
	unsigned count = 0;

	for (unsigned i = 0; i < memory->nr_regions; i++) {
		const struct ram_region *region = &memory->regions[i];

		if (ram_region_kind(region) == RAM_HIDDEN)
			continue;
		edges[count++] = ram_region_base(region);
		edges[count++] = ram_region_base(region) + region->size;
	}
	qsort(edges, count, sizeof(*edges), compare);
	return count;
}

/* Appends to the last piece what goes on there, in the guest and in this process. */
static int add(struct vhost_memory *table, gpa_t address, uint64_t size, const uint8_t *host)
{
	struct vhost_memory_region *last = &table->regions[table->count - 1];

	if (table->count > 0 && last->guest_address + last->size == address &&
		last->user_address + last->size == (uintptr_t)host) {
		last->size += size;
		return 0;
	}
	if (table->count == VHOST_MEMORY_MAX)
		return -E2BIG;
	table->regions[table->count++] = (struct vhost_memory_region){
		.guest_address = address, .size = size, .user_address = (uintptr_t)host
	};
	return 0;
}

int vhost_memory_describe(struct vhost_memory *table, const struct guest_memory *memory)
{
	gpa_t edges[MAX_EDGES];
	unsigned count = find_edges(edges, memory);

	table->count = 0;
	table->reserved = 0;
	for (unsigned i = 0; i + 1 < count; i++) {
		struct ram_place place;

		/* Between two edges nothing changes. */
		if (edges[i] == edges[i + 1] || !guest_memory_find(memory, edges[i], &place) ||
			place.read_only)
			continue;
		if (add(table, edges[i], edges[i + 1] - edges[i],
			    place.region->host + place.offset))
			return -E2BIG;
	}
	return 0;
}
