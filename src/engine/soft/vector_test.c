/*
 * The guest's vector unit beyond single instructions, which native_test.c compares: exceptions, the
 * life of the registers between the host's unit and memory, and the thunk cache.
 */
#include "engine/soft/vcpu_fixture.h"

#include "engine/soft/vector.h"
#include "engine/soft/vector_state.h"
#include "engine/soft/thunk.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <math.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define DATA      0x200000
#define DATA_PAGE (DATA + 0x1000)

static struct vcpu_fixture fixture;

static int setup(void **state)
{
	vcpu_fixture_create(&fixture, 8);
	*state = &fixture;
	return 0;
}

static int teardown(void **state)
{
	vcpu_fixture_destroy(*state);
	return 0;
}

static int try_code(struct vcpu_fixture *f, const uint8_t *code, unsigned size)
{
	int vector = -1;
	uint64_t end = f->vcpu->rip + size;

	vcpu_fixture_load(f, f->vcpu->rip, code, size);
	while (vector < 0 && f->vcpu->rip < end)
		vector = interpret_try(f->vcpu);
	return vector;
}

/* Loads code at RIP and executes it; the exception that ended it, or -1. */
#define TRY(f, ...)                                                                                \
	try_code(f, (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }))

static double xmm_double(struct vcpu *vcpu, unsigned n)
{
	struct cpu_xsave image;
	double value;

	vector_get(vcpu, &image);
	memcpy(&value, image.xmm[n], sizeof(value));
	return value;
}

static uint32_t mxcsr(struct vcpu *vcpu)
{
	struct cpu_xsave image;

	vector_get(vcpu, &image);
	return image.mxcsr;
}

static uint16_t fsw(struct vcpu *vcpu)
{
	struct cpu_xsave image;

	vector_get(vcpu, &image);
	return image.fsw;
}

static void set_mxcsr(struct vcpu *vcpu, uint32_t value)
{
	struct cpu_xsave image;

	vector_get(vcpu, &image);
	image.mxcsr = value;
	vector_set(vcpu, &image);
}

static void set_fcw(struct vcpu *vcpu, uint16_t value)
{
	struct cpu_xsave image;

	vector_get(vcpu, &image);
	image.fcw = value;
	image.xstate_bv |= XCR0_X87;
	vector_set(vcpu, &image);
}

/* SDM 1 11.5.2: an unmasked exception leaves the operands alone and sets its flag. */
static void simd_exception_is_precise(void **state)
{
	struct vcpu_fixture *f = *state;
	sigset_t blocked;

	/* As a parent may have left it. */
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGFPE);
	pthread_sigmask(SIG_BLOCK, &blocked, NULL);
	vcpu_fixture_enter(f, FIXTURE_LONG_USER);
	set_mxcsr(f->vcpu, 0x1d80); /* division by zero unmasked */
	/* mov eax, 3; cvtsi2sd xmm0, eax; xorps xmm1, xmm1; divsd xmm0, xmm1 */
	assert_int_equal(TRY(f, 0xb8, 3, 0, 0, 0, 0xf2, 0x0f, 0x2a, 0xc0, 0x0f, 0x57, 0xc9, 0xf2,
				 0x0f, 0x5e, 0xc1),
		X86_XM);
	assert_int_equal(f->vcpu->rip, FIXTURE_CODE + 12);
	assert_true(xmm_double(f->vcpu, 0) == 3.0);
	assert_int_equal(mxcsr(f->vcpu), 0x1d84);
	/* Without CR4.OSXMMEXCPT it is #UD (SDM 3A 2.5). */
	f->vcpu->cr4 &= ~CR4_OSXMMEXCPT;
	assert_int_equal(TRY(f, 0xf2, 0x0f, 0x5e, 0xc1), X86_UD);
}

