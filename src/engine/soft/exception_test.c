/*
 * Delivery of exceptions and interrupts: frames, stacks, error codes, double and triple faults
 * (SDM 3A 6.12 to 6.15).
 */
#include "engine/soft/vcpu_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <string.h>

#define HANDLER  0x180000
#define HANDLER2 0x180100

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

static uint64_t stacked(struct vcpu_fixture *f, unsigned n, unsigned bytes)
{
	uint64_t value = 0;

	memcpy(&value, f->ram + f->vcpu->gpr[X86_RSP] + n * bytes, bytes);
	return value;
}

static void gate64(struct vcpu_fixture *f, unsigned vector, gva_t handler, unsigned dpl)
{
	vcpu_fixture_gate(f, vector, FIXTURE_CS64, handler, SEG_TYPE_INT, dpl, 0);
	vcpu_fixture_load(f, handler, "\xf4", 1);
}

static void from_user_in_long_mode(void **state)
{
	struct vcpu_fixture *f = *state;
	struct vcpu *vcpu = f->vcpu;

	vcpu_fixture_enter(f, FIXTURE_LONG_USER);
	gate64(f, X86_GP, HANDLER, 0);
	vcpu_set_rflags(vcpu, RFLAGS_IF | RFLAGS_CF | RFLAGS_DF);
	FIXTURE_LOAD_CODE(f, 0xfa); /* cli: IOPL is 0 */
	assert_true(vcpu_fixture_run(f, 2));
	assert_int_equal(vcpu->rip, HANDLER);
	assert_int_equal(vcpu->gpr[X86_RSP], FIXTURE_STACK0 - 6 * 8);
	assert_int_equal(stacked(f, 0, 8), 0);
	assert_int_equal(stacked(f, 1, 8), FIXTURE_CODE);
	assert_int_equal(stacked(f, 2, 8), FIXTURE_CS64_3);
	assert_int_equal(
		stacked(f, 3, 8), RFLAGS_ONE | RFLAGS_RF | RFLAGS_IF | RFLAGS_CF | RFLAGS_DF);
	assert_int_equal(stacked(f, 4, 8), FIXTURE_STACK3);
	assert_int_equal(stacked(f, 5, 8), FIXTURE_DS_3);
	assert_int_equal(vcpu->segment[X86_CS].selector, FIXTURE_CS64);
	assert_int_equal(vcpu->segment[X86_SS].selector, 0);
	assert_int_equal(vcpu->mode.cpl, 0);
	assert_int_equal(vcpu_rflags(vcpu), RFLAGS_ONE | RFLAGS_CF | RFLAGS_DF);
	/* And back. */
	vcpu->gpr[X86_RSP] += 8;
	vcpu_fixture_load(f, HANDLER, "\x48\xcf", 2);
	assert_true(interpret_step(vcpu));
	assert_int_equal(vcpu->rip, FIXTURE_CODE);
	assert_int_equal(vcpu->gpr[X86_RSP], FIXTURE_STACK3);
	assert_int_equal(vcpu->mode.cpl, 3);
	assert_true(vcpu->flags_system & RFLAGS_IF);
}

static void aligns_the_stack_in_long_mode(void **state)
{
	struct vcpu_fixture *f = *state;
	struct vcpu *vcpu = f->vcpu;

	vcpu_fixture_enter(f, FIXTURE_LONG);
	gate64(f, 0x40, HANDLER, 0);
	vcpu->gpr[X86_RSP] = FIXTURE_STACK0 - 3;
	FIXTURE_LOAD_CODE(f, 0xcd, 0x40);
	assert_true(vcpu_fixture_run(f, 2));
	assert_int_equal(vcpu->gpr[X86_RSP], FIXTURE_STACK0 - 16 - 5 * 8);
	assert_int_equal(stacked(f, 0, 8), FIXTURE_CODE + 2);
	assert_int_equal(stacked(f, 3, 8), FIXTURE_STACK0 - 3);
}

