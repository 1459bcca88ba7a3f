/*
 * Operations on the content of regular files.
 */
#include "share/share.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <unistd.h>

/* Flags of the guest's open that say something here; O_NOATIME and O_DIRECT are for owners of
 * files and of aligned memory. */
#define OPEN_FLAGS (O_ACCMODE | O_APPEND | O_TRUNC | O_SYNC | O_DSYNC)

/* One request may not keep the others waiting for as long as it likes. */
#define MAX_COPY (16u << 20)

static bool would_change(uint32_t flags)
{
	return (flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC);
}

/* A descriptor for a known file. What is no regular file could act when it is opened. */
static int open_inode(struct share *share, struct share_inode *inode, uint32_t flags)
{
	char path[SHARE_FD_PATH_BYTES];
	int fd;

	if (!S_ISREG(inode->type))
		return S_ISDIR(inode->type) ? -EISDIR : -ENXIO;
	fd = share_inode_open(&share->inodes, inode);
	if (fd < 0)
		return fd;
	fd = open(share_fd_path(path, fd), (int)(flags & OPEN_FLAGS) | O_CLOEXEC | O_NONBLOCK);
	return fd < 0 ? -errno : fd;
}

int share_open(struct share *share, struct share_request *request)
{
	const struct fuse_open_in *in = request->fixed;
	struct fuse_open_out out = { 0 };
	int fd, rc;

	if (share->read_only && would_change(in->flags))
		return -EROFS;
	fd = open_inode(share, request->inode, in->flags);
	if (fd < 0)
		return fd;
	rc = share_handle_add(share, fd, false, &out.fh);
	if (rc == 0)
		rc = share_answer(request, &out, sizeof(out));
	return rc;
}

static int open_new(struct share *share, struct share_request *request, int directory)
{
	const struct fuse_create_in *in = request->fixed;
	int flags = (int)(in->flags & OPEN_FLAGS) | O_CREAT | O_EXCL | O_CLOEXEC | O_NONBLOCK;
	int fd;

	share_act_as(share, request);
	fd = openat(directory, request->names[0], flags | O_NOFOLLOW, in->mode & 07777);
	if (fd < 0)
		fd = -errno;
	share_act_as_self(share);
	return fd;
}

int share_create_file(struct share *share, struct share_request *request)
{
	const struct fuse_create_in *in = request->fixed;
	struct {
		struct fuse_entry_out entry;
		struct fuse_open_out open;
	} out = { 0 };
	const char *name = request->names[0];
	struct share_inode *inode;
	struct stat status;
	int rc = share_name_check(name), fd, directory;

	if (rc < 0)
		return rc;
	if (request->out_bytes < sizeof(out))
		return -EIO;
	directory = share_inode_open(&share->inodes, request->inode);
	if (directory < 0)
		return directory;
	fd = open_new(share, request, directory);
	if (fd < 0 && (fd != -EEXIST || (in->flags & O_EXCL)))
		return fd;
	rc = share_inode_look_up(&share->inodes, request->inode, name, &inode, &status);
	if (rc < 0) {
		if (fd >= 0)
			close(fd);
		return rc;
	}
	if (fd < 0)
		fd = open_inode(share, inode, in->flags);
	rc = fd < 0 ? fd : share_handle_add(share, fd, false, &out.open.fh);
	if (rc < 0) {
		share_inode_forget(&share->inodes, inode->id, 1);
		return rc;
	}
	share_fill_entry(share, &out.entry, inode, &status);
	return share_answer(request, &out, sizeof(out));
}

