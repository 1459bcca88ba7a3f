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

/* The largest piece of an access at `address` that one call of the device may see. */
static unsigned piece_size(const struct io_region *region, uint64_t address, unsigned size)
{
	unsigned max = region && region->ops->max_size ? region->ops->max_size : 1;

	if (!region)
		return 1;
	if (size > max)
		size = max;
	while (address - region->base + size > region->size)
		size /= 2;
	return size;
}

uint64_t address_space_read(struct address_space *space, uint64_t address, unsigned size)
{
	uint64_t value = 0;
	unsigned done = 0;

	while (done < size) {
		const struct io_region *region = address_space_find(space, address + done);
		unsigned piece = piece_size(region, address + done, size - done);
		uint64_t part = UINT64_MAX;

		if (region && region->ops->read)
			part = region->ops->read(
				region->device, address + done - region->base, piece);
		value |= (part & byte_mask(piece)) << (8 * done);
		done += piece;
	}
	return value;
}

void address_space_write(
	struct address_space *space, uint64_t address, unsigned size, uint64_t value)
{
	unsigned done = 0;

	while (done < size) {
		const struct io_region *region = address_space_find(space, address + done);
		unsigned piece = piece_size(region, address + done, size - done);

		if (region && region->ops->write)
			region->ops->write(region->device, address + done - region->base, piece,
				(value >> (8 * done)) & byte_mask(piece));
		done += piece;
	}
}
