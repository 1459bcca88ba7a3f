/*
 * The translator on small programs: loops, memory, faults, self-modifying code, signals.
 */
#include "engine/soft/code_pages.h"
#include "engine/soft/vcpu_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <string.h>

static struct vcpu_fixture fixture;

static int setup(void **state)
{
	struct error err = { 0 };

	vcpu_fixture_create(&fixture, 8);
	fixture.engine.mode = SOFT_MODE_TRANSLATE;
	fixture.vcpu->timer_deadline_tsc = UINT64_MAX;
	assert_int_equal(translate_create(&fixture.engine, &err), 0);
	*state = &fixture;
	return 0;
}

static int teardown(void **state)
{
	translate_destroy(&fixture.engine);
	vcpu_fixture_destroy(*state);
	return 0;
}

static void run(struct vcpu_fixture *f)
{
	assert_int_equal(translate_executor.execute(f->vcpu), VCPU_EXIT_KICKED);
}

/* mov edx, STOP; mov [rdx], al; jmp $ */
#define STOP 0xba, 0x00, 0x00, 0x00, 0xd0, 0x88, 0x02, 0xeb, 0xfe

static void loops(void **state)
{
	struct vcpu_fixture *f = *state;

	vcpu_fixture_enter(f, FIXTURE_LONG);
	/* mov ecx, 1000000; 1: inc rax; dec ecx; jnz 1b */
	FIXTURE_LOAD_CODE(
		f, 0xb9, 0x40, 0x42, 0x0f, 0x00, 0x48, 0xff, 0xc0, 0xff, 0xc9, 0x75, 0xf9, STOP);
	run(f);
	assert_int_equal(f->vcpu->gpr[X86_RAX], 1000000);
	assert_int_equal(f->vcpu->gpr[X86_RCX], 0);
}

static void reaches_memory(void **state)
{
	struct vcpu_fixture *f = *state;

	vcpu_fixture_enter(f, FIXTURE_LONG);
	/* mov rax, 0x1122334455667788; mov r10d, 0x200000; mov [r10 + 8], rax; mov r11, [r10 + 9];
	 * push r11; pop rbx; mov cl, [r10 + 8]; cmp cl, [r10 + 8]; mov [r10], rcx; sete ch */
	FIXTURE_LOAD_CODE(f, 0x48, 0xb8, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 0x41, 0xba,
		0x00, 0x00, 0x20, 0x00, 0x49, 0x89, 0x42, 0x08, 0x4d, 0x8b, 0x5a, 0x09, 0x41, 0x53,
		0x5b, 0x41, 0x8a, 0x4a, 0x08, 0x41, 0x3a, 0x4a, 0x08, 0x49, 0x89, 0x0a, 0x0f, 0x94,
		0xc5, STOP);
	f->vcpu->gpr[X86_RCX] = 0;
	for (unsigned i = 0; i < 3; i++) {
		f->vcpu->rip = FIXTURE_CODE;
		run(f);
		assert_int_equal(f->vcpu->gpr[X86_R11], 0x11223344556677);
		assert_int_equal(f->vcpu->gpr[X86_RBX], 0x11223344556677);
		assert_int_equal(f->vcpu->gpr[X86_R10], 0x200000);
		assert_int_equal(f->vcpu->gpr[X86_RCX] & 0xffff, 0x188);
		assert_int_equal(f->ram[0x200000], 0x88);
	}
}

/* A store into the next instruction of the same block. */
static void sees_its_own_stores(void **state)
{
	struct vcpu_fixture *f = *state;

	vcpu_fixture_enter(f, FIXTURE_LONG);
	/* mov byte [rip + 1], 7; mov al, 1 */
	FIXTURE_LOAD_CODE(f, 0xc6, 0x05, 0x01, 0x00, 0x00, 0x00, 0x07, 0xb0, 0x01, STOP);
	run(f);
	assert_int_equal(f->vcpu->gpr[X86_RAX] & 0xff, 7);
}