static void masked_simd_exception_gives_infinity(void **state)
{
	struct vcpu_fixture *f = *state;

	vcpu_fixture_enter(f, FIXTURE_LONG_USER);
	assert_int_equal(TRY(f, 0xb8, 3, 0, 0, 0, 0xf2, 0x0f, 0x2a, 0xc0, 0x0f, 0x57, 0xc9, 0xf2,
				 0x0f, 0x5e, 0xc1),
		-1);
	assert_true(isinf(xmm_double(f->vcpu, 0)));
	assert_int_equal(mxcsr(f->vcpu), 0x1f84);
}

/* SDM 1 8.6: #MF comes at the next waiting instruction; FNSTSW and FNCLEX do not wait. */
static void x87_exception_waits(void **state)
{
	struct vcpu_fixture *f = *state;

	vcpu_fixture_enter(f, FIXTURE_LONG_USER);
	set_fcw(f->vcpu, 0x037b); /* division by zero unmasked */
	/* fld1; fldz; fdivp; nop; fnstsw ax */
	assert_int_equal(TRY(f, 0xd9, 0xe8, 0xd9, 0xee, 0xde, 0xf9, 0x90, 0xdf, 0xe0), -1);
	assert_int_equal(f->vcpu->gpr[X86_RAX] & 0x80ff, 0x8084);
	assert_int_equal(TRY(f, 0xd9, 0xe8), X86_MF);       /* fld1 */
	assert_int_equal(TRY(f, 0x9b), X86_MF);             /* fwait */
	assert_int_equal(TRY(f, 0x0f, 0x6f, 0xc1), X86_MF); /* movq mm0, mm1 */
	/* fnclex; fld1 */
	assert_int_equal(TRY(f, 0xdb, 0xe2, 0xd9, 0xe8), -1);
	assert_int_equal(fsw(f->vcpu) & 0x80ff, 0);
}

/* The pending exception precedes the page fault of the operand. */
static void x87_exception_precedes_operand(void **state)
{
	struct vcpu_fixture *f = *state;

	vcpu_fixture_enter(f, FIXTURE_LONG_USER);
	vcpu_fixture_map(f, DATA, DATA, 0);
	f->vcpu->gpr[X86_RBX] = DATA;
	assert_int_equal(TRY(f, 0xdd, 0x03), X86_PF); /* fld qword [rbx] */
	set_fcw(f->vcpu, 0x037b);
	assert_int_equal(TRY(f, 0xd9, 0xe8, 0xd9, 0xee, 0xde, 0xf9), -1);
	assert_int_equal(TRY(f, 0xdd, 0x03), X86_MF);
	assert_int_equal(TRY(f, 0xdd, 0x3b), X86_PF); /* fnstsw [rbx] */
}

/* A store that faults in its second page changes neither memory nor the x87 stack. */
static void faulting_store_has_no_effect(void **state)
{
	struct vcpu_fixture *f = *state;
	uint16_t before;

	vcpu_fixture_enter(f, FIXTURE_LONG_USER);
	vcpu_fixture_map(f, DATA_PAGE, DATA_PAGE, PTE_P | PTE_U);
	memset(f->ram + DATA_PAGE - 4, 0xaa, 8);
	assert_int_equal(TRY(f, 0xd9, 0xe8), -1);
	before = fsw(f->vcpu);
	f->vcpu->gpr[X86_RBX] = DATA_PAGE - 4;
	assert_int_equal(TRY(f, 0xdd, 0x1b), X86_PF); /* fstp qword [rbx] */
	assert_int_equal(f->vcpu->cr2, DATA_PAGE);
	assert_int_equal(fsw(f->vcpu), before);
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(f->ram[DATA_PAGE - 4 + i], 0xaa);
	/* The same with the page writable goes through both pages. */
	vcpu_fixture_map(f, DATA_PAGE, DATA_PAGE, PTE_P | PTE_U | PTE_W);
	assert_int_equal(TRY(f, 0xdd, 0x1b), -1);
	assert_memory_equal(f->ram + DATA_PAGE - 4, &(double){ 1.0 }, 8);
}

