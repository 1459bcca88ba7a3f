/*
 * Where an access that is not RAM goes: port I/O and MMIO, one address space each.
 *
 * A device maps regions with two functions. Addresses that nobody claims float: reads give all
 * ones, writes vanish. Accesses wider than a region's `max_size` are split into ascending pieces,
 * as the ISA bus does. Everything here runs under the machine lock.
 */
#ifndef MACHINE_ADDRESS_SPACE_H
#define MACHINE_ADDRESS_SPACE_H

#include "base/types.h"

struct io_ops {
	/* `offset` is from the region's base; `size` is 1, 2, 4 or 8 bytes. */
	uint64_t (*read)(void *device, uint64_t offset, unsigned size);
	void (*write)(void *device, uint64_t offset, unsigned size, uint64_t value);
	unsigned max_size; /* bytes; 0 means 1 */
};

struct io_region {
	uint64_t base;
	uint64_t size;
	const struct io_ops *ops;
	void *device;
	const char *name; /* for traces: "com1" */
};

/* The chips of a board, and every BAR of 31 PCI devices. */
#define ADDRESS_SPACE_MAX_REGIONS 256

struct address_space {
	struct io_region regions[ADDRESS_SPACE_MAX_REGIONS]; /* ascending, disjoint */
	unsigned nr_regions;
};

/* Claims a range. It must not overlap another: a wiring bug of the board, which asserts. */
void address_space_map(struct address_space *space, const struct io_region *region);
void address_space_unmap(struct address_space *space, uint64_t base);

uint64_t address_space_read(struct address_space *space, uint64_t address, unsigned size);
void address_space_write(
	struct address_space *space, uint64_t address, unsigned size, uint64_t value);

/* The region that holds `address`, or NULL. */
const struct io_region *address_space_find(const struct address_space *space, uint64_t address);

/* Does no region hold a byte of [base, base + size)? */
bool address_space_is_free(const struct address_space *space, uint64_t base, uint64_t size);

/* An access to a region at `offset`, split as its device wants it; bytes beyond its end float. */
uint64_t io_region_read(const struct io_region *region, uint64_t offset, unsigned size);
void io_region_write(
	const struct io_region *region, uint64_t offset, unsigned size, uint64_t value);

#endif
