/*
 * CPU models: what CPUID tells a guest (SDM 2A, CPUID; AMD APM 3 appendix E).
 *
 * A model is a level: it has every feature of feature_rows up to that level. Instructions that a
 * level promises must be in the host's unit, or the model is refused; the rest of a level is taken
 * where the host has it. Vendor, family, model and stepping are the host's, so that a guest applies
 * the errata that fit what really executes, except in the 32-bit models, which say what they were.
 *
 * Topology is one package of nr_vcpus cores with one thread each. Timing: the APIC timer's input
 * is CPU_MODEL_APIC_HZ, told in leaves 15h and 40000010h; KVM's in-kernel APIC has the same.
 *
 * Not modelled: leaves beyond the last return zeros for every vendor; leaf 1's APIC bit does not
 * follow IA32_APIC_BASE. A model is immutable after init.
 */
#include "x86/cpu_model.h"

#include "base/bits.h"
#include "x86/registers.h"
#include "x86/tsc_frequency.h"

#include <cpuid.h>
#include <errno.h>
#include <string.h>

enum cpuid_register { EAX, EBX, ECX, EDX };

enum level { PENTIUM2, PENTIUM3, X86_64, V2, V3, MAX, NEVER };

enum provider {
	PROMISED, /* the host must have it */
	HOST,     /* taken where the host has it */
	ENGINE,   /* both engines provide it on every host */
};

struct feature_row {
	uint32_t leaf;
	uint8_t subleaf, reg, bit;
	uint8_t level, provider;
};

