/*
 * Where in memory the data of one command lies: what a PRD table, a list of PRPs or a buffer of the
 * controller's own led to. Only RAM gets in; ROM only to be read from. The pieces are host memory
 * that stays mapped, so they may be used until the command ends, wherever the guest moves the
 * region meanwhile.
 */
#ifndef STORAGE_SCATTER_H
#define STORAGE_SCATTER_H

#include "block/buffer.h"
#include "machine/memory.h"

struct scatter {
	const struct guest_memory *memory; /* NULL: host buffers only */
	struct iovec *iov;
	unsigned nr_iov, capacity;
	uint64_t bytes;
};

/* Adds guest memory; `writable`: the command will write it. False: it is not all RAM, or the host
 * has no memory for the list. */
bool scatter_add(struct scatter *scatter, gpa_t address, uint64_t bytes, bool writable);
/* Adds a buffer of this process. */
bool scatter_add_host(struct scatter *scatter, void *buffer, uint64_t bytes);
/* Forgets the pieces, for the next command. */
void scatter_clear(struct scatter *scatter);
void scatter_finish(struct scatter *scatter);

struct buffer scatter_buffer(const struct scatter *scatter);

/* Copy at most what there is, from the start; return how much. What is written is announced. */
uint64_t scatter_store(struct scatter *scatter, const void *from, uint64_t bytes);
uint64_t scatter_load(const struct scatter *scatter, void *to, uint64_t bytes);

/* Its first `bytes` were written by somebody else: tells the engine, which may hold code of it. */
void scatter_announce(const struct scatter *scatter, uint64_t bytes);

#endif
