/*
 * The software TLB: from a page of linear address to host memory.
 *
 * One direct-mapped array for supervisor and one for user accesses. An entry holds a tag for each
 * kind of access; a tag matches only if the access needs no further thought: page tables walked,
 * permission given, A (and for writes D) set, plain RAM, and for writes no decoded code in the
 * page. Everything else takes the slow path in mmu.c.
 *
 * Tags are read by the owning thread and cleared by others when a page starts to hold code
 * (code_pages.h); both with relaxed atomics.
 */
#ifndef ENGINE_SOFT_TLB_H
#define ENGINE_SOFT_TLB_H

#include "base/types.h"

#define TLB_BITS    10
#define TLB_ENTRIES (1u << TLB_BITS)
#define TLB_INVALID UINT64_C(1) /* never a page-aligned address */

enum tlb_set { TLB_SUPERVISOR, TLB_USER, TLB_NR_SETS };

struct tlb_entry {
	_Atomic uint64_t read_tag, write_tag; /* the linear page's address, or TLB_INVALID */
	uint64_t exec_tag;
	uint64_t addend; /* host address = linear address + addend */
	gpa_t physical;  /* of the page */
	bool global;
};

struct tlb {
	struct tlb_entry entries[TLB_NR_SETS][TLB_ENTRIES];
};

static inline unsigned tlb_index(gva_t address)
{
	return (address >> 12) & (TLB_ENTRIES - 1);
}

#endif
