/*
 * A request from the guest's memory to the operation that it names, and its answer. The shape of
 * each operation's arguments is a row of a table: a fixed part, then strings, then the rest.
 */
#include "share/share.h"

#include <errno.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MINOR_MIN   31
#define MAX_HANDLES 65536u
#define CACHE_S     1

/* Features of FUSE_INIT that are taken if the guest has them. */
#define FEATURES                                                                                   \
	(FUSE_ASYNC_READ | FUSE_ATOMIC_O_TRUNC | FUSE_BIG_WRITES | FUSE_AUTO_INVAL_DATA |          \
		FUSE_DO_READDIRPLUS | FUSE_READDIRPLUS_AUTO | FUSE_ASYNC_DIO |                     \
		FUSE_PARALLEL_DIROPS | FUSE_MAX_PAGES | FUSE_SUBMOUNTS)

struct operation {
	share_operation *serve; /* NULL: not there */
	uint16_t fixed;         /* bytes of arguments */
	uint8_t nr_names;       /* strings behind them */
	bool changes;           /* files: refused by a read-only share */
	bool without_inode;     /* the header's nodeid says nothing */
	bool is_silent;         /* has no answer */
	bool has_data;          /* behind the fixed part, which stays where it is */
};

/* Pieces of memory. */

static size_t total_bytes(const struct iovec *pieces, unsigned count)
{
	size_t bytes = 0;

	for (unsigned i = 0; i < count; i++)
		bytes += pieces[i].iov_len;
	return bytes;
}

static void advance(struct iovec **pieces, unsigned *count, size_t bytes)
{
	while (*count > 0 && bytes >= (*pieces)->iov_len) {
		bytes -= (*pieces)->iov_len;
		++*pieces;
		--*count;
	}
	if (*count > 0) {
		(*pieces)->iov_base = (uint8_t *)(*pieces)->iov_base + bytes;
		(*pieces)->iov_len -= bytes;
	}
}

/* Copies all or nothing. */
static bool take(struct iovec **pieces, unsigned *count, void *to, size_t bytes)
{
	size_t done = 0;

	if (total_bytes(*pieces, *count) < bytes)
		return false;
	for (unsigned i = 0; done < bytes; i++) {
		size_t chunk = (*pieces)[i].iov_len;

		if (chunk > bytes - done)
			chunk = bytes - done;
		memcpy((uint8_t *)to + done, (*pieces)[i].iov_base, chunk);
		done += chunk;
	}
	advance(pieces, count, bytes);
	return true;
}

static void put(const struct iovec *pieces, const void *from, size_t bytes)
{
	for (size_t done = 0; done < bytes; pieces++) {
		size_t chunk = pieces->iov_len < bytes - done ? pieces->iov_len : bytes - done;

		memcpy(pieces->iov_base, (const uint8_t *)from + done, chunk);
		done += chunk;
	}
}

int share_answer(struct share_request *request, const void *body, size_t bytes)
{
	if (bytes > request->out_bytes)
		return -EIO;
	put(request->out, body, bytes);
	request->answer_bytes = bytes;
	return 0;
}

/* What several operations need. */

const char *share_fd_path(char path[static SHARE_FD_PATH_BYTES], int fd)
{
	snprintf(path, SHARE_FD_PATH_BYTES, "%d", fd);
	return path;
}

uint64_t share_valid_s(const struct share *share)
{
	return share->caches ? CACHE_S : 0;
}

void share_fill_attributes(struct fuse_attr *attributes, const struct stat *status)
{
	*attributes = (struct fuse_attr){
		.ino = status->st_ino,
		.size = (uint64_t)status->st_size,
		.blocks = (uint64_t)status->st_blocks,
		.atime = (uint64_t)status->st_atim.tv_sec,
		.mtime = (uint64_t)status->st_mtim.tv_sec,
		.ctime = (uint64_t)status->st_ctim.tv_sec,
		.atimensec = (uint32_t)status->st_atim.tv_nsec,
		.mtimensec = (uint32_t)status->st_mtim.tv_nsec,
		.ctimensec = (uint32_t)status->st_ctim.tv_nsec,
		.mode = status->st_mode,
		.nlink = (uint32_t)status->st_nlink,
		.uid = status->st_uid,
		.gid = status->st_gid,
		.rdev = (uint32_t)status->st_rdev,
		.blksize = (uint32_t)status->st_blksize,
	};
}

void share_fill_entry(const struct share *share, struct fuse_entry_out *entry,
	const struct share_inode *inode, const struct stat *status)
{
	memset(entry, 0, sizeof(*entry));
	entry->nodeid = inode->id;
	entry->entry_valid = entry->attr_valid = share_valid_s(share);
	share_fill_attributes(&entry->attr, status);
	/* Numbers are unique in one file system only. */
	if (share->tells_submounts && S_ISDIR(status->st_mode) && inode->parent &&
		inode->parent->device != inode->device)
		entry->attr.flags |= FUSE_ATTR_SUBMOUNT;
}

