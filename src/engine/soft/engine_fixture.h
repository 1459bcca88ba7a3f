/*
 * For tests: a software engine as its users get it, with some vCPUs in reset state that nobody
 * runs, and a board that answers the 8259's and IOAPIC's questions from variables.
 */
#ifndef ENGINE_SOFT_ENGINE_FIXTURE_H
#define ENGINE_SOFT_ENGINE_FIXTURE_H

#include "engine/soft/vcpu.h"

struct engine_fixture {
	struct machine machine;
	struct cpu_model model;
	struct engine *engine;
	struct vcpu *vcpus;
	uint8_t pic_vector;    /* what the INTA cycle gives */
	unsigned acknowledged; /* INTA cycles so far */
	unsigned eois[256];    /* broadcast so far */
};

void engine_fixture_create(struct engine_fixture *fixture, const char *model, unsigned nr_vcpus);
void engine_fixture_destroy(struct engine_fixture *fixture);

#endif
