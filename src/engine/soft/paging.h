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
	gpa_t physical; /* of the 4 KiB page, A20 applied */
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

/* The RAM at guest physical `address`, or NULL; `*read_only` is set for ROM. */
uint8_t *paging_ram(const struct vcpu *vcpu, gpa_t address, bool *read_only);

#endif