/* SDM 1 8.1.8 and figure 8-9: FIP is the instruction's address, FDP its operand's. */
static void environment_has_guest_addresses(void **state)
{
	struct vcpu_fixture *f = *state;
	uint32_t environment[7];

	vcpu_fixture_enter(f, FIXTURE_PROTECTED);
	f->vcpu->gpr[X86_RBX] = DATA;
	/* fld1; fstp dword [ebx+8]; fnstenv [ebx+100h] */
	assert_int_equal(
		TRY(f, 0xd9, 0xe8, 0xd9, 0x5b, 0x08, 0xd9, 0xb3, 0x00, 0x01, 0x00, 0x00), -1);
	memcpy(environment, f->ram + DATA + 0x100, sizeof(environment));
	assert_int_equal(environment[0], 0xffff037f);
	assert_int_equal(environment[1] & 0xffff3800, 0xffff0000);
	assert_int_equal(environment[2], 0xffffffff);
	assert_int_equal(environment[3], FIXTURE_CODE + 2);
	assert_int_equal(environment[4] >> 16, 0x15b); /* D9 5B without D8's five bits */
	assert_int_equal(environment[5], DATA + 8);
}

/* SDM 1 figure 8-12: the 16-bit real-mode format, with linear addresses of 20 bits. */
static void real_mode_environment(void **state)
{
	struct vcpu_fixture *f = *state;
	uint16_t environment[7];

	vcpu_fixture_enter(f, FIXTURE_REAL);
	f->vcpu->segment[X86_DS].base = 0x30000;
	f->vcpu->gpr[X86_RBX] = 0x1230;
	/* fld1; fstp dword [bx]; fnstenv [bx+10h] */
	assert_int_equal(TRY(f, 0xd9, 0xe8, 0xd9, 0x1f, 0xd9, 0x77, 0x10), -1);
	memcpy(environment, f->ram + 0x31240, sizeof(environment));
	assert_int_equal(environment[0], 0x037f);
	assert_int_equal(environment[3], FIXTURE_CODE_16 + 2);
	assert_int_equal(environment[4], 0x011f);
	assert_int_equal(environment[5], 0x1230);
	assert_int_equal(environment[6], 0x3000);
}

/* SDM 2, VZEROALL: outside 64-bit mode the upper eight registers stay as they are. */
static void vzeroall_outside_64_bit_mode(void **state)
{
	struct vcpu_fixture *f = *state;
	struct cpu_xsave image;

	vcpu_fixture_enter(f, FIXTURE_PROTECTED);
	vector_get(f->vcpu, &image);
	memset(image.xmm, 0x11, sizeof(image.xmm));
	memset(image.ymm_high, 0x22, sizeof(image.ymm_high));
	image.xstate_bv = XCR0_X87 | XCR0_SSE | XCR0_AVX;
	vector_set(f->vcpu, &image);
	assert_int_equal(TRY(f, 0xc5, 0xf8, 0x77), -1); /* vzeroupper */
	vector_get(f->vcpu, &image);
	assert_int_equal(image.ymm_high[7][0], 0);
	assert_int_equal(image.ymm_high[8][0], 0x22);
	assert_int_equal(image.xmm[7][0], 0x11);
	assert_int_equal(TRY(f, 0xc5, 0xfc, 0x77), -1); /* vzeroall */
	vector_get(f->vcpu, &image);
	for (unsigned n = 0; n < 16; n++) {
		assert_int_equal(image.xmm[n][15], n < 8 ? 0 : 0x11);
		assert_int_equal(image.ymm_high[n][15], n < 8 ? 0 : 0x22);
	}
}

