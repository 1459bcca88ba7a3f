/*
 * The integer instructions where native_test.c cannot compare them with the host: real mode, 16-bit
 * stacks and addresses, devices, pages that hold code, interruptible strings. Expected values are
 * those of SDM 2.
 */
#include "engine/soft/vcpu_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <string.h>

#define DATA   0x200000
#define UNUSED 0x40000000 /* not mapped */

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

/* Loads one instruction at RIP and executes it; the exception it raised, or -1. */
#define TRY(f, ...)                                                                                \
	({                                                                                         \
		FIXTURE_LOAD_CODE(f, __VA_ARGS__);                                                 \
		interpret_try((f)->vcpu);                                                          \
	})

static uint64_t ram(struct vcpu_fixture *f, gpa_t address, unsigned size)
{
	uint64_t value = 0;

	memcpy(&value, f->ram + address, size);
	return value;
}

static void push_wraps_at_64_kib(void **state)
{
	struct vcpu_fixture *f = *state;

	vcpu_fixture_enter(f, FIXTURE_REAL);
	f->vcpu->gpr[X86_RSP] = 0xffff0000;
	f->vcpu->gpr[X86_RAX] = 0x1234;
	assert_int_equal(TRY(f, 0x50), -1); /* push ax */
	assert_int_equal(f->vcpu->gpr[X86_RSP], 0xfffffffe);
	assert_int_equal(ram(f, 0xfffe, 2), 0x1234);
	assert_int_equal(TRY(f, 0x59), -1); /* pop cx */
	assert_int_equal(f->vcpu->gpr[X86_RCX], 0x1234);
	assert_int_equal(f->vcpu->gpr[X86_RSP], 0xffff0000);
}

static void enter_and_leave_on_a_16_bit_stack(void **state)
{
	struct vcpu_fixture *f = *state;

	vcpu_fixture_enter(f, FIXTURE_REAL);
	f->vcpu->gpr[X86_RSP] = 0x7000;
	f->vcpu->gpr[X86_RBP] = 0xaaaa7100;
	f->ram[0x70fe] = 0x55;
	assert_int_equal(TRY(f, 0xc8, 0x10, 0x00, 0x02), -1); /* enter 16, 2 */
	assert_int_equal(ram(f, 0x6ffe, 2), 0x7100);
	assert_int_equal(ram(f, 0x6ffc, 2), 0x55);
	assert_int_equal(ram(f, 0x6ffa, 2), 0x6ffe);
	assert_int_equal(f->vcpu->gpr[X86_RBP], 0xaaaa6ffe);
	assert_int_equal(f->vcpu->gpr[X86_RSP], 0x6fea);
	assert_int_equal(TRY(f, 0xc9), -1); /* leave */
	assert_int_equal(f->vcpu->gpr[X86_RBP], 0xaaaa7100);
	assert_int_equal(f->vcpu->gpr[X86_RSP], 0x7000);
}

static void pusha_with_32_bit_operands_in_real_mode(void **state)
{
	struct vcpu_fixture *f = *state;

	vcpu_fixture_enter(f, FIXTURE_REAL);
	for (unsigned n = 0; n < 8; n++)
		f->vcpu->gpr[n] = 0x11111111 * n;
	f->vcpu->gpr[X86_RSP] = 0x7000;
	assert_int_equal(TRY(f, 0x66, 0x60), -1); /* pushad */
	assert_int_equal(f->vcpu->gpr[X86_RSP], 0x6fe0);
	assert_int_equal(ram(f, 0x6ffc, 4), 0);
	assert_int_equal(ram(f, 0x6fec, 4), 0x7000);
	assert_int_equal(ram(f, 0x6fe0, 4), 0x77777777);
	memset(f->vcpu->gpr, 0, 4 * 8);
	assert_int_equal(TRY(f, 0x66, 0x61), -1); /* popad */
	assert_int_equal(f->vcpu->gpr[X86_RBX], 0x33333333);
	assert_int_equal(f->vcpu->gpr[X86_RSP], 0x7000);
}

