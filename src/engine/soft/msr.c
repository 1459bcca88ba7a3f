/*
 * Model-specific registers (SDM 4; AMD APM 2 appendix A; Linux msr.rst for KVM's), one row each.
 *
 * What has no row here is left to fixed_msr.h, for both engines alike, and raises #GP(0) if it is
 * not there either. Performance counters, SVM, VMX, SMM and RAS beyond empty banks are not
 * modelled.
 */
#include "engine/soft/msr.h"

#include "engine/soft/apic.h"
#include "engine/soft/control_registers.h"
#include "engine/soft/kvmclock.h"
#include "engine/soft/tsc.h"
#include "x86/fixed_msr.h"

struct msr_row {
	uint32_t first;
	uint32_t count;
	const char *name;
	enum cpu_feature feature; /* that the register comes with; 0 (FPU): every model has it */
	/* Storage in struct vcpu, `stride` bytes for each of `count`; 0: none, reads give `value`.
	 */
	uint32_t offset, stride;
	uint64_t value;
	/* Bits that may be set; a write with others raises. */
	uint64_t writable;
	bool drops_writes; /* whatever they are */
	bool (*read)(struct vcpu *vcpu, uint32_t msr, uint64_t *value);
	bool (*write)(struct vcpu *vcpu, uint32_t msr, uint64_t value);
};

/* IA32_ARCH_CAPABILITIES (SDM 4 table 2-2): no speculative execution happens that the guest could
 * steer, so it need not defend itself: RDCL_NO, IBRS_ALL, SKIP_L1DFL_VMENTRY, SSB_NO, MDS_NO,
 * PSCHANGE_MC_NO, TAA_NO, SBDR_SSDP_NO, FBSDP_NO, PSDP_NO, BHI_NO, PBRSB_NO, GDS_NO, RFDS_NO,
 * ITS_NO. */
#define ARCH_CAPABILITIES                                                                          \
	(BIT(0) | BIT(1) | BIT(3) | BIT(4) | BIT(5) | BIT(6) | BIT(8) | BIT(13) | BIT(14) |        \
		BIT(15) | BIT(20) | BIT(24) | BIT(26) | BIT(27) | BIT(62))

#define SPEC_CTRL_WRITABLE (BITS(2, 0) | BIT(7)) /* IBRS, STIBP, SSBD, PSFD */
#define PRED_CMD_WRITABLE  (BIT(0) | BIT(7))     /* IBPB, SBPB */

#define MCG_BANKS         10
#define MCG_CAP           (MCG_BANKS | BIT(8)) /* IA32_MCG_CTL exists */
#define MCG_STATUS_FIELDS BITS(2, 0)

#define MTRR_CAP             (8 | BIT(8) | BIT(10)) /* variable ranges, fixed ranges, WC */
#define MTRR_DEF_TYPE_FIELDS (BITS(7, 0) | BITS(11, 10))
#define MTRR_MASK_VALID      BIT(11)

/* Fast strings, thermal monitor, performance monitoring, SpeedStep, MONITOR, CPUID limit, XD. */
#define MISC_ENABLE_WRITABLE                                                                       \
	(BIT(0) | BIT(3) | BIT(7) | BITS(12, 11) | BIT(16) | BIT(18) | BIT(22) | BIT(34))

static bool memory_type_is_valid(uint64_t type)
{
	return type <= 7 && type != 2 && type != 3;
}

/* The MTRRs have no UC- (SDM 3A 12.11.2.1). */
static bool mtrr_type_is_valid(uint64_t type)
{
	return memory_type_is_valid(type) && type != 7;
}

static bool read_tsc(struct vcpu *vcpu, uint32_t msr, uint64_t *value)
{
	(void)msr;
	*value = vcpu_tsc(vcpu);
	return true;
}

/* A write of the counter moves IA32_TSC_ADJUST by as much, and the reverse (SDM 3B 18.17.3). */
static bool write_tsc(struct vcpu *vcpu, uint32_t msr, uint64_t value)
{
	uint64_t delta = value - vcpu_tsc(vcpu);

	(void)msr;
	vcpu->tsc_adjust += delta;
	tsc_adjust(vcpu, delta);
	return true;
}

static bool write_tsc_adjust(struct vcpu *vcpu, uint32_t msr, uint64_t value)
{
	uint64_t delta = value - vcpu->tsc_adjust;

	(void)msr;
	vcpu->tsc_adjust = value;
	if (delta)
		tsc_adjust(vcpu, delta);
	return true;
}

static bool write_tsc_deadline(struct vcpu *vcpu, uint32_t msr, uint64_t value)
{
	(void)msr;
	apic_set_tsc_deadline(vcpu, value);
	return true;
}

