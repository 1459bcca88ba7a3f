/*
 * Compressed clusters: raw deflate with a 4 KiB window, or zstd frames (qcow2, "Compressed Clusters
 * Descriptor"). They are packed one behind the other, so a host cluster may be referred to by many.
 */
#include "block/qcow2.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#define WINDOW_BITS 12

/* Stops when the cluster is full: what follows in the last sector is another's. */
static int inflate_cluster(const uint8_t *from, size_t bytes, uint8_t *to, size_t cluster_bytes)
{
	z_stream stream = { .next_in = (uint8_t *)from,
		.avail_in = (uInt)bytes,
		.next_out = to,
		.avail_out = (uInt)cluster_bytes };
	int result;

	if (inflateInit2(&stream, -WINDOW_BITS) != Z_OK)
		return -ENOMEM;
	result = inflate(&stream, Z_FINISH);
	inflateEnd(&stream);
	return (result == Z_STREAM_END || result == Z_BUF_ERROR) && stream.avail_out == 0 ? 0
											  : -EIO;
}

static int unzstd_cluster(const uint8_t *from, size_t bytes, uint8_t *to, size_t cluster_bytes)
{
	ZSTD_inBuffer in = { from, bytes, 0 };
	ZSTD_outBuffer out = { to, cluster_bytes, 0 };
	ZSTD_DStream *stream = ZSTD_createDStream();
	size_t result = 1, before;

	if (!stream)
		return -ENOMEM;
	do {
		before = in.pos + out.pos;
		result = ZSTD_decompressStream(stream, &out, &in);
	} while (!ZSTD_isError(result) && out.pos < out.size && in.pos + out.pos > before);
	ZSTD_freeDStream(stream);
	return ZSTD_isError(result) || out.pos < out.size ? -EIO : 0;
}

static int load_compressed(struct qcow2 *q, uint64_t descriptor, uint8_t *to)
{
	uint64_t offset, bytes;
	uint8_t *from;
	int result;

	qcow2_compressed_extent(q, descriptor, &offset, &bytes);
	if (offset >= q->file->size)
		return -EIO;
	from = malloc(bytes);
	if (!from)
		return -ENOMEM;
	result = host_file_pread(q->file, offset, from, bytes);
	if (result == 0 && q->header.compression_type == QCOW2_COMPRESSION_ZSTD)
		result = unzstd_cluster(from, bytes, to, q->cluster_bytes);
	else if (result == 0)
		result = inflate_cluster(from, bytes, to, q->cluster_bytes);
	free(from);
	return result;
}

int qcow2_decompress(
	struct qcow2 *q, uint64_t descriptor, uint64_t skip, struct buffer buffer, uint64_t bytes)
{
	int result = 0;

	pthread_mutex_lock(&q->decompressed_lock);
	if (!q->decompressed)
		q->decompressed = malloc(q->cluster_bytes);
	if (!q->decompressed) {
		result = -ENOMEM;
	} else if (q->decompressed_descriptor != descriptor) {
		q->decompressed_descriptor = 0;
		result = load_compressed(q, descriptor, q->decompressed);
		if (result == 0)
			q->decompressed_descriptor = descriptor;
	}
	if (result == 0)
		buffer_store(buffer, q->decompressed + skip, bytes);
	pthread_mutex_unlock(&q->decompressed_lock);
	return result;
}

void qcow2_forget_decompressed(struct qcow2 *q)
{
	pthread_mutex_lock(&q->decompressed_lock);
	q->decompressed_descriptor = 0;
	pthread_mutex_unlock(&q->decompressed_lock);
}

