/*
 * qcow2 images in memory, and how their parts call each other.
 *
 * Metadata (header, L1, cached L2 tables and refcount blocks, the allocator) belongs to `lock`, the
 * one allocator lock. Data is read and written without it, while the guest clusters concerned are
 * held in `ranges`: shared by reads and by writes to where data already lies, exclusively by
 * whatever changes their mapping. Lock order: a range, then `lock`, then `ranges_lock`.
 *
 * Order of writes. The medium may apply writes between two flushes in any order and keep a part of
 * them, in units of 512 bytes. So that it never holds more than leaks:
 *  - an L2 entry is written only after a flush that followed the data it points to, what was copied
 *    around it, and the cluster's refcount (unless refcounts are lazy: then the dirty bit is
 * there);
 *  - an L1 entry is written only after a flush that followed the L2 table;
 *  - a refcount falls, and its cluster is used anew, only after a flush that followed the removal
 *    of the last reference.
 * qcow2_write_back keeps that order for all that is cached.
 */
#ifndef BLOCK_QCOW2_H
#define BLOCK_QCOW2_H

#include "block/image.h"
#include "block/qcow2_format.h"
#include "block/qcow2_owners.h"
#include "block/qcow2_tables.h"

#include <pthread.h>

struct qcow2_header {
	uint32_t version;
	uint64_t backing_offset;
	uint32_t backing_bytes;
	uint32_t cluster_bits;
	uint64_t size;
	uint32_t crypt_method;
	uint32_t l1_entries;
	uint64_t l1_offset;
	uint64_t reftable_offset;
	uint32_t reftable_clusters;
	uint32_t nr_snapshots;
	uint64_t snapshots_offset;
	uint64_t incompatible, compatible, autoclear;
	uint32_t refcount_order;
	uint32_t header_bytes;
	uint8_t compression_type;
};

struct qcow2_extension {
	uint32_t type;
	uint32_t bytes;
	uint8_t *data;
};

/* A guest cluster, whichever form its L2 entry has. Without extended L2 it is one subcluster. */
struct qcow2_cluster {
	bool compressed;
	bool owned;          /* allocated, and no snapshot shares it */
	uint64_t host;       /* of a standard cluster; 0: none */
	uint32_t alloc;      /* subclusters with data at `host` */
	uint32_t zero;       /* subclusters that read as zeros */
	uint64_t descriptor; /* of a compressed cluster */
};

enum qcow2_run_kind { QCOW2_RUN_DATA, QCOW2_RUN_ZERO, QCOW2_RUN_BACKING, QCOW2_RUN_COMPRESSED };

/* Guest bytes of one kind; for data, contiguous in the host file. */
struct qcow2_run {
	enum qcow2_run_kind kind;
	bool owned; /* data: may be overwritten in place */
	uint64_t bytes;
	uint64_t host;
	uint64_t descriptor;
};

struct qcow2_range {
	uint64_t first, last; /* guest clusters */
	bool exclusive;
	struct qcow2_range *next, **link;
};

struct qcow2_freed {
	uint64_t cluster, count;
};

struct qcow2_snapshot {
	uint64_t l1_offset;
	uint32_t l1_entries;
	char *id, *name;
	uint32_t seconds, nanoseconds; /* when it was taken, since the Epoch */
	uint64_t vm_clock_ns;
	uint64_t vm_state_bytes;
	uint64_t size;  /* of the disk */
	uint8_t *extra; /* beyond what is known; preserved */
	uint32_t extra_bytes;
	uint32_t entry_bytes; /* as read, without padding */
};

struct qcow2 {
	struct image *image;
	struct host_file *file;

	/* Immutable once open. */
	uint64_t cluster_bytes;
	uint32_t cluster_bits;
	uint32_t l2_bits;     /* an L2 table has 1 << l2_bits entries */
	uint32_t entry_bytes; /* 8, or 16 with extended L2 */
	uint32_t nr_subclusters;
	uint32_t subcluster_bytes;
	uint32_t refcount_bits;
	uint32_t refblock_bits; /* a refcount block has 1 << refblock_bits entries */
	uint64_t max_refcount;
	char *backing_name, *backing_format; /* NULL: none; free() */
	bool discard;                        /* tell the host of freed clusters */

	pthread_mutex_t lock; /* of all that follows, up to ranges_lock */
	struct qcow2_header header;
	uint8_t header_sector[512];
	struct qcow2_extension *extensions; /* all but the backing format */
	uint32_t nr_extensions;
	uint64_t *l1;
	uint32_t l1_dirty_from, l1_dirty_to; /* entries; equal: clean */
	struct qcow2_tables l2_tables;
	struct qcow2_tables refblocks;
	uint64_t *reftable;
	uint64_t reftable_entries;
	uint64_t free_hint;  /* no cluster before it is free */
	uint64_t fresh_from; /* clusters from here on were never written: they read as zeros */
	uint64_t end;        /* clusters, beyond all that are allocated */
	struct qcow2_owners owners;
	bool own_data;             /* owners also knows data clusters: for tests */
	struct qcow2_freed *freed; /* their references go with the next write-back */
	uint32_t nr_freed, freed_capacity;
	bool freed_compressed;
	bool lazy_dirty;          /* refcounts on disk may be behind, and the dirty bit is set */
	bool broken;              /* metadata is not to be trusted: no writes */
	bool overlapping;         /* metadata lay over metadata when it was loaded */
	uint64_t compressed_next; /* where the next compressed cluster may start; 0: anywhere */
	struct qcow2_snapshot *snapshots;
	uint32_t nr_snapshots;

