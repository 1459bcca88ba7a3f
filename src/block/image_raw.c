/*
 * Raw images: the file is the disk.
 */
#include "block/image.h"
#include "base/bits.h"

#include <errno.h>

static int raw_open(struct image *image, const struct image_options *options, struct error *err)
{
	(void)options;
	if (image->file->size % 512 != 0 && !image->read_only)
		return error_set(err, EXIT_CODE_BAD_FILE,
			"the size of '%s' is not a multiple of 512 bytes; is it a raw image? pad "
			"it "
			"with 'truncate -s %%512'",
			image->path);
	/* What the file lacks of its last sector reads as zeros. */
	image->size = align_up(image->file->size, 512);
	image->discard_granularity =
		image->file->is_block_device ? image->file->physical_block_bytes : 4096;
	return 0;
}

static int raw_close(struct image *image)
{
	(void)image;
	return 0;
}

static int raw_read(struct image *image, uint64_t offset, struct buffer buffer, uint64_t bytes)
{
	return host_file_read(image->file, offset, buffer, bytes);
}

static int raw_write(struct image *image, uint64_t offset, struct buffer buffer, uint64_t bytes)
{
	return host_file_write(image->file, offset, buffer, bytes);
}

static int raw_flush(struct image *image)
{
	return host_file_flush(image->file);
}

static int raw_discard(struct image *image, uint64_t offset, uint64_t bytes)
{
	return image->keep_discarded ? 0 : host_file_discard(image->file, offset, bytes);
}

static int raw_zero(struct image *image, uint64_t offset, uint64_t bytes, bool unmap)
{
	return host_file_zero(image->file, offset, bytes, unmap && !image->keep_discarded);
}

static int raw_resize(struct image *image, uint64_t bytes, struct error *err)
{
	int result = host_file_resize(image->file, bytes);

	if (result == -ENOSPC)
		error_set(err, EXIT_CODE_HOST, "the block device '%s' holds only %llu bytes",
			image->path, (unsigned long long)image->file->size);
	if (result == 0)
		image->size = bytes;
	return result;
}

static int raw_content(
	struct image *image, uint64_t offset, uint64_t *bytes, enum image_content *content)
{
	bool is_data;

	*bytes = host_file_extent(image->file, offset, *bytes, &is_data);
	*content = is_data ? IMAGE_DATA : IMAGE_ZERO;
	return 0;
}

static bool raw_pin(
	struct image *image, uint64_t offset, uint64_t bytes, bool is_write, struct image_pin *pin)
{
	(void)bytes;
	(void)is_write;
	pin->file = image->file;
	pin->host_offset = offset;
	return true;
}

static void raw_unpin(struct image *image, struct image_pin *pin)
{
	(void)image;
	(void)pin;
}

const struct image_format image_raw = {
	.name = "raw",
	.open = raw_open,
	.close = raw_close,
	.read = raw_read,
	.write = raw_write,
	.flush = raw_flush,
	.discard = raw_discard,
	.zero = raw_zero,
	.resize = raw_resize,
	.content = raw_content,
	.pin = raw_pin,
	.unpin = raw_unpin,
};
