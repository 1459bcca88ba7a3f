/*
 * What all formats share: opening a chain of images, and range checks.
 */
#include "block/image.h"
#include "base/bits.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

const struct image_format *const image_formats[] = { &image_raw, &image_qcow2, NULL };

const struct image_format *image_format_find(const char *name, struct error *err)
{
	for (size_t i = 0; name && image_formats[i]; i++) {
		if (strcmp(image_formats[i]->name, name) == 0)
			return image_formats[i];
	}
	if (name)
		error_set(err, EXIT_CODE_USAGE, "there is no image format '%s'; use raw or qcow2",
			name);
	else
		error_set(err, EXIT_CODE_USAGE,
			"the format of the image is not given; say raw or qcow2, it is never "
			"guessed");
	return NULL;
}

static bool is_in_chain(const struct image *overlay, const struct host_file *file)
{
	for (; overlay; overlay = overlay->overlay) {
		if (overlay->file && overlay->file->device == file->device &&
			overlay->file->inode == file->inode)
			return true;
	}
	return false;
}

static unsigned chain_length(const struct image *image)
{
	unsigned length = 0;

	for (; image; image = image->overlay)
		length++;
	return length;
}

static int open_over(struct image **opened, struct image *overlay,
	const struct image_options *options, struct error *err)
{
	const struct image_format *format = image_format_find(options->format, err);
	const struct host_file_options file_options = {
		.read_only = options->read_only,
		.direct = options->direct,
		.ignore_flush = options->ignore_flush,
		.unlocked = options->unlocked,
	};
	struct image *image = NULL;
	int result = -EINVAL;

	*opened = NULL;
	if (!format)
		return -EINVAL;
	result = -ENOMEM;
	image = calloc(1, sizeof(*image));
	if (!image)
		return -ENOMEM;
	image->overlay = overlay;
	image->read_only = options->read_only;
	image->keep_discarded = options->keep_discarded;
	image->path = strdup(options->path);
	if (!image->path)
		goto fail;
	result = host_file_open(&image->file, options->path, &file_options, err);
	if (result)
		goto fail;
	if (is_in_chain(overlay, image->file)) {
		result = error_set(err, EXIT_CODE_BAD_FILE,
			"the backing files of '%s' form a loop; give it another with 'atoll disk "
			"rebase -u'",
			options->path);
		goto fail;
	}
	image->file->observer = options->observer;
	result = format->open(image, options, err);
	if (result) {
		error_set_errno(err, EXIT_CODE_BAD_FILE, -result, "cannot read the image '%s'",
			options->path);
		goto fail;
	}
	image->format = format;
	*opened = image;
	return 0;
fail:
	image_close(image);
	return result;
}

int image_open(struct image **image, const struct image_options *options, struct error *err)
{
	return open_over(image, NULL, options, err);
}

int image_close(struct image *image)
{
	int result = 0;

	if (!image)
		return 0;
	/* A format's failed open has cleaned up behind itself. */
	if (image->format)
		result = image->format->close(image);
	image_close(image->backing);
	host_file_close(image->file);
	free(image->path);
	free(image);
	return result;
}

char *image_relative_path(const char *image_path, const char *name)
{
	const char *slash = strrchr(image_path, '/');
	size_t directory = slash ? (size_t)(slash - image_path) + 1 : 0;
	char *path;

	if (name[0] == '/')
		return strdup(name);
	path = malloc(directory + strlen(name) + 1);
	if (!path)
		return NULL;
	memcpy(path, image_path, directory);
	strcpy(path + directory, name);
	return path;
}

/* QEMU's "json:{...}" and "nbd://..." name no file. A colon after a slash is part of a path. */
static bool names_protocol(const char *name)
{
	size_t colon = strcspn(name, ":/");

	return name[colon] == ':';
}

