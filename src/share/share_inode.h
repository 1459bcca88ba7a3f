/*
 * The files that a guest knows of, by (device, number), each with the path by which it was found
 * last and, for as many as descriptors suffice, a descriptor (O_PATH). One whose descriptor was
 * closed is opened again by its path, and must still be the same file. A file whose last known name
 * the guest removed keeps its descriptor until the guest forgets it.
 */
#ifndef SHARE_SHARE_INODE_H
#define SHARE_SHARE_INODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#define SHARE_MAX_INODES (1u << 20) /* about 200 MiB */

struct share_inode {
	uint32_t id; /* what the guest calls it; 1: the root */
	mode_t type; /* S_IFMT */
	dev_t device;
	ino_t number;
	uint64_t lookups;  /* the guest's references */
	unsigned children; /* inodes whose parent this is */
	int fd;            /* -1: closed */
	/* The path; NULL: none is known, or the root. */
	struct share_inode *parent;
	char *name;
	struct share_inode *next_in_bucket;
	struct share_inode *older, *newer; /* of those whose fd may be closed */
	bool listed;                       /* there */
	bool outlives_name;                /* its name was removed; counted in nr_nameless */
};

struct share_inodes {
	struct share_inode **by_id; /* NULL: a free id */
	uint32_t *free_ids;
	uint32_t nr_ids, nr_free_ids, max_ids; /* ids ever given; free again; room in the arrays */
	struct share_inode **buckets;
	uint32_t nr_buckets, nr_inodes; /* the first a power of two */
	unsigned max_open, max_depth;   /* descriptors of ours; inodes opened for one path */
	unsigned nr_open,
		nr_nameless; /* with a descriptor; of these, those that outlive their names */
	struct share_inode *oldest, *newest;
};

/* `root_fd` is taken over. Returns 0 or -errno. */
int share_inodes_init(struct share_inodes *inodes, int root_fd, unsigned max_open);
void share_inodes_finish(struct share_inodes *inodes);
/* All but the root are forgotten. */
void share_inodes_clear(struct share_inodes *inodes);
/* Closes descriptors beyond the bound. Those that share_inode_open gave end here. */
void share_inodes_trim(struct share_inodes *inodes);

struct share_inode *share_inode_find(const struct share_inodes *inodes, uint64_t id);
/* Its descriptor (O_PATH), which stays the inode's; or -errno, -ESTALE if it is not found again. */
int share_inode_open(struct share_inodes *inodes, struct share_inode *inode);
/*
 * Finds `name` in `parent` and counts a lookup. Returns 0 or -errno.
 */
int share_inode_look_up(struct share_inodes *inodes, struct share_inode *parent, const char *name,
	struct share_inode **inode, struct stat *status);
void share_inode_forget(struct share_inodes *inodes, uint64_t id, uint64_t lookups);

/* The inode that the guest knows by this name, with its descriptor open; NULL: none. */
struct share_inode *share_inode_known(
	struct share_inodes *inodes, struct share_inode *parent, const char *name);
/* The name leads to the inode now, or no longer. `inode` may be NULL. */
void share_inode_named(struct share_inodes *inodes, struct share_inode *inode,
	struct share_inode *parent, const char *name);
void share_inode_removed(struct share_inodes *inodes, struct share_inode *inode,
	const struct share_inode *parent, const char *name);

/* One component of a path that leads nowhere else. Returns 0 or -errno. */
int share_name_check(const char *name);

#endif