static void uses_ist(void **state)
{
	struct vcpu_fixture *f = *state;
	struct vcpu *vcpu = f->vcpu;
	uint64_t ist3 = 0x88000;

	vcpu_fixture_enter(f, FIXTURE_LONG);
	gate64(f, X86_UD, HANDLER, 0);
	vcpu_fixture_gate(f, X86_UD, FIXTURE_CS64, HANDLER, SEG_TYPE_TRAP, 0, 3);
	vcpu_fixture_load(f, FIXTURE_TSS + 0x24 + 2 * 8, &ist3, 8);
	vcpu_set_rflags(vcpu, RFLAGS_IF);
	FIXTURE_LOAD_CODE(f, 0x0f, 0x0b);
	assert_true(vcpu_fixture_run(f, 2));
	assert_int_equal(vcpu->gpr[X86_RSP], ist3 - 5 * 8);
	assert_int_equal(stacked(f, 4, 8), FIXTURE_DS);
	/* A trap gate leaves IF alone. */
	assert_true(vcpu->flags_system & RFLAGS_IF);
}

/* From compatibility mode, with tables above 4 GiB that lie across pages. */
static void reads_high_tables_from_compatibility_mode(void **state)
{
	struct vcpu_fixture *f = *state;
	struct vcpu *vcpu = f->vcpu;
	gva_t high = UINT64_C(0xffff800000001000);

	vcpu_fixture_enter(f, FIXTURE_COMPATIBILITY_USER);
	gate64(f, 0x40, HANDLER, 3);
	vcpu_fixture_map(f, high, 0x300000, PTE_P | PTE_W);
	vcpu_fixture_map(f, high + 0x1000, 0x304000, PTE_P | PTE_W);
	memcpy(f->ram + 0x300ffc, f->ram + FIXTURE_IDT + 0x40 * 16, 4);
	memcpy(f->ram + 0x304000, f->ram + FIXTURE_IDT + 0x40 * 16 + 4, 12);
	vcpu->idtr.base = high + 0xffc - 0x40 * 16;
	FIXTURE_LOAD_CODE(f, 0xcd, 0x40);
	assert_true(vcpu_fixture_run(f, 2));
	assert_int_equal(vcpu->rip, HANDLER);
	assert_int_equal(vcpu->mode.insn, INSN_MODE_64);
	assert_int_equal(stacked(f, 0, 8), FIXTURE_CODE + 2);
	assert_int_equal(stacked(f, 1, 8), FIXTURE_CS32_3);
}

static void software_interrupts_need_privilege(void **state)
{
	struct vcpu_fixture *f = *state;
	struct vcpu *vcpu = f->vcpu;

	vcpu_fixture_enter(f, FIXTURE_LONG_USER);
	gate64(f, 0x40, HANDLER, 0);
	gate64(f, X86_BP, HANDLER2, 3);
	FIXTURE_LOAD_CODE(f, 0xcd, 0x40);
	assert_int_equal(interpret_try(vcpu), X86_GP);
	assert_int_equal(vcpu->fault_error, 0x40 * 8 + 2);
	vcpu->delivering = 0;
	FIXTURE_LOAD_CODE(f, 0xcc);
	assert_true(vcpu_fixture_run(f, 2));
	assert_int_equal(vcpu->rip, HANDLER2);
	assert_int_equal(stacked(f, 0, 8), FIXTURE_CODE + 1);
}

static void names_what_is_wrong_with_a_gate(void **state)
{
	struct vcpu_fixture *f = *state;
	struct vcpu *vcpu = f->vcpu;
	static const struct {
		uint16_t selector;
		unsigned type;
		uint64_t offset;
		unsigned vector;
		uint32_t error;
	} bad[] = {
		{ FIXTURE_CS64, SEG_TYPE_TSS_FREE, HANDLER, X86_GP, 0x40 * 8 + 2 },
		{ FIXTURE_CS64, SEG_TYPE_INT16, HANDLER, X86_GP, 0x40 * 8 + 2 },
		{ 0, SEG_TYPE_INT, HANDLER, X86_GP, 0 },
		{ FIXTURE_DS, SEG_TYPE_INT, HANDLER, X86_GP, FIXTURE_DS },
		{ FIXTURE_CS32, SEG_TYPE_INT, HANDLER, X86_GP, FIXTURE_CS32 },
		{ FIXTURE_SPARE, SEG_TYPE_INT, HANDLER, X86_NP, FIXTURE_SPARE },
		{ 0x400, SEG_TYPE_INT, HANDLER, X86_GP, 0x400 },
		{ FIXTURE_CS64, SEG_TYPE_INT, BIT(50), X86_GP, 0 },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		vcpu_fixture_enter(f, FIXTURE_LONG);
		vcpu_fixture_descriptor(
			f, FIXTURE_SPARE, 0, UINT32_MAX, SEG_S | SEG_TYPE_CODE | SEG_G | SEG_L);
		vcpu_fixture_gate(f, 0x40, bad[i].selector, bad[i].offset, bad[i].type, 0, 0);
		FIXTURE_LOAD_CODE(f, 0xcd, 0x40);
		assert_int_equal(interpret_try(vcpu), bad[i].vector);
		assert_int_equal(vcpu->fault_error, bad[i].error);
		assert_int_equal(vcpu->gpr[X86_RSP], FIXTURE_STACK0);
	}
	vcpu_fixture_enter(f, FIXTURE_LONG);
	vcpu->idtr.limit = 0x40 * 16 + 14;
	FIXTURE_LOAD_CODE(f, 0xcd, 0x40);
	assert_int_equal(interpret_try(vcpu), X86_GP);
	assert_int_equal(vcpu->fault_error, 0x40 * 8 + 2);
}