static void near_branches_in_real_mode(void **state)
{
	struct vcpu_fixture *f = *state;

	vcpu_fixture_enter(f, FIXTURE_REAL);
	f->vcpu->rip = 0xfff0;
	assert_int_equal(TRY(f, 0xe8, 0x1d, 0x00), -1); /* call, to fff3 + 1d: IP wraps */
	assert_int_equal(f->vcpu->rip, 0x10);
	assert_int_equal(ram(f, 0x6ffe, 2), 0xfff3);
	assert_int_equal(TRY(f, 0xc2, 0x04, 0x00), -1); /* ret 4 */
	assert_int_equal(f->vcpu->rip, 0xfff3);
	assert_int_equal(f->vcpu->gpr[X86_RSP], 0x7004);
	f->vcpu->gpr[X86_RCX] = 0x10000;
	assert_int_equal(TRY(f, 0xe3, 0x02), -1); /* jcxz */
	assert_int_equal(f->vcpu->rip, 0xfff7);
	f->vcpu->gpr[X86_RCX] = 0x10000;
	assert_int_equal(TRY(f, 0x67, 0xe2, 0x02), -1); /* loop by ecx */
	assert_int_equal(f->vcpu->rip, 0xfffc);
	assert_int_equal(f->vcpu->gpr[X86_RCX], 0xffff);
}

/* A jump beyond CS's limit faults and changes nothing. */
static void branch_beyond_the_limit(void **state)
{
	struct vcpu_fixture *f = *state;
	uint64_t rip;

	vcpu_fixture_enter(f, FIXTURE_REAL);
	rip = f->vcpu->rip;
	assert_int_equal(TRY(f, 0x66, 0xe9, 0x00, 0x00, 0x01, 0x00), X86_GP);
	assert_int_equal(f->vcpu->rip, rip);
	f->vcpu->gpr[X86_RCX] = 5;
	f->vcpu->segment[X86_CS].limit = 0x8003;
	assert_int_equal(TRY(f, 0xe2, 0x10), X86_GP); /* loop */
	assert_int_equal(f->vcpu->gpr[X86_RCX], 5);
}

static void strings_wrap_with_16_bit_addresses(void **state)
{
	struct vcpu_fixture *f = *state;

	vcpu_fixture_enter(f, FIXTURE_REAL);
	f->vcpu->segment[X86_ES].base = 0x20000;
	f->vcpu->gpr[X86_RDI] = 0x5555fff0;
	f->vcpu->gpr[X86_RCX] = 0x66660020;
	f->vcpu->gpr[X86_RAX] = 0x77;
	memset(f->ram + 0x20000, 0, 0x10020);
	while (f->vcpu->gpr[X86_RCX] & 0xffff)
		assert_int_equal(TRY(f, 0xf3, 0xaa), -1); /* rep stosb */
	assert_int_equal(f->vcpu->gpr[X86_RDI], 0x55550010);
	assert_int_equal(f->vcpu->gpr[X86_RCX], 0x66660000);
	assert_int_equal(f->ram[0x2fff0], 0x77);
	assert_int_equal(f->ram[0x2ffff], 0x77);
	assert_int_equal(f->ram[0x30000], 0);
	assert_int_equal(f->ram[0x2000f], 0x77);
	assert_int_equal(f->ram[0x20010], 0);
}

/* Elements before the segment's limit are moved, then #GP with the registers there. */
static void string_runs_into_the_limit(void **state)
{
	struct vcpu_fixture *f = *state;
	int vector;

	vcpu_fixture_enter(f, FIXTURE_PROTECTED);
	f->vcpu->segment[X86_ES].limit = DATA + 0x103;
	vcpu_update_mode(f->vcpu);
	f->vcpu->gpr[X86_RDI] = DATA + 0xf0;
	f->vcpu->gpr[X86_RCX] = 100;
	f->vcpu->gpr[X86_RAX] = 0x01020304;
	do
		vector = TRY(f, 0xf3, 0xab); /* rep stosd */
	while (vector < 0);
	assert_int_equal(vector, X86_GP);
	assert_int_equal(f->vcpu->gpr[X86_RDI], DATA + 0x104);
	assert_int_equal(f->vcpu->gpr[X86_RCX], 95);
	assert_int_equal(ram(f, DATA + 0x100, 4), 0x01020304);
}

