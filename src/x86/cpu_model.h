/*
 * What a guest's CPUID says, for both engines: named models, filtered by what the host's unit can
 * really do, with topology and hypervisor leaves added.
 */
#ifndef X86_CPU_MODEL_H
#define X86_CPU_MODEL_H

#include "base/error.h"
#include "base/types.h"

struct cpuid_leaf {
	uint32_t leaf, subleaf;
	bool subleaf_matters;
	uint32_t eax, ebx, ecx, edx;
};

#define CPU_MODEL_MAX_LEAVES 64

/* The input clock of the local APIC's timer, before its divider, on both engines. */
#define CPU_MODEL_APIC_HZ 1000000000u

enum cpu_vendor { CPU_VENDOR_INTEL, CPU_VENDOR_AMD };

/* The CPUID of a machine. Per-vCPU fields (APIC ids) are filled by cpu_model_cpuid. */
struct cpu_model {
	const char *name;
	enum cpu_vendor vendor;
	uint32_t signature; /* CPUID.1:EAX: family, model, stepping */
	struct cpuid_leaf leaves[CPU_MODEL_MAX_LEAVES];
	unsigned nr_leaves;
	unsigned nr_vcpus;
	uint64_t tsc_hz;         /* of the guest's time-stamp counter */
	uint64_t xcr0_supported; /* bits that XSETBV accepts */
	unsigned physical_address_bits;
};

/*
 * Builds model `name` ("max", "x86-64-v2", "x86-64-v3", and the older "pentium2", "pentium3",
 * "x86-64") for `nr_vcpus`. Fills `err` if the name is unknown or the host's unit lacks something
 * that the model promises.
 */
int cpu_model_init(struct cpu_model *model, const char *name, unsigned nr_vcpus, struct error *err);

/* Gives guest physical addresses at most `bits` bits. Before an engine has the model. */
void cpu_model_limit_addresses(struct cpu_model *model, unsigned bits);

/* The answer of CPUID on vCPU `index`. `osxsave` is the guest's CR4.OSXSAVE; `xcr0` its XCR0. */
void cpu_model_cpuid(const struct cpu_model *model, unsigned index, uint32_t leaf, uint32_t subleaf,
	bool osxsave, uint64_t xcr0, uint32_t out[4]);

/* Names, space-separated, for help texts. */
const char *cpu_model_names(void);

/*
 * Feature bits by name, for code that must know whether the guest has an instruction. The value is
 * an index into a table of (leaf, subleaf, register, bit); cpu_model.c documents each.
 */
enum cpu_feature {
	CPU_FEATURE_FPU,
	CPU_FEATURE_VME,
	CPU_FEATURE_DE,
	CPU_FEATURE_PSE,
	CPU_FEATURE_TSC,
	CPU_FEATURE_MSR,
	CPU_FEATURE_PAE,
	CPU_FEATURE_MCE,
	CPU_FEATURE_CX8,
	CPU_FEATURE_APIC,
	CPU_FEATURE_SEP,
	CPU_FEATURE_MTRR,
	CPU_FEATURE_PGE,
	CPU_FEATURE_MCA,
	CPU_FEATURE_CMOV,
	CPU_FEATURE_PAT,
	CPU_FEATURE_PSE36,
	CPU_FEATURE_CLFLUSH,
	CPU_FEATURE_MMX,
	CPU_FEATURE_FXSR,
	CPU_FEATURE_SSE,
	CPU_FEATURE_SSE2,
	CPU_FEATURE_SSE3,
	CPU_FEATURE_PCLMULQDQ,
	CPU_FEATURE_MONITOR,
	CPU_FEATURE_SSSE3,
	CPU_FEATURE_FMA,
	CPU_FEATURE_CX16,
	CPU_FEATURE_PCID,
	CPU_FEATURE_SSE41,
	CPU_FEATURE_SSE42,
	CPU_FEATURE_X2APIC,
	CPU_FEATURE_MOVBE,
	CPU_FEATURE_POPCNT,
	CPU_FEATURE_TSC_DEADLINE,
	CPU_FEATURE_AES,
	CPU_FEATURE_XSAVE,
	CPU_FEATURE_AVX,
	CPU_FEATURE_F16C,
	CPU_FEATURE_RDRAND,
	CPU_FEATURE_HYPERVISOR,
	CPU_FEATURE_FSGSBASE,
	CPU_FEATURE_TSC_ADJUST,
	CPU_FEATURE_BMI1,
	CPU_FEATURE_AVX2,
	CPU_FEATURE_SMEP,
	CPU_FEATURE_BMI2,
	CPU_FEATURE_ERMS,
	CPU_FEATURE_INVPCID,
	CPU_FEATURE_RDSEED,
	CPU_FEATURE_ADX,
	CPU_FEATURE_SMAP,
	CPU_FEATURE_CLFLUSHOPT,
	CPU_FEATURE_CLWB,
	CPU_FEATURE_SHA,
	CPU_FEATURE_UMIP,
	CPU_FEATURE_GFNI,
	CPU_FEATURE_VAES,
	CPU_FEATURE_VPCLMULQDQ,
	CPU_FEATURE_RDPID,
	CPU_FEATURE_FSRM,
	CPU_FEATURE_XSAVEOPT,
	CPU_FEATURE_XSAVEC,
	CPU_FEATURE_XGETBV1,
	CPU_FEATURE_SYSCALL,
	CPU_FEATURE_NX,
	CPU_FEATURE_PDPE1GB,
	CPU_FEATURE_RDTSCP,
	CPU_FEATURE_LM,
	CPU_FEATURE_LAHF_LM,
	CPU_FEATURE_ABM,
	CPU_FEATURE_SSE4A,
	CPU_FEATURE_PREFETCHW,
	CPU_FEATURE_MMXEXT,
	CPU_NR_FEATURES
};

bool cpu_model_has(const struct cpu_model *model, enum cpu_feature feature);

/* Before any vCPU is made of a model: gives it a feature of its level that the engine provides on
 * every host, or takes one from it that no level promises. */
void cpu_model_offer(struct cpu_model *model, enum cpu_feature feature);
void cpu_model_hide(struct cpu_model *model, enum cpu_feature feature);

#endif
