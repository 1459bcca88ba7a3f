/*
 * The event loop of a process's main thread: descriptors, and one deadline.
 *
 * Not thread-safe but for loop_wake: watches are added and removed by the thread that runs it,
 * also from inside a callback.
 */
#ifndef BASE_LOOP_H
#define BASE_LOOP_H

#include "base/types.h"

#define LOOP_MAX_WATCHES 64

#define LOOP_READ  1u
#define LOOP_WRITE 2u

struct loop_watch {
	int fd; /* -1: free */
	unsigned events;
	bool always_ready; /* a regular file, which epoll refuses: due in every round */
	void (*ready)(void *context, unsigned events);
	void *context;
};

struct loop {
	int epoll_fd;
	int wake_fd;
	struct loop_watch watches[LOOP_MAX_WATCHES];
};

/* Returns 0 or -errno. */
int loop_init(struct loop *loop);
void loop_finish(struct loop *loop);

/* Calls `ready` whenever `fd` can be read or written, as `events` says. Returns 0 or -errno. */
int loop_add(struct loop *loop, int fd, unsigned events,
	void (*ready)(void *context, unsigned events), void *context);
/* Changes what is waited for; 0 keeps the watch but waits for nothing. */
void loop_change(struct loop *loop, int fd, unsigned events);
void loop_remove(struct loop *loop, int fd);

/*
 * Waits until a descriptor is ready, loop_wake is called, or CLOCK_MONOTONIC reaches
 * `deadline_ns` (INT64_MAX: never), and calls what is due.
 */
void loop_run_once(struct loop *loop, ns_t deadline_ns);

/* Makes loop_run_once return. Any thread; async-signal-safe. */
void loop_wake(struct loop *loop);

#endif
