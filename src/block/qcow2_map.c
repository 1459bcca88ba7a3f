/*
 * From guest clusters to host clusters: L1 and L2 tables (qcow2, "Cluster mapping", "Extended L2
 * Entries"), and writing cached metadata back in order.
 */
#include "block/qcow2.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool is_host_cluster(const struct qcow2 *q, uint64_t offset)
{
	return (offset & (q->cluster_bytes - 1)) == 0 && offset < QCOW2_MAX_HOST_OFFSET;
}

int qcow2_cluster_decode(
	struct qcow2 *q, uint64_t entry, uint64_t bitmap, struct qcow2_cluster *cluster)
{
	*cluster = (struct qcow2_cluster){ 0 };
	if (entry & QCOW2_ENTRY_COMPRESSED) {
		cluster->compressed = true;
		cluster->descriptor = entry & ~(QCOW2_ENTRY_COMPRESSED | QCOW2_ENTRY_COPIED);
		return 0;
	}
	cluster->host = entry & QCOW2_ENTRY_OFFSET;
	cluster->owned = cluster->host && (entry & QCOW2_ENTRY_COPIED);
	if (!is_host_cluster(q, cluster->host))
		return -EIO;
	if (q->nr_subclusters == 32) {
		cluster->alloc = (uint32_t)bitmap;
		cluster->zero = (uint32_t)(bitmap >> 32);
		return (cluster->alloc & cluster->zero) || (cluster->alloc && !cluster->host) ? -EIO
											      : 0;
	}
	if (entry & QCOW2_ENTRY_ZERO) {
		cluster->zero = 1;
		return q->header.version < 3 ? -EIO : 0;
	}
	cluster->alloc = cluster->host != 0;
	return 0;
}

static void encode(const struct qcow2 *q, const struct qcow2_cluster *cluster, uint64_t *entry,
	uint64_t *bitmap)
{
	*bitmap = 0;
	if (cluster->compressed) {
		*entry = cluster->descriptor | QCOW2_ENTRY_COMPRESSED;
		return;
	}
	*entry = cluster->host | (cluster->host && cluster->owned ? QCOW2_ENTRY_COPIED : 0);
	if (q->nr_subclusters == 32)
		*bitmap = (uint64_t)cluster->zero << 32 | cluster->alloc;
	else if (cluster->zero)
		*entry |= QCOW2_ENTRY_ZERO;
}

/* The L2 table of a guest cluster; NULL if there is none. */
static int get_l2(struct qcow2 *q, uint64_t index, bool cached_only, struct qcow2_table **table)
{
	uint64_t l1_index = index >> q->l2_bits;
	uint64_t offset;

	*table = NULL;
	if (l1_index >= q->header.l1_entries)
		return 0;
	offset = q->l1[l1_index] & QCOW2_ENTRY_OFFSET;
	if (offset == 0)
		return 0;
	if (!is_host_cluster(q, offset))
		return qcow2_mark_broken(q, "an L2 table", offset);
	if (cached_only) {
		*table = qcow2_tables_peek(&q->l2_tables, offset);
		return *table ? 0 : -EAGAIN;
	}
	return qcow2_tables_get(q, &q->l2_tables, offset, table);
}

static uint8_t *entry_of(const struct qcow2 *q, struct qcow2_table *table, uint64_t index)
{
	return table->bytes + (index & (BIT(q->l2_bits) - 1)) * q->entry_bytes;
}

int qcow2_cluster_get(
	struct qcow2 *q, uint64_t index, bool cached_only, struct qcow2_cluster *cluster)
{
	struct qcow2_table *table;
	const uint8_t *entry;
	int result = get_l2(q, index, cached_only, &table);

	*cluster = (struct qcow2_cluster){ 0 };
	if (result || !table)
		return result;
	entry = entry_of(q, table, index);
	result = qcow2_cluster_decode(
		q, be64_load(entry), q->entry_bytes == 16 ? be64_load(entry + 8) : 0, cluster);
	return result ? qcow2_mark_broken(q, "a cluster", be64_load(entry) & QCOW2_ENTRY_OFFSET)
		      : 0;
}

static void set_l1(struct qcow2 *q, uint32_t index, uint64_t offset)
{
	q->l1[index] = offset | QCOW2_ENTRY_COPIED;
	if (q->l1_dirty_from == q->l1_dirty_to) {
		q->l1_dirty_from = index;
		q->l1_dirty_to = index + 1;
		return;
	}
	if (index < q->l1_dirty_from)
		q->l1_dirty_from = index;
	if (index >= q->l1_dirty_to)
		q->l1_dirty_to = index + 1;
}

