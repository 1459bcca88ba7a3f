/*
 * Guest physical memory: a few regions of RAM, each one mapping in this process of a part of one
 * file in memory, so that another process can be given the same memory.
 *
 * The layout is fixed before the first vCPU runs. Every access by length is bounded here; nothing
 * else turns a guest physical address into a pointer. Devices use guest_memory_read and _write,
 * which reach RAM only, never MMIO. A write is announced to the engine (`written`), because it may
 * hit code that the engine has decoded.
 */
#ifndef MACHINE_MEMORY_H
#define MACHINE_MEMORY_H

#include "base/error.h"
#include "base/types.h"

#define GUEST_PAGE_SHIFT 12
#define GUEST_PAGE_SIZE  4096

#define GUEST_MEMORY_MAX_REGIONS 8

struct ram_region {
	gpa_t base;
	uint64_t size; /* bytes, a multiple of the page size */
	uint8_t *host;
	bool read_only; /* ROM: the guest's writes are dropped */
	/* The file that is mapped, and where the region begins in it; -1: the host has no such
	 * files, and the memory is private to this process. Owned by the guest_memory. */
	int fd;
	uint64_t fd_offset;
};

struct guest_memory {
	struct ram_region regions[GUEST_MEMORY_MAX_REGIONS]; /* ascending, immutable once running */
	unsigned nr_regions;
	gpa_t end; /* one past the highest RAM address */
	uint64_t file_size;
	/* Set by the engine; any thread. */
	void (*written)(void *context, gpa_t address, uint64_t size);
	void *written_context;
};

/* Maps `size` bytes of zeroed host memory at `base`. Returns 0, or fills `err`. */
int guest_memory_add(
	struct guest_memory *memory, gpa_t base, uint64_t size, bool read_only, struct error *err);

void guest_memory_finish(struct guest_memory *memory);

/*
 * The host address of guest bytes [address, address + size), or NULL if they are not all in one
 * region of RAM. For engines and for device code that has latched a ring; others copy.
 */
void *guest_memory_host(const struct guest_memory *memory, gpa_t address, uint64_t size);

const struct ram_region *guest_memory_region(const struct guest_memory *memory, gpa_t address);

/* Copies; returns 0, or -EFAULT without a partial copy if a byte is not RAM. */
int guest_memory_read(const struct guest_memory *memory, gpa_t address, void *to, uint64_t size);
int guest_memory_write(
	const struct guest_memory *memory, gpa_t address, const void *from, uint64_t size);

/*
 * Gives the whole pages inside [host, host + size) back to the host; they read as zero from then
 * on. `host` came from guest_memory_host. For balloons: who discards knows that the guest has
 * given the content up. Returns the bytes given back.
 */
uint64_t guest_memory_discard(const struct guest_memory *memory, void *host, uint64_t size);

/* Total bytes of RAM. */
uint64_t guest_memory_size(const struct guest_memory *memory);

#endif
