/*
 * Random machine code, random registers and random system tables in every mode: whatever a guest
 * does, the engine goes on or says that the guest shut down.
 *
 * Input: a mode, control register bits, RFLAGS, RSP, CODE_SIZE bytes of code, 64 bytes of GDT, 128
 * bytes of IDT.
 */
#include "engine/soft/code_pages.h"
#include "engine/soft/vcpu_fixture.h"
#include "engine/soft/vector.h"

#include <stdlib.h>
#include <string.h>

#define MAX_STEPS 400
#define CODE_SIZE 96

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
	const uint8_t *bytes;
	size_t size;
};

static void take(struct input *input, void *to, size_t size)
{
	size_t given = size < input->size ? size : input->size;

	memset(to, 0, size);
	memcpy(to, input->bytes, given);
	input->bytes += given;
	input->size -= given;
}

static void load(struct vcpu_fixture *fixture, gpa_t address, struct input *input, size_t size)
{
	uint8_t bytes[256];

	take(input, bytes, size);
	vcpu_fixture_load(fixture, address, bytes, size);
}

static void prepare(struct vcpu_fixture *fixture, struct input *input)
{
	struct vcpu *vcpu = fixture->vcpu;
	uint8_t mode, control;
	uint32_t rflags;
	uint64_t rsp;

	take(input, &mode, 1);
	take(input, &control, 1);
	take(input, &rflags, 4);
	take(input, &rsp, 8);
	vcpu_fixture_enter(fixture, mode % (FIXTURE_COMPATIBILITY_USER + 1));
	if (control & 1)
		vcpu->gpr[X86_RSP] = rsp;
	if (control & 2 && vcpu->mode.long_mode)
		vcpu->cr4 |= CR4_SMEP | CR4_SMAP;
	if (control & 4)
		vcpu->cr0 |= CR0_AM;
	if (control & 8)
		vcpu->cr4 |= CR4_VME | CR4_PVI | CR4_DE;
	if (control & 16)
		vcpu->dr7 = rflags | 0x400;
	if (vcpu->mode.long_mode)
		rflags &= ~RFLAGS_VM;
	vcpu_set_rflags(vcpu, rflags);
	vcpu_update_mode(vcpu);
	load(fixture, (vcpu->rip + vcpu->segment[X86_CS].base) & 0x1fffff, input, CODE_SIZE);
	load(fixture, FIXTURE_GDT + FIXTURE_SPARE, input, 64);
	load(fixture, FIXTURE_IDT, input, 128);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct vcpu_fixture fixture;
	struct input input = { data, size };
	struct vcpu *vcpu;

	if (!fixture.ram)
		vcpu_fixture_create(&fixture, 4);
	memset(fixture.ram, 0, 0x1000);
	prepare(&fixture, &input);
	vcpu = fixture.vcpu;
	for (unsigned i = 0; i < MAX_STEPS && vcpu->activity == CPU_RUNNING; i++)
		if (!interpret_step(vcpu))
			break;
	vector_leave(vcpu);
	return 0;
}
