/*
 * The run loop: straight code in each mode, blocks, self-modifying code, single step, breakpoints,
 * interrupt shadows.
 */
#include "engine/soft/code_pages.h"
#include "engine/soft/debug.h"
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

/* The next instruction of the same block is changed, and its new form is what runs. */
static void modifies_the_next_instruction(void **state)
{
	struct vcpu_fixture *f = *state;

	vcpu_fixture_enter(f, FIXTURE_LONG);
	/* mov byte [rip + 1], 0x2a; mov al, 1 (its immediate is written); mov [STOP], al; jmp $ */
	FIXTURE_LOAD_CODE(f, 0xc6, 0x05, 0x01, 0x00, 0x00, 0x00, 0x2a, 0xb0, 0x01, 0xba, 0x00, 0x00,
		0x00, 0xd0, 0x88, 0x02, 0xeb, 0xfe);
	assert_int_equal(interpret(f->vcpu), VCPU_EXIT_KICKED);
	assert_int_equal(f->vcpu->gpr[X86_RAX], 0x2a);
}

/* A subroutine on another page is rewritten between two calls of it. */
static void modifies_another_page(void **state)
{
	struct vcpu_fixture *f = *state;

	vcpu_fixture_enter(f, FIXTURE_LONG);
	/* call sub; mov byte [sub + 1], 7; call sub; mov edx, STOP; mov [rdx], al; jmp $ */
	FIXTURE_LOAD_CODE(f, 0xe8, 0xfb, 0x0f, 0x00, 0x00, 0xc6, 0x05, 0xf5, 0x0f, 0x00, 0x00, 0x07,
		0xe8, 0xef, 0x0f, 0x00, 0x00, 0xba, 0x00, 0x00, 0x00, 0xd0, 0x88, 0x02, 0xeb, 0xfe);
	/* sub: mov cl, 1; add bl, cl; ret */
	vcpu_fixture_load(
		f, FIXTURE_CODE + 0x1000, (const uint8_t[]){ 0xb1, 1, 0x00, 0xcb, 0xc3 }, 5);
	assert_int_equal(interpret(f->vcpu), VCPU_EXIT_KICKED);
	assert_int_equal(f->vcpu->gpr[X86_RBX], 1 + 7);
}

/* The same code through two linear addresses: a write through one is seen through the other. */
static void modifies_through_an_alias(void **state)
{
	struct vcpu_fixture *f = *state;

	vcpu_fixture_enter(f, FIXTURE_LONG);
	vcpu_fixture_map(f, 0x40000000, FIXTURE_CODE + 0x1000, PTE_P | PTE_W);
	vcpu_fixture_map(f, 0x40001000, FIXTURE_CODE + 0x1000, PTE_P | PTE_W);
	vcpu_fixture_load(
		f, FIXTURE_CODE + 0x1000, (const uint8_t[]){ 0xb1, 1, 0x00, 0xcb, 0xc3 }, 5);
	/* mov esi, 0x40000000; mov edi, 0x40001000; call rsi; mov byte [rdi + 1], 7; call rsi */
	FIXTURE_LOAD_CODE(f, 0xbe, 0x00, 0x00, 0x00, 0x40, 0xbf, 0x00, 0x10, 0x00, 0x40, 0xff, 0xd6,
		0xc6, 0x47, 0x01, 0x07, 0xff, 0xd6, 0xf4);
	assert_true(vcpu_fixture_run(f, 20));
	assert_int_equal(f->vcpu->gpr[X86_RBX], 1 + 7);
}

