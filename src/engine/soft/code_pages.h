/*
 * Which bytes of guest RAM some vCPU has decoded.
 *
 * For each physical page of RAM that ever held executed code: a bitmap of 64-byte lines with
 * decoded code in them, and a generation that grows when a write hits such a line. A decoded block
 * remembers the generation of its page (or pages) and is stale when that has moved on. Shared by
 * all vCPUs; lock-free reads.
 */
#ifndef ENGINE_SOFT_CODE_PAGES_H
#define ENGINE_SOFT_CODE_PAGES_H

#include "engine/soft/vcpu.h"

struct code_pages;

int code_pages_create(struct soft_engine *engine, struct error *err);
void code_pages_destroy(struct soft_engine *engine);

/*
 * Declares [physical, physical + size) (within one page of RAM) decoded, before its bytes are read.
 * The first time a page becomes a code page, every vCPU's direct write entries for it are taken
 * away. Returns the page's generation.
 */
uint32_t code_pages_add(struct soft_engine *engine, gpa_t physical, unsigned size);

/* The generation of the page, or 0 if it never held code. */
uint32_t code_pages_generation(const struct soft_engine *engine, gpa_t physical);

bool code_pages_is_code(const struct soft_engine *engine, gpa_t physical);

/* A write happened: by a vCPU's slow path, a device's DMA, or the processor itself. */
void code_pages_written(struct soft_engine *engine, gpa_t physical, uint64_t size);

#endif
