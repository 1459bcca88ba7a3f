/*
 * FXSAVE, FXRSTOR and the XSAVE family against the host's processor: the same registers, memory and
 * requested components on both sides, then the registers, the memory and the fault compared.
 *
 * ATOLL_TEST_SEED and ATOLL_TEST_CASES override the seed and the number of cases.
 */
#include "engine/soft/vcpu_fixture.h"

#include "engine/soft/native_vector.h"
#include "engine/soft/vector.h"
#include "engine/soft/vector_state.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <cpuid.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#define AREA       0x200000 /* guest address */
#define AREA_BYTES 1024

enum form { FXSAVE, FXRSTOR, XSAVE, XRSTOR, XSAVEOPT, XSAVEC, NR_FORMS };

static const char *const form_names[] = { "fxsave", "fxrstor", "xsave", "xrstor", "xsaveopt",
	"xsavec" };

/* /digit of 0F AE, 0F C7 for XSAVEC; the operand is [RDI]. */
static const uint8_t form_opcodes[][2] = { { 0xae, 0 }, { 0xae, 1 }, { 0xae, 4 }, { 0xae, 5 },
	{ 0xae, 6 }, { 0xc7, 4 } };

struct test_case {
	enum form form;
	bool wide; /* REX.W */
	uint32_t components;
	unsigned misalignment;
	struct cpu_xsave before;
	uint8_t area[AREA_BYTES];
};

struct outcome {
	bool fault;
	struct cpu_xsave after;
	uint8_t area[AREA_BYTES];
};

static struct vcpu_fixture fixture;

static bool host_has(enum form form)
{
	uint32_t eax, ebx, ecx, edx;

	if (form == FXSAVE || form == FXRSTOR)
		return true;
	if (!__get_cpuid_count(0xd, 1, &eax, &ebx, &ecx, &edx))
		return false;
	if (form == XSAVEOPT)
		return eax & BIT(0);
	return form != XSAVEC || eax & BIT(1);
}

static struct cpu_xsave host_before __attribute__((aligned(64)));
static struct cpu_xsave host_after __attribute__((aligned(64)));
static const struct cpu_xsave host_clean
	__attribute__((aligned(64))) = { .fcw = X87_FCW_RESET, .mxcsr = MXCSR_RESET };
static uint8_t host_area[AREA_BYTES] __attribute__((aligned(64)));
static volatile sig_atomic_t host_faulted;

/* The instruction between loading and storing the registers; a fault skips it. */
#define HOST_RUN(instruction)                                                                      \
	asm volatile("mov %%eax, %%ecx\n\t"                                                        \
		     "mov $7, %%eax\n\t"                                                           \
		     "xrstor64 %3\n\t"                                                             \
		     "mov %%ecx, %%eax\n\t" instruction " (%2)\n\t"                                \
		     "mov $7, %%eax\n\t"                                                           \
		     "xsave64 %0\n\t"                                                              \
		     "xrstor64 %4"                                                                 \
		     : "+m"(host_after), "+a"(components)                                          \
		     : "r"(address), "m"(host_before), "m"(host_clean), "d"(0)                     \
		     : "rcx", "memory")

static void on_fault(int number, siginfo_t *info, void *context)
{
	greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
	const uint8_t *at = (const uint8_t *)registers[REG_RIP];

	(void)number;
	(void)info;
	host_faulted = 1;
	/* REX.W or none, two bytes of opcode, a ModRM byte without SIB or displacement. */
	registers[REG_RIP] += (at[0] >> 4 == 4) + 3;
}

static void host_instruction(const struct test_case *c)
{
	/* RBX needs neither a SIB byte nor a displacement as a base. */
	register uint8_t *address asm("rbx") = host_area + c->misalignment;
	uint32_t components = c->components;

	switch (c->form * 2 + c->wide) {
	case FXSAVE * 2: HOST_RUN("fxsave"); break;
	case FXSAVE * 2 + 1: HOST_RUN("fxsave64"); break;
	case FXRSTOR * 2: HOST_RUN("fxrstor"); break;
	case FXRSTOR * 2 + 1: HOST_RUN("fxrstor64"); break;
	case XSAVE * 2: HOST_RUN("xsave"); break;
	case XSAVE * 2 + 1: HOST_RUN("xsave64"); break;
	case XRSTOR * 2: HOST_RUN("xrstor"); break;
	case XRSTOR * 2 + 1: HOST_RUN("xrstor64"); break;
	case XSAVEOPT * 2: HOST_RUN("xsaveopt"); break;
	case XSAVEOPT * 2 + 1: HOST_RUN("xsaveopt64"); break;
	case XSAVEC * 2: HOST_RUN("xsavec"); break;
	case XSAVEC * 2 + 1: HOST_RUN("xsavec64"); break;
	}
}