/* A second fault on the way to a handler: which pairs make a double fault (table 6-5). */
static void double_faults(void **state)
{
	struct vcpu_fixture *f = *state;
	struct vcpu *vcpu = f->vcpu;

	/* #UD is benign: #GP for its missing gate is delivered, with EXT and IDT in its error. */
	vcpu_fixture_enter(f, FIXTURE_LONG);
	gate64(f, X86_GP, HANDLER, 0);
	FIXTURE_LOAD_CODE(f, 0x0f, 0x0b);
	assert_true(vcpu_fixture_run(f, 2));
	assert_int_equal(vcpu->rip, HANDLER);
	assert_int_equal(stacked(f, 0, 8), X86_UD * 8 + 3);
	assert_int_equal(stacked(f, 1, 8), FIXTURE_CODE);

	/* #DE is contributory: with #GP it makes #DF, error code 0. */
	vcpu_fixture_enter(f, FIXTURE_LONG);
	gate64(f, X86_DF, HANDLER2, 0);
	FIXTURE_LOAD_CODE(f, 0xf7, 0xf1); /* div ecx, which is 0 */
	assert_true(vcpu_fixture_run(f, 2));
	assert_int_equal(vcpu->rip, HANDLER2);
	assert_int_equal(stacked(f, 0, 8), 0);
	assert_int_equal(stacked(f, 1, 8), FIXTURE_CODE);
	/* #DF is an abort: RF is not set in its frame. */
	assert_false(stacked(f, 3, 8) & RFLAGS_RF);

	/* #PF with a #PF on the way: #DF; CR2 is the second's. */
	vcpu_fixture_enter(f, FIXTURE_LONG);
	gate64(f, X86_PF, HANDLER, 0);
	gate64(f, X86_DF, HANDLER2, 0);
	vcpu_fixture_map(f, FIXTURE_STACK0 - 0x1000, 0, 0);
	vcpu_fixture_gate(f, X86_DF, FIXTURE_CS64, HANDLER2, SEG_TYPE_INT, 0, 1);
	vcpu_fixture_load(f, FIXTURE_TSS + 0x24, &(uint64_t){ 0x88000 }, 8);
	vcpu->gpr[X86_RBX] = 0x50000000;
	FIXTURE_LOAD_CODE(f, 0x8b, 0x03);
	assert_true(vcpu_fixture_run(f, 2));
	assert_int_equal(vcpu->rip, HANDLER2);
	assert_int_equal(vcpu->cr2, FIXTURE_STACK0 - 8);
	assert_int_equal(vcpu->gpr[X86_RSP], 0x88000 - 6 * 8);
}

static void triple_faults(void **state)
{
	struct vcpu_fixture *f = *state;
	struct vcpu *vcpu = f->vcpu;

	vcpu_fixture_enter(f, FIXTURE_LONG);
	FIXTURE_LOAD_CODE(f, 0xf7, 0xf1);
	assert_false(interpret_step(vcpu));
	assert_true(vcpu->shutdown);
	assert_int_equal(interpret(vcpu), VCPU_EXIT_TRIPLE_FAULT);
}

