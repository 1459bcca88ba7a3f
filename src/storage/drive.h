/*
 * A drive behind a controller: a place for a medium (a disk image), the block queue to it, and the
 * thread that completes requests, "io/NAME".
 *
 * Everything but that thread runs under one lock of the controller's, which is the machine lock
 * unless the controller has queues of its own; the thread takes it for each batch that completes.
 * Nothing here waits, but for draining.
 */
#ifndef STORAGE_DRIVE_H
#define STORAGE_DRIVE_H

#include "block/block.h"
#include "machine/machine.h"
#include "storage/scatter.h"

#include <pthread.h>

/* Whatever serializes a controller. */
struct drive_lock {
	void (*enter)(void *context);
	void (*leave)(void *context);
	void *context;
};

struct drive_lock drive_machine_lock(struct machine *machine);

struct drive {
	/* Immutable. */
	const char *name;
	struct drive_lock lock;
	pthread_t thread;
	bool started;
	int epoll_fd, wake_fd;
	_Atomic bool ending;
	/* The lock's. */
	struct block_device *image; /* the caller's; NULL: no medium */
	struct block_queue *queue;  /* NULL: no medium */
	uint64_t generation;        /* counts media */
};

/* An empty drive with a thread. `name` outlives it. Returns 0, or fills `err`. */
int drive_init(
	struct drive *drive, const char *name, const struct drive_lock *lock, struct error *err);
/* Not under the lock. Takes the medium out, and ends the thread; a zeroed drive is fine. */
void drive_finish(struct drive *drive);

/* Under the lock; the drive is empty. `depth` as in block_queue_open. Returns 0, or fills `err`. */
int drive_insert(
	struct drive *drive, struct block_device *image, unsigned depth, struct error *err);
/* Under the lock. Requests in flight end first. Returns the image, which the caller closes. */
struct block_device *drive_remove(struct drive *drive);

uint64_t drive_bytes(const struct drive *drive); /* of the medium; 0: none */
bool drive_is_read_only(const struct drive *drive);

/*
 * One transfer between medium and memory, of any length: it is cut into requests that the block
 * layer takes. The submitter owns it until `done`, and fills what stands before that.
 */
struct drive_transfer {
	enum block_operation operation;
	unsigned flags;          /* BLOCK_FUA, BLOCK_UNMAP */
	uint64_t offset, bytes;  /* multiples of the block, inside the medium, or it fails */
	struct scatter *scatter; /* read and write; holds exactly `bytes` */
	/* Under the lock; 0 or -errno. From drive_run, drive_drain, the thread; from drive_start
	 * only if there is no medium. */
	void (*done)(struct drive_transfer *transfer, int result);
	void *context;

	/* Of the drive. */
	struct drive *drive;
	struct block_request block;
	uint64_t at;
	struct iovec *pieces;
};

/* Under the lock. Several may be in flight. */
void drive_start(struct drive *drive, struct drive_transfer *transfer);
/* Sets off what was started, and completes what is done already; after a batch. Not from a `done`,
 * after which that happens anyway. */
void drive_run(struct drive *drive);
/* Waits until nothing is in flight. `cancel`: what was kept after a failure fails. */
void drive_drain(struct drive *drive, bool cancel);

#endif