static void run_on_host(const struct test_case *c, struct outcome *outcome)
{
	const struct sigaction action = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO };
	struct sigaction previous;

	host_before = c->before;
	memset(&host_after, 0, sizeof(host_after));
	memcpy(host_area, c->area, AREA_BYTES);
	host_faulted = 0;
	sigaction(SIGSEGV, &action, &previous);
	host_instruction(c);
	sigaction(SIGSEGV, &previous, NULL);
	outcome->fault = host_faulted;
	outcome->after = host_after;
	memcpy(outcome->area, host_area, AREA_BYTES);
}

static void run_on_engine(const struct test_case *c, struct outcome *outcome)
{
	struct vcpu *vcpu = fixture.vcpu;
	uint8_t code[5] = { 0x48, 0x0f, form_opcodes[c->form][0],
		(uint8_t)(form_opcodes[c->form][1] << 3 | X86_RDI) };
	int vector;

	memcpy(fixture.ram + AREA, c->area, AREA_BYTES);
	vcpu->rip = FIXTURE_CODE;
	vcpu_fixture_load(&fixture, FIXTURE_CODE, c->wide ? code : code + 1, c->wide ? 4 : 3);
	vcpu->gpr[X86_RDI] = AREA + c->misalignment;
	vcpu->gpr[X86_RAX] = c->components;
	vcpu->gpr[X86_RDX] = 0;
	vector_set(vcpu, &c->before);
	vector = interpret_try(vcpu);
	assert_true(vector == -1 || vector == X86_GP);
	outcome->fault = vector == X86_GP;
	/* Through the host's unit, which has the last word on what the registers are. */
	vector_load(vcpu);
	vector_get(vcpu, &outcome->after);
	memcpy(outcome->area, fixture.ram + AREA, AREA_BYTES);
}

/* Between FCW, FSW, FTW and the first register: FOP, FIP, FDP, which the host need not keep. */
static void forget_pointers(struct outcome *outcome, unsigned misalignment)
{
	uint8_t *area = outcome->area + misalignment;

	memset(area + offsetof(struct cpu_xsave, fop), 0, 18);
	memset(area + offsetof(struct cpu_xsave, mxcsr_mask), 0, 4);
}

static uint64_t header_bits(struct native_random *random)
{
	return native_random(random) >> 20 & (XCR0_X87 | XCR0_SSE | XCR0_AVX);
}

static bool one_in(struct native_random *random, unsigned n)
{
	return (native_random(random) >> 16) % n == 0;
}

/* An area that is often one that XRSTOR takes. */
static void make_area(struct test_case *c, struct native_random *random)
{
	struct cpu_xsave image;
	uint64_t *words = (uint64_t *)c->area;

	for (unsigned i = 0; i < AREA_BYTES / 8; i++)
		words[i] = native_random(random);
	native_vector_state(&image, random);
	image.xstate_bv = header_bits(random);
	if (one_in(random, 3)) {
		image.xcomp_bv = BIT(63) | header_bits(random);
		if (!one_in(random, 8))
			image.xstate_bv &= image.xcomp_bv;
	} else if (one_in(random, 10)) {
		image.xcomp_bv = native_random(random) & BITS(62, 58);
	}
	if (one_in(random, 20))
		image.xstate_bv |= BIT(62);
	if (one_in(random, 10))
		image.reserved2[(native_random(random) >> 16) % sizeof(image.reserved2)] = 1;
	if (one_in(random, 20))
		image.mxcsr |= BIT(16 + 2 + (native_random(random) >> 16) % 14);
	image.fcw = one_in(random, 4) ? (uint16_t)native_random(random) : image.fcw;
	image.fsw = one_in(random, 4) ? (uint16_t)native_random(random) : image.fsw;
	memcpy(c->area, &image, sizeof(image));
}

static void make_case(struct test_case *c, struct native_random *random)
{
	do {
		c->form = (enum form)((native_random(random) >> 16) % NR_FORMS);
	} while (!host_has(c->form));
	c->wide = one_in(random, 2);
	c->components = (uint32_t)header_bits(random);
	c->misalignment = one_in(random, 10) ? 8u << (native_random(random) >> 16) % 3 : 0;
	native_vector_state(&c->before, random);
	c->before.xstate_bv = one_in(random, 2) ? 7 : header_bits(random);
	vector_image_init_components(&c->before, ~c->before.xstate_bv);
	make_area(c, random);
}

static void report(
	const struct test_case *c, const struct outcome *host, const struct outcome *engine)
{
	printf("%s%s components %x misalignment %u: fault %d, engine %d\n", form_names[c->form],
		c->wide ? "64" : "", c->components, c->misalignment, host->fault, engine->fault);
	native_vector_print(&c->before, &host->after, &engine->after);
	for (unsigned i = 0; i < AREA_BYTES; i++)
		if (host->area[i] != engine->area[i])
			printf("  area[%u] %02x host %02x engine %02x\n", i, c->area[i],
				host->area[i], engine->area[i]);
}

