/*
 * Files for a guest. They are read, not mapped: a file that shrinks meanwhile is an error, not a
 * signal.
 */
#include "firmware/boot_image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

int boot_file_open(struct boot_file *file, const char *path, const char *what, struct error *err)
{
	struct stat status;

	*file = (struct boot_file){ .fd = -1 };
	file->path = strdup(path);
	if (!file->path)
		return error_set_errno(err, EXIT_CODE_HOST, ENOMEM, "cannot read %s", path);
	file->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (file->fd < 0)
		return error_set_errno(err, EXIT_CODE_NO_FILE, errno,
			"cannot open %s %s; name a file that can be read", what, path);
	if (fstat(file->fd, &status) < 0)
		return error_set_errno(err, EXIT_CODE_NO_FILE, errno, "cannot read %s", path);
	if (!S_ISREG(status.st_mode))
		return error_set(err, EXIT_CODE_NO_FILE,
			"%s %s is not a regular file; name a file that can be read", what, path);
	file->size = (uint64_t)status.st_size;
	return 0;
}

void boot_file_finish(struct boot_file *file)
{
	if (file->fd >= 0)
		close(file->fd);
	free(file->path);
	*file = (struct boot_file){ .fd = -1 };
}

static int shrank(const struct boot_file *file, struct error *err)
{
	return error_set(err, EXIT_CODE_NO_FILE, "%s shrank while it was being read; start again",
		file->path);
}

static int read_exactly(
	const struct boot_file *file, void *to, uint64_t size, uint64_t offset, struct error *err)
{
	for (uint64_t done = 0; done < size;) {
		ssize_t got =
			pread(file->fd, (char *)to + done, size - done, (off_t)(offset + done));

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return error_set_errno(
				err, EXIT_CODE_NO_FILE, errno, "cannot read %s", file->path);
		if (got == 0)
			return shrank(file, err);
		done += (uint64_t)got;
	}
	return 0;
}

/* Copies a part of the file to guest RAM, without a buffer between. */
static int copy_part(const struct boot_file *file, uint64_t offset, uint64_t size,
	struct guest_memory *memory, gpa_t address, struct error *err)
{
	int result = guest_memory_read_file(memory, address, size, file->fd, offset);

	if (result == 0)
		return 0;
	if (result == -EFAULT)
		return error_set(err, EXIT_CODE_INTERNAL,
			"%s was placed where the guest has no memory", file->path);
	if (result == -ENODATA)
		return shrank(file, err);
	return error_set_errno(err, EXIT_CODE_NO_FILE, -result, "cannot read %s", file->path);
}

int boot_file_copy(
	const struct boot_file *file, struct guest_memory *memory, gpa_t address, struct error *err)
{
	return copy_part(file, 0, file->size, memory, address, err);
}

/* What a kernel's header is read in, so that a large kernel costs few reads and little memory. */
#define REACH_STEP (64 << 10)

struct boot_source {
	struct boot_file file;
	uint8_t *bytes;
	uint64_t present; /* so many of them have been read */
};

static int reach(struct boot_source *source, uint64_t end, struct error *err)
{
	uint64_t size = source->file.size, present = source->present;

	end = end > size - size % REACH_STEP ? size : align_up(end, REACH_STEP);
	if (end <= present)
		return 0;
	if (read_exactly(&source->file, source->bytes + present, end - present, present, err) < 0)
		return -EIO;
	source->present = end;
	return 0;
}

bool boot_source_reach(struct boot_source *source, uint64_t end)
{
	struct error err;

	return end <= source->present || reach(source, end, &err) == 0;
}

static int open_source(struct boot_source *source, const char *path, struct error *err)
{
	if (boot_file_open(&source->file, path, "the kernel", err) < 0)
		return -EINVAL;
	if (source->file.size == 0 || source->file.size > BOOT_IMAGE_MAX)
		return error_set(err, EXIT_CODE_BAD_FILE, "%s is not a kernel: it is %s", path,
			source->file.size ? "larger than 1 GiB" : "empty");
	source->bytes = malloc(source->file.size);
	if (!source->bytes)
		return error_set_errno(err, EXIT_CODE_HOST, ENOMEM, "cannot read %s", path);
	return reach(source, 1, err);
}

int boot_image_open(struct boot_image *image, const char *path, struct error *err)
{
	struct boot_source *source = calloc(1, sizeof(*source));

	*image = (struct boot_image){ .path = path, .source = source };
	if (!source)
		return error_set_errno(err, EXIT_CODE_HOST, ENOMEM, "cannot read %s", path);
	source->file.fd = -1;
	if (open_source(source, path, err) < 0) {
		boot_image_finish(image);
		return -EINVAL;
	}
	image->bytes = source->bytes;
	image->size = source->file.size;
	return 0;
}

void boot_image_finish(struct boot_image *image)
{
	if (image->source) {
		boot_file_finish(&image->source->file);
		free(image->source->bytes);
		free(image->source);
	}
	*image = (struct boot_image){ 0 };
}

int boot_image_copy(const struct boot_image *image, uint64_t offset, uint64_t size,
	struct guest_memory *memory, gpa_t address, struct error *err)
{
	if (image->source)
		return copy_part(&image->source->file, offset, size, memory, address, err);
	if (guest_memory_write(memory, address, image->bytes + offset, size) < 0)
		return error_set(err, EXIT_CODE_INTERNAL,
			"%s was placed where the guest has no memory", image->path);
	return 0;
}

int boot_zero(struct guest_memory *memory, gpa_t address, uint64_t size)
{
	static const uint8_t zeros[GUEST_PAGE_SIZE];

	if (size > 0 && !guest_memory_host(memory, address, size))
		return -EFAULT;
	for (gpa_t at = address, end = address + size; at < end;) {
		uint64_t piece = align_down(at, GUEST_PAGE_SIZE) + GUEST_PAGE_SIZE - at;

		if (piece > end - at)
			piece = end - at;
		if (memcmp(guest_memory_host(memory, at, piece), zeros, piece) != 0 &&
			guest_memory_write(memory, at, zeros, piece) < 0)
			return -EFAULT;
		at += piece;
	}
	return 0;
}
