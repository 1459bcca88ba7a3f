/*
 * The cache of decoded blocks. Memory is an arena of fixed size that is emptied when it is full.
 *
 * Bytes are declared decoded (code_pages_add) before they are compared with what was decoded, so a
 * write that comes in between is either seen or makes the block stale.
 */
#include "engine/soft/block.h"

#include "engine/soft/code_pages.h"
#include "engine/soft/execute.h"
#include "engine/soft/interpret.h"
#include "engine/soft/isa.h"
#include "engine/soft/translator.h"
#include "engine/soft/vector.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

/* The interpreter lives by its blocks. The translator looks at them again where it leaves an
 * instruction to the interpreter. */
#define ARENA_SIZE   (16u << 20)
#define BUCKET_BITS  17
#define NR_BUCKETS   (1u << BUCKET_BITS)
#define BUCKETS_SIZE (NR_BUCKETS * sizeof(struct block *))
#define PAGE_MASK    (~UINT64_C(0xfff))
#define NO_INSN_MODE 0xff
#define MAX_BLOCK    (sizeof(struct block) + BLOCK_MAX_INSNS * sizeof(struct insn))

static const _Atomic uint32_t never_written;

static struct block_at nowhere(struct decoded_cache *cache)
{
	return (struct block_at){ .block = &cache->none };
}

static void forget_all(struct decoded_cache *cache)
{
	for (unsigned i = 0; i < ARRAY_SIZE(cache->lookup); i++)
		cache->lookup[i] = nowhere(cache);
	for (unsigned i = 0; i < NR_BUCKETS; i++)
		cache->buckets[i] = NULL;
	cache->used = 0;
	cache->times_emptied++;
}

int block_cache_create(struct vcpu *vcpu, struct error *err)
{
	struct decoded_cache *cache = calloc(1, sizeof(*cache));

	vcpu->blocks = cache;
	if (cache) {
		cache->size = vcpu->engine->mode == SOFT_MODE_TRANSLATE
				      ? translator_code_bytes(vcpu->engine) / 8
				      : ARENA_SIZE;
		cache->arena = populate_map_large(cache->size);
		cache->buckets = populate_map_large(BUCKETS_SIZE);
	}
	if (!cache || !cache->arena || !cache->buckets) {
		block_cache_destroy(vcpu);
		return error_set_errno(
			err, EXIT_CODE_HOST, ENOMEM, "cannot make a cache of decoded code");
	}
	cache->ahead = (struct populate_ahead){ cache->arena, cache->size };
	cache->none.mode = NO_INSN_MODE;
	cache->none.generation_now = &never_written;
	forget_all(cache);
	return 0;
}

void block_cache_destroy(struct vcpu *vcpu)
{
	struct decoded_cache *cache = vcpu->blocks;

	if (!cache)
		return;
	if (cache->arena)
		munmap(cache->arena, cache->size);
	if (cache->buckets)
		munmap(cache->buckets, BUCKETS_SIZE);
	free(cache);
	vcpu->blocks = NULL;
}

static struct block_at *lookup(struct decoded_cache *cache, gva_t linear)
{
	return &cache->lookup[(linear ^ linear >> BLOCK_LOOKUP_BITS) &
			      ((1u << BLOCK_LOOKUP_BITS) - 1)];
}

static struct block **bucket(struct decoded_cache *cache, gpa_t physical)
{
	return &cache->buckets[(physical ^ physical >> BUCKET_BITS) & (NR_BUCKETS - 1)];
}

static struct block *allocate(struct vcpu *vcpu)
{
	struct decoded_cache *cache = vcpu->blocks;
	struct block *block;

	/* What follows may call the C library's memcpy and memset, which use vectors. */
	vector_leave(vcpu);
	if (cache->size - cache->used < MAX_BLOCK) {
		vcpu->block = NULL;
		forget_all(cache);
	}
	populate_ahead(&cache->ahead, cache->used + MAX_BLOCK);
	block = (struct block *)(cache->arena + cache->used);
	block->successors[0] = block->successors[1] = nowhere(cache);
	return block;
}

