/*
 * A regular file or block device of the host that holds an image: synchronous access at any
 * alignment, its locks, and what of it a test may watch.
 *
 * Any thread; calls on one file may overlap. Sizes and offsets are bytes; calls return 0 or -errno.
 */
#ifndef BLOCK_HOST_FILE_H
#define BLOCK_HOST_FILE_H

#include "base/error.h"
#include "block/buffer.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Hears of every change in the order it was made. For crash tests. */
struct host_file_observer {
	void (*written)(void *context, uint64_t offset, struct buffer buffer, uint64_t bytes);
	void (*zeroed)(void *context, uint64_t offset, uint64_t bytes);
	void (*resized)(void *context, uint64_t bytes);
	void (*flushed)(void *context);
	void *context;
};

struct host_file_options {
	bool read_only;
	bool direct;       /* O_DIRECT */
	bool ignore_flush; /* flushes do nothing */
	bool unlocked;     /* take no lock: only for looking at an image that is in use */
	bool create;       /* must not exist yet, unless it is a block device */
};

struct host_file {
	int fd;
	char *path;
	dev_t device; /* with inode: which file it is */
	ino_t inode;
	bool read_only;
	bool direct;
	bool is_block_device;
	bool is_local; /* on a file system of this host's, not a server's */
	bool ignore_flush;
	uint32_t alignment; /* of offsets, lengths and memory in direct access; 1 otherwise */
	uint32_t physical_block_bytes;
	_Atomic uint64_t size;
	_Atomic bool cannot_punch; /* the file system lacks hole punching */
	_Atomic bool writes_lost;  /* a flush failed: the page cache may have dropped writes */
	pthread_mutex_t unaligned; /* one read-modify-write at a time */
	const struct host_file_observer *observer;
};

int host_file_open(struct host_file **file, const char *path,
	const struct host_file_options *options, struct error *err);
void host_file_close(struct host_file *file);

/* What lies beyond the end of the file reads as zeros. */
int host_file_read(struct host_file *file, uint64_t offset, struct buffer buffer, uint64_t bytes);
int host_file_write(struct host_file *file, uint64_t offset, struct buffer buffer, uint64_t bytes);
int host_file_pread(struct host_file *file, uint64_t offset, void *to, size_t bytes);
int host_file_pwrite(struct host_file *file, uint64_t offset, const void *from, size_t bytes);

/* All completed writes reach the medium. Fails for good once it failed. */
int host_file_flush(struct host_file *file);

/* The range reads as zeros, and with `unmap` its room is given back where the host can. */
int host_file_zero(struct host_file *file, uint64_t offset, uint64_t bytes, bool unmap);
/* Gives the room of the range back; what it reads afterwards is undefined. Best effort. */
int host_file_discard(struct host_file *file, uint64_t offset, uint64_t bytes);
int host_file_resize(struct host_file *file, uint64_t bytes);
/* Asks the host for the size again. */
int host_file_refresh(struct host_file *file);
/* Bytes of the host's storage the file occupies. */
uint64_t host_file_allocated(struct host_file *file);
/* How many bytes from `offset` on are a hole, or with `*is_data` set, are not; at least 1. */
uint64_t host_file_extent(struct host_file *file, uint64_t offset, uint64_t bytes, bool *is_data);

/* Memory for direct access to any host file; free(). NULL if there is none. */
void *host_file_memory(size_t bytes);

/*
 * Locks by host_file_lock.c: many may read an image, one may write it, and nobody reads meanwhile.
 * The byte ranges are those QEMU's tools lock, so that they and we refuse each other.
 */
int host_file_lock(struct host_file *file, struct error *err);

#endif
