/*
 * Refcounts and the allocator (qcow2, "Host cluster management").
 *
 * A new refcount block lies in the first free cluster of the range it describes, so it counts
 * itself. It, and a new refcount table, are on the medium before anything points to them; both are
 * rare enough to wait for.
 */
#include "block/qcow2.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MAX_FREED 4096

uint64_t qcow2_refblock_load(const struct qcow2 *q, const uint8_t *block, uint64_t index)
{
	switch (q->refcount_bits) {
	case 1: return block[index / 8] >> (index % 8) & 1;
	case 2: return block[index / 4] >> (2 * (index % 4)) & 3;
	case 4: return block[index / 2] >> (4 * (index % 2)) & 15;
	case 8: return block[index];
	case 16: return be16_load(block + 2 * index);
	case 32: return be32_load(block + 4 * index);
	default: return be64_load(block + 8 * index);
	}
}

static void store_bits(uint8_t *byte, unsigned shift, unsigned bits, uint64_t value)
{
	uint8_t mask = (uint8_t)(((1u << bits) - 1) << shift);

	*byte = (uint8_t)((*byte & ~mask) | (value << shift & mask));
}

void qcow2_refblock_store(const struct qcow2 *q, uint8_t *block, uint64_t index, uint64_t refcount)
{
	switch (q->refcount_bits) {
	case 1: store_bits(&block[index / 8], index % 8, 1, refcount); break;
	case 2: store_bits(&block[index / 4], 2 * (index % 4), 2, refcount); break;
	case 4: store_bits(&block[index / 2], 4 * (index % 2), 4, refcount); break;
	case 8: block[index] = (uint8_t)refcount; break;
	case 16: be16_store(block + 2 * index, (uint16_t)refcount); break;
	case 32: be32_store(block + 4 * index, (uint32_t)refcount); break;
	default: be64_store(block + 8 * index, refcount); break;
	}
}

/* The block that counts `cluster`; `*block` is NULL if there is none and all its counts are 0. */
static int get_refblock(struct qcow2 *q, uint64_t cluster, struct qcow2_table **block)
{
	uint64_t index = cluster >> q->refblock_bits;
	uint64_t offset = index < q->reftable_entries ? q->reftable[index] : 0;

	*block = NULL;
	if (offset == 0)
		return 0;
	if (offset & (q->cluster_bytes - 1) || offset >= INT64_MAX - q->cluster_bytes)
		return qcow2_mark_broken(q, "a refcount block", offset);
	return qcow2_tables_get(q, &q->refblocks, offset, block);
}

static uint64_t index_in_block(const struct qcow2 *q, uint64_t cluster)
{
	return cluster & (BIT(q->refblock_bits) - 1);
}

int qcow2_refcount_get(struct qcow2 *q, uint64_t cluster, uint64_t *refcount)
{
	struct qcow2_table *block;
	int result = get_refblock(q, cluster, &block);

	*refcount = 0;
	if (result == 0 && block)
		*refcount = qcow2_refblock_load(q, block->bytes, index_in_block(q, cluster));
	return result;
}

static void mark_refcount(struct qcow2 *q, struct qcow2_table *block, uint64_t cluster)
{
	qcow2_tables_mark(&q->refblocks, block,
		(uint32_t)(index_in_block(q, cluster) * q->refcount_bits / 8),
		q->refcount_bits < 8 ? 1 : q->refcount_bits / 8);
}

/* Nothing refers to the cluster any more. */
static void forget_cluster(struct qcow2 *q, uint64_t cluster)
{
	if (cluster < q->free_hint)
		q->free_hint = cluster;
	/* It may be another's before the next compressed cluster comes. */
	if (q->compressed_next >> q->cluster_bits == cluster)
		q->compressed_next = 0;
	qcow2_tables_forget(&q->l2_tables, cluster << q->cluster_bits);
	qcow2_tables_forget(&q->refblocks, cluster << q->cluster_bits);
	/* Removing cannot fail. */
	qcow2_owners_set(&q->owners, cluster, QCOW2_OWNER_NONE);
}

static int add_one(struct qcow2 *q, uint64_t cluster, int change)
{
	struct qcow2_table *block;
	uint64_t refcount = 0;
	int result = get_refblock(q, cluster, &block);

	if (result)
		return result;
	if (block)
		refcount = qcow2_refblock_load(q, block->bytes, index_in_block(q, cluster));
	/* What is referred to is counted, or the image is corrupt. */
	if (refcount == 0)
		return qcow2_mark_broken(q, "a free cluster", cluster << q->cluster_bits);
	if (change > 0 && refcount == q->max_refcount)
		return -E2BIG;
	refcount += (uint64_t)(int64_t)change;
	qcow2_refblock_store(q, block->bytes, index_in_block(q, cluster), refcount);
	mark_refcount(q, block, cluster);
	if (refcount == 0)
		forget_cluster(q, cluster);
	return 0;
}

