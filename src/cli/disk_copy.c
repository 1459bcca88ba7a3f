/*
 * atoll disk convert, commit and rebase: moving data between images. Holes stay holes, and zeros
 * become holes.
 */
#include "cli/disk_options.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK (2u << 20)

static int read_error(const struct image *image, int result, struct error *err)
{
	return error_set_errno(
		err, EXIT_CODE_HOST, -result, "cannot read the image '%s'", image->path);
}

static int write_error(const struct image *image, int result, struct error *err)
{
	return error_set_errno(
		err, EXIT_CODE_HOST, -result, "cannot write the image '%s'", image->path);
}

/* Writes a chunk but for the zeros in it, by units of a cluster. The target reads as zeros there.
 */
static int write_sparse(struct image *to, uint64_t offset, const char *data, uint64_t bytes,
	const struct disk_options *options)
{
	uint64_t unit = to->cluster_bytes ? to->cluster_bytes : 64u << 10;
	int result = 0;

	for (uint64_t at = 0; at < bytes && result == 0; at += unit) {
		uint64_t part = bytes - at < unit ? bytes - at : unit;

		if (bytes_are_zero(data + at, part))
			continue;
		result = options->compress
				 ? qcow2_write_compressed(to, offset + at, data + at, part)
				 : image_pwrite(to, offset + at, data + at, part);
	}
	return result;
}

/* Copies what `from` holds to `to`, which reads as zeros. */
static int copy(
	struct image *from, struct image *to, const struct disk_options *options, struct error *err)
{
	char *data = host_file_memory(CHUNK);
	int result = data ? 0 : -ENOMEM;

	for (uint64_t offset = 0; offset < from->size && result == 0;) {
		uint64_t bytes = from->size - offset;
		enum image_content content;

		result = image_chain_content(from, offset, &bytes, &content);
		if (result == 0 && content == IMAGE_DATA) {
			/* Chunks stay aligned, so that a cluster is never in two. */
			uint64_t end = align_up(offset + 1, CHUNK);

			offset = align_down(offset, CHUNK);
			bytes = (end < from->size ? end : from->size) - offset;
			result = image_pread(from, offset, data, bytes);
			if (result)
				result = read_error(from, result, err);
			else if ((result = write_sparse(to, offset, data, bytes, options)))
				result = write_error(to, result, err);
		} else if (result) {
			result = read_error(from, result, err);
		}
		offset += bytes;
		disk_verb_progress(options, "converting", offset, from->size);
	}
	free(data);
	return result;
}

static int finish(struct image *image, int result, struct error *err)
{
	int flushed = result ? 0 : image_flush(image);

	if (flushed)
		result = write_error(image, flushed, err);
	flushed = image_close(image);
	return result ? result : flushed;
}

int disk_verb_convert(const struct disk_call *call, struct error *err)
{
	const struct disk_options *options = call->options;
	/* A target that was not completed is of no use: it is flushed once, at its end. */
	const struct image_options more = { .ignore_flush = false, .no_backing = true };
	struct image *from, *to;
	int result;

	if (options->backing)
		return error_set(err, EXIT_CODE_USAGE,
			"convert makes an image without a backing file; use 'atoll disk rebase' "
			"for one");
	if (options->compress && strcmp(options->format, "qcow2") != 0)
		return error_set(err, EXIT_CODE_USAGE,
			"raw images cannot be compressed; use --format qcow2");
	result = disk_verb_open(&from, call->operands[0], options->source_format, true, NULL, err);
	if (result)
		return result;
	result = disk_verb_make(options, call->operands[1], from->size, err);
	if (result == 0)
		result = disk_verb_open(&to, call->operands[1], options->format, false, &more, err);
	if (result == 0)
		result = finish(to, copy(from, to, options, err), err);
	image_close(from);
	return result;
}

/* Writes to `to` what `from` itself holds, not what is behind it. */
static int copy_own(
	struct image *from, struct image *to, const struct disk_options *options, struct error *err)
{
	char *data = host_file_memory(CHUNK);
	int result = data ? 0 : -ENOMEM;

	for (uint64_t offset = 0; offset < from->size && result == 0;) {
		uint64_t bytes = from->size - offset;
		enum image_content content;

		result = image_content(from, offset, &bytes, &content);
		if (result == 0 && content == IMAGE_ZERO) {
			result = image_zero(to, offset, bytes, true);
		} else if (result == 0 && content == IMAGE_DATA) {
			bytes = bytes < CHUNK ? bytes : CHUNK;
			result = image_pread(from, offset, data, bytes);
			if (result == 0)
				result = image_pwrite(to, offset, data, bytes);
		}
		offset += bytes;
		disk_verb_progress(options, "committing", offset, from->size);
	}
	free(data);
	return result ? error_set_errno(err, EXIT_CODE_HOST, -result, "cannot commit '%s' to '%s'",
				from->path, to->path)
		      : 0;
}

