/*
 * atoll disk create and resize.
 */
#include "cli/disk_options.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The size of the backing file, which an overlay has unless another is given. */
static int backing_size(
	const struct disk_options *options, const char *path, uint64_t *size, struct error *err)
{
	char *backing = image_relative_path(path, options->backing);
	struct image *image;
	int result;

	if (!backing)
		return -ENOMEM;
	result = disk_verb_open(&image, backing, options->backing_format, true, NULL, err);
	free(backing);
	if (result)
		return result;
	*size = image->size;
	image_close(image);
	return 0;
}

int disk_verb_create(const struct disk_call *call, struct error *err)
{
	const struct disk_options *options = call->options;
	const char *path = call->operands[0];
	uint64_t size = 0;
	int result = 0;

	if (!options->backing && call->nr_operands < 2)
		return error_set(err, EXIT_CODE_USAGE,
			"the size of '%s' is not given; use 'atoll disk create IMAGE SIZE'", path);
	if (options->backing)
		result = backing_size(options, path, &size, err);
	if (result == 0 && call->nr_operands == 2)
		result = disk_verb_parse_size(call->operands[1], &size, err);
	return result ? result : disk_verb_make(options, path, size, err);
}

/* "10G", "+1G" or "-1G". */
static int parse_new_size(const char *text, uint64_t old, uint64_t *size, struct error *err)
{
	bool is_relative = *text == '+' || *text == '-';
	int result = disk_verb_parse_size(text + is_relative, size, err);

	if (result || !is_relative)
		return result;
	if (*text == '-' && *size > old)
		return error_set(err, EXIT_CODE_USAGE,
			"the disk is smaller than what '%s' would take away", text);
	*size = *text == '-' ? old - *size : old + *size;
	return 0;
}

int disk_verb_resize(const struct disk_call *call, struct error *err)
{
	const struct disk_options *options = call->options;
	struct image *image;
	uint64_t size;
	int result = disk_verb_open(&image, call->operands[0], options->format, false, NULL, err);
	int closed;

	if (result)
		return result;
	result = parse_new_size(call->operands[1], image->size, &size, err);
	if (result == 0) {
		size = align_up(size, 512);
		if (size < image->size && !options->shrink)
			result = error_set(err, EXIT_CODE_USAGE,
				"'%s' has %llu bytes; a smaller size loses what lies beyond it: "
				"add "
				"--shrink if that is meant",
				image->path, (unsigned long long)image->size);
	}
	if (result == 0)
		result = image_resize(image, size, err);
	closed = image_close(image);
	return result ? result : closed;
}