/* The live registers survive a device access, which runs C code, between two instructions. */
static void registers_survive_devices(void **state)
{
	struct vcpu_fixture *f = *state;

	vcpu_fixture_enter(f, FIXTURE_LONG);
	f->vcpu->gpr[X86_RAX] = 7;
	f->vcpu->gpr[X86_RBX] = FIXTURE_STOP;
	/* cvtsi2sd xmm15, rax; mov [rbx], al; addsd xmm15, xmm15; movups xmm0, [rbx] */
	assert_int_equal(TRY(f, 0xf2, 0x4c, 0x0f, 0x2a, 0xf8, 0x88, 0x03, 0xf2, 0x45, 0x0f, 0x58,
				 0xff, 0x0f, 0x10, 0x03),
		-1);
	assert_true(xmm_double(f->vcpu, 15) == 14.0);
}

/* Decoding code that runs for the first time, which may call the C library, keeps them as well. */
static void registers_survive_decoding(void **state)
{
	struct vcpu_fixture *f = *state;
	static const uint8_t stop[] = { 0x88, 0x03, 0xeb, 0xfe };
	static uint8_t code[1 << 20];
	struct cpu_xsave before, after;

	vcpu_fixture_enter(f, FIXTURE_LONG);
	vector_get(f->vcpu, &before);
	for (unsigned i = 0; i < sizeof(before.xmm); i++) {
		((uint8_t *)before.xmm)[i] = (uint8_t)(i + 1);
		((uint8_t *)before.ymm_high)[i] = (uint8_t)(i * 3 + 1);
	}
	before.xstate_bv = XCR0_X87 | XCR0_SSE | XCR0_AVX;
	vector_set(f->vcpu, &before);
	/* MOVAPS XMM0, XMM0, which makes them live, and NOPs, for 1 MiB; MOV [RBX], AL; JMP $ */
	memset(code, 0x90, sizeof(code));
	for (unsigned i = 0; i < sizeof(code); i += 64)
		memcpy(code + i, (const uint8_t[]){ 0x0f, 0x28, 0xc0 }, 3);
	vcpu_fixture_load(f, FIXTURE_CODE, code, sizeof(code));
	vcpu_fixture_load(f, FIXTURE_CODE + sizeof(code), stop, sizeof(stop));
	f->vcpu->gpr[X86_RBX] = FIXTURE_STOP;
	assert_int_equal(interpret(f->vcpu), VCPU_EXIT_KICKED);
	vector_get(f->vcpu, &after);
	assert_memory_equal(before.xmm, after.xmm, sizeof(before.xmm));
	assert_memory_equal(before.ymm_high, after.ymm_high, sizeof(before.ymm_high));
}

/* SDM 2, LDMXCSR: #GP(0) for a reserved bit. AMD's bit 17 is one here. */
static void ldmxcsr_checks_reserved_bits(void **state)
{
	struct vcpu_fixture *f = *state;

	vcpu_fixture_enter(f, FIXTURE_LONG_USER);
	f->vcpu->gpr[X86_RBX] = DATA;
	memcpy(f->ram + DATA, &(uint32_t){ 0x21f80 }, 4);
	assert_int_equal(TRY(f, 0x0f, 0xae, 0x13), X86_GP);
	memcpy(f->ram + DATA, &(uint32_t){ 0xffff }, 4);
	assert_int_equal(TRY(f, 0x0f, 0xae, 0x13), -1);
	assert_int_equal(mxcsr(f->vcpu), 0xffff);
}