int share_read(struct share *share, struct share_request *request)
{
	const struct fuse_read_in *in = request->fixed;
	int fd = share_handle_fd(share, in->fh, false);
	size_t left = in->size < request->out_bytes ? in->size : request->out_bytes;
	unsigned count = 0;
	ssize_t bytes;

	if (fd < 0)
		return fd;
	if (left > SHARE_MAX_WRITE)
		left = SHARE_MAX_WRITE;
	while (count < request->nr_out && left > 0) {
		struct iovec *piece = &request->out[count++];

		if (piece->iov_len > left)
			piece->iov_len = left;
		left -= piece->iov_len;
	}
	bytes = preadv(fd, request->out, (int)count, (off_t)in->offset);
	if (bytes < 0)
		return -errno;
	request->answer_bytes = (size_t)bytes;
	return 0;
}

int share_write(struct share *share, struct share_request *request)
{
	const struct fuse_write_in *in = request->fixed;
	int fd = share_handle_fd(share, in->fh, false);
	struct fuse_write_out out = { 0 };
	ssize_t bytes;

	if (fd < 0)
		return fd;
	if (in->size > SHARE_MAX_WRITE || in->size != request->rest_bytes)
		return -EINVAL;
	bytes = pwritev(fd, request->in, (int)request->nr_in, (off_t)in->offset);
	if (bytes < 0)
		return -errno;
	out.size = (uint32_t)bytes;
	return share_answer(request, &out, sizeof(out));
}

/* The errors that a close would tell. */
int share_flush(struct share *share, struct share_request *request)
{
	const struct fuse_flush_in *in = request->fixed;
	int fd = share_handle_fd(share, in->fh, false);

	if (fd < 0)
		return fd;
	fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	return fd < 0 || close(fd) < 0 ? -errno : 0;
}

int share_release(struct share *share, struct share_request *request)
{
	const struct fuse_release_in *in = request->fixed;

	share_handle_remove(share, in->fh, false);
	return 0;
}

int share_fsync(struct share *share, struct share_request *request)
{
	const struct fuse_fsync_in *in = request->fixed;
	int fd = share_handle_fd(share, in->fh, false);

	if (fd < 0)
		return fd;
	return (in->fsync_flags & FUSE_FSYNC_FDATASYNC ? fdatasync(fd) : fsync(fd)) < 0 ? -errno
											: 0;
}

int share_fallocate(struct share *share, struct share_request *request)
{
	const struct fuse_fallocate_in *in = request->fixed;
	int fd = share_handle_fd(share, in->fh, false);

	if (fd < 0)
		return fd;
	if (in->mode &
		~(uint32_t)(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
		return -EOPNOTSUPP;
	return fallocate(fd, (int)in->mode, (off_t)in->offset, (off_t)in->length) < 0 ? -errno : 0;
}

int share_lseek(struct share *share, struct share_request *request)
{
	const struct fuse_lseek_in *in = request->fixed;
	int fd = share_handle_fd(share, in->fh, false);
	struct fuse_lseek_out out = { 0 };
	off_t offset;

	if (fd < 0)
		return fd;
	if (in->whence != SEEK_DATA && in->whence != SEEK_HOLE)
		return -EINVAL;
	offset = lseek(fd, (off_t)in->offset, (int)in->whence);
	if (offset < 0)
		return -errno;
	out.offset = (uint64_t)offset;
	return share_answer(request, &out, sizeof(out));
}

int share_copy_file_range(struct share *share, struct share_request *request)
{
	const struct fuse_copy_file_range_in *in = request->fixed;
	int from = share_handle_fd(share, in->fh_in, false);
	int to = share_handle_fd(share, in->fh_out, false);
	off_t from_offset = (off_t)in->off_in, to_offset = (off_t)in->off_out;
	struct fuse_write_out out = { 0 };
	ssize_t bytes;

	if (from < 0 || to < 0)
		return -EBADF;
	if (in->flags)
		return -EINVAL;
	bytes = copy_file_range(from, &from_offset, to, &to_offset,
		in->len < MAX_COPY ? (size_t)in->len : MAX_COPY, 0);
	if (bytes < 0)
		return -errno;
	out.size = (uint32_t)bytes;
	return share_answer(request, &out, sizeof(out));
}
