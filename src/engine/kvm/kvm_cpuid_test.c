/* What of a CPU model's CPUID reaches a guest on a KVM that supports less (SDM 2A, CPUID). */
#include "engine/kvm/kvm_engine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define LEAF1_ECX_AES          BIT(25)
#define LEAF1_ECX_TSC_DEADLINE BIT(24)
#define LEAF1_ECX_HYPERVISOR   BIT(31)
#define LEAF7_EBX_SMEP         BIT(7)

static const struct cpu_model model = {
	.name = "test",
	.leaves = {
		{ .leaf = 0, .eax = 0x16, .ebx = 0x68747541 },
		{ .leaf = 1,
			.eax = 0x800f12,
			.ecx = LEAF1_ECX_AES | LEAF1_ECX_TSC_DEADLINE | LEAF1_ECX_HYPERVISOR,
			.edx = 1 },
		{ .leaf = 7, .subleaf_matters = true, .ebx = LEAF7_EBX_SMEP | BIT(29) },
		{ .leaf = 7, .subleaf = 1, .subleaf_matters = true, .eax = BIT(4) },
		{ .leaf = 0x15, .eax = 1000000, .ebx = 2000000, .ecx = 1000000000 },
		{ .leaf = 0x80000008, .eax = 46 | 48 << 8 },
	},
	.nr_leaves = 6,
	.nr_vcpus = 2,
	.tsc_hz = 2000000000,
};

static struct kvm_cpuid_table *supported, *table;

static int create(void **state)
{
	(void)state;
	supported = calloc(2, sizeof(*supported));
	table = supported + 1;
	supported->entries[supported->header.nent++] =
		(struct kvm_cpuid_entry2){ .function = 1, .edx = 0xffffffff };
	supported->entries[supported->header.nent++] = (struct kvm_cpuid_entry2){
		.function = 7, .flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX, .ebx = LEAF7_EBX_SMEP
	};
	supported->entries[supported->header.nent++] =
		(struct kvm_cpuid_entry2){ .function = 0x80000008, .eax = 40 | 48 << 8 };
	return 0;
}

static int destroy(void **state)
{
	(void)state;
	free(supported);
	return 0;
}

static const struct kvm_cpuid_entry2 *entry(uint32_t leaf, uint32_t subleaf)
{
	for (uint32_t i = 0; i < table->header.nent; i++)
		if (table->entries[i].function == leaf && table->entries[i].index == subleaf)
			return &table->entries[i];
	fail_msg("leaf %#x is missing", leaf);
	return NULL;
}

static void test_features_are_masked(void **state)
{
	(void)state;
	kvm_cpuid_build(&model, 0, supported, false, model.tsc_hz, table);
	assert_int_equal(table->header.nent, model.nr_leaves);
	assert_int_equal(entry(1, 0)->ecx, LEAF1_ECX_HYPERVISOR);
	assert_int_equal(entry(1, 0)->edx, 1);
	assert_int_equal(entry(7, 0)->ebx, LEAF7_EBX_SMEP);
	/* A leaf that KVM does not report supports nothing. */
	assert_int_equal(entry(7, 1)->eax, 0);
	/* What describes no feature stays. */
	assert_int_equal(entry(0, 0)->ebx, 0x68747541);
	assert_int_equal(entry(1, 0)->eax, 0x800f12);
}

static void test_tsc_deadline_is_a_capability(void **state)
{
	(void)state;
	kvm_cpuid_build(&model, 0, supported, true, model.tsc_hz, table);
	assert_int_equal(entry(1, 0)->ecx, LEAF1_ECX_TSC_DEADLINE | LEAF1_ECX_HYPERVISOR);
}

static void test_subleaves(void **state)
{
	(void)state;
	kvm_cpuid_build(&model, 0, supported, false, model.tsc_hz, table);
	assert_int_equal(entry(1, 0)->flags, 0);
	assert_int_equal(entry(7, 0)->flags, KVM_CPUID_FLAG_SIGNIFCANT_INDEX);
	assert_int_equal(entry(7, 1)->flags, KVM_CPUID_FLAG_SIGNIFCANT_INDEX);
}

static void test_each_vcpu_has_its_apic_id(void **state)
{
	(void)state;
	kvm_cpuid_build(&model, 1, supported, false, model.tsc_hz, table);
	assert_int_equal(entry(1, 0)->ebx >> 24, 1);
}

static void test_address_bits_are_the_hosts(void **state)
{
	(void)state;
	kvm_cpuid_build(&model, 0, supported, false, model.tsc_hz, table);
	assert_int_equal(entry(0x80000008, 0)->eax, 40 | 48 << 8);
}

static void test_rate_is_the_real_one(void **state)
{
	(void)state;
	kvm_cpuid_build(&model, 0, supported, false, 2001000000, table);
	assert_int_equal(entry(0x15, 0)->ebx, 2001000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_features_are_masked),
		cmocka_unit_test(test_tsc_deadline_is_a_capability),
		cmocka_unit_test(test_subleaves),
		cmocka_unit_test(test_each_vcpu_has_its_apic_id),
		cmocka_unit_test(test_address_bits_are_the_hosts),
		cmocka_unit_test(test_rate_is_the_real_one),
	};

	return cmocka_run_group_tests(tests, create, destroy);
}
