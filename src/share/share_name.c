/*
 * Operations on names: each in a directory that is held open, and of one component.
 */
#include "share/share.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Answers with the entry of `name`, which the guest has looked up by that. */
static int answer_entry(struct share *share, struct share_request *request,
	struct share_inode *parent, const char *name)
{
	struct fuse_entry_out entry;
	struct share_inode *inode;
	struct stat status;
	int rc = share_inode_look_up(&share->inodes, parent, name, &inode, &status);

	if (rc < 0)
		return rc;
	share_fill_entry(share, &entry, inode, &status);
	rc = share_answer(request, &entry, sizeof(entry));
	if (rc < 0)
		share_inode_forget(&share->inodes, inode->id, 1);
	return rc;
}

/* The directory in which `name` is about to be made or removed. */
static int open_parent(struct share *share, struct share_inode *parent, const char *name)
{
	int rc = share_name_check(name);

	if (rc < 0)
		return rc;
	return S_ISDIR(parent->type) ? share_inode_open(&share->inodes, parent) : -ENOTDIR;
}

int share_lookup(struct share *share, struct share_request *request)
{
	int rc = open_parent(share, request->inode, request->names[0]);

	return rc < 0 ? rc : answer_entry(share, request, request->inode, request->names[0]);
}

int share_readlink(struct share *share, struct share_request *request)
{
	int fd = share_inode_open(&share->inodes, request->inode);
	char target[PATH_MAX];
	ssize_t bytes;

	if (fd < 0)
		return fd;
	bytes = readlinkat(fd, "", target, sizeof(target));
	return bytes < 0 ? -errno : share_answer(request, target, (size_t)bytes);
}

/* Makes a name as the requester, by one of the calls below, and answers with its entry. */
typedef int make_call(int parent, const char *name, const struct share_request *request);

static int make_name(
	struct share *share, struct share_request *request, const char *name, make_call *call)
{
	int parent = open_parent(share, request->inode, name), rc;

	if (parent < 0)
		return parent;
	share_act_as(share, request);
	rc = call(parent, name, request) < 0 ? -errno : 0;
	share_act_as_self(share);
	return rc < 0 ? rc : answer_entry(share, request, request->inode, name);
}

static int call_mknod(int parent, const char *name, const struct share_request *request)
{
	const struct fuse_mknod_in *in = request->fixed;

	return mknodat(parent, name, in->mode, in->rdev);
}

static int call_mkdir(int parent, const char *name, const struct share_request *request)
{
	const struct fuse_mkdir_in *in = request->fixed;

	return mkdirat(parent, name, in->mode);
}

static int call_symlink(int parent, const char *name, const struct share_request *request)
{
	return symlinkat(request->names[1], parent, name);
}

int share_mknod(struct share *share, struct share_request *request)
{
	return make_name(share, request, request->names[0], call_mknod);
}

int share_mkdir(struct share *share, struct share_request *request)
{
	return make_name(share, request, request->names[0], call_mkdir);
}

int share_symlink(struct share *share, struct share_request *request)
{
	return make_name(share, request, request->names[0], call_symlink);
}

static int remove_name(struct share *share, struct share_request *request, int flags)
{
	struct share_inode *parent = request->inode, *known;
	const char *name = request->names[0];
	int directory = open_parent(share, parent, name);

	if (directory < 0)
		return directory;
	known = share_inode_known(&share->inodes, parent, name);
	if (unlinkat(directory, name, flags) < 0)
		return -errno;
	share_inode_removed(&share->inodes, known, parent, name);
	return 0;
}

int share_unlink(struct share *share, struct share_request *request)
{
	return remove_name(share, request, 0);
}

int share_rmdir(struct share *share, struct share_request *request)
{
	return remove_name(share, request, AT_REMOVEDIR);
}

static int move(struct share *share, struct share_request *request, struct share_inode *to_parent,
	unsigned flags)
{
	const char *from = request->names[0], *to = request->names[1];
	struct share_inode *from_parent = request->inode, *moved, *replaced;
	int from_fd = open_parent(share, from_parent, from);
	int to_fd = open_parent(share, to_parent, to);

	if (from_fd < 0 || to_fd < 0)
		return from_fd < 0 ? from_fd : to_fd;
	moved = share_inode_known(&share->inodes, from_parent, from);
	replaced = share_inode_known(&share->inodes, to_parent, to);
	if (syscall(SYS_renameat2, from_fd, from, to_fd, to, flags) < 0)
		return -errno;
	/* Two names of one file: nothing was done. */
	if (moved == replaced)
		return 0;
	if (flags & RENAME_EXCHANGE)
		share_inode_named(&share->inodes, replaced, from_parent, from);
	else
		share_inode_removed(&share->inodes, replaced, to_parent, to);
	share_inode_named(&share->inodes, moved, to_parent, to);
	return 0;
}

static int rename_into(
	struct share *share, struct share_request *request, uint64_t directory, unsigned flags)
{
	struct share_inode *parent = share_inode_find(&share->inodes, directory);
	int rc;

	if (!parent)
		return -ESTALE;
	if (flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE))
		return -EINVAL;
	parent->lookups++;
	rc = move(share, request, parent, flags);
	share_inode_forget(&share->inodes, parent->id, 1);
	return rc;
}

int share_rename(struct share *share, struct share_request *request)
{
	const struct fuse_rename_in *in = request->fixed;

	return rename_into(share, request, in->newdir, 0);
}

int share_rename2(struct share *share, struct share_request *request)
{
	const struct fuse_rename2_in *in = request->fixed;

	return rename_into(share, request, in->newdir, in->flags);
}

int share_link(struct share *share, struct share_request *request)
{
	const struct fuse_link_in *in = request->fixed;
	struct share_inode *old = share_inode_find(&share->inodes, in->oldnodeid);
	int parent = open_parent(share, request->inode, request->names[0]), fd;
	char path[SHARE_FD_PATH_BYTES];

	if (!old)
		return -ESTALE;
	fd = share_inode_open(&share->inodes, old);
	if (parent < 0 || fd < 0)
		return parent < 0 ? parent : fd;
	if (linkat(AT_FDCWD, share_fd_path(path, fd), parent, request->names[0],
		    AT_SYMLINK_FOLLOW) < 0)
		return -errno;
	return answer_entry(share, request, request->inode, request->names[0]);
}
