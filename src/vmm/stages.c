#include "vmm/stages.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static const char *const stage_names[NR_STAGES] = {
	[STAGE_START] = "start",
	[STAGE_MACHINE] = "machine",
	[STAGE_LOADED] = "loaded",
	[STAGE_RUNNING] = "running",
	[STAGE_OUTPUT] = "first_output",
	[STAGE_ENDED] = "ended",
};

void stages_reach(struct stages *stages, enum stage stage)
{
	struct timespec now;

	if (stages->at_ns[stage])
		return;
	clock_gettime(CLOCK_MONOTONIC, &now);
	stages->at_ns[stage] = now.tv_sec * NS_PER_S + now.tv_nsec;
}

/* Resident bytes of this process. */
static uint64_t resident_bytes(void)
{
	unsigned long long total = 0, resident = 0;
	FILE *file = fopen("/proc/self/statm", "r");

	if (!file)
		return 0;
	if (fscanf(file, "%llu %llu", &total, &resident) != 2)
		resident = 0;
	fclose(file);
	return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

void stages_print(FILE *out, const struct stages *stages, uint64_t guest_resident_bytes)
{
	struct rusage usage;
	uint64_t resident = resident_bytes();
	uint64_t own = resident > guest_resident_bytes ? resident - guest_resident_bytes : 0;

	getrusage(RUSAGE_SELF, &usage);
	fprintf(out, "{\"stages_ms\": {");
	for (unsigned i = STAGE_MACHINE; i < NR_STAGES; i++)
		if (stages->at_ns[i])
			fprintf(out, "%s\"%s\": %.3f", i == STAGE_MACHINE ? "" : ", ",
				stage_names[i],
				(double)(stages->at_ns[i] - stages->at_ns[STAGE_START]) /
					NS_PER_MS);
	fprintf(out,
		"}, \"cpu_user_ms\": %.3f, \"cpu_system_ms\": %.3f, \"guest_resident_kib\": %llu, "
		"\"own_resident_kib\": %llu}\n",
		(double)usage.ru_utime.tv_sec * 1e3 + (double)usage.ru_utime.tv_usec / 1e3,
		(double)usage.ru_stime.tv_sec * 1e3 + (double)usage.ru_stime.tv_usec / 1e3,
		(unsigned long long)(guest_resident_bytes >> 10), (unsigned long long)(own >> 10));
}