/* An instruction whose bytes lie on two pages follows writes to either, and remapping. */
static void follows_both_pages_of_an_instruction(void **state)
{
	struct vcpu_fixture *f = *state;
	struct vcpu *vcpu = f->vcpu;
	gva_t start = FIXTURE_CODE + 0xffe;
	static const uint8_t code[] = { 0xb8, 0x11, 0x22, 0x33, 0x44 }; /* mov eax, 0x44332211 */

	vcpu_fixture_enter(f, FIXTURE_LONG);
	vcpu_fixture_load(f, start, code, sizeof(code));
	for (unsigned round = 0; round < 2; round++) {
		vcpu->rip = start;
		assert_int_equal(interpret_try(vcpu), -1);
		assert_int_equal(vcpu->gpr[X86_RAX], 0x44332211);
		assert_int_equal(vcpu->rip, start + 5);
	}
	vcpu_fixture_load(f, start + 4, "\x55", 1);
	vcpu->rip = start;
	assert_int_equal(interpret_try(vcpu), -1);
	assert_int_equal(vcpu->gpr[X86_RAX], 0x55332211);
	vcpu_fixture_load(f, start + 1, "\x66", 1);
	vcpu->rip = start;
	assert_int_equal(interpret_try(vcpu), -1);
	assert_int_equal(vcpu->gpr[X86_RAX], 0x55332266);

	memset(f->ram + 0x300000, 0x77, 16);
	vcpu_fixture_map(f, FIXTURE_CODE + 0x1000, 0x300000, PTE_P | PTE_W);
	vcpu->rip = start;
	assert_int_equal(interpret_try(vcpu), -1);
	assert_int_equal(vcpu->gpr[X86_RAX], 0x77777766);

	vcpu_fixture_map(f, FIXTURE_CODE + 0x1000, 0, 0);
	vcpu->rip = start;
	assert_int_equal(interpret_try(vcpu), X86_PF);
	assert_int_equal(vcpu->cr2, FIXTURE_CODE + 0x1000);
}

/* Data in a page of code, but not in its lines, leaves the code alone. */
static void keeps_code_beside_data(void **state)
{
	struct vcpu_fixture *f = *state;
	gpa_t data = FIXTURE_CODE + 0x800;

	vcpu_fixture_enter(f, FIXTURE_LONG);
	FIXTURE_LOAD_CODE(f, 0x90, 0xf4);
	assert_true(vcpu_fixture_run(f, 2));
	assert_true(code_pages_is_code(&f->engine, FIXTURE_CODE));
	assert_false(code_pages_written(&f->engine, data, 8));
	assert_true(code_pages_is_code(&f->engine, FIXTURE_CODE));
	assert_true(code_pages_written(&f->engine, FIXTURE_CODE + 1, 1));
	assert_false(code_pages_is_code(&f->engine, FIXTURE_CODE));
}

/*
 * Two calls lead to a function that changes while another write has just taken its page out of the
 * code pages: both must find the new one.
 */
static void forgets_code_that_changed_unseen(void **state)
{
	struct vcpu_fixture *f = *state;
	struct vcpu *vcpu = f->vcpu;

	vcpu_fixture_enter(f, FIXTURE_LONG);
	/* function: mov eax, 3; ret */
	vcpu_fixture_load(f, FIXTURE_CODE + 0x100, "\xb8\x03\0\0\0\xc3", 6);
	/* other: nop; ret */
	vcpu_fixture_load(f, FIXTURE_CODE + 0x80, "\x90\xc3", 2);
	vcpu->gpr[X86_RBX] = 0;
	vcpu->gpr[X86_RCX] = 2;
	vcpu->gpr[X86_RDI] = FIXTURE_STOP;
	FIXTURE_LOAD_CODE(f, 0xe8, 0x7b, 0x00, 0x00, 0x00,      /* call other */
		0xe8, 0xf6, 0x00, 0x00, 0x00, 0x01, 0xc3,       /* call function; add ebx, eax */
		0xe8, 0xef, 0x00, 0x00, 0x00, 0x01, 0xc3,       /* call function; add ebx, eax */
		0xff, 0xc9, 0x74, 0x12,                         /* dec ecx; jz stop */
		0xc6, 0x04, 0x25, 0x80, 0x00, 0x10, 0x00, 0x90, /* mov byte [other], 0x90 */
		0xc6, 0x04, 0x25, 0x01, 0x01, 0x10, 0x00, 0x05, /* mov byte [function + 1], 5 */
		0xeb, 0xda,                                     /* jmp to the first call function */
		0x88, 0x07);                                    /* stop: mov [rdi], al */
	assert_int_equal(interpret(vcpu), VCPU_EXIT_KICKED);
	assert_int_equal(vcpu->gpr[X86_RBX], 3 + 3 + 5 + 5);
}

