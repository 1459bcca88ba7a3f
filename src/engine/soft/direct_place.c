/* Placement by affinity (direct_place.h). For the vCPU's thread. */
#include "engine/soft/direct_place.h"

#include <stddef.h>

void direct_place_init(struct direct_place *place)
{
	*place = (struct direct_place){ .cpu = -1 };
	if (sched_getaffinity(0, sizeof(place->allowed), &place->allowed) < 0)
		CPU_ZERO(&place->allowed);
}

void direct_place_release(struct direct_place *place)
{
	if (place->cpu < 0)
		return;
	sched_setaffinity(0, sizeof(place->allowed), &place->allowed);
	if (place->runner > 0)
		sched_setaffinity(place->runner, sizeof(place->allowed), &place->allowed);
	place->cpu = -1;
	place->runner = 0;
}

void direct_place_together(struct direct_place *place, pid_t runner, uint64_t now, uint64_t period)
{
	cpu_set_t one;

	if (now - place->floated_at > period) {
		direct_place_release(place);
		place->floated_at = now;
		return;
	}
	if (place->cpu >= 0 && place->runner == runner)
		return;
	if (place->cpu < 0) {
		place->cpu = sched_getcpu();
		if (place->cpu < 0)
			return;
		CPU_ZERO(&one);
		CPU_SET((unsigned)place->cpu, &one);
		sched_setaffinity(0, sizeof(one), &one);
	} else {
		CPU_ZERO(&one);
		CPU_SET((unsigned)place->cpu, &one);
		if (place->runner > 0)
			sched_setaffinity(place->runner, sizeof(place->allowed), &place->allowed);
	}
	sched_setaffinity(runner, sizeof(one), &one);
	place->runner = runner;
}
