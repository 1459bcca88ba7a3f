/*
 * Guest time, and the timers that hang on it.
 *
 * A clock counts nanoseconds since the machine was created, stands still while it is paused, and
 * can be set when a machine is restored. Chips read no other clock and arm no other timer, so they
 * run against a fake clock in tests. Clock and timers are used under the machine lock; the event
 * loop sleeps until clock_next_deadline and then calls clock_run.
 */
#ifndef MACHINE_CLOCK_H
#define MACHINE_CLOCK_H

#include "base/types.h"

#define CLOCK_NEVER INT64_MAX

struct clock;

struct timer {
	void (*fire)(void *context); /* under the machine lock; may arm the timer again */
	void *context;
	struct clock *clock;
	ns_t deadline_ns; /* CLOCK_NEVER while not armed */
	struct timer *next;
};

struct clock {
	ns_t (*source)(void *context); /* host time; must not go backwards */
	void *context;
	ns_t offset_ns; /* guest time = source - offset */
	ns_t paused_at_ns;
	bool paused;
	struct timer *timers; /* ascending deadlines */
	/* Called when the earliest deadline moves; wakes the event loop. May be NULL. */
	void (*deadline_moved)(void *context);
	void *deadline_context;
};

/* A clock on CLOCK_MONOTONIC, starting at 0. */
void clock_init(struct clock *clock);
/* A clock on the caller's source, for tests. */
void clock_init_source(struct clock *clock, ns_t (*source)(void *context), void *context);

ns_t clock_now(const struct clock *clock);
void clock_set(struct clock *clock, ns_t now_ns);
void clock_pause(struct clock *clock);
void clock_resume(struct clock *clock);

/* The earliest deadline in guest time, or CLOCK_NEVER (also while paused). */
ns_t clock_next_deadline(const struct clock *clock);
/* Fires every timer that is due. */
void clock_run(struct clock *clock);

void timer_init(
	struct timer *timer, struct clock *clock, void (*fire)(void *context), void *context);
/* Arms at a point of guest time, replacing an earlier deadline; a past one fires at the next run.
 */
void timer_arm(struct timer *timer, ns_t deadline_ns);
void timer_cancel(struct timer *timer);

static inline bool timer_is_armed(const struct timer *timer)
{
	return timer->deadline_ns != CLOCK_NEVER;
}

/* ticks of `hz` in `ns`, rounded down, and the shortest time that holds `ticks`; no overflow. */
static inline uint64_t ns_to_ticks(ns_t ns, uint64_t hz)
{
	return (uint64_t)((unsigned __int128)ns * hz / NS_PER_S);
}

static inline ns_t ticks_to_ns(uint64_t ticks, uint64_t hz)
{
	return (ns_t)(((unsigned __int128)ticks * NS_PER_S + hz - 1) / hz);
}

#endif