static void handler_at(struct vcpu_fixture *f, unsigned vector, gva_t address)
{
	vcpu_fixture_gate(f, vector, FIXTURE_CS64, address, SEG_TYPE_INT, 0, 0);
	vcpu_fixture_load(f, address, "\xf4", 1);
}

#define HANDLER 0x180000

static void single_steps(void **state)
{
	struct vcpu_fixture *f = *state;
	struct vcpu *vcpu = f->vcpu;
	uint64_t frame[5];

	vcpu_fixture_enter(f, FIXTURE_LONG);
	handler_at(f, X86_DB, HANDLER);
	vcpu->segment[X86_DS].selector = FIXTURE_DS;
	/* pushf; or dword [rsp], 0x100; popf; nop; nop */
	FIXTURE_LOAD_CODE(f, 0x9c, 0x81, 0x0c, 0x24, 0x00, 0x01, 0x00, 0x00, 0x9d, 0x90, 0x90);
	assert_true(vcpu_fixture_run(f, 20));
	/* The instruction after POPF is the first to trap. */
	memcpy(frame, f->ram + vcpu->gpr[X86_RSP], sizeof(frame));
	assert_int_equal(frame[0], FIXTURE_CODE + 10);
	assert_true(frame[2] & RFLAGS_TF);
	assert_false(frame[2] & RFLAGS_RF);
	assert_false(vcpu->flags_system & RFLAGS_TF);
	assert_int_equal(vcpu->dr6, DR6_ONES | DR6_BS);
}

/* MOV SS holds a trap back until after the next instruction. */
static void single_step_waits_for_mov_ss(void **state)
{
	struct vcpu_fixture *f = *state;
	struct vcpu *vcpu = f->vcpu;
	uint64_t rip;

	vcpu_fixture_enter(f, FIXTURE_LONG);
	handler_at(f, X86_DB, HANDLER);
	vcpu->gpr[X86_RAX] = FIXTURE_DS;
	vcpu_set_rflags(vcpu, RFLAGS_TF);
	FIXTURE_LOAD_CODE(f, 0x8e, 0xd0, 0x90, 0x90); /* mov ss, eax; nop; nop */
	assert_true(vcpu_fixture_run(f, 20));
	memcpy(&rip, f->ram + vcpu->gpr[X86_RSP], 8);
	assert_int_equal(rip, FIXTURE_CODE + 3);
}

static void breaks_on_instructions(void **state)
{
	struct vcpu_fixture *f = *state;
	struct vcpu *vcpu = f->vcpu;
	uint64_t frame[5];

	vcpu_fixture_enter(f, FIXTURE_LONG);
	handler_at(f, X86_DB, HANDLER);
	vcpu->dr[2] = FIXTURE_CODE + 1;
	vcpu->dr7 |= BIT(4);
	FIXTURE_LOAD_CODE(f, 0x90, 0x90, 0x90, 0xf4);
	assert_true(vcpu_fixture_run(f, 20));
	memcpy(frame, f->ram + vcpu->gpr[X86_RSP], sizeof(frame));
	assert_int_equal(frame[0], FIXTURE_CODE + 1);
	assert_int_equal(vcpu->dr6, DR6_ONES | BIT(2));
	/* With RF the instruction runs, and RF is gone after it. */
	vcpu->rip = FIXTURE_CODE + 1;
	vcpu_set_rflags(vcpu, RFLAGS_RF);
	assert_true(interpret_step(vcpu));
	assert_int_equal(vcpu->rip, FIXTURE_CODE + 2);
	assert_false(vcpu->flags_system & RFLAGS_RF);
}

