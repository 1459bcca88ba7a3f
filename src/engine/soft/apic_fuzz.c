/*
 * Fuzz target: a guest's accesses to its local APICs and MSRs, with messages, time and saved states
 * in between. Whatever it does, the state that results is one that can be saved and restored.
 */
#include "engine/soft/apic.h"
#include "engine/soft/engine_fixture.h"
#include "engine/soft/msr.h"

#include <stdlib.h>
#include <string.h>

#define NR_VCPUS 2

enum operation {
	MMIO_READ,
	MMIO_WRITE,
	MSR_READ,
	MSR_WRITE,
	MESSAGE,
	INTR,
	NMI,
	ACKNOWLEDGE,
	TIME,
	TASK_PRIORITY,
	SAVE,
	NR_OPERATIONS
};

struct step {
	uint8_t operation, vcpu;
	uint16_t reg;
	uint64_t value;
} __attribute__((packed));

/* Where MSRs are; a step's `reg` picks one by its low bits. */
static uint32_t msr_of(uint16_t reg)
{
	static const uint32_t bases[] = { 0, 0x800, 0xc0000080, 0xc0000100, 0xc0010000, 0xc0011000,
		0x4b564d00, 0x200 };

	return bases[reg >> 13] + (reg & 0x1fff);
}

static void save(struct vcpu *vcpu)
{
	struct cpu_state state;
	struct error err = { 0 };

	vcpu_get_state(vcpu, &state);
	if (!state_check(&cpu_state_table, &state, &err)) {
		fprintf(stderr, "%s\n", err.text);
		abort();
	}
	vcpu_set_state(vcpu, &state);
}

static void take(struct engine_fixture *fixture, const struct step *step)
{
	struct vcpu *vcpu = &fixture->vcpus[step->vcpu % NR_VCPUS];
	struct cpu_bus *bus = &fixture->machine.cpu_bus;
	uint64_t value;

	switch ((enum operation)(step->operation % NR_OPERATIONS)) {
	case MMIO_READ: apic_mmio_read(vcpu, step->reg & 0xfff); break;
	case MMIO_WRITE: apic_mmio_write(vcpu, step->reg & 0xfff, (uint32_t)step->value); break;
	case MSR_READ: msr_read(vcpu, msr_of(step->reg), &value); break;
	case MSR_WRITE: msr_write(vcpu, msr_of(step->reg), step->value); break;
	case MESSAGE:
		bus->msi(bus->engine, 0xfee00000 | (uint32_t)step->reg << 4, (uint32_t)step->value);
		break;
	case INTR: bus->intr(bus->engine, step->value & 1); break;
	case NMI: bus->nmi(bus->engine); break;
	case ACKNOWLEDGE:
		if (apic_acknowledge(vcpu) > 255)
			abort();
		break;
	case TIME:
		vcpu->tsc_offset += step->value & UINT32_MAX;
		apic_timer_poll(vcpu);
		if (apic_timer_remaining_ns(vcpu) < 0)
			abort();
		break;
	case TASK_PRIORITY: apic_set_cr8(vcpu, step->value & 0xf); break;
	case SAVE: save(vcpu); break;
	case NR_OPERATIONS: break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
const char *__lsan_default_suppressions(void);

/* The engine lives as long as the process, and its vCPUs are mapped, where LSan does not look. */
const char *__lsan_default_suppressions(void)
{
	return "leak:engine_fixture_create";
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct engine_fixture fixture;
	static bool created;
	struct cpu_state state;

	if (!created) {
		engine_fixture_create(&fixture, "max", NR_VCPUS);
		created = true;
	}
	for (unsigned i = 0; i < NR_VCPUS; i++) {
		cpu_state_reset(&state, i);
		vcpu_set_state(&fixture.vcpus[i], &state);
	}
	for (; size >= sizeof(struct step); size -= sizeof(struct step)) {
		struct step step;

		memcpy(&step, data, sizeof(step));
		data += sizeof(step);
		take(&fixture, &step);
	}
	for (unsigned i = 0; i < NR_VCPUS; i++)
		save(&fixture.vcpus[i]);
	return 0;
}
