/*
 * The translator on small programs: loops, memory, faults, self-modifying code, signals.
 */
#include "engine/soft/apic.h"
#include "engine/soft/code_pages.h"
#include "engine/soft/translator.h"
#include "engine/soft/vcpu_fixture.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <string.h>
#include <unistd.h>

static struct vcpu_fixture fixture;

static int setup(void **state)
{
	struct error err = { 0 };

	vcpu_fixture_create(&fixture, 32);
	fixture.engine.mode = SOFT_MODE_TRANSLATE;
	fixture.vcpu->timer_deadline_tsc = UINT64_MAX;
	assert_int_equal(translate_create(&fixture.engine, 0, &err), 0);
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

/* The fault's handler returns to the exit; some hosts do not return to such a stack. */
static void faults_with_a_stack_that_is_not_canonical(void **state)
{
	struct vcpu_fixture *f = *state;

	vcpu_fixture_enter(f, FIXTURE_LONG);
	/* mov rsp, 0x123456789abcdef; xor ecx, ecx; mov eax, 1; xor edx, edx; div ecx */
	FIXTURE_LOAD_CODE(f, 0x48, 0xbc, 0xef, 0xcd, 0xab, 0x89, 0x67, 0x45, 0x23, 0x01, 0x31, 0xc9,
		0xb8, 0x01, 0x00, 0x00, 0x00, 0x31, 0xd2, 0xf7, 0xf1, STOP);
	for (unsigned i = 0; i < 3; i++) {
		f->vcpu->rip = FIXTURE_CODE;
		assert_int_equal(translate_try(f->vcpu, BLOCK_MAX_INSNS), X86_DE);
		assert_int_equal(f->vcpu->gpr[X86_RSP], 0x123456789abcdef);
		assert_int_equal(f->vcpu->rip, FIXTURE_CODE + 19);
	}
	assert_true(f->vcpu->translate.translator->counters.faults > 0);
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

/* REP MOVSW and REP STOSB of any length that end before, at and behind a page's end. */
/* The operand and the stack have one place in the TLB: each takes it from the other. */
static void accesses_in_each_others_way(void **state)
{
	struct vcpu_fixture *f = *state;

	vcpu_fixture_enter(f, FIXTURE_LONG);
	/* mov rsp, 0x200800; mov ecx, 100; 1: push qword [0x1200000]; dec ecx; jnz 1b */
	FIXTURE_LOAD_CODE(f, 0x48, 0xc7, 0xc4, 0x00, 0x08, 0x20, 0x00, 0xb9, 0x64, 0x00, 0x00, 0x00,
		0xff, 0x34, 0x25, 0x00, 0x00, 0x20, 0x01, 0xff, 0xc9, 0x75, 0xf5, STOP);
	memset(f->ram + 0x1200000, 0x5a, 8);
	for (unsigned i = 0; i < 3; i++) {
		f->vcpu->rip = FIXTURE_CODE;
		alarm(20); /* it went on for ever */
		run(f);
		alarm(0);
		assert_int_equal(f->vcpu->gpr[X86_RSP], 0x200800 - 800);
		assert_memory_equal(f->ram + 0x200800 - 800, f->ram + 0x1200000, 8);
	}
}

static void strings_cross_pages(void **state)
{
	struct vcpu_fixture *f = *state;

	vcpu_fixture_enter(f, FIXTURE_LONG);
	/* rep movsw; mov ecx, ebp; rep stosb */
	FIXTURE_LOAD_CODE(f, 0x66, 0xf3, 0xa5, 0x89, 0xe9, 0xf3, 0xaa, STOP);
	for (unsigned n = 0; n < 3000; n++) {
		unsigned words = n % 7 ? n % 40 : n, bytes = n % 50;
		gva_t from = 0x202000 - n % 61, to = 0x301000 - n % 53;
		uint8_t *written = f->ram + to;

		for (unsigned i = 0; i < 2 * words; i++)
			f->ram[from + i] = (uint8_t)(i + n);
		memset(written, 0x55, 2 * words + bytes + 1);
		f->vcpu->rip = FIXTURE_CODE;
		f->vcpu->gpr[X86_RSI] = from;
		f->vcpu->gpr[X86_RDI] = to;
		f->vcpu->gpr[X86_RCX] = words;
		f->vcpu->gpr[X86_RBP] = bytes;
		f->vcpu->gpr[X86_RAX] = 0xab;
		run(f);
		assert_int_equal(f->vcpu->gpr[X86_RCX], 0);
		assert_int_equal(f->vcpu->gpr[X86_RSI], from + 2 * words);
		assert_int_equal(f->vcpu->gpr[X86_RDI], to + 2 * words + bytes);
		assert_memory_equal(written, f->ram + from, 2 * words);
		for (unsigned i = 0; i < bytes; i++)
			assert_int_equal(written[2 * words + i], 0xab);
		assert_int_equal(written[2 * words + bytes], 0x55);
	}
}

/* Overlapping ones, too, as Linux moves itself up when it starts. */
static void strings_descend(void **state)
{
	enum { AT = 0x200000, SIZE = 0x4000 };
	static uint8_t expected[SIZE];
	struct vcpu_fixture *f = *state;
	uint8_t *memory = f->ram + AT;

	vcpu_fixture_enter(f, FIXTURE_LONG);
	/* std; rep movsw; mov ecx, ebp; rep stosd; cld */
	FIXTURE_LOAD_CODE(f, 0xfd, 0x66, 0xf3, 0xa5, 0x89, 0xe9, 0xf3, 0xab, 0xfc, STOP);
	for (unsigned n = 0; n < 2000; n++) {
		unsigned words = n % 7 ? n % 40 : n, doublewords = n % 50;
		unsigned from = 0x3000 - n % 61, to = n % 3 ? 0x3000 + n % 53 : 0x2000 + n % 2000;
		unsigned source = from, target = to;

		for (unsigned i = 0; i < SIZE; i++)
			memory[i] = expected[i] = (uint8_t)(i * 7 + n);
		for (unsigned i = 0; i < words; i++, source -= 2, target -= 2)
			memcpy(&expected[target], &expected[source], 2);
		for (unsigned i = 0; i < doublewords; i++, target -= 4)
			memset(&expected[target], 0xab, 4);
		f->vcpu->rip = FIXTURE_CODE;
		f->vcpu->gpr[X86_RSI] = AT + from;
		f->vcpu->gpr[X86_RDI] = AT + to;
		f->vcpu->gpr[X86_RCX] = words;
		f->vcpu->gpr[X86_RBP] = doublewords;
		f->vcpu->gpr[X86_RAX] = 0xabababab;
		run(f);
		assert_int_equal(f->vcpu->gpr[X86_RCX], 0);
		assert_int_equal(f->vcpu->gpr[X86_RSI], AT + source);
		assert_int_equal(f->vcpu->gpr[X86_RDI], AT + target);
		assert_memory_equal(memory, expected, SIZE);
	}
}

/* One that faults in its second page has done the first. */
static void strings_stop_at_a_fault(void **state)
{
	struct vcpu_fixture *f = *state;

	vcpu_fixture_enter(f, FIXTURE_LONG);
	vcpu_fixture_map(f, 0x301000, 0x301000, 0);
	vcpu_fixture_gate(f, X86_PF, FIXTURE_CS64, FIXTURE_CODE + 0x100, SEG_TYPE_INT, 0, 0);
	FIXTURE_LOAD_CODE(f, 0xf3, 0xaa, STOP); /* rep stosb */
	f->vcpu->rip = FIXTURE_CODE + 0x100;
	FIXTURE_LOAD_CODE(f, 0x41, 0x5a, STOP); /* pop r10 */
	f->vcpu->rip = FIXTURE_CODE;
	f->vcpu->gpr[X86_RDI] = 0x300f00;
	f->vcpu->gpr[X86_RCX] = 0x180;
	run(f);
	assert_int_equal(f->vcpu->gpr[X86_R10], PF_WRITE);
	assert_int_equal(f->vcpu->cr2, 0x301000);
	assert_int_equal(f->vcpu->gpr[X86_RDI], 0x301000);
	assert_int_equal(f->vcpu->gpr[X86_RCX], 0x80);
	vcpu_fixture_map(f, 0x301000, 0x301000, PTE_P | PTE_W | PTE_U);
}

static void bit_strings_reach_everywhere(void **state)
{
	struct vcpu_fixture *f = *state;

	vcpu_fixture_enter(f, FIXTURE_LONG);
	memset(f->ram + 0x200000, 0, 0x4000);
	/* bts [rbx], r11; setc al; lock btr [rbx], r11; setc ah; btc [rbx], r11d; setc cl */
	FIXTURE_LOAD_CODE(f, 0x4c, 0x0f, 0xab, 0x1b, 0x0f, 0x92, 0xc0, 0xf0, 0x4c, 0x0f, 0xb3, 0x1b,
		0x0f, 0x92, 0xc4, 0x44, 0x0f, 0xbb, 0x1b, 0x0f, 0x92, 0xc1, STOP);
	for (int bit = -40000; bit < 40000; bit += 997) {
		gva_t at = 0x202000 + (uint64_t)(int64_t)(bit >> 3);

		f->vcpu->rip = FIXTURE_CODE;
		f->vcpu->gpr[X86_RBX] = 0x202000;
		f->vcpu->gpr[X86_R11] = (uint64_t)(int64_t)bit;
		run(f);
		assert_int_equal(f->vcpu->gpr[X86_RAX] & 0xffff, 0x100);
		assert_int_equal(f->vcpu->gpr[X86_RCX] & 0xff, 0);
		assert_int_equal(f->ram[at], 1 << (bit & 7));
		f->ram[at] = 0;
	}
}

/*
 * SYSRET to ring 3, SYSCALL from there, again and again: what each leaves, by SDM 2, and the
 * alignment flag, which translated code leaves to the interpreter.
 */
static void system_calls_and_returns(void **state)
{
	struct vcpu_fixture *f = *state;
	struct vcpu *vcpu = f->vcpu;
	const gva_t user = FIXTURE_CODE + 0x1000;

	vcpu_fixture_enter(f, FIXTURE_LONG);
	vcpu->efer |= EFER_SCE;
	vcpu->star = (uint64_t)0x18 << 48 | (uint64_t)FIXTURE_CS64 << 32;
	vcpu->lstar = FIXTURE_CODE + 0x20;
	vcpu->sfmask = RFLAGS_IF | RFLAGS_DF | RFLAGS_AC | RFLAGS_TF;
	/* 1: mov ecx, user; mov r11d, ebp; sysretq */
	FIXTURE_LOAD_CODE(f, 0xb9, 0, 0x10, 0x10, 0, 0x41, 0x89, 0xeb, 0x48, 0x0f, 0x07);
	vcpu->rip = vcpu->lstar;
	/* mov r12, rcx; mov r13, r11; mov r14d, ss; dec edi; jnz 1b */
	FIXTURE_LOAD_CODE(f, 0x49, 0x89, 0xcc, 0x4d, 0x89, 0xdd, 0x41, 0x8c, 0xd6, 0xff, 0xcf, 0x75,
		0xd3, STOP);
	vcpu->rip = user;
	/* inc ebx; mov r15d, ss; stc; syscall */
	FIXTURE_LOAD_CODE(f, 0xff, 0xc3, 0x41, 0x8c, 0xd7, 0xf9, 0x0f, 0x05);
	for (unsigned ac = 0; ac < 2; ac++) {
		vcpu->rip = FIXTURE_CODE;
		vcpu->gpr[X86_RDI] = 1000;
		vcpu->gpr[X86_RBX] = 0;
		vcpu->gpr[X86_RBP] = RFLAGS_DF | RFLAGS_OF | RFLAGS_ID | (ac ? RFLAGS_AC : 0);
		run(f);
		assert_int_equal(vcpu->gpr[X86_RBX], 1000);
		assert_int_equal(vcpu->gpr[X86_R12], user + 8);
		/* INC cleared OF; STC set CF; PF and the like are those of the last count, 1000. */
		assert_int_equal(vcpu->gpr[X86_R13] & ~(RFLAGS_PF | RFLAGS_AF),
			RFLAGS_ONE | RFLAGS_DF | RFLAGS_ID | RFLAGS_CF | (ac ? RFLAGS_AC : 0));
		assert_int_equal(vcpu->gpr[X86_R14], FIXTURE_CS64 + 8);
		assert_int_equal(vcpu->gpr[X86_R15], 0x18 + 8 + 3);
		assert_int_equal(vcpu->mode.cpl, 0);
		assert_int_equal(vcpu->segment[X86_CS].selector, FIXTURE_CS64);
		assert_true(vcpu->segment[X86_CS].attributes & SEG_L);
		assert_int_equal(
			vcpu->flags_system & (RFLAGS_DF | RFLAGS_AC | RFLAGS_ID), RFLAGS_ID);
	}
}

static void load_iret(struct vcpu_fixture *f)
{
	struct vcpu *vcpu = f->vcpu;

	vcpu_fixture_enter(f, FIXTURE_LONG);
	vcpu->star = (uint64_t)FIXTURE_CS64 << 32;
	vcpu->lstar = FIXTURE_CODE + 0x20;
	vcpu->gpr[X86_RSI] = vcpu->gpr[X86_RSP];
	vcpu->gpr[X86_R8] = FIXTURE_CODE + 0x1000;
	vcpu->gpr[X86_R9] = FIXTURE_STACK3;
	vcpu->rip = FIXTURE_CODE;
	/* 1: push SS; push r9; push rbp; push CS; push r8; iretq */
	FIXTURE_LOAD_CODE(f, 0x6a, FIXTURE_DS_3, 0x41, 0x51, 0x55, 0x6a, FIXTURE_CS64_3, 0x41, 0x50,
		0x48, 0xcf);
	vcpu->rip = vcpu->lstar;
	/* mov r12, rcx; mov r13, r11; mov r14, rsp; mov rsp, rsi; dec edi; jnz 1b */
	FIXTURE_LOAD_CODE(f, 0x49, 0x89, 0xcc, 0x4d, 0x89, 0xdd, 0x49, 0x89, 0xe6, 0x48, 0x89, 0xf4,
		0xff, 0xcf, 0x75, 0xd0, STOP);
	vcpu->rip = vcpu->gpr[X86_R8];
	/* inc ebx; mov r15d, ss; stc; syscall */
	FIXTURE_LOAD_CODE(f, 0xff, 0xc3, 0x41, 0x8c, 0xd7, 0xf9, 0x0f, 0x05);
	vcpu->rip = FIXTURE_CODE;
}

/* IRET to ring 3, SYSCALL from there, again and again. */
static void interrupts_return(void **state)
{
	struct vcpu_fixture *f = *state;
	struct vcpu *vcpu = f->vcpu;

	for (unsigned ac = 0; ac < 2; ac++) {
		uint64_t entries = vcpu->translate.translator->counters.entries;

		load_iret(f);
		vcpu->gpr[X86_RDI] = 1000;
		vcpu->gpr[X86_RBX] = 0;
		vcpu->gpr[X86_RBP] = RFLAGS_DF | RFLAGS_OF | RFLAGS_RF | (ac ? RFLAGS_AC : 0);
		run(f);
		assert_int_equal(vcpu->gpr[X86_RBX], 1000);
		assert_int_equal(vcpu->gpr[X86_R12], FIXTURE_CODE + 0x1008);
		assert_int_equal(vcpu->gpr[X86_R13] & ~(RFLAGS_PF | RFLAGS_AF),
			RFLAGS_ONE | RFLAGS_DF | RFLAGS_CF | (ac ? RFLAGS_AC : 0));
		assert_int_equal(vcpu->gpr[X86_R14], FIXTURE_STACK3);
		assert_int_equal(vcpu->gpr[X86_R15], FIXTURE_DS_3);
		/* DPL 0: dropped by the first one. */
		assert_true(vcpu->segment[X86_DS].attributes & SEG_UNUSABLE);
		entries = vcpu->translate.translator->counters.entries - entries;
		assert_true(ac ? entries >= 1000 : entries < 100);
	}
}

static void interrupt_returns_are_checked(void **state)
{
	struct vcpu_fixture *f = *state;

	for (unsigned bad = 0; bad < 4; bad++) {
		load_iret(f);
		f->vcpu->gpr[X86_RDI] = 3;
		f->vcpu->gpr[X86_RBP] = 0;
		run(f);
		f->vcpu->rip = FIXTURE_CODE;
		f->vcpu->gpr[X86_RDI] = 3;
		switch (bad) {
		case 0: f->vcpu->gpr[X86_R8] = BIT(47); break;
		case 1: f->vcpu->gdtr.limit = FIXTURE_CS64_3; break;
		case 2: f->ram[FIXTURE_GDT + (FIXTURE_DS_3 & ~7) + 5] &= 0x7f; break; /* P */
		case 3: vcpu_set_rflags(f->vcpu, RFLAGS_NT); break;
		}
		assert_int_equal(
			translate_try(f->vcpu, BLOCK_MAX_INSNS), bad == 2 ? X86_SS_FAULT : X86_GP);
		assert_int_equal(f->vcpu->rip, FIXTURE_CODE + 9);
		assert_int_equal(f->vcpu->gpr[X86_RSP], f->vcpu->gpr[X86_RSI] - 40);
		assert_int_equal(f->vcpu->mode.cpl, 0);
	}
}

/* Code of 32 bits is interpreted, and its timer is the ticker's nevertheless. */
static void the_timer_interrupts_code_that_is_not_translated(void **state)
{
	struct vcpu_fixture *f = *state;

	vcpu_fixture_enter(f, FIXTURE_PROTECTED);
	vcpu_fixture_gate(f, 0x31, FIXTURE_CS32, FIXTURE_CODE + 0x100, SEG_TYPE_INT, 0, 0);
	f->vcpu->rip = FIXTURE_CODE + 0x100;
	FIXTURE_LOAD_CODE(f, STOP);
	f->vcpu->rip = FIXTURE_CODE;
	FIXTURE_LOAD_CODE(f, 0xeb, 0xfe); /* jmp $ */
	f->vcpu->apic_base = APIC_DEFAULT_BASE | APIC_BASE_ENABLE;
	apic_mmio_write(f->vcpu, 0xf0, 0x1ff);
	apic_mmio_write(f->vcpu, 0x320, 0x31);
	apic_mmio_write(f->vcpu, 0x3e0, 0xb);
	apic_mmio_write(f->vcpu, 0x380, 1000000);
	f->vcpu->flags_system |= RFLAGS_IF;
	run(f);
	assert_int_equal(f->vcpu->segment[X86_CS].selector, FIXTURE_CS32);
	f->vcpu->timer_deadline_tsc = UINT64_MAX;
}

/* lea rax, [rip - 7]; mov rbx, [data]; inc qword [data + 8]; call 0x100b; lea r10, [0x1010]; call
 * r10; mov ecx, 3; 1: add rdi, [data + 16]; dec ecx; jnz 1b; jmp 0xffd */
static const uint8_t moving_start[] = { 0x48, 0x8d, 0x05, 0xf9, 0xff, 0xff, 0xff, 0x48, 0x8b, 0x1d,
	0xf2, 0x1f, 0x00, 0x00, 0x48, 0xff, 0x05, 0xf3, 0x1f, 0x00, 0x00, 0xe8, 0xf1, 0x0f, 0x00,
	0x00, 0x4c, 0x8d, 0x15, 0xef, 0x0f, 0x00, 0x00, 0x41, 0xff, 0xd2, 0xb9, 0x03, 0x00, 0x00,
	0x00, 0x48, 0x03, 0x3d, 0xe0, 0x1f, 0x00, 0x00, 0xff, 0xc9, 0x75, 0xf5, 0xe9, 0xc4, 0x0f,
	0x00, 0x00 };
/* At 0xffd: mov ebp, 0x12345678; STOP; 0x100b: mov rsi, [rsp]; ret; 0x1010: mov r12, [rsp];
 * push r12; pop r13; ret */
static const uint8_t moving_end[] = { 0xbd, 0x78, 0x56, 0x34, 0x12, STOP, 0x48, 0x8b, 0x34, 0x24,
	0xc3, 0x4c, 0x8b, 0x24, 0x24, 0x41, 0x54, 0x41, 0x5d, 0xc3 };

#define MOVING_DATA  (FIXTURE_CODE + 0x2000)
#define MOVING_PAGES 3

static void load_moving(struct vcpu_fixture *f)
{
	const uint64_t data[] = { 0x1111, 0, 7 };

	vcpu_fixture_enter(f, FIXTURE_LONG);
	vcpu_fixture_load(f, FIXTURE_CODE, moving_start, sizeof(moving_start));
	vcpu_fixture_load(f, FIXTURE_CODE + 0xffd, moving_end, sizeof(moving_end));
	vcpu_fixture_load(f, MOVING_DATA, data, sizeof(data));
}

static void map_moving(struct vcpu_fixture *f, gva_t place, uint64_t flags)
{
	for (unsigned i = 0; i < MOVING_PAGES; i++)
		vcpu_fixture_map(
			f, place + i * GUEST_PAGE_SIZE, FIXTURE_CODE + i * GUEST_PAGE_SIZE, flags);
}

/* The code at `place`, where its pages are mapped meanwhile. */
static void run_moving(struct vcpu_fixture *f, gva_t place, uint32_t immediate)
{
	uint64_t count = f->ram[MOVING_DATA + 8];

	map_moving(f, place, PTE_P | PTE_W | PTE_U);
	f->vcpu->rip = place;
	f->vcpu->gpr[X86_RSP] = 0x200800;
	f->vcpu->gpr[X86_RDI] = 0;
	run(f);
	assert_int_equal(f->vcpu->gpr[X86_RAX], place);
	assert_int_equal(f->vcpu->gpr[X86_RBX], 0x1111);
	assert_int_equal(f->ram[MOVING_DATA + 8], (uint8_t)(count + 1));
	assert_int_equal(f->vcpu->gpr[X86_RSI], place + 0x1a);
	assert_int_equal(f->vcpu->gpr[X86_R12], place + 0x24);
	assert_int_equal(f->vcpu->gpr[X86_R13], place + 0x24);
	assert_int_equal(f->vcpu->gpr[X86_RDI], 21);
	assert_int_equal(f->vcpu->gpr[X86_RBP], immediate);
	assert_int_equal(f->vcpu->gpr[X86_RSP], 0x200800);
	map_moving(f, place, 0);
}

/* As if it was long ago that the views were used. */
static void age_views(struct translator *translator)
{
	for (unsigned i = 0; i < translator->nr_views; i++)
		translator->views[i].mapped_at = 0;
}

static gva_t moving_place(unsigned n)
{
	return (UINT64_C(0x550000000000) + n * UINT64_C(0x1234567891000)) & BITS(46, 12);
}

static void translations_move(void **state)
{
	struct vcpu_fixture *f = *state;
	struct translator *translator = f->vcpu->translate.translator;
	uint64_t translated;

	load_moving(f);
	run_moving(f, moving_place(0), 0x12345678);
	translated = translator->counters.translated;
	for (unsigned n = 1; n < 40; n++) {
		uint64_t moved = translator->counters.moved;

		age_views(translator);
		run_moving(f, moving_place(n), 0x12345678);
		assert_int_equal(translator->counters.translated, translated);
		assert_int_equal(translator->counters.moved, moved + 2);
		/* And from a place to itself. */
		run_moving(f, moving_place(n), 0x12345678);
		assert_int_equal(translator->counters.moved, moved + 2);
	}
}

/* What is in use is translated anew elsewhere, and both hold. */
static void translations_in_use_do_not_move(void **state)
{
	struct vcpu_fixture *f = *state;
	struct translator *translator = f->vcpu->translate.translator;
	uint64_t translated = 0, moved = translator->counters.moved, hz = f->model.tsc_hz;

	load_moving(f);
	translator_flush(translator);
	/* However long the test takes. */
	f->model.tsc_hz = UINT64_C(1) << 53;
	for (unsigned n = 0; n < 20; n++) {
		run_moving(f, moving_place(n % 2), 0x12345678);
		if (n == 1)
			translated = translator->counters.translated;
	}
	f->model.tsc_hz = hz;
	assert_int_equal(translator->counters.moved, moved);
	assert_int_equal(translator->counters.translated, translated);
}

/* An instruction that crosses a page's end is looked at again where it has come to. */
static void moved_code_changes(void **state)
{
	struct vcpu_fixture *f = *state;
	struct translator *translator = f->vcpu->translate.translator;

	load_moving(f);
	for (unsigned n = 0; n < 20; n++) {
		uint32_t immediate = 0x345678 | n << 24;
		const uint8_t last = (uint8_t)n;

		vcpu_fixture_load(f, FIXTURE_CODE + 0x1001, &last, 1);
		run_moving(f, moving_place(n), immediate);
		age_views(translator);
		run_moving(f, moving_place(n + 1), immediate);
		age_views(translator);
	}
}

/* One that was given up for another is not taken up again when it is what is there. */
static void moved_code_changes_back(void **state)
{
	struct vcpu_fixture *f = *state;
	struct translator *translator = f->vcpu->translate.translator;

	load_moving(f);
	alarm(20); /* two led to each other */
	for (unsigned n = 0; n < 30; n++) {
		const uint8_t last = n & 1;

		vcpu_fixture_load(f, FIXTURE_CODE + 0x1001, &last, 1);
		run_moving(f, moving_place(n / 3), 0x345678 | (n & 1) << 24);
		if (n % 3 == 2) {
			age_views(translator);
			run_moving(f, moving_place(n / 3 + 1), 0x345678 | (n & 1) << 24);
		}
	}
	alarm(0);
}

/* A guest that starts programs for days comes to the last ID. */
static void ids_start_over(void **state)
{
	struct vcpu_fixture *f = *state;
	struct translator *translator = f->vcpu->translate.translator;
	uint64_t flushes = translator->counters.flushes;

	load_moving(f);
	translator->next_id = MAX_ID - 10;
	for (unsigned n = 0; n < 20; n++) {
		run_moving(f, moving_place(n), 0x12345678);
		age_views(translator);
	}
	assert_int_equal(translator->counters.flushes, flushes + 1);
	assert_true(translator->next_id < 100);
}

/* A quarter of the memory for all vCPUs, but neither little nor very much. */
static void code_has_its_share(void **state)
{
	struct vcpu_fixture *f = *state;
	struct ram_region *region = &f->machine.memory.regions[0];
	const uint64_t size = region->size;

	assert_int_equal(translator_code_bytes(&f->engine), 32u << 20);
	region->size = UINT64_C(1) << 30;
	assert_int_equal(translator_code_bytes(&f->engine), 128u << 20);
	f->machine.nr_vcpus = 5;
	assert_int_equal(translator_code_bytes(&f->engine), 51u << 20);
	f->machine.nr_vcpus = 64;
	assert_int_equal(translator_code_bytes(&f->engine), 32u << 20);
	f->machine.nr_vcpus = 1;
	region->size = size;
}

/* Writes elsewhere in the second page make no more translations of the instruction. */
static void crossing_code_is_revived(void **state)
{
	struct vcpu_fixture *f = *state;
	struct translator *translator = f->vcpu->translate.translator;
	uint64_t translated = 0;

	load_moving(f);
	translator_flush(translator);
	for (unsigned n = 0; n < 40; n++) {
		const uint8_t ret = 0xc3;
		uint32_t before = translator->nr_translations;

		vcpu_fixture_load(f, FIXTURE_CODE + 0x100f, &ret, 1);
		run_moving(f, moving_place(0), 0x12345678);
		/* The second page's own code is translated again, and nothing else. */
		if (n == 1)
			translated = translator->nr_translations - before;
		else if (n > 1)
			assert_int_equal(translator->nr_translations - before, translated);
	}
	for (uint32_t i = 0; i < translator->nr_translations; i++)
		assert_false(translator->translations[i].forwarded);
}

#define WINDOW       UINT64_C(0xffff888000000000)
#define WINDOW_PAGES 4
#define LARGE        UINT64_C(0x200000)

static void map_window(struct vcpu_fixture *f, unsigned page, unsigned at)
{
	vcpu_fixture_entry(f, WINDOW, 2)[page] =
		at * LARGE | PTE_P | PTE_W | PTE_A | PTE_D | PTE_G | PTE_PS;
}

/* At the next entry of one of its pages. */
static void open_window(struct vcpu_fixture *f)
{
	mmu_flush_all(f->vcpu);
	f->vcpu->tlb.window.next_tsc = 0;
	f->vcpu->tlb.window.fills = UINT_MAX - 1;
}

/* Reads two words at `address` and one below in translated code, 100 times. */
static void read_words(struct vcpu_fixture *f, gva_t address, uint64_t expected)
{
	f->vcpu->rip = FIXTURE_CODE;
	f->vcpu->gpr[X86_RSI] = address;
	/* mov ecx, 100; 1: mov rbx, [rsi]; mov rbp, [rsi + rcx*8 - 8]; mov r8, [rsi + 8];
	 * xor rbp, [rsi + rcx*8 - 8]; dec ecx; jnz 1b */
	FIXTURE_LOAD_CODE(f, 0xb9, 0x64, 0, 0, 0, 0x48, 0x8b, 0x1e, 0x48, 0x8b, 0x6c, 0xce, 0xf8,
		0x4c, 0x8b, 0x46, 0x08, 0x48, 0x33, 0x6c, 0xce, 0xf8, 0xff, 0xc9, 0x75, 0xeb, STOP);
	run(f);
	assert_int_equal(f->vcpu->gpr[X86_RBX], expected);
	assert_int_equal(f->vcpu->gpr[X86_R8], expected + 1);
	assert_int_equal(f->vcpu->gpr[X86_RBP], 0);
}

static void put_words(struct vcpu_fixture *f, gpa_t physical, uint64_t value)
{
	const uint64_t words[] = { value, value + 1 };

	vcpu_fixture_load(f, physical, words, sizeof(words));
}

/* The addresses are the window's, its last page's, which spans may not begin in, and others. */
static void reads_through_the_window(void **state)
{
	struct vcpu_fixture *f = *state;
	const gva_t end = WINDOW + WINDOW_PAGES * LARGE;

	vcpu_fixture_enter(f, FIXTURE_LONG);
	f->vcpu->cr4 |= CR4_PGE;
	for (unsigned i = 0; i < WINDOW_PAGES; i++) {
		map_window(f, i, 2 + i);
		put_words(f, (2 + i) * LARGE, 100 * i);
		put_words(f, (3 + i) * LARGE - 0x400, 200 * i);
	}
	open_window(f);
	read_words(f, WINDOW + LARGE, 100);
	assert_int_equal(f->vcpu->tlb.window.from, WINDOW);
	assert_int_equal(f->vcpu->tlb.window.size, WINDOW_PAGES * LARGE);
	for (unsigned i = 0; i < WINDOW_PAGES; i++)
		read_words(f, WINDOW + i * LARGE, 100 * i);
	read_words(f, end - 0x400, 200 * (WINDOW_PAGES - 1));
	put_words(f, 0x300000, 77);
	read_words(f, 0x300000, 77);

	/* Another page in a place of the run: seen after the flush that the guest owes. */
	map_window(f, 2, 10);
	put_words(f, 10 * LARGE, 999);
	mmu_flush_page(f->vcpu, WINDOW + 2 * LARGE);
	read_words(f, WINDOW + 2 * LARGE, 999);
	read_words(f, WINDOW + 3 * LARGE, 300);

	/* A write that the interpreter makes is read. */
	put_words(f, 3 * LARGE, 4242);
	read_words(f, WINDOW + LARGE, 4242);
}

/* What is not mapped raises as it does elsewhere, and with the flags that were. */
static void faults_beside_the_window(void **state)
{
	struct vcpu_fixture *f = *state;

	vcpu_fixture_enter(f, FIXTURE_LONG);
	f->vcpu->cr4 |= CR4_PGE;
	map_window(f, 0, 2);
	open_window(f);
	read_words(f, WINDOW, 0);
	assert_int_equal(f->vcpu->tlb.window.size, LARGE);
	f->vcpu->rip = FIXTURE_CODE;
	f->vcpu->gpr[X86_RSI] = WINDOW + LARGE - 4;
	vcpu_fixture_gate(f, X86_PF, FIXTURE_CS64, FIXTURE_CODE + 0x100, SEG_TYPE_INT, 0, 0);
	vcpu_fixture_load(f, FIXTURE_CODE + 0x100, (const uint8_t[]){ STOP }, 9);
	/* stc; mov rbx, [rsi] */
	FIXTURE_LOAD_CODE(f, 0xf9, 0x48, 0x8b, 0x1e, STOP);
	run(f);
	assert_int_equal(f->vcpu->cr2, WINDOW + LARGE);
	assert_true(vcpu_rflags(f->vcpu) & RFLAGS_CF);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(loops),
		cmocka_unit_test(reaches_memory),
		cmocka_unit_test(sees_its_own_stores),
		cmocka_unit_test(faults_with_a_stack_that_is_not_canonical),
		cmocka_unit_test(calls_and_returns),
		cmocka_unit_test(runs_of_pushes_cross_pages),
		cmocka_unit_test(crossing_instructions_change),
		cmocka_unit_test(accesses_in_each_others_way),
		cmocka_unit_test(strings_cross_pages),
		cmocka_unit_test(strings_descend),
		cmocka_unit_test(strings_stop_at_a_fault),
		cmocka_unit_test(bit_strings_reach_everywhere),
		cmocka_unit_test(system_calls_and_returns),
		cmocka_unit_test(interrupts_return),
		cmocka_unit_test(interrupt_returns_are_checked),
		cmocka_unit_test(the_timer_interrupts_code_that_is_not_translated),
		cmocka_unit_test(translations_move),
		cmocka_unit_test(translations_in_use_do_not_move),
		cmocka_unit_test(moved_code_changes),
		cmocka_unit_test(moved_code_changes_back),
		cmocka_unit_test(crossing_code_is_revived),
		cmocka_unit_test(ids_start_over),
		cmocka_unit_test(code_has_its_share),
		cmocka_unit_test(reads_through_the_window),
		cmocka_unit_test(faults_beside_the_window),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
