/*
 * The engine's counters, for people and for programs: `atoll run --stats`.
 */
#ifndef VMM_STATS_H
#define VMM_STATS_H

#include "engine/engine.h"

#include <stdio.h>

/*
 * A line for each counter with its meaning; or one line of JSON, in which the names' words are
 * joined by underscores. No vCPU runs.
 */
void stats_print(FILE *out, struct engine *engine, bool as_json);

#endif
