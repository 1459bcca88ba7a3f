/*
 * The frequency of the host's time-stamp counter.
 */
#ifndef X86_TSC_FREQUENCY_H
#define X86_TSC_FREQUENCY_H

#include "base/types.h"

/* In Hz: what CPUID tells where it does, else measured against CLOCK_MONOTONIC, which takes 10 ms
 * and is good to about 1 ppm. */
uint64_t tsc_frequency(void);

/* One reading of both counters as close together as can be had. */
struct tsc_sample {
	uint64_t tsc;
	ns_t monotonic_ns;
};

struct tsc_sample tsc_sample(void);

#endif
