/* TLB entries of other PCIDs (mmu_space.h). */
#include "engine/soft/mmu_space.h"

#include "engine/soft/direct.h"
#include "engine/soft/mmu.h"
#include "engine/soft/translate.h"
#include "x86/registers.h"

static uint64_t pcid_of(uint64_t cr3)
{
	return cr3 & CR3_PCID;
}

static struct mmu_space *find(struct vcpu *vcpu, uint64_t pcid)
{
	for (unsigned i = 0; i < MMU_SPACES; i++) {
		struct mmu_space *space = &vcpu->spaces.spaces[i];

		if (space->valid && pcid_of(space->cr3) == pcid)
			return space;
	}
	return NULL;
}

static struct mmu_space *oldest(struct vcpu *vcpu)
{
	struct mmu_space *found = &vcpu->spaces.spaces[0];

	for (unsigned i = 0; i < MMU_SPACES && found->valid; i++) {
		struct mmu_space *space = &vcpu->spaces.spaces[i];

		if (!space->valid || space->left_at < found->left_at)
			found = space;
	}
	return found;
}

/* The entries that were filled last; a log has them in that order. */
static void keep_set(struct vcpu *vcpu, struct mmu_space *space, enum tlb_set set)
{
	unsigned room = MMU_SPACE_ENTRIES - space->nr_entries;
	unsigned count = vcpu->tlb.nr_logged[false][set];

	for (unsigned n = count > room ? count - room : 0; n < count; n++) {
		const struct tlb_entry *entry = tlb_logged(&vcpu->tlb, false, set, n);

		if (entry->linear == TLB_INVALID || entry->global || entry->device)
			continue;
		space->entries[space->nr_entries].content = tlb_entry_content(entry);
		space->entries[space->nr_entries++].set = (uint8_t)set;
	}
}

static void keep(struct vcpu *vcpu)
{
	struct mmu_space *space = find(vcpu, pcid_of(vcpu->cr3));

	if (!space)
		space = oldest(vcpu);
	space->valid = true;
	space->cr3 = vcpu->cr3;
	space->left_at = ++vcpu->spaces.switches;
	space->nr_entries = 0;
	keep_set(vcpu, space, TLB_SUPERVISOR);
	keep_set(vcpu, space, TLB_SUPERVISOR_AC);
	keep_set(vcpu, space, TLB_USER);
	space->nr_views = translate_mapped_views(vcpu, space->views, MMU_SPACE_VIEWS);
}

static void bring_back(struct vcpu *vcpu, const struct mmu_space *space)
{
	for (unsigned n = 0; n < space->nr_entries; n++)
		mmu_put(vcpu, space->entries[n].set, &space->entries[n].content);
	/* Else the kernel would come back to translated code. */
	if (!direct_wants(vcpu))
		translate_map_views(vcpu, space->views, space->nr_views);
}

void mmu_space_switch(struct vcpu *vcpu, uint64_t cr3, bool keep_new)
{
	const struct mmu_space *space;

	if (pcid_of(cr3) == pcid_of(vcpu->cr3)) {
		/* The current PCID's entries are in the TLB. */
		bool same = cr3 == vcpu->cr3;

		vcpu->cr3 = cr3;
		if (!same || !keep_new)
			mmu_flush_non_global(vcpu);
		return;
	}
	keep(vcpu);
	mmu_flush_non_global(vcpu);
	vcpu->cr3 = cr3;
	space = find(vcpu, pcid_of(cr3));
	if (space && keep_new && space->cr3 == cr3)
		bring_back(vcpu, space);
	/* What is in the TLB is not in the store. */
	mmu_space_forget(vcpu, pcid_of(cr3));
}

void mmu_space_forget(struct vcpu *vcpu, uint64_t pcid)
{
	struct mmu_space *space = find(vcpu, pcid);

	if (space)
		space->valid = false;
}

void mmu_space_forget_others(struct vcpu *vcpu)
{
	for (unsigned i = 0; i < MMU_SPACES; i++)
		vcpu->spaces.spaces[i].valid = false;
}
