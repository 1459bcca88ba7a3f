/*
 * A disk image as a device sees it: a row of bytes that is read and written asynchronously. Behind
 * it stand a format (raw, or qcow2 with its backing files), a host file or block device, a cache
 * mode, limits on its rate, and what to do when the host fails. This directory knows no guest.
 *
 * Threads: a block_device may be used by any thread. A block_queue belongs to the one thread that
 * submits to it and completes it (its "queue thread"); a device may have many queues. Requests of
 * different queues, and of one queue, run in any order and at the same time: an order exists only
 * between a request and those submitted after its `done`.
 */
#ifndef BLOCK_BLOCK_H
#define BLOCK_BLOCK_H

#include "base/error.h"
#include "base/types.h"

#include <sys/uio.h>

struct block_device;
struct block_queue;

/* What stands between a completed write and the medium. */
enum block_cache {
	BLOCK_CACHE_WRITEBACK,    /* the host's page cache; a flush reaches the medium */
	BLOCK_CACHE_NONE,         /* no page cache (O_DIRECT); a flush reaches the medium */
	BLOCK_CACHE_WRITETHROUGH, /* the page cache; every write reaches the medium */
	BLOCK_CACHE_DIRECTSYNC,   /* no page cache; every write reaches the medium */
	BLOCK_CACHE_UNSAFE,       /* the page cache; flushes are ignored: for throw-away disks */
};

/* How requests are carried out. */
enum block_aio {
	BLOCK_AIO_AUTO,     /* io_uring where the host allows it, else threads */
	BLOCK_AIO_IO_URING, /* refuse to open without io_uring */
	BLOCK_AIO_THREADS,
};

/* What happens to a request that the host fails. */
enum block_on_error {
	BLOCK_ON_ERROR_REPORT, /* its `done` gets the error */
	BLOCK_ON_ERROR_STOP,   /* it is kept, `stopped` is called, and it runs again on resume */
	BLOCK_ON_ERROR_ENOSPC, /* STOP if the host is out of room (ENOSPC, EDQUOT), else REPORT */
	BLOCK_ON_ERROR_IGNORE, /* its `done` gets 0; a read leaves zeros */
};

/* Rates of 0 are unlimited. A burst of 0 is a tenth of a second's worth. */
struct block_rate {
	uint64_t per_s; /* requests or bytes */
	uint64_t burst; /* how much may pass at once after a pause */
};

struct block_limits {
	struct block_rate requests;
	struct block_rate read_requests;
	struct block_rate write_requests; /* and discards, and zeroes written */
	struct block_rate bytes;
	struct block_rate read_bytes;
	struct block_rate write_bytes;
};

struct block_options {
	const char *path;
	const char *format; /* "raw" or "qcow2": never guessed */
	bool read_only;
	bool ignore_discard; /* complete discards without telling the host */
	enum block_cache cache;
	enum block_aio aio;
	enum block_on_error on_read_error;
	enum block_on_error on_write_error;
	struct block_limits limits;
};

/* What a device tells its driver. Immutable while the device is open, but for the size. */
struct block_geometry {
	uint32_t logical_block_bytes;       /* requests are multiples of it: 512 or 4096 */
	uint32_t physical_block_bytes;      /* smaller writes are read-modify-write */
	uint32_t optimal_io_bytes;          /* 0: not known */
	uint32_t discard_granularity_bytes; /* 0: discards do nothing */
	bool read_only;
	bool write_cache; /* a write may need a flush to reach the medium */
};

/* What an owner wants to hear of. Each may be NULL. */
struct block_events {
	/* The size changed. On the thread that called block_device_resize. */
	void (*resized)(void *context, uint64_t bytes);
	/*
	 * The first request since the last resume was kept after a failure; `why` is a sentence for
	 * the person who runs the machine, naming the image and the remedy. The owner pauses the
	 * machine, and calls block_device_resume to try again. On a queue thread, which must not
	 * close or drain the queue from here.
	 */
	void (*stopped)(void *context, const struct error *why);
	void *context;
};

/*
 * Opens and locks the image and its backing files. Returns 0, or -errno with `err` naming what is
 * wrong, who holds an image that is in use, and the remedy.
 */
int block_device_open(struct block_device **device, const struct block_options *options,
	const struct block_events *events, struct error *err);

/* Writes back what is cached and closes. All queues are closed before. NULL is fine. */
void block_device_close(struct block_device *device);

