/*
 * A directory shared with a guest by FUSE requests (Linux: include/uapi/linux/fuse.h, 7.31 and
 * later): what virtio-fs carries, served by a process of its own, the share server.
 *
 * The guest is hostile. A request is copied before it is looked at; only the data of reads and
 * writes goes between files and guest memory without a copy. A path has one component: it is
 * opened below a directory that is held open, never through a symbolic link, so that no name leads
 * out of the share. Only regular files and directories are ever opened.
 *
 * Not modelled: locks (the guest's kernel keeps its own, so the host does not see them), DAX, POSIX
 * ACLs, ioctl, poll, O_TMPFILE. Requests are served one after the other, so none can be
 * interrupted.
 *
 * One thread owns all of this.
 */
#ifndef SHARE_SHARE_H
#define SHARE_SHARE_H

#include "share/share_inode.h"

#include <linux/fuse.h>
#include <sys/uio.h>

#define SHARE_MAX_WRITE     (1u << 20) /* bytes of one read or write */
#define SHARE_MAX_ARGUMENTS (128u << 10)
#define SHARE_MAX_PIECES    1024 /* of one request, each way */

struct share_handle {
	int fd; /* -1: free */
	bool is_directory;
	uint32_t next_free;
};

struct share {
	/* Immutable. */
	bool read_only;
	bool caches;     /* the guest may believe what it saw for a second */
	bool privileged; /* can act for any user */
	unsigned max_handles;

	bool started; /* FUSE_INIT was served */
	bool tells_submounts;
	struct share_inodes inodes;
	struct share_handle *handles;
	uint32_t nr_handles; /* made */
	uint32_t free_handle;
	uint8_t *arguments; /* SHARE_MAX_ARGUMENTS and one; of the request being served */
	uint8_t *answer;    /* SHARE_MAX_ARGUMENTS */
};

struct share_request {
	struct fuse_in_header header;
	struct share_inode *inode;      /* `header.nodeid`'s */
	const void *fixed;              /* the arguments' fixed part */
	const char *names[2];           /* strings behind it */
	const uint8_t *rest;            /* what is left behind those */
	size_t rest_bytes;              /* of `rest`, or of `in` for a write */
	struct iovec *in, *out;         /* a write's data; room for an answer's body */
	unsigned nr_in, nr_out;         /* pieces */
	size_t out_bytes, answer_bytes; /* room; used of it */
};

/*
 * Shares the directory `root_fd`; `fds` is /proc/self/fd. Both are taken over, the second as the
 * working directory of the process, whose umask becomes 0. `max_open`: how many descriptors may be
 * used. Returns 0 or -errno.
 */
int share_init(struct share *share, int root_fd, int fds, unsigned max_open);
/* A zeroed one is fine. */
void share_finish(struct share *share);

/*
 * Serves one request, of which the guest wrote `in` and can be answered in `out`; both arrays are
 * consumed. Returns how many bytes were written to `out`.
 */
size_t share_serve(
	struct share *share, struct iovec *in, unsigned nr_in, struct iovec *out, unsigned nr_out);

/* For operations. Each returns 0 or -errno, which the guest gets. */
typedef int share_operation(struct share *share, struct share_request *request);

/* The body of the answer. */
int share_answer(struct share_request *request, const void *body, size_t bytes);
/* A name that the guest looked up or made: the answer's attributes. */
void share_fill_attributes(struct fuse_attr *attributes, const struct stat *status);
void share_fill_entry(const struct share *share, struct fuse_entry_out *entry,
	const struct share_inode *inode, const struct stat *status);
uint64_t share_valid_s(const struct share *share);
/* "123" for the descriptor 123: a path, because /proc/self/fd is the working directory. */
#define SHARE_FD_PATH_BYTES 12
const char *share_fd_path(char path[static SHARE_FD_PATH_BYTES], int fd);
/* What is made between these two is the requester's, if we may. */
void share_act_as(const struct share *share, const struct share_request *request);
void share_act_as_self(const struct share *share);
/* A handle for `fd`, which is closed if there is none. */
int share_handle_add(struct share *share, int fd, bool is_directory, uint64_t *number);
/* Its descriptor, or -EBADF. */
int share_handle_fd(const struct share *share, uint64_t number, bool is_directory);
void share_handle_remove(struct share *share, uint64_t number, bool is_directory);
void share_handles_clear(struct share *share);

/* share_name.c */
share_operation share_lookup, share_readlink, share_mknod, share_mkdir, share_symlink, share_unlink,
	share_rmdir, share_rename, share_rename2, share_link;
/* share_file.c */
share_operation share_open, share_create_file, share_read, share_write, share_flush, share_release,
	share_fsync, share_fallocate, share_lseek, share_copy_file_range;
/* share_directory.c */
share_operation share_opendir, share_readdir, share_readdirplus, share_releasedir, share_fsyncdir;
/* share_attribute.c */
share_operation share_getattr, share_setattr, share_statfs, share_access, share_syncfs,
	share_getxattr, share_setxattr, share_listxattr, share_removexattr;

#endif
