/*
 * Scattered buffers.
 */
#include "block/buffer.h"

#include <string.h>

struct buffer buffer_after(struct buffer buffer, uint64_t bytes)
{
	uint64_t left = buffer.skip + bytes;

	while (buffer.nr_iov > 0 && left >= buffer.iov->iov_len) {
		left -= buffer.iov->iov_len;
		buffer.iov++;
		buffer.nr_iov--;
	}
	buffer.skip = buffer.nr_iov > 0 ? left : 0;
	return buffer;
}

unsigned buffer_slice(
	struct buffer buffer, uint64_t bytes, struct iovec *out, unsigned max, uint64_t *covered)
{
	unsigned count = 0;

	*covered = 0;
	for (unsigned i = 0; i < buffer.nr_iov && count < max && *covered < bytes; i++) {
		uint64_t skip = i == 0 ? buffer.skip : 0;
		uint64_t length = buffer.iov[i].iov_len - skip;

		if (length > bytes - *covered)
			length = bytes - *covered;
		if (length == 0)
			continue;
		out[count].iov_base = (char *)buffer.iov[i].iov_base + skip;
		out[count].iov_len = length;
		count++;
		*covered += length;
	}
	return count;
}

uint64_t buffer_bytes(struct buffer buffer)
{
	uint64_t bytes = 0;

	for (unsigned i = 0; i < buffer.nr_iov; i++)
		bytes += buffer.iov[i].iov_len;
	return bytes - buffer.skip;
}

enum direction { STORE, LOAD, CLEAR };

static void transfer(struct buffer buffer, char *flat, uint64_t bytes, enum direction direction)
{
	for (unsigned i = 0; i < buffer.nr_iov && bytes > 0; i++) {
		uint64_t skip = i == 0 ? buffer.skip : 0;
		uint64_t length = buffer.iov[i].iov_len - skip;
		char *at = (char *)buffer.iov[i].iov_base + skip;

		if (length > bytes)
			length = bytes;
		if (length == 0)
			continue;
		if (direction == STORE)
			memcpy(at, flat, length);
		else if (direction == LOAD)
			memcpy(flat, at, length);
		else
			memset(at, 0, length);
		if (direction != CLEAR)
			flat += length;
		bytes -= length;
	}
}

void buffer_store(struct buffer buffer, const void *from, uint64_t bytes)
{
	transfer(buffer, (char *)from, bytes, STORE);
}

void buffer_load(struct buffer buffer, void *to, uint64_t bytes)
{
	transfer(buffer, to, bytes, LOAD);
}

void buffer_clear(struct buffer buffer, uint64_t bytes)
{
	transfer(buffer, NULL, bytes, CLEAR);
}

bool buffer_is_aligned(struct buffer buffer, uint64_t bytes, uint32_t alignment)
{
	for (unsigned i = 0; i < buffer.nr_iov && bytes > 0; i++) {
		uint64_t skip = i == 0 ? buffer.skip : 0;
		uint64_t length = buffer.iov[i].iov_len - skip;

		if (length > bytes)
			length = bytes;
		if (((uintptr_t)buffer.iov[i].iov_base + skip) % alignment != 0 ||
			length % alignment != 0)
			return false;
		bytes -= length;
	}
	return true;
}

bool bytes_are_zero(const void *from, uint64_t bytes)
{
	const char *at = from;

	if (bytes == 0)
		return true;
	return at[0] == 0 && memcmp(at, at + 1, bytes - 1) == 0;
}
