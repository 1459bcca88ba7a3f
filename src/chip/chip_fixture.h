/*
 * What chip tests stand on: a clock that moves only when told, and lines that record.
 */
#ifndef CHIP_CHIP_FIXTURE_H
#define CHIP_CHIP_FIXTURE_H

#include "machine/clock.h"
#include "machine/irq_line.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct fake_clock {
	struct clock clock;
	ns_t source_ns;
};

static inline ns_t fake_clock_source(void *context)
{
	return ((struct fake_clock *)context)->source_ns;
}

static inline void fake_clock_init(struct fake_clock *fake)
{
	fake->source_ns = 0;
	clock_init_source(&fake->clock, fake_clock_source, fake);
}

/* Moves time on to `to_ns`, stopping at each deadline on the way. */
static inline void fake_clock_run_to(struct fake_clock *fake, ns_t to_ns)
{
	while (clock_next_deadline(&fake->clock) <= to_ns) {
		if (clock_next_deadline(&fake->clock) > fake->source_ns)
			fake->source_ns = clock_next_deadline(&fake->clock);
		clock_run(&fake->clock);
	}
	fake->source_ns = to_ns;
}

static inline void fake_clock_advance(struct fake_clock *fake, ns_t ns)
{
	fake_clock_run_to(fake, fake->source_ns + ns);
}

/* A line's level and how often it rose and fell. */
struct line_probe {
	bool level;
	unsigned rises;
	unsigned falls;
};

static inline void line_probe_set(void *context, unsigned pin, bool level)
{
	struct line_probe *probe = context;

	(void)pin;
	if (level && !probe->level)
		probe->rises++;
	if (!level && probe->level)
		probe->falls++;
	probe->level = level;
}

static inline struct irq_line line_probe_line(struct line_probe *probe)
{
	*probe = (struct line_probe){ 0 };
	return (struct irq_line){ .set = line_probe_set, .context = probe };
}

#endif
