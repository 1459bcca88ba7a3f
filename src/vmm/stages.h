/*
 * How long each stage of a machine's life took, for --time.
 */
#ifndef VMM_STAGES_H
#define VMM_STAGES_H

#include "base/types.h"

#include <stdio.h>

enum stage {
	STAGE_START,   /* the process began */
	STAGE_MACHINE, /* memory, board and engine are there */
	STAGE_LOADED,  /* the boot image is in guest memory */
	STAGE_RUNNING, /* the vCPUs were let go */
	STAGE_OUTPUT,  /* the guest's first byte on the console */
	STAGE_ENDED,   /* the guest powered off or was ended */
	NR_STAGES
};

struct stages {
	ns_t at_ns[NR_STAGES]; /* CLOCK_MONOTONIC; 0: not reached */
};

void stages_reach(struct stages *stages, enum stage stage);

/*
 * One line of JSON: milliseconds from the start of the process to each stage reached, the process's
 * CPU time, and its memory beyond the guest's (resident bytes without the mappings of guest RAM,
 * `guest_resident_bytes` of which are resident).
 */
void stages_print(FILE *out, const struct stages *stages, uint64_t guest_resident_bytes);

#endif