/* Allocates the L2 table of `l1_index`, a copy of the one at `old` unless that is 0. */
static int new_l2(struct qcow2 *q, uint32_t l1_index, uint64_t old, struct qcow2_table **table)
{
	struct qcow2_table *source;
	uint8_t *copy = NULL;
	uint64_t offset, got;
	bool fresh;
	int result;

	if (old) {
		copy = malloc(q->cluster_bytes);
		if (!copy)
			return -ENOMEM;
		result = qcow2_tables_get(q, &q->l2_tables, old, &source);
		if (result)
			goto out;
		memcpy(copy, source->bytes, q->cluster_bytes);
	}
	result = qcow2_allocate(q, 1, true, QCOW2_OWNER_L2, &offset, &got, &fresh);
	if (result)
		goto out;
	result = qcow2_tables_new(q, &q->l2_tables, offset, table);
	if (result) {
		qcow2_free_now(q, offset, 1);
		goto out;
	}
	if (copy)
		memcpy((*table)->bytes, copy, q->cluster_bytes);
	set_l1(q, l1_index, offset);
	if (old)
		result = qcow2_free_later(q, old, 1);
out:
	free(copy);
	return result;
}

static int get_l2_to_write(struct qcow2 *q, uint64_t index, struct qcow2_table **table)
{
	uint64_t l1_index = index >> q->l2_bits;
	uint64_t entry, offset;
	int result;

	if (l1_index >= q->header.l1_entries)
		return -EINVAL;
	entry = q->l1[l1_index];
	offset = entry & QCOW2_ENTRY_OFFSET;
	if (offset && !is_host_cluster(q, offset))
		return qcow2_mark_broken(q, "an L2 table", offset);
	if (offset == 0 || !(entry & QCOW2_ENTRY_COPIED)) {
		result = new_l2(q, (uint32_t)l1_index, offset, table);
		if (result)
			return result;
		/* Freeing the old one may have made room in the cache. */
		offset = q->l1[l1_index] & QCOW2_ENTRY_OFFSET;
	}
	return qcow2_tables_get(q, &q->l2_tables, offset, table);
}

int qcow2_cluster_set(struct qcow2 *q, uint64_t index, const struct qcow2_cluster *cluster)
{
	struct qcow2_table *table;
	uint64_t entry, bitmap;
	uint8_t *at;
	int result = q->broken ? -EIO : get_l2_to_write(q, index, &table);

	if (result)
		return result;
	encode(q, cluster, &entry, &bitmap);
	at = entry_of(q, table, index);
	be64_store(at, entry);
	if (q->entry_bytes == 16)
		be64_store(at + 8, bitmap);
	qcow2_tables_mark(&q->l2_tables, table, (uint32_t)(at - table->bytes), q->entry_bytes);
	return 0;
}

void qcow2_compressed_extent(
	const struct qcow2 *q, uint64_t descriptor, uint64_t *offset, uint64_t *bytes)
{
	unsigned shift = 62 - (q->cluster_bits - 8);
	uint64_t sectors = (descriptor >> shift & (BIT(q->cluster_bits - 8) - 1)) + 1;

	*offset = descriptor & (BIT(shift) - 1);
	*bytes = sectors * 512 - (*offset & 511);
}

static enum qcow2_run_kind kind_of(const struct qcow2_cluster *cluster, unsigned subcluster)
{
	if (cluster->compressed)
		return QCOW2_RUN_COMPRESSED;
	if (cluster->alloc & (1u << subcluster))
		return QCOW2_RUN_DATA;
	return cluster->zero & (1u << subcluster) ? QCOW2_RUN_ZERO : QCOW2_RUN_BACKING;
}

/* Extends the run by the subclusters of one cluster, from `at` on; false where it ends. */
static bool extend_run(const struct qcow2 *q, const struct qcow2_cluster *cluster, uint64_t at,
	struct qcow2_run *run)
{
	uint64_t in_cluster = at & (q->cluster_bytes - 1);
	unsigned subcluster = (unsigned)(in_cluster / q->subcluster_bytes);

	for (; subcluster < q->nr_subclusters; subcluster++) {
		uint64_t end = (uint64_t)(subcluster + 1) * q->subcluster_bytes;

		if (kind_of(cluster, subcluster) != run->kind)
			return false;
		if (run->kind == QCOW2_RUN_DATA &&
			(cluster->owned != run->owned ||
				cluster->host + in_cluster != run->host + run->bytes))
			return false;
		run->bytes += end - in_cluster;
		in_cluster = end;
	}
	/* Two compressed clusters are two runs. */
	return run->kind != QCOW2_RUN_COMPRESSED;
}

static void start_run(const struct qcow2 *q, const struct qcow2_cluster *cluster, uint64_t offset,
	struct qcow2_run *run)
{
	uint64_t in_cluster = offset & (q->cluster_bytes - 1);

	run->kind = kind_of(cluster, (unsigned)(in_cluster / q->subcluster_bytes));
	run->owned = cluster->owned;
	run->host = cluster->host + in_cluster;
	run->descriptor = cluster->descriptor;
	run->bytes = 0;
}

