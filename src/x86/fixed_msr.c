/*
 * SDM 4; AMD APM 2 appendix A and the BIOS and Kernel Developer's Guides of its families.
 * Performance counters, SMM and power management are there by name only.
 */
#include "x86/fixed_msr.h"

#include "base/bits.h"
#include "x86/registers.h"

struct fixed_msr {
	uint32_t first;
	uint32_t count;
	const char *name;
	uint64_t value;
	uint64_t droppable; /* bits that may be written, to no effect */
};

#define ANY UINT64_MAX

/* Cache lock and flush-filter disables that BIOSes and kernels set; TscFreqSel. */
#define HWCR_TSC_FREQ_SEL BIT(24)
#define HWCR_DROPPED      (BIT(3) | BIT(6) | BIT(8) | HWCR_TSC_FREQ_SEL)

/* Ascending. */
static const struct fixed_msr rows[] = {
	{ 0x0, 2, "P5_MC_ADDR, P5_MC_TYPE", 0, ANY },
	{ 0x2a, 1, "EBL_CR_POWERON", 0, ANY },
	{ 0x34, 1, "SMI_COUNT" },
	{ 0x79, 1, "IA32_BIOS_UPDT_TRIG", 0, ANY },
	{ 0xc1, 2, "PERFCTR0, PERFCTR1", 0, ANY },
	{ 0xce, 1, "PLATFORM_INFO" },
	{ 0x11e, 1, "BBL_CR_CTL3", 0xbe702111, ANY },
	{ 0x186, 2, "PERFEVTSEL0, PERFEVTSEL1", 0, ANY },
	{ 0x198, 1, "IA32_PERF_STATUS", 1000 | UINT64_C(4) << 40 },
	{ 0x1db, 4, "LASTBRANCHFROMIP to LASTINTTOIP" },
	{ 0x606, 1, "RAPL_POWER_UNIT" },
	{ 0x611, 1, "PKG_ENERGY_STATUS" },
	{ 0x619, 1, "DRAM_ENERGY_STATUS" },
	{ 0x639, 1, "PP0_ENERGY_STATUS" },
	{ 0x641, 1, "PP1_ENERGY_STATUS" },
	/* On KVM the kernel's. Whoever never sets the bit may forget where it is. */
	{ MSR_KVM_PV_EOI_EN, 1, "KVM_PV_EOI_EN", 0, ANY },
	{ 0xc0010000, 8, "PERF_CTL, PERF_CTR", 0, ANY },
	{ 0xc0010010, 1, "SYSCFG", 0, ANY },
	{ 0xc0010015, 1, "HWCR", HWCR_TSC_FREQ_SEL, HWCR_DROPPED },
	{ 0xc001001a, 2, "TOP_MEM, CLK_CTL", 0, ANY },
	{ 0xc001001d, 1, "TOP_MEM2", 0, ANY },
	{ 0xc001001f, 2, "NB_CFG, PATCH_LOADER", 0, ANY },
	{ 0xc0010055, 1, "INT_PENDING", 0, ANY },
	{ 0xc0010058, 1, "MMIO_CFG_BASE", 0, ANY },
	{ 0xc0010111, 3, "SMM_BASE, SMM_ADDR, SMM_MASK", 0, ANY },
	{ 0xc0010114, 1, "VM_CR", BIT(4) /* SVM is disabled */, ANY },
	{ 0xc0011020, 1, "LS_CFG", 0, ANY },
	{ 0xc0011022, 1, "DC_CFG", 0, ANY },
	{ 0xc0011029, 2, "DE_CFG, BU_CFG2", BIT(1) /* LFENCE serialises */, ANY },
};

static const struct fixed_msr *find(uint32_t msr)
{
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
		if (msr - rows[i].first < rows[i].count)
			return &rows[i];
	return NULL;
}

bool fixed_msr_read(uint32_t msr, uint64_t *value)
{
	const struct fixed_msr *row = find(msr);

	if (row)
		*value = row->value;
	return row;
}

bool fixed_msr_write(uint32_t msr, uint64_t value)
{
	const struct fixed_msr *row = find(msr);

	return row && row->droppable && !(value & ~row->droppable);
}
