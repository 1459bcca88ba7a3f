/*
 * CPU models: levels as the x86-64 psABI (section 3.1.1) defines them, topology, what is hidden,
 * and the leaves that depend on the vCPU or its state.
 */
#include "x86/cpu_model.h"

#include "base/bits.h"
#include "x86/registers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

enum { EAX, EBX, ECX, EDX };

static struct cpu_model model;
static uint32_t out[4];

static void make(const char *name, unsigned nr_vcpus)
{
	struct error err = { 0 };

	if (cpu_model_init(&model, name, nr_vcpus, &err) < 0)
		fail_msg("%s", err.text);
}

static void ask(unsigned index, uint32_t leaf, uint32_t subleaf)
{
	cpu_model_cpuid(&model, index, leaf, subleaf, false, XCR0_X87, out);
}

static void assert_features(const enum cpu_feature *features, unsigned count, bool expected)
{
	for (unsigned i = 0; i < count; i++) {
		if (cpu_model_has(&model, features[i]) != expected)
			fail_msg("%s: feature %u is %d", model.name, features[i], !expected);
	}
}

static const enum cpu_feature v2_only[] = { CPU_FEATURE_CX16, CPU_FEATURE_LAHF_LM,
	CPU_FEATURE_POPCNT, CPU_FEATURE_SSE3, CPU_FEATURE_SSE41, CPU_FEATURE_SSE42,
	CPU_FEATURE_SSSE3 };
static const enum cpu_feature v3_only[] = { CPU_FEATURE_AVX, CPU_FEATURE_AVX2, CPU_FEATURE_BMI1,
	CPU_FEATURE_BMI2, CPU_FEATURE_F16C, CPU_FEATURE_FMA, CPU_FEATURE_ABM, CPU_FEATURE_MOVBE,
	CPU_FEATURE_XSAVE };

static void test_levels(void **context)
{
	struct error err = { 0 };
	struct cpu_model probe;

	(void)context;
	make("x86-64", 1);
	assert_true(cpu_model_has(&model, CPU_FEATURE_SSE2));
	assert_true(cpu_model_has(&model, CPU_FEATURE_LM));
	assert_features(v2_only, ARRAY_SIZE(v2_only), false);
	assert_features(v3_only, ARRAY_SIZE(v3_only), false);
	if (cpu_model_init(&probe, "x86-64-v2", 1, &err) == 0) {
		make("x86-64-v2", 1);
		assert_features(v2_only, ARRAY_SIZE(v2_only), true);
		assert_features(v3_only, ARRAY_SIZE(v3_only), false);
		assert_int_equal(model.xcr0_supported, 0);
	}
	err.text[0] = '\0';
	if (cpu_model_init(&probe, "x86-64-v3", 1, &err) == 0) {
		make("x86-64-v3", 1);
		assert_features(v2_only, ARRAY_SIZE(v2_only), true);
		assert_features(v3_only, ARRAY_SIZE(v3_only), true);
		assert_int_equal(model.xcr0_supported, 7);
	}
}

static void test_old_processors(void **context)
{
	(void)context;
	make("pentium3", 1);
	ask(0, 1, 0);
	assert_int_equal(out[EAX], 0x686);
	assert_true(cpu_model_has(&model, CPU_FEATURE_SSE));
	assert_false(cpu_model_has(&model, CPU_FEATURE_SSE2));
	assert_false(cpu_model_has(&model, CPU_FEATURE_LM));
	make("pentium2", 1);
	ask(0, 0, 0);
	assert_int_equal(out[EAX], 2);
	assert_memory_equal(&out[EBX], "Genu", 4);
	assert_memory_equal(&out[EDX], "ineI", 4);
	assert_memory_equal(&out[ECX], "ntel", 4);
	assert_true(cpu_model_has(&model, CPU_FEATURE_MMX));
	assert_false(cpu_model_has(&model, CPU_FEATURE_SSE));
	ask(0, 0x80000000, 0);
	assert_int_equal(out[EAX], 0);
}

