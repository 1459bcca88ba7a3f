/*
 * Fuzzing of qcow2 images: the input is the image. It is read, checked, written to and repaired.
 */
#include "block/qcow2.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t bytes);

#define PART 4096

static void read_parts(struct image *image)
{
	static uint8_t data[PART];

	for (unsigned i = 0; i < 64; i++) {
		uint64_t offset = image->size / 64 * i / 512 * 512;
		uint64_t left = image->size - offset, content_bytes = left;
		enum image_content content;

		if (left == 0)
			break;
		image_pread(image, offset, data, left < PART ? left : PART);
		image_chain_content(image, offset, &content_bytes, &content);
	}
}

static void write_parts(struct image *image)
{
	static const uint8_t data[PART] = { 1, 2, 3 };

	for (unsigned i = 0; i < 8; i++) {
		uint64_t offset = image->size / 8 * i / 512 * 512;
		uint64_t left = image->size - offset;

		if (left > PART)
			left = PART;
		image_pwrite(image, offset, data, left);
		image_zero(image, offset, left / 2 / 512 * 512, i & 1);
		image_discard(image, offset, left);
		image_flush(image);
	}
}

static void work(const char *path, bool read_only, bool allow_damaged)
{
	const struct image_options options = { .path = path,
		.format = "qcow2",
		.read_only = read_only,
		.no_backing = true,
		.ignore_flush = true,
		.allow_damaged = allow_damaged };
	struct qcow2_check check = { 0 };
	struct image *image;

	if (image_open(&image, &options, NULL))
		return;
	read_parts(image);
	qcow2_check(image, &check, NULL);
	if (allow_damaged)
		qcow2_repair(image, &check, NULL);
	if (!read_only) {
		write_parts(image);
		qcow2_snapshot_create(image, "fuzz", NULL);
		write_parts(image);
		qcow2_snapshot_apply(image, "fuzz", NULL);
		qcow2_snapshot_delete(image, "fuzz", NULL);
		if (image->size < 1u << 30)
			image_resize(image, image->size + 65536, NULL);
	}
	image_close(image);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t bytes)
{
	static int fd = -1;
	char path[64];

	if (fd < 0) {
		fd = memfd_create("fuzz", MFD_CLOEXEC);
	}
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	for (unsigned round = 0; round < 3; round++) {
		if (ftruncate(fd, 0) || pwrite(fd, input, bytes, 0) < 0)
			return 0;
		work(path, round == 0, round == 2);
	}
	return 0;
}
