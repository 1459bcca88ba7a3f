/*
 * Operations that read directories. A position in one is the file system's own cookie.
 */
#include "share/share.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* What getdents64 gives (Linux: include/linux/dirent.h). */
struct directory_entry {
	uint64_t number;
	int64_t next;
	uint16_t bytes;
	uint8_t type;
	char name[];
};

#define NAME_OFFSET 19
#define READ_BYTES  (32u << 10)

int share_opendir(struct share *share, struct share_request *request)
{
	struct fuse_open_out out = { 0 };
	int fd = share_inode_open(&share->inodes, request->inode), rc;

	if (!S_ISDIR(request->inode->type))
		return -ENOTDIR;
	if (fd < 0)
		return fd;
	fd = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (share->caches)
		out.open_flags = FOPEN_CACHE_DIR;
	rc = share_handle_add(share, fd, true, &out.fh);
	if (rc == 0)
		rc = share_answer(request, &out, sizeof(out));
	return rc;
}

int share_releasedir(struct share *share, struct share_request *request)
{
	const struct fuse_release_in *in = request->fixed;

	share_handle_remove(share, in->fh, true);
	return 0;
}

int share_fsyncdir(struct share *share, struct share_request *request)
{
	const struct fuse_fsync_in *in = request->fixed;
	int fd = share_handle_fd(share, in->fh, true);

	return fd < 0 ? fd : fsync(fd) < 0 ? -errno : 0;
}

static bool is_dots(const char *name)
{
	return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* The entry behind which the guest learns what the name is; counted as a lookup. */
static void look_up_entry(struct share *share, struct share_inode *parent, const char *name,
	struct fuse_entry_out *out)
{
	struct share_inode *inode;
	struct stat status;

	memset(out, 0, sizeof(*out));
	/* A node of 0: the guest looks it up itself. */
	if (!is_dots(name) &&
		share_inode_look_up(&share->inodes, parent, name, &inode, &status) == 0)
		share_fill_entry(share, out, inode, &status);
}

/* Appends one entry to the answer, `*used` bytes long; false if there is no room. */
static bool add_entry(struct share *share, struct share_inode *parent,
	const struct directory_entry *entry, bool plus, size_t room, size_t *used)
{
	size_t name_bytes = strnlen(entry->name, entry->bytes - NAME_OFFSET);
	size_t head = plus ? sizeof(struct fuse_entry_out) : 0;
	size_t bytes = FUSE_DIRENT_ALIGN(head + FUSE_NAME_OFFSET + name_bytes);
	uint8_t *to = share->answer + *used;
	struct fuse_dirent out = { .ino = entry->number,
		.off = (uint64_t)entry->next,
		.namelen = (uint32_t)name_bytes,
		.type = entry->type };

	if (bytes > room - *used)
		return false;
	/* What lies above the share is nobody's business there. */
	if (strcmp(entry->name, "..") == 0 && !parent->parent)
		out.ino = parent->number;
	memset(to, 0, bytes);
	if (plus) {
		struct fuse_entry_out found;

		look_up_entry(share, parent, entry->name, &found);
		memcpy(to, &found, sizeof(found));
	}
	memcpy(to + head, &out, FUSE_NAME_OFFSET);
	memcpy(to + head + FUSE_NAME_OFFSET, entry->name, name_bytes);
	*used += bytes;
	return true;
}

static int read_directory(struct share *share, struct share_request *request, bool plus)
{
	const struct fuse_read_in *in = request->fixed;
	int fd = share_handle_fd(share, in->fh, true);
	size_t room = in->size < request->out_bytes ? in->size : request->out_bytes, used = 0;
	_Alignas(8) uint8_t entries[READ_BYTES];
	long bytes;

	if (fd < 0)
		return fd;
	if (!S_ISDIR(request->inode->type))
		return -ENOTDIR;
	if (room > SHARE_MAX_ARGUMENTS)
		room = SHARE_MAX_ARGUMENTS;
	if (lseek(fd, (off_t)in->offset, SEEK_SET) < 0)
		return -errno;
	bytes = syscall(SYS_getdents64, fd, entries, sizeof(entries));
	if (bytes < 0)
		return -errno;
	for (long at = 0; at < bytes;) {
		const struct directory_entry *entry = (const void *)(entries + at);

		if (!add_entry(share, request->inode, entry, plus, room, &used)) {
			/* None at all would mean that the directory ends here. */
			if (used == 0)
				return -EINVAL;
			break;
		}
		at += entry->bytes;
	}
	return share_answer(request, share->answer, used);
}

int share_readdir(struct share *share, struct share_request *request)
{
	return read_directory(share, request, false);
}

int share_readdirplus(struct share *share, struct share_request *request)
{
	return read_directory(share, request, true);
}