int qcow2_find_run(
	struct qcow2 *q, uint64_t offset, uint64_t bytes, bool cached_only, struct qcow2_run *run)
{
	uint64_t l2_span = q->cluster_bytes << q->l2_bits;
	uint64_t index = offset >> q->cluster_bits;
	struct qcow2_cluster cluster;
	struct qcow2_table *table;
	int result = get_l2(q, index, cached_only, &table);

	if (result)
		return result;
	if (!table) {
		/* The rest of the L2 table's span. */
		*run = (struct qcow2_run){ .kind = QCOW2_RUN_BACKING,
			.bytes = l2_span - (offset & (l2_span - 1)) };
	} else {
		uint64_t at = offset;

		result = qcow2_cluster_get(q, index, cached_only, &cluster);
		if (result)
			return result;
		start_run(q, &cluster, offset, run);
		while (extend_run(q, &cluster, at, run) && run->bytes < bytes) {
			at = offset + run->bytes;
			index = at >> q->cluster_bits;
			/* The next L2 table is another run's. */
			if ((index & (BIT(q->l2_bits) - 1)) == 0)
				break;
			result = qcow2_cluster_get(q, index, cached_only, &cluster);
			if (result)
				return result;
		}
	}
	if (run->bytes > bytes)
		run->bytes = bytes;
	return 0;
}

static int write_l1(struct qcow2 *q)
{
	/* Whole sectors, which the medium keeps or loses as one. */
	uint32_t from = (uint32_t)align_down(q->l1_dirty_from, 64);
	uint32_t to = (uint32_t)align_up(q->l1_dirty_to, 64);
	int result;

	if (from == to)
		return 0;
	if (to > q->header.l1_entries)
		to = q->header.l1_entries;
	result = qcow2_write_table(q, q->header.l1_offset + from * sizeof(uint64_t), q->l1 + from,
		to - from, to - from);
	if (result == 0)
		q->l1_dirty_from = q->l1_dirty_to = 0;
	return result;
}

static void discard_if_free(struct qcow2 *q, const struct qcow2_freed *freed)
{
	uint64_t refcount;

	for (uint64_t i = 0; i < freed->count; i++) {
		uint64_t first = i;

		while (i < freed->count &&
			qcow2_refcount_get(q, freed->cluster + i, &refcount) == 0 && refcount == 0)
			i++;
		/* Best effort: what the host cannot take back it keeps. */
		if (i > first)
			host_file_discard(q->file, (freed->cluster + first) << q->cluster_bits,
				(i - first) << q->cluster_bits);
	}
}

/* Nothing on the medium refers to these any more. */
static int give_up_freed(struct qcow2 *q)
{
	struct qcow2_freed *freed = q->freed;
	uint32_t nr_freed = q->nr_freed;
	int result = 0;

	q->freed = NULL;
	q->nr_freed = q->freed_capacity = 0;
	if (q->freed_compressed)
		qcow2_forget_decompressed(q);
	q->freed_compressed = false;
	for (uint32_t i = 0; i < nr_freed && result == 0; i++) {
		result = qcow2_refcount_add(q, freed[i].cluster, freed[i].count, -1);
		if (result == 0 && q->discard)
			discard_if_free(q, &freed[i]);
	}
	free(freed);
	return result;
}

/* Readers of the image look for a cluster's data inside the file. */
static int extend_file(struct qcow2 *q)
{
	uint64_t end = q->end << q->cluster_bits;

	if (q->file->is_block_device || q->file->size >= end)
		return 0;
	return host_file_resize(q->file, end);
}

int qcow2_write_back(struct qcow2 *q)
{
	bool l1_dirty = q->l1_dirty_from != q->l1_dirty_to;
	bool l2_dirty = q->l2_tables.nr_dirty > 0;
	int result;

	if (q->image->read_only)
		return 0;
	result = q->broken ? -EIO : extend_file(q);
	if (result)
		return result;
	if (!l1_dirty && !l2_dirty && q->nr_freed == 0)
		return q->lazy_dirty ? 0 : qcow2_tables_write(q, &q->refblocks);
	if (!q->lazy_dirty)
		result = qcow2_tables_write(q, &q->refblocks);
	if (result == 0)
		result = host_file_flush(q->file);
	if (result == 0 && l2_dirty)
		result = qcow2_tables_write(q, &q->l2_tables);
	if (result == 0 && l2_dirty && l1_dirty)
		result = host_file_flush(q->file);
	if (result == 0 && l1_dirty)
		result = write_l1(q);
	if (result == 0 && q->nr_freed > 0) {
		result = host_file_flush(q->file);
		if (result == 0)
			result = give_up_freed(q);
	}
	return result;
}