static void string_runs_into_a_page_fault(void **state)
{
	struct vcpu_fixture *f = *state;
	uint64_t end = DATA + 0x3000;
	int vector;

	vcpu_fixture_enter(f, FIXTURE_LONG);
	vcpu_fixture_map(f, end, 0, 0);
	for (unsigned i = 0; i < 0x3000; i++)
		f->ram[DATA + i] = (uint8_t)(i * 7);
	f->vcpu->gpr[X86_RSI] = DATA + 3;
	f->vcpu->gpr[X86_RDI] = DATA + 0x1803;
	f->vcpu->gpr[X86_RCX] = 0x10000;
	do
		vector = TRY(f, 0xf3, 0xa4); /* rep movsb */
	while (vector < 0);
	assert_int_equal(vector, X86_PF);
	assert_int_equal(f->vcpu->cr2, end);
	assert_int_equal(f->vcpu->fault_error, PF_WRITE);
	assert_int_equal(f->vcpu->gpr[X86_RDI], end);
	assert_int_equal(f->vcpu->gpr[X86_RSI], DATA + 0x1800);
	assert_int_equal(f->vcpu->gpr[X86_RCX], 0x10000 - 0x17fd);
	for (unsigned i = 0x1803; i < 0x3000; i++)
		assert_int_equal(f->ram[DATA + i], (uint8_t)((i - 0x1800) * 7));
}

/* Source and destination overlap: each byte is read after the earlier ones were written. */
static void overlapping_strings_repeat_a_pattern(void **state)
{
	struct vcpu_fixture *f = *state;

	vcpu_fixture_enter(f, FIXTURE_LONG);
	memset(f->ram + DATA, 0, 0x2000);
	memcpy(f->ram + DATA, "abc", 3);
	f->vcpu->gpr[X86_RSI] = DATA;
	f->vcpu->gpr[X86_RDI] = DATA + 3;
	f->vcpu->gpr[X86_RCX] = 0x1800;
	while (f->vcpu->gpr[X86_RCX]) {
		f->vcpu->rip = FIXTURE_CODE;
		assert_int_equal(TRY(f, 0xf3, 0xa4), -1);
	}
	for (unsigned i = 0; i < 0x1803; i++)
		assert_int_equal(f->ram[DATA + i], "abc"[i % 3]);
	assert_int_equal(f->ram[DATA + 0x1803], 0);
}

/* A long repetition gives interrupts a chance, but not after each page, and goes on at the same
 * instruction. */
static void strings_can_be_interrupted(void **state)
{
	struct vcpu_fixture *f = *state;
	unsigned calls = 0;

	vcpu_fixture_enter(f, FIXTURE_LONG);
	f->vcpu->gpr[X86_RDI] = DATA;
	f->vcpu->gpr[X86_RCX] = 0x100000;
	do {
		assert_int_equal(TRY(f, 0xf3, 0xaa), -1); /* rep stosb */
		calls++;
	} while (f->vcpu->rip == FIXTURE_CODE);
	assert_int_equal(f->vcpu->gpr[X86_RCX], 0);
	assert_int_equal(f->vcpu->gpr[X86_RDI], DATA + 0x100000);
	assert_in_range(calls, 4, 64);
}

/* With TF each iteration is a step. */
static void strings_single_step(void **state)
{
	struct vcpu_fixture *f = *state;

	vcpu_fixture_enter(f, FIXTURE_LONG);
	f->vcpu->gpr[X86_RDI] = DATA;
	f->vcpu->gpr[X86_RCX] = 3;
	f->vcpu->flags_system |= RFLAGS_TF;
	assert_int_equal(TRY(f, 0xf3, 0xaa), -1);
	assert_int_equal(f->vcpu->gpr[X86_RCX], 2);
	assert_int_equal(f->vcpu->rip, FIXTURE_CODE);
}