/* Whatever is not here (AVX-512, XSAVES, CET, LA57, PKU, RTM, MPX, SVM, VMX, XOP...) is hidden. */
static const struct feature_row feature_rows[CPU_NR_FEATURES] = {
	[CPU_FEATURE_FPU] = { 1, 0, EDX, 0, PENTIUM2, PROMISED },
	[CPU_FEATURE_VME] = { 1, 0, EDX, 1, PENTIUM2, HOST },
	[CPU_FEATURE_DE] = { 1, 0, EDX, 2, PENTIUM2, HOST },
	[CPU_FEATURE_PSE] = { 1, 0, EDX, 3, PENTIUM2, HOST },
	[CPU_FEATURE_TSC] = { 1, 0, EDX, 4, PENTIUM2, PROMISED },
	[CPU_FEATURE_MSR] = { 1, 0, EDX, 5, PENTIUM2, PROMISED },
	[CPU_FEATURE_PAE] = { 1, 0, EDX, 6, PENTIUM2, HOST },
	[CPU_FEATURE_MCE] = { 1, 0, EDX, 7, PENTIUM2, ENGINE },
	[CPU_FEATURE_CX8] = { 1, 0, EDX, 8, PENTIUM2, PROMISED },
	[CPU_FEATURE_APIC] = { 1, 0, EDX, 9, PENTIUM2, ENGINE },
	[CPU_FEATURE_SEP] = { 1, 0, EDX, 11, PENTIUM2, HOST },
	[CPU_FEATURE_MTRR] = { 1, 0, EDX, 12, PENTIUM2, ENGINE },
	[CPU_FEATURE_PGE] = { 1, 0, EDX, 13, PENTIUM2, HOST },
	[CPU_FEATURE_MCA] = { 1, 0, EDX, 14, PENTIUM2, ENGINE },
	[CPU_FEATURE_CMOV] = { 1, 0, EDX, 15, PENTIUM2, PROMISED },
	[CPU_FEATURE_PAT] = { 1, 0, EDX, 16, PENTIUM2, HOST },
	[CPU_FEATURE_PSE36] = { 1, 0, EDX, 17, PENTIUM2, HOST },
	[CPU_FEATURE_MMX] = { 1, 0, EDX, 23, PENTIUM2, PROMISED },
	[CPU_FEATURE_FXSR] = { 1, 0, EDX, 24, PENTIUM2, PROMISED },
	[CPU_FEATURE_HYPERVISOR] = { 1, 0, ECX, 31, PENTIUM2, ENGINE },

	[CPU_FEATURE_SSE] = { 1, 0, EDX, 25, PENTIUM3, PROMISED },

	[CPU_FEATURE_CLFLUSH] = { 1, 0, EDX, 19, X86_64, PROMISED },
	[CPU_FEATURE_SSE2] = { 1, 0, EDX, 26, X86_64, PROMISED },
	[CPU_FEATURE_X2APIC] = { 1, 0, ECX, 21, X86_64, ENGINE },
	[CPU_FEATURE_TSC_DEADLINE] = { 1, 0, ECX, 24, X86_64, ENGINE },
	[CPU_FEATURE_TSC_ADJUST] = { 7, 0, EBX, 1, X86_64, ENGINE },
	[CPU_FEATURE_SYSCALL] = { 0x80000001, 0, EDX, 11, X86_64, PROMISED },
	[CPU_FEATURE_NX] = { 0x80000001, 0, EDX, 20, X86_64, PROMISED },
	[CPU_FEATURE_RDTSCP] = { 0x80000001, 0, EDX, 27, X86_64, HOST },
	[CPU_FEATURE_LM] = { 0x80000001, 0, EDX, 29, X86_64, PROMISED },
	[CPU_FEATURE_PREFETCHW] = { 0x80000001, 0, ECX, 8, X86_64, HOST },
	[CPU_FEATURE_MMXEXT] = { 0x80000001, 0, EDX, 22, X86_64, HOST },

	[CPU_FEATURE_SSE3] = { 1, 0, ECX, 0, V2, PROMISED },
	[CPU_FEATURE_SSSE3] = { 1, 0, ECX, 9, V2, PROMISED },
	[CPU_FEATURE_CX16] = { 1, 0, ECX, 13, V2, PROMISED },
	[CPU_FEATURE_SSE41] = { 1, 0, ECX, 19, V2, PROMISED },
	[CPU_FEATURE_SSE42] = { 1, 0, ECX, 20, V2, PROMISED },
	[CPU_FEATURE_POPCNT] = { 1, 0, ECX, 23, V2, PROMISED },
	[CPU_FEATURE_LAHF_LM] = { 0x80000001, 0, ECX, 0, V2, PROMISED },
	[CPU_FEATURE_PCID] = { 1, 0, ECX, 17, V2, HOST },
	[CPU_FEATURE_FSGSBASE] = { 7, 0, EBX, 0, V2, HOST },
	[CPU_FEATURE_SMEP] = { 7, 0, EBX, 7, V2, HOST },
	[CPU_FEATURE_ERMS] = { 7, 0, EBX, 9, V2, HOST },
	[CPU_FEATURE_INVPCID] = { 7, 0, EBX, 10, V2, HOST },
	[CPU_FEATURE_SMAP] = { 7, 0, EBX, 20, V2, HOST },
	[CPU_FEATURE_UMIP] = { 7, 0, ECX, 2, V2, HOST },
	[CPU_FEATURE_FSRM] = { 7, 0, EDX, 4, V2, HOST },
	[CPU_FEATURE_PDPE1GB] = { 0x80000001, 0, EDX, 26, V2, HOST },

	[CPU_FEATURE_FMA] = { 1, 0, ECX, 12, V3, PROMISED },
	[CPU_FEATURE_MOVBE] = { 1, 0, ECX, 22, V3, PROMISED },
	[CPU_FEATURE_XSAVE] = { 1, 0, ECX, 26, V3, PROMISED },
	[CPU_FEATURE_AVX] = { 1, 0, ECX, 28, V3, PROMISED },
	[CPU_FEATURE_F16C] = { 1, 0, ECX, 29, V3, PROMISED },
	[CPU_FEATURE_BMI1] = { 7, 0, EBX, 3, V3, PROMISED },
	[CPU_FEATURE_AVX2] = { 7, 0, EBX, 5, V3, PROMISED },
	[CPU_FEATURE_BMI2] = { 7, 0, EBX, 8, V3, PROMISED },
	[CPU_FEATURE_ABM] = { 0x80000001, 0, ECX, 5, V3, PROMISED },
	[CPU_FEATURE_XSAVEOPT] = { 0xd, 1, EAX, 0, V3, HOST },
	[CPU_FEATURE_XSAVEC] = { 0xd, 1, EAX, 1, V3, HOST },
	[CPU_FEATURE_XGETBV1] = { 0xd, 1, EAX, 2, V3, HOST },

	[CPU_FEATURE_PCLMULQDQ] = { 1, 0, ECX, 1, MAX, HOST },
	[CPU_FEATURE_AES] = { 1, 0, ECX, 25, MAX, HOST },
	[CPU_FEATURE_RDRAND] = { 1, 0, ECX, 30, MAX, HOST },
	[CPU_FEATURE_RDSEED] = { 7, 0, EBX, 18, MAX, HOST },
	[CPU_FEATURE_ADX] = { 7, 0, EBX, 19, MAX, HOST },
	[CPU_FEATURE_CLFLUSHOPT] = { 7, 0, EBX, 23, MAX, HOST },
	[CPU_FEATURE_CLWB] = { 7, 0, EBX, 24, MAX, HOST },
	[CPU_FEATURE_SHA] = { 7, 0, EBX, 29, MAX, HOST },
	[CPU_FEATURE_GFNI] = { 7, 0, ECX, 8, MAX, HOST },
	[CPU_FEATURE_VAES] = { 7, 0, ECX, 9, MAX, HOST },
	[CPU_FEATURE_VPCLMULQDQ] = { 7, 0, ECX, 10, MAX, HOST },
	[CPU_FEATURE_RDPID] = { 7, 0, ECX, 22, MAX, HOST },
	[CPU_FEATURE_SSE4A] = { 0x80000001, 0, ECX, 6, MAX, HOST },

	[CPU_FEATURE_MONITOR] = { 1, 0, ECX, 3, NEVER, HOST },
};