static void calls_and_returns(void **state)
{
	struct vcpu_fixture *f = *state;

	vcpu_fixture_enter(f, FIXTURE_LONG);
	/* xor eax, eax; mov ecx, 1000; 1: call f; loop by dec ecx; jnz 1b; jmp out;
	 * f: lea rax, [rax + 3]; ret; out: */
	FIXTURE_LOAD_CODE(f, 0x31, 0xc0, 0xb9, 0xe8, 0x03, 0x00, 0x00, 0xe8, 0x06, 0x00, 0x00, 0x00,
		0xff, 0xc9, 0x75, 0xf7, 0xeb, 0x05, 0x48, 0x8d, 0x40, 0x03, 0xc3, STOP);
	run(f);
	assert_int_equal(f->vcpu->gpr[X86_RAX], 3000);
	assert_int_equal(f->vcpu->gpr[X86_RSP], FIXTURE_STACK0);
}

/* Pushes and pops in runs, from a stack that crosses a page in the middle of them. */
static void runs_of_pushes_cross_pages(void **state)
{
	struct vcpu_fixture *f = *state;

	vcpu_fixture_enter(f, FIXTURE_LONG);
	/* mov ebp, 3; 1: call f; dec ebp; jnz 1b; jmp out;
	 * f: push rax; push rbx; push r10; push r11; push rsi;
	 *    pop r11; pop r10; pop rsi; pop rbx; pop rax; ret; out: */
	FIXTURE_LOAD_CODE(f, 0xbd, 3, 0, 0, 0, 0xe8, 0x06, 0, 0, 0, 0xff, 0xcd, 0x75, 0xf7, 0xeb,
		0x0f, 0x50, 0x53, 0x41, 0x52, 0x41, 0x53, 0x56, 0x41, 0x5b, 0x41, 0x5a, 0x5e, 0x5b,
		0x58, 0xc3, STOP);
	for (unsigned offset = 0; offset <= 64; offset++) {
		f->vcpu->rip = FIXTURE_CODE;
		f->vcpu->gpr[X86_RSP] = 0x201000 + offset;
		f->vcpu->gpr[X86_RAX] = 1;
		f->vcpu->gpr[X86_RBX] = 2;
		f->vcpu->gpr[X86_R10] = 3;
		f->vcpu->gpr[X86_R11] = 4;
		f->vcpu->gpr[X86_RSI] = 5;
		run(f);
		/* R11, R10 and RSI turn: three times is once round. */
		assert_int_equal(f->vcpu->gpr[X86_RAX], 1);
		assert_int_equal(f->vcpu->gpr[X86_RBX], 2);
		assert_int_equal(f->vcpu->gpr[X86_R10], 3);
		assert_int_equal(f->vcpu->gpr[X86_R11], 4);
		assert_int_equal(f->vcpu->gpr[X86_RSI], 5);
		assert_int_equal(f->vcpu->gpr[X86_RSP], 0x201000 + offset);
	}
}

/* An instruction that crosses a page's end, written in either page. */
static void crossing_instructions_change(void **state)
{
	struct vcpu_fixture *f = *state;
	const gva_t start = FIXTURE_CODE + 0x1000 - 3;

	vcpu_fixture_enter(f, FIXTURE_LONG);
	f->vcpu->rip = start;
	/* mov eax, 0x04030201 */
	FIXTURE_LOAD_CODE(f, 0xb8, 1, 2, 3, 4, STOP);
	for (unsigned i = 0; i < 8; i++) {
		const uint8_t byte = (uint8_t)(0x10 + i);
		uint32_t expected;

		f->vcpu->rip = start;
		run(f);
		memcpy(&expected, f->ram + start + 1, sizeof(expected));
		assert_int_equal(f->vcpu->gpr[X86_RAX], expected);
		vcpu_fixture_load(f, start + 1 + i % 4, &byte, 1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(loops),
		cmocka_unit_test(reaches_memory),
		cmocka_unit_test(sees_its_own_stores),
		cmocka_unit_test(calls_and_returns),
		cmocka_unit_test(runs_of_pushes_cross_pages),
		cmocka_unit_test(crossing_instructions_change),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
