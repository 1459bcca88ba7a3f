/*
 * The translator: guest code as host code, the second executor beside the
 * interpreter. docs/soft-engine.md explains the design.
 *
 * The context is what translated code reaches through the host's GS base, which points at the
 * vCPU. Owned by the vCPU's thread.
 */
#ifndef ENGINE_SOFT_TRANSLATE_H
#define ENGINE_SOFT_TRANSLATE_H

#include "base/error.h"
#include "base/types.h"

struct vcpu;
struct mmu_space_view;
struct soft_engine;
struct translator;

#define MAX_CODE_PAGES (1u << 14)
/* By bits 3 to 15 of the target, so that what is near in code shares a cache line here. */
#define JUMP_CACHE_SIZE (1u << 13)
/* Behind these: where targets are looked for that others have displaced. */
#define JUMP_CACHE_SECOND_SIZE (1u << 12)

/* Sets of the TLB that translated code can run with: supervisor, user, supervisor with AC. */
#define TRANSLATE_SETS 3

#define NR_POINTERS 8

/* translate_context.mode: to be found again. */
#define MODE_UNKNOWN 0xffff

/* Units of the host that an instruction needs, bits of translate_context.units_missing. */
#define UNIT_X87 1
#define UNIT_SSE 2
#define UNIT_AVX 4

struct translate_context {
	uint64_t host_rsp;
	uint64_t target;                /* where translate_enter goes */
	uint64_t scratch;               /* within an address check */
	uint64_t spill;                 /* within an instruction with two accesses */
	uint64_t poll_mask;             /* requests that translated code is left for */
	uint64_t executed;              /* instructions, if the translator is counting */
	uint64_t pointers[NR_POINTERS]; /* within a block: host addresses of groups of accesses */
	uint64_t exit;                  /* why it was left: translator.h */
	uint8_t units_missing;
	uint16_t mode; /* of code that is not 64-bit: translate_mode.c */
	/*
	 * By view of a code page: its ID while the page is known to be mapped there, else 0. An ID
	 * stands for linear page, physical page, set and content; code of one page is entered from
	 * another only if its ID is here.
	 */
	uint32_t code_ids[MAX_CODE_PAGES];
	/* By set and low bits of the target, then by a hash. */
	struct jump_cache_entry {
		gva_t target;
		uint64_t host; /* the translation's guard */
	} jump_cache[TRANSLATE_SETS][JUMP_CACHE_SIZE + JUMP_CACHE_SECOND_SIZE];
	struct translator *translator; /* NULL: interpret */
};

/* Measured with boots of Linux: of what they translate a sixth runs once, a third at most eight
 * times, but what is interpreted oftener costs what is saved. */
#define COLD_RUNS 2

/* Code is interpreted `cold_runs` times before it is translated. */
int translate_create(struct soft_engine *engine, unsigned cold_runs, struct error *err);
void translate_destroy(struct soft_engine *engine);

/* Address translations change: mmu.c. */
void translate_forget_mappings(struct vcpu *vcpu, bool keep_global);
void translate_forget_page(struct vcpu *vcpu, gva_t address);

/* For mmu_space.h: translator_mapped_views and translator_map_views, if there is a translator. */
unsigned translate_mapped_views(
	const struct vcpu *vcpu, struct mmu_space_view *views, unsigned max);
void translate_map_views(struct vcpu *vcpu, const struct mmu_space_view *views, unsigned count);

/* Sees to it that REQUEST_TIMER comes when the vCPU's APIC timer or its next native run is due. */
void translate_arm_timer(struct vcpu *vcpu);
/* The vCPU's thread is about to sleep: that does not come before it is armed again. */
void translate_rest_timer(struct vcpu *vcpu);

/*
 * For the handler of a synchronous signal. If `pc` is translated code, the guest's state goes into
 * the vCPU, the machine context is made to leave translated code at the guest's instruction, and it
 * returns true.
 */
bool translate_take_signal(void *ucontext);

/* For a vCPU in lockstep, once: the calling thread runs it, and no other, until it ends. */
void translate_prepare_thread(struct vcpu *vcpu);

/*
 * As interpret_try, through translated code that holds up to `insns` instructions of the block. For
 * tests; the same number each time until the code is written.
 */
int translate_try(struct vcpu *vcpu, unsigned insns);

#endif