/* Bits that describe how the host's unit behaves rather than what it can do, and what it needs
 * against speculation. They hold for whatever the guest executes on it. */
static const struct {
	uint32_t leaf;
	uint8_t reg;
	uint32_t mask;
} host_traits[] = {
	{ 7, EBX, BIT(6) | BIT(13) },            /* FDP_EXCPTN_ONLY, no FPU CS and DS */
	{ 7, EDX, BIT(26) | BIT(27) | BIT(31) }, /* IBRS and IBPB, STIBP, SSBD */
	{ 0x80000008, EBX, BIT(2) },             /* XSAVEERPTR */
	{ 0x80000008, EBX, BIT(12) | BIT(14) },  /* IBPB, IBRS */
	{ 0x80000008, EBX, BIT(15) | BIT(24) },  /* STIBP, SSBD */
	{ 0x80000008, EBX, BIT(26) | BIT(29) },  /* SSB_NO, BTC_NO */
	{ 0x80000021, EAX, BIT(2) | BIT(29) },   /* LFENCE serialises, SRSO_NO */
	{ 0x80000021, ECX, BIT(1) | BIT(2) },    /* TSA_SQ_NO, TSA_L1_NO */
};

static const struct {
	const char *name;
	enum level level;
	uint32_t signature; /* CPUID.1:EAX; 0: the host's */
	uint32_t max_basic, max_extended;
} model_rows[] = {
	{ "max", MAX, 0, 0x16, 0x80000008 },
	{ "x86-64-v3", V3, 0, 0x16, 0x80000008 },
	{ "x86-64-v2", V2, 0, 0x16, 0x80000008 },
	{ "x86-64", X86_64, 0, 0x16, 0x80000008 },
	{ "pentium3", PENTIUM3, 0x686, 2, 0 },
	{ "pentium2", PENTIUM2, 0x652, 2, 0 },
};

const char *cpu_model_names(void)
{
	return "max x86-64-v3 x86-64-v2 x86-64 pentium3 pentium2";
}

#define LEAF1_HTT                  BIT(28)
#define LEAF1_OSXSAVE              BIT(27)
#define LEAF6_ARAT                 BIT(2)
#define LEAF7_ARCH_CAPABILITIES    BIT(29)
#define LEAF80000001_CMP_LEGACY    BIT(1)
#define LEAF80000007_INVARIANT_TSC BIT(8)
/* AMD repeats these bits of leaf 1's EDX in leaf 80000001h. */
#define AMD_ALIASES (BITS(9, 0) | BITS(17, 12) | BITS(24, 23))

#define KVM_FEATURE_CLOCKSOURCE        BIT(0)
#define KVM_FEATURE_NOP_IO_DELAY       BIT(1)
#define KVM_FEATURE_CLOCKSOURCE2       BIT(3)
#define KVM_FEATURE_PV_EOI             BIT(6) /* a bit in memory, if set, is cleared instead of an EOI */
#define KVM_FEATURE_CLOCKSOURCE_STABLE BIT(24)

#define VIRTUAL_ADDRESS_BITS      48
#define MAX_PHYSICAL_ADDRESS_BITS 46 /* of a guest: the least that Intel servers have had */

