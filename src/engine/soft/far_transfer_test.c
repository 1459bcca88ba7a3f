/*
 * Far transfers that the guest payloads do not reach: between 64-bit and compatibility code, call
 * gates of long mode, fast system calls (SDM 2: CALL, IRET, RET, SYSCALL, SYSENTER; SDM 3A 5.8).
 */
#include "engine/soft/debug.h"
#include "engine/soft/vcpu_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <string.h>

#define TARGET 0x180000

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

static uint64_t stacked(struct vcpu_fixture *f, unsigned n)
{
	uint64_t value;

	memcpy(&value, f->ram + f->vcpu->gpr[X86_RSP] + 8 * n, 8);
	return value;
}

static void push_frame(struct vcpu_fixture *f, const uint64_t *frame, unsigned n)
{
	f->vcpu->gpr[X86_RSP] -= 8 * n;
	vcpu_fixture_load(f, f->vcpu->gpr[X86_RSP], frame, 8 * n);
}

static void iret_to_compatibility_mode(void **state)
{
	struct vcpu_fixture *f = *state;
	struct vcpu *vcpu = f->vcpu;
	static const uint64_t frame[] = { TARGET, FIXTURE_CS32_3, RFLAGS_ONE | RFLAGS_IF, 0x97000,
		FIXTURE_DS_3 };

	vcpu_fixture_enter(f, FIXTURE_LONG);
	push_frame(f, frame, 5);
	FIXTURE_LOAD_CODE(f, 0x48, 0xcf);
	assert_int_equal(interpret_try(vcpu), -1);
	assert_int_equal(vcpu->mode.insn, INSN_MODE_32);
	assert_true(vcpu->mode.long_mode);
	assert_int_equal(vcpu->mode.cpl, 3);
	assert_int_equal(vcpu->rip, TARGET);
	assert_int_equal(vcpu->gpr[X86_RSP], 0x97000);
	/* DS was DPL 0: the outer ring may not have it. */
	assert_true(vcpu->segment[X86_DS].attributes & SEG_UNUSABLE);
	assert_int_equal(vcpu->segment[X86_DS].selector, 0);
}

static void iret_checks_its_frame(void **state)
{
	struct vcpu_fixture *f = *state;
	static const struct {
		uint64_t frame[5];
		uint32_t error;
	} bad[] = {
		{ { TARGET, 0, RFLAGS_ONE, 0x97000, FIXTURE_DS_3 }, 0 },
		{ { TARGET, FIXTURE_DS_3, RFLAGS_ONE, 0x97000, FIXTURE_DS_3 }, FIXTURE_DS_3 & ~3 },
		{ { TARGET, FIXTURE_CS64 | 3, RFLAGS_ONE, 0x97000, FIXTURE_DS_3 }, FIXTURE_CS64 },
		{ { BIT(47), FIXTURE_CS64_3, RFLAGS_ONE, 0x97000, FIXTURE_DS_3 }, 0 },
		{ { TARGET, FIXTURE_CS64_3, RFLAGS_ONE, 0x97000, 0 }, 0 },
		{ { TARGET, FIXTURE_CS64_3, RFLAGS_ONE, 0x97000, FIXTURE_DS }, FIXTURE_DS },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		vcpu_fixture_enter(f, FIXTURE_LONG);
		push_frame(f, bad[i].frame, 5);
		FIXTURE_LOAD_CODE(f, 0x48, 0xcf);
		assert_int_equal(interpret_try(f->vcpu), X86_GP);
		assert_int_equal(f->vcpu->fault_error, bad[i].error);
		assert_int_equal(f->vcpu->gpr[X86_RSP], FIXTURE_STACK0 - 40);
		assert_int_equal(f->vcpu->mode.cpl, 0);
	}
	/* Nested tasks do not exist in long mode. */
	vcpu_fixture_enter(f, FIXTURE_LONG);
	vcpu_set_rflags(f->vcpu, RFLAGS_NT);
	FIXTURE_LOAD_CODE(f, 0x48, 0xcf);
	assert_int_equal(interpret_try(f->vcpu), X86_GP);
	/* A null SS is right for 64-bit code of rings 0 to 2. */
	vcpu_fixture_enter(f, FIXTURE_LONG);
	push_frame(f, (uint64_t[]){ TARGET, FIXTURE_CS64, RFLAGS_ONE, 0x97000, 0 }, 5);
	FIXTURE_LOAD_CODE(f, 0x48, 0xcf);
	assert_int_equal(interpret_try(f->vcpu), -1);
	assert_int_equal(f->vcpu->gpr[X86_RSP], 0x97000);
}

static void call_gate(struct vcpu_fixture *f, uint16_t selector, uint64_t offset, unsigned dpl)
{
	uint64_t gate[2] = {
		(offset & 0xffff) | (uint64_t)selector << 16 |
			(uint64_t)(SEG_P | SEG_TYPE_CALL | dpl << 5) << 40 |
			(offset & 0xffff0000) << 32,
		offset >> 32,
	};

	vcpu_fixture_load(f, FIXTURE_GDT + FIXTURE_SPARE, gate, sizeof(gate));
}

