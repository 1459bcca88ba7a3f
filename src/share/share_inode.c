#include "share/share_inode.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ROOT_ID       1
#define FIRST_BUCKETS 256
#define MAX_DEPTH     4096

int share_name_check(const char *name)
{
	if (*name == '\0' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || strchr(name, '/'))
		return -EINVAL;
	return strlen(name) > NAME_MAX ? -ENAMETOOLONG : 0;
}

/* The list of descriptors that may be closed. */

static bool can_reopen(const struct share_inode *inode)
{
	return inode->parent && inode->fd >= 0;
}

static void unlist(struct share_inodes *inodes, struct share_inode *inode)
{
	if (!inode->listed)
		return;
	*(inode->older ? &inode->older->newer : &inodes->oldest) = inode->newer;
	*(inode->newer ? &inode->newer->older : &inodes->newest) = inode->older;
	inode->older = inode->newer = NULL;
	inode->listed = false;
}

/* To its newest end, if it belongs there. */
static void list(struct share_inodes *inodes, struct share_inode *inode)
{
	unlist(inodes, inode);
	if (!can_reopen(inode))
		return;
	inode->older = inodes->newest;
	*(inodes->newest ? &inodes->newest->newer : &inodes->oldest) = inode;
	inodes->newest = inode;
	inode->listed = true;
}

static void set_fd(struct share_inodes *inodes, struct share_inode *inode, int fd)
{
	inode->fd = fd;
	inodes->nr_open++;
	list(inodes, inode);
}

static void close_fd(struct share_inodes *inodes, struct share_inode *inode)
{
	if (inode->fd < 0)
		return;
	unlist(inodes, inode);
	close(inode->fd);
	inode->fd = -1;
	inodes->nr_open--;
	if (inode->outlives_name)
		inodes->nr_nameless--;
	inode->outlives_name = false;
}

void share_inodes_trim(struct share_inodes *inodes)
{
	while (inodes->nr_open > inodes->max_open && inodes->oldest)
		close_fd(inodes, inodes->oldest);
}

/* Finding. */

static struct share_inode **bucket_of(const struct share_inodes *inodes, dev_t device, ino_t number)
{
	uint64_t mixed = ((uint64_t)number ^ (uint64_t)device << 32) * 0x9e3779b97f4a7c15u;

	return &inodes->buckets[mixed >> 32 & (inodes->nr_buckets - 1)];
}

static struct share_inode *find_file(const struct share_inodes *inodes, const struct stat *status)
{
	struct share_inode *inode = *bucket_of(inodes, status->st_dev, status->st_ino);

	while (inode && (inode->device != status->st_dev || inode->number != status->st_ino ||
				inode->type != (status->st_mode & S_IFMT)))
		inode = inode->next_in_bucket;
	return inode;
}

struct share_inode *share_inode_find(const struct share_inodes *inodes, uint64_t id)
{
	return id > 0 && id <= inodes->nr_ids ? inodes->by_id[id - 1] : NULL;
}

/* Making and freeing. */

static int grow_ids(struct share_inodes *inodes)
{
	uint32_t room = inodes->max_ids ? 2 * inodes->max_ids : FIRST_BUCKETS;
	void *by_id = realloc(inodes->by_id, room * sizeof(struct share_inode *));
	void *free_ids;

	if (!by_id)
		return -ENOMEM;
	inodes->by_id = by_id;
	free_ids = realloc(inodes->free_ids, room * sizeof(*inodes->free_ids));
	if (!free_ids)
		return -ENOMEM;
	inodes->free_ids = free_ids;
	inodes->max_ids = room;
	return 0;
}

static int grow_buckets(struct share_inodes *inodes)
{
	struct share_inodes larger = *inodes;

	larger.nr_buckets = inodes->nr_buckets ? 2 * inodes->nr_buckets : FIRST_BUCKETS;
	larger.buckets = calloc(larger.nr_buckets, sizeof(struct share_inode *));
	if (!larger.buckets)
		return -ENOMEM;
	for (uint32_t i = 0; i < inodes->nr_buckets; i++) {
		struct share_inode *inode = inodes->buckets[i];

		while (inode) {
			struct share_inode *next = inode->next_in_bucket;
			struct share_inode **bucket =
				bucket_of(&larger, inode->device, inode->number);

			inode->next_in_bucket = *bucket;
			*bucket = inode;
			inode = next;
		}
	}
	free(inodes->buckets);
	*inodes = larger;
	return 0;
}

