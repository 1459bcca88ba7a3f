/*
 * The active L1 table and the size of the disk. A new L1 table is written elsewhere, and the header
 * points to it once it is on the medium.
 */
#include "block/qcow2.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int qcow2_write_table(
	struct qcow2 *q, uint64_t offset, const uint64_t *entries, uint64_t nr, uint64_t padded)
{
	uint8_t *bytes = host_file_memory(padded * 8);
	int result;

	if (!bytes)
		return -ENOMEM;
	for (uint64_t i = 0; i < padded; i++)
		be64_store(bytes + 8 * i, i < nr ? entries[i] : 0);
	result = host_file_pwrite(q->file, offset, bytes, padded * 8);
	free(bytes);
	return result;
}

int qcow2_read_table(struct qcow2 *q, uint64_t offset, uint64_t *entries, uint64_t nr)
{
	int result = host_file_pread(q->file, offset, entries, nr * 8);

	for (uint64_t i = 0; i < nr; i++)
		entries[i] = be64_load(&entries[i]);
	return result;
}

static int replace_header(struct qcow2 *q, const struct qcow2_header *header)
{
	struct qcow2_header old = q->header;
	int result;

	q->header = *header;
	result = qcow2_header_write(q);
	if (result == 0)
		result = host_file_flush(q->file);
	if (result) {
		/* Which of the two the medium holds is not known. */
		q->header = old;
		q->broken = true;
	}
	return result;
}

static uint64_t l1_clusters(const struct qcow2 *q, uint32_t entries)
{
	return qcow2_clusters(q, (uint64_t)entries * 8);
}

/* Writes `l1` to new clusters, and makes it the active table. Frees the old one's. */
static int move_l1(struct qcow2 *q, const uint64_t *l1, uint32_t entries, uint64_t size)
{
	uint64_t clusters = l1_clusters(q, entries), offset, got;
	struct qcow2_header header;
	struct qcow2_header old;
	bool fresh;
	int result = qcow2_allocate(q, clusters, true, QCOW2_OWNER_L1, &offset, &got, &fresh);

	if (result)
		return result;
	result = qcow2_write_table(q, offset, l1, entries, clusters << q->cluster_bits >> 3);
	if (result == 0)
		result = qcow2_tables_write(q, &q->refblocks);
	if (result == 0)
		result = host_file_flush(q->file);
	if (result) {
		qcow2_free_now(q, offset, clusters);
		return result;
	}
	old = header = q->header;
	header.l1_offset = offset;
	header.l1_entries = entries;
	header.size = size;
	result = replace_header(q, &header);
	/* Should that fail, the old table leaks. */
	if (result == 0 && old.l1_entries > 0)
		qcow2_refcount_add(
			q, old.l1_offset >> q->cluster_bits, l1_clusters(q, old.l1_entries), -1);
	return result;
}

int qcow2_grow_l1(struct qcow2 *q, uint32_t entries)
{
	uint32_t had = q->header.l1_entries;
	uint64_t *l1;
	int result;

	if (entries <= had)
		return 0;
	l1 = realloc(q->l1, (entries + UINT64_C(1)) * sizeof(*l1));
	if (!l1)
		return -ENOMEM;
	q->l1 = l1;
	memset(l1 + had, 0, (entries - had) * sizeof(*l1));
	/* What the table refers to is on the medium before the table is. */
	result = qcow2_write_back(q);
	return result ? result : move_l1(q, l1, entries, q->header.size);
}

int qcow2_replace_l1(struct qcow2 *q, uint32_t entries, uint64_t size)
{
	int result = move_l1(q, q->l1, entries, size);

	if (result)
		return result;
	q->l1_dirty_from = q->l1_dirty_to = 0;
	q->image->size = align_up(size, 512);
	return 0;
}

static int set_size(struct qcow2 *q, uint64_t bytes)
{
	struct qcow2_header header;
	int result;

	pthread_mutex_lock(&q->lock);
	result = qcow2_write_back(q);
	header = q->header;
	header.size = bytes;
	if (result == 0)
		result = replace_header(q, &header);
	pthread_mutex_unlock(&q->lock);
	if (result == 0)
		q->image->size = bytes;
	return result;
}

/* What becomes visible reads as zeros, whatever the last cluster or the backing file holds there.
 */
static int grow(struct qcow2 *q, uint64_t bytes)
{
	uint64_t per_l1 = q->cluster_bytes << q->l2_bits;
	uint64_t entries = bytes / per_l1 + (bytes % per_l1 != 0);
	uint64_t old = q->image->size, to = align_up(old, q->cluster_bytes);
	int result;

	if (entries * 8 > QCOW2_MAX_L1_BYTES)
		return -EFBIG;
	pthread_mutex_lock(&q->lock);
	result = qcow2_grow_l1(q, (uint32_t)entries);
	pthread_mutex_unlock(&q->lock);
	if (q->image->backing && q->image->backing->size > to)
		to = q->image->backing->size;
	if (to > bytes)
		to = bytes;
	if (result == 0 && to > old)
		result = qcow2_zero(q->image, old, to - old, false);
	return result ? result : set_size(q, bytes);
}

static int shrink(struct qcow2 *q, uint64_t bytes)
{
	struct qcow2_range range = { .exclusive = true, .last = UINT64_MAX };
	uint64_t first = qcow2_clusters(q, bytes), end = qcow2_clusters(q, q->image->size);
	int result;

	qcow2_range_lock(q, &range);
	result = set_size(q, bytes);
	if (result == 0 && first < end)
		result = qcow2_drop_clusters(q, first, end - 1, true);
	qcow2_range_unlock(q, &range);
	return result;
}

int qcow2_resize(struct image *image, uint64_t bytes, struct error *err)
{
	struct qcow2 *q = image->state;
	int result;

	if (q->broken)
		return -EIO;
	if (bytes % 512 != 0 || bytes > INT64_MAX)
		return error_set(err, EXIT_CODE_USAGE,
			"the size of a qcow2 image is a multiple of 512 bytes, which %llu is not",
			(unsigned long long)bytes);
	result = bytes >= image->size ? grow(q, bytes) : shrink(q, bytes);
	if (result == -EFBIG)
		error_set(err, EXIT_CODE_CONFIG,
			"'%s' cannot hold a disk of %llu bytes with clusters of %llu; convert it "
			"to larger "
			"clusters",
			image->path, (unsigned long long)bytes,
			(unsigned long long)q->cluster_bytes);
	return result ? result : image_flush(image);
}
