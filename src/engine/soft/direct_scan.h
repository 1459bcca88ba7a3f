/*
 * Instructions that may not run natively because the host's answer is not the guest's, found in the
 * bytes of a page: CPUID, the time-stamp counter's, XSAVE's and their kin.
 */
#ifndef ENGINE_SOFT_DIRECT_SCAN_H
#define ENGINE_SOFT_DIRECT_SCAN_H

#include "base/types.h"

enum direct_scan {
	DIRECT_SCAN_CLEAN, /* no such instruction begins in the page, whole or cut off by its end */
	DIRECT_SCAN_TRAPPED, /* none does in a copy of the page that has INT3 at `traps` */
	DIRECT_SCAN_UNFIT,
};

/* Offsets in a page. */
#define DIRECT_MAX_TRAPS 16
struct direct_traps {
	unsigned count;
	uint16_t at[DIRECT_MAX_TRAPS];
};

#define DIRECT_SCAN_NEXT 2

/* `next`: what the code goes on with in the page behind, NULL if that is not known; `host_tsc`:
 * RDTSC is none of them. */
enum direct_scan direct_scan(const uint8_t page[4096], const uint8_t next[DIRECT_SCAN_NEXT],
	bool host_tsc, struct direct_traps *traps);

/* Does it matter what the page behind begins with? */
bool direct_scan_needs_next(const uint8_t page[4096]);

#endif
