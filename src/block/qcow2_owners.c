/*
 * Owners of clusters: open addressing with tombstones (owner NONE).
 */
#include "block/qcow2_owners.h"

#include <errno.h>
#include <stdlib.h>

#define MIN_CAPACITY 64

/* Cluster numbers are below 2^47, so that a slot is never 0: slots hold number + 1. */
static uint64_t slot_key(uint64_t slot)
{
	return slot >> 8;
}

static uint64_t start_of(const struct qcow2_owners *owners, uint64_t cluster)
{
	return ((cluster + 1) * UINT64_C(0x9e3779b97f4a7c15) >> 20) & (owners->capacity - 1);
}

void qcow2_owners_finish(struct qcow2_owners *owners)
{
	free(owners->slots);
	*owners = (struct qcow2_owners){ 0 };
}

static uint64_t *find(const struct qcow2_owners *owners, uint64_t cluster)
{
	uint64_t at;

	if (!owners->slots)
		return NULL;
	for (at = start_of(owners, cluster); owners->slots[at];
		at = (at + 1) & (owners->capacity - 1)) {
		if (slot_key(owners->slots[at]) == cluster + 1)
			return &owners->slots[at];
	}
	return NULL;
}

enum qcow2_owner qcow2_owners_get(const struct qcow2_owners *owners, uint64_t cluster)
{
	uint64_t *slot = find(owners, cluster);

	return slot ? (enum qcow2_owner)(*slot & 0xff) : QCOW2_OWNER_NONE;
}

static void insert(struct qcow2_owners *owners, uint64_t slot)
{
	uint64_t at = start_of(owners, slot_key(slot) - 1);

	while (owners->slots[at])
		at = (at + 1) & (owners->capacity - 1);
	owners->slots[at] = slot;
	owners->used++;
}

static int rehash(struct qcow2_owners *owners)
{
	uint64_t live = owners->used - owners->removed;
	struct qcow2_owners larger = { .capacity = MIN_CAPACITY };

	while (larger.capacity < 4 * (live + 1))
		larger.capacity *= 2;
	larger.slots = calloc(larger.capacity, sizeof(*larger.slots));
	if (!larger.slots)
		return -ENOMEM;
	for (uint64_t i = 0; i < owners->capacity; i++) {
		if (owners->slots[i] & 0xff)
			insert(&larger, owners->slots[i]);
	}
	free(owners->slots);
	*owners = larger;
	return 0;
}

int qcow2_owners_set(struct qcow2_owners *owners, uint64_t cluster, enum qcow2_owner owner)
{
	uint64_t *slot = find(owners, cluster);

	if (slot) {
		bool had = *slot & 0xff;

		owners->removed += (had && owner == QCOW2_OWNER_NONE);
		owners->removed -= (!had && owner != QCOW2_OWNER_NONE);
		*slot = (cluster + 1) << 8 | owner;
		return 0;
	}
	if (owner == QCOW2_OWNER_NONE)
		return 0;
	if (2 * (owners->used + 1) > owners->capacity) {
		int result = rehash(owners);

		if (result)
			return result;
	}
	insert(owners, (cluster + 1) << 8 | owner);
	return 0;
}

const char *qcow2_owner_name(enum qcow2_owner owner)
{
	static const char *const names[] = { "nothing", "the header", "the refcount table",
		"a refcount block", "an L1 table", "an L2 table", "the snapshot table", "data" };

	return names[owner];
}