static int make(struct share_inodes *inodes, const struct stat *status, struct share_inode **result)
{
	struct share_inode *inode, **bucket;

	if (inodes->nr_inodes == SHARE_MAX_INODES)
		return -ENFILE;
	if (inodes->nr_ids == inodes->max_ids && inodes->nr_free_ids == 0 && grow_ids(inodes))
		return -ENOMEM;
	if (inodes->nr_inodes >= inodes->nr_buckets && grow_buckets(inodes))
		return -ENOMEM;
	inode = calloc(1, sizeof(*inode));
	if (!inode)
		return -ENOMEM;
	inode->fd = -1;
	inode->device = status->st_dev;
	inode->number = status->st_ino;
	inode->type = status->st_mode & S_IFMT;
	inode->id = inodes->nr_free_ids > 0 ? inodes->free_ids[--inodes->nr_free_ids]
					    : ++inodes->nr_ids;
	inodes->by_id[inode->id - 1] = inode;
	bucket = bucket_of(inodes, inode->device, inode->number);
	inode->next_in_bucket = *bucket;
	*bucket = inode;
	inodes->nr_inodes++;
	*result = inode;
	return 0;
}

/* Frees the inode if nothing needs it, and then perhaps its parents. */
static void release(struct share_inodes *inodes, struct share_inode *inode)
{
	while (inode && inode->id != ROOT_ID && inode->lookups == 0 && inode->children == 0) {
		struct share_inode *parent = inode->parent;
		struct share_inode **place = bucket_of(inodes, inode->device, inode->number);

		while (*place != inode)
			place = &(*place)->next_in_bucket;
		*place = inode->next_in_bucket;
		close_fd(inodes, inode);
		inodes->by_id[inode->id - 1] = NULL;
		inodes->free_ids[inodes->nr_free_ids++] = inode->id;
		inodes->nr_inodes--;
		free(inode->name);
		free(inode);
		if (parent)
			parent->children--;
		inode = parent;
	}
}

int share_inodes_init(struct share_inodes *inodes, int root_fd, unsigned max_open)
{
	struct share_inode *root;
	struct stat status;
	int rc = fstat(root_fd, &status) < 0 ? -errno : 0;

	memset(inodes, 0, sizeof(*inodes));
	inodes->max_open = max_open;
	inodes->max_depth = max_open < MAX_DEPTH ? max_open : MAX_DEPTH;
	if (rc == 0)
		rc = make(inodes, &status, &root);
	if (rc == 0)
		set_fd(inodes, root, root_fd);
	else
		close(root_fd);
	return rc;
}

void share_inodes_clear(struct share_inodes *inodes)
{
	for (uint32_t i = 0; i < inodes->nr_ids; i++) {
		struct share_inode *inode = inodes->by_id[i];

		if (!inode || inode->id == ROOT_ID)
			continue;
		close_fd(inodes, inode);
		free(inode->name);
		free(inode);
		inodes->by_id[i] = NULL;
	}
	if (inodes->nr_ids > 0) {
		struct share_inode *root = inodes->by_id[ROOT_ID - 1];

		memset(inodes->buckets, 0, inodes->nr_buckets * sizeof(struct share_inode *));
		root->next_in_bucket = NULL;
		root->children = 0;
		*bucket_of(inodes, root->device, root->number) = root;
		inodes->nr_inodes = inodes->nr_ids = 1;
	}
	inodes->nr_free_ids = inodes->nr_nameless = 0;
}

void share_inodes_finish(struct share_inodes *inodes)
{
	share_inodes_clear(inodes);
	if (inodes->nr_ids > 0) {
		close_fd(inodes, inodes->by_id[ROOT_ID - 1]);
		free(inodes->by_id[ROOT_ID - 1]);
	}
	free(inodes->by_id);
	free(inodes->free_ids);
	free(inodes->buckets);
	memset(inodes, 0, sizeof(*inodes));
}

/* Paths. */

static bool is_named(
	const struct share_inode *inode, const struct share_inode *parent, const char *name)
{
	return inode->parent == parent && inode->name && strcmp(inode->name, name) == 0;
}

/* Does the path of `inode` go through `other`, or is it too long to say? */
static bool is_below(const struct share_inodes *inodes, const struct share_inode *inode,
	const struct share_inode *other)
{
	unsigned depth = 0;

	for (; inode; inode = inode->parent) {
		if (inode == other || depth++ == inodes->max_depth)
			return true;
	}
	return false;
}