/* A breakpoint on the third element is reported after it, before the fourth. */
static void strings_stop_at_a_breakpoint(void **state)
{
	struct vcpu_fixture *f = *state;

	vcpu_fixture_enter(f, FIXTURE_LONG);
	f->vcpu->gpr[X86_RDI] = DATA;
	f->vcpu->gpr[X86_RCX] = 100;
	f->vcpu->dr[0] = DATA + 2;
	f->vcpu->dr7 = 0x00010401; /* L0, data writes, one byte */
	vcpu_update_mode(f->vcpu);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(f->vcpu->debug_pending, 0);
		assert_int_equal(TRY(f, 0xf3, 0xaa), -1);
	}
	assert_true(f->vcpu->debug_pending & 1);
	assert_int_equal(f->vcpu->gpr[X86_RCX], 97);
	assert_int_equal(f->vcpu->rip, FIXTURE_CODE);
	f->vcpu->dr7 = 0x400;
	f->vcpu->debug_pending = 0;
	vcpu_update_mode(f->vcpu);
}

/* The fixture's device reads as 88 77 66 55... and ignores offsets. */
static void read_modify_write_of_a_device(void **state)
{
	struct vcpu_fixture *f = *state;

	vcpu_fixture_enter(f, FIXTURE_LONG);
	f->vcpu->gpr[X86_RBX] = FIXTURE_STOP;
	f->vcpu->gpr[X86_RAX] = 0x10;
	assert_int_equal(TRY(f, 0xf0, 0x0f, 0xc1, 0x03), -1); /* lock xadd [rbx], eax */
	assert_int_equal(f->vcpu->gpr[X86_RAX], 0x55667788);
	assert_false(f->vcpu->split_locked);
	assert_true(f->vcpu->requests & REQUEST_KICK);
	f->vcpu->gpr[X86_RDI] = DATA;
	f->vcpu->gpr[X86_RSI] = FIXTURE_STOP;
	f->vcpu->gpr[X86_RCX] = 3;
	assert_int_equal(TRY(f, 0xf3, 0xa5), -1); /* rep movsd */
	assert_int_equal(ram(f, DATA + 8, 4), 0x55667788);
	assert_int_equal(f->vcpu->gpr[X86_RSI], FIXTURE_STOP + 12);
}

static void locked_across_pages(void **state)
{
	struct vcpu_fixture *f = *state;
	uint64_t minus_one = ~UINT64_C(0);

	vcpu_fixture_enter(f, FIXTURE_LONG);
	memcpy(f->ram + DATA + 0xffd, &minus_one, 8);
	f->vcpu->gpr[X86_RBX] = DATA + 0xffd;
	f->vcpu->gpr[X86_RAX] = 2;
	assert_int_equal(TRY(f, 0xf0, 0x48, 0x01, 0x03), -1); /* lock add [rbx], rax */
	assert_int_equal(ram(f, DATA + 0xffd, 8), 1);
	assert_true(f->vcpu->flags_low & RFLAGS_CF);
	assert_false(f->vcpu->split_locked);
	/* The second page is read-only: nothing may have happened to the first. */
	vcpu_fixture_map(f, DATA + 0x1000, DATA + 0x1000, PTE_P);
	assert_int_equal(TRY(f, 0xf0, 0x48, 0x01, 0x03), X86_PF);
	assert_int_equal(f->vcpu->cr2, DATA + 0x1000);
	assert_int_equal(ram(f, DATA + 0xffd, 8), 1);
	assert_false(f->vcpu->split_locked);
}

/* A locked write to an instruction that was decoded takes effect on the next one executed. */
static void locked_write_to_code(void **state)
{
	struct vcpu_fixture *f = *state;

	vcpu_fixture_enter(f, FIXTURE_LONG);
	/* 1: inc eax (ff c0); cmp eax, 1; jne 2f; mov ecx, 8; lock or [rip - 16], cl: dec eax;
	 * jmp 1b; 2: hlt */
	FIXTURE_LOAD_CODE(f, 0xff, 0xc0, 0x83, 0xf8, 0x01, 0x75, 0x0e, 0xb9, 0x08, 0x00, 0x00, 0x00,
		0xf0, 0x08, 0x0d, 0xee, 0xff, 0xff, 0xff, 0xeb, 0xeb, 0xf4);
	assert_true(vcpu_fixture_run(f, 50));
	assert_int_equal(f->ram[FIXTURE_CODE + 1], 0xc8);
	assert_int_equal(f->vcpu->gpr[X86_RAX], 0);
}

