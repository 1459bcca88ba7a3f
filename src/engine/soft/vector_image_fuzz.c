/*
 * Fuzzes the instructions that load the vector unit's registers from memory: whatever a guest puts
 * there, the engine goes on, and the host's unit takes what was loaded.
 *
 * Input: the instruction, RFBM, the mode, then the image.
 */
#include "engine/soft/vcpu_fixture.h"

#include "engine/soft/vector.h"
#include "engine/soft/vector_state.h"

#include <stdlib.h>
#include <string.h>

#define AREA       0x200000
#define AREA_BYTES 832
#define HEADER     3

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* With [EBX] or [RBX] as the operand. */
static const uint8_t loads[][4] = {
	{ 0x0f, 0xae, 0x2b },       /* xrstor */
	{ 0x48, 0x0f, 0xae, 0x2b }, /* xrstor64 */
	{ 0x0f, 0xae, 0x0b },       /* fxrstor */
	{ 0x48, 0x0f, 0xae, 0x0b }, /* fxrstor64 */
	{ 0xdd, 0x23 },             /* frstor */
	{ 0x66, 0xdd, 0x23 },       /* frstor, 16-bit format */
	{ 0xd9, 0x23 },             /* fldenv */
	{ 0x0f, 0xae, 0x13 },       /* ldmxcsr */
};

/* What makes use of all that was loaded, and may raise #MF and #XM. */
static const uint8_t uses[][4] = {
	{ 0xde, 0xf9 },             /* fdivp */
	{ 0xdf, 0xe0 },             /* fnstsw ax */
	{ 0x9b },                   /* fwait */
	{ 0x0f, 0x5e, 0xc1 },       /* divps xmm0, xmm1 */
	{ 0xc5, 0xfc, 0x58, 0xc1 }, /* vaddps ymm0, ymm0, ymm1 */
	{ 0x0f, 0xfc, 0xc1 },       /* paddb mm0, mm1 */
};

static void execute(struct vcpu_fixture *fixture, const uint8_t *code, unsigned size)
{
	fixture->vcpu->rip = FIXTURE_CODE;
	vcpu_fixture_load(fixture, FIXTURE_CODE, code, size);
	interpret_try(fixture->vcpu);
}

/* What is set is what is read back, after the host's unit has had it. */
static void check_stable(struct vcpu *vcpu)
{
	struct cpu_xsave first, second;

	vector_load(vcpu);
	vector_get(vcpu, &first);
	vector_set(vcpu, &first);
	vector_load(vcpu);
	vector_get(vcpu, &second);
	first.xstate_bv = second.xstate_bv = 0;
	if (memcmp(&first, &second, sizeof(first)) != 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct vcpu_fixture fixture;
	struct cpu_xsave image = { 0 };

	if (size < HEADER)
		return -1;
	if (!fixture.vcpu)
		vcpu_fixture_create(&fixture, 4);
	vcpu_fixture_enter(&fixture, data[2] & 1 ? FIXTURE_LONG_USER : FIXTURE_PROTECTED);
	size = size - HEADER > AREA_BYTES ? AREA_BYTES : size - HEADER;
	memset(fixture.ram + AREA, 0, AREA_BYTES);
	memcpy(fixture.ram + AREA, data + HEADER, size);
	fixture.vcpu->gpr[X86_RBX] = AREA;
	fixture.vcpu->gpr[X86_RAX] = data[1];
	execute(&fixture, loads[data[0] % ARRAY_SIZE(loads)], sizeof(loads[0]));
	for (unsigned i = 0; i < ARRAY_SIZE(uses); i++)
		execute(&fixture, uses[i], sizeof(uses[0]));
	check_stable(fixture.vcpu);
	memcpy(&image, fixture.ram + AREA, sizeof(image));
	vector_set(fixture.vcpu, &image);
	check_stable(fixture.vcpu);
	return 0;
}
