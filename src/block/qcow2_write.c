/*
 * Writing qcow2 images. Data goes, in the order of what is found at its place:
 *  - in place, where subclusters of our own are allocated;
 *  - into a cluster of our own whose subclusters are not, with what surrounds it copied up to the
 *    bounds of subclusters;
 *  - into new clusters, likewise; what shared or compressed clusters held is copied whole.
 * The L2 entry follows once the data is written.
 */
#include "block/qcow2.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* One write to the host: data and what is copied before and behind it. */
struct piece {
	uint64_t offset, bytes;  /* of the data, on the guest's disk */
	uint64_t host;           /* of the data */
	uint64_t before, behind; /* bytes to copy */
};

/* `bytes` from the guest's disk at `offset`, for a copy; free() it. */
static int fetch(struct qcow2 *q, uint64_t offset, uint64_t bytes, char **copy)
{
	struct iovec iov = { .iov_len = bytes };

	*copy = NULL;
	if (bytes == 0)
		return 0;
	*copy = iov.iov_base = host_file_memory(bytes);
	if (!*copy)
		return -ENOMEM;
	return qcow2_read_held(q, offset, (struct buffer){ .iov = &iov, .nr_iov = 1 }, bytes);
}

/* Writes copy, data, copy with one call if the data is not too scattered. */
static int write_piece(struct qcow2 *q, const struct piece *piece, struct buffer buffer)
{
	enum { MAX_IOV = 64 };
	struct iovec iov[MAX_IOV];
	char *before = NULL, *behind = NULL;
	uint64_t covered;
	unsigned count;
	int result;

	if (piece->before == 0 && piece->behind == 0)
		return host_file_write(q->file, piece->host, buffer, piece->bytes);
	result = fetch(q, piece->offset - piece->before, piece->before, &before);
	if (result == 0)
		result = fetch(q, piece->offset + piece->bytes, piece->behind, &behind);
	if (result)
		goto out;
	iov[0] = (struct iovec){ before, piece->before };
	count = 1 + buffer_slice(buffer, piece->bytes, iov + 1, MAX_IOV - 2, &covered);
	if (covered == piece->bytes) {
		iov[count++] = (struct iovec){ behind, piece->behind };
		result = host_file_write(q->file, piece->host - piece->before,
			(struct buffer){ .iov = iov, .nr_iov = count },
			piece->before + piece->bytes + piece->behind);
		goto out;
	}
	if (before)
		result = host_file_pwrite(
			q->file, piece->host - piece->before, before, piece->before);
	if (result == 0)
		result = host_file_write(q->file, piece->host, buffer, piece->bytes);
	if (result == 0 && behind)
		result = host_file_pwrite(
			q->file, piece->host + piece->bytes, behind, piece->behind);
out:
	free(before);
	free(behind);
	return result;
}

static int write_unlocked(struct qcow2 *q, const struct piece *piece, struct buffer buffer)
{
	int result;

	pthread_mutex_unlock(&q->lock);
	result = write_piece(q, piece, buffer);
	pthread_mutex_lock(&q->lock);
	return result;
}

/* Nothing a hostile image says may make us write over metadata, or far beyond the file. */
static int check_target(struct qcow2 *q, uint64_t host, uint64_t bytes)
{
	for (uint64_t cluster = host >> q->cluster_bits;
		cluster <= (host + bytes - 1) >> q->cluster_bits; cluster++) {
		enum qcow2_owner owner = qcow2_owners_get(&q->owners, cluster);

		if (cluster >= q->end)
			return qcow2_mark_broken(q, "a cluster beyond the file", host);
		if (owner != QCOW2_OWNER_NONE && owner != QCOW2_OWNER_DATA)
			return qcow2_mark_broken(q, qcow2_owner_name(owner), host);
	}
	return 0;
}

