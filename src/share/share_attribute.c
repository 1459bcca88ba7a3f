/*
 * Operations on what is known about files: attributes, extended ones, and their file system.
 */
#include "share/share.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

static int answer_attributes(struct share *share, struct share_request *request, int fd)
{
	struct fuse_attr_out out = { .attr_valid = share_valid_s(share) };
	struct stat status;

	if (fstat(fd, &status) < 0)
		return -errno;
	share_fill_attributes(&out.attr, &status);
	return share_answer(request, &out, sizeof(out));
}

int share_getattr(struct share *share, struct share_request *request)
{
	int fd = share_inode_open(&share->inodes, request->inode);

	return fd < 0 ? fd : answer_attributes(share, request, fd);
}

static int set_size(struct share *share, const struct share_request *request, const char *path)
{
	const struct fuse_setattr_in *in = request->fixed;
	int fd, rc;

	if (in->valid & FATTR_FH) {
		fd = share_handle_fd(share, in->fh, false);
		if (fd < 0)
			return fd;
		return ftruncate(fd, (off_t)in->size) < 0 ? -errno : 0;
	}
	if (!S_ISREG(request->inode->type))
		return -EINVAL;
	fd = open(path, O_WRONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return -errno;
	rc = ftruncate(fd, (off_t)in->size) < 0 ? -errno : 0;
	close(fd);
	return rc;
}

static struct timespec time_to_set(
	uint32_t valid, uint32_t given, uint32_t now, uint64_t seconds, uint32_t nanoseconds)
{
	if (valid & now)
		return (struct timespec){ .tv_nsec = UTIME_NOW };
	if (!(valid & given))
		return (struct timespec){ .tv_nsec = UTIME_OMIT };
	return (struct timespec){ .tv_sec = (time_t)seconds,
		.tv_nsec = nanoseconds < 1000000000 ? (long)nanoseconds : 0 };
}

int share_setattr(struct share *share, struct share_request *request)
{
	const struct fuse_setattr_in *in = request->fixed;
	const struct timespec times[] = { time_to_set(in->valid, FATTR_ATIME, FATTR_ATIME_NOW,
						  in->atime, in->atimensec),
		time_to_set(in->valid, FATTR_MTIME, FATTR_MTIME_NOW, in->mtime, in->mtimensec) };
	uid_t owner = in->valid & FATTR_UID ? in->uid : (uid_t)-1;
	gid_t group = in->valid & FATTR_GID ? in->gid : (gid_t)-1;
	int fd = share_inode_open(&share->inodes, request->inode), rc;
	char path[SHARE_FD_PATH_BYTES];

	if (fd < 0)
		return fd;
	share_fd_path(path, fd);
	if ((in->valid & FATTR_MODE) && chmod(path, in->mode & 07777) < 0)
		return -errno;
	if ((in->valid & (FATTR_UID | FATTR_GID)) &&
		fchownat(fd, "", owner, group, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	if (in->valid & FATTR_SIZE) {
		rc = set_size(share, request, path);
		if (rc < 0)
			return rc;
	}
	if ((in->valid & (FATTR_ATIME | FATTR_MTIME | FATTR_ATIME_NOW | FATTR_MTIME_NOW)) &&
		utimensat(AT_FDCWD, path, times, 0) < 0)
		return -errno;
	return answer_attributes(share, request, fd);
}

int share_statfs(struct share *share, struct share_request *request)
{
	int fd = share_inode_open(&share->inodes, request->inode);
	struct fuse_statfs_out out = { 0 };
	struct statfs status;

	if (fd < 0)
		return fd;
	if (fstatfs(fd, &status) < 0)
		return -errno;
	out.st = (struct fuse_kstatfs){ .blocks = status.f_blocks,
		.bfree = status.f_bfree,
		.bavail = status.f_bavail,
		.files = status.f_files,
		.ffree = status.f_ffree,
		.bsize = (uint32_t)status.f_bsize,
		.namelen = (uint32_t)status.f_namelen,
		.frsize = (uint32_t)status.f_frsize };
	return share_answer(request, &out, sizeof(out));
}

int share_access(struct share *share, struct share_request *request)
{
	const struct fuse_access_in *in = request->fixed;
	int fd = share_inode_open(&share->inodes, request->inode);
	char path[SHARE_FD_PATH_BYTES];

	if (fd < 0)
		return fd;
	if (in->mask & ~(uint32_t)(R_OK | W_OK | X_OK))
		return -EINVAL;
	if (share->read_only && (in->mask & W_OK))
		return -EROFS;
	/* What this process may: users are the guest's kernel's business, which does not ask. */
	return access(share_fd_path(path, fd), (int)in->mask) < 0 ? -errno : 0;
}

int share_syncfs(struct share *share, struct share_request *request)
{
	int fd = share_inode_open(&share->inodes, request->inode), rc;

	if (!S_ISDIR(request->inode->type))
		return -ENOTDIR;
	if (fd < 0)
		return fd;
	fd = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	rc = syncfs(fd) < 0 ? -errno : 0;
	close(fd);
	return rc;
}

/*
 * Extended attributes. ACLs are not for the guest to see: it does not ask to have them kept
 * (FUSE_POSIX_ACL), so it would not obey them.
 */
static bool is_acl(const char *name)
{
	return strncmp(name, "system.posix_acl_", 17) == 0;
}

/* Answers with a value of `bytes` bytes in share->answer, or, asked with size 0, with its size. */
static int answer_value(struct share *share, struct share_request *request, ssize_t bytes)
{
	const struct fuse_getxattr_in *in = request->fixed;
	struct fuse_getxattr_out out = { .size = (uint32_t)bytes };

	if (bytes < 0)
		return -errno;
	if (in->size == 0)
		return share_answer(request, &out, sizeof(out));
	if ((size_t)bytes > in->size)
		return -ERANGE;
	return share_answer(request, share->answer, (size_t)bytes);
}

int share_getxattr(struct share *share, struct share_request *request)
{
	int fd = share_inode_open(&share->inodes, request->inode);
	char path[SHARE_FD_PATH_BYTES];

	if (fd < 0)
		return fd;
	if (is_acl(request->names[0]))
		return -EOPNOTSUPP;
	return answer_value(share, request,
		getxattr(share_fd_path(path, fd), request->names[0], share->answer,
			SHARE_MAX_ARGUMENTS));
}

/* The list without the ACLs' names; returns its new length. */
static ssize_t without_acls(uint8_t *list, ssize_t bytes)
{
	ssize_t kept = 0;

	for (ssize_t at = 0; at < bytes;) {
		const char *name = (const char *)list + at;
		ssize_t length = (ssize_t)strnlen(name, (size_t)(bytes - at));

		if (!is_acl(name) && at + length < bytes) {
			memmove(list + kept, name, (size_t)length + 1);
			kept += length + 1;
		}
		at += length + 1;
	}
	return bytes < 0 ? bytes : kept;
}

int share_listxattr(struct share *share, struct share_request *request)
{
	int fd = share_inode_open(&share->inodes, request->inode);
	char path[SHARE_FD_PATH_BYTES];
	ssize_t bytes;

	if (fd < 0)
		return fd;
	bytes = listxattr(share_fd_path(path, fd), (char *)share->answer, SHARE_MAX_ARGUMENTS);
	return answer_value(share, request, without_acls(share->answer, bytes));
}

int share_setxattr(struct share *share, struct share_request *request)
{
	const struct fuse_setxattr_in *in = request->fixed;
	int fd = share_inode_open(&share->inodes, request->inode);
	char path[SHARE_FD_PATH_BYTES];

	if (fd < 0)
		return fd;
	if (is_acl(request->names[0]))
		return -EOPNOTSUPP;
	if (in->size > request->rest_bytes || in->flags & ~(uint32_t)(XATTR_CREATE | XATTR_REPLACE))
		return -EINVAL;
	return setxattr(share_fd_path(path, fd), request->names[0], request->rest, in->size,
		       (int)in->flags) < 0
		       ? -errno
		       : 0;
}

int share_removexattr(struct share *share, struct share_request *request)
{
	int fd = share_inode_open(&share->inodes, request->inode);
	char path[SHARE_FD_PATH_BYTES];

	if (fd < 0)
		return fd;
	if (is_acl(request->names[0]))
		return -EOPNOTSUPP;
	return removexattr(share_fd_path(path, fd), request->names[0]) < 0 ? -errno : 0;
}