/*
 * Another user's files are made with root's access: whether the user may make them was the guest's
 * kernel to say, which knows all groups of theirs. Linux takes it away with the user ID of 0.
 */
static void keep_access(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3];

	if (syscall(SYS_capget, &header, sets) < 0)
		return;
	sets[0].effective |= sets[0].permitted & 1u << CAP_DAC_OVERRIDE;
	syscall(SYS_capset, &header, sets);
}

void share_act_as(const struct share *share, const struct share_request *request)
{
	if (!share->privileged)
		return;
	syscall(SYS_setfsgid, request->header.gid);
	syscall(SYS_setfsuid, request->header.uid);
	if (request->header.uid != 0)
		keep_access();
}

void share_act_as_self(const struct share *share)
{
	if (!share->privileged)
		return;
	syscall(SYS_setfsuid, 0);
	syscall(SYS_setfsgid, 0);
}

/* Open files. */

int share_handle_add(struct share *share, int fd, bool is_directory, uint64_t *number)
{
	struct share_handle *handle;

	if (share->free_handle == UINT32_MAX) {
		struct share_handle *grown = NULL;

		if (share->nr_handles < share->max_handles)
			grown = realloc(share->handles, (share->nr_handles + 1) * sizeof(*grown));
		if (!grown) {
			close(fd);
			return -ENFILE;
		}
		share->handles = grown;
		share->handles[share->nr_handles].next_free = UINT32_MAX;
		share->free_handle = share->nr_handles++;
	}
	*number = share->free_handle;
	handle = &share->handles[*number];
	share->free_handle = handle->next_free;
	*handle = (struct share_handle){ .fd = fd, .is_directory = is_directory };
	return 0;
}

int share_handle_fd(const struct share *share, uint64_t number, bool is_directory)
{
	const struct share_handle *handle;

	if (number >= share->nr_handles)
		return -EBADF;
	handle = &share->handles[number];
	return handle->fd >= 0 && handle->is_directory == is_directory ? handle->fd : -EBADF;
}

void share_handle_remove(struct share *share, uint64_t number, bool is_directory)
{
	if (share_handle_fd(share, number, is_directory) < 0)
		return;
	close(share->handles[number].fd);
	share->handles[number] = (struct share_handle){ .fd = -1, .next_free = share->free_handle };
	share->free_handle = (uint32_t)number;
}

void share_handles_clear(struct share *share)
{
	for (uint32_t i = 0; i < share->nr_handles; i++) {
		if (share->handles[i].fd >= 0)
			close(share->handles[i].fd);
	}
	free(share->handles);
	share->handles = NULL;
	share->nr_handles = 0;
	share->free_handle = UINT32_MAX;
}

/* The session. */

static void forget_all(struct share *share)
{
	share_handles_clear(share);
	share_inodes_clear(&share->inodes);
	share->started = false;
}

/* A mount. One that was not ended by FUSE_DESTROY before it is over: its guest was reset. */
static int share_begin(struct share *share, struct share_request *request)
{
	const struct fuse_init_in *in = request->fixed;
	struct fuse_init_out out = {
		.major = FUSE_KERNEL_VERSION,
		.minor = FUSE_KERNEL_MINOR_VERSION,
		.max_readahead = in->max_readahead,
		.flags = in->flags & FEATURES,
		.max_background = 64,
		.congestion_threshold = 48,
		.max_write = SHARE_MAX_WRITE,
		.time_gran = 1,
		.max_pages = SHARE_MAX_WRITE / 4096,
	};

	forget_all(share);
	/* A guest that is newer asks again with our version. */
	if (in->major > FUSE_KERNEL_VERSION)
		return share_answer(request, &out, sizeof(out));
	if (in->major < FUSE_KERNEL_VERSION || in->minor < MINOR_MIN)
		return -EPROTO;
	share->started = true;
	share->tells_submounts = out.flags & FUSE_SUBMOUNTS;
	return share_answer(request, &out, sizeof(out));
}

static int share_end(struct share *share, struct share_request *request)
{
	(void)request;
	forget_all(share);
	return 0;
}

static int share_forget(struct share *share, struct share_request *request)
{
	const struct fuse_forget_in *in = request->fixed;

	share_inode_forget(&share->inodes, request->header.nodeid, in->nlookup);
	return 0;
}

