/*
 * Zeros and discards. Version 3 has a flag for clusters (and subclusters) that read as zeros; in
 * version 2 a cluster reads as zeros only if it is not allocated and there is nothing behind it.
 */
#include "block/qcow2.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static uint32_t all_subclusters(const struct qcow2 *q)
{
	return q->nr_subclusters == 32 ? ~0u : 1u;
}

static bool has_backing(const struct qcow2 *q, uint64_t index)
{
	return q->image->backing && index << q->cluster_bits < q->image->backing->size;
}

/* What the cluster becomes when it is to read as zeros. False: data must be written instead. */
static bool zeroed(const struct qcow2 *q, uint64_t index, const struct qcow2_cluster *old,
	bool unmap, struct qcow2_cluster *cluster)
{
	*cluster = (struct qcow2_cluster){ 0 };
	if (q->header.version < 3)
		return !has_backing(q, index);
	cluster->zero = all_subclusters(q);
	if (old->owned && !unmap) {
		cluster->host = old->host;
		cluster->owned = true;
	}
	return true;
}

static bool same(const struct qcow2_cluster *a, const struct qcow2_cluster *b)
{
	return a->compressed == b->compressed && a->host == b->host && a->alloc == b->alloc &&
	       a->zero == b->zero && (a->host == 0 || a->owned == b->owned);
}

static int write_zeros(struct qcow2 *q, uint64_t offset, uint64_t bytes)
{
	char *zeros = calloc(1, bytes);
	struct iovec iov = { zeros, bytes };
	int result;

	if (!zeros)
		return -ENOMEM;
	result = qcow2_write_held(q, offset, (struct buffer){ .iov = &iov, .nr_iov = 1 }, bytes);
	free(zeros);
	return result;
}

static int zero_cluster(struct qcow2 *q, uint64_t index, bool unmap)
{
	struct qcow2_cluster old, cluster;
	bool by_mapping = false;
	int result;

	pthread_mutex_lock(&q->lock);
	result = qcow2_cluster_get(q, index, false, &old);
	if (result == 0)
		by_mapping = zeroed(q, index, &old, unmap, &cluster);
	if (result == 0 && by_mapping && !same(&old, &cluster)) {
		result = qcow2_cluster_set(q, index, &cluster);
		if (result == 0 && (old.compressed || old.host != cluster.host))
			result = qcow2_free_cluster_later(q, &old);
	}
	pthread_mutex_unlock(&q->lock);
	if (result == 0 && !by_mapping)
		result = write_zeros(q, index << q->cluster_bits, q->cluster_bytes);
	return result;
}

static int discard_cluster(struct qcow2 *q, uint64_t index, bool expose)
{
	struct qcow2_cluster old, cluster = { 0 };
	int result;

	pthread_mutex_lock(&q->lock);
	result = qcow2_cluster_get(q, index, false, &old);
	if (result)
		goto out;
	/* What the backing file holds there must not show through. */
	if (!expose && has_backing(q, index)) {
		if (q->header.version < 3)
			goto out;
		cluster.zero = all_subclusters(q);
	}
	if (same(&old, &cluster))
		goto out;
	result = qcow2_cluster_set(q, index, &cluster);
	if (result == 0)
		result = qcow2_free_cluster_later(q, &old);
out:
	pthread_mutex_unlock(&q->lock);
	return result;
}

/* Part of a cluster: flags of whole subclusters would be possible, but such requests are rare. */
static int zero_part(struct qcow2 *q, uint64_t offset, uint64_t bytes)
{
	bool is_zero;

	pthread_mutex_lock(&q->lock);
	is_zero = qcow2_reads_as_zeros(q, offset, bytes);
	pthread_mutex_unlock(&q->lock);
	return is_zero ? 0 : write_zeros(q, offset, bytes);
}

/* How many bytes at `offset` have no L2 table and nothing behind them. */
static uint64_t empty_span(struct qcow2 *q, uint64_t offset, uint64_t bytes)
{
	uint64_t index = offset >> q->cluster_bits;
	struct qcow2_run run;
	int result;

	if (has_backing(q, index))
		return 0;
	pthread_mutex_lock(&q->lock);
	result = qcow2_find_run(q, offset, bytes, false, &run);
	pthread_mutex_unlock(&q->lock);
	if (result || run.kind != QCOW2_RUN_BACKING)
		return 0;
	return run.bytes;
}

static int zero_some(struct qcow2 *q, uint64_t offset, uint64_t bytes, bool unmap, uint64_t *done)
{
	uint64_t in_cluster = offset & (q->cluster_bytes - 1);

	*done = empty_span(q, offset, bytes);
	if (*done > 0)
		return 0;
	*done = q->cluster_bytes - in_cluster;
	if (*done > bytes)
		*done = bytes;
	/* The last cluster of the disk may be a part. */
	if (in_cluster == 0 && (*done == q->cluster_bytes || offset + *done == q->image->size))
		return zero_cluster(q, offset >> q->cluster_bits, unmap);
	return zero_part(q, offset, *done);
}

int qcow2_zero(struct image *image, uint64_t offset, uint64_t bytes, bool unmap)
{
	struct qcow2 *q = image->state;
	struct qcow2_range range = { .first = offset >> q->cluster_bits,
		.last = (offset + bytes - 1) >> q->cluster_bits,
		.exclusive = true };
	int result = 0;

	qcow2_range_lock(q, &range);
	while (bytes > 0 && result == 0) {
		uint64_t done;

		result = zero_some(q, offset, bytes, unmap, &done);
		offset += done;
		bytes -= done;
	}
	qcow2_range_unlock(q, &range);
	return result;
}

int qcow2_drop_clusters(struct qcow2 *q, uint64_t first, uint64_t last, bool expose)
{
	int result = 0;

	for (uint64_t index = first; index <= last && result == 0;) {
		uint64_t span = empty_span(
			q, index << q->cluster_bits, (last + 1 - index) << q->cluster_bits);

		if (span >= q->cluster_bytes)
			index += span >> q->cluster_bits;
		else
			result = discard_cluster(q, index++, expose);
	}
	return result;
}

int qcow2_discard(struct image *image, uint64_t offset, uint64_t bytes)
{
	struct qcow2 *q = image->state;
	uint64_t end = offset + bytes;
	struct qcow2_range range = { .exclusive = true };
	int result;

	/* Whole clusters only; the disk's last may be a part. */
	range.first = qcow2_clusters(q, offset);
	range.last = end == image->size ? qcow2_clusters(q, end) : end >> q->cluster_bits;
	if (range.first >= range.last || image->keep_discarded)
		return 0;
	range.last--;
	qcow2_range_lock(q, &range);
	result = qcow2_drop_clusters(q, range.first, range.last, false);
	qcow2_range_unlock(q, &range);
	return result;
}