static void test_unknown_name(void **context)
{
	struct error err = { 0 };

	(void)context;
	assert_int_equal(cpu_model_init(&model, "i386", 1, &err), -22);
	assert_non_null(strstr(err.text, "'i386'"));
	assert_non_null(strstr(err.text, "x86-64-v3"));
	assert_int_equal(err.exit_code, EXIT_CODE_USAGE);
}

static void test_names_are_models(void **context)
{
	char names[200], *save = NULL;
	unsigned count = 0;

	(void)context;
	strcpy(names, cpu_model_names());
	for (char *name = strtok_r(names, " ", &save); name; name = strtok_r(NULL, " ", &save)) {
		struct error err = { 0 };

		/* Known, whether or not this host can do it. */
		if (cpu_model_init(&model, name, 1, &err) < 0)
			assert_int_equal(err.exit_code, EXIT_CODE_UNAVAILABLE);
		assert_true(model.nr_leaves <= CPU_MODEL_MAX_LEAVES);
		count++;
	}
	assert_int_equal(count, 6);
}

static void test_hide(void **context)
{
	(void)context;
	make("max", 1);
	assert_true(cpu_model_has(&model, CPU_FEATURE_SSE2));
	cpu_model_hide(&model, CPU_FEATURE_SSE2);
	cpu_model_hide(&model, CPU_FEATURE_RDTSCP);
	assert_false(cpu_model_has(&model, CPU_FEATURE_SSE2));
	ask(0, 1, 0);
	assert_int_equal(out[EDX] & BIT(26), 0);
	assert_int_equal(out[EDX] & BIT(25), BIT(25));
	ask(0, 0x80000001, 0);
	assert_int_equal(out[EDX] & BIT(27), 0);
}

static void test_hidden(void **context)
{
	(void)context;
	make("max", 4);
	ask(0, 1, 0);
	assert_int_equal(out[ECX] & BIT(5), 0);  /* VMX */
	assert_int_equal(out[ECX] & BIT(6), 0);  /* SMX */
	assert_int_equal(out[ECX] & BIT(15), 0); /* PDCM */
	ask(0, 7, 0);
	assert_int_equal(out[EBX] & (BIT(4) | BIT(11)), 0);       /* HLE, RTM */
	assert_int_equal(out[EBX] & BIT(14), 0);                  /* MPX */
	assert_int_equal(out[EBX] & (BITS(17, 16) | BIT(21)), 0); /* AVX-512 */
	assert_int_equal(out[EBX] & BITS(31, 30), 0);
	assert_int_equal(out[ECX] & (BIT(3) | BIT(7) | BIT(16)), 0); /* PKU, CET, LA57 */
	assert_int_equal(out[EDX] & BIT(20), 0);                     /* IBT */
	assert_int_equal(out[EAX], 0);
	ask(0, 0xd, 1);
	assert_int_equal(out[EAX] & BIT(3), 0); /* XSAVES */
	ask(0, 0xa, 0);
	assert_int_equal(out[EAX] | out[EBX] | out[ECX] | out[EDX], 0);
	ask(0, 0x80000001, 0);
	assert_int_equal(out[ECX] & BIT(2), 0);                        /* SVM */
	assert_int_equal(out[ECX] & BIT(22), 0);                       /* TOPOEXT */
	assert_int_equal(out[ECX] & (BIT(11) | BIT(15) | BIT(16)), 0); /* XOP, LWP, FMA4 */
	assert_int_equal(out[EDX] & BITS(31, 30), 0);                  /* 3DNow! */
}