static void breaks_on_data(void **state)
{
	struct vcpu_fixture *f = *state;
	struct vcpu *vcpu = f->vcpu;
	uint64_t rip;

	vcpu_fixture_enter(f, FIXTURE_LONG);
	handler_at(f, X86_DB, HANDLER);
	vcpu->dr[0] = 0x200004;
	vcpu->dr7 |= BIT(0) | UINT64_C(0xd) << 16; /* four bytes, writes */
	mmu_update_mode(vcpu);
	vcpu->gpr[X86_RBX] = 0x200000;
	/* mov rax, [rbx]; mov [rbx], eax; mov [rbx + 6], al; nop */
	FIXTURE_LOAD_CODE(f, 0x48, 0x8b, 0x03, 0x89, 0x03, 0x88, 0x43, 0x06, 0x90, 0xf4);
	assert_true(vcpu_fixture_run(f, 20));
	memcpy(&rip, f->ram + vcpu->gpr[X86_RSP], 8);
	/* A trap: after the instruction. Reads and the neighbour do not count. */
	assert_int_equal(rip, FIXTURE_CODE + 8);
	assert_int_equal(vcpu->dr6, DR6_ONES | BIT(0));
}

static void detects_access_to_debug_registers(void **state)
{
	struct vcpu_fixture *f = *state;
	struct vcpu *vcpu = f->vcpu;

	vcpu_fixture_enter(f, FIXTURE_LONG);
	vcpu->dr7 |= DR7_GD;
	FIXTURE_LOAD_CODE(f, 0x0f, 0x21, 0xf0); /* mov rax, dr6 */
	assert_int_equal(interpret_try(vcpu), X86_DB);
	assert_int_equal(vcpu->dr6, DR6_ONES | DR6_BD);
	assert_false(vcpu->dr7 & DR7_GD);
	assert_int_equal(interpret_try(vcpu), -1);
	/* DR4 is DR6 unless CR4.DE says that it is not there. */
	vcpu->rip = FIXTURE_CODE;
	FIXTURE_LOAD_CODE(f, 0x0f, 0x21, 0xe1); /* mov rcx, dr4 */
	assert_int_equal(interpret_try(vcpu), -1);
	assert_int_equal(vcpu->gpr[X86_RCX], vcpu->dr6);
	vcpu->rip = FIXTURE_CODE;
	vcpu->cr4 |= CR4_DE;
	assert_int_equal(interpret_try(vcpu), X86_UD);
}

/* NMI and interrupts wait for the instruction after MOV SS; interrupts for that after STI. */
static void holds_events_in_shadows(void **state)
{
	struct vcpu_fixture *f = *state;
	struct vcpu *vcpu = f->vcpu;

	vcpu_fixture_enter(f, FIXTURE_LONG);
	handler_at(f, X86_NMI, HANDLER);
	vcpu->gpr[X86_RAX] = FIXTURE_DS;
	FIXTURE_LOAD_CODE(f, 0x8e, 0xd0, 0x90, 0x90);
	interpret_step(vcpu);
	atomic_fetch_or(&vcpu->requests, REQUEST_NMI);
	interpret_step(vcpu);
	assert_int_equal(vcpu->rip, FIXTURE_CODE + 3);
	interpret_step(vcpu);
	assert_int_equal(vcpu->rip, HANDLER);
	assert_true(vcpu->nmi_blocked);
	/* A second one waits for IRET. */
	atomic_fetch_or(&vcpu->requests, REQUEST_NMI);
	vcpu_fixture_load(f, HANDLER, "\x90\x48\xcf", 3); /* nop; iretq */
	interpret_step(vcpu);
	assert_int_equal(vcpu->rip, HANDLER + 1);
	interpret_step(vcpu);
	assert_int_equal(vcpu->rip, FIXTURE_CODE + 3);
	assert_false(vcpu->nmi_blocked);
	interpret_step(vcpu);
	assert_int_equal(vcpu->rip, HANDLER);
}

/* An NMI between two iterations of REP STOSB: the frame has RF, so that a breakpoint on it is not
 * hit again, and RCX what is left. */
