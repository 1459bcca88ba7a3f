/*
 * The window: a run of the supervisor's linear addresses that is one run of host memory.
 *
 * Kernels map all memory once more, in order, by large global pages; most of what they read is
 * there. Translated code finds a host address in the window by a subtraction, a comparison and an
 * addition (translate_memory.c), and looks into the TLB for what lies elsewhere. Reads only: a
 * page's write tag also says that no code is in it, which may change page by page.
 *
 * It is an entry of the TLB in all but name: what is in it could have been read and kept by a
 * processor, and it goes when such entries would.
 */
#ifndef ENGINE_SOFT_MMU_WINDOW_H
#define ENGINE_SOFT_MMU_WINDOW_H

#include "base/types.h"

struct vcpu;

/* Spans of so many bytes may be read from any place within the limit on. */
#define MMU_WINDOW_SPAN 4096

struct mmu_window {
	gva_t from;
	uint64_t limit; /* bytes from there, less MMU_WINDOW_SPAN; 0: no window */
	uint64_t host;  /* address of `from` */
	/* Owner only. */
	uint64_t size;
	uint64_t next_tsc; /* not looked for before, host's */
	unsigned fills;    /* of such entries, outside of it, since it was closed or looked for */
};

/* The TLB got an entry of a large global page for the supervisor at `address`. */
void mmu_window_consider(struct vcpu *vcpu, gva_t address);

/* All entries are flushed; those of the page at `address` are. */
void mmu_window_close(struct vcpu *vcpu);
void mmu_window_flush_page(struct vcpu *vcpu, gva_t address);

#endif