int qcow2_refcount_add(struct qcow2 *q, uint64_t cluster, uint64_t count, int change)
{
	int result = qcow2_mark_dirty(q);

	for (uint64_t i = 0; i < count && result == 0; i++)
		result = add_one(q, cluster + i, change);
	return result;
}

static int write_reftable_entry(struct qcow2 *q, uint64_t index)
{
	uint8_t entry[8];

	be64_store(entry, q->reftable[index]);
	return host_file_pwrite(
		q->file, q->header.reftable_offset + index * sizeof(entry), entry, sizeof(entry));
}

/* Makes the block for the range of `cluster`, in that cluster. */
static int create_refblock(struct qcow2 *q, uint64_t cluster)
{
	uint64_t offset = cluster << q->cluster_bits;
	uint64_t index = cluster >> q->refblock_bits;
	struct qcow2_table *block;
	int result;

	if (qcow2_owners_get(&q->owners, cluster) != QCOW2_OWNER_NONE)
		return qcow2_mark_broken(q, "a cluster that is in use but not counted", offset);
	result = qcow2_tables_new(q, &q->refblocks, offset, &block);
	if (result)
		return result;
	qcow2_refblock_store(q, block->bytes, index_in_block(q, cluster), 1);
	result = qcow2_tables_write(q, &q->refblocks);
	if (result == 0)
		result = host_file_flush(q->file);
	if (result == 0)
		result = qcow2_owners_set(&q->owners, cluster, QCOW2_OWNER_REFBLOCK);
	if (result) {
		qcow2_tables_forget(&q->refblocks, offset);
		return result;
	}
	if (q->end <= cluster)
		q->end = cluster + 1;
	if (q->fresh_from <= cluster)
		q->fresh_from = cluster + 1;
	q->reftable[index] = offset;
	result = write_reftable_entry(q, index);
	/* What the medium now holds is not known: nothing may come to depend on it. */
	if (result)
		q->broken = true;
	return result;
}

/* The plan of a larger refcount table: it and the blocks that count it lie beyond all counts. */
struct growth {
	uint64_t first;       /* cluster of the table */
	uint64_t nr_clusters; /* of the table */
	uint64_t nr_blocks;
	uint64_t *table;
	uint64_t nr_entries;
};

static int plan_growth(const struct qcow2 *q, struct growth *growth)
{
	uint64_t per_cluster = q->cluster_bytes / sizeof(uint64_t);
	uint64_t entries = q->reftable_entries + q->reftable_entries / 2 + 1;

	growth->first = q->reftable_entries << q->refblock_bits;
	for (;;) {
		growth->nr_clusters = (entries + per_cluster - 1) / per_cluster;
		growth->nr_blocks = 1;
		while (growth->nr_blocks << q->refblock_bits <
			growth->nr_clusters + growth->nr_blocks)
			growth->nr_blocks++;
		growth->nr_entries = growth->nr_clusters * per_cluster;
		/* Room for one range more, or there would be nothing to allocate from. */
		if (growth->nr_entries > q->reftable_entries + growth->nr_blocks)
			break;
		entries += growth->nr_blocks + 1;
	}
	if (growth->nr_clusters << q->cluster_bits > QCOW2_MAX_REFTABLE_BYTES ||
		(growth->first + growth->nr_clusters + growth->nr_blocks) > QCOW2_MAX_HOST_OFFSET >>
			q->cluster_bits)
		return -EFBIG;
	return 0;
}

static int write_growth_blocks(struct qcow2 *q, const struct growth *growth)
{
	uint64_t counted = growth->nr_clusters + growth->nr_blocks;
	uint8_t *bytes = host_file_memory(q->cluster_bytes);
	int result = 0;

	if (!bytes)
		return -ENOMEM;
	for (uint64_t i = 0; i < growth->nr_blocks && result == 0; i++) {
		uint64_t cluster = growth->first + growth->nr_clusters + i;

		memset(bytes, 0, q->cluster_bytes);
		for (uint64_t j = 0; j < BIT(q->refblock_bits); j++) {
			if ((i << q->refblock_bits) + j < counted)
				qcow2_refblock_store(q, bytes, j, 1);
		}
		growth->table[q->reftable_entries + i] = cluster << q->cluster_bits;
		result = host_file_pwrite(
			q->file, cluster << q->cluster_bits, bytes, q->cluster_bytes);
	}
	free(bytes);
	return result;
}

