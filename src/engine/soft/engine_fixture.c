#include "engine/soft/engine_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RAM_SIZE 0x200000

static uint8_t acknowledge(void *board)
{
	struct engine_fixture *fixture = board;

	fixture->acknowledged++;
	return fixture->pic_vector;
}

static void end_of_interrupt(void *board, uint8_t vector)
{
	struct engine_fixture *fixture = board;

	fixture->eois[vector]++;
}

void engine_fixture_create(struct engine_fixture *fixture, const char *model, unsigned nr_vcpus)
{
	struct engine_config config = { .machine = &fixture->machine,
		.cpu_model = &fixture->model,
		.soft_mode = SOFT_MODE_INTERPRET };
	struct error err = { 0 };

	memset(fixture, 0, sizeof(*fixture));
	machine_init(&fixture->machine);
	fixture->machine.nr_vcpus = nr_vcpus;
	fixture->machine.cpu_bus.board = fixture;
	fixture->machine.cpu_bus.acknowledge = acknowledge;
	fixture->machine.cpu_bus.end_of_interrupt = end_of_interrupt;
	if (guest_memory_add(&fixture->machine.memory, 0, RAM_SIZE, false, &err) < 0 ||
		cpu_model_init(&fixture->model, model, nr_vcpus, &err) < 0 ||
		soft_engine_ops.create(&config, &fixture->engine, &err) < 0) {
		fprintf(stderr, "%s\n", err.text);
		abort();
	}
	cpu_model_offer(&fixture->model, CPU_FEATURE_PCID);
	cpu_model_offer(&fixture->model, CPU_FEATURE_INVPCID);
	fixture->vcpus = container_of(fixture->engine, struct soft_engine, base)->vcpus;
}

void engine_fixture_destroy(struct engine_fixture *fixture)
{
	soft_engine_ops.destroy(fixture->engine);
	machine_finish(&fixture->machine);
}
