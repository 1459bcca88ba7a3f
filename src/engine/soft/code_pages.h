/*
 * Which bytes of guest RAM some vCPU has decoded.
 *
 * For each physical page of RAM: a bitmap of 64-byte lines with decoded code in them, and a
 * generation that grows when a write hits such a line. A decoded block remembers the generation of
 * its page (or pages) and is stale when that has moved on; then the page holds no decoded code
 * until it is decoded again. Shared by all vCPUs; reads and writes hits are lock-free.
 */
#ifndef ENGINE_SOFT_CODE_PAGES_H
#define ENGINE_SOFT_CODE_PAGES_H

#include "engine/soft/vcpu.h"

struct code_pages;

int code_pages_create(struct soft_engine *engine, struct error *err);
void code_pages_destroy(struct soft_engine *engine);

/* Where the page's generation is kept, for cheap looks. */
const _Atomic uint32_t *code_pages_generation_at(const struct soft_engine *engine, gpa_t physical);

/*
 * Declares [physical, physical + size) (within one page of RAM) decoded, before its bytes are read.
 * When a page starts to hold code, every vCPU's direct write entries for it are taken away, and
 * writes that others have begun through them are waited for. Called between instructions by the
 * thread that runs `vcpu`. Returns the page's generation.
 */
uint32_t code_pages_add(struct vcpu *vcpu, gpa_t physical, unsigned size);

/* By the vCPU's thread between instructions, if REQUEST_WRITES is set. */
static inline void code_pages_answer(struct vcpu *vcpu)
{
	atomic_fetch_and(&vcpu->requests, ~REQUEST_WRITES);
}

/* Holds decoded code now. */
bool code_pages_is_code(const struct soft_engine *engine, gpa_t physical);

/*
 * For direct execution, whose writes nobody sees: may the page be mapped writable in a runner? Not
 * if it holds code. When it starts to, runners lose what they have: direct_revoke.
 */
bool code_pages_write_directly(struct soft_engine *engine, gpa_t physical);

/* A runner is about to have a copy of this page of code: who writes there calls direct_revoke. */
void code_pages_note_copy(struct soft_engine *engine, gpa_t physical);

/*
 * A write happened: by a vCPU's slow path, a device's DMA, or the processor itself. True if it hit
 * decoded code. Any thread.
 */
bool code_pages_written(struct soft_engine *engine, gpa_t physical, uint64_t size);

/* The region has come from the place `from`: forgets the code that was decoded in it. Under the
 * machine lock; every vCPU flushes its TLB after this, and calls code_pages_settle. */
void code_pages_moved(struct soft_engine *engine, const struct ram_region *region, uint64_t from);

/* By the vCPU's thread when it has flushed its TLB: what it decoded through old entries. */
void code_pages_settle(struct vcpu *vcpu);

/*
 * For translators: the log of pages whose decoded code was written. `position` is how far the
 * caller has read; copies up to `max` pages, moves it on and returns how many, or -1 if some have
 * been overwritten: then anything may have changed. Every entry comes with REQUEST_CODE for all
 * vCPUs.
 */
uint64_t code_pages_log_end(const struct soft_engine *engine);
int code_pages_log(struct soft_engine *engine, uint64_t *position, gpa_t *pages, unsigned max);

#endif
