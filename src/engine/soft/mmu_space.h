/*
 * What the TLB held of address spaces that are not the current one (SDM 3A 4.10.1).
 *
 * The TLB itself knows one PCID. When CR3 gets another, entries that are not global move to a store
 * here, and those of the new PCID come back if the guest says that they may be kept: a guest that
 * switches between programs all the time would else walk page tables for each of their pages again.
 * Dropping entries is always allowed, so the store is small, and anything unusual empties it.
 *
 * Owned by the vCPU's thread.
 */
#ifndef ENGINE_SOFT_MMU_SPACE_H
#define ENGINE_SOFT_MMU_SPACE_H

#include "engine/soft/tlb.h"

struct vcpu;

#define MMU_SPACES        8 /* Linux uses six PCIDs on each processor */
#define MMU_SPACE_ENTRIES 96
#define MMU_SPACE_VIEWS   32

/* Of a TLB entry, what it is made of. */
struct tlb_content {
	gva_t linear;
	gpa_t physical;
	uint64_t addend;
	uint8_t page_shift;
	bool readable, executable, writable, global;
};

static inline struct tlb_content tlb_entry_content(const struct tlb_entry *entry)
{
	return (struct tlb_content){
		.linear = entry->linear,
		.physical = atomic_load_explicit(&entry->physical, memory_order_relaxed),
		.addend = entry->addend,
		.page_shift = entry->page_shift,
		.readable = entry->read_tag == entry->linear,
		.executable = entry->exec_tag == entry->linear,
		.writable = entry->writable,
		.global = entry->global,
	};
}

struct mmu_space {
	bool valid;
	uint64_t cr3;
	uint64_t left_at; /* greater is later */
	unsigned nr_entries, nr_views;
	struct {
		struct tlb_content content;
		uint8_t set;
	} entries[MMU_SPACE_ENTRIES];
	/* Pages of translated code that were mapped: translator_map. */
	struct mmu_space_view {
		uint32_t view, id;
	} views[MMU_SPACE_VIEWS];
};

struct mmu_spaces {
	uint64_t switches;
	struct mmu_space spaces[MMU_SPACES];
};

/* CR3 becomes `cr3`, with CR4.PCIDE set. `keep`: entries of its PCID may be used again. */
void mmu_space_switch(struct vcpu *vcpu, uint64_t cr3, bool keep);

/* Entries of `pcid`, global ones apart, are not used again. */
void mmu_space_forget(struct vcpu *vcpu, uint64_t pcid);
void mmu_space_forget_others(struct vcpu *vcpu);

#endif