static void host_cpuid(uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
	uint32_t max;

	out[EAX] = out[EBX] = out[ECX] = out[EDX] = 0;
	__cpuid(leaf & 0x80000000, max, out[EBX], out[ECX], out[EDX]);
	if (leaf > max || (max ^ leaf) & 0x80000000) {
		out[EBX] = out[ECX] = out[EDX] = 0;
		return;
	}
	__cpuid_count(leaf, subleaf, out[EAX], out[EBX], out[ECX], out[EDX]);
}

static uint32_t *leaf_register(struct cpuid_leaf *leaf, unsigned reg)
{
	uint32_t *registers[] = { &leaf->eax, &leaf->ebx, &leaf->ecx, &leaf->edx };

	return registers[reg];
}

static struct cpuid_leaf *find(const struct cpu_model *model, uint32_t leaf, uint32_t subleaf)
{
	for (unsigned i = 0; i < model->nr_leaves; i++) {
		const struct cpuid_leaf *candidate = &model->leaves[i];

		if (candidate->leaf == leaf &&
			(!candidate->subleaf_matters || candidate->subleaf == subleaf))
			return (struct cpuid_leaf *)candidate;
	}
	return NULL;
}

static struct cpuid_leaf *add(struct cpu_model *model, uint32_t leaf, int subleaf)
{
	struct cpuid_leaf *added = &model->leaves[model->nr_leaves++];

	*added = (struct cpuid_leaf){ .leaf = leaf,
		.subleaf = subleaf < 0 ? 0 : (uint32_t)subleaf,
		.subleaf_matters = subleaf >= 0 };
	return added;
}

static struct cpuid_leaf *add_host(struct cpu_model *model, uint32_t leaf, int subleaf)
{
	struct cpuid_leaf *added = add(model, leaf, subleaf);
	uint32_t out[4];

	host_cpuid(leaf, added->subleaf, out);
	for (unsigned reg = EAX; reg <= EDX; reg++)
		*leaf_register(added, reg) = out[reg];
	return added;
}

/* The components that the host's kernel lets programs use; 0 if it does not use XSAVE. */
static uint64_t host_xcr0(void)
{
	uint32_t out[4], eax, edx;

	host_cpuid(1, 0, out);
	if (!(out[ECX] & LEAF1_OSXSAVE))
		return 0;
	__asm__("xgetbv" : "=a"(eax), "=d"(edx) : "c"(0));
	return (uint64_t)edx << 32 | eax;
}

/* What the unit has is of no use where the kernel has not turned its registers on. */
static bool host_enables(enum cpu_feature feature)
{
	switch (feature) {
	case CPU_FEATURE_XSAVE:
	case CPU_FEATURE_XSAVEOPT:
	case CPU_FEATURE_XSAVEC:
	case CPU_FEATURE_XGETBV1: return host_xcr0() & XCR0_X87;
	case CPU_FEATURE_AVX:
	case CPU_FEATURE_AVX2:
	case CPU_FEATURE_FMA:
	case CPU_FEATURE_F16C:
	case CPU_FEATURE_VAES:
	case CPU_FEATURE_VPCLMULQDQ: return host_xcr0() & XCR0_AVX;
	default: return true;
	}
}

static bool host_has(enum cpu_feature feature)
{
	const struct feature_row *row = &feature_rows[feature];
	uint32_t out[4];

	host_cpuid(row->leaf, row->subleaf, out);
	return out[row->reg] >> row->bit & 1 && host_enables(feature);
}

/* The number of APIC id bits that a package of `count` cores takes. */
static unsigned id_bits(unsigned count)
{
	unsigned bits = 0;

	while (1u << bits < count)
		bits++;
	return bits;
}

static int add_features(struct cpu_model *model, enum level level, struct error *err)
{
	for (unsigned i = 0; i < CPU_NR_FEATURES; i++) {
		const struct feature_row *row = &feature_rows[i];
		struct cpuid_leaf *leaf = find(model, row->leaf, row->subleaf);

		if (row->level > level || !leaf)
			continue;
		if (row->provider == ENGINE || host_has(i))
			*leaf_register(leaf, row->reg) |= 1u << row->bit;
		else if (row->provider == PROMISED && level != MAX)
			return error_set(err, EXIT_CODE_UNAVAILABLE,
				"CPU model %s needs an instruction set that this host lacks "
				"(CPUID leaf %#x, bit %u); choose --cpu max",
				model->name, row->leaf, row->bit);
	}
	return 0;
}

