/*
 * Reset and INIT values (SDM 3A table 10-1), and what the check refuses.
 */
#include "x86/cpu_state.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct cpu_state state;

static int set_up(void **context)
{
	(void)context;
	cpu_state_reset(&state, 0);
	return 0;
}

static void test_table_covers_every_byte(void **context)
{
	struct error err = { 0 };

	(void)context;
	if (!state_covers(&cpu_state_table, &err))
		fail_msg("%s", err.text);
}

static void test_reset(void **context)
{
	(void)context;
	assert_true(state_check(&cpu_state_table, &state, NULL));
	assert_int_equal(state.cr0, 0x60000010);
	assert_int_equal(state.rflags, 2);
	assert_int_equal(state.segment[X86_CS].selector, 0xf000);
	assert_int_equal(state.segment[X86_CS].base + state.rip, 0xfffffff0);
	assert_int_equal(state.segment[X86_SS].limit, 0xffff);
	assert_int_equal(state.dr6, 0xffff0ff0);
	assert_int_equal(state.dr7, 0x400);
	assert_int_equal(state.idtr.limit, 0xffff);
	assert_int_equal(state.pat, 0x0007040600070406);
	assert_int_equal(state.xsave.fcw, 0x40);
	assert_int_equal(state.xsave.mxcsr, 0x1f80);
	assert_int_equal(state.apic_base, 0xfee00900);
	assert_int_equal(state.apic.svr, 0xff);
	assert_int_equal(state.apic.dfr, 0xffffffff);
	assert_int_equal(state.apic.lvt_lint0, 0x10000);
	assert_int_equal(state.activity, CPU_RUNNING);
}

static void test_others_wait_for_sipi(void **context)
{
	(void)context;
	cpu_state_reset(&state, 3);
	assert_true(state_check(&cpu_state_table, &state, NULL));
	assert_int_equal(state.activity, CPU_WAIT_FOR_SIPI);
	assert_int_equal(state.apic_base, 0xfee00800);
	assert_int_equal(state.apic.id, 3);
}

static void test_init_keeps_what_it_must(void **context)
{
	(void)context;
	state.cr0 = CR0_PE | CR0_PG | CR0_ET | CR0_WP;
	state.cr4 = CR4_PAE;
	state.efer = EFER_LME | EFER_LMA;
	state.gpr[X86_RBX] = 5;
	state.xsave.fcw = 0x37f;
	state.xsave.xmm[3][0] = 7;
	state.mtrr_def_type = 0xc06;
	state.tsc = 1234;
	state.pat = 0x0606060606060606;
	state.lstar = 0xffffffff81000000;
	state.apic_base |= APIC_BASE_X2APIC;
	state.apic.svr = 0x1ff;
	state.apic.irr[1] = 1;
	cpu_state_init(&state, 1);
	assert_true(state_check(&cpu_state_table, &state, NULL));
	/* CD and NW unchanged, the rest as after reset. */
	assert_int_equal(state.cr0, CR0_ET);
	assert_int_equal(state.cr4, 0);
	assert_int_equal(state.efer, 0);
	assert_int_equal(state.gpr[X86_RBX], 0);
	assert_int_equal(state.xsave.fcw, 0x37f);
	assert_int_equal(state.xsave.xmm[3][0], 7);
	assert_int_equal(state.mtrr_def_type, 0xc06);
	assert_int_equal(state.tsc, 1234);
	assert_int_equal(state.pat, 0x0606060606060606);
	assert_int_equal(state.lstar, 0xffffffff81000000);
	assert_int_equal(state.apic_base, 0xfee00d00);
	assert_int_equal(state.apic.svr, 0xff);
	assert_int_equal(state.apic.irr[1], 0);
	assert_int_equal(state.activity, CPU_WAIT_FOR_SIPI);
}

static void test_firmware_wires_the_8259_through(void **context)
{
	(void)context;
	cpu_state_firmware(&state, 0);
	assert_true(state_check(&cpu_state_table, &state, NULL));
	assert_int_equal(state.mtrr_def_type, 0x806);
	assert_int_equal(state.cr0, CR0_ET);
	assert_int_equal(state.apic.svr, 0x1ff);
	assert_int_equal(state.apic.lvt_lint0, 0x700);
	cpu_state_reset(&state, 1);
	cpu_state_firmware(&state, 1);
	assert_int_equal(state.mtrr_def_type, 0x806);
	assert_int_equal(state.apic.lvt_lint0, 0x10000);
}

static void set_long_mode(struct cpu_state *to)
{
	to->cr0 = CR0_PE | CR0_PG | CR0_ET;
	to->cr4 = CR4_PAE;
	to->efer = EFER_LME | EFER_LMA;
	to->segment[X86_CS].attributes = SEG_P | SEG_S | SEG_L | 11;
	to->segment[X86_CS].base = 0;
}

