/*
 * MSRs: every row reads and takes back what it gave, reserved bits and bad values raise, and what
 * is not there raises (SDM 4).
 */
#include "engine/soft/msr.h"
#include "engine/soft/apic.h"
#include "engine/soft/engine_fixture.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static struct engine_fixture fixture;
static struct vcpu *cpu;

static void create(const char *model)
{
	engine_fixture_create(&fixture, model, 1);
	cpu = fixture.vcpus;
}

static int set_up(void **context)
{
	(void)context;
	create("max");
	return 0;
}

static int tear_down(void **context)
{
	(void)context;
	engine_fixture_destroy(&fixture);
	return 0;
}

static uint64_t read_msr(uint32_t msr)
{
	uint64_t value = 0;

	if (!msr_read(cpu, msr, &value))
		fail_msg("MSR %#x cannot be read", msr);
	return value;
}

static void assert_stores(uint32_t msr, uint64_t value)
{
	if (!msr_write(cpu, msr, value))
		fail_msg("MSR %#x refuses %#lx", msr, value);
	assert_int_equal(read_msr(msr), value);
}

static void assert_refuses(uint32_t msr, uint64_t value)
{
	uint64_t before = read_msr(msr);

	if (msr_write(cpu, msr, value))
		fail_msg("MSR %#x takes %#lx", msr, value);
	assert_int_equal(read_msr(msr), before);
}

static void test_reset_values(void **context)
{
	(void)context;
	assert_int_equal(read_msr(MSR_IA32_APIC_BASE), 0xfee00900);
	assert_int_equal(read_msr(MSR_IA32_PAT), 0x0007040600070406);
	assert_int_equal(read_msr(MSR_EFER), 0);
	assert_int_equal(read_msr(MSR_IA32_MTRRCAP) & 0xff, 8);
	assert_int_equal(read_msr(MSR_IA32_MTRR_DEF_TYPE), 0);
	assert_int_equal(read_msr(MSR_IA32_MISC_ENABLE) & 1, 1);
	assert_true(read_msr(MSR_IA32_ARCH_CAPABILITIES) & 1); /* RDCL_NO */
	assert_int_equal(read_msr(MSR_IA32_FEATURE_CONTROL), 1);
}

/* What a guest reads it can write back, except to registers that refuse every write. */
static void test_write_back(void **context)
{
	static const uint32_t ranges[][2] = { { 0, 0x2000 }, { 0x4b564d00, 0x4b564d10 },
		{ 0xc0000080, 0xc0000110 }, { 0xc0010000, 0xc0012000 } };
	unsigned present = 0, written = 0;

	(void)context;
	for (unsigned i = 0; i < ARRAY_SIZE(ranges); i++) {
		for (uint32_t msr = ranges[i][0]; msr < ranges[i][1]; msr++) {
			uint64_t value, after;

			if (!msr_read(cpu, msr, &value))
				continue;
			present++;
			if (msr == MSR_IA32_TSC || !msr_write(cpu, msr, value))
				continue;
			written++;
			assert_true(msr_read(cpu, msr, &after));
			assert_int_equal(after, value);
		}
	}
	assert_true(present > 120);
	assert_true(written > 100);
}

static void test_absent(void **context)
{
	static const uint32_t absent[] = { 0x13, 0x480, 0x560, 0xc0010117, 0xc0000104, 0x4b564d02,
		0x4b564d03, 0x4b564d06, 0x40000000, 0xda0, 0x802, 0xffffffff };
	uint64_t value;

	(void)context;
	for (unsigned i = 0; i < ARRAY_SIZE(absent); i++) {
		assert_false(msr_read(cpu, absent[i], &value));
		assert_false(msr_write(cpu, absent[i], 0));
	}
}

static void test_canonical_addresses(void **context)
{
	static const uint32_t registers[] = { MSR_LSTAR, MSR_CSTAR, MSR_FS_BASE, MSR_GS_BASE,
		MSR_KERNEL_GS_BASE, MSR_IA32_SYSENTER_ESP, MSR_IA32_SYSENTER_EIP };

	(void)context;
	for (unsigned i = 0; i < ARRAY_SIZE(registers); i++) {
		assert_stores(registers[i], 0xffffffff81000000 + i);
		assert_refuses(registers[i], BIT(47));
	}
	assert_int_equal(cpu->segment[X86_GS].base, 0xffffffff81000003);
}

static void test_memory_types(void **context)
{
	(void)context;
	assert_stores(MSR_IA32_PAT, 0x0007010600070106);
	assert_refuses(MSR_IA32_PAT, 2);
	assert_refuses(MSR_IA32_PAT, UINT64_C(8) << 56);
	assert_stores(MSR_IA32_MTRR_DEF_TYPE, 0xc06);
	assert_refuses(MSR_IA32_MTRR_DEF_TYPE, 0xc07); /* UC- is the PAT's only */
	assert_refuses(MSR_IA32_MTRR_DEF_TYPE, 0x1000);
	assert_stores(0x250, 0x0606060606060606);
	assert_refuses(0x250, 0x0602060606060606);
	assert_stores(0x26f, 0x0505050505050505);
	assert_stores(0x259, 0);
	assert_int_equal(cpu->mtrr_fixed[10], 0x0505050505050505);
	assert_stores(0x202, 0x80000006);
	assert_stores(0x203, 0xf80000800);
	assert_refuses(0x202, 0x80000106);
	assert_refuses(0x203, UINT64_C(1) << 52 | 0x800);
}