/* Returns how many bytes, or 0 if it does not get smaller. */
static size_t compress_cluster(const struct qcow2 *q, const uint8_t *from, uint8_t *to)
{
	z_stream stream = { .next_in = (uint8_t *)from,
		.avail_in = (uInt)q->cluster_bytes,
		.next_out = to,
		.avail_out = (uInt)q->cluster_bytes - 1 };
	int result;

	if (q->header.compression_type == QCOW2_COMPRESSION_ZSTD) {
		size_t bytes = ZSTD_compress(
			to, q->cluster_bytes - 1, from, q->cluster_bytes, ZSTD_CLEVEL_DEFAULT);

		return ZSTD_isError(bytes) ? 0 : bytes;
	}
	if (deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -WINDOW_BITS, 9,
		    Z_DEFAULT_STRATEGY) != Z_OK)
		return 0;
	result = deflate(&stream, Z_FINISH);
	deflateEnd(&stream);
	return result == Z_STREAM_END ? q->cluster_bytes - 1 - stream.avail_out : 0;
}

/* Room for `bytes`, behind the last compressed cluster if it can share its host cluster. */
static int allocate_packed(struct qcow2 *q, uint64_t bytes, uint64_t *offset)
{
	uint64_t end = q->compressed_next, got, refcount;
	uint64_t left = end & (q->cluster_bytes - 1)
				? q->cluster_bytes - (end & (q->cluster_bytes - 1))
				: 0;
	bool fresh;
	int result;

	if (left > 0) {
		result = qcow2_refcount_get(q, end >> q->cluster_bits, &refcount);
		if (result)
			return result;
		if (refcount == 0 || refcount == q->max_refcount)
			left = 0;
	}
	if (left >= bytes) {
		*offset = end;
		q->compressed_next = end + bytes;
		return qcow2_refcount_add(q, end >> q->cluster_bits, 1, 1);
	}
	result = qcow2_allocate(q, 1, false, QCOW2_OWNER_DATA, offset, &got, &fresh);
	if (result)
		return result;
	if (left > 0 && *offset == align_up(end, q->cluster_bytes)) {
		*offset = end;
		result = qcow2_refcount_add(q, end >> q->cluster_bits, 1, 1);
	}
	q->compressed_next = *offset + bytes;
	return result;
}

static int link_compressed(struct qcow2 *q, uint64_t index, uint64_t offset, uint64_t bytes)
{
	unsigned shift = 62 - (q->cluster_bits - 8);
	uint64_t sectors = ((offset & 511) + bytes + 511) / 512;
	struct qcow2_cluster old,
		cluster = { .compressed = true, .descriptor = offset | (sectors - 1) << shift };
	int result = qcow2_cluster_get(q, index, false, &old);

	if (result == 0)
		result = qcow2_cluster_set(q, index, &cluster);
	return result ? result : qcow2_free_cluster_later(q, &old);
}

/*
 * The descriptor counts whole sectors, whose tail belongs to the next: it lies in the same host
 * cluster, because sectors do not cross one.
 */
int qcow2_write_compressed(struct image *image, uint64_t offset, const void *data, uint64_t bytes)
{
	struct qcow2 *q = image->state;
	struct qcow2_range range = { .first = offset >> q->cluster_bits,
		.last = offset >> q->cluster_bits,
		.exclusive = true };
	uint8_t *from = calloc(1, q->cluster_bytes), *to = malloc(q->cluster_bytes);
	uint64_t host;
	size_t packed;
	int result = -ENOMEM;

	if (!from || !to)
		goto out;
	memcpy(from, data, bytes);
	packed = compress_cluster(q, from, to);
	if (packed == 0) {
		result = image_pwrite(image, offset, data, bytes);
		goto out;
	}
	qcow2_range_lock(q, &range);
	pthread_mutex_lock(&q->lock);
	result = allocate_packed(q, packed, &host);
	if (result == 0 && host >= BIT(62 - (q->cluster_bits - 8)))
		result = -EFBIG;
	if (result == 0)
		result = host_file_pwrite(q->file, host, to, packed);
	if (result == 0)
		result = link_compressed(q, range.first, host, packed);
	pthread_mutex_unlock(&q->lock);
	qcow2_range_unlock(q, &range);
out:
	free(from);
	free(to);
	return result;
}
