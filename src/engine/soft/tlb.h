/*
 * The software TLB: from a page of linear address to host memory.
 *
 * One direct-mapped array for each kind of privilege an access can have. An entry holds a tag for
 * each kind of access; a tag matches only if the access needs no further thought: page tables
 * walked, permission given, A (and for writes D) set, plain RAM, and for writes no decoded code in
 * the page. Everything else takes the slow path in mmu.c, which finds there too what the page
 * tables say of a device's page: such an entry has no tags.
 *
 * Tags and `physical` are read by the owning thread; others clear write tags when a page starts to
 * hold code (code_pages.h), with relaxed atomics. All else belongs to the owning thread.
 */
#ifndef ENGINE_SOFT_TLB_H
#define ENGINE_SOFT_TLB_H

#include "engine/soft/mmu_window.h"

#include <stdatomic.h>

/* A guest's hot pages are some hundred: of 4096 entries two always had to share one. */
#define TLB_BITS          14
#define TLB_ENTRIES       (1u << TLB_BITS)
#define LARGE_FILTER_BITS 14
#define TLB_INVALID       UINT64_C(1) /* never a page-aligned address */

enum tlb_set {
	TLB_SUPERVISOR,    /* CPL 0 to 2, implicit accesses; SMAP in force if CR4 has it */
	TLB_USER,          /* CPL 3 */
	TLB_SUPERVISOR_AC, /* CR4.SMAP and RFLAGS.AC set: user pages allowed */
	TLB_NEVER, /* never filled: every data access needs a look (#AC, data breakpoints) */
	TLB_NR_SETS
};

enum tlb_device {
	TLB_NO_DEVICE,
	TLB_DEVICE_READ,
	TLB_DEVICE_WRITE, /* as well */
};

struct tlb_entry {
	_Atomic uint64_t read_tag, write_tag; /* the linear page's address, or TLB_INVALID */
	uint64_t exec_tag;
	uint64_t addend;           /* host address = linear address + addend */
	_Atomic uint64_t physical; /* of the page */
	gva_t linear;              /* of the page */
	uint8_t page_shift;        /* of the guest's page: 12, 21, 22, 30 */
	bool global;
	bool writable;          /* D is set and writes are permitted, write tag or not */
	uint8_t device;         /* enum tlb_device: no tags, no `addend`, not `writable` */
	bool logged[2];         /* in the log of such entries: local, global */
} __attribute__((aligned(64))); /* a power of two, so that the index is a shift */

struct tlb {
	struct tlb_entry entries[TLB_NR_SETS][TLB_ENTRIES];
	/*
	 * Entries filled since the last flush, so that a flush touches only those: first the places
	 * where local ones were put, then global ones, which most flushes need not look at. A place
	 * may be in both. It is here before its entry has a tag: other threads look for entries of
	 * a page here.
	 */
	_Atomic uint16_t log[2][TLB_NR_SETS][TLB_ENTRIES];
	_Atomic unsigned nr_logged[2][TLB_NR_SETS];
	/* Which large pages may have entries, by a hash of their 2 MiB or 1 GiB number, so that
	 * INVLPG need not look. */
	uint64_t large_filter[1u << (LARGE_FILTER_BITS - 6)];
	struct mmu_window window;
};

static inline unsigned tlb_index(gva_t address)
{
	return (address >> 12) & (TLB_ENTRIES - 1);
}

/* Zeros would be page 0, which has the index 0. */
static inline bool tlb_is_used(const struct tlb *tlb, enum tlb_set set, unsigned index)
{
	gva_t linear = tlb->entries[set][index].linear;

	return linear != TLB_INVALID && tlb_index(linear) == index;
}

static inline struct tlb_entry *tlb_logged(
	struct tlb *tlb, bool global, enum tlb_set set, unsigned n)
{
	unsigned index = atomic_load_explicit(&tlb->log[global][set][n], memory_order_relaxed);

	return &tlb->entries[set][index];
}

#endif