static void insert(struct decoded_cache *cache, struct block *block)
{
	struct block **head = bucket(cache, block->physical);
	size_t size = sizeof(*block) + block->nr_insns * sizeof(struct insn);

	cache->used += align_up(size, 64);
	block->hash_next = *head;
	*head = block;
}

/* Predictions may still point to the block: it never serves again. */
static void remove_block(struct decoded_cache *cache, struct block *block)
{
	struct block **at = bucket(cache, block->physical);

	while (*at != block)
		at = &(*at)->hash_next;
	*at = block->hash_next;
	block->mode = NO_INSN_MODE;
}

/* Rows whose execution depends on the mode or on a unit's state run behind the prologue. */
static bool needs_prologue(const struct insn *insn)
{
	return insn->prefixes & PREFIX_VEX ||
	       insn_row(insn)->attributes &
		       (ISA_PRIVILEGED | ISA_PROTECTED | ISA_X87 | ISA_VECTOR | ISA_MMX | ISA_AVX);
}

static bool is_repeated(const struct insn *insn)
{
	return insn_row(insn)->attributes & ISA_STRING &&
	       insn->prefixes & (PREFIX_REP | PREFIX_REPNE);
}

/* A repeated string instruction goes on in a block that begins with it. */
static bool ends_block(const struct insn *insn)
{
	return insn_row(insn)->attributes & (ISA_ENDS_BLOCK | ISA_BRANCH) || is_repeated(insn);
}

/* One execution of a repeated instruction takes as long as this many others. */
#define REPEATED_COST 128

static void set_size(struct block *block, unsigned nr_insns, unsigned size)
{
	block->nr_insns = nr_insns;
	block->size = size;
	block->cost = nr_insns;
	if (is_repeated(&block->insns[nr_insns - 1]))
		block->cost += REPEATED_COST;
}

static void prepare(struct insn *insn)
{
	if (needs_prologue(insn))
		insn->exec = interpret_prologue;
}

static _Noreturn void raise_decode_error(struct vcpu *vcpu, enum insn_error error)
{
	if (error == INSN_TOO_LONG)
		cpu_raise_error(vcpu, X86_GP, 0);
	cpu_raise(vcpu, X86_UD);
}

/* Decodes up to the end of the block or of the page; says what is wrong with the first one. */
static enum insn_error decode_run(
	struct vcpu *vcpu, struct block *block, const uint8_t *bytes, unsigned available)
{
	unsigned n = 0, at = 0;

	while (n < BLOCK_MAX_INSNS) {
		struct insn *insn = &block->insns[n];
		enum insn_error error = insn_decode(
			insn, bytes + at, available - at, vcpu->mode.insn, &vcpu->features);

		if (error != INSN_OK) {
			if (n > 0)
				break;
			return error;
		}
		n++;
		at += insn->length;
		prepare(insn);
		if (ends_block(insn) || at == available)
			break;
	}
	set_size(block, n, at);
	return INSN_OK;
}

static gva_t second_page(const struct vcpu *vcpu, gva_t linear)
{
	gva_t next = (linear & PAGE_MASK) + GUEST_PAGE_SIZE;

	return vcpu->mode.insn == INSN_MODE_64 ? next : (uint32_t)next;
}

/* One instruction, byte by byte: it crosses a page's end or is not in RAM. */
static void decode_bytewise(struct vcpu *vcpu, struct block *block, gva_t linear)
{
	gva_t mask = vcpu->mode.insn == INSN_MODE_64 ? ~UINT64_C(0) : UINT32_MAX;
	uint8_t bytes[INSN_MAX_LENGTH];
	enum insn_error error;
	unsigned size = 0;

	do {
		bytes[size] = mmu_fetch_slow(vcpu, (linear + size) & mask);
		size++;
		error = insn_decode(
			&block->insns[0], bytes, size, vcpu->mode.insn, &vcpu->features);
	} while (error == INSN_TRUNCATED && size < INSN_MAX_LENGTH);
	if (error != INSN_OK)
		raise_decode_error(vcpu, error);
	prepare(&block->insns[0]);
	set_size(block, 1, block->insns[0].length);
}

