/*
 * Instructions with an image of the registers in memory against the host's processor: FSTENV, FSAVE
 * and their inverses, FXSAVE, FXRSTOR, the XSAVE family. The same registers, memory and requested
 * components on both sides, then the registers, the memory and the fault compared.
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
#include <sys/mman.h>
#include <ucontext.h>

#define AREA       0x200000 /* guest address */
#define AREA_BYTES 1024

enum form {
	FNSTENV,
	FLDENV,
	FNSAVE,
	FRSTOR,
	FXSAVE,
	FXRSTOR,
	XSAVE,
	XRSTOR,
	XSAVEOPT,
	XSAVEC,
	NR_FORMS
};

/* In front of a ModRM byte that names [RBX]. */
struct encoding {
	const char *name;
	uint8_t opcode[2], opcode_size;
	uint8_t digit;
	uint8_t other_prefix; /* of the other format: REX.W, or operand size */
};

static const struct encoding encodings[] = {
	[FNSTENV] = { "fnstenv", { 0xd9 }, 1, 6, 0x66 },
	[FLDENV] = { "fldenv", { 0xd9 }, 1, 4, 0x66 },
	[FNSAVE] = { "fnsave", { 0xdd }, 1, 6, 0x66 },
	[FRSTOR] = { "frstor", { 0xdd }, 1, 4, 0x66 },
	[FXSAVE] = { "fxsave", { 0x0f, 0xae }, 2, 0, 0x48 },
	[FXRSTOR] = { "fxrstor", { 0x0f, 0xae }, 2, 1, 0x48 },
	[XSAVE] = { "xsave", { 0x0f, 0xae }, 2, 4, 0x48 },
	[XRSTOR] = { "xrstor", { 0x0f, 0xae }, 2, 5, 0x48 },
	[XSAVEOPT] = { "xsaveopt", { 0x0f, 0xae }, 2, 6, 0x48 },
	[XSAVEC] = { "xsavec", { 0x0f, 0xc7 }, 2, 4, 0x48 },
};

struct test_case {
	enum form form;
	bool other_format;
	uint32_t components;
	unsigned misalignment;
	struct cpu_xsave before;
	uint8_t area[AREA_BYTES];
};

struct outcome {
	int vector; /* of the exception, or -1 */
	struct cpu_xsave after;
	uint8_t area[AREA_BYTES];
};

static struct vcpu_fixture fixture;

static bool host_has(enum form form)
{
	uint32_t eax, ebx, ecx, edx;

	if (form <= FXRSTOR)
		return true;
	if (!__get_cpuid_count(0xd, 1, &eax, &ebx, &ecx, &edx))
		return false;
	if (form == XSAVEOPT)
		return eax & BIT(0);
	return form != XSAVEC || eax & BIT(1);
}

static unsigned encode(const struct test_case *c, uint8_t *code)
{
	const struct encoding *encoding = &encodings[c->form];
	unsigned length = 0;

	if (c->other_format)
		code[length++] = encoding->other_prefix;
	for (unsigned i = 0; i < encoding->opcode_size; i++)
		code[length++] = encoding->opcode[i];
	code[length++] = (uint8_t)(encoding->digit << 3 | X86_RBX);
	return length;
}

static struct cpu_xsave host_before __attribute__((aligned(64)));
static struct cpu_xsave host_after __attribute__((aligned(64)));
static const struct cpu_xsave host_clean
	__attribute__((aligned(64))) = { .fcw = X87_FCW_RESET, .mxcsr = MXCSR_RESET };
static uint8_t host_area[AREA_BYTES] __attribute__((aligned(64)));
static uint8_t *host_code;
static unsigned host_code_length;
static volatile int host_vector;

/* A fault is left as if the instruction had been executed. */
static void on_fault(int number, siginfo_t *info, void *context)
{
	greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;

	(void)number;
	(void)info;
	host_vector = (int)registers[REG_TRAPNO];
	registers[REG_RIP] += host_code_length;
}

static void call_host_code(uint8_t *address, uint32_t components)
{
	/* CALL may not touch the red zone. */
	asm volatile("sub $128, %%rsp\n\t"
		     "mov %%eax, %%ecx\n\t"
		     "mov $7, %%eax\n\t"
		     "xrstor64 %3\n\t"
		     "mov %%ecx, %%eax\n\t"
		     "call *%5\n\t"
		     "mov $7, %%eax\n\t"
		     "xsave64 %0\n\t"
		     "xrstor64 %4\n\t"
		     "add $128, %%rsp"
		     : "+m"(host_after), "+a"(components)
		     : "b"(address), "m"(host_before), "m"(host_clean), "r"(host_code), "d"(0)
		     : "rcx", "memory");
}