void share_inode_named(struct share_inodes *inodes, struct share_inode *inode,
	struct share_inode *parent, const char *name)
{
	struct share_inode *before;
	char *copy;

	/* The host can move a directory into what was below it: then the old path stays. */
	if (!inode || inode->id == ROOT_ID || is_named(inode, parent, name) ||
		is_below(inodes, parent, inode))
		return;
	copy = strdup(name);
	if (!copy)
		return;
	before = inode->parent;
	if (inode->outlives_name)
		inodes->nr_nameless--;
	inode->outlives_name = false;
	free(inode->name);
	inode->name = copy;
	inode->parent = parent;
	parent->children++;
	list(inodes, inode);
	if (before) {
		before->children--;
		release(inodes, before);
	}
}

void share_inode_removed(struct share_inodes *inodes, struct share_inode *inode,
	const struct share_inode *parent, const char *name)
{
	struct share_inode *before;

	if (!inode || !is_named(inode, parent, name))
		return;
	before = inode->parent;
	inode->parent = NULL;
	free(inode->name);
	inode->name = NULL;
	unlist(inodes, inode);
	/* A guest that never forgets what it removed loses the files, not we the descriptors. */
	if (inode->fd >= 0 && inodes->nr_nameless < inodes->max_open / 2) {
		inode->outlives_name = true;
		inodes->nr_nameless++;
	} else {
		close_fd(inodes, inode);
	}
	before->children--;
	release(inodes, before);
	release(inodes, inode);
}

static int open_name(int directory, const char *name, struct stat *status)
{
	int fd = openat(directory, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	if (fstat(fd, status) < 0) {
		int rc = -errno;

		close(fd);
		return rc;
	}
	return fd;
}

static int reopen(struct share_inodes *inodes, struct share_inode *inode)
{
	struct stat status;
	int fd = open_name(inode->parent->fd, inode->name, &status);

	if (fd < 0)
		return fd == -ENOENT || fd == -ENOTDIR ? -ESTALE : fd;
	if (status.st_dev != inode->device || status.st_ino != inode->number ||
		(status.st_mode & S_IFMT) != inode->type) {
		close(fd);
		return -ESTALE;
	}
	set_fd(inodes, inode, fd);
	return fd;
}

int share_inode_open(struct share_inodes *inodes, struct share_inode *inode)
{
	struct share_inode *closed[MAX_DEPTH];
	unsigned depth = 0;

	if (inode->fd >= 0) {
		list(inodes, inode);
		return inode->fd;
	}
	for (struct share_inode *at = inode; at->fd < 0; at = at->parent) {
		if (!at->parent || depth == inodes->max_depth)
			return -ESTALE;
		closed[depth++] = at;
	}
	while (depth > 0) {
		int fd = reopen(inodes, closed[--depth]);

		if (fd < 0)
			return fd;
	}
	return inode->fd;
}

int share_inode_look_up(struct share_inodes *inodes, struct share_inode *parent, const char *name,
	struct share_inode **result, struct stat *status)
{
	int directory = share_inode_open(inodes, parent), fd, rc = 0;
	struct share_inode *inode;

	if (directory < 0)
		return directory;
	fd = open_name(directory, name, status);
	if (fd < 0)
		return fd;
	inode = find_file(inodes, status);
	if (!inode)
		rc = make(inodes, status, &inode);
	if (rc < 0) {
		close(fd);
		return rc;
	}
	inode->lookups++;
	share_inode_named(inodes, inode, parent, name);
	if (inode->fd >= 0)
		close(fd);
	else
		set_fd(inodes, inode, fd);
	*result = inode;
	return 0;
}

void share_inode_forget(struct share_inodes *inodes, uint64_t id, uint64_t lookups)
{
	struct share_inode *inode = share_inode_find(inodes, id);

	if (!inode || inode->id == ROOT_ID)
		return;
	inode->lookups -= lookups < inode->lookups ? lookups : inode->lookups;
	release(inodes, inode);
}

struct share_inode *share_inode_known(
	struct share_inodes *inodes, struct share_inode *parent, const char *name)
{
	int directory = share_inode_open(inodes, parent), fd;
	struct share_inode *inode;
	struct stat status;

	if (directory < 0 || fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) < 0)
		return NULL;
	inode = find_file(inodes, &status);
	if (!inode || inode->fd >= 0)
		return inode;
	fd = open_name(directory, name, &status);
	if (fd < 0)
		return inode;
	if (find_file(inodes, &status) == inode)
		set_fd(inodes, inode, fd);
	else
		close(fd);
	return inode;
}
