/*
 * Checking a qcow2 image: its refcounts and "copied" flags against its references.
 */
#include "block/qcow2_references.h"

#include <errno.h>
#include <stdlib.h>

static bool count_refcount_structures(struct qcow2_references *references)
{
	struct qcow2 *q = references->q;
	bool sound = qcow2_references_add(references, q->header.reftable_offset,
		q->reftable_entries * 8, "the refcount table");

	for (uint64_t i = 0; i < q->reftable_entries; i++) {
		if (q->reftable[i] == 0)
			continue;
		if (q->reftable[i] & (q->cluster_bytes - 1)) {
			references->check->corruptions++;
			qcow2_report(references, "refcount block %llu is at no cluster",
				(unsigned long long)i);
			sound = false;
			continue;
		}
		sound &= qcow2_references_add(
			references, q->reftable[i], q->cluster_bytes, "a refcount block");
	}
	return sound;
}

static void compare(struct qcow2_references *references, uint64_t cluster, uint64_t refcount)
{
	uint32_t count = references->counts[cluster];
	unsigned long long offset = cluster << references->q->cluster_bits;

	if (refcount == count)
		return;
	if (refcount > count) {
		references->check->leaks++;
		qcow2_report(references,
			"the cluster at offset %#llx is counted %llu times but used %u", offset,
			(unsigned long long)refcount, count);
		return;
	}
	references->check->corruptions++;
	qcow2_report(references, "the cluster at offset %#llx is used %u times but counted %llu",
		offset, count, (unsigned long long)refcount);
}

static int compare_all(struct qcow2_references *references)
{
	struct qcow2 *q = references->q;
	uint64_t per_block = BIT(q->refblock_bits);
	uint8_t *block = host_file_memory(q->cluster_bytes);
	int result = block ? 0 : -ENOMEM;

	for (uint64_t first = 0; first < references->nr_clusters && result == 0;
		first += per_block) {
		uint64_t index = first >> q->refblock_bits;
		uint64_t offset = index < q->reftable_entries ? q->reftable[index] : 0;
		uint64_t end = first + per_block;

		if (end > references->nr_clusters)
			end = references->nr_clusters;
		if (offset & (q->cluster_bytes - 1))
			continue;
		if (offset)
			result = host_file_pread(q->file, offset, block, q->cluster_bytes);
		else if (bytes_are_zero(
				 &references->counts[first], (end - first) * sizeof(uint32_t)))
			continue;
		for (uint64_t cluster = first; cluster < end && result == 0; cluster++)
			compare(references, cluster,
				offset ? qcow2_refblock_load(q, block, cluster & (per_block - 1))
				       : 0);
	}
	free(block);
	return result;
}

static void find_end(struct qcow2_references *references)
{
	struct qcow2 *q = references->q;
	uint64_t end = references->nr_clusters;

	while (end > 0 && references->counts[end - 1] == 0)
		end--;
	references->check->end_offset = end << q->cluster_bits;
	references->check->total_clusters = qcow2_clusters(q, q->header.size);
}

int qcow2_check(struct image *image, struct qcow2_check *check, struct error *err)
{
	struct qcow2 *q = image->state;
	struct qcow2_references references = { .q = q, .check = check };
	int result;

	pthread_mutex_lock(&q->lock);
	check->dirty = q->header.incompatible & QCOW2_INCOMPATIBLE_DIRTY;
	check->marked_corrupt = q->header.incompatible & QCOW2_INCOMPATIBLE_CORRUPT;
	result = q->broken ? 0 : qcow2_write_back(q);
	if (q->overlapping) {
		check->corruptions++;
		qcow2_report(&references, "metadata lies over metadata");
	}
	if (result == 0)
		result = qcow2_references_count(&references, err);
	if (result == 0) {
		count_refcount_structures(&references);
		result = compare_all(&references);
	}
	if (result == 0)
		result = qcow2_references_flags(&references);
	if (result == 0)
		find_end(&references);
	qcow2_references_finish(&references);
	pthread_mutex_unlock(&q->lock);
	return result;
}