static int own_range(struct qcow2 *q, uint64_t first, uint64_t count, enum qcow2_owner owner)
{
	int result = 0;

	for (uint64_t i = 0; i < count && result == 0; i++)
		result = qcow2_owners_set(&q->owners, first + i, owner);
	return result;
}

/* Points the header to the new table, then frees the old one. */
static int switch_reftable(struct qcow2 *q, struct growth *growth)
{
	const struct qcow2_header old = q->header;
	int result;

	q->header.reftable_offset = growth->first << q->cluster_bits;
	q->header.reftable_clusters = (uint32_t)growth->nr_clusters;
	result = qcow2_header_write(q);
	if (result == 0)
		result = host_file_flush(q->file);
	if (result) {
		q->header = old;
		q->broken = true;
		return result;
	}
	free(q->reftable);
	q->reftable = growth->table;
	growth->table = NULL;
	q->reftable_entries = growth->nr_entries;
	if (q->end < growth->first + growth->nr_clusters + growth->nr_blocks)
		q->end = growth->first + growth->nr_clusters + growth->nr_blocks;
	if (q->fresh_from < q->end)
		q->fresh_from = q->end;
	return qcow2_refcount_add(
		q, old.reftable_offset >> q->cluster_bits, old.reftable_clusters, -1);
}

static int grow_reftable(struct qcow2 *q)
{
	struct growth growth = { 0 };
	int result = plan_growth(q, &growth);

	if (result)
		return result;
	growth.table = calloc(growth.nr_entries, sizeof(*growth.table));
	if (!growth.table)
		return -ENOMEM;
	memcpy(growth.table, q->reftable, q->reftable_entries * sizeof(*growth.table));
	result = own_range(q, growth.first, growth.nr_clusters, QCOW2_OWNER_REFTABLE);
	if (result == 0)
		result = own_range(q, growth.first + growth.nr_clusters, growth.nr_blocks,
			QCOW2_OWNER_REFBLOCK);
	if (result == 0)
		result = write_growth_blocks(q, &growth);
	if (result == 0)
		result = qcow2_write_table(q, growth.first << q->cluster_bits, growth.table,
			growth.nr_entries, growth.nr_entries);
	if (result == 0)
		result = qcow2_tables_write(q, &q->refblocks);
	if (result == 0)
		result = host_file_flush(q->file);
	if (result == 0)
		result = switch_reftable(q, &growth);
	/* What the medium does not refer to is free as before. */
	if (result && growth.table)
		own_range(q, growth.first, growth.nr_clusters + growth.nr_blocks, QCOW2_OWNER_NONE);
	free(growth.table);
	return result;
}

/* Makes sure that a refcount block counts `cluster`. */
static int cover(struct qcow2 *q, uint64_t cluster)
{
	uint64_t index = cluster >> q->refblock_bits;

	if (index >= q->reftable_entries)
		return grow_reftable(q);
	return q->reftable[index] ? 0 : create_refblock(q, cluster);
}

/*
 * Finds the first free cluster from `from` on, and how many follow it in the same block, at most
 * `want`. Returns 0 with `*count` 0 if the range of `from` has none left.
 */
static int find_free(
	struct qcow2 *q, uint64_t from, uint64_t want, uint64_t *start, uint64_t *count)
{
	uint64_t end = (from | (BIT(q->refblock_bits) - 1)) + 1;
	struct qcow2_table *block;
	int result = cover(q, from);

	*count = 0;
	if (result == 0)
		result = get_refblock(q, from, &block);
	if (result || !block)
		return result;
	for (uint64_t at = from; at < end && *count < want; at++) {
		if (qcow2_refblock_load(q, block->bytes, index_in_block(q, at)) == 0) {
			if (*count == 0)
				*start = at;
			++*count;
		} else if (*count > 0) {
			break;
		}
	}
	return 0;
}