static void test_accepts_long_mode(void **context)
{
	(void)context;
	set_long_mode(&state);
	state.rip = 0xffffffff81000000;
	assert_true(state_check(&cpu_state_table, &state, NULL));
}

/* Each changes one thing in a valid long-mode state. */
static void paging_without_protection(struct cpu_state *to)
{
	to->cr0 &= ~CR0_PE;
}
static void nw_without_cd(struct cpu_state *to)
{
	to->cr0 |= CR0_NW;
}
static void unknown_cr0(struct cpu_state *to)
{
	to->cr0 |= BIT(6);
}
static void lma_without_lme(struct cpu_state *to)
{
	to->efer &= ~EFER_LME;
}
static void lma_without_paging(struct cpu_state *to)
{
	to->cr0 &= ~CR0_PG;
}
static void lma_without_pae(struct cpu_state *to)
{
	to->cr4 &= ~CR4_PAE;
}
static void la57(struct cpu_state *to)
{
	to->cr4 |= CR4_LA57;
}
static void svme(struct cpu_state *to)
{
	to->efer |= EFER_SVME;
}
static void wide_cr3(struct cpu_state *to)
{
	to->cr3 = BIT(52);
}
static void non_canonical_rip(struct cpu_state *to)
{
	to->rip = BIT(47);
}
static void non_canonical_lstar(struct cpu_state *to)
{
	to->lstar = BIT(63);
}
static void non_canonical_gs(struct cpu_state *to)
{
	to->segment[X86_GS].base = BIT(48);
}
static void wide_ds_base(struct cpu_state *to)
{
	to->segment[X86_DS].base = BIT(32);
}
static void reserved_flag(struct cpu_state *to)
{
	to->rflags |= BIT(3);
}
static void flag_one_clear(struct cpu_state *to)
{
	to->rflags = 0;
}
static void vm86_in_long_mode(struct cpu_state *to)
{
	to->rflags |= RFLAGS_VM;
}
static void both_l_and_d(struct cpu_state *to)
{
	to->segment[X86_CS].attributes |= SEG_DB;
}
static void reserved_attributes(struct cpu_state *to)
{
	to->segment[X86_SS].attributes |= BIT(20);
}
static void xcr0_without_x87(struct cpu_state *to)
{
	to->xcr0 = XCR0_SSE;
}
static void xcr0_avx_without_sse(struct cpu_state *to)
{
	to->xcr0 = XCR0_X87 | XCR0_AVX;
}
static void reserved_pat_type(struct cpu_state *to)
{
	to->pat = 2;
}
static void reserved_mxcsr(struct cpu_state *to)
{
	to->xsave.mxcsr |= BIT(16);
}
static void compacted_xsave(struct cpu_state *to)
{
	to->xsave.xcomp_bv = BIT(63);
}
static void x2apic_disabled(struct cpu_state *to)
{
	to->apic_base = APIC_DEFAULT_BASE | APIC_BASE_X2APIC;
}
static void low_vector(struct cpu_state *to)
{
	to->apic.irr[0] = 1;
}
static void unknown_activity(struct cpu_state *to)
{
	to->activity = 3;
}
static void high_dr7(struct cpu_state *to)
{
	to->dr7 |= BIT(32);
}
static void exception_32(struct cpu_state *to)
{
	to->exception_vector = 32;
}

static void test_refuses(void **context)
{
	static void (*const spoil[])(struct cpu_state *) = { paging_without_protection,
		nw_without_cd, unknown_cr0, lma_without_lme, lma_without_paging, lma_without_pae,
		la57, svme, wide_cr3, non_canonical_rip, non_canonical_lstar, non_canonical_gs,
		wide_ds_base, reserved_flag, flag_one_clear, vm86_in_long_mode, both_l_and_d,
		reserved_attributes, xcr0_without_x87, xcr0_avx_without_sse, reserved_pat_type,
		reserved_mxcsr, compacted_xsave, x2apic_disabled, low_vector, unknown_activity,
		high_dr7, exception_32 };

	(void)context;
	assert_true(ARRAY_SIZE(spoil) >= 28);
	for (unsigned i = 0; i < ARRAY_SIZE(spoil); i++) {
		struct error err = { 0 };

		cpu_state_reset(&state, 0);
		set_long_mode(&state);
		spoil[i](&state);
		if (state_check(&cpu_state_table, &state, &err))
			fail_msg("case %u is accepted", i);
		assert_true(err.text[0] != '\0');
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_table_covers_every_byte, set_up),
		cmocka_unit_test_setup(test_reset, set_up),
		cmocka_unit_test_setup(test_others_wait_for_sipi, set_up),
		cmocka_unit_test_setup(test_init_keeps_what_it_must, set_up),
		cmocka_unit_test_setup(test_firmware_wires_the_8259_through, set_up),
		cmocka_unit_test_setup(test_accepts_long_mode, set_up),
		cmocka_unit_test_setup(test_refuses, set_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