uint64_t block_device_size(const struct block_device *device); /* bytes */
const struct block_geometry *block_device_geometry(const struct block_device *device);
const char *block_device_path(const struct block_device *device);

/*
 * Gives the image a new size, and tells the owner: `bytes` is a multiple of the logical block.
 * A smaller size loses what lies beyond it. Waits for requests in flight; not from a `done`.
 */
int block_device_resize(struct block_device *device, uint64_t bytes, struct error *err);

/* Replaces the limits; requests that wait are looked at again. Any thread. */
void block_device_set_limits(struct block_device *device, const struct block_limits *limits);

/* A request was kept after a failure and waits for block_device_resume. Any thread. */
bool block_device_is_stopped(const struct block_device *device);
/* Runs again what was kept: each queue thread is woken through its descriptor. Any thread. */
void block_device_resume(struct block_device *device);

struct block_statistics {
	uint64_t reads, writes, flushes, discards, zeroes; /* requests done */
	uint64_t read_bytes, written_bytes;
	uint64_t failures;
};
void block_device_statistics(
	const struct block_device *device, struct block_statistics *statistics);

enum block_operation {
	BLOCK_READ,
	BLOCK_WRITE,
	BLOCK_FLUSH,   /* what is done before it is submitted reaches the medium */
	BLOCK_DISCARD, /* the range's content is undefined from now on */
	BLOCK_WRITE_ZEROES,
};

#define BLOCK_FUA   1u /* write, write zeroes: done once it is on the medium */
#define BLOCK_UNMAP 2u /* write zeroes: the room may be given back to the host */

/*
 * One request. The submitter owns it, and it and its buffers stay valid and in place until `done`.
 * `offset` and `bytes` are multiples of the logical block and lie inside the device, else `done`
 * gets -EINVAL (a write to a read-only device: -EROFS); a guest may cause either. Buffers need no
 * alignment, and hold exactly `bytes`.
 */
struct block_request {
	enum block_operation operation;
	unsigned flags;
	uint64_t offset; /* bytes */
	uint64_t bytes;
	const struct iovec *iov; /* read and write */
	unsigned nr_iov;         /* at most IOV_MAX */
	/*
	 * On the queue thread, from block_queue_run, _complete or _drain. `result` is 0 or
	 * -errno; all or nothing (a failed write may have changed any part of its range). May
	 * submit, and may free the request.
	 */
	void (*done)(struct block_request *request, int result);
	void *context;

	/* Of the block layer from submission to `done`; zero before the first. */
	struct block_request *next_;
	struct block_queue *queue_;
	uint64_t private_[8];
};

/*
 * Opens a queue for about `depth` requests at once (more may be submitted; they wait). The calling
 * thread need not be the queue thread. Returns 0 or -errno.
 */
int block_queue_open(
	struct block_queue **queue, struct block_device *device, unsigned depth, struct error *err);
/* Nothing may be in flight (block_queue_drain). NULL is fine. */
void block_queue_close(struct block_queue *queue);

/* Becomes readable when block_queue_complete has something to do. */
int block_queue_fd(const struct block_queue *queue);

/* Takes the request. It may wait for block_queue_kick; `done` is never called from here. */
void block_queue_submit(struct block_queue *queue, struct block_request *request);
/* Sets off what was submitted: once for a batch. */
void block_queue_kick(struct block_queue *queue);
/*
 * Sets off what was submitted, and calls `done` for what is done at once: what the page cache
 * holds, and writes into it, which this thread copies. That may take milliseconds where the host is
 * slow. Returns how many.
 */
unsigned block_queue_run(struct block_queue *queue);
/* Calls `done` for what has completed, and goes on with what waits. Never waits itself. Returns how
 * many. */
unsigned block_queue_complete(struct block_queue *queue);

/*
 * Kicks, and waits until nothing of this queue is in flight, calling `done` for each. Requests that
 * a rate limit holds back run at once. Kept requests (block_on_error) stay kept, unless `cancel`:
 * then their `done` gets -ECANCELED. For a reset, a snapshot, or before closing.
 */
void block_queue_drain(struct block_queue *queue, bool cancel);

/*
 * The same without a queue, on the calling thread: for tools and for what runs before the guest.
 * Returns 0 or -errno; neither limits nor the error policy apply.
 */
int block_device_read(struct block_device *device, uint64_t offset, void *buffer, uint64_t bytes);
int block_device_write(
	struct block_device *device, uint64_t offset, const void *buffer, uint64_t bytes);
int block_device_flush(struct block_device *device);

#endif