static bool write_apic_base(struct vcpu *vcpu, uint32_t msr, uint64_t value)
{
	(void)msr;
	return apic_base_write(vcpu, value);
}

static bool write_efer(struct vcpu *vcpu, uint32_t msr, uint64_t value)
{
	(void)msr;
	return efer_write(vcpu, value);
}

/* The revision in the upper half, as Intel's processors give it; AMD's are 32 bits wide. */
static bool read_microcode(struct vcpu *vcpu, uint32_t msr, uint64_t *value)
{
	(void)msr;
	*value = vcpu->cpu_model->vendor == CPU_VENDOR_AMD ? 0x01000065 : BIT(32);
	return true;
}

static bool write_pat(struct vcpu *vcpu, uint32_t msr, uint64_t value)
{
	(void)msr;
	for (unsigned i = 0; i < 8; i++) {
		if (!memory_type_is_valid(value >> 8 * i & 0xff))
			return false;
	}
	vcpu->pat = value;
	return true;
}

static bool write_mtrr_def_type(struct vcpu *vcpu, uint32_t msr, uint64_t value)
{
	(void)msr;
	if (value & ~MTRR_DEF_TYPE_FIELDS || !mtrr_type_is_valid(value & 0xff))
		return false;
	vcpu->mtrr_def_type = value;
	return true;
}

static bool write_mtrr_variable(struct vcpu *vcpu, uint32_t msr, uint64_t value)
{
	unsigned n = (msr - MSR_IA32_MTRR_PHYSBASE0) / 2;
	uint64_t address = BITS(vcpu->cpu_model->physical_address_bits - 1, 12);

	if (msr & 1) {
		if (value & ~(address | MTRR_MASK_VALID))
			return false;
		vcpu->mtrr_mask[n] = value;
		return true;
	}
	if (value & ~(address | 0xff) || !mtrr_type_is_valid(value & 0xff))
		return false;
	vcpu->mtrr_base[n] = value;
	return true;
}

static bool read_mtrr_variable(struct vcpu *vcpu, uint32_t msr, uint64_t *value)
{
	unsigned n = (msr - MSR_IA32_MTRR_PHYSBASE0) / 2;

	*value = msr & 1 ? vcpu->mtrr_mask[n] : vcpu->mtrr_base[n];
	return true;
}

/* In the order of their addresses: 64K (250h), 16K (258h, 259h), 4K (268h to 26fh). */
static unsigned mtrr_fixed_index(uint32_t msr)
{
	if (msr == MSR_IA32_MTRR_FIX64K)
		return 0;
	return msr < 0x268 ? msr - 0x258 + 1 : msr - 0x268 + 3;
}

static bool read_mtrr_fixed(struct vcpu *vcpu, uint32_t msr, uint64_t *value)
{
	*value = vcpu->mtrr_fixed[mtrr_fixed_index(msr)];
	return true;
}

static bool write_mtrr_fixed(struct vcpu *vcpu, uint32_t msr, uint64_t value)
{
	for (unsigned i = 0; i < 8; i++) {
		if (!mtrr_type_is_valid(value >> 8 * i & 0xff))
			return false;
	}
	vcpu->mtrr_fixed[mtrr_fixed_index(msr)] = value;
	return true;
}

/* Control registers take all ones or zero; AMD's kernels clear a single bit of bank 4's. */
static bool write_mcg_ctl(struct vcpu *vcpu, uint32_t msr, uint64_t value)
{
	(void)msr;
	if (value != 0 && value != UINT64_MAX)
		return false;
	vcpu->mcg_ctl = value;
	return true;
}

static bool write_mc_bank(struct vcpu *vcpu, uint32_t msr, uint64_t value)
{
	unsigned n = msr - MSR_IA32_MC0_CTL;

	/* CTL holds any mask; of the others only a clear is allowed (SDM 3B 16.3.2). */
	if (n % 4 != 0 && value != 0)
		return false;
	vcpu->mc_bank[n / 4][n % 4] = value;
	return true;
}

static bool write_kvm_system_time(struct vcpu *vcpu, uint32_t msr, uint64_t value)
{
	(void)msr;
	kvmclock_set_system_time(vcpu, value);
	return true;
}

static bool write_kvm_wall_clock(struct vcpu *vcpu, uint32_t msr, uint64_t value)
{
	(void)msr;
	kvmclock_set_wall_clock(vcpu, value);
	return true;
}

