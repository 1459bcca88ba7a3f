/*
 * The guest's wall clock after the guest stood still: while it is paused, or its host asleep, its
 * own clock does not go on, and no hardware of a PC would tell it. So the guest's agent is asked to
 * set it (guest-set-time), if there is a line to one; without one the guest is late until something
 * in it looks at the time elsewhere.
 */
#ifndef VMM_GUEST_CLOCK_H
#define VMM_GUEST_CLOCK_H

#include "base/loop.h"
#include "bundle/bundle.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

struct guest_clock {
	const struct bundle *bundle; /* NULL: nobody to ask */
	ns_t (*read)(clockid_t id);

	/* Event loop only. */
	struct loop *loop;
	int timer_fd;     /* CLOCK_REALTIME; ready when that jumps, as it does after a sleep */
	ns_t asleep_ns;   /* how long the host has slept since it booted */
	bool has_thread;  /* to be joined */
	pthread_t thread; /* asks the agent */

	/* Any thread. */
	_Atomic unsigned wanted; /* grows each time that the clock has to be set */
	_Atomic bool ending;
};

/* A clock of the host. */
ns_t guest_clock_host(clockid_t id);

/* Returns 0 or -errno. `bundle` has the socket that leads to the agent; NULL: none does. `read` is
 * guest_clock_host, or a test's. */
int guest_clock_open(struct guest_clock *clock, const struct bundle *bundle, struct loop *loop,
	ns_t (*read)(clockid_t id));
/* After that socket has gone: it ends a question that is on its way. */
void guest_clock_close(struct guest_clock *clock);

/* The guest goes on after it stood still: sets its clock, soon. */
void guest_clock_set(struct guest_clock *clock);

#endif