static uint32_t touched(const struct qcow2 *q, uint64_t in_cluster, uint64_t bytes)
{
	unsigned first = (unsigned)(in_cluster / q->subcluster_bytes);
	unsigned last = (unsigned)((in_cluster + bytes - 1) / q->subcluster_bytes);

	return (uint32_t)(BITS(last, first));
}

/* Into a cluster of our own, some of whose subclusters hold no data yet. */
static int write_subclusters(struct qcow2 *q, uint64_t offset, struct buffer buffer, uint64_t bytes,
	const struct qcow2_cluster *found)
{
	uint64_t in_cluster = offset & (q->cluster_bytes - 1);
	struct piece piece = { .offset = offset, .bytes = bytes, .host = found->host + in_cluster };
	uint32_t subclusters = touched(q, in_cluster, bytes);
	struct qcow2_cluster cluster = *found;
	uint64_t end = in_cluster + bytes;
	int result = check_target(q, found->host, q->cluster_bytes);

	if (result)
		return result;
	if (!(found->alloc & (1u << (in_cluster / q->subcluster_bytes))))
		piece.before = in_cluster % q->subcluster_bytes;
	if (!(found->alloc & (1u << ((end - 1) / q->subcluster_bytes))))
		piece.behind = align_up(end, q->subcluster_bytes) - end;
	result = write_unlocked(q, &piece, buffer);
	if (result)
		return result;
	cluster.alloc |= subclusters;
	cluster.zero &= ~subclusters;
	return qcow2_cluster_set(q, offset >> q->cluster_bits, &cluster);
}

/* Must all of the cluster be copied, whichever part is written? */
static bool copies_whole(const struct qcow2_cluster *cluster)
{
	return cluster->compressed || cluster->alloc != 0;
}

/* How many clusters from `index` on, at most `max`, need a new place. */
static int count_unowned(struct qcow2 *q, uint64_t index, uint64_t max, uint64_t *count)
{
	*count = 0;
	while (*count < max) {
		struct qcow2_cluster cluster;
		int result = qcow2_cluster_get(q, index + *count, false, &cluster);

		if (result)
			return result;
		if (cluster.owned)
			break;
		++*count;
	}
	return 0;
}

/* What must be copied around data that goes to new clusters. With the lock. */
static int plan_copies(struct qcow2 *q, struct piece *piece, bool fresh)
{
	uint64_t end = piece->offset + piece->bytes;
	struct qcow2_cluster first, last;
	int result = qcow2_cluster_get(q, piece->offset >> q->cluster_bits, false, &first);

	if (result == 0)
		result = qcow2_cluster_get(q, (end - 1) >> q->cluster_bits, false, &last);
	if (result)
		return result;
	piece->before = piece->offset &
			((copies_whole(&first) ? q->cluster_bytes : q->subcluster_bytes) - 1);
	piece->behind =
		align_up(end, copies_whole(&last) ? q->cluster_bytes : q->subcluster_bytes) - end;
	if (fresh && qcow2_reads_as_zeros(q, piece->offset - piece->before, piece->before))
		piece->before = 0;
	if (fresh && qcow2_reads_as_zeros(q, end, piece->behind))
		piece->behind = 0;
	return 0;
}

/* Points the guest's clusters to their new places, and frees the old. */
static int link_clusters(
	struct qcow2 *q, const struct piece *piece, uint64_t host, uint64_t *linked, uint64_t count)
{
	uint64_t index = piece->offset >> q->cluster_bits;

	for (*linked = 0; *linked < count; ++*linked) {
		uint64_t start = (index + *linked) << q->cluster_bits;
		uint64_t from = piece->offset > start ? piece->offset - start : 0;
		uint64_t to = piece->offset + piece->bytes - start;
		struct qcow2_cluster old, cluster = { .owned = true };
		int result = qcow2_cluster_get(q, index + *linked, false, &old);

		if (result)
			return result;
		if (to > q->cluster_bytes)
			to = q->cluster_bytes;
		cluster.host = host + (*linked << q->cluster_bits);
		cluster.alloc = touched(q, from, to - from) | old.alloc;
		if (old.compressed)
			cluster.alloc = q->nr_subclusters == 32 ? ~0u : 1u;
		cluster.zero = old.zero & ~cluster.alloc;
		result = qcow2_cluster_set(q, index + *linked, &cluster);
		if (result)
			return result;
		result = qcow2_free_cluster_later(q, &old);
		if (result) {
			++*linked;
			return result;
		}
	}
	return 0;
}