static bool write_canonical(struct vcpu *vcpu, uint32_t msr, uint64_t value)
{
	uint64_t *storage;

	if (!x86_is_canonical(value))
		return false;
	switch (msr) {
	case MSR_IA32_SYSENTER_ESP: storage = &vcpu->sysenter_esp; break;
	case MSR_IA32_SYSENTER_EIP: storage = &vcpu->sysenter_eip; break;
	case MSR_LSTAR: storage = &vcpu->lstar; break;
	case MSR_CSTAR: storage = &vcpu->cstar; break;
	case MSR_FS_BASE: storage = &vcpu->segment[X86_FS].base; break;
	case MSR_GS_BASE: storage = &vcpu->segment[X86_GS].base; break;
	default: storage = &vcpu->kernel_gs_base; break;
	}
	*storage = value;
	return true;
}

#define AT(field) .offset = offsetof(struct vcpu, field)

/* Ascending. */
static const struct msr_row rows[] = {
	{ MSR_IA32_TSC, 1, "IA32_TIME_STAMP_COUNTER", .read = read_tsc, .write = write_tsc },
	{ MSR_KVM_WALL_CLOCK_OLD, 1, "KVM_WALL_CLOCK (old)", AT(kvm_wall_clock),
		.write = write_kvm_wall_clock },
	{ MSR_KVM_SYSTEM_TIME_OLD, 1, "KVM_SYSTEM_TIME (old)", AT(kvm_system_time),
		.write = write_kvm_system_time },
	{ MSR_IA32_PLATFORM_ID, 1, "IA32_PLATFORM_ID" },
	{ MSR_IA32_APIC_BASE, 1, "IA32_APIC_BASE", CPU_FEATURE_APIC, AT(apic_base),
		.write = write_apic_base },
	{ MSR_IA32_FEATURE_CONTROL, 1, "IA32_FEATURE_CONTROL", .value = BIT(0) /* locked */ },
	{ MSR_IA32_TSC_ADJUST, 1, "IA32_TSC_ADJUST", CPU_FEATURE_TSC_ADJUST, AT(tsc_adjust),
		.write = write_tsc_adjust },
	{ MSR_IA32_SPEC_CTRL, 1, "IA32_SPEC_CTRL", AT(spec_ctrl), .writable = SPEC_CTRL_WRITABLE },
	{ MSR_IA32_PRED_CMD, 1, "IA32_PRED_CMD", .writable = PRED_CMD_WRITABLE },
	{ MSR_IA32_UCODE_REV, 1, "IA32_BIOS_SIGN_ID", .read = read_microcode,
		.drops_writes = true },
	{ MSR_IA32_MTRRCAP, 1, "IA32_MTRRCAP", CPU_FEATURE_MTRR, .value = MTRR_CAP },
	{ MSR_IA32_ARCH_CAPABILITIES, 1, "IA32_ARCH_CAPABILITIES", .value = ARCH_CAPABILITIES },
	{ MSR_IA32_SYSENTER_CS, 1, "IA32_SYSENTER_CS", CPU_FEATURE_SEP, AT(sysenter_cs),
		.writable = UINT32_MAX },
	{ MSR_IA32_SYSENTER_ESP, 1, "IA32_SYSENTER_ESP", CPU_FEATURE_SEP, AT(sysenter_esp),
		.write = write_canonical },
	{ MSR_IA32_SYSENTER_EIP, 1, "IA32_SYSENTER_EIP", CPU_FEATURE_SEP, AT(sysenter_eip),
		.write = write_canonical },
	{ MSR_IA32_MCG_CAP, 1, "IA32_MCG_CAP", .value = MCG_CAP },
	{ MSR_IA32_MCG_STATUS, 1, "IA32_MCG_STATUS", AT(mcg_status),
		.writable = MCG_STATUS_FIELDS },
	{ MSR_IA32_MCG_CTL, 1, "IA32_MCG_CTL", AT(mcg_ctl), .write = write_mcg_ctl },
	{ MSR_IA32_MISC_ENABLE, 1, "IA32_MISC_ENABLE", AT(misc_enable),
		.writable = MISC_ENABLE_WRITABLE },
	{ MSR_IA32_DEBUGCTL, 1, "IA32_DEBUGCTL", AT(debugctl), .writable = BITS(1, 0) },
	{ MSR_IA32_MTRR_PHYSBASE0, 16, "IA32_MTRR_PHYSBASE, PHYSMASK", CPU_FEATURE_MTRR,
		.read = read_mtrr_variable, .write = write_mtrr_variable },
	{ MSR_IA32_MTRR_FIX64K, 1, "IA32_MTRR_FIX64K", CPU_FEATURE_MTRR, .read = read_mtrr_fixed,
		.write = write_mtrr_fixed },
	{ 0x258, 2, "IA32_MTRR_FIX16K", CPU_FEATURE_MTRR, .read = read_mtrr_fixed,
		.write = write_mtrr_fixed },
	{ 0x268, 8, "IA32_MTRR_FIX4K", CPU_FEATURE_MTRR, .read = read_mtrr_fixed,
		.write = write_mtrr_fixed },
	{ MSR_IA32_PAT, 1, "IA32_PAT", CPU_FEATURE_PAT, AT(pat), .write = write_pat },
	{ MSR_IA32_MTRR_DEF_TYPE, 1, "IA32_MTRR_DEF_TYPE", CPU_FEATURE_MTRR, AT(mtrr_def_type),
		.write = write_mtrr_def_type },
	{ MSR_IA32_MC0_CTL, 4 * MCG_BANKS, "IA32_MCi_CTL, STATUS, ADDR, MISC", AT(mc_bank),
		.stride = 8, .write = write_mc_bank },
	{ MSR_IA32_TSC_DEADLINE, 1, "IA32_TSC_DEADLINE", CPU_FEATURE_TSC_DEADLINE, AT(tsc_deadline),
		.write = write_tsc_deadline },
	{ MSR_IA32_X2APIC_FIRST, 0x100, "x2APIC", .read = apic_msr_read, .write = apic_msr_write },
	{ MSR_KVM_WALL_CLOCK, 1, "KVM_WALL_CLOCK", AT(kvm_wall_clock),
		.write = write_kvm_wall_clock },
	{ MSR_KVM_SYSTEM_TIME, 1, "KVM_SYSTEM_TIME", AT(kvm_system_time),
		.write = write_kvm_system_time },
	{ MSR_KVM_POLL_CONTROL, 1, "KVM_POLL_CONTROL", AT(kvm_poll_control), .writable = 1 },
	{ MSR_EFER, 1, "EFER", CPU_FEATURE_LM, AT(efer), .write = write_efer },
	{ MSR_STAR, 1, "STAR", CPU_FEATURE_SYSCALL, AT(star), .writable = UINT64_MAX },
	{ MSR_LSTAR, 1, "LSTAR", CPU_FEATURE_LM, AT(lstar), .write = write_canonical },
	{ MSR_CSTAR, 1, "CSTAR", CPU_FEATURE_LM, AT(cstar), .write = write_canonical },
	{ MSR_SFMASK, 1, "SFMASK", CPU_FEATURE_LM, AT(sfmask), .writable = UINT32_MAX },
	{ MSR_FS_BASE, 1, "FS_BASE", CPU_FEATURE_LM, AT(segment[X86_FS].base),
		.write = write_canonical },
	{ MSR_GS_BASE, 1, "GS_BASE", CPU_FEATURE_LM, AT(segment[X86_GS].base),
		.write = write_canonical },
	{ MSR_KERNEL_GS_BASE, 1, "KERNEL_GS_BASE", CPU_FEATURE_LM, AT(kernel_gs_base),
		.write = write_canonical },
	{ MSR_TSC_AUX, 1, "TSC_AUX", CPU_FEATURE_RDTSCP, AT(tsc_aux), .writable = UINT32_MAX },
};

