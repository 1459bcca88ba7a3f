/*
 * Decoded code: runs of instructions that end at a branch, at a page's end, or where the mode or
 * the address translation may change.
 *
 * A block is found by the physical address of its first byte and the decode mode; a small table by
 * linear address stands before that. Owned by the vCPU's thread.
 */
#ifndef ENGINE_SOFT_BLOCK_H
#define ENGINE_SOFT_BLOCK_H

#include "engine/soft/insn.h"
#include "engine/soft/mmu.h"

#define BLOCK_MAX_INSNS 64

struct block {
	gpa_t physical;
	/* Of the page, when it was decoded and now: they differ if it was written since. */
	const _Atomic uint32_t *generation_now;
	uint32_t generation;
	uint8_t mode; /* enum insn_mode */
	uint8_t nr_insns;
	uint16_t size; /* bytes */
	/* An instruction that crosses a page's end is a block of its own. */
	bool crosses;
	uint32_t next_generation;
	const _Atomic uint32_t *next_generation_now;
	gpa_t next_physical; /* of the second page */
	struct block *hash_next;
	struct insn insns[];
};

#define BLOCK_LOOKUP_BITS 13

struct block_lookup {
	gva_t linear;
	const struct block *block;
};

struct block_cache {
	struct block_lookup lookup[1u << BLOCK_LOOKUP_BITS];
	struct block **buckets;
	uint8_t *arena;
	size_t used;
};

static inline struct block_lookup *block_lookup(struct block_cache *cache, gva_t linear)
{
	return &cache->lookup[(linear ^ linear >> BLOCK_LOOKUP_BITS) &
			      ((1u << BLOCK_LOOKUP_BITS) - 1)];
}

static inline bool block_is_current(const struct block *block)
{
	return atomic_load_explicit(block->generation_now, memory_order_acquire) ==
	       block->generation;
}

/*
 * The block at the linear address of vcpu->rip; raises what fetching and decoding its first
 * instruction raises.
 */
const struct block *block_find_slow(struct vcpu *vcpu, gva_t linear);

static inline const struct block *block_find(struct vcpu *vcpu, gva_t linear)
{
	const struct block_lookup *lookup = block_lookup(vcpu->blocks, linear);
	const struct tlb_entry *entry = &vcpu->tlb_code[tlb_index(linear)];
	const struct block *block = lookup->block;

	if (__builtin_expect(lookup->linear == linear && block->mode == vcpu->mode.insn &&
				     entry->exec_tag == (linear & ~UINT64_C(0xfff)) &&
				     atomic_load_explicit(&entry->physical, memory_order_relaxed) ==
					     (block->physical & ~UINT64_C(0xfff)) &&
				     !block->crosses && block_is_current(block),
		    1))
		return block;
	return block_find_slow(vcpu, linear);
}

#endif