static void in_real_mode(void **state)
{
	struct vcpu_fixture *f = *state;
	struct vcpu *vcpu = f->vcpu;

	vcpu_fixture_enter(f, FIXTURE_REAL);
	vcpu_fixture_load(f, 0x21 * 4, "\x34\x12\x00\x10", 4); /* 1000:1234 */
	vcpu_fixture_load(f, 0x11234, "\xf4", 1);
	vcpu_set_rflags(vcpu, RFLAGS_IF | RFLAGS_ZF);
	FIXTURE_LOAD_CODE(f, 0xcd, 0x21);
	assert_true(vcpu_fixture_run(f, 2));
	assert_int_equal(vcpu->rip, 0x1234);
	assert_int_equal(vcpu->segment[X86_CS].base, 0x10000);
	assert_int_equal(vcpu->gpr[X86_RSP], 0x7000 - 6);
	assert_int_equal(stacked(f, 0, 2), FIXTURE_CODE_16 + 2);
	assert_int_equal(stacked(f, 1, 2), 0);
	assert_int_equal(stacked(f, 2, 2), RFLAGS_ONE | RFLAGS_IF | RFLAGS_ZF);
	assert_false(vcpu->flags_system & RFLAGS_IF);
	vcpu_fixture_load(f, 0x11234, "\xcf", 1);
	assert_true(interpret_step(vcpu));
	assert_int_equal(vcpu->rip, FIXTURE_CODE_16 + 2);
	assert_int_equal(vcpu_rflags(vcpu), RFLAGS_ONE | RFLAGS_IF | RFLAGS_ZF);
	/* Exceptions push no error code there; SP wraps within 64 KiB. */
	vcpu_fixture_load(f, X86_GP * 4, "\x34\x12\x00\x10", 4);
	vcpu->gpr[X86_RSP] = 2;
	vcpu->rip = FIXTURE_CODE_16;
	vcpu->gpr[X86_RBX] = 0xffff;
	FIXTURE_LOAD_CODE(f, 0x8b, 0x07); /* mov ax, [bx]: two bytes at the limit */
	assert_true(interpret_step(vcpu));
	assert_int_equal(vcpu->rip, 0x1234);
	assert_int_equal(vcpu->gpr[X86_RSP], 0xfffc);
	assert_memory_equal(f->ram + 0xfffc, "\x00\x80\x00\x00", 4);
}

static void gate32(struct vcpu_fixture *f, unsigned vector, unsigned type, unsigned dpl)
{
	vcpu_fixture_gate(f, vector, FIXTURE_CS32, HANDLER, type, dpl, 0);
	vcpu_fixture_load(f, HANDLER, "\xf4", 1);
}

static void from_user_in_protected_mode(void **state)
{
	struct vcpu_fixture *f = *state;
	struct vcpu *vcpu = f->vcpu;

	vcpu_fixture_enter(f, FIXTURE_PROTECTED_USER);
	gate32(f, 0x80, SEG_TYPE_TRAP, 3);
	FIXTURE_LOAD_CODE(f, 0xcd, 0x80);
	assert_true(vcpu_fixture_run(f, 2));
	assert_int_equal(vcpu->gpr[X86_RSP], FIXTURE_STACK0 - 5 * 4);
	assert_int_equal(stacked(f, 0, 4), FIXTURE_CODE + 2);
	assert_int_equal(stacked(f, 1, 4), FIXTURE_CS32_3);
	assert_int_equal(stacked(f, 2, 4), RFLAGS_ONE);
	assert_int_equal(stacked(f, 3, 4), FIXTURE_STACK3);
	assert_int_equal(stacked(f, 4, 4), FIXTURE_DS_3);
	assert_int_equal(vcpu->segment[X86_SS].selector, FIXTURE_DS);
	/* A 16-bit gate pushes words. */
	vcpu_fixture_enter(f, FIXTURE_PROTECTED);
	gate32(f, 0x80, SEG_TYPE_INT16, 0);
	vcpu_fixture_gate(f, 0x80, FIXTURE_CS32, 0x8000, SEG_TYPE_INT16, 0, 0);
	vcpu_fixture_load(f, 0x8000, "\xf4", 1);
	FIXTURE_LOAD_CODE(f, 0xcd, 0x80);
	assert_true(vcpu_fixture_run(f, 2));
	assert_int_equal(vcpu->rip, 0x8000);
	assert_int_equal(vcpu->gpr[X86_RSP], FIXTURE_STACK0 - 6);
}