	pthread_mutex_t ranges_lock;
	pthread_cond_t ranges_freed;
	struct qcow2_range *ranges;
	uint32_t nr_range_waiters;

	pthread_mutex_t decompressed_lock;
	uint64_t decompressed_descriptor; /* 0: none */
	uint8_t *decompressed;            /* a cluster */
};

static inline uint64_t qcow2_clusters(const struct qcow2 *q, uint64_t bytes)
{
	return (bytes >> q->cluster_bits) + ((bytes & (q->cluster_bytes - 1)) != 0);
}

/* --- qcow2_header.c --- */

/* Reads and checks header and extensions. */
int qcow2_header_read(struct qcow2 *q, struct error *err);
/* Writes what may change of the header: one sector, so all or nothing. Not flushed. */
int qcow2_header_write(struct qcow2 *q);
/* Writes the whole header with extensions and backing file name, which must fit one cluster. */
int qcow2_header_rewrite(struct qcow2 *q, struct error *err);
void qcow2_header_finish(struct qcow2 *q);

/* --- qcow2.c --- */

/* Metadata contradicts itself: sets the corrupt bit, refuses further writes, returns -EIO. */
int qcow2_mark_broken(struct qcow2 *q, const char *what, uint64_t offset);
/* Called before the first change of refcounts that stay lazy. */
int qcow2_mark_dirty(struct qcow2 *q);
int qcow2_mark_clean(struct qcow2 *q);
/* Reads the tables again after they were replaced on disk. Nothing may be cached dirty. */
int qcow2_load_tables(struct qcow2 *q, struct error *err);

/* --- qcow2_refcount.c; with the lock --- */

int qcow2_refcount_get(struct qcow2 *q, uint64_t cluster, uint64_t *refcount);
/* Adds `change` (1 or -1) to `count` clusters' refcounts. */
int qcow2_refcount_add(struct qcow2 *q, uint64_t cluster, uint64_t count, int change);
uint64_t qcow2_refblock_load(const struct qcow2 *q, const uint8_t *block, uint64_t index);
void qcow2_refblock_store(const struct qcow2 *q, uint8_t *block, uint64_t index, uint64_t refcount);
/*
 * Allocates up to `want` contiguous clusters, at least one, and with `exact` all of them. `*fresh`:
 * they are known to read as zeros.
 */
int qcow2_allocate(struct qcow2 *q, uint64_t want, bool exact, enum qcow2_owner owner,
	uint64_t *offset, uint64_t *got, bool *fresh);
/* Gives up a reference once nothing on the medium refers to the clusters any more. */
int qcow2_free_later(struct qcow2 *q, uint64_t offset, uint64_t count);
/* Gives it up at once: for clusters nothing on the medium referred to. */
int qcow2_free_now(struct qcow2 *q, uint64_t offset, uint64_t count);
/* Gives up what a cluster referred to, whatever its form. */
int qcow2_free_cluster_later(struct qcow2 *q, const struct qcow2_cluster *cluster);

/* --- qcow2_map.c; with the lock --- */

int qcow2_cluster_decode(
	struct qcow2 *q, uint64_t entry, uint64_t bitmap, struct qcow2_cluster *cluster);
/* `index`: of the guest cluster. With `cached_only`: -EAGAIN rather than reading the image. */
int qcow2_cluster_get(
	struct qcow2 *q, uint64_t index, bool cached_only, struct qcow2_cluster *cluster);
/* Makes the L2 table writable first. */
int qcow2_cluster_set(struct qcow2 *q, uint64_t index, const struct qcow2_cluster *cluster);
int qcow2_find_run(
	struct qcow2 *q, uint64_t offset, uint64_t bytes, bool cached_only, struct qcow2_run *run);
/* Host sectors of a compressed cluster. */
void qcow2_compressed_extent(
	const struct qcow2 *q, uint64_t descriptor, uint64_t *offset, uint64_t *bytes);
/* Writes all cached metadata in the order above, then gives up what was freed. */
int qcow2_write_back(struct qcow2 *q);

/* --- qcow2_range.c --- */

void qcow2_range_lock(struct qcow2 *q, struct qcow2_range *range);
bool qcow2_range_trylock(struct qcow2 *q, struct qcow2_range *range);
void qcow2_range_unlock(struct qcow2 *q, struct qcow2_range *range);

