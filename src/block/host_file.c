/*
 * Host files: plain preadv and pwritev, with a bounce buffer where O_DIRECT asks for alignment.
 *
 * Not modelled: block devices with a zoned or integrity format.
 */
#include "block/host_file.h"
#include "base/bits.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define MAX_ALIGNMENT 4096
#define BOUNCE_BYTES  (1u << 20)
#define SLICE_IOV     64

void *host_file_memory(size_t bytes)
{
	return aligned_alloc(MAX_ALIGNMENT, align_up(bytes ? bytes : 1, MAX_ALIGNMENT));
}

/* The smallest alignment a direct read succeeds with. */
static uint32_t probe_alignment(struct host_file *file)
{
	char *memory = host_file_memory(2 * MAX_ALIGNMENT);
	uint32_t alignment = MAX_ALIGNMENT;

	if (!memory)
		return alignment;
	for (uint32_t attempt = 512; attempt < MAX_ALIGNMENT; attempt *= 2) {
		if (pread(file->fd, memory + attempt, attempt, attempt) >= 0) {
			alignment = attempt;
			break;
		}
	}
	free(memory);
	return alignment;
}

/* The file systems of which it is known. */
static bool is_on_local_file_system(int fd)
{
	static const unsigned long local[] = { EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC, BTRFS_SUPER_MAGIC,
		F2FS_SUPER_MAGIC, TMPFS_MAGIC };
	struct statfs system;

	if (fstatfs(fd, &system))
		return false;
	for (unsigned i = 0; i < ARRAY_SIZE(local); i++)
		if ((unsigned long)system.f_type == local[i])
			return true;
	return false;
}

static int learn_kind(struct host_file *file, struct error *err)
{
	struct stat status;
	unsigned physical = 0;
	int logical = 0;

	if (fstat(file->fd, &status))
		return -errno;
	if (!S_ISREG(status.st_mode) && !S_ISBLK(status.st_mode)) {
		error_set(err, EXIT_CODE_BAD_FILE,
			"'%s' is neither a file nor a block device; name the image itself",
			file->path);
		return -EINVAL;
	}
	file->device = status.st_dev;
	file->inode = status.st_ino;
	file->is_block_device = S_ISBLK(status.st_mode);
	file->is_local = !file->is_block_device && is_on_local_file_system(file->fd);
	file->alignment = 1;
	file->physical_block_bytes = 512;
	if (file->is_block_device) {
		if (ioctl(file->fd, BLKPBSZGET, &physical) == 0 && physical >= 512)
			file->physical_block_bytes = physical;
		if (ioctl(file->fd, BLKSSZGET, &logical) == 0 && file->direct)
			file->alignment = (uint32_t)logical;
	} else if (file->direct) {
		file->alignment = probe_alignment(file);
	}
	if (file->physical_block_bytes < file->alignment)
		file->physical_block_bytes = file->alignment;
	return host_file_refresh(file);
}

static int open_flags(const struct host_file_options *options)
{
	return (options->read_only ? O_RDONLY : O_RDWR) | (options->direct ? O_DIRECT : 0) |
	       (options->create ? O_CREAT : 0) | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
}

static int open_descriptor(
	struct host_file *file, const struct host_file_options *options, struct error *err)
{
	int saved;

	file->fd = open(file->path, open_flags(options), 0644);
	if (file->fd >= 0)
		return 0;
	saved = errno;
	if (saved == EINVAL && options->direct)
		error_set(err, EXIT_CODE_UNAVAILABLE,
			"the file system of '%s' has no direct access; use another cache mode, "
			"such as writeback",
			file->path);
	else if (options->create)
		error_set_errno(err, EXIT_CODE_CANNOT_WRITE, saved, "cannot create the image '%s'",
			file->path);
	else if (saved == EACCES || saved == EPERM || saved == EROFS)
		error_set_errno(err, EXIT_CODE_PERMISSION, saved, "cannot open the image '%s'%s",
			file->path, options->read_only ? "" : " for writing");
	else
		error_set_errno(
			err, EXIT_CODE_NO_FILE, saved, "cannot open the image '%s'", file->path);
	return -saved;
}

