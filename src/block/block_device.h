/*
 * What the files of the block layer share: the device behind block.h, its worker threads, and how
 * a request runs on one of them.
 */
#ifndef BLOCK_BLOCK_DEVICE_H
#define BLOCK_BLOCK_DEVICE_H

#include "block/block.h"
#include "block/image.h"
#include "block/rate_limit.h"

#include <pthread.h>

/* A queue's requests run on these when they may wait. Threads start on demand and end idle. */
struct block_workers {
	pthread_mutex_t lock;
	pthread_cond_t work;  /* there is a job, or `closing` */
	pthread_cond_t ended; /* a thread has ended */
	struct block_request *first, **last;
	unsigned nr_threads, nr_idle;
	bool closing;
};

struct block_device {
	struct image *image;
	struct block_geometry geometry; /* immutable */
	struct block_events events;     /* immutable */
	enum block_aio aio;
	enum block_on_error on_read_error, on_write_error;
	bool ignore_discard;
	bool flush_each_write; /* writethrough, directsync */
	struct block_workers workers;
	_Atomic bool stopped;
	_Atomic unsigned resumes; /* counts block_device_resume */
	_Atomic bool limited;     /* any limit is set */
	_Atomic unsigned nr_flushing;
	_Atomic uint64_t reads, writes, flushes, discards, zeroes;
	_Atomic uint64_t read_bytes, written_bytes, failures;

	pthread_mutex_t lock; /* of what follows */
	struct rate_limit limit;
	struct block_queue *queues;
};

void block_workers_init(struct block_workers *workers);
/* Nothing may be queued. */
void block_workers_finish(struct block_workers *workers);
/* Runs the request on a thread, and hands it to block_queue_return. */
void block_workers_run(struct block_workers *workers, struct block_request *request);

/* Carries the request out on the calling thread; 0 or -errno. */
int block_device_execute(struct block_device *device, const struct block_request *request);

/* Puts an executed request back on its queue, and wakes the queue thread. Any thread. */
void block_queue_return(struct block_request *request, int result);
/* Wakes the queue thread. Any thread. */
void block_queue_wake(struct block_queue *queue);
/* Links of the device's list of queues; device lock. */
struct block_queue *block_queue_next(struct block_queue *queue);

/* A failed request: true if the policy keeps it (the owner has been told). Queue thread. */
bool block_device_keeps(
	struct block_device *device, const struct block_request *request, int result);

static inline bool block_operation_writes(enum block_operation operation)
{
	return operation == BLOCK_WRITE || operation == BLOCK_DISCARD ||
	       operation == BLOCK_WRITE_ZEROES;
}

#endif
