/*
 * The host's TSC frequency: CPUID leaf 15h (SDM 2A, CPUID), the hypervisor leaf 40000010h that
 * VMware introduced, or a measurement.
 */
#include "x86/tsc_frequency.h"

#include <cpuid.h>
#include <time.h>

#define CALIBRATION_NS (10 * NS_PER_MS)
#define SAMPLE_TRIES   16

static ns_t monotonic_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * NS_PER_S + now.tv_nsec;
}

struct tsc_sample tsc_sample(void)
{
	struct tsc_sample best = { 0 };
	uint64_t best_width = UINT64_MAX;

	/* The narrowest bracket has met no interrupt and no migration. */
	for (int i = 0; i < SAMPLE_TRIES; i++) {
		uint64_t before = __builtin_ia32_rdtsc();
		ns_t ns = monotonic_ns();
		uint64_t width = __builtin_ia32_rdtsc() - before;

		if (width < best_width) {
			best_width = width;
			best.tsc = before + width / 2;
			best.monotonic_ns = ns;
		}
	}
	return best;
}

static uint64_t from_leaf_15h(void)
{
	uint32_t denominator, numerator, crystal_hz, edx;

	if (!__get_cpuid_count(0x15, 0, &denominator, &numerator, &crystal_hz, &edx))
		return 0;
	if (!denominator || !numerator || !crystal_hz)
		return 0;
	return (uint64_t)crystal_hz * numerator / denominator;
}

static uint64_t from_hypervisor(void)
{
	uint32_t eax, ebx, ecx, edx;

	__cpuid(1, eax, ebx, ecx, edx);
	if (!(ecx >> 31))
		return 0;
	__cpuid(0x40000000, eax, ebx, ecx, edx);
	if (eax < 0x40000010 || eax > 0x400000ff)
		return 0;
	__cpuid(0x40000010, eax, ebx, ecx, edx);
	return (uint64_t)eax * 1000;
}

static uint64_t measure(void)
{
	const struct timespec wait = { .tv_nsec = CALIBRATION_NS };
	struct tsc_sample first = tsc_sample(), last;

	nanosleep(&wait, NULL);
	last = tsc_sample();
	return (uint64_t)((unsigned __int128)(last.tsc - first.tsc) * NS_PER_S /
			  (uint64_t)(last.monotonic_ns - first.monotonic_ns));
}

uint64_t tsc_frequency(void)
{
	uint64_t hz = from_leaf_15h();

	if (!hz)
		hz = from_hypervisor();
	return hz ? hz : measure();
}