/* SDM 2, MOVAPS, MOVUPS, VMOVAPS, VADDPS: who wants its operand aligned. */
static void alignment(void **state)
{
	struct vcpu_fixture *f = *state;

	vcpu_fixture_enter(f, FIXTURE_LONG_USER);
	f->vcpu->gpr[X86_RBX] = DATA + 8;
	assert_int_equal(TRY(f, 0x0f, 0x28, 0x03), X86_GP);       /* movaps xmm0, [rbx] */
	assert_int_equal(TRY(f, 0x0f, 0x58, 0x03), X86_GP);       /* addps xmm0, [rbx] */
	assert_int_equal(TRY(f, 0x0f, 0x10, 0x03), -1);           /* movups xmm0, [rbx] */
	assert_int_equal(TRY(f, 0xc5, 0xf8, 0x58, 0x03), -1);     /* vaddps xmm0, xmm0, [rbx] */
	assert_int_equal(TRY(f, 0xc5, 0xf8, 0x28, 0x03), X86_GP); /* vmovaps xmm0, [rbx] */
	f->vcpu->gpr[X86_RBX] = DATA + 16;
	assert_int_equal(TRY(f, 0xc5, 0xf8, 0x28, 0x03), -1);
	assert_int_equal(TRY(f, 0xc5, 0xfc, 0x28, 0x03), X86_GP); /* vmovaps ymm0, [rbx] */
}

/* More different instructions than the cache holds: PSHUFD of all registers and immediates. */
static void thunks_are_bounded(void **state)
{
	struct vcpu_fixture *f = *state;
	uint64_t flushes = f->vcpu->thunks->flushes;
	uint8_t code[] = { 0x66, 0x45, 0x0f, 0x70, 0, 0 };

	vcpu_fixture_enter(f, FIXTURE_LONG_USER);
	for (unsigned n = 0; n < 40000; n++) {
		uint32_t words[4];
		struct cpu_xsave image;

		f->vcpu->rip = FIXTURE_CODE;
		code[1] = 0x40 | (n >> 14 & 1) << 2 | (n >> 15 & 1);
		code[4] = 0xc0 | (n >> 8 & 0x3f);
		code[5] = (uint8_t)n;
		assert_int_equal(try_code(f, code, sizeof(code)), -1);
		if (n % 1000)
			continue;
		vector_get(f->vcpu, &image);
		for (unsigned i = 0; i < 4; i++) {
			words[i] = i * 0x11111111u;
			memcpy(image.xmm[3] + 4 * i, &words[i], 4);
		}
		image.xstate_bv |= XCR0_SSE;
		vector_set(f->vcpu, &image);
		/* pshufd xmm3, xmm3, 1Bh: the words in reverse order */
		assert_int_equal(TRY(f, 0x66, 0x0f, 0x70, 0xdb, 0x1b), -1);
		vector_get(f->vcpu, &image);
		for (unsigned i = 0; i < 4; i++)
			assert_memory_equal(image.xmm[3] + 4 * i, &words[3 - i], 4);
	}
	assert_true(f->vcpu->thunks->flushes > flushes);
	assert_true(f->vcpu->thunks->used <= THUNK_CODE_BYTES);
}

/* No page of the process can be both written and executed. */
static void thunks_are_never_writable_and_executable(void **state)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	char line[512], permissions[8];
	bool found = false;

	(void)state;
	assert_non_null(maps);
	while (fgets(line, sizeof(line), maps)) {
		assert_int_equal(sscanf(line, "%*s %7s", permissions), 1);
		assert_false(strchr(permissions, 'w') && strchr(permissions, 'x'));
		found |= strstr(line, "atoll-thunks") != NULL;
	}
	fclose(maps);
	assert_true(found);
}