static void add_traits(struct cpu_model *model)
{
	for (unsigned i = 0; i < ARRAY_SIZE(host_traits); i++) {
		struct cpuid_leaf *leaf = find(model, host_traits[i].leaf, 0);
		uint32_t out[4];

		if (!leaf)
			continue;
		host_cpuid(host_traits[i].leaf, 0, out);
		*leaf_register(leaf, host_traits[i].reg) |=
			out[host_traits[i].reg] & host_traits[i].mask;
	}
}

static void add_vendor(struct cpuid_leaf *leaf, enum cpu_vendor vendor)
{
	static const char *const names[] = {
		[CPU_VENDOR_INTEL] = "GenuineIntel",
		[CPU_VENDOR_AMD] = "AuthenticAMD",
	};

	memcpy(&leaf->ebx, names[vendor], 4);
	memcpy(&leaf->edx, names[vendor] + 4, 4);
	memcpy(&leaf->ecx, names[vendor] + 8, 4);
}

static enum cpu_vendor host_vendor(void)
{
	uint32_t out[4];

	host_cpuid(0, 0, out);
	/* "Auth", "Hygo": Hygon's processors are AMD's Zen. */
	return out[EBX] == 0x68747541 || out[EBX] == 0x6f677948 ? CPU_VENDOR_AMD : CPU_VENDOR_INTEL;
}

/* Deterministic cache parameters: the host's caches, the last level shared by the package. */
static void add_intel_caches(struct cpu_model *model)
{
	const uint32_t core_ids = (1u << id_bits(model->nr_vcpus)) - 1;

	for (int subleaf = 0; subleaf < 8; subleaf++) {
		struct cpuid_leaf *leaf = add_host(model, 4, subleaf);
		unsigned level = field_get(BITS(7, 5), leaf->eax);

		if (!(leaf->eax & BITS(4, 0)))
			return;
		leaf->eax = field_set(BITS(25, 14), leaf->eax, level >= 3 ? core_ids : 0);
		leaf->eax = field_set(BITS(31, 26), leaf->eax, core_ids);
	}
}

static void add_topology(struct cpu_model *model)
{
	struct cpuid_leaf *leaf;

	leaf = add(model, 0xb, 0); /* one thread in a core */
	leaf->ebx = 1;
	leaf->ecx = 1 << 8;
	leaf = add(model, 0xb, 1); /* nr_vcpus cores in the package */
	leaf->eax = id_bits(model->nr_vcpus);
	leaf->ebx = model->nr_vcpus;
	leaf->ecx = 2 << 8 | 1;
}

static void add_xsave_leaves(struct cpu_model *model)
{
	struct cpuid_leaf *leaf;
	uint32_t out[4];

	add(model, 0xd, 0);
	add(model, 0xd, 1);
	host_cpuid(0xd, 0, out);
	model->xcr0_supported = out[EAX] & host_xcr0() & (XCR0_X87 | XCR0_SSE | XCR0_AVX);
	if (!(model->xcr0_supported & XCR0_AVX))
		return;
	leaf = add(model, 0xd, 2);
	leaf->eax = 256; /* YMM_Hi128 */
	leaf->ebx = 576;
}

static void add_timing_leaves(struct cpu_model *model)
{
	uint32_t mhz = (uint32_t)((model->tsc_hz + 500000) / 1000000);
	struct cpuid_leaf *leaf;

	leaf = add(model, 0x15, -1);
	leaf->eax = CPU_MODEL_APIC_HZ / 1000;
	leaf->ebx = (uint32_t)(model->tsc_hz / 1000);
	leaf->ecx = CPU_MODEL_APIC_HZ;
	leaf = add(model, 0x16, -1);
	leaf->eax = leaf->ebx = mhz;
	leaf->ecx = 100;
}