static void compare_and_exchange_16_bytes(void **state)
{
	struct vcpu_fixture *f = *state;
	struct vcpu *vcpu = f->vcpu;

	vcpu_fixture_enter(f, FIXTURE_LONG);
	memset(f->ram + DATA, 0x11, 16);
	vcpu->gpr[X86_RSI] = DATA;
	vcpu->gpr[X86_RAX] = vcpu->gpr[X86_RDX] = 0x1111111111111111;
	vcpu->gpr[X86_RBX] = 1;
	vcpu->gpr[X86_RCX] = 2;
	assert_int_equal(TRY(f, 0xf0, 0x48, 0x0f, 0xc7, 0x0e), -1);
	assert_true(vcpu->flags_low & RFLAGS_ZF);
	assert_int_equal(ram(f, DATA, 8), 1);
	assert_int_equal(ram(f, DATA + 8, 8), 2);
	vcpu->gpr[X86_RSI] = DATA + 8;
	assert_int_equal(TRY(f, 0xf0, 0x48, 0x0f, 0xc7, 0x0e), X86_GP);
	vcpu->gpr[X86_RSI] = FIXTURE_STOP; /* a device, 8877665544332211 twice */
	assert_int_equal(TRY(f, 0x48, 0x0f, 0xc7, 0x0e), -1);
	assert_false(vcpu->flags_low & RFLAGS_ZF);
}

static void random_numbers(void **state)
{
	struct vcpu_fixture *f = *state;
	uint64_t first;

	if (!cpu_model_has(&f->model, CPU_FEATURE_RDRAND))
		skip();
	vcpu_fixture_enter(f, FIXTURE_LONG);
	vcpu_set_rflags(f->vcpu, RFLAGS_ONE | RFLAGS_ARITHMETIC);
	assert_int_equal(TRY(f, 0x48, 0x0f, 0xc7, 0xf0), -1); /* rdrand rax */
	first = f->vcpu->gpr[X86_RAX];
	assert_int_equal(vcpu_rflags(f->vcpu), RFLAGS_ONE | RFLAGS_CF);
	assert_int_equal(TRY(f, 0x48, 0x0f, 0xc7, 0xf0), -1);
	assert_int_not_equal(f->vcpu->gpr[X86_RAX], first);
}

/* A page that cannot be reached leaves no trace of a pop to memory. */
static void pop_to_memory_restarts(void **state)
{
	struct vcpu_fixture *f = *state;
	uint64_t rsp = FIXTURE_STACK0 - 64;

	vcpu_fixture_enter(f, FIXTURE_LONG);
	f->vcpu->gpr[X86_RSP] = rsp;
	f->vcpu->gpr[X86_RBX] = UNUSED;
	assert_int_equal(TRY(f, 0x8f, 0x03), X86_PF); /* pop qword [rbx] */
	assert_int_equal(f->vcpu->gpr[X86_RSP], rsp);
	memcpy(f->ram + rsp, "\x42\0\0\0\0\0\0", 8);
	/* pop qword [rsp + 8]: RSP counts after the pop */
	assert_int_equal(TRY(f, 0x8f, 0x44, 0x24, 0x08), -1);
	assert_int_equal(ram(f, rsp + 16, 8), 0x42);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(push_wraps_at_64_kib),
		cmocka_unit_test(enter_and_leave_on_a_16_bit_stack),
		cmocka_unit_test(pusha_with_32_bit_operands_in_real_mode),
		cmocka_unit_test(near_branches_in_real_mode),
		cmocka_unit_test(branch_beyond_the_limit),
		cmocka_unit_test(strings_wrap_with_16_bit_addresses),
		cmocka_unit_test(string_runs_into_the_limit),
		cmocka_unit_test(string_runs_into_a_page_fault),
		cmocka_unit_test(overlapping_strings_repeat_a_pattern),
		cmocka_unit_test(strings_can_be_interrupted),
		cmocka_unit_test(strings_single_step),
		cmocka_unit_test(strings_stop_at_a_breakpoint),
		cmocka_unit_test(read_modify_write_of_a_device),
		cmocka_unit_test(locked_across_pages),
		cmocka_unit_test(locked_write_to_code),
		cmocka_unit_test(compare_and_exchange_16_bytes),
		cmocka_unit_test(random_numbers),
		cmocka_unit_test(pop_to_memory_restarts),
	};

	return cmocka_run_group_tests_name("exec", tests, setup, teardown);
}
