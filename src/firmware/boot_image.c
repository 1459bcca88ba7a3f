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

#define COPY_CHUNK (256 << 10)

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
			return error_set(err, EXIT_CODE_NO_FILE,
				"%s shrank while it was being read; start again", file->path);
		done += (uint64_t)got;
	}
	return 0;
}

int boot_file_copy(
	const struct boot_file *file, struct guest_memory *memory, gpa_t address, struct error *err)
{
	uint8_t *chunk = malloc(COPY_CHUNK);
	int result = 0;

	if (!chunk)
		return error_set_errno(err, EXIT_CODE_HOST, ENOMEM, "cannot read %s", file->path);
	for (uint64_t done = 0; done < file->size && result == 0;) {
		uint64_t size = file->size - done < COPY_CHUNK ? file->size - done : COPY_CHUNK;

		result = read_exactly(file, chunk, size, done, err);
		if (result == 0 && guest_memory_write(memory, address + done, chunk, size) < 0)
			result = error_set(err, EXIT_CODE_INTERNAL,
				"%s was placed where the guest has no memory", file->path);
		done += size;
	}
	free(chunk);
	return result;
}

int boot_image_read(struct boot_image *image, const char *path, struct error *err)
{
	struct boot_file file;
	uint8_t *bytes = NULL;
	int result = boot_file_open(&file, path, "the kernel", err);

	*image = (struct boot_image){ .path = path };
	if (result < 0)
		goto out;
	if (file.size == 0 || file.size > BOOT_IMAGE_MAX) {
		result = error_set(err, EXIT_CODE_BAD_FILE, "%s is not a kernel: it is %s", path,
			file.size ? "larger than 1 GiB" : "empty");
		goto out;
	}
	bytes = malloc(file.size);
	if (!bytes) {
		result = error_set_errno(err, EXIT_CODE_HOST, ENOMEM, "cannot read %s", path);
		goto out;
	}
	result = read_exactly(&file, bytes, file.size, 0, err);
	if (result < 0) {
		free(bytes);
		goto out;
	}
	image->bytes = bytes;
	image->size = file.size;
out:
	boot_file_finish(&file);
	return result;
}

void boot_image_finish(struct boot_image *image)
{
	free((void *)image->bytes);
	*image = (struct boot_image){ 0 };
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
