/*
 * Fuzz target: RSM with a save map of the input's, after an SMI in any mode, and what runs then.
 * The vCPU shuts down, or is in a state that a processor can be in.
 *
 * Input: a mode, bits for SMBASE and what is written into the map, pairs of an offset and 8 bytes.
 */
#include "engine/soft/code_pages.h"
#include "engine/soft/smm.h"
#include "engine/soft/vcpu_fixture.h"
#include "engine/soft/vector.h"
#include "machine/fuzz.h"

#include <stdlib.h>
#include <string.h>

#define MAX_PATCHES 24
#define MAX_STEPS   40

static void patch(struct vcpu_fixture *fixture, gpa_t map, struct fuzz_input *input)
{
	unsigned offset = fuzz_u8(input) * 2u;
	uint64_t value = (uint64_t)fuzz_u32(input) << 32;

	value |= fuzz_u32(input);
	if (offset + sizeof(value) <= sizeof(struct smm_map))
		vcpu_fixture_load(fixture, map + offset, &value, sizeof(value));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint32_t bases[] = { 0x30000, 0x30100, 0x2fff0, 0x3f8000, 0x3f0300, 0xa0000000,
		0xffff8000, 0x31008 };
	static const uint8_t rsm[] = { 0x0f, 0xaa };
	static struct vcpu_fixture fixture;
	static struct cpu_state state;
	struct fuzz_input input = { data, size };
	uint8_t mode = fuzz_u8(&input), base = fuzz_u8(&input);
	struct vcpu *vcpu;
	gpa_t map;

	if (!fixture.ram) {
		vcpu_fixture_create(&fixture, 4);
		fixture.machine.has_smm = true;
	}
	vcpu = fixture.vcpu;
	vcpu->shutdown = vcpu->smm = vcpu->smm_nmi_blocked = false;
	atomic_store(&vcpu->requests, 0);
	vcpu_fixture_enter(&fixture, mode % (FIXTURE_COMPATIBILITY_USER + 1));
	vcpu->activity = mode & 0x80 ? CPU_HALTED : CPU_RUNNING;
	vcpu->smbase = bases[base % ARRAY_SIZE(bases)];
	map = (gpa_t)vcpu->smbase + SMM_MAP_OFFSET;
	smm_request(vcpu);
	interpret_step(vcpu);
	if (vcpu->smm && map + sizeof(struct smm_map) <= UINT64_C(4) << 20) {
		vcpu_fixture_load(&fixture, vcpu->smbase + SMM_ENTRY_OFFSET, rsm, sizeof(rsm));
		for (unsigned i = 0; i < MAX_PATCHES && input.left > 0; i++)
			patch(&fixture, map, &input);
	}
	for (unsigned i = 0; i < MAX_STEPS && interpret_step(vcpu); i++)
		if (i % 8 == 7)
			smm_request(vcpu);
	vector_leave(vcpu);
	if (vcpu->shutdown)
		return 0;
	vcpu_get_state(vcpu, &state);
	if (!state_check(&cpu_state_table, &state, NULL))
		abort();
	return 0;
}