static int share_batch_forget(struct share *share, struct share_request *request)
{
	const struct fuse_batch_forget_in *in = request->fixed;
	size_t count = request->rest_bytes / sizeof(struct fuse_forget_one);

	for (size_t i = 0; i < count && i < in->count; i++) {
		struct fuse_forget_one one;

		memcpy(&one, request->rest + i * sizeof(one), sizeof(one));
		share_inode_forget(&share->inodes, one.nodeid, one.nlookup);
	}
	return 0;
}

/* Whatever it is about has been answered, or is next. */
static int share_interrupt(struct share *share, struct share_request *request)
{
	(void)share;
	(void)request;
	return 0;
}

#define CHANGES .changes = true

static const struct operation operations[] = {
	[FUSE_LOOKUP] = { share_lookup, 0, 1 },
	[FUSE_FORGET] = { share_forget, sizeof(struct fuse_forget_in), .without_inode = true,
		.is_silent = true },
	[FUSE_GETATTR] = { share_getattr, sizeof(struct fuse_getattr_in) },
	[FUSE_SETATTR] = { share_setattr, sizeof(struct fuse_setattr_in), CHANGES },
	[FUSE_READLINK] = { share_readlink },
	[FUSE_SYMLINK] = { share_symlink, 0, 2, CHANGES },
	[FUSE_MKNOD] = { share_mknod, sizeof(struct fuse_mknod_in), 1, CHANGES },
	[FUSE_MKDIR] = { share_mkdir, sizeof(struct fuse_mkdir_in), 1, CHANGES },
	[FUSE_UNLINK] = { share_unlink, 0, 1, CHANGES },
	[FUSE_RMDIR] = { share_rmdir, 0, 1, CHANGES },
	[FUSE_RENAME] = { share_rename, sizeof(struct fuse_rename_in), 2, CHANGES },
	[FUSE_LINK] = { share_link, sizeof(struct fuse_link_in), 1, CHANGES },
	[FUSE_OPEN] = { share_open, sizeof(struct fuse_open_in) },
	[FUSE_READ] = { share_read, sizeof(struct fuse_read_in) },
	[FUSE_WRITE] = { share_write, sizeof(struct fuse_write_in), CHANGES, .has_data = true },
	[FUSE_STATFS] = { share_statfs },
	[FUSE_RELEASE] = { share_release, sizeof(struct fuse_release_in) },
	[FUSE_FSYNC] = { share_fsync, sizeof(struct fuse_fsync_in) },
	[FUSE_SETXATTR] = { share_setxattr, FUSE_COMPAT_SETXATTR_IN_SIZE, 1, CHANGES },
	[FUSE_GETXATTR] = { share_getxattr, sizeof(struct fuse_getxattr_in), 1 },
	[FUSE_LISTXATTR] = { share_listxattr, sizeof(struct fuse_getxattr_in) },
	[FUSE_REMOVEXATTR] = { share_removexattr, 0, 1, CHANGES },
	[FUSE_FLUSH] = { share_flush, sizeof(struct fuse_flush_in) },
	[FUSE_INIT] = { share_begin, 16, .without_inode = true },
	[FUSE_OPENDIR] = { share_opendir, sizeof(struct fuse_open_in) },
	[FUSE_READDIR] = { share_readdir, sizeof(struct fuse_read_in) },
	[FUSE_RELEASEDIR] = { share_releasedir, sizeof(struct fuse_release_in) },
	[FUSE_FSYNCDIR] = { share_fsyncdir, sizeof(struct fuse_fsync_in) },
	[FUSE_ACCESS] = { share_access, sizeof(struct fuse_access_in) },
	[FUSE_CREATE] = { share_create_file, sizeof(struct fuse_create_in), 1, CHANGES },
	[FUSE_INTERRUPT] = { share_interrupt, sizeof(struct fuse_interrupt_in),
		.without_inode = true, .is_silent = true },
	[FUSE_DESTROY] = { share_end, .without_inode = true },
	[FUSE_BATCH_FORGET] = { share_batch_forget, sizeof(struct fuse_batch_forget_in),
		.without_inode = true, .is_silent = true },
	[FUSE_FALLOCATE] = { share_fallocate, sizeof(struct fuse_fallocate_in), CHANGES },
	[FUSE_READDIRPLUS] = { share_readdirplus, sizeof(struct fuse_read_in) },
	[FUSE_RENAME2] = { share_rename2, sizeof(struct fuse_rename2_in), 2, CHANGES },
	[FUSE_LSEEK] = { share_lseek, sizeof(struct fuse_lseek_in) },
	[FUSE_COPY_FILE_RANGE] = { share_copy_file_range, sizeof(struct fuse_copy_file_range_in),
		CHANGES },
	[FUSE_SYNCFS] = { share_syncfs, sizeof(struct fuse_syncfs_in) },
};