/* Into new clusters; sets `*done` to how many of the bytes. */
static int write_new(
	struct qcow2 *q, uint64_t offset, struct buffer buffer, uint64_t bytes, uint64_t *done)
{
	struct piece piece = { .offset = offset };
	uint64_t in_cluster = offset & (q->cluster_bytes - 1);
	uint64_t want, count, host, linked = 0;
	bool fresh;
	int result = count_unowned(
		q, offset >> q->cluster_bits, qcow2_clusters(q, in_cluster + bytes), &want);

	if (result)
		return result;
	result = qcow2_allocate(q, want, false, QCOW2_OWNER_DATA, &host, &count, &fresh);
	if (result)
		return result;
	piece.bytes = (count << q->cluster_bits) - in_cluster;
	if (piece.bytes > bytes)
		piece.bytes = bytes;
	piece.host = host + in_cluster;
	result = plan_copies(q, &piece, fresh);
	if (result == 0)
		result = write_unlocked(q, &piece, buffer);
	if (result == 0)
		result = link_clusters(q, &piece, host, &linked, count);
	if (linked < count)
		qcow2_free_now(q, host + (linked << q->cluster_bits), count - linked);
	*done = piece.bytes;
	return result;
}

/* With the lock, which is released while data is written. */
static int write_some(
	struct qcow2 *q, uint64_t offset, struct buffer buffer, uint64_t bytes, uint64_t *done)
{
	struct qcow2_cluster cluster;
	struct qcow2_run run;
	int result;

	if (q->broken)
		return -EIO;
	result = qcow2_find_run(q, offset, bytes, false, &run);
	if (result)
		return result;
	if (run.kind == QCOW2_RUN_DATA && run.owned) {
		*done = run.bytes;
		result = check_target(q, run.host, run.bytes);
		return result ? result
			      : write_unlocked(q,
					&(struct piece){ .offset = offset,
						.bytes = run.bytes,
						.host = run.host },
					buffer);
	}
	result = qcow2_cluster_get(q, offset >> q->cluster_bits, false, &cluster);
	if (result)
		return result;
	if (!cluster.owned)
		return write_new(q, offset, buffer, bytes, done);
	*done = q->cluster_bytes - (offset & (q->cluster_bytes - 1));
	if (*done > bytes)
		*done = bytes;
	return write_subclusters(q, offset, buffer, *done, &cluster);
}

int qcow2_write_held(struct qcow2 *q, uint64_t offset, struct buffer buffer, uint64_t bytes)
{
	int result = 0;

	pthread_mutex_lock(&q->lock);
	while (bytes > 0 && result == 0) {
		uint64_t done = 0;

		result = write_some(q, offset, buffer, bytes, &done);
		buffer = buffer_after(buffer, done);
		offset += done;
		bytes -= result ? 0 : done;
	}
	pthread_mutex_unlock(&q->lock);
	return result;
}

int qcow2_write(struct image *image, uint64_t offset, struct buffer buffer, uint64_t bytes)
{
	struct qcow2 *q = image->state;
	struct qcow2_range range = { .first = offset >> q->cluster_bits,
		.last = (offset + bytes - 1) >> q->cluster_bits,
		.exclusive = true };
	int result;

	qcow2_range_lock(q, &range);
	result = qcow2_write_held(q, offset, buffer, bytes);
	qcow2_range_unlock(q, &range);
	return result;
}