static void calls_through_a_gate_in_long_mode(void **state)
{
	struct vcpu_fixture *f = *state;
	struct vcpu *vcpu = f->vcpu;

	vcpu_fixture_enter(f, FIXTURE_LONG_USER);
	call_gate(f, FIXTURE_CS64, TARGET, 3);
	vcpu_fixture_load(f, 0x200000, "\0\0\0\0\x5b\0", 6); /* offset ignored; SPARE, RPL 3 */
	vcpu->gpr[X86_RBX] = 0x200000;
	FIXTURE_LOAD_CODE(f, 0xff, 0x1b); /* call far [rbx] */
	vcpu_fixture_load(f, TARGET, "\x48\xcb", 2);
	assert_int_equal(interpret_try(vcpu), -1);
	assert_int_equal(vcpu->rip, TARGET);
	assert_int_equal(vcpu->mode.cpl, 0);
	assert_int_equal(vcpu->segment[X86_SS].selector, 0);
	assert_int_equal(vcpu->gpr[X86_RSP], FIXTURE_STACK0 - 32);
	assert_int_equal(stacked(f, 0), FIXTURE_CODE + 2);
	assert_int_equal(stacked(f, 1), FIXTURE_CS64_3);
	assert_int_equal(stacked(f, 2), FIXTURE_STACK3);
	assert_int_equal(stacked(f, 3), FIXTURE_DS_3);
	assert_int_equal(interpret_try(vcpu), -1);
	assert_int_equal(vcpu->rip, FIXTURE_CODE + 2);
	assert_int_equal(vcpu->mode.cpl, 3);
	assert_int_equal(vcpu->gpr[X86_RSP], FIXTURE_STACK3);
	/* A jump must not raise privilege, and the gate's own privilege counts. */
	vcpu->rip = FIXTURE_CODE;
	FIXTURE_LOAD_CODE(f, 0xff, 0x2b);
	assert_int_equal(interpret_try(vcpu), X86_GP);
	assert_int_equal(vcpu->fault_error, FIXTURE_CS64);
	call_gate(f, FIXTURE_CS64, TARGET, 0);
	FIXTURE_LOAD_CODE(f, 0xff, 0x1b);
	assert_int_equal(interpret_try(vcpu), X86_GP);
	assert_int_equal(vcpu->fault_error, FIXTURE_SPARE);
}

static void syscall_and_back(void **state)
{
	struct vcpu_fixture *f = *state;
	struct vcpu *vcpu = f->vcpu;

	vcpu_fixture_enter(f, FIXTURE_LONG_USER);
	/* SYSRET's CS is the base plus 16, SS the base plus 8. */
	vcpu->star = (uint64_t)(FIXTURE_DS_3 - 8) << 48 | (uint64_t)FIXTURE_CS64 << 32;
	vcpu->lstar = TARGET;
	vcpu->sfmask = RFLAGS_IF | RFLAGS_DF;
	vcpu_set_rflags(vcpu, RFLAGS_IF | RFLAGS_DF | RFLAGS_CF);
	FIXTURE_LOAD_CODE(f, 0x0f, 0x05);
	vcpu_fixture_load(f, TARGET, "\x48\x0f\x07", 3);
	assert_int_equal(interpret_try(vcpu), -1);
	assert_int_equal(vcpu->rip, TARGET);
	assert_int_equal(vcpu->gpr[X86_RCX], FIXTURE_CODE + 2);
	assert_int_equal(vcpu->gpr[X86_R11], RFLAGS_ONE | RFLAGS_IF | RFLAGS_DF | RFLAGS_CF);
	assert_int_equal(vcpu_rflags(vcpu), RFLAGS_ONE | RFLAGS_CF);
	assert_int_equal(vcpu->segment[X86_CS].selector, FIXTURE_CS64);
	assert_int_equal(vcpu->segment[X86_SS].selector, FIXTURE_CS64 + 8);
	assert_int_equal(vcpu->mode.cpl, 0);
	assert_int_equal(vcpu->gpr[X86_RSP], FIXTURE_STACK3);
	assert_int_equal(interpret_try(vcpu), -1);
	assert_int_equal(vcpu->rip, FIXTURE_CODE + 2);
	assert_int_equal(vcpu->segment[X86_CS].selector, FIXTURE_CS64_3);
	assert_int_equal(vcpu->segment[X86_SS].selector, FIXTURE_DS_3);
	assert_int_equal(vcpu->mode.cpl, 3);
	assert_int_equal(vcpu->mode.insn, INSN_MODE_64);
	assert_int_equal(vcpu_rflags(vcpu), RFLAGS_ONE | RFLAGS_IF | RFLAGS_DF | RFLAGS_CF);
	/* SYSRET is for ring 0; both need EFER.SCE. */
	vcpu->rip = TARGET;
	assert_int_equal(interpret_try(vcpu), X86_GP);
	vcpu->rip = FIXTURE_CODE;
	vcpu->efer &= ~EFER_SCE;
	assert_int_equal(interpret_try(vcpu), X86_UD);
}