static void interrupts_a_repetition(void **state)
{
	struct vcpu_fixture *f = *state;
	struct vcpu *vcpu = f->vcpu;
	uint64_t frame[5];

	vcpu_fixture_enter(f, FIXTURE_LONG);
	handler_at(f, X86_NMI, HANDLER);
	vcpu_fixture_load(f, HANDLER, "\x88\x03\xeb\xfe", 4); /* mov [rbx], al; jmp $ */
	vcpu->gpr[X86_RBX] = FIXTURE_STOP;
	vcpu->gpr[X86_RCX] = 0x100000;
	vcpu->gpr[X86_RDI] = 0x200000;
	FIXTURE_LOAD_CODE(f, 0x90, 0xf3, 0xaa, 0xf4);
	assert_int_equal(interpret_try(vcpu), -1);
	assert_int_equal(interpret_try(vcpu), -1);
	assert_int_equal(vcpu->rip, FIXTURE_CODE + 1);
	vcpu->flags_system &= ~RFLAGS_RF;
	/* A device's write in the middle kicks; the NMI comes with it. */
	vcpu->gpr[X86_RDI] = FIXTURE_STOP;
	assert_int_equal(interpret(vcpu), VCPU_EXIT_KICKED);
	assert_true(vcpu->flags_system & RFLAGS_RF);
	atomic_fetch_or(&vcpu->requests, REQUEST_NMI);
	assert_int_equal(interpret(vcpu), VCPU_EXIT_KICKED);
	memcpy(frame, f->ram + vcpu->gpr[X86_RSP], sizeof(frame));
	assert_int_equal(frame[0], FIXTURE_CODE + 1);
	assert_true(frame[2] & RFLAGS_RF);
	assert_in_range(vcpu->gpr[X86_RCX], 1, 0x100000 - 1);
}

/* Running off the end of a 64 KiB code segment is #GP, not a wrap to its start. */
static void stops_at_the_code_limit(void **state)
{
	struct vcpu_fixture *f = *state;
	struct vcpu *vcpu = f->vcpu;

	vcpu_fixture_enter(f, FIXTURE_REAL);
	vcpu->rip = 0xfffe;
	FIXTURE_LOAD_CODE(f, 0x90, 0x90, 0x90);
	assert_int_equal(interpret_try(vcpu), -1);
	assert_int_equal(interpret_try(vcpu), -1);
	assert_int_equal(interpret_try(vcpu), X86_GP);
	/* An instruction that straddles the limit does not run either. */
	vcpu->rip = 0xffff;
	FIXTURE_LOAD_CODE(f, 0xb0, 0x01);
	assert_int_equal(interpret_try(vcpu), X86_GP);
	vcpu->rip = 0xfffe;
	FIXTURE_LOAD_CODE(f, 0xeb, 0x7f); /* jmp +127: IP wraps to 16 bits */
	assert_int_equal(interpret_try(vcpu), -1);
	assert_int_equal(vcpu->rip, 0x7f);
}

static void refuses_what_does_not_decode(void **state)
{
	struct vcpu_fixture *f = *state;
	struct vcpu *vcpu = f->vcpu;

	vcpu_fixture_enter(f, FIXTURE_LONG);
	FIXTURE_LOAD_CODE(f, 0x0f, 0x0b);
	assert_int_equal(interpret_try(vcpu), X86_UD);
	FIXTURE_LOAD_CODE(f, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66,
		0x66, 0x66, 0x66, 0x90);
	assert_int_equal(interpret_try(vcpu), X86_GP);
	vcpu->rip = UINT64_C(0x800000000000);
	assert_int_equal(interpret_try(vcpu), X86_GP);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(runs_in_long_mode),
		cmocka_unit_test(runs_in_protected_mode),
		cmocka_unit_test(runs_in_real_mode),
		cmocka_unit_test(loops),
		cmocka_unit_test(modifies_the_next_instruction),
		cmocka_unit_test(modifies_another_page),
		cmocka_unit_test(modifies_through_an_alias),
		cmocka_unit_test(follows_both_pages_of_an_instruction),
		cmocka_unit_test(keeps_code_beside_data),
		cmocka_unit_test(forgets_code_that_changed_unseen),
		cmocka_unit_test(single_steps),
		cmocka_unit_test(single_step_waits_for_mov_ss),
		cmocka_unit_test(breaks_on_instructions),
		cmocka_unit_test(breaks_on_data),
		cmocka_unit_test(detects_access_to_debug_registers),
		cmocka_unit_test(holds_events_in_shadows),
		cmocka_unit_test(interrupts_a_repetition),
		cmocka_unit_test(stops_at_the_code_limit),
		cmocka_unit_test(refuses_what_does_not_decode),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