static void add_hypervisor_leaves(struct cpu_model *model, bool invariant_tsc)
{
	struct cpuid_leaf *leaf = add(model, 0x40000000, -1);

	leaf->eax = 0x40000010;
	memcpy(&leaf->ebx, "KVMK", 4);
	memcpy(&leaf->ecx, "VMKV", 4);
	memcpy(&leaf->edx, "M\0\0\0", 4);
	leaf = add(model, 0x40000001, -1);
	leaf->eax = KVM_FEATURE_CLOCKSOURCE | KVM_FEATURE_NOP_IO_DELAY | KVM_FEATURE_CLOCKSOURCE2 |
		    KVM_FEATURE_PV_EOI;
	if (invariant_tsc)
		leaf->eax |= KVM_FEATURE_CLOCKSOURCE_STABLE;
	leaf = add(model, 0x40000010, -1);
	leaf->eax = (uint32_t)(model->tsc_hz / 1000);
	leaf->ebx = CPU_MODEL_APIC_HZ / 1000;
}

static bool add_extended_leaves(struct cpu_model *model, uint32_t max)
{
	struct cpuid_leaf *leaf = add(model, 0x80000000, -1);
	bool amd = model->vendor == CPU_VENDOR_AMD;
	uint32_t out[4];

	leaf->eax = amd ? 0x80000021 : max;
	add_vendor(leaf, model->vendor);
	leaf = add(model, 0x80000001, -1);
	if (amd) {
		leaf->eax = model->signature;
		if (model->nr_vcpus > 1)
			leaf->ecx = LEAF80000001_CMP_LEGACY;
		add_host(model, 0x80000005, -1);
	}
	for (uint32_t brand = 0x80000002; brand <= 0x80000004; brand++)
		add_host(model, brand, -1);
	add_host(model, 0x80000006, -1);
	host_cpuid(0x80000007, 0, out);
	leaf = add(model, 0x80000007, -1);
	leaf->edx = out[EDX] & LEAF80000007_INVARIANT_TSC;
	leaf = add(model, 0x80000008, -1);
	leaf->eax = model->physical_address_bits | VIRTUAL_ADDRESS_BITS << 8;
	if (amd) {
		leaf->ecx = id_bits(model->nr_vcpus) << 12 | (model->nr_vcpus - 1);
		add(model, 0x80000021, -1);
	}
	return out[EDX] & LEAF80000007_INVARIANT_TSC;
}

static unsigned host_physical_address_bits(void)
{
	uint32_t out[4];

	host_cpuid(0x80000008, 0, out);
	return out[EAX] & 0xff ? out[EAX] & 0xff : 36;
}

static void finish_leaf_1(struct cpu_model *model)
{
	struct cpuid_leaf *leaf = find(model, 1, 0);

	leaf->eax = model->signature;
	leaf->ebx = 8 << 8; /* CLFLUSH: 8 * 8 bytes */
	if (model->nr_vcpus > 1) {
		leaf->ebx |= model->nr_vcpus << 16;
		leaf->edx |= LEAF1_HTT;
	}
}

/* A level without XSAVE has no components either. */
static void finish_xsave(struct cpu_model *model)
{
	struct cpuid_leaf *leaf = find(model, 0xd, 0), *avx = find(model, 0xd, 2);

	if (!cpu_model_has(model, CPU_FEATURE_XSAVE)) {
		model->xcr0_supported = 0;
		if (avx)
			avx->eax = avx->ebx = 0;
		return;
	}
	leaf->eax = (uint32_t)model->xcr0_supported;
	leaf->ecx = model->xcr0_supported & XCR0_AVX ? 832 : 576;
}

