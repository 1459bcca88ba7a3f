/*
 * The host's clock that never goes backwards: for deadlines and durations of the host's own work,
 * never for what a guest sees (machine/clock.h).
 */
#ifndef BASE_HOST_TIME_H
#define BASE_HOST_TIME_H

#include "base/types.h"

#include <time.h>

/* CLOCK_MONOTONIC. */
static inline ns_t host_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * NS_PER_S + now.tv_nsec;
}

#endif
