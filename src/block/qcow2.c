/*
 * qcow2 images: opening, closing, and the header's dirty and corrupt bits.
 * Document: docs/interop/qcow2.txt of QEMU ("qcow2").
 *
 * Not modelled: encryption, external data files, and keeping persistent bitmaps up to date (an
 * image that has them loses their autoclear bit when it is opened for writing).
 */
#include "block/qcow2.h"
#include "base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define L2_CACHE_BYTES       (4u << 20)
#define REFBLOCK_CACHE_BYTES (512u << 10)
#define MIN_TABLES           4

struct qcow2 *qcow2_of(struct image *image)
{
	return image->format == &image_qcow2 ? image->state : NULL;
}

int qcow2_mark_broken(struct qcow2 *q, const char *what, uint64_t offset)
{
	if (!q->broken)
		log_error("the image '%s' is corrupt: its metadata refers to %s at offset %#llx; "
			  "no more "
			  "is written to it; see 'atoll disk check'",
			q->image->path, what, (unsigned long long)offset);
	if (!q->broken && !q->image->read_only && q->header.version >= 3) {
		q->header.incompatible |= QCOW2_INCOMPATIBLE_CORRUPT;
		qcow2_header_write(q);
	}
	q->broken = true;
	return -EIO;
}

int qcow2_mark_dirty(struct qcow2 *q)
{
	int result;

	if (!(q->header.compatible & QCOW2_COMPATIBLE_LAZY) || q->lazy_dirty)
		return 0;
	q->header.incompatible |= QCOW2_INCOMPATIBLE_DIRTY;
	result = qcow2_header_write(q);
	if (result == 0)
		result = host_file_flush(q->file);
	if (result == 0)
		q->lazy_dirty = true;
	else
		q->header.incompatible &= ~QCOW2_INCOMPATIBLE_DIRTY;
	return result;
}

int qcow2_mark_clean(struct qcow2 *q)
{
	int result;

	if (!(q->header.incompatible & QCOW2_INCOMPATIBLE_DIRTY))
		return 0;
	result = qcow2_write_back(q);
	if (result == 0)
		result = qcow2_tables_write(q, &q->refblocks);
	if (result == 0)
		result = host_file_flush(q->file);
	if (result)
		return result;
	q->header.incompatible &= ~QCOW2_INCOMPATIBLE_DIRTY;
	q->lazy_dirty = false;
	result = qcow2_header_write(q);
	return result ? result : host_file_flush(q->file);
}

static void set_sizes(struct qcow2 *q)
{
	bool is_extended = q->header.incompatible & QCOW2_INCOMPATIBLE_EXTENDED_L2;

	q->cluster_bits = q->header.cluster_bits;
	q->cluster_bytes = BIT(q->cluster_bits);
	q->entry_bytes = is_extended ? 16 : 8;
	q->l2_bits = q->cluster_bits - (is_extended ? 4 : 3);
	q->nr_subclusters = is_extended ? QCOW2_SUBCLUSTERS : 1;
	q->subcluster_bytes = (uint32_t)q->cluster_bytes / q->nr_subclusters;
	q->refcount_bits = 1u << q->header.refcount_order;
	q->refblock_bits = q->cluster_bits + 3 - q->header.refcount_order;
	q->max_refcount = ~UINT64_C(0) >> (64 - q->refcount_bits);
}

/* As many L2 tables as cover the disk, within bounds. Memory comes with use. */
static int init_caches(struct qcow2 *q)
{
	uint64_t per_table = q->cluster_bytes << q->l2_bits;
	uint64_t nr_l2 = q->header.size / per_table + 1;
	uint64_t max_l2 = L2_CACHE_BYTES >> q->cluster_bits;
	uint64_t nr_refblocks = REFBLOCK_CACHE_BYTES >> q->cluster_bits;
	int result;

	if (nr_l2 > max_l2)
		nr_l2 = max_l2;
	result =
		qcow2_tables_init(&q->l2_tables, nr_l2 < MIN_TABLES ? MIN_TABLES : (uint32_t)nr_l2);
	if (result)
		return result;
	return qcow2_tables_init(
		&q->refblocks, nr_refblocks < MIN_TABLES ? MIN_TABLES : (uint32_t)nr_refblocks);
}

/* Two owners of one cluster: the image is corrupt. */
static int own(
	struct qcow2 *q, uint64_t offset, uint64_t bytes, enum qcow2_owner owner, bool *clash)
{
	uint64_t first = offset >> q->cluster_bits, count = qcow2_clusters(q, bytes);

	for (uint64_t i = 0; i < count; i++) {
		int result;

		*clash |= qcow2_owners_get(&q->owners, first + i) != QCOW2_OWNER_NONE;
		result = qcow2_owners_set(&q->owners, first + i, owner);
		if (result)
			return result;
	}
	return 0;
}