int image_open_backing(struct image *image, const char *name, const char *format,
	const struct image_options *options, struct error *err)
{
	struct image_options backing = *options;
	char *path;
	int result;

	if (strncmp(name, "file:", 5) == 0)
		name += 5;
	else if (names_protocol(name))
		return error_set(err, EXIT_CODE_BAD_FILE,
			"the backing file '%.100s' of '%s' is not a file; convert the image with "
			"the program that made it",
			name, image->path);
	if (chain_length(image) >= IMAGE_MAX_CHAIN)
		return error_set(err, EXIT_CODE_BAD_FILE,
			"'%s' stands on more than %d backing files; shorten the chain with 'atoll "
			"disk commit' or 'rebase'",
			image->path, IMAGE_MAX_CHAIN);
	path = image_relative_path(image->path, name);
	if (!path)
		return -ENOMEM;
	backing.path = path;
	backing.format = format;
	backing.read_only = true;
	backing.observer = NULL;
	result = open_over(&image->backing, image, &backing, err);
	free(path);
	return result;
}

static bool is_inside(const struct image *image, uint64_t offset, uint64_t bytes)
{
	return offset <= image->size && bytes <= image->size - offset;
}

int image_read(struct image *image, uint64_t offset, struct buffer buffer, uint64_t bytes)
{
	if (!is_inside(image, offset, bytes))
		return -EINVAL;
	return bytes ? image->format->read(image, offset, buffer, bytes) : 0;
}

int image_write(struct image *image, uint64_t offset, struct buffer buffer, uint64_t bytes)
{
	if (image->read_only)
		return -EROFS;
	if (!is_inside(image, offset, bytes))
		return -EINVAL;
	return bytes ? image->format->write(image, offset, buffer, bytes) : 0;
}

int image_pread(struct image *image, uint64_t offset, void *to, uint64_t bytes)
{
	struct iovec iov = { .iov_base = to, .iov_len = bytes };

	return image_read(image, offset, (struct buffer){ .iov = &iov, .nr_iov = 1 }, bytes);
}

int image_pwrite(struct image *image, uint64_t offset, const void *from, uint64_t bytes)
{
	struct iovec iov = { .iov_base = (void *)from, .iov_len = bytes };

	return image_write(image, offset, (struct buffer){ .iov = &iov, .nr_iov = 1 }, bytes);
}

int image_flush(struct image *image)
{
	return image->read_only ? 0 : image->format->flush(image);
}

int image_discard(struct image *image, uint64_t offset, uint64_t bytes)
{
	if (image->read_only)
		return -EROFS;
	if (!is_inside(image, offset, bytes))
		return -EINVAL;
	return bytes ? image->format->discard(image, offset, bytes) : 0;
}

int image_zero(struct image *image, uint64_t offset, uint64_t bytes, bool unmap)
{
	if (image->read_only)
		return -EROFS;
	if (!is_inside(image, offset, bytes))
		return -EINVAL;
	return bytes ? image->format->zero(image, offset, bytes, unmap) : 0;
}

int image_resize(struct image *image, uint64_t bytes, struct error *err)
{
	int result;

	if (image->read_only)
		return -EROFS;
	result = image->format->resize(image, bytes, err);
	if (result)
		error_set_errno(err, EXIT_CODE_HOST, -result, "cannot resize '%s'", image->path);
	return result;
}

int image_content(
	struct image *image, uint64_t offset, uint64_t *bytes, enum image_content *content)
{
	if (!is_inside(image, offset, *bytes) || *bytes == 0)
		return -EINVAL;
	return image->format->content(image, offset, bytes, content);
}

int image_chain_content(
	struct image *image, uint64_t offset, uint64_t *bytes, enum image_content *content)
{
	int result = image_content(image, offset, bytes, content);

	if (result || *content != IMAGE_UNALLOCATED)
		return result;
	image = image->backing;
	if (!image || offset >= image->size) {
		*content = IMAGE_ZERO;
		return 0;
	}
	if (*bytes > image->size - offset)
		*bytes = image->size - offset;
	return image_chain_content(image, offset, bytes, content);
}

int image_read_padded(struct image *image, uint64_t offset, struct buffer buffer, uint64_t bytes)
{
	uint64_t inside = 0;
	int result;

	if (image && offset < image->size)
		inside = bytes < image->size - offset ? bytes : image->size - offset;
	result = inside ? image_read(image, offset, buffer, inside) : 0;
	if (result == 0)
		buffer_clear(buffer_after(buffer, inside), bytes - inside);
	return result;
}
