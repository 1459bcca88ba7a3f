/*
 * INVLPG, INVPCID, and the cache instructions INVD and WBINVD, which have nothing to do: guest
 * memory is coherent (SDM 2).
 */
#include "engine/soft/mmu_space.h"
#include "engine/soft/operand.h"

enum invpcid_type {
	INVPCID_ADDRESS,
	INVPCID_SINGLE,
	INVPCID_ALL_WITH_GLOBAL,
	INVPCID_ALL_NON_GLOBAL,
};

/* No limit, type or canonicality is checked: the operand is an address, not an access. */
EXEC(exec_invlpg)
{
	uint64_t address = insn_offset(vcpu, insn);

	if (vcpu->mode.insn != INSN_MODE_64) {
		address = (uint32_t)(address + vcpu->segment[insn->segment].base);
	} else {
		if (insn->segment >= X86_FS)
			address += vcpu->segment[insn->segment].base;
		if (!x86_is_canonical(address))
			return;
	}
	mmu_flush_page(vcpu, address);
}

/* The TLB holds entries of the current PCID, and a store those of some others (mmu_space.h), which
 * is not looked through for an address. */
static void forget(struct vcpu *vcpu, uint64_t pcid)
{
	mmu_space_forget(vcpu, pcid);
	vcpu->direct_flushes++;
}

static bool is_current(const struct vcpu *vcpu, uint64_t pcid)
{
	return !(vcpu->cr4 & CR4_PCIDE) || pcid == (vcpu->cr3 & CR3_PCID);
}

EXEC(exec_invpcid)
{
	uint64_t type = gpr_read(vcpu, insn->reg, vcpu->mode.insn == INSN_MODE_64 ? 8 : 4);
	gva_t at = insn_linear(vcpu, insn, 16, MMU_READ);
	uint64_t descriptor[2];
	bool names_pcid = type == INVPCID_ADDRESS || type == INVPCID_SINGLE;

	mmu_probe_read(vcpu, at, 16);
	descriptor[0] = mmu_read_u64(vcpu, at);
	descriptor[1] = mmu_read_u64(vcpu, at + 8);
	if (type > INVPCID_ALL_NON_GLOBAL || (names_pcid && descriptor[0] & ~CR3_PCID) ||
		(names_pcid && descriptor[0] && !(vcpu->cr4 & CR4_PCIDE)) ||
		(type == INVPCID_ADDRESS && !x86_is_canonical(descriptor[1])))
		cpu_raise_error(vcpu, X86_GP, 0);
	switch ((enum invpcid_type)type) {
	case INVPCID_ADDRESS:
		if (is_current(vcpu, descriptor[0]))
			mmu_flush_page(vcpu, descriptor[1]);
		else
			forget(vcpu, descriptor[0]);
		break;
	case INVPCID_SINGLE:
		if (is_current(vcpu, descriptor[0]))
			mmu_flush_non_global(vcpu);
		else
			forget(vcpu, descriptor[0]);
		break;
	case INVPCID_ALL_WITH_GLOBAL: mmu_flush_all(vcpu); break;
	case INVPCID_ALL_NON_GLOBAL:
		mmu_space_forget_others(vcpu);
		mmu_flush_non_global(vcpu);
		break;
	}
}

EXEC(exec_invd)
{
	(void)vcpu;
	(void)insn;
}

EXEC(exec_wbinvd)
{
	(void)vcpu;
	(void)insn;
}