static bool is_present(const struct vcpu *vcpu, const struct msr_row *row)
{
	return vcpu->features.bits[row->feature / 64] >> row->feature % 64 & 1;
}

static const struct msr_row *find(const struct vcpu *vcpu, uint32_t msr)
{
	unsigned low = 0, high = ARRAY_SIZE(rows);

	while (low < high) {
		unsigned middle = (low + high) / 2;

		if (msr < rows[middle].first)
			high = middle;
		else if (msr - rows[middle].first >= rows[middle].count)
			low = middle + 1;
		else
			return is_present(vcpu, &rows[middle]) ? &rows[middle] : NULL;
	}
	return NULL;
}

static uint64_t *storage(struct vcpu *vcpu, const struct msr_row *row, uint32_t msr)
{
	char *at = (char *)vcpu + row->offset + (size_t)row->stride * (msr - row->first);

	return (uint64_t *)at;
}

bool msr_read(struct vcpu *vcpu, uint32_t msr, uint64_t *value)
{
	const struct msr_row *row = find(vcpu, msr);

	if (!row)
		return fixed_msr_read(msr, value);
	if (row->read)
		return row->read(vcpu, msr, value);
	*value = row->offset ? *storage(vcpu, row, msr) : row->value;
	return true;
}

bool msr_write(struct vcpu *vcpu, uint32_t msr, uint64_t value)
{
	const struct msr_row *row = find(vcpu, msr);

	if (!row)
		return fixed_msr_write(msr, value);
	if (row->write)
		return row->write(vcpu, msr, value);
	if (row->drops_writes)
		return true;
	if (!row->writable && !row->offset)
		return false;
	if (value & ~row->writable)
		return false;
	if (row->offset)
		*storage(vcpu, row, msr) = value;
	return true;
}