int host_file_open(struct host_file **opened, const char *path,
	const struct host_file_options *options, struct error *err)
{
	struct host_file *file = calloc(1, sizeof(*file));
	int result = -ENOMEM;

	*opened = NULL;
	if (!file)
		return -ENOMEM;
	file->fd = -1;
	pthread_mutex_init(&file->unaligned, NULL);
	file->path = strdup(path);
	if (!file->path)
		goto fail;
	file->read_only = options->read_only;
	file->direct = options->direct;
	file->ignore_flush = options->ignore_flush;
	result = open_descriptor(file, options, err);
	if (result)
		goto fail;
	result = learn_kind(file, err);
	if (result) {
		error_set_errno(err, EXIT_CODE_HOST, -result, "cannot examine '%s'", path);
		goto fail;
	}
	result = options->unlocked ? 0 : host_file_lock(file, err);
	if (result) {
		error_set_errno(err, EXIT_CODE_HOST, -result, "cannot lock '%s'", path);
		goto fail;
	}
	if (options->create && !file->is_block_device) {
		/* Emptied only once the lock says that nobody uses it. */
		result = host_file_resize(file, 0);
		if (result) {
			error_set_errno(
				err, EXIT_CODE_CANNOT_WRITE, -result, "cannot empty '%s'", path);
			goto fail;
		}
	}
	*opened = file;
	return 0;
fail:
	host_file_close(file);
	return result;
}

void host_file_close(struct host_file *file)
{
	if (!file)
		return;
	if (file->fd >= 0)
		close(file->fd);
	pthread_mutex_destroy(&file->unaligned);
	free(file->path);
	free(file);
}

int host_file_refresh(struct host_file *file)
{
	off_t end = lseek(file->fd, 0, SEEK_END);

	if (end < 0)
		return -errno;
	file->size = (uint64_t)end;
	return 0;
}

static void grow_to(struct host_file *file, uint64_t end)
{
	uint64_t size = file->size;

	while (end > size && !atomic_compare_exchange_weak(&file->size, &size, end))
		;
}

static int read_plain(struct host_file *file, uint64_t offset, struct buffer buffer, uint64_t bytes)
{
	while (bytes > 0) {
		struct iovec slice[SLICE_IOV];
		uint64_t covered;
		unsigned count = buffer_slice(buffer, bytes, slice, SLICE_IOV, &covered);
		ssize_t done = preadv(file->fd, slice, (int)count, (off_t)offset);

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return -errno;
		if (done == 0) {
			buffer_clear(buffer, bytes);
			return 0;
		}
		/* A direct read may end inside a block at the end of the file. */
		if (file->direct && (uint64_t)done < covered && done % file->alignment != 0) {
			buffer_clear(buffer_after(buffer, (uint64_t)done), bytes - (uint64_t)done);
			return 0;
		}
		buffer = buffer_after(buffer, (uint64_t)done);
		offset += (uint64_t)done;
		bytes -= (uint64_t)done;
	}
	return 0;
}

static int write_plain(
	struct host_file *file, uint64_t offset, struct buffer buffer, uint64_t bytes)
{
	while (bytes > 0) {
		struct iovec slice[SLICE_IOV];
		uint64_t covered;
		unsigned count = buffer_slice(buffer, bytes, slice, SLICE_IOV, &covered);
		ssize_t done = pwritev(file->fd, slice, (int)count, (off_t)offset);

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return -errno;
		if (done == 0)
			return -EIO;
		buffer = buffer_after(buffer, (uint64_t)done);
		offset += (uint64_t)done;
		bytes -= (uint64_t)done;
		grow_to(file, offset);
	}
	return 0;
}