static void run_on_host(const struct test_case *c, struct outcome *outcome)
{
	const struct sigaction action = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO };
	struct sigaction previous[2];

	host_before = c->before;
	memset(&host_after, 0, sizeof(host_after));
	memcpy(host_area, c->area, AREA_BYTES);
	host_code_length = encode(c, host_code);
	host_code[host_code_length] = 0xc3; /* ret */
	host_vector = -1;
	sigaction(SIGSEGV, &action, &previous[0]);
	sigaction(SIGFPE, &action, &previous[1]);
	call_host_code(host_area + c->misalignment, c->components);
	sigaction(SIGSEGV, &previous[0], NULL);
	sigaction(SIGFPE, &previous[1], NULL);
	outcome->vector = host_vector;
	outcome->after = host_after;
	memcpy(outcome->area, host_area, AREA_BYTES);
}

static void run_on_engine(const struct test_case *c, struct outcome *outcome)
{
	struct vcpu *vcpu = fixture.vcpu;
	uint8_t code[INSN_MAX_LENGTH];
	unsigned length = encode(c, code);

	memcpy(fixture.ram + AREA, c->area, AREA_BYTES);
	vcpu->rip = FIXTURE_CODE;
	vcpu_fixture_load(&fixture, FIXTURE_CODE, code, length);
	vcpu->gpr[X86_RBX] = AREA + c->misalignment;
	vcpu->gpr[X86_RAX] = c->components;
	vcpu->gpr[X86_RDX] = 0;
	vector_set(vcpu, &c->before);
	outcome->vector = interpret_try(vcpu);
	/* Through the host's unit, which has the last word on what the registers are. */
	vector_load(vcpu);
	vector_get(vcpu, &outcome->after);
	memcpy(outcome->area, fixture.ram + AREA, AREA_BYTES);
}

/* What is stored of the last instruction, which the host need not keep, and MXCSR's mask. */
static void forget_pointers(struct outcome *outcome, const struct test_case *c)
{
	uint8_t *area = outcome->area + c->misalignment;

	if (c->form >= FXSAVE) {
		memset(area + offsetof(struct cpu_xsave, fop), 0, 18);
		memset(area + offsetof(struct cpu_xsave, mxcsr_mask), 0, 4);
	} else if (c->other_format) {
		memset(area + 6, 0, 8);
	} else {
		memset(area + 12, 0, 14);
	}
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
	c->other_format = one_in(random, 2);
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
	printf("%s, %s format, components %x, misalignment %u: host's exception %d, engine's %d\n",
		encodings[c->form].name, c->other_format ? "other" : "usual", c->components,
		c->misalignment, host->vector, engine->vector);
	native_vector_print(&c->before, &host->after, &engine->after);
	for (unsigned i = 0; i < AREA_BYTES; i++)
		if (host->area[i] != engine->area[i])
			printf("  area[%u] %02x host %02x engine %02x\n", i, c->area[i],
				host->area[i], engine->area[i]);
}

static bool agree(const struct test_case *c, struct outcome *host, struct outcome *engine)
{
	run_on_host(c, host);
	run_on_engine(c, engine);
	forget_pointers(host, c);
	forget_pointers(engine, c);
	return host->vector == engine->vector && native_vector_same(&host->after, &engine->after) &&
	       memcmp(host->area, engine->area, AREA_BYTES) == 0;
}

/* When the host's kernel saves and restores a component with its initial value in between, the
 * processor may take it to be in use from then on: such a case is repeated. */
static bool agree_in_the_end(
	const struct test_case *c, struct outcome *host, struct outcome *engine)
{
	for (unsigned attempts = 0; attempts < 3; attempts++)
		if (agree(c, host, engine))
			return true;
	return false;
}

static void agrees_with_the_host(void **state)
{
	const char *seed = getenv("ATOLL_TEST_SEED"), *cases = getenv("ATOLL_TEST_CASES");
	struct native_random random = { seed ? strtoull(seed, NULL, 0) : 0x78736176 };
	unsigned nr_cases = cases ? (unsigned)strtoul(cases, NULL, 0) : 100000, faults = 0, done;

	(void)state;
	if (!fixture.vcpu->vector_components)
		skip();
	vcpu_fixture_enter(&fixture, FIXTURE_LONG_USER);
	printf("seed 0x%" PRIx64 "\n", random.state);
	for (done = 0; done < nr_cases; done++) {
		static struct test_case c;
		static struct outcome host, engine;

		make_case(&c, &random);
		if (!agree_in_the_end(&c, &host, &engine)) {
			report(&c, &host, &engine);
			fail_msg("case %u", done);
		}
		faults += host.vector >= 0;
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
	host_code = mmap(
		NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return host_code == MAP_FAILED ? -1 : 0;
}

static int teardown(void **state)
{
	(void)state;
	munmap(host_code, 4096);
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

	return cmocka_run_group_tests_name("vector_image", tests, setup, teardown);
}
