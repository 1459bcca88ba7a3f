/*
 * Decoded code: runs of instructions that end at a branch, at a page's end, or where the mode or
 * the address translation may change.
 *
 * A block is found by the physical address of its first byte and the decode mode; a small table by
 * linear address stands before that. Owned by the vCPU's thread.
 */
#ifndef ENGINE_SOFT_BLOCK_H
#define ENGINE_SOFT_BLOCK_H

#include "engine/soft/populate.h"
#include "engine/soft/insn.h"
#include "engine/soft/mmu.h"

#define BLOCK_MAX_INSNS 64

/* A block where it was found last. */
struct block_at {
	gva_t linear;
	struct block *block;
};

struct block {
	gpa_t physical;
	/* Of the page, when it was decoded and now: they differ if it was written since. */
	const _Atomic uint32_t *generation_now;
	uint32_t generation;
	uint8_t mode; /* enum insn_mode */
	uint8_t nr_insns;
	uint16_t size; /* bytes */
	uint16_t cost; /* instructions, for the run loop's budget; iterations count as some */
	/* An instruction that crosses a page's end is a block of its own. */
	bool crosses;
	uint32_t next_generation;
	const _Atomic uint32_t *next_generation_now; /* NULL if the block is not kept */
	gpa_t next_physical;                         /* of the second page */
	struct block *hash_next;
	/* The first two that were seen to follow: predictions, verified each time. */
	struct block_at successors[2];
	struct insn insns[];
};

#define BLOCK_LOOKUP_BITS 13

struct decoded_cache {
	struct block_at lookup[1u << BLOCK_LOOKUP_BITS];
	struct block **buckets;
	uint8_t *arena;
	size_t size, used;           /* bytes of it */
	struct populate_ahead ahead; /* of the arena */
	unsigned times_emptied;
	struct block none; /* in the place of no block; never matches */
};

static inline bool block_is_current(const struct block *block)
{
	return atomic_load_explicit(block->generation_now, memory_order_acquire) ==
	       block->generation;
}

/* Is the block what is to be executed at `linear`, by the TLB and the page's generation? */
static inline bool block_serves(const struct vcpu *vcpu, const struct block_at *at, gva_t linear)
{
	const struct tlb_entry *entry = &vcpu->tlb_code[tlb_index(linear)];
	const struct block *block = at->block;

	return __builtin_expect(
		at->linear == linear && block->mode == vcpu->mode.insn &&
			entry->exec_tag == (linear & ~UINT64_C(0xfff)) &&
			atomic_load_explicit(&entry->physical, memory_order_relaxed) ==
				(block->physical & ~UINT64_C(0xfff)) &&
			block_is_current(block),
		1);
}

/*
 * The block at the linear address of vcpu->rip; raises what fetching and decoding its first
 * instruction raises.
 */
struct block *block_find_slow(struct vcpu *vcpu, gva_t linear);
struct block *block_find(struct vcpu *vcpu, gva_t linear);
/* Likewise of an address in the page of vcpu->rip's block: but NULL where that would raise, or has
 * no room without dropping other blocks. */
const struct block *block_ahead(struct vcpu *vcpu, gva_t linear);
/* The same, and notes it as a successor. */
struct block *block_find_successor(struct vcpu *vcpu, struct block *block, gva_t linear);

/*
 * The block that follows `block` (NULL: none). Through the prediction the next block's address does
 * not wait for RIP.
 */
static inline struct block *block_follow(struct vcpu *vcpu, struct block *block, gva_t linear)
{
	if (__builtin_expect(!block, 0))
		return block_find(vcpu, linear);
	if (block_serves(vcpu, &block->successors[0], linear))
		return block->successors[0].block;
	if (block_serves(vcpu, &block->successors[1], linear))
		return block->successors[1].block;
	return block_find_successor(vcpu, block, linear);
}

#endif