/* --- qcow2_read.c, qcow2_write.c, qcow2_zero.c --- */

int qcow2_read(struct image *image, uint64_t offset, struct buffer buffer, uint64_t bytes);
/* The range is held by the caller. */
int qcow2_read_held(struct qcow2 *q, uint64_t offset, struct buffer buffer, uint64_t bytes);
/* With the lock: is it known that the range reads as zeros? */
bool qcow2_reads_as_zeros(struct qcow2 *q, uint64_t offset, uint64_t bytes);
int qcow2_content(
	struct image *image, uint64_t offset, uint64_t *bytes, enum image_content *content);
bool qcow2_pin(
	struct image *image, uint64_t offset, uint64_t bytes, bool is_write, struct image_pin *pin);
void qcow2_unpin(struct image *image, struct image_pin *pin);
int qcow2_write(struct image *image, uint64_t offset, struct buffer buffer, uint64_t bytes);
int qcow2_write_held(struct qcow2 *q, uint64_t offset, struct buffer buffer, uint64_t bytes);
int qcow2_zero(struct image *image, uint64_t offset, uint64_t bytes, bool unmap);
int qcow2_discard(struct image *image, uint64_t offset, uint64_t bytes);
/*
 * Frees whole guest clusters; `expose`: what the backing file holds there may show. The range is
 * held by the caller.
 */
int qcow2_drop_clusters(struct qcow2 *q, uint64_t first, uint64_t last, bool expose);

/* --- qcow2_compress.c --- */

int qcow2_decompress(
	struct qcow2 *q, uint64_t descriptor, uint64_t skip, struct buffer buffer, uint64_t bytes);
void qcow2_forget_decompressed(struct qcow2 *q);
/* Writes one whole cluster (or what there is of the last) compressed, or plain if it grew. */
int qcow2_write_compressed(struct image *image, uint64_t offset, const void *data, uint64_t bytes);

/* --- qcow2_resize.c --- */

int qcow2_resize(struct image *image, uint64_t bytes, struct error *err);
/* With the lock: makes the active L1 table at least `entries` long. */
int qcow2_grow_l1(struct qcow2 *q, uint32_t entries);
/* Makes `q->l1`, of `entries`, the active table of a disk of `size` bytes. */
int qcow2_replace_l1(struct qcow2 *q, uint32_t entries, uint64_t size);
int qcow2_write_table(
	struct qcow2 *q, uint64_t offset, const uint64_t *entries, uint64_t nr, uint64_t padded);
int qcow2_read_table(struct qcow2 *q, uint64_t offset, uint64_t *entries, uint64_t nr);

/* --- qcow2_snapshot.c --- */

int qcow2_snapshots_read(struct qcow2 *q, struct error *err);
void qcow2_snapshots_free(struct qcow2 *q);
int qcow2_snapshot_create(struct image *image, const char *name, struct error *err);
int qcow2_snapshot_apply(struct image *image, const char *name, struct error *err);
int qcow2_snapshot_delete(struct image *image, const char *name, struct error *err);

/* --- qcow2_check.c, qcow2_repair.c --- */

struct qcow2_check {
	uint64_t corruptions;                             /* what would lose data */
	uint64_t leaks;                                   /* clusters counted but not referred to */
	uint64_t stale_flags;                             /* "copied" flags that only cost a copy */
	uint64_t allocated_clusters, compressed_clusters; /* guest's, of the active table */
	uint64_t total_clusters;
	uint64_t end_offset; /* bytes: behind the last used cluster */
	bool dirty, marked_corrupt;
	/* Hears of each finding, as a sentence; may be NULL. */
	void (*report)(void *context, const char *sentence);
	void *context;
};

/* Counts all references and compares. Returns 0 or -errno when it cannot look. */
int qcow2_check(struct image *image, struct qcow2_check *check, struct error *err);
/* Also rebuilds the refcounts from the references, and drops references that point nowhere. */
int qcow2_repair(struct image *image, struct qcow2_check *check, struct error *err);

/* --- qcow2_create.c --- */

struct qcow2_create_options {
	const char *path;
	uint64_t size;          /* bytes */
	uint32_t version;       /* 2 or 3 */
	uint32_t cluster_bits;  /* 9 to 21 */
	uint32_t refcount_bits; /* 1, 2, 4, ... 64; version 2: 16 */
	bool lazy_refcounts;
	bool extended_l2;
	uint8_t compression_type;
	const char *backing_name, *backing_format; /* NULL: none */
	bool ignore_flush;
	const struct host_file_observer *observer;
};

extern const struct qcow2_create_options qcow2_create_defaults;
int qcow2_create(const struct qcow2_create_options *options, struct error *err);
/* Replaces the backing file's name; NULL: none. Reads none of them. */
int qcow2_set_backing(struct image *image, const char *name, const char *format, struct error *err);
struct qcow2 *qcow2_of(struct image *image); /* NULL: it is not qcow2 */

#endif