static int claim(struct qcow2 *q, uint64_t start, uint64_t count, enum qcow2_owner owner)
{
	for (uint64_t cluster = start; cluster < start + count; cluster++) {
		enum qcow2_owner had = qcow2_owners_get(&q->owners, cluster);
		struct qcow2_table *block;
		int result;

		/* Only a wrong refcount in the image can lead here; in tests there is none. */
		assert(!q->own_data || had == QCOW2_OWNER_NONE);
		if (had != QCOW2_OWNER_NONE)
			return qcow2_mark_broken(
				q, qcow2_owner_name(had), cluster << q->cluster_bits);
		result = get_refblock(q, cluster, &block);
		if (result || !block)
			return result ? result : -EIO;
		qcow2_refblock_store(q, block->bytes, index_in_block(q, cluster), 1);
		mark_refcount(q, block, cluster);
		if (owner != QCOW2_OWNER_DATA || q->own_data) {
			result = qcow2_owners_set(&q->owners, cluster, owner);
			if (result)
				return result;
		}
	}
	return 0;
}

/* A free run of exactly `want`, which may reach over several blocks. */
static int find_exact(struct qcow2 *q, uint64_t want, uint64_t *start)
{
	uint64_t at = q->free_hint, length = 0;

	while (length < want) {
		uint64_t found, count;
		uint64_t end = (at | (BIT(q->refblock_bits) - 1)) + 1;
		int result = find_free(q, at, want - length, &found, &count);

		if (result)
			return result;
		if (count == 0) {
			at = end;
			length = 0;
			continue;
		}
		if (length > 0 && found == *start + length) {
			length += count;
		} else {
			*start = found;
			length = count;
		}
		at = found + count;
		/* A block made on the way may have taken a cluster of the run. */
		if (length == want) {
			uint64_t refcount = 0;

			for (uint64_t i = 0; i < want && refcount == 0; i++) {
				result = qcow2_refcount_get(q, *start + i, &refcount);
				if (result)
					return result;
			}
			if (refcount)
				length = 0;
		}
	}
	return 0;
}

int qcow2_allocate(struct qcow2 *q, uint64_t want, bool exact, enum qcow2_owner owner,
	uint64_t *offset, uint64_t *got, bool *fresh)
{
	uint64_t start = 0, count = 0;
	int result = q->broken ? -EIO : qcow2_mark_dirty(q);

	if (result == 0 && exact) {
		result = find_exact(q, want, &start);
		count = want;
	}
	while (result == 0 && count == 0) {
		uint64_t from = q->free_hint;

		result = find_free(q, from, want, &start, &count);
		/* Making room may have moved the hint to what it freed. */
		if (result == 0 && count == 0 && q->free_hint == from)
			q->free_hint = (from | (BIT(q->refblock_bits) - 1)) + 1;
	}
	if (result)
		return result;
	if (start + count > QCOW2_MAX_HOST_OFFSET >> q->cluster_bits)
		return -EFBIG;
	result = claim(q, start, count, owner);
	if (result)
		return result;
	if (!exact || start == q->free_hint)
		q->free_hint = start + count;
	*fresh = start >= q->fresh_from;
	if (q->fresh_from < start + count)
		q->fresh_from = start + count;
	if (q->end < start + count)
		q->end = start + count;
	*offset = start << q->cluster_bits;
	*got = count;
	return 0;
}

int qcow2_free_later(struct qcow2 *q, uint64_t offset, uint64_t count)
{
	uint64_t cluster = offset >> q->cluster_bits;
	struct qcow2_freed *last = q->nr_freed ? &q->freed[q->nr_freed - 1] : NULL;

	if (last && last->cluster + last->count == cluster) {
		last->count += count;
		return 0;
	}
	if (q->nr_freed == q->freed_capacity) {
		uint32_t capacity = q->freed_capacity ? 2 * q->freed_capacity : 64;
		struct qcow2_freed *larger = realloc(q->freed, capacity * sizeof(*larger));

		/* Without memory the cluster leaks, which harms nothing. */
		if (!larger)
			return 0;
		q->freed = larger;
		q->freed_capacity = capacity;
	}
	q->freed[q->nr_freed++] = (struct qcow2_freed){ cluster, count };
	return q->nr_freed >= MAX_FREED ? qcow2_write_back(q) : 0;
}

int qcow2_free_now(struct qcow2 *q, uint64_t offset, uint64_t count)
{
	return qcow2_refcount_add(q, offset >> q->cluster_bits, count, -1);
}

int qcow2_free_cluster_later(struct qcow2 *q, const struct qcow2_cluster *cluster)
{
	uint64_t offset, bytes, first, last;

	if (!cluster->compressed)
		return cluster->host ? qcow2_free_later(q, cluster->host, 1) : 0;
	qcow2_compressed_extent(q, cluster->descriptor, &offset, &bytes);
	first = offset >> q->cluster_bits;
	last = (offset + bytes - 1) >> q->cluster_bits;
	q->freed_compressed = true;
	return qcow2_free_later(q, first << q->cluster_bits, last - first + 1);
}