/* The inner stack is checked before anything is pushed. */
static void reports_a_bad_inner_stack(void **state)
{
	struct vcpu_fixture *f = *state;
	struct vcpu *vcpu = f->vcpu;
	static const struct {
		uint16_t ss;
		uint32_t attributes;
		unsigned vector;
	} bad[] = {
		{ FIXTURE_DS_3, 0, X86_TS },
		{ FIXTURE_CS32, 0, X86_TS },
		{ FIXTURE_SPARE, SEG_P | SEG_S, X86_TS }, /* read-only */
		{ FIXTURE_SPARE, SEG_S | SEG_TYPE_WRITABLE, X86_SS_FAULT },
		{ 0x400, 0, X86_TS },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		vcpu_fixture_enter(f, FIXTURE_PROTECTED_USER);
		gate32(f, 0x80, SEG_TYPE_INT, 3);
		if (bad[i].attributes)
			vcpu_fixture_descriptor(
				f, FIXTURE_SPARE, 0, UINT32_MAX, bad[i].attributes | SEG_G);
		vcpu_fixture_load(f, FIXTURE_TSS + 8, &bad[i].ss, 2);
		FIXTURE_LOAD_CODE(f, 0xcd, 0x80);
		assert_int_equal(interpret_try(vcpu), bad[i].vector);
		assert_int_equal(vcpu->fault_error, bad[i].ss & ~3);
	}
	vcpu_fixture_enter(f, FIXTURE_PROTECTED_USER);
	gate32(f, 0x80, SEG_TYPE_INT, 3);
	vcpu->segment[X86_TR].limit = 8;
	FIXTURE_LOAD_CODE(f, 0xcd, 0x80);
	assert_int_equal(interpret_try(vcpu), X86_TS);
	assert_int_equal(vcpu->fault_error, FIXTURE_TR);
}

static void expect_vector(struct vcpu_fixture *f, unsigned vector, uint64_t rip)
{
	f->vcpu->delivering = 0;
	f->vcpu->rip = rip;
	assert_int_equal(interpret_try(f->vcpu), vector);
}

/* Conditions of rows: privilege, mode, units. */
static void checks_the_prologue(void **state)
{
	struct vcpu_fixture *f = *state;
	struct vcpu *vcpu = f->vcpu;

	vcpu_fixture_enter(f, FIXTURE_LONG_USER);
	FIXTURE_LOAD_CODE(f, 0xf4); /* hlt */
	expect_vector(f, X86_GP, FIXTURE_CODE);
	FIXTURE_LOAD_CODE(f, 0x0f, 0x28, 0xc1); /* movaps xmm0, xmm1 */
	vcpu->cr0 |= CR0_TS;
	expect_vector(f, X86_NM, FIXTURE_CODE);
	vcpu->cr4 &= ~CR4_OSFXSR;
	expect_vector(f, X86_UD, FIXTURE_CODE);
	FIXTURE_LOAD_CODE(f, 0xd9, 0xe8); /* fld1 */
	expect_vector(f, X86_NM, FIXTURE_CODE);
	vcpu->cr0 = (vcpu->cr0 & ~CR0_TS) | CR0_EM;
	expect_vector(f, X86_NM, FIXTURE_CODE);
	FIXTURE_LOAD_CODE(f, 0x9b); /* fwait: MP and TS, not EM */
	vcpu->cr0 = (vcpu->cr0 & ~(CR0_EM | CR0_MP)) | CR0_TS;
	vcpu->rip = FIXTURE_CODE;
	vcpu->cr0 |= CR0_MP;
	expect_vector(f, X86_NM, FIXTURE_CODE);

	vcpu_fixture_enter(f, FIXTURE_REAL);
	FIXTURE_LOAD_CODE(f, 0x0f, 0x00, 0xc0); /* sldt ax */
	expect_vector(f, X86_UD, FIXTURE_CODE_16);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(from_user_in_long_mode),
		cmocka_unit_test(aligns_the_stack_in_long_mode),
		cmocka_unit_test(uses_ist),
		cmocka_unit_test(reads_high_tables_from_compatibility_mode),
		cmocka_unit_test(software_interrupts_need_privilege),
		cmocka_unit_test(names_what_is_wrong_with_a_gate),
		cmocka_unit_test(double_faults),
		cmocka_unit_test(triple_faults),
		cmocka_unit_test(in_real_mode),
		cmocka_unit_test(from_user_in_protected_mode),
		cmocka_unit_test(reports_a_bad_inner_stack),
		cmocka_unit_test(checks_the_prologue),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
