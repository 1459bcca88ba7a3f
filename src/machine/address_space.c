#include "machine/address_space.h"

#include "base/bits.h"

#include <assert.h>
#include <string.h>

/* The index of the first region that ends above `address`. */
static unsigned address_space_lower_bound(const struct address_space *space, uint64_t address)
{
	unsigned low = 0, high = space->nr_regions;

	while (low < high) {
		unsigned middle = (low + high) / 2;
		const struct io_region *region = &space->regions[middle];

		if (region->base + region->size <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

void address_space_map(struct address_space *space, const struct io_region *region)
{
	unsigned at = address_space_lower_bound(space, region->base);

	assert(space->nr_regions < ADDRESS_SPACE_MAX_REGIONS);
	assert(region->size > 0 && region->base + region->size > region->base);
	assert(at == space->nr_regions || region->base + region->size <= space->regions[at].base);

	memmove(&space->regions[at + 1], &space->regions[at],
		(space->nr_regions - at) * sizeof(space->regions[0]));
	space->regions[at] = *region;
	space->nr_regions++;
}

void address_space_unmap(struct address_space *space, uint64_t base)
{
	unsigned at = address_space_lower_bound(space, base);

	assert(at < space->nr_regions && space->regions[at].base == base);
	space->nr_regions--;
	memmove(&space->regions[at], &space->regions[at + 1],
		(space->nr_regions - at) * sizeof(space->regions[0]));
}

const struct io_region *address_space_find(const struct address_space *space, uint64_t address)
{
	unsigned at = address_space_lower_bound(space, address);

	if (at == space->nr_regions || address < space->regions[at].base)
		return NULL;
	return &space->regions[at];
}

bool address_space_is_free(const struct address_space *space, uint64_t base, uint64_t size)
{
	unsigned at = address_space_lower_bound(space, base);

	if (at == space->nr_regions)
		return true;
	return space->regions[at].base > base && space->regions[at].base - base >= size;
}

/* The largest piece of an access at `offset` that one call of the device may see. */
static unsigned piece_size(const struct io_region *region, uint64_t offset, unsigned size)
{
	unsigned max = region->ops->max_size ? region->ops->max_size : 1;

	if (size > max)
		size = max;
	while (offset + size > region->size)
		size /= 2;
	return size;
}

/* One piece; returns its size. */
static unsigned read_piece(
	const struct io_region *region, uint64_t offset, unsigned size, uint64_t *value)
{
	unsigned piece = piece_size(region, offset, size);

	*value = UINT64_MAX;
	if (region->ops->read)
		*value = region->ops->read(region->device, offset, piece);
	*value &= byte_mask(piece);
	return piece;
}

static unsigned write_piece(
	const struct io_region *region, uint64_t offset, unsigned size, uint64_t value)
{
	unsigned piece = piece_size(region, offset, size);

	if (region->ops->write)
		region->ops->write(region->device, offset, piece, value & byte_mask(piece));
	return piece;
}

uint64_t io_region_read(const struct io_region *region, uint64_t offset, unsigned size)
{
	uint64_t value = 0, part;
	unsigned done = 0, piece;

	for (; done < size; done += piece) {
		part = 0xff;
		piece = 1;
		if (offset + done < region->size)
			piece = read_piece(region, offset + done, size - done, &part);
		value |= part << (8 * done);
	}
	return value;
}

void io_region_write(const struct io_region *region, uint64_t offset, unsigned size, uint64_t value)
{
	for (unsigned done = 0; done < size && offset + done < region->size;)
		done += write_piece(region, offset + done, size - done, value >> (8 * done));
}

uint64_t address_space_read(struct address_space *space, uint64_t address, unsigned size)
{
	uint64_t value = 0, part;
	unsigned done = 0, piece;

	for (; done < size; done += piece) {
		const struct io_region *region = address_space_find(space, address + done);

		part = 0xff;
		piece = 1;
		if (region)
			piece = read_piece(
				region, address + done - region->base, size - done, &part);
		value |= part << (8 * done);
	}
	return value;
}

void address_space_write(
	struct address_space *space, uint64_t address, unsigned size, uint64_t value)
{
	unsigned done = 0, piece;

	for (; done < size; done += piece) {
		const struct io_region *region = address_space_find(space, address + done);

		piece = 1;
		if (region)
			piece = write_piece(region, address + done - region->base, size - done,
				value >> (8 * done));
	}
}