/* Whatever image is set, the unit loads it and what is read back is stable. */
static void any_image_can_be_set(void **state)
{
	struct vcpu_fixture *f = *state;
	struct cpu_xsave image, first, second;

	vcpu_fixture_enter(f, FIXTURE_LONG_USER);
	memset(&image, 0xff, sizeof(image));
	vector_set(f->vcpu, &image);
	vector_load(f->vcpu);
	vector_get(f->vcpu, &first);
	assert_int_equal(first.mxcsr, 0xffff);
	assert_int_equal(first.fcw, 0x1f7f);
	assert_int_equal(first.fsw, 0x7f7f); /* all masked: neither ES nor B */
	assert_int_equal(first.fip, UINT64_MAX);
	assert_int_equal(first.fop, 0x7ff);
	assert_int_equal(first.xcomp_bv, 0);
	vector_set(f->vcpu, &first);
	vector_load(f->vcpu);
	vector_get(f->vcpu, &second);
	assert_memory_equal(&first, &second, sizeof(first));
	/* Components that XSTATE_BV leaves out are initial. */
	image.xstate_bv = 0;
	vector_set(f->vcpu, &image);
	vector_load(f->vcpu);
	vector_get(f->vcpu, &first);
	assert_int_equal(first.fcw, 0x37f);
	assert_int_equal(first.ftw, 0);
	assert_int_equal(first.xmm[15][15], 0);
	assert_int_equal(first.ymm_high[0][0], 0);
	assert_int_equal(first.mxcsr, 0xffff);
}

/* On a host whose unit has no AVX, or not even XSAVE. */
static void works_with_fewer_components(void **state)
{
	static const uint32_t components[] = { XCR0_X87 | XCR0_SSE, 0 };
	struct vcpu_fixture *f = *state;
	uint32_t all = f->vcpu->vector_components;

	for (unsigned i = 0; i < ARRAY_SIZE(components); i++) {
		struct cpu_xsave image;

		vector_store(f->vcpu);
		f->vcpu->vector_components = components[i];
		vcpu_fixture_enter(f, FIXTURE_LONG_USER);
		memset(&image, 0, sizeof(image));
		image.fcw = X87_FCW_RESET;
		image.mxcsr = 0x9f80; /* flush to zero */
		image.xstate_bv = XCR0_X87 | XCR0_SSE | XCR0_AVX;
		memcpy(image.xmm[1], &(double){ 2.5 }, 8);
		vector_set(f->vcpu, &image);
		/* addsd xmm1, xmm1; fld1 */
		assert_int_equal(TRY(f, 0xf2, 0x0f, 0x58, 0xc9, 0xd9, 0xe8), -1);
		assert_true(xmm_double(f->vcpu, 1) == 5.0);
		assert_int_equal(mxcsr(f->vcpu), 0x9f80);
		assert_int_equal(fsw(f->vcpu), 7 << 11);
	}
	vector_store(f->vcpu);
	f->vcpu->vector_components = all;
}

/* Signals that do not come from a thunk end the process as if the engine had no handler. */
static void other_signals_are_passed_on(void **state)
{
	static const int signals[] = { SIGFPE, SIGILL, SIGSEGV };

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(signals); i++) {
		int status, pid = fork();

		if (pid == 0) {
			alarm(10);
			signal(signals[i], SIG_DFL);
			vector_take_signals();
			raise(signals[i]);
			_exit(0);
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status));
		assert_int_equal(WTERMSIG(status), signals[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(simd_exception_is_precise),
		cmocka_unit_test(masked_simd_exception_gives_infinity),
		cmocka_unit_test(x87_exception_waits),
		cmocka_unit_test(x87_exception_precedes_operand),
		cmocka_unit_test(faulting_store_has_no_effect),
		cmocka_unit_test(environment_has_guest_addresses),
		cmocka_unit_test(real_mode_environment),
		cmocka_unit_test(vzeroall_outside_64_bit_mode),
		cmocka_unit_test(registers_survive_devices),
		cmocka_unit_test(registers_survive_decoding),
		cmocka_unit_test(ldmxcsr_checks_reserved_bits),
		cmocka_unit_test(alignment),
		cmocka_unit_test(thunks_are_bounded),
		cmocka_unit_test(thunks_are_never_writable_and_executable),
		cmocka_unit_test(any_image_can_be_set),
		cmocka_unit_test(works_with_fewer_components),
		cmocka_unit_test(other_signals_are_passed_on),
	};

	return cmocka_run_group_tests_name("vector", tests, setup, teardown);
}