static bool needs_bounce(
	const struct host_file *file, uint64_t offset, struct buffer buffer, uint64_t bytes)
{
	return file->direct && (offset % file->alignment != 0 || bytes % file->alignment != 0 ||
				       !buffer_is_aligned(buffer, bytes, file->alignment));
}

/* Moves `bytes` through aligned memory; a write keeps what surrounds it. */
static int bounce(struct host_file *file, uint64_t offset, struct buffer buffer, uint64_t bytes,
	bool is_write)
{
	char *memory = host_file_memory(BOUNCE_BYTES);
	int result = 0;

	if (!memory)
		return -ENOMEM;
	while (bytes > 0 && result == 0) {
		uint64_t start = align_down(offset, file->alignment);
		uint64_t end = align_up(offset + bytes, file->alignment);
		struct iovec flat = { .iov_base = memory };
		struct buffer aligned = { .iov = &flat, .nr_iov = 1 };
		uint64_t part;

		if (end - start > BOUNCE_BYTES)
			end = start + BOUNCE_BYTES;
		flat.iov_len = end - start;
		part = end - offset < bytes ? end - offset : bytes;
		if (!is_write || part < end - start)
			result = read_plain(file, start, aligned, end - start);
		if (result)
			break;
		if (is_write) {
			buffer_load(buffer, memory + (offset - start), part);
			result = write_plain(file, start, aligned, end - start);
		} else {
			buffer_store(buffer, memory + (offset - start), part);
		}
		buffer = buffer_after(buffer, part);
		offset += part;
		bytes -= part;
	}
	free(memory);
	return result;
}

int host_file_read(struct host_file *file, uint64_t offset, struct buffer buffer, uint64_t bytes)
{
	if (offset > INT64_MAX - bytes)
		return -EINVAL;
	if (needs_bounce(file, offset, buffer, bytes))
		return bounce(file, offset, buffer, bytes, false);
	return read_plain(file, offset, buffer, bytes);
}

int host_file_write(struct host_file *file, uint64_t offset, struct buffer buffer, uint64_t bytes)
{
	int result;

	if (file->read_only)
		return -EROFS;
	if (offset > INT64_MAX - bytes)
		return -EFBIG;
	if (needs_bounce(file, offset, buffer, bytes)) {
		pthread_mutex_lock(&file->unaligned);
		result = bounce(file, offset, buffer, bytes, true);
		pthread_mutex_unlock(&file->unaligned);
	} else {
		result = write_plain(file, offset, buffer, bytes);
	}
	if (file->observer && result == 0)
		file->observer->written(file->observer->context, offset, buffer, bytes);
	return result;
}

int host_file_pread(struct host_file *file, uint64_t offset, void *to, size_t bytes)
{
	struct iovec iov = { .iov_base = to, .iov_len = bytes };

	return host_file_read(file, offset, (struct buffer){ .iov = &iov, .nr_iov = 1 }, bytes);
}

int host_file_pwrite(struct host_file *file, uint64_t offset, const void *from, size_t bytes)
{
	struct iovec iov = { .iov_base = (void *)from, .iov_len = bytes };

	return host_file_write(file, offset, (struct buffer){ .iov = &iov, .nr_iov = 1 }, bytes);
}

int host_file_flush(struct host_file *file)
{
	if (file->read_only)
		return 0;
	if (file->observer)
		file->observer->flushed(file->observer->context);
	if (file->ignore_flush)
		return 0;
	/* After a failure the kernel may have dropped dirty pages: a later success proves nothing.
	 */
	if (file->writes_lost)
		return -EIO;
	if (fdatasync(file->fd) == 0)
		return 0;
	if (errno != EINTR && errno != ENOSPC && errno != EDQUOT && !file->direct)
		file->writes_lost = true;
	return -errno;
}