static bool same_bytes(const struct insn *insn, unsigned first, const uint8_t *now, unsigned size)
{
	for (unsigned i = 0; i < size; i++)
		if (insn->bytes[first + i] != ((const volatile uint8_t *)now)[i])
			return false;
	return true;
}

static bool run_unchanged(const struct block *block, const uint8_t *now)
{
	for (unsigned n = 0; n < block->nr_insns; n++) {
		const struct insn *insn = &block->insns[n];

		if (!same_bytes(insn, 0, now, insn->length))
			return false;
		now += insn->length;
	}
	return true;
}

/* Where a block's bytes are now. */
struct place {
	gpa_t physical;
	const uint8_t *host;
	unsigned available;  /* to the end of the page */
	gpa_t next_physical; /* of the second page, if the block crosses */
	const uint8_t *next_host;
};

/*
 * Ties the block to the generation of its pages, if its bytes are those that were decoded.
 */
static bool tie(struct vcpu *vcpu, struct block *block, const struct place *place)
{
	unsigned first = block->crosses ? place->available : block->size;

	block->generation = code_pages_add(vcpu, place->physical, first);
	if (!block->crosses)
		return run_unchanged(block, place->host);
	block->next_generation = code_pages_add(vcpu, place->next_physical, block->size - first);
	return same_bytes(&block->insns[0], 0, place->host, first) &&
	       same_bytes(&block->insns[0], first, place->next_host, block->size - first);
}

static bool is_tied(const struct block *block)
{
	if (!block_is_current(block))
		return false;
	return !block->crosses || atomic_load_explicit(block->next_generation_now,
					  memory_order_acquire) == block->next_generation;
}

/* Is the block what is there? Else it goes. */
static bool keep(struct vcpu *vcpu, struct block *block, const struct place *place)
{
	if (is_tied(block) || tie(vcpu, block, place))
		return true;
	remove_block(vcpu->blocks, block);
	return false;
}

static void find_second_page(struct vcpu *vcpu, gva_t linear, struct place *place)
{
	unsigned available;

	place->next_host =
		mmu_fetch(vcpu, second_page(vcpu, linear), &place->next_physical, &available);
}

static struct block *decoded_at(struct vcpu *vcpu, gpa_t physical)
{
	struct block *block = *bucket(vcpu->blocks, physical);

	while (block && (block->physical != physical || block->mode != vcpu->mode.insn))
		block = block->hash_next;
	return block;
}

static struct block *cached(struct vcpu *vcpu, gva_t linear, struct place *place)
{
	struct decoded_cache *cache = vcpu->blocks;
	struct block *block = decoded_at(vcpu, place->physical);

	if (!block)
		return NULL;
	if (block->crosses) {
		find_second_page(vcpu, linear, place);
		if (place->next_physical != block->next_physical || !place->next_host) {
			remove_block(cache, block);
			return NULL;
		}
	}
	return keep(vcpu, block, place) ? block : NULL;
}

static struct block *build_crossing(
	struct vcpu *vcpu, struct block *block, gva_t linear, struct place *place)
{
	block->crosses = true;
	block->mode = NO_INSN_MODE;
	decode_bytewise(vcpu, block, linear);
	block->mode = vcpu->mode.insn;
	find_second_page(vcpu, linear, place);
	block->next_physical = place->next_physical;
	block->next_generation_now = code_pages_generation_at(vcpu->engine, place->next_physical);
	return place->next_host ? block : NULL;
}

static struct block *begin(struct vcpu *vcpu, gpa_t physical)
{
	struct block *block = allocate(vcpu);

	block->physical = physical;
	block->generation_now = code_pages_generation_at(vcpu->engine, physical);
	block->mode = vcpu->mode.insn;
	block->crosses = false;
	return block;
}

