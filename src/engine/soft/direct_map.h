/*
 * What a runner has mapped: the user half of one guest address space, as one vCPU's TLB may hold
 * it.
 *
 * Every mapping comes from a guest page-table entry that has been used (A; for writes D), so the
 * host's page tables are a TLB of the guest's: entries go when the guest flushes, or rather when
 * they are found changed after it has. Pages that hold decoded code, and those that are mapped
 * executable here, are not writable here (code_pages.h).
 */
#ifndef ENGINE_SOFT_DIRECT_MAP_H
#define ENGINE_SOFT_DIRECT_MAP_H

#include "engine/soft/direct_runner.h"
#include "engine/soft/vcpu.h"

#define DIRECT_TABLE_ENTRIES 512
#define DIRECT_TABLE_BUCKETS 256

/* 2 MiB of linear addresses. */
struct direct_table {
	gva_t base;
	struct direct_table *next; /* in its bucket */
	const uint64_t *source;    /* the guest's page table; NULL: a large page */
	uint64_t upper; /* the entry that leads to it or is the large page; U, W and NX of all */
	uint64_t entries[DIRECT_TABLE_ENTRIES]; /* the guest's, as last seen */
	uint8_t mapped[DIRECT_TABLE_ENTRIES];   /* DIRECT_* */
	/* Of code, where DIRECT_EXECUTE or _UNFIT; with DIRECT_TAIL the sum of both pages'. */
	uint32_t generations[DIRECT_TABLE_ENTRIES];
};

#define DIRECT_READ    BIT(0)
#define DIRECT_WRITE   BIT(1)
#define DIRECT_EXECUTE BIT(2)
#define DIRECT_UNFIT   BIT(3) /* not to be executed natively: direct_scan.h */
#define DIRECT_COPY    BIT(4) /* with DIRECT_EXECUTE: a copy with traps in it */
#define DIRECT_TAIL    BIT(5) /* approved for what the page behind begins with */

/* Traps to be put into copies that are about to be mapped. */
#define DIRECT_MAX_PENDING_TRAPS 64

struct direct_map {
	struct direct_runner *runner;
	struct vcpu *vcpu;
	gpa_t root; /* CR3 without flags */
	struct direct_table *buckets[DIRECT_TABLE_BUCKETS];
	unsigned nr_tables, nr_mappings;
	bool host_tsc; /* RDTSC in what is mapped reads the host's counter */
	gva_t traps[DIRECT_MAX_PENDING_TRAPS];
	unsigned nr_traps;
	bool replaced; /* hardly anything was left at the last sync: CR3 is another program's */
	bool broken;   /* the host refused: nothing is known of what is mapped */
	uint64_t flushes_seen, writes_seen, revokes_seen, layouts_seen;
};

void direct_map_init(struct direct_map *map, struct vcpu *vcpu, struct direct_runner *runner);

/* Frees what it knows; the runner is not asked. */
void direct_map_finish(struct direct_map *map);

/* Unmaps everything; the map is for the address space `root` from now on. */
void direct_map_reset(struct direct_map *map, gpa_t root);

/* Brings it up to date with what the guest flushed and wrote; `host_tsc`: RDTSC may run natively.
 * False: do not use it now. */
bool direct_map_sync(struct direct_map *map, bool host_tsc);

/*
 * Maps what the guest's page tables say around `address`. True if more is allowed at `address` than
 * before; `execute`: prefer this to writing.
 */
bool direct_map_fill(struct direct_map *map, gva_t address, bool execute);

/* Is it known that code at `address` may not run natively? */
bool direct_map_is_unfit(struct direct_map *map, gva_t address);

/* May code at `address` run natively? Fills if need be. */
bool direct_map_executes(struct direct_map *map, gva_t address);

/* Does the guest have nothing where the runner has its own page? */
bool direct_map_is_free(struct vcpu *vcpu, gpa_t root, gva_t at);

#endif
