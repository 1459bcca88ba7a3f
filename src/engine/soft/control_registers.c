/*
 * Control registers, see control_registers.h. Features that the guest's model lacks make their
 * bits reserved. A write that could change any translation flushes the whole TLB.
 */
#include "engine/soft/control_registers.h"

#include "engine/soft/mmu.h"
#include "engine/soft/mmu_space.h"
#include "engine/soft/paging.h"

#define CR0_KNOWN                                                                                  \
	(CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | \
		CR0_PG)
#define PDPTE_RESERVED (BITS(2, 1) | BITS(8, 5))

static bool has(const struct vcpu *vcpu, enum cpu_feature feature)
{
	return vcpu->features.bits[feature / 64] >> feature % 64 & 1;
}

static uint64_t beyond_physical(const struct vcpu *vcpu)
{
	return ~UINT64_C(0) << vcpu->cpu_model->physical_address_bits;
}

/* The four entries that PAE paging loads with CR3 (SDM 3A 4.4.1). */
static bool load_pdptes(struct vcpu *vcpu, uint64_t cr3)
{
	gpa_t address = (cr3 & BITS(31, 5)) & vcpu->a20_mask;
	bool read_only;
	const void *host = paging_ram(vcpu, paging_view(vcpu, address), &read_only);
	const uint64_t *entries = host;
	uint64_t loaded[4];

	if (!entries)
		return false;
	for (unsigned i = 0; i < 4; i++) {
		loaded[i] = __atomic_load_n(&entries[i], __ATOMIC_RELAXED);
		if (loaded[i] & PTE_P && loaded[i] & (PDPTE_RESERVED | beyond_physical(vcpu)))
			return false;
	}
	for (unsigned i = 0; i < 4; i++)
		vcpu->pdpte[i] = loaded[i];
	return true;
}

static bool is_pae(const struct vcpu *vcpu, uint64_t cr0, uint64_t cr4)
{
	return cr0 & CR0_PG && cr4 & CR4_PAE && !(vcpu->efer & EFER_LME);
}

static bool in_64_bit_code(const struct vcpu *vcpu)
{
	return vcpu->mode.insn == INSN_MODE_64;
}

/* Paging goes on or off: the activation of IA-32e mode (SDM 3A 10.8.5). */
static bool paging_may_change(const struct vcpu *vcpu, uint64_t cr0)
{
	if (!(cr0 & CR0_PG))
		return !in_64_bit_code(vcpu) && !(vcpu->cr4 & CR4_PCIDE);
	if (!(vcpu->efer & EFER_LME))
		return true;
	return vcpu->cr4 & CR4_PAE && !(vcpu->segment[X86_CS].attributes & SEG_L);
}

bool cr0_write(struct vcpu *vcpu, uint64_t value)
{
	uint64_t changed;

	if (value >> 32)
		return false;
	value = (value & CR0_KNOWN) | CR0_ET;
	changed = value ^ vcpu->cr0;
	if ((value & CR0_PG && !(value & CR0_PE)) || (value & CR0_NW && !(value & CR0_CD)))
		return false;
	if (changed & CR0_PG && !paging_may_change(vcpu, value))
		return false;
	if (changed & (CR0_PG | CR0_CD | CR0_NW) && is_pae(vcpu, value, vcpu->cr4) &&
		!load_pdptes(vcpu, vcpu->cr3))
		return false;

	vcpu->cr0 = value;
	if (changed & CR0_PG && vcpu->efer & EFER_LME)
		vcpu->efer = value & CR0_PG ? vcpu->efer | EFER_LMA : vcpu->efer & ~EFER_LMA;
	if (changed & (CR0_PG | CR0_WP | CR0_PE))
		mmu_flush_all(vcpu);
	vcpu_update_mode(vcpu);
	return true;
}

bool cr3_write(struct vcpu *vcpu, uint64_t value)
{
	if (vcpu->mode.long_mode) {
		bool has_pcid = vcpu->cr4 & CR4_PCIDE;
		bool keep = has_pcid && value & CR3_NO_FLUSH;

		if (keep)
			value &= ~CR3_NO_FLUSH;
		if (value & beyond_physical(vcpu))
			return false;
		if (has_pcid) {
			mmu_space_switch(vcpu, value, keep);
			return true;
		}
	} else {
		value = (uint32_t)value;
		if (is_pae(vcpu, vcpu->cr0, vcpu->cr4) && !load_pdptes(vcpu, value))
			return false;
	}
	vcpu->cr3 = value;
	mmu_flush_non_global(vcpu);
	return true;
}

