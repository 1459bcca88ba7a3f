/*
 * Guest memory gets its host pages a chunk at a time.
 *
 * The first access to each page of a guest's memory is a fault of the host, which costs more than a
 * thousand instructions, and many more where the host is a guest itself. Guests use memory that
 * lies together, so when the processor first writes somewhere in a chunk, the host is asked for all
 * of it at once.
 */
#ifndef ENGINE_SOFT_POPULATE_H
#define ENGINE_SOFT_POPULATE_H

#include "base/error.h"
#include "machine/memory.h"

struct soft_engine;

#define POPULATE_SHIFT 16

int populate_create(struct soft_engine *engine, struct error *err);
void populate_destroy(struct soft_engine *engine);

/* A vCPU is about to write at `physical`, which is RAM. */
void populate_at(const struct soft_engine *engine, gpa_t physical);

/*
 * Memory of the engine's own, zeroed, in large pages of the host where it has them: for what is
 * looked at here and there by every block. NULL: there is none. munmap with the same size frees it.
 */
void *populate_map_large(size_t size);

/*
 * Memory of the engine's own that is used from its start on: the host is asked for the next pages
 * before they are used.
 */
struct populate_ahead {
	const void *memory;
	size_t size; /* bytes */
	size_t asked;
	bool read_only; /* the mapping */
};

/* Bytes up to `used` are in use. */
void populate_more(struct populate_ahead *ahead, size_t used);

static inline void populate_ahead(struct populate_ahead *ahead, size_t used)
{
	if (used > ahead->asked)
		populate_more(ahead, used);
}

#endif