static void agrees_with_the_host(void **state)
{
	const char *seed = getenv("ATOLL_TEST_SEED"), *cases = getenv("ATOLL_TEST_CASES");
	struct native_random random = { seed ? strtoull(seed, NULL, 0) : 0x78736176 };
	unsigned nr_cases = cases ? (unsigned)strtoul(cases, NULL, 0) : 60000, faults = 0, done;

	(void)state;
	if (!fixture.vcpu->vector_components)
		skip();
	vcpu_fixture_enter(&fixture, FIXTURE_LONG_USER);
	printf("seed 0x%" PRIx64 "\n", random.state);
	for (done = 0; done < nr_cases; done++) {
		static struct test_case c;
		static struct outcome host, engine;

		make_case(&c, &random);
		run_on_host(&c, &host);
		run_on_engine(&c, &engine);
		forget_pointers(&host, c.misalignment);
		forget_pointers(&engine, c.misalignment);
		faults += host.fault;
		if (host.fault != engine.fault || !native_vector_same(&host.after, &engine.after) ||
			memcmp(host.area, engine.area, AREA_BYTES) != 0) {
			report(&c, &host, &engine);
			fail_msg("case %u", done);
		}
	}
	printf("%u cases, %u of them faults\n", done, faults);
}

/* SDM 2, FXSAVE and XSAVE: what CR0 and CR4 forbid. */
static void control_registers_forbid(void **state)
{
	static const uint8_t fxsave[] = { 0x0f, 0xae, 0x07 }, xsave[] = { 0x0f, 0xae, 0x27 };
	struct vcpu *vcpu = fixture.vcpu;

	(void)state;
	vcpu_fixture_enter(&fixture, FIXTURE_LONG);
	vcpu->gpr[X86_RDI] = AREA;
	vcpu_fixture_load(&fixture, vcpu->rip, fxsave, sizeof(fxsave));
	vcpu->cr0 |= CR0_TS;
	assert_int_equal(interpret_try(vcpu), X86_NM);
	vcpu->cr0 = (vcpu->cr0 & ~CR0_TS) | CR0_EM;
	assert_int_equal(interpret_try(vcpu), X86_NM);
	vcpu_fixture_load(&fixture, vcpu->rip, xsave, sizeof(xsave));
	vcpu->cr0 = (vcpu->cr0 & ~CR0_EM) | CR0_TS;
	assert_int_equal(interpret_try(vcpu), X86_NM);
	vcpu->cr4 &= ~CR4_OSXSAVE;
	assert_int_equal(interpret_try(vcpu), X86_UD);
}

/* Outside 64-bit mode XMM8 to XMM15 are neither stored nor loaded (SDM 2, FXSAVE, XSAVE). */
static void eight_registers_outside_64_bit_mode(void **state)
{
	static const uint8_t fxsave[] = { 0x0f, 0xae, 0x07 }, xrstor[] = { 0x0f, 0xae, 0x2f };
	struct vcpu *vcpu = fixture.vcpu;
	struct cpu_xsave image;

	(void)state;
	vcpu_fixture_enter(&fixture, FIXTURE_PROTECTED);
	vector_get(vcpu, &image);
	memset(image.xmm, 0x11, sizeof(image.xmm));
	image.xstate_bv = XCR0_X87 | XCR0_SSE | XCR0_AVX;
	vector_set(vcpu, &image);
	memset(fixture.ram + AREA, 0xcc, AREA_BYTES);
	vcpu->gpr[X86_RDI] = AREA;
	vcpu_fixture_load(&fixture, vcpu->rip, fxsave, sizeof(fxsave));
	assert_int_equal(interpret_try(vcpu), -1);
	assert_int_equal(fixture.ram[AREA + 287], 0x11);
	assert_int_equal(fixture.ram[AREA + 288], 0xcc);

	/* XSTATE_BV is 0: XMM0 to XMM7 get their initial values. */
	memset(fixture.ram + AREA, 0, AREA_BYTES);
	memcpy(fixture.ram + AREA + 24, &(uint32_t){ MXCSR_RESET }, 4);
	vcpu->gpr[X86_RAX] = 7;
	vcpu_fixture_load(&fixture, vcpu->rip, xrstor, sizeof(xrstor));
	assert_int_equal(interpret_try(vcpu), -1);
	vector_load(vcpu);
	vector_get(vcpu, &image);
	assert_int_equal(image.xmm[7][0], 0);
	assert_int_equal(image.xmm[8][0], 0x11);
}

static int setup(void **state)
{
	(void)state;
	vcpu_fixture_create(&fixture, 8);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	vcpu_fixture_destroy(&fixture);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(agrees_with_the_host),
		cmocka_unit_test(control_registers_forbid),
		cmocka_unit_test(eight_registers_outside_64_bit_mode),
	};

	return cmocka_run_group_tests_name("exec_xsave", tests, setup, teardown);
}