static uint64_t cr4_writable(const struct vcpu *vcpu)
{
	static const struct {
		enum cpu_feature feature;
		uint64_t bits;
	} rows[] = {
		{ CPU_FEATURE_VME, CR4_VME | CR4_PVI },
		{ CPU_FEATURE_TSC, CR4_TSD },
		{ CPU_FEATURE_DE, CR4_DE },
		{ CPU_FEATURE_PSE, CR4_PSE },
		{ CPU_FEATURE_PAE, CR4_PAE },
		{ CPU_FEATURE_MCE, CR4_MCE },
		{ CPU_FEATURE_PGE, CR4_PGE },
		{ CPU_FEATURE_FXSR, CR4_OSFXSR },
		{ CPU_FEATURE_SSE, CR4_OSXMMEXCPT },
		{ CPU_FEATURE_UMIP, CR4_UMIP },
		{ CPU_FEATURE_FSGSBASE, CR4_FSGSBASE },
		{ CPU_FEATURE_PCID, CR4_PCIDE },
		{ CPU_FEATURE_XSAVE, CR4_OSXSAVE },
		{ CPU_FEATURE_SMEP, CR4_SMEP },
		{ CPU_FEATURE_SMAP, CR4_SMAP },
	};
	uint64_t bits = CR4_PCE;

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
		bits |= has(vcpu, rows[i].feature) ? rows[i].bits : 0;
	return bits;
}

bool cr4_write(struct vcpu *vcpu, uint64_t value)
{
	const uint64_t paging =
		CR4_PSE | CR4_PAE | CR4_PGE | CR4_PCIDE | CR4_SMEP | CR4_SMAP | CR4_LA57;
	uint64_t changed = value ^ vcpu->cr4;

	if (value & ~cr4_writable(vcpu))
		return false;
	if (vcpu->mode.long_mode && !(value & CR4_PAE))
		return false;
	if (changed & value & CR4_PCIDE && (!vcpu->mode.long_mode || vcpu->cr3 & CR3_PCID))
		return false;
	if (changed & (CR4_PSE | CR4_PAE | CR4_PGE | CR4_SMEP) && is_pae(vcpu, vcpu->cr0, value) &&
		!load_pdptes(vcpu, vcpu->cr3))
		return false;
	vcpu->cr4 = value;
	if (changed & paging)
		mmu_flush_all(vcpu);
	vcpu_update_mode(vcpu);
	return true;
}

static uint64_t efer_writable(const struct vcpu *vcpu)
{
	uint64_t bits = 0;

	if (has(vcpu, CPU_FEATURE_SYSCALL))
		bits |= EFER_SCE;
	if (has(vcpu, CPU_FEATURE_LM))
		bits |= EFER_LME;
	if (has(vcpu, CPU_FEATURE_NX))
		bits |= EFER_NXE;
	return bits;
}

bool efer_write(struct vcpu *vcpu, uint64_t value)
{
	uint64_t changed;

	/* LMA is the processor's; a write of it is ignored. */
	if (value & ~(efer_writable(vcpu) | EFER_LMA))
		return false;
	value = (value & ~EFER_LMA) | (vcpu->efer & EFER_LMA);
	changed = value ^ vcpu->efer;
	if (changed & EFER_LME && vcpu->cr0 & CR0_PG)
		return false;
	vcpu->efer = value;
	if (changed & EFER_NXE)
		mmu_flush_all(vcpu);
	vcpu_update_mode(vcpu);
	return true;
}

bool xcr0_write(struct vcpu *vcpu, uint64_t value)
{
	if (value & ~vcpu->cpu_model->xcr0_supported || !(value & XCR0_X87))
		return false;
	if (value & XCR0_AVX && !(value & XCR0_SSE))
		return false;
	vcpu->xcr0 = value;
	vcpu_update_mode(vcpu);
	return true;
}

bool control_registers_load(
	struct vcpu *vcpu, uint64_t cr0, uint64_t cr3, uint64_t cr4, uint64_t efer)
{
	bool long_mode = cr0 & CR0_PG && efer & EFER_LME;

	if (cr0 >> 32 || cr4 & ~cr4_writable(vcpu) || efer & ~(efer_writable(vcpu) | EFER_LMA))
		return false;
	if ((cr0 & CR0_PG && !(cr0 & CR0_PE)) || (cr0 & CR0_NW && !(cr0 & CR0_CD)))
		return false;
	if (long_mode ? !(cr4 & CR4_PAE) || cr3 & beyond_physical(vcpu) : (cr4 & CR4_PCIDE) != 0)
		return false;
	vcpu->efer = (efer & ~EFER_LMA) | (long_mode ? EFER_LMA : 0);
	cr3 = long_mode ? cr3 : (uint32_t)cr3;
	if (is_pae(vcpu, cr0, cr4) && !load_pdptes(vcpu, cr3))
		return false;
	vcpu->cr0 = (cr0 & CR0_KNOWN) | CR0_ET;
	vcpu->cr3 = cr3;
	vcpu->cr4 = cr4;
	return true;
}