static void test_topology(void **context)
{
	(void)context;
	make("max", 6);
	for (unsigned index = 0; index < 6; index++) {
		ask(index, 1, 0);
		assert_int_equal(out[EBX] >> 24, index);
		assert_int_equal(out[EBX] >> 16 & 0xff, 6);
		assert_true(out[EDX] & BIT(28));
		ask(index, 0xb, 0);
		assert_int_equal(out[EAX], 0);
		assert_int_equal(out[EBX], 1);
		assert_int_equal(out[ECX], 0x100);
		assert_int_equal(out[EDX], index);
		ask(index, 0xb, 1);
		assert_int_equal(out[EAX], 3);
		assert_int_equal(out[EBX], 6);
		assert_int_equal(out[ECX], 0x201);
		ask(index, 0xb, 2);
		assert_int_equal(out[EAX] | out[EBX], 0);
		assert_int_equal(out[ECX], 2);
		assert_int_equal(out[EDX], index);
	}
	if (model.vendor == CPU_VENDOR_AMD) {
		ask(0, 0x80000008, 0);
		assert_int_equal(out[ECX] & 0xff, 5);
		assert_int_equal(out[ECX] >> 12 & 0xf, 3);
	}
	make("max", 1);
	ask(0, 1, 0);
	assert_false(out[EDX] & BIT(28));
}

static void test_hypervisor_leaves(void **context)
{
	(void)context;
	make("max", 1);
	ask(0, 1, 0);
	assert_true(out[ECX] >> 31);
	ask(0, 0x40000000, 0);
	assert_true(out[EAX] >= 0x40000010);
	assert_memory_equal(&out[EBX], "KVMKVMKVM\0\0\0", 12);
	ask(0, 0x40000001, 0);
	assert_true(out[EAX] & BIT(3));
	assert_true(out[EAX] & BIT(6)); /* PV EOI, of which an engine need not make use */
	/* Nothing that only one engine has: async page faults, steal time, PV IPI. */
	assert_int_equal(out[EAX] & ~(BIT(0) | BIT(1) | BIT(3) | BIT(6) | BIT(24)), 0);
}

static void test_frequency(void **context)
{
	uint64_t tsc_hz;

	(void)context;
	make("max", 1);
	assert_true(model.tsc_hz > 500000000 && model.tsc_hz < UINT64_C(10000000000));
	ask(0, 0x40000010, 0);
	assert_int_equal(out[EAX], model.tsc_hz / 1000);
	ask(0, 0x15, 0);
	tsc_hz = (uint64_t)out[ECX] * out[EBX] / out[EAX];
	assert_true(model.tsc_hz - tsc_hz < 1000);
}

static void test_xsave(void **context)
{
	(void)context;
	make("max", 1);
	if (!cpu_model_has(&model, CPU_FEATURE_AVX))
		skip();
	cpu_model_cpuid(&model, 0, 0xd, 0, true, 3, out);
	assert_int_equal(out[EAX], 7);
	assert_int_equal(out[EBX], 576);
	assert_int_equal(out[ECX], 832);
	cpu_model_cpuid(&model, 0, 0xd, 0, true, 7, out);
	assert_int_equal(out[EBX], 832);
	cpu_model_cpuid(&model, 0, 0xd, 2, true, 7, out);
	assert_int_equal(out[EAX], 256);
	assert_int_equal(out[EBX], 576);
	cpu_model_cpuid(&model, 0, 1, 0, true, 7, out);
	assert_true(out[ECX] & BIT(27));
	cpu_model_cpuid(&model, 0, 1, 0, false, 1, out);
	assert_false(out[ECX] & BIT(27));
}

static void test_beyond_the_last_leaf(void **context)
{
	(void)context;
	make("max", 1);
	ask(0, 0x20, 0);
	assert_int_equal(out[EAX] | out[EBX] | out[ECX] | out[EDX], 0);
	ask(0, 0xffffffff, 0xffffffff);
	assert_int_equal(out[EAX] | out[EBX] | out[ECX] | out[EDX], 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_levels),
		cmocka_unit_test(test_old_processors),
		cmocka_unit_test(test_unknown_name),
		cmocka_unit_test(test_names_are_models),
		cmocka_unit_test(test_hide),
		cmocka_unit_test(test_hidden),
		cmocka_unit_test(test_topology),
		cmocka_unit_test(test_hypervisor_leaves),
		cmocka_unit_test(test_frequency),
		cmocka_unit_test(test_xsave),
		cmocka_unit_test(test_beyond_the_last_leaf),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