static void test_speculation_control(void **context)
{
	(void)context;
	assert_stores(MSR_IA32_SPEC_CTRL, 1);
	assert_refuses(MSR_IA32_SPEC_CTRL, BIT(40));
	assert_true(msr_write(cpu, MSR_IA32_PRED_CMD, 1));
	assert_false(msr_write(cpu, MSR_IA32_PRED_CMD, 2));
}

static void test_machine_check_banks(void **context)
{
	(void)context;
	assert_int_equal(read_msr(MSR_IA32_MCG_CAP) & 0xff, 10);
	assert_stores(MSR_IA32_MC0_CTL + 4 * 9, 0xff);
	assert_stores(MSR_IA32_MC0_CTL + 4 * 9 + 1, 0);
	assert_refuses(MSR_IA32_MC0_CTL + 4 * 9 + 1, 1);
	assert_int_equal(cpu->mc_bank[9][0], 0xff);
	assert_false(msr_read(cpu, MSR_IA32_MC0_CTL + 40, &(uint64_t){ 0 }));
}

static void test_efer(void **context)
{
	(void)context;
	assert_stores(MSR_EFER, EFER_SCE | EFER_LME | EFER_NXE);
	assert_refuses(MSR_EFER, EFER_SVME);
	assert_refuses(MSR_EFER, BIT(63));
	/* LMA cannot be set by hand. */
	assert_true(msr_write(cpu, MSR_EFER, EFER_LME | EFER_LMA));
	assert_int_equal(read_msr(MSR_EFER), EFER_LME);
	/* LME cannot change under paging. */
	cpu->cr0 |= CR0_PG | CR0_PE;
	cpu->efer |= EFER_LMA;
	assert_refuses(MSR_EFER, EFER_NXE);
	assert_stores(MSR_EFER, EFER_LME | EFER_LMA | EFER_NXE);
}

static bool near(uint64_t value, uint64_t expected)
{
	return value - expected < fixture.model.tsc_hz / 10;
}

static void test_tsc(void **context)
{
	(void)context;
	assert_true(msr_write(cpu, MSR_IA32_TSC, 1000));
	assert_true(near(read_msr(MSR_IA32_TSC), 1000));
	/* Written back, the adjustment undoes the write (SDM 3B 18.17.3). */
	assert_stores(MSR_IA32_TSC_ADJUST, read_msr(MSR_IA32_TSC_ADJUST) + BIT(50));
	assert_true(near(read_msr(MSR_IA32_TSC), BIT(50) + 1000));
	assert_true(msr_write(cpu, MSR_IA32_TSC, BIT(60)));
	assert_true(near(read_msr(MSR_IA32_TSC), BIT(60)));
}

/* A count of the APIC timer is one of time: a write of the TSC does not move it. */
static void test_tsc_write_keeps_the_timer(void **context)
{
	ns_t remaining;

	(void)context;
	apic_mmio_write(cpu, 0xf0, 0x1ff);
	apic_mmio_write(cpu, 0x320, 0x31);
	apic_mmio_write(cpu, 0x3e0, 0xb);
	apic_mmio_write(cpu, 0x380, 4000000000u);
	assert_true(msr_write(cpu, MSR_IA32_TSC, BIT(61)));
	remaining = apic_timer_remaining_ns(cpu);
	assert_true(remaining > 3900 * NS_PER_MS && remaining <= 4000 * NS_PER_MS);
}

/* Registers come with their features. */
static void test_old_processor(void **context)
{
	uint64_t value;

	(void)context;
	engine_fixture_destroy(&fixture);
	create("pentium2");
	assert_false(msr_read(cpu, MSR_EFER, &value));
	assert_false(msr_read(cpu, MSR_LSTAR, &value));
	assert_false(msr_read(cpu, MSR_TSC_AUX, &value));
	assert_false(msr_read(cpu, MSR_IA32_TSC_DEADLINE, &value));
	assert_true(msr_read(cpu, MSR_IA32_SYSENTER_CS, &value));
	assert_true(msr_read(cpu, MSR_IA32_PAT, &value));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_reset_values),
		TEST(test_write_back),
		TEST(test_absent),
		TEST(test_canonical_addresses),
		TEST(test_memory_types),
		TEST(test_speculation_control),
		TEST(test_machine_check_banks),
		TEST(test_efer),
		TEST(test_tsc),
		TEST(test_tsc_write_keeps_the_timer),
		TEST(test_old_processor),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
