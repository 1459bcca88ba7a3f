#include "storage/scatter.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_CAPACITY 16

static bool grow(struct scatter *scatter)
{
	unsigned capacity = scatter->capacity ? 2 * scatter->capacity : FIRST_CAPACITY;
	struct iovec *iov = realloc(scatter->iov, capacity * sizeof(*iov));

	if (!iov)
		return false;
	scatter->iov = iov;
	scatter->capacity = capacity;
	return true;
}

bool scatter_add_host(struct scatter *scatter, void *buffer, uint64_t bytes)
{
	struct iovec *last = scatter->nr_iov ? &scatter->iov[scatter->nr_iov - 1] : NULL;

	if (bytes == 0)
		return true;
	if (last && (char *)last->iov_base + last->iov_len == buffer) {
		last->iov_len += bytes;
	} else {
		if (scatter->nr_iov == scatter->capacity && !grow(scatter))
			return false;
		scatter->iov[scatter->nr_iov++] =
			(struct iovec){ .iov_base = buffer, .iov_len = bytes };
	}
	scatter->bytes += bytes;
	return true;
}

bool scatter_add(struct scatter *scatter, gpa_t address, uint64_t bytes, bool writable)
{
	while (bytes > 0) {
		struct ram_place place;
		uint64_t chunk;

		if (!guest_memory_find(scatter->memory, address, &place) ||
			(writable && place.read_only))
			return false;
		chunk = place.region->size - place.offset;
		if (chunk > bytes)
			chunk = bytes;
		if (!scatter_add_host(scatter, place.region->host + place.offset, chunk))
			return false;
		address += chunk;
		bytes -= chunk;
	}
	return true;
}

void scatter_clear(struct scatter *scatter)
{
	scatter->nr_iov = 0;
	scatter->bytes = 0;
}

void scatter_finish(struct scatter *scatter)
{
	free(scatter->iov);
	memset(scatter, 0, sizeof(*scatter));
}

struct buffer scatter_buffer(const struct scatter *scatter)
{
	return (struct buffer){ .iov = scatter->iov, .nr_iov = scatter->nr_iov };
}

static uint64_t at_most(const struct scatter *scatter, uint64_t bytes)
{
	return bytes < scatter->bytes ? bytes : scatter->bytes;
}

uint64_t scatter_store(struct scatter *scatter, const void *from, uint64_t bytes)
{
	bytes = at_most(scatter, bytes);
	if (bytes) {
		buffer_store(scatter_buffer(scatter), from, bytes);
		scatter_announce(scatter, bytes);
	}
	return bytes;
}

uint64_t scatter_load(const struct scatter *scatter, void *to, uint64_t bytes)
{
	bytes = at_most(scatter, bytes);
	if (bytes)
		buffer_load(scatter_buffer(scatter), to, bytes);
	return bytes;
}

void scatter_announce(const struct scatter *scatter, uint64_t bytes)
{
	const struct guest_memory *memory = scatter->memory;
	uint64_t skip = 0;

	if (!memory || !memory->written)
		return;
	/* Neighbours in this process need not be neighbours in the guest. */
	for (unsigned i = 0; i < scatter->nr_iov && bytes > 0;) {
		const struct iovec *iov = &scatter->iov[i];
		uint8_t *host = (uint8_t *)iov->iov_base + skip;
		uint64_t chunk = iov->iov_len - skip < bytes ? iov->iov_len - skip : bytes;
		struct ram_place place;
		gpa_t address;

		if (guest_memory_address(memory, host, false, &address) &&
			guest_memory_find(memory, address, &place)) {
			if (chunk > place.region->size - place.offset)
				chunk = place.region->size - place.offset;
			memory->written(memory->written_context, address, chunk);
		}
		bytes -= chunk;
		skip += chunk;
		if (skip == iov->iov_len) {
			skip = 0;
			i++;
		}
	}
}
