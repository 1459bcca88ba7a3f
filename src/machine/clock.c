#include "machine/clock.h"

#include <string.h>
#include <time.h>

static ns_t monotonic_now(void *context)
{
	struct timespec now;

	(void)context;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * NS_PER_S + now.tv_nsec;
}

void clock_init_source(struct clock *clock, ns_t (*source)(void *context), void *context)
{
	memset(clock, 0, sizeof(*clock));
	clock->source = source;
	clock->context = context;
	clock->offset_ns = source(context);
}

void clock_init(struct clock *clock)
{
	clock_init_source(clock, monotonic_now, NULL);
}

ns_t clock_now(const struct clock *clock)
{
	if (clock->paused)
		return clock->paused_at_ns;
	return clock->source(clock->context) - clock->offset_ns;
}

static void clock_announce(struct clock *clock)
{
	if (clock->deadline_moved)
		clock->deadline_moved(clock->deadline_context);
}

void clock_set(struct clock *clock, ns_t now_ns)
{
	if (clock->paused)
		clock->paused_at_ns = now_ns;
	else
		clock->offset_ns = clock->source(clock->context) - now_ns;
	clock_announce(clock);
}

void clock_pause(struct clock *clock)
{
	if (clock->paused)
		return;
	clock->paused_at_ns = clock_now(clock);
	clock->paused = true;
}

void clock_resume(struct clock *clock)
{
	if (!clock->paused)
		return;
	clock->paused = false;
	clock_set(clock, clock->paused_at_ns);
}

ns_t clock_next_deadline(const struct clock *clock)
{
	if (clock->paused || !clock->timers)
		return CLOCK_NEVER;
	return clock->timers->deadline_ns;
}

void clock_run(struct clock *clock)
{
	ns_t now_ns = clock_now(clock);

	while (clock->timers && clock->timers->deadline_ns <= now_ns) {
		struct timer *timer = clock->timers;

		clock->timers = timer->next;
		timer->deadline_ns = CLOCK_NEVER;
		timer->fire(timer->context);
	}
}

void timer_init(
	struct timer *timer, struct clock *clock, void (*fire)(void *context), void *context)
{
	*timer = (struct timer){
		.fire = fire, .context = context, .clock = clock, .deadline_ns = CLOCK_NEVER
	};
}

static void timer_unlink(struct timer *timer)
{
	struct timer **link = &timer->clock->timers;

	while (*link && *link != timer)
		link = &(*link)->next;
	if (*link)
		*link = timer->next;
	timer->deadline_ns = CLOCK_NEVER;
}

void timer_arm(struct timer *timer, ns_t deadline_ns)
{
	struct clock *clock = timer->clock;
	struct timer **link = &clock->timers;

	if (timer_is_armed(timer))
		timer_unlink(timer);
	timer->deadline_ns = deadline_ns;
	while (*link && (*link)->deadline_ns <= deadline_ns)
		link = &(*link)->next;
	timer->next = *link;
	*link = timer;
	if (clock->timers == timer)
		clock_announce(clock);
}

void timer_cancel(struct timer *timer)
{
	if (timer_is_armed(timer))
		timer_unlink(timer);
}