/* Splits the arguments that were copied. */
static int split(struct share *share, const struct operation *operation,
	struct share_request *request, size_t bytes)
{
	const uint8_t *at = share->arguments + operation->fixed;
	size_t left = bytes - operation->fixed;

	request->fixed = share->arguments;
	for (unsigned i = 0; i < operation->nr_names; i++) {
		const uint8_t *end = memchr(at, '\0', left);

		if (!end)
			return -EINVAL;
		request->names[i] = (const char *)at;
		left -= (size_t)(end + 1 - at);
		at = end + 1;
	}
	request->rest = at;
	request->rest_bytes = left;
	return 0;
}

static int copy_arguments(
	struct share *share, const struct operation *operation, struct share_request *request)
{
	size_t bytes = total_bytes(request->in, request->nr_in);
	size_t copied = operation->has_data ? operation->fixed : bytes;

	if (bytes < operation->fixed)
		return -EINVAL;
	if (copied > SHARE_MAX_ARGUMENTS)
		return -E2BIG;
	take(&request->in, &request->nr_in, share->arguments, copied);
	if (operation->has_data) {
		request->fixed = share->arguments;
		request->rest_bytes = bytes - copied;
		return 0;
	}
	return split(share, operation, request, copied);
}

static int serve(
	struct share *share, const struct operation *operation, struct share_request *request)
{
	int rc;

	if (!share->started && request->header.opcode != FUSE_INIT)
		return -EIO;
	if (share->read_only && operation->changes)
		return -EROFS;
	rc = copy_arguments(share, operation, request);
	if (rc < 0 || operation->without_inode)
		return rc < 0 ? rc : operation->serve(share, request);
	request->inode = share_inode_find(&share->inodes, request->header.nodeid);
	if (!request->inode)
		return -ESTALE;
	/* Kept, whatever the operation removes. */
	request->inode->lookups++;
	rc = operation->serve(share, request);
	share_inode_forget(&share->inodes, request->inode->id, 1);
	return rc;
}

size_t share_serve(
	struct share *share, struct iovec *in, unsigned nr_in, struct iovec *out, unsigned nr_out)
{
	static const struct operation none;
	struct share_request request = { .in = in, .nr_in = nr_in, .out = out, .nr_out = nr_out };
	const struct operation *operation = &none;
	struct fuse_out_header answer;
	struct iovec head[sizeof(answer)]; /* where that goes, however it is cut */
	unsigned nr_head = nr_out < sizeof(answer) ? nr_out : sizeof(answer);
	size_t room = total_bytes(out, nr_out);
	int rc;

	if (!take(&request.in, &request.nr_in, &request.header, sizeof(request.header)))
		return 0;
	if (request.header.opcode < sizeof(operations) / sizeof(operations[0]))
		operation = &operations[request.header.opcode];
	memcpy(head, out, nr_head * sizeof(*head));
	if (!operation->is_silent && total_bytes(head, nr_head) < sizeof(answer))
		return 0;
	if (!operation->is_silent) {
		request.out_bytes = room - sizeof(answer);
		advance(&request.out, &request.nr_out, sizeof(answer));
	}
	rc = operation->serve ? serve(share, operation, &request) : -ENOSYS;
	share_inodes_trim(&share->inodes);
	if (operation->is_silent)
		return 0;
	answer = (struct fuse_out_header){ .unique = request.header.unique,
		.error = rc,
		.len = (uint32_t)(sizeof(answer) + (rc < 0 ? 0 : request.answer_bytes)) };
	put(head, &answer, sizeof(answer));
	return answer.len;
}

int share_init(struct share *share, int root_fd, int fds, unsigned max_open)
{
	int rc = 0;

	memset(share, 0, sizeof(*share));
	share->free_handle = UINT32_MAX;
	share->max_handles = max_open / 4 < MAX_HANDLES ? max_open / 4 : MAX_HANDLES;
	if (fchdir(fds) < 0)
		rc = -errno;
	close(fds);
	umask(0);
	share->privileged = geteuid() == 0;
	share->arguments = malloc(SHARE_MAX_ARGUMENTS + 1);
	share->answer = malloc(SHARE_MAX_ARGUMENTS);
	if (rc == 0 && (!share->arguments || !share->answer))
		rc = -ENOMEM;
	if (rc < 0)
		close(root_fd);
	else
		rc = share_inodes_init(&share->inodes, root_fd, max_open / 2);
	if (rc < 0)
		share_finish(share);
	return rc;
}

void share_finish(struct share *share)
{
	share_handles_clear(share);
	share_inodes_finish(&share->inodes);
	free(share->arguments);
	free(share->answer);
	memset(share, 0, sizeof(*share));
}