static int own_metadata(struct qcow2 *q, bool *clash)
{
	int result = own(q, 0, q->cluster_bytes, QCOW2_OWNER_HEADER, clash);

	if (result == 0)
		result = own(q, q->header.reftable_offset, q->reftable_entries * 8,
			QCOW2_OWNER_REFTABLE, clash);
	if (result == 0)
		result = own(q, q->header.l1_offset, (uint64_t)q->header.l1_entries * 8,
			QCOW2_OWNER_L1, clash);
	for (uint64_t i = 0; i < q->reftable_entries && result == 0; i++) {
		*clash |= (q->reftable[i] & (q->cluster_bytes - 1)) != 0;
		if (q->reftable[i])
			result = own(q, q->reftable[i], 1, QCOW2_OWNER_REFBLOCK, clash);
	}
	for (uint32_t i = 0; i < q->header.l1_entries && result == 0; i++) {
		uint64_t offset = q->l1[i] & QCOW2_ENTRY_OFFSET;

		*clash |= (offset & (q->cluster_bytes - 1)) != 0;
		if (offset)
			result = own(q, offset, 1, QCOW2_OWNER_L2, clash);
	}
	for (uint32_t i = 0; i < q->nr_snapshots && result == 0; i++)
		result = own(q, q->snapshots[i].l1_offset, (uint64_t)q->snapshots[i].l1_entries * 8,
			QCOW2_OWNER_L1, clash);
	return result;
}

/* For tests: every cluster that the active tables refer to. */
static int own_guest_data(struct qcow2 *q)
{
	for (uint64_t index = 0; index < (uint64_t)q->header.l1_entries << q->l2_bits; index++) {
		struct qcow2_cluster cluster;
		int result;

		if (!(q->l1[index >> q->l2_bits] & QCOW2_ENTRY_OFFSET)) {
			index |= BIT(q->l2_bits) - 1;
			continue;
		}
		result = qcow2_cluster_get(q, index, false, &cluster);
		if (result == 0 && !cluster.compressed && cluster.host)
			result = qcow2_owners_set(
				&q->owners, cluster.host >> q->cluster_bits, QCOW2_OWNER_DATA);
		if (result)
			return result;
	}
	return 0;
}

static int read_tables(struct qcow2 *q)
{
	int result;

	q->l1 = malloc((q->header.l1_entries + 1) * sizeof(uint64_t));
	q->reftable = malloc(q->reftable_entries * sizeof(uint64_t));
	if (!q->l1 || !q->reftable)
		return -ENOMEM;
	result = qcow2_read_table(q, q->header.l1_offset, q->l1, q->header.l1_entries);
	if (result == 0)
		result = qcow2_read_table(
			q, q->header.reftable_offset, q->reftable, q->reftable_entries);
	for (uint64_t i = 0; i < q->reftable_entries; i++)
		q->reftable[i] &= QCOW2_REFTABLE_MASK;
	return result;
}

static void forget_tables(struct qcow2 *q)
{
	free(q->l1);
	free(q->reftable);
	q->l1 = q->reftable = NULL;
	qcow2_tables_forget_all(&q->l2_tables);
	qcow2_tables_forget_all(&q->refblocks);
	qcow2_owners_finish(&q->owners);
}

int qcow2_load_tables(struct qcow2 *q, struct error *err)
{
	bool clash = false;
	int result;

	forget_tables(q);
	q->reftable_entries = (uint64_t)q->header.reftable_clusters << q->cluster_bits >> 3;
	q->free_hint = 0;
	q->end = qcow2_clusters(q, q->file->size);
	q->fresh_from = q->file->is_block_device ? UINT64_MAX >> q->cluster_bits : q->end;
	result = read_tables(q);
	if (result == 0)
		result = qcow2_snapshots_read(q, err);
	if (result == 0)
		result = own_metadata(q, &clash);
	if (result) {
		/* Nothing is known of the image any more. */
		forget_tables(q);
		q->header.l1_entries = 0;
		q->reftable_entries = 0;
		q->broken = true;
		return result;
	}
	q->overlapping = clash;
	q->broken |= clash;
	if (q->own_data && !q->broken && !(q->header.incompatible & QCOW2_INCOMPATIBLE_DIRTY))
		result = own_guest_data(q);
	return result;
}