static int write_zeros(struct host_file *file, uint64_t offset, uint64_t bytes)
{
	uint64_t chunk = bytes < BOUNCE_BYTES ? bytes : BOUNCE_BYTES;
	char *zeros = host_file_memory(chunk);
	int result = 0;

	if (!zeros)
		return -ENOMEM;
	memset(zeros, 0, chunk);
	while (bytes > 0 && result == 0) {
		uint64_t part = bytes < chunk ? bytes : chunk;

		result = host_file_pwrite(file, offset, zeros, part);
		offset += part;
		bytes -= part;
	}
	free(zeros);
	return result;
}

static bool is_unsupported(int errno_value)
{
	return errno_value == EOPNOTSUPP || errno_value == ENOTTY || errno_value == EINVAL ||
	       errno_value == ENOSYS;
}

int host_file_zero(struct host_file *file, uint64_t offset, uint64_t bytes, bool unmap)
{
	int mode = FALLOC_FL_KEEP_SIZE | (unmap ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE);
	int result;

	if (file->read_only)
		return -EROFS;
	if (bytes == 0)
		return 0;
	if (offset > INT64_MAX - bytes)
		return -EFBIG;
	/* A block device zeroes whole blocks only. */
	if (file->is_block_device && (offset | bytes) % file->physical_block_bytes != 0)
		return write_zeros(file, offset, bytes);
	do {
		result = fallocate(file->fd, mode, (off_t)offset, (off_t)bytes) ? -errno : 0;
	} while (result == -EINTR);
	if (result && is_unsupported(-result) && unmap) {
		return host_file_zero(file, offset, bytes, false);
	}
	if (result && is_unsupported(-result))
		return write_zeros(file, offset, bytes);
	if (file->observer && result == 0)
		file->observer->zeroed(file->observer->context, offset, bytes);
	return result;
}

int host_file_discard(struct host_file *file, uint64_t offset, uint64_t bytes)
{
	uint64_t range[2] = { offset, bytes };

	if (file->read_only)
		return -EROFS;
	if (file->cannot_punch || bytes == 0)
		return 0;
	while (file->is_block_device
			? ioctl(file->fd, BLKDISCARD, range)
			: fallocate(file->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				  (off_t)offset, (off_t)bytes)) {
		if (errno == EINTR)
			continue;
		if (!is_unsupported(errno))
			return -errno;
		file->cannot_punch = true;
		return 0;
	}
	if (file->observer)
		file->observer->zeroed(file->observer->context, offset, bytes);
	return 0;
}

int host_file_resize(struct host_file *file, uint64_t bytes)
{
	if (file->read_only)
		return -EROFS;
	if (bytes > INT64_MAX)
		return -EFBIG;
	if (file->is_block_device)
		return bytes <= file->size ? 0 : -ENOSPC;
	while (ftruncate(file->fd, (off_t)bytes)) {
		if (errno != EINTR)
			return -errno;
	}
	file->size = bytes;
	if (file->observer)
		file->observer->resized(file->observer->context, bytes);
	return 0;
}

uint64_t host_file_allocated(struct host_file *file)
{
	struct stat status;

	if (file->is_block_device)
		return file->size;
	return fstat(file->fd, &status) ? 0 : (uint64_t)status.st_blocks * 512;
}

uint64_t host_file_extent(struct host_file *file, uint64_t offset, uint64_t bytes, bool *is_data)
{
	off_t at;

	*is_data = true;
	if (offset >= file->size) {
		*is_data = false;
		return bytes;
	}
	if (file->is_block_device)
		return bytes;
	at = lseek(file->fd, (off_t)offset, SEEK_DATA);
	if (at < 0) {
		/* ENXIO: nothing but a hole until the end. */
		*is_data = errno != ENXIO;
		return bytes;
	}
	if ((uint64_t)at > offset) {
		*is_data = false;
		return (uint64_t)at - offset < bytes ? (uint64_t)at - offset : bytes;
	}
	at = lseek(file->fd, (off_t)offset, SEEK_HOLE);
	if (at <= (off_t)offset)
		return bytes;
	return (uint64_t)at - offset < bytes ? (uint64_t)at - offset : bytes;
}
