/*
 * Repairing a qcow2 image: references that point nowhere are dropped, then a new refcount table and
 * blocks are made from the references, behind all that is used. The header points to them once they
 * are on the medium; until then the image is what it was, but for the dropped references.
 *
 * Data that was lost stays lost: what was dropped reads as the backing file, or as zeros.
 */
#include "block/qcow2_references.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Where the new structures go. */
struct plan {
	uint64_t first;       /* cluster: the table, then the blocks */
	uint64_t nr_clusters; /* of the table */
	uint64_t nr_blocks;
};

static void make_plan(const struct qcow2_references *references, struct plan *plan)
{
	const struct qcow2 *q = references->q;
	uint64_t per_cluster = q->cluster_bytes / 8, end = references->nr_clusters;
	uint64_t before;

	while (end > 0 && references->counts[end - 1] == 0)
		end--;
	*plan = (struct plan){ .first = end, .nr_clusters = 1, .nr_blocks = 1 };
	do {
		uint64_t total = end + plan->nr_clusters + plan->nr_blocks;

		before = plan->nr_blocks;
		plan->nr_blocks = (total + BIT(q->refblock_bits) - 1) >> q->refblock_bits;
		plan->nr_clusters = (plan->nr_blocks + per_cluster - 1) / per_cluster;
	} while (plan->nr_blocks != before);
}

static int fill_block(const struct qcow2_references *references, const struct plan *plan,
	uint64_t index, uint8_t *block)
{
	const struct qcow2 *q = references->q;
	uint64_t per_block = BIT(q->refblock_bits);
	uint64_t own_end = plan->first + plan->nr_clusters + plan->nr_blocks;

	memset(block, 0, q->cluster_bytes);
	for (uint64_t i = 0; i < per_block; i++) {
		uint64_t cluster = (index << q->refblock_bits) + i;
		uint64_t count =
			cluster < plan->first ? references->counts[cluster] : cluster < own_end;

		if (count > q->max_refcount)
			return -E2BIG;
		qcow2_refblock_store(q, block, i, count);
	}
	return 0;
}

static int write_blocks(
	const struct qcow2_references *references, const struct plan *plan, uint64_t *table)
{
	struct qcow2 *q = references->q;
	uint8_t *block = host_file_memory(q->cluster_bytes);
	int result = block ? 0 : -ENOMEM;

	for (uint64_t i = 0; i < plan->nr_blocks && result == 0; i++) {
		table[i] = (plan->first + plan->nr_clusters + i) << q->cluster_bits;
		result = fill_block(references, plan, i, block);
		if (result == 0)
			result = host_file_pwrite(q->file, table[i], block, q->cluster_bytes);
	}
	free(block);
	return result;
}

static int rebuild(const struct qcow2_references *references)
{
	struct qcow2 *q = references->q;
	struct plan plan;
	uint64_t *table;
	int result;

	make_plan(references, &plan);
	if (plan.nr_clusters << q->cluster_bits > QCOW2_MAX_REFTABLE_BYTES)
		return -EFBIG;
	table = calloc(plan.nr_blocks, sizeof(*table));
	if (!table)
		return -ENOMEM;
	result = write_blocks(references, &plan, table);
	if (result == 0)
		result = qcow2_write_table(q, plan.first << q->cluster_bits, table, plan.nr_blocks,
			plan.nr_clusters << q->cluster_bits >> 3);
	if (result == 0)
		result = host_file_flush(q->file);
	free(table);
	if (result)
		return result;
	q->header.reftable_offset = plan.first << q->cluster_bits;
	q->header.reftable_clusters = (uint32_t)plan.nr_clusters;
	q->header.incompatible &= ~(QCOW2_INCOMPATIBLE_DIRTY | QCOW2_INCOMPATIBLE_CORRUPT);
	result = qcow2_header_write(q);
	return result ? result : host_file_flush(q->file);
}

static int mend(struct qcow2 *q, struct qcow2_check *check, struct error *err)
{
	struct qcow2_references references = { .q = q, .check = check, .mend = true };
	int result = qcow2_references_count(&references, err);

	if (result == 0)
		result = qcow2_references_flags(&references);
	if (result == 0)
		result = rebuild(&references);
	qcow2_references_finish(&references);
	return result;
}

int qcow2_repair(struct image *image, struct qcow2_check *check, struct error *err)
{
	struct qcow2 *q = image->state;
	struct qcow2_check before = *check, after = { 0 };
	int result = qcow2_check(image, &before, err);

	if (result == 0) {
		pthread_mutex_lock(&q->lock);
		result = mend(q, &after, err);
		q->broken = false;
		q->lazy_dirty = false;
		q->nr_freed = 0;
		q->l1_dirty_from = q->l1_dirty_to = 0;
		if (result == 0)
			result = qcow2_load_tables(q, err);
		pthread_mutex_unlock(&q->lock);
	}
	*check = before;
	if (result)
		error_set_errno(err, EXIT_CODE_HOST, -result, "cannot repair '%s'", image->path);
	return result;
}