/* NULL: it cannot be cached, and is in the scratch block. */
static struct block *build(struct vcpu *vcpu, gva_t linear, struct place *place)
{
	for (;;) {
		struct block *block = begin(vcpu, place->physical);
		enum insn_error error = decode_run(vcpu, block, place->host, place->available);

		if (error != INSN_OK && error != INSN_TRUNCATED)
			raise_decode_error(vcpu, error);
		if (error == INSN_TRUNCATED && !build_crossing(vcpu, block, linear, place))
			return NULL;
		if (tie(vcpu, block, place)) {
			insert(vcpu->blocks, block);
			return block;
		}
	}
}

/* Code in a device's memory, or on the way into it: decoded each time. */
static struct block *build_uncached(struct vcpu *vcpu, gva_t linear)
{
	struct block *block = allocate(vcpu);

	block->crosses = true;
	block->next_generation_now = NULL;
	block->mode = vcpu->mode.insn;
	block->generation_now = &never_written;
	block->generation = 0;
	decode_bytewise(vcpu, block, linear);
	return block;
}

struct block *block_find_slow(struct vcpu *vcpu, gva_t linear)
{
	struct place place;
	struct block *block;

	vcpu->block = NULL;
	if (vcpu->mode.insn == INSN_MODE_64 ? !x86_is_canonical(linear)
					    : vcpu->rip > vcpu->segment[X86_CS].limit)
		cpu_raise_error(vcpu, X86_GP, 0);
	place.host = mmu_fetch(vcpu, linear, &place.physical, &place.available);
	if (!place.host)
		return build_uncached(vcpu, linear);
	block = cached(vcpu, linear, &place);
	if (!block)
		block = build(vcpu, linear, &place);
	if (!block)
		return build_uncached(vcpu, linear);
	if (!block->crosses)
		*lookup(vcpu->blocks, linear) =
			(struct block_at){ .linear = linear, .block = block };
	return block;
}

struct block *block_find(struct vcpu *vcpu, gva_t linear)
{
	const struct block_at *at = lookup(vcpu->blocks, linear);

	return block_serves(vcpu, at, linear) ? at->block : block_find_slow(vcpu, linear);
}

const struct block *block_ahead(struct vcpu *vcpu, gva_t linear)
{
	const struct tlb_entry *entry = &vcpu->tlb_code[tlb_index(linear)];
	struct block_at *at = lookup(vcpu->blocks, linear);
	struct place place;
	struct block *block;

	if (block_serves(vcpu, at, linear))
		return at->block;
	if (entry->exec_tag != (linear & PAGE_MASK) ||
		vcpu->blocks->size - vcpu->blocks->used < MAX_BLOCK)
		return NULL;
	place.host = mmu_fetch(vcpu, linear, &place.physical, &place.available);
	block = decoded_at(vcpu, place.physical);
	/* To look at a second page may raise. */
	if (block && block->crosses)
		return NULL;
	if (!block || !keep(vcpu, block, &place)) {
		block = begin(vcpu, place.physical);
		if (decode_run(vcpu, block, place.host, place.available) != INSN_OK ||
			!tie(vcpu, block, &place))
			return NULL;
		insert(vcpu->blocks, block);
	}
	*at = (struct block_at){ .linear = linear, .block = block };
	return block;
}

struct block *block_find_successor(struct vcpu *vcpu, struct block *block, gva_t linear)
{
	unsigned times_emptied = vcpu->blocks->times_emptied;
	struct block *next = block_find(vcpu, linear);

	if (next->crosses || vcpu->blocks->times_emptied != times_emptied)
		return next;
	for (unsigned i = 0; i < ARRAY_SIZE(block->successors); i++) {
		struct block_at *successor = &block->successors[i];

		if (successor->linear == linear || !block_is_current(successor->block) ||
			successor->block == &vcpu->blocks->none) {
			*successor = (struct block_at){ .linear = linear, .block = next };
			break;
		}
	}
	return next;
}