/* What an image must be before it may be written to. */
static int prepare_to_write(struct qcow2 *q, const struct image_options *options, struct error *err)
{
	int result;

	if (q->header.incompatible & QCOW2_INCOMPATIBLE_CORRUPT || q->broken) {
		q->broken = true;
		return options->allow_damaged
			       ? 0
			       : error_set(err, EXIT_CODE_BAD_FILE,
					 "the image '%s' is corrupt; open it read-only, or mend it "
					 "with 'atoll disk check --repair'",
					 q->image->path);
	}
	if (q->header.incompatible & QCOW2_INCOMPATIBLE_DIRTY && !options->allow_damaged) {
		struct qcow2_check check = { 0 };

		log_info(
			"the image '%s' was not closed; its refcounts are rebuilt", q->image->path);
		result = qcow2_repair(q->image, &check, err);
		if (result)
			return result;
	}
	if (q->header.autoclear) {
		/* What those bits vouch for is not kept up to date. */
		if (q->header.autoclear & QCOW2_AUTOCLEAR_BITMAPS)
			log_warning(
				"the bitmaps of the image '%s' are not kept up to date; programs "
				"that use them will see that",
				q->image->path);
		q->header.autoclear = 0;
		result = qcow2_header_write(q);
		if (result == 0)
			result = host_file_flush(q->file);
		return result;
	}
	return 0;
}

static int open_backing(struct qcow2 *q, const struct image_options *options, struct error *err)
{
	struct image_options backing = *options;

	if (!q->backing_name || options->no_backing)
		return 0;
	if (!q->backing_format)
		return error_set(err, EXIT_CODE_BAD_FILE,
			"'%s' names the backing file '%.100s' but not its format; give it with "
			"'atoll disk "
			"rebase -u --backing FILE --backing-format FORMAT'",
			q->image->path, q->backing_name);
	backing.check_owners = backing.allow_damaged = false;
	return image_open_backing(q->image, q->backing_name, q->backing_format, &backing, err);
}

static void finish(struct qcow2 *q)
{
	qcow2_snapshots_free(q);
	qcow2_header_finish(q);
	qcow2_tables_finish(&q->l2_tables);
	qcow2_tables_finish(&q->refblocks);
	qcow2_owners_finish(&q->owners);
	free(q->l1);
	free(q->reftable);
	free(q->freed);
	free(q->decompressed);
	pthread_mutex_destroy(&q->lock);
	pthread_mutex_destroy(&q->ranges_lock);
	pthread_cond_destroy(&q->ranges_freed);
	pthread_mutex_destroy(&q->decompressed_lock);
	free(q);
}

static int qcow2_open(struct image *image, const struct image_options *options, struct error *err)
{
	struct qcow2 *q = calloc(1, sizeof(*q));
	int result;

	if (!q)
		return -ENOMEM;
	pthread_mutex_init(&q->lock, NULL);
	pthread_mutex_init(&q->ranges_lock, NULL);
	pthread_cond_init(&q->ranges_freed, NULL);
	pthread_mutex_init(&q->decompressed_lock, NULL);
	image->state = q;
	q->image = image;
	q->file = image->file;
	q->discard = !options->keep_discarded;
	q->own_data = options->check_owners;
	result = qcow2_header_read(q, err);
	if (result)
		goto fail;
	set_sizes(q);
	image->size = align_up(q->header.size, 512);
	image->cluster_bytes = (uint32_t)q->cluster_bytes;
	image->discard_granularity = (uint32_t)q->cluster_bytes;
	result = init_caches(q);
	if (result == 0)
		result = qcow2_load_tables(q, err);
	if (result == 0)
		result = open_backing(q, options, err);
	if (result == 0 && !image->read_only)
		result = prepare_to_write(q, options, err);
	if (result == 0)
		return 0;
fail:
	finish(q);
	image->state = NULL;
	return result;
}

static int qcow2_flush(struct image *image)
{
	struct qcow2 *q = image->state;
	int result;

	pthread_mutex_lock(&q->lock);
	result = qcow2_write_back(q);
	pthread_mutex_unlock(&q->lock);
	return result ? result : host_file_flush(q->file);
}

static int qcow2_close(struct image *image)
{
	struct qcow2 *q = image->state;
	int result = 0;

	if (!image->read_only && !q->broken) {
		/* The second writes the refcounts of what the first gave up. */
		result = qcow2_flush(image);
		if (result == 0)
			result = qcow2_flush(image);
		if (result == 0)
			result = qcow2_mark_clean(q);
	}
	finish(q);
	return result;
}

const struct image_format image_qcow2 = {
	.name = "qcow2",
	.open = qcow2_open,
	.close = qcow2_close,
	.read = qcow2_read,
	.write = qcow2_write,
	.flush = qcow2_flush,
	.discard = qcow2_discard,
	.zero = qcow2_zero,
	.resize = qcow2_resize,
	.content = qcow2_content,
	.pin = qcow2_pin,
	.unpin = qcow2_unpin,
};
