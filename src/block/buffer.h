/*
 * A scattered buffer and how far into it one is: what a request carries through the layers.
 */
#ifndef BLOCK_BUFFER_H
#define BLOCK_BUFFER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

struct buffer {
	const struct iovec *iov;
	unsigned nr_iov;
	uint64_t skip; /* bytes of iov[0] that are behind; less than its length unless at the end */
};

/* The buffer from `bytes` on; bytes beyond its end leave it empty. */
struct buffer buffer_after(struct buffer buffer, uint64_t bytes);

/* Writes up to `max` pieces of the first `bytes` to `out`; returns how many, and their bytes. */
unsigned buffer_slice(
	struct buffer buffer, uint64_t bytes, struct iovec *out, unsigned max, uint64_t *covered);

uint64_t buffer_bytes(struct buffer buffer);
void buffer_store(struct buffer buffer, const void *from, uint64_t bytes);
void buffer_load(struct buffer buffer, void *to, uint64_t bytes);
void buffer_clear(struct buffer buffer, uint64_t bytes);
bool buffer_is_aligned(struct buffer buffer, uint64_t bytes, uint32_t alignment);

/* Are all bytes zero? */
bool bytes_are_zero(const void *from, uint64_t bytes);

#endif