int cpu_model_init(struct cpu_model *model, const char *name, unsigned nr_vcpus, struct error *err)
{
	unsigned row = 0;
	bool invariant_tsc = false;
	uint32_t out[4];

	while (row < ARRAY_SIZE(model_rows) && strcmp(model_rows[row].name, name) != 0)
		row++;
	if (row == ARRAY_SIZE(model_rows))
		return error_set(err, EXIT_CODE_USAGE,
			"there is no CPU model '%s'; choose one of %s", name, cpu_model_names());

	memset(model, 0, sizeof(*model));
	model->name = model_rows[row].name;
	model->nr_vcpus = nr_vcpus;
	model->tsc_hz = tsc_frequency();
	model->physical_address_bits = 36;
	host_cpuid(1, 0, out);
	model->signature = out[EAX];
	model->vendor = host_vendor();
	if (model_rows[row].signature) {
		model->signature = model_rows[row].signature;
		model->vendor = CPU_VENDOR_INTEL;
	} else {
		unsigned host_bits = host_physical_address_bits();

		model->physical_address_bits = host_bits < MAX_PHYSICAL_ADDRESS_BITS
						       ? host_bits
						       : MAX_PHYSICAL_ADDRESS_BITS;
	}

	struct cpuid_leaf *leaf = add(model, 0, -1);

	leaf->eax = model_rows[row].max_basic;
	add_vendor(leaf, model->vendor);
	add(model, 1, -1);
	if (model->vendor == host_vendor() && model->vendor == CPU_VENDOR_INTEL)
		add_host(model, 2, -1);
	if (model_rows[row].max_extended) {
		if (model->vendor == CPU_VENDOR_INTEL)
			add_intel_caches(model);
		leaf = add(model, 6, -1);
		leaf->eax = LEAF6_ARAT;
		leaf = add(model, 7, 0);
		leaf->edx = LEAF7_ARCH_CAPABILITIES;
		add_topology(model);
		add_xsave_leaves(model);
		add_timing_leaves(model);
		invariant_tsc = add_extended_leaves(model, model_rows[row].max_extended);
	}
	add_hypervisor_leaves(model, invariant_tsc);

	if (add_features(model, model_rows[row].level, err) < 0)
		return -EINVAL;
	add_traits(model);
	finish_leaf_1(model);
	if (model_rows[row].max_extended)
		finish_xsave(model);
	if (model->vendor == CPU_VENDOR_AMD)
		find(model, 0x80000001, 0)->edx |= find(model, 1, 0)->edx & AMD_ALIASES;
	return 0;
}

void cpu_model_limit_addresses(struct cpu_model *model, unsigned bits)
{
	struct cpuid_leaf *leaf = find(model, 0x80000008, 0);

	if (bits >= model->physical_address_bits)
		return;
	model->physical_address_bits = bits;
	if (leaf)
		leaf->eax = bits | VIRTUAL_ADDRESS_BITS << 8;
}

/* Bytes of the XSAVE area, standard format, for the enabled components. */
static uint32_t xsave_size(uint64_t xcr0)
{
	return xcr0 & XCR0_AVX ? 832 : 576;
}

void cpu_model_cpuid(const struct cpu_model *model, unsigned index, uint32_t leaf, uint32_t subleaf,
	bool osxsave, uint64_t xcr0, uint32_t out[4])
{
	const struct cpuid_leaf *found = find(model, leaf, subleaf);

	out[EAX] = out[EBX] = out[ECX] = out[EDX] = 0;
	if (found) {
		out[EAX] = found->eax;
		out[EBX] = found->ebx;
		out[ECX] = found->ecx;
		out[EDX] = found->edx;
	}
	switch (leaf) {
	case 1:
		out[EBX] |= index << 24;
		if (osxsave)
			out[ECX] |= LEAF1_OSXSAVE;
		break;
	case 0xb:
		/* Also of subleaves beyond the last level. */
		if (find(model, 0xb, 0)) {
			out[ECX] |= subleaf & 0xff;
			out[EDX] = index;
		}
		break;
	case 0xd:
		if (model->xcr0_supported == 0)
			break;
		if (subleaf == 0 || (subleaf == 1 && cpu_model_has(model, CPU_FEATURE_XSAVEC)))
			out[EBX] = xsave_size(xcr0);
		break;
	}
}

bool cpu_model_has(const struct cpu_model *model, enum cpu_feature feature)
{
	const struct feature_row *row = &feature_rows[feature];
	struct cpuid_leaf *leaf = find(model, row->leaf, row->subleaf);

	return leaf && *leaf_register(leaf, row->reg) >> row->bit & 1;
}

static enum level level_of(const struct cpu_model *model)
{
	for (unsigned row = 0; row < ARRAY_SIZE(model_rows); row++)
		if (strcmp(model->name, model_rows[row].name) == 0)
			return model_rows[row].level;
	return PENTIUM2;
}

void cpu_model_offer(struct cpu_model *model, enum cpu_feature feature)
{
	const struct feature_row *row = &feature_rows[feature];
	struct cpuid_leaf *leaf = find(model, row->leaf, row->subleaf);

	if (leaf && row->level <= level_of(model))
		*leaf_register(leaf, row->reg) |= 1u << row->bit;
}

void cpu_model_hide(struct cpu_model *model, enum cpu_feature feature)
{
	const struct feature_row *row = &feature_rows[feature];
	struct cpuid_leaf *leaf = find(model, row->leaf, row->subleaf);

	if (leaf)
		*leaf_register(leaf, row->reg) &= ~(1u << row->bit);
}
