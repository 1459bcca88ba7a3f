/*
 * The run loop: straight code in each mode, blocks, self-modifying code, single step.
 */
#include "engine/soft/vcpu_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <string.h>

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

static void runs_in_long_mode(void **state)
{
	struct vcpu_fixture *f = *state;

	vcpu_fixture_enter(f, FIXTURE_LONG);
	/* mov rax, 0x1122334455667788; mov [0x200000], rax; mov ecx, [0x200004]; hlt */
	FIXTURE_LOAD_CODE(f, 0x48, 0xb8, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 0x48, 0x89,
		0x04, 0x25, 0x00, 0x00, 0x20, 0x00, 0x8b, 0x0c, 0x25, 0x04, 0x00, 0x20, 0x00, 0xf4);
	assert_true(vcpu_fixture_run(f, 10));
	assert_int_equal(f->vcpu->gpr[X86_RCX], 0x11223344);
	assert_int_equal(f->vcpu->instructions, 3);
}

static void runs_in_protected_mode(void **state)
{
	struct vcpu_fixture *f = *state;

	vcpu_fixture_enter(f, FIXTURE_PROTECTED);
	/* mov eax, 5; push eax; pop ecx; inc ecx; hlt */
	FIXTURE_LOAD_CODE(f, 0xb8, 5, 0, 0, 0, 0x50, 0x59, 0x41, 0xf4);
	assert_true(vcpu_fixture_run(f, 10));
	assert_int_equal(f->vcpu->gpr[X86_RCX], 6);
	assert_int_equal(f->vcpu->gpr[X86_RSP], FIXTURE_STACK0);
}

static void runs_in_real_mode(void **state)
{
	struct vcpu_fixture *f = *state;

	vcpu_fixture_enter(f, FIXTURE_REAL);
	f->vcpu->segment[X86_DS].base = 0x1230;
	/* mov ax, 0xabcd; mov [0x10], ax; hlt */
	FIXTURE_LOAD_CODE(f, 0xb8, 0xcd, 0xab, 0xa3, 0x10, 0x00, 0xf4);
	assert_true(vcpu_fixture_run(f, 10));
	assert_int_equal(f->ram[0x1240], 0xcd);
	assert_int_equal(f->ram[0x1241], 0xab);
}

/* A loop of a million iterations through the cached path, ended by a device's request. */
static void loops(void **state)
{
	struct vcpu_fixture *f = *state;

	vcpu_fixture_enter(f, FIXTURE_LONG);
	/* mov ecx, 1000000; 1: inc rax; dec ecx; jnz 1b; mov edx, STOP; mov [rdx], al; jmp $ */
	FIXTURE_LOAD_CODE(f, 0xb9, 0x40, 0x42, 0x0f, 0x00, 0x48, 0xff, 0xc0, 0xff, 0xc9, 0x75, 0xf9,
		0xba, 0x00, 0x00, 0x00, 0xd0, 0x88, 0x02, 0xeb, 0xfe);
	assert_int_equal(interpret(f->vcpu), VCPU_EXIT_KICKED);
	assert_int_equal(f->vcpu->gpr[X86_RAX], 1000000);
	assert_int_equal(f->vcpu->gpr[X86_RCX], 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(runs_in_long_mode),
		cmocka_unit_test(runs_in_protected_mode),
		cmocka_unit_test(runs_in_real_mode),
		cmocka_unit_test(loops),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