static void sysenter_and_sysexit(void **state)
{
	struct vcpu_fixture *f = *state;
	struct vcpu *vcpu = f->vcpu;

	/* CS, SS, and for SYSEXIT CS + 16, SS + 24 with RPL 3, all flat whatever the GDT says. */
	vcpu_fixture_enter(f, FIXTURE_PROTECTED_USER);
	vcpu->sysenter_cs = 0x80;
	vcpu->sysenter_eip = TARGET;
	vcpu->sysenter_esp = 0x8f000;
	vcpu_set_rflags(vcpu, RFLAGS_IF);
	FIXTURE_LOAD_CODE(f, 0x0f, 0x34);
	vcpu_fixture_load(f, TARGET, "\x0f\x35", 2);
	assert_int_equal(interpret_try(vcpu), -1);
	assert_int_equal(vcpu->rip, TARGET);
	assert_int_equal(vcpu->gpr[X86_RSP], 0x8f000);
	assert_int_equal(vcpu->segment[X86_CS].selector, 0x80);
	assert_int_equal(vcpu->segment[X86_SS].selector, 0x88);
	assert_false(vcpu->flags_system & RFLAGS_IF);
	vcpu->gpr[X86_RDX] = FIXTURE_CODE;
	vcpu->gpr[X86_RCX] = 0x97000;
	assert_int_equal(interpret_try(vcpu), -1);
	assert_int_equal(vcpu->rip, FIXTURE_CODE);
	assert_int_equal(vcpu->gpr[X86_RSP], 0x97000);
	assert_int_equal(vcpu->segment[X86_CS].selector, 0x93);
	assert_int_equal(vcpu->segment[X86_SS].selector, 0x9b);
	assert_int_equal(vcpu->mode.cpl, 3);
	vcpu->sysenter_cs = 0;
	assert_int_equal(interpret_try(vcpu), X86_GP);
}

/* SYSRET that sets TF traps before the first instruction of its target. */
static void sysret_can_start_single_steps(void **state)
{
	struct vcpu_fixture *f = *state;
	struct vcpu *vcpu = f->vcpu;

	vcpu_fixture_enter(f, FIXTURE_LONG);
	vcpu_fixture_gate(f, X86_DB, FIXTURE_CS64, TARGET, SEG_TYPE_INT, 0, 0);
	vcpu_fixture_load(f, TARGET, "\xf4", 1);
	vcpu->star = (uint64_t)(FIXTURE_DS_3 - 8) << 48;
	vcpu->gpr[X86_RCX] = FIXTURE_CODE + 0x100;
	vcpu->gpr[X86_R11] = RFLAGS_TF;
	FIXTURE_LOAD_CODE(f, 0x48, 0x0f, 0x07);
	vcpu_fixture_load(f, FIXTURE_CODE + 0x100, "\x90\x90", 2);
	assert_true(vcpu_fixture_run(f, 5));
	assert_int_equal(stacked(f, 0), FIXTURE_CODE + 0x100);
	assert_int_equal(vcpu->dr6, DR6_ONES | DR6_BS);
}

/* Loads of SS in 64-bit mode: null is allowed at CPL 0 with RPL 0, and nowhere else. */
static void null_stack_segments(void **state)
{
	struct vcpu_fixture *f = *state;
	struct vcpu *vcpu = f->vcpu;

	vcpu_fixture_enter(f, FIXTURE_LONG);
	FIXTURE_LOAD_CODE(f, 0x8e, 0xd0); /* mov ss, eax */
	assert_int_equal(interpret_try(vcpu), -1);
	vcpu->rip = FIXTURE_CODE;
	vcpu->gpr[X86_RAX] = 1;
	assert_int_equal(interpret_try(vcpu), X86_GP);
	vcpu_fixture_enter(f, FIXTURE_LONG_USER);
	vcpu->gpr[X86_RAX] = 3;
	assert_int_equal(interpret_try(vcpu), X86_GP);
	vcpu_fixture_enter(f, FIXTURE_PROTECTED);
	assert_int_equal(interpret_try(vcpu), X86_GP);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(iret_to_compatibility_mode),
		cmocka_unit_test(iret_checks_its_frame),
		cmocka_unit_test(calls_through_a_gate_in_long_mode),
		cmocka_unit_test(syscall_and_back),
		cmocka_unit_test(sysenter_and_sysexit),
		cmocka_unit_test(sysret_can_start_single_steps),
		cmocka_unit_test(null_stack_segments),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
