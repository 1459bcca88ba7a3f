/*
 * Making qcow2 images: header, refcounts and an L1 table of one entry, for a disk of no size, which
 * is then resized.
 */
#include "block/qcow2.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Clusters of a new image. */
enum { HEADER, REFTABLE, REFBLOCK, L1, NR_CLUSTERS };

const struct qcow2_create_options qcow2_create_defaults = {
	.version = 3,
	.cluster_bits = 16,
	.refcount_bits = 16,
	.compression_type = QCOW2_COMPRESSION_ZLIB,
};

static int check_options(const struct qcow2_create_options *options, struct error *err)
{
	bool is_v2 = options->version == 2;

	if (options->version != 2 && options->version != 3)
		return error_set(err, EXIT_CODE_USAGE, "qcow2 has the versions 2 and 3, not %u",
			options->version);
	if (options->cluster_bits < QCOW2_MIN_CLUSTER_BITS ||
		options->cluster_bits > QCOW2_MAX_CLUSTER_BITS)
		return error_set(err, EXIT_CODE_USAGE,
			"qcow2 clusters are of 512 bytes to 2 MiB, by powers of two");
	if (options->refcount_bits == 0 || options->refcount_bits > 64 ||
		(options->refcount_bits & (options->refcount_bits - 1)))
		return error_set(err, EXIT_CODE_USAGE,
			"qcow2 refcounts have 1, 2, 4, 8, 16, 32 or 64 bits, not %u",
			options->refcount_bits);
	if (is_v2 && (options->refcount_bits != 16 || options->lazy_refcounts ||
			     options->extended_l2 || options->compression_type))
		return error_set(err, EXIT_CODE_USAGE,
			"qcow2 of version 2 has only 16-bit refcounts and zlib, no lazy refcounts "
			"and "
			"no extended L2; use version 3");
	if (options->extended_l2 && options->cluster_bits < QCOW2_MIN_EXTENDED_BITS)
		return error_set(
			err, EXIT_CODE_USAGE, "extended L2 needs clusters of at least 16 KiB");
	if (options->backing_name && !options->backing_format)
		return error_set(err, EXIT_CODE_USAGE,
			"the format of the backing file '%s' is not given; say raw or qcow2",
			options->backing_name);
	return 0;
}

static void fill_header(const struct qcow2_create_options *options, struct qcow2_header *header)
{
	*header = (struct qcow2_header){
		.version = options->version,
		.cluster_bits = options->cluster_bits,
		.l1_entries = 1,
		.l1_offset = (uint64_t)L1 << options->cluster_bits,
		.reftable_offset = (uint64_t)REFTABLE << options->cluster_bits,
		.reftable_clusters = 1,
		.refcount_order = (uint32_t)__builtin_ctz(options->refcount_bits),
		.header_bytes =
			options->version == 2 ? QCOW2_V2_HEADER_BYTES : QCOW2_OUR_HEADER_BYTES,
		.compression_type = options->compression_type,
	};
	if (options->compression_type)
		header->incompatible |= QCOW2_INCOMPATIBLE_COMPRESSION;
	if (options->extended_l2)
		header->incompatible |= QCOW2_INCOMPATIBLE_EXTENDED_L2;
	if (options->lazy_refcounts)
		header->compatible |= QCOW2_COMPATIBLE_LAZY;
}

static int write_image(struct qcow2 *q, struct error *err)
{
	uint8_t *block = calloc(NR_CLUSTERS, q->cluster_bytes);
	int result;

	if (!block)
		return -ENOMEM;
	/* The header last: without it there is no image. */
	be64_store(block, (uint64_t)REFBLOCK << q->cluster_bits);
	result = host_file_pwrite(
		q->file, (uint64_t)REFTABLE << q->cluster_bits, block, q->cluster_bytes);
	memset(block, 0, q->cluster_bytes);
	for (uint64_t i = 0; i < NR_CLUSTERS; i++)
		qcow2_refblock_store(q, block, i, 1);
	if (result == 0)
		result = host_file_pwrite(
			q->file, (uint64_t)REFBLOCK << q->cluster_bits, block, q->cluster_bytes);
	memset(block, 0, q->cluster_bytes);
	if (result == 0)
		result = host_file_pwrite(
			q->file, (uint64_t)L1 << q->cluster_bits, block, q->cluster_bytes);
	if (result == 0)
		result = host_file_pwrite(q->file, 0, block, q->cluster_bytes);
	if (result == 0)
		result = host_file_flush(q->file);
	if (result == 0)
		result = qcow2_header_rewrite(q, err);
	if (result == 0)
		result = host_file_flush(q->file);
	free(block);
	return result;
}

static int write_new_image(
	const struct qcow2_create_options *options, struct image *image, struct error *err)
{
	struct qcow2 q = { .image = image, .file = image->file };
	int result = -ENOMEM;

	fill_header(options, &q.header);
	q.cluster_bits = options->cluster_bits;
	q.cluster_bytes = BIT(options->cluster_bits);
	q.refcount_bits = options->refcount_bits;
	if (options->backing_name) {
		q.backing_name = strdup(options->backing_name);
		q.backing_format = strdup(options->backing_format);
	}
	if (!options->backing_name || (q.backing_name && q.backing_format))
		result = write_image(&q, err);
	qcow2_header_finish(&q);
	return result;
}

int qcow2_create(const struct qcow2_create_options *options, struct error *err)
{
	const struct host_file_options file_options = { .create = true,
		.ignore_flush = options->ignore_flush };
	const struct image_options image_options = { .path = options->path,
		.format = "qcow2",
		.no_backing = true,
		.ignore_flush = options->ignore_flush,
		.observer = options->observer };
	struct image image = { .path = (char *)options->path };
	struct image *opened = NULL;
	int result = check_options(options, err);

	if (result)
		return result;
	result = host_file_open(&image.file, options->path, &file_options, err);
	if (result)
		return result;
	image.file->observer = options->observer;
	result = write_new_image(options, &image, err);
	host_file_close(image.file);
	if (result == 0)
		result = image_open(&opened, &image_options, err);
	if (result == 0)
		result = image_resize(opened, align_up(options->size, 512), err);
	if (opened) {
		int closed = image_close(opened);

		result = result ? result : closed;
	}
	if (result)
		error_set_errno(err, EXIT_CODE_CANNOT_WRITE, -result,
			"cannot create the image '%s'", options->path);
	return result;
}

int qcow2_set_backing(struct image *image, const char *name, const char *format, struct error *err)
{
	struct qcow2 *q = image->state;
	char *old_name, *old_format;
	int result = qcow2_write_back(q);

	if (result)
		return result;
	old_name = q->backing_name;
	old_format = q->backing_format;
	q->backing_name = name ? strdup(name) : NULL;
	q->backing_format = name && format ? strdup(format) : NULL;
	result = host_file_flush(q->file);
	if (result == 0)
		result = qcow2_header_rewrite(q, err);
	if (result == 0)
		result = host_file_flush(q->file);
	free(old_name);
	free(old_format);
	return result;
}
