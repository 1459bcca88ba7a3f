/*
 * A lane: the lock under which some queues of one device are served, and an I/O thread that serves
 * them when nobody else does.
 *
 * A doorbell that this process sees is served by the vCPU's own thread if the lane is free: waking
 * a thread takes longer than most requests. Who finds the lane taken leaves a mark; who gives the
 * lane up looks for marks. After a few rounds the I/O thread takes over, so that one vCPU does not
 * work for another for ever. Under KVM doorbells are eventfds, which the I/O thread waits for.
 *
 * Lock order (docs/locking.md): the machine lock stands above a lane. Whoever holds a lane
 * therefore never takes the machine lock: what needs it is done by `outside`, on the I/O thread.
 */
#ifndef VIRTIO_VIRTIO_LANE_H
#define VIRTIO_VIRTIO_LANE_H

#include "base/types.h"

#include <pthread.h>
#include <stdatomic.h>

struct virtio_lane;

/* A descriptor that the I/O thread waits for; `ready` runs there, unless it is shared, and holds
 * the lane. */
struct virtio_watch {
	int fd;
	void (*ready)(void *context);
	void *context;
	bool for_writing;          /* wait until it can be written, not read; */
	bool for_hang_up;          /* or until its other end is gone */
	bool is_signal;            /* an eventfd, of which each write is told and none is read */
	struct virtio_watch *next; /* the lane's */
};

struct virtio_lane_ops {
	/* Serves what is marked; returns true if something is left. Holds the lane. */
	bool (*serve)(void *owner, struct virtio_lane *lane);
	/* The lane is about to be given up: sends interrupts that are due. Holds the lane. */
	void (*leaving)(void *owner, struct virtio_lane *lane);
	/* What must not hold the lane. On the I/O thread, after virtio_lane_call_outside. */
	void (*outside)(void *owner, struct virtio_lane *lane);
};

struct virtio_lane {
	pthread_mutex_t lock;
	/* Immutable. */
	const struct virtio_lane_ops *ops;
	void *owner;
	unsigned index; /* among the owner's */
	pthread_t thread;
	bool started;
	int epoll_fd;
	int wake_fd;

	struct virtio_watch *watches; /* the lane's holder */
	struct virtio_watch *shared;  /* immutable, or NULL */
	unsigned patience;            /* immutable: looks of the I/O thread at a taken lane */

	/* Any thread. */
	_Atomic bool marked;  /* `serve` has something to do */
	_Atomic bool outside; /* so has `outside` */
	_Atomic bool shared_is_ready;
	_Atomic bool ending;
};

/* Creates the lane and its thread, "io/NAME". Returns 0 or -errno. */
int virtio_lane_init(struct virtio_lane *lane, const char *name, unsigned index,
	const struct virtio_lane_ops *ops, void *owner);
/* Ends the thread. Nobody may hold the lane. A zeroed lane is fine. */
void virtio_lane_finish(struct virtio_lane *lane);

/* Takes the lane; on leaving, serves what was marked meanwhile. Not from `serve` or `ready`. */
void virtio_lane_enter(struct virtio_lane *lane);
void virtio_lane_leave(struct virtio_lane *lane);

/* There is something to serve: does it here if the lane is free, else whoever holds it does. */
void virtio_lane_poke(struct virtio_lane *lane);
/* The same, always on the I/O thread. */
void virtio_lane_wake(struct virtio_lane *lane);
/* Has `outside` called soon. Any thread. */
void virtio_lane_call_outside(struct virtio_lane *lane);

/*
 * `watch` stays in place until it is removed. Both hold the lane, or come before anything else.
 * Returns 0 or -errno.
 */
int virtio_lane_watch(struct virtio_lane *lane, struct virtio_watch *watch);
/*
 * As virtio_lane_watch, for one of the lane's watches that is never removed. If the I/O thread
 * finds the lane taken, whoever holds it calls `ready` when giving it up, without a thread having
 * slept for that: what a vCPU sends can be answered before it is back from the system call.
 */
int virtio_lane_share(struct virtio_lane *lane, struct virtio_watch *watch);
void virtio_lane_unwatch(struct virtio_lane *lane, struct virtio_watch *watch);

#endif