/* The backing file is opened for writing, so the overlay must not hold it. */
int disk_verb_commit(const struct disk_call *call, struct error *err)
{
	const struct image_options alone = { .no_backing = true };
	struct image *overlay, *backing = NULL;
	struct qcow2 *q;
	char *path;
	int result = disk_verb_open(&overlay, call->operands[0], "qcow2", false, &alone, err);

	if (result)
		return result;
	q = qcow2_of(overlay);
	if (!q->backing_name || !q->backing_format) {
		result = error_set(err, EXIT_CODE_USAGE,
			"'%s' has no backing file of a known format to commit to; see 'atoll disk "
			"info'",
			overlay->path);
		goto out;
	}
	path = image_relative_path(overlay->path, q->backing_name);
	result = path ? disk_verb_open(&backing, path, q->backing_format, false, NULL, err)
		      : -ENOMEM;
	free(path);
	if (result == 0 && backing->size < overlay->size)
		result = image_resize(backing, overlay->size, err);
	if (result == 0)
		result = finish(backing, copy_own(overlay, backing, call->options, err), err);
	else
		image_close(backing);
	/* Only once the backing file holds it all. */
	if (result == 0)
		result = image_discard(overlay, 0, overlay->size);
out:
	image_close(overlay);
	return result;
}

static int read_both(struct image *old, struct image *new, uint64_t offset, char *from_old,
	char *from_new, uint64_t bytes)
{
	struct iovec old_iov = { from_old, bytes }, new_iov = { from_new, bytes };
	int result = image_read_padded(
		old, offset, (struct buffer){ .iov = &old_iov, .nr_iov = 1 }, bytes);

	return result ? result
		      : image_read_padded(new, offset,
				(struct buffer){ .iov = &new_iov, .nr_iov = 1 }, bytes);
}

/* Where the image holds nothing and the two backing files differ, it gets what the old one has. */
static int take_differences(struct image *image, struct image *new,
	const struct disk_options *options, struct error *err)
{
	char *from_old = host_file_memory(CHUNK), *from_new = host_file_memory(CHUNK);
	int result = from_old && from_new ? 0 : -ENOMEM;

	for (uint64_t offset = 0; offset < image->size && result == 0;) {
		uint64_t bytes = image->size - offset < CHUNK ? image->size - offset : CHUNK;
		enum image_content content;

		result = image_content(image, offset, &bytes, &content);
		if (result == 0 && content == IMAGE_UNALLOCATED) {
			result = read_both(image->backing, new, offset, from_old, from_new, bytes);
			for (uint64_t at = 0; at < bytes && result == 0;
				at += image->cluster_bytes) {
				uint64_t part = bytes - at < image->cluster_bytes
							? bytes - at
							: image->cluster_bytes;

				if (memcmp(from_old + at, from_new + at, part) != 0)
					result = image_pwrite(
						image, offset + at, from_old + at, part);
			}
		}
		offset += bytes;
		disk_verb_progress(options, "rebasing", offset, image->size);
	}
	free(from_old);
	free(from_new);
	return result ? error_set_errno(
				err, EXIT_CODE_HOST, -result, "cannot rebase '%s'", image->path)
		      : 0;
}

int disk_verb_rebase(const struct disk_call *call, struct error *err)
{
	const struct disk_options *options = call->options;
	const struct image_options more = { .no_backing = options->unsafe };
	const char *name = options->backing && *options->backing ? options->backing : NULL;
	struct image *image, *new = NULL;
	char *path = NULL;
	int result, closed;

	if (!options->backing)
		return error_set(err, EXIT_CODE_USAGE,
			"the new backing file is not given; use --backing FILE, or --backing '' "
			"for none");
	if (name && !image_format_find(options->backing_format, err))
		return -EINVAL;
	result = disk_verb_open(&image, call->operands[0], "qcow2", false, &more, err);
	if (result)
		return result;
	if (!options->unsafe && name) {
		path = image_relative_path(image->path, name);
		result = path ? disk_verb_open(&new, path, options->backing_format, true, NULL, err)
			      : -ENOMEM;
	}
	if (result == 0 && !options->unsafe)
		result = take_differences(image, new, options, err);
	if (result == 0)
		result = image_flush(image);
	if (result == 0)
		result = qcow2_set_backing(image, name, options->backing_format, err);
	image_close(new);
	free(path);
	closed = image_close(image);
	return result ? result : closed;
}
