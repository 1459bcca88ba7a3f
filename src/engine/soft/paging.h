/*
 * The walk through the guest's paging structures (SDM 3A chapter 4).
 */
#ifndef ENGINE_SOFT_PAGING_H
#define ENGINE_SOFT_PAGING_H

#include "engine/soft/mmu.h"

/* What an access asks for. */
struct paging_access {
	enum mmu_access kind;
	bool user; /* as CPL 3 does */
	bool smap; /* supervisor access to which SMAP applies */
};

/* What the paging structures say of a page, for accesses of the same `user` and `smap`. */
struct paging_page {
	gpa_t physical; /* of the 4 KiB page, A20 applied, PAGING_SMRAM set */
	uint8_t shift;  /* of the page that was mapped: 12, 21, 22, 30 */
	bool readable, writable, executable;
	bool dirty;
	bool global;
};

/*
 * Translates, and sets A and D as the access demands. On a violation returns false with the page
 * fault's error code.
 */
bool paging_walk(struct vcpu *vcpu, gva_t address, struct paging_access access,
	struct paging_page *page, uint32_t *error);

/* Translates only. */
bool paging_look(struct vcpu *vcpu, gva_t address, gpa_t *physical);

/*
 * Inside the engine, bit 63 of a physical address says that it leads to what a processor in system
 * management mode alone sees there. So such RAM is another page than what others find at its
 * address, in TLBs and caches of decoded code. No address that a guest gives has the bit.
 */
#define PAGING_SMRAM BIT(63)

static inline bool paging_find(
	const struct guest_memory *memory, gpa_t address, struct ram_place *place)
{
	return __builtin_expect(address & PAGING_SMRAM, 0)
		       ? guest_memory_find_smm(memory, address & ~PAGING_SMRAM, place)
		       : guest_memory_find(memory, address, place);
}

/* A guest's physical address as the vCPU sees it now: with the bit, if it leads there. */
gpa_t paging_view(const struct vcpu *vcpu, gpa_t address);

/* Where a page that is mapped begins, and what its entries say. */
struct paging_leaf {
	gpa_t base;
	uint8_t shift;
	bool user, accessed, global;
};

/* Translates only, and tells of the page. Paging is on. */
bool paging_look_leaf(struct vcpu *vcpu, gva_t address, struct paging_leaf *leaf);

/* The RAM at such an address, or NULL; `*read_only` is set for ROM. */
uint8_t *paging_ram(const struct vcpu *vcpu, gpa_t address, bool *read_only);

#endif
