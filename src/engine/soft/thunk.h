/*
 * Thunks: the guest's vector instructions as routines for the host.
 *
 * A thunk is called with the host address of the memory operand in RDI and the vCPU in RSI; the
 * guest's vector registers are live. It loads the general registers and arithmetic flags the
 * instruction reads, executes it, stores those it writes, and returns. It changes RAX, RCX and RDX
 * only and leaves RSP alone, so that a fault inside can be left as if the thunk had jumped
 * elsewhere.
 *
 * The caches are addressed by content: instructions that differ only in their address mode share a
 * thunk. One cache for each vCPU, owned by its thread; when it is full everything is dropped and
 * `generation` grows. Its memory is written through one mapping and executed through another.
 */
#ifndef ENGINE_SOFT_THUNK_H
#define ENGINE_SOFT_THUNK_H

#include "engine/soft/vcpu.h"

typedef void thunk_function(void *memory, struct vcpu *vcpu);

#define THUNK_CODE_BYTES (256u << 10)
#define THUNK_GRAIN      16u /* thunks start at multiples of it */
#define THUNK_SLOTS      16384u
#define THUNK_MAX_COUNT  (THUNK_SLOTS * 3 / 4)

struct thunk_slot {
	uint32_t hash;
	uint16_t grain;  /* where the thunk starts */
	uint16_t length; /* 0: a free slot */
};

struct thunk_cache {
	uint8_t *writable;
	const uint8_t *executable;
	uint32_t used; /* bytes */
	uint32_t count;
	uint32_t generation;
	uint64_t flushes;
	struct thunk_slot slots[THUNK_SLOTS];
};

/* After writing code through another address than it runs at. */
void thunk_serialise(void);

/* Returns 0 or -errno. */
int thunk_cache_create(struct thunk_cache **cache);
void thunk_cache_destroy(struct thunk_cache *cache);

/* Finds or makes the thunk of `insn` and notes it there. */
void thunk_bind(struct thunk_cache *cache, struct insn *insn);

static inline bool thunk_cache_contains(const struct thunk_cache *cache, uintptr_t address)
{
	return address - (uintptr_t)cache->executable < THUNK_CODE_BYTES;
}

static inline thunk_function *thunk_at(const struct thunk_cache *cache, uint32_t offset)
{
	return (thunk_function *)(uintptr_t)(cache->executable + offset);
}

#endif
