/*
 * Guest physical memory: regions of RAM and ROM, each one mapping in this process of a part of one
 * file in memory, so that another process can be given the same memory. Where none will be, it is
 * private memory instead (`is_private`), for which hosts have large pages.
 *
 * Most regions stay where they are. Others are moved, hidden, or made ROM while the guest runs:
 * what a board's chipset switches, RAM in a PCI BAR, flash. A region's host memory stays mapped
 * wherever it is placed, so that whoever still holds a pointer reaches memory, never something
 * else. Where no region is shown, an access goes to the machine's MMIO; writes to ROM do too
 * (docs/pc.md).
 *
 * Every access by length is bounded here; nothing else turns a guest physical address into a
 * pointer. Devices use guest_memory_read and _write, which reach RAM only, never MMIO. A write is
 * announced to the engine (`written`), because it may hit code that the engine has decoded.
 */
#ifndef MACHINE_MEMORY_H
#define MACHINE_MEMORY_H

#include "base/error.h"
#include "base/types.h"

#include <stdatomic.h>

#define GUEST_PAGE_SHIFT 12
#define GUEST_PAGE_SIZE  4096

/* A board's own, and one for each BAR with memory. */
#define GUEST_MEMORY_MAX_REGIONS 64

enum ram_kind {
	RAM_HIDDEN,
	RAM_WRITABLE,
	RAM_ROM, /* reads and code come from it; writes go to MMIO, and vanish if nobody claims them
		  */
	RAM_SMM, /* RAM for processors in system management mode; hidden from all others and DMA */
};

struct ram_region {
	/* Its base, which is a multiple of the page size, and an enum ram_kind in the bits below.
	 * Written under the machine lock, read by anybody. */
	_Atomic uint64_t place;
	uint64_t size; /* bytes, a multiple of the page size */
	uint8_t *host;
	/* The file that is mapped, and where the region begins in it; -1: the host has no such
	 * files, and the memory is private to this process. Owned by the guest_memory. */
	int fd;
	uint64_t fd_offset;
	bool movable; /* guest_memory_place may be used */
	bool device;  /* what a driver is told of by its device, and the firmware does not know */
	bool foreign; /* of a file of its own (guest_memory_add_file) */
	bool shared;  /* an alias: `host` belongs to a region before it */
	bool aliased; /* its memory is that of an alias too */
	/* Of a movable region: the engine wants to hear of writes by the memory's owner. It says so
	 * before it looks at the bytes. */
	_Atomic bool watched;
};

/* What an address leads to, as it was at one moment. */
struct ram_place {
	const struct ram_region *region;
	uint64_t offset; /* in the region, less than its size */
	bool read_only;
};

/* Who else, beside the engine, has to know where memory is; its owner keeps it until it is removed.
 */
struct guest_memory_listener {
	/* A region moved, or changed its kind; the engine knows. Under the machine lock. */
	void (*changed)(void *context);
	void *context;
	struct guest_memory_listener *next;
};

struct guest_memory {
	/* The first of them that shows an address has it. The fixed ones come in ascending order.
	 */
	struct ram_region regions[GUEST_MEMORY_MAX_REGIONS];
	_Atomic unsigned nr_regions;
	gpa_t end; /* one past the highest RAM address of a fixed region */
	uint64_t file_size;
	bool is_private; /* set before the first region is added */
	/* Set by the engine; any thread. */
	void (*written)(void *context, gpa_t address, uint64_t size);
	/* A region came (its `from` is hidden), moved, or changed its kind. Under the machine lock.
	 * When it returns no vCPU begins an instruction with the old layout, but for one that runs
	 * just now and has not come to the end of what it executes in one go. */
	void (*changed)(void *context, const struct ram_region *region, uint64_t from);
	void *written_context;                   /* of both */
	struct guest_memory_listener *listeners; /* machine lock */
};

static inline enum ram_kind ram_place_kind(uint64_t place)
{
	return (enum ram_kind)(place & (GUEST_PAGE_SIZE - 1));
}

static inline gpa_t ram_place_base(uint64_t place)
{
	return place & ~(uint64_t)(GUEST_PAGE_SIZE - 1);
}

static inline enum ram_kind ram_region_kind(const struct ram_region *region)
{
	return ram_place_kind(atomic_load_explicit(&region->place, memory_order_relaxed));
}

static inline gpa_t ram_region_base(const struct ram_region *region)
{
	return ram_place_base(atomic_load_explicit(&region->place, memory_order_relaxed));
}

/* Maps `size` bytes of zeroed host memory at `base`, for good. Before the engine is created.
 * Returns 0, or fills `err`. */
int guest_memory_add(
	struct guest_memory *memory, gpa_t base, uint64_t size, bool read_only, struct error *err);

/*
 * The same for memory that a device tells its driver of: no firmware has it in its map, and it
 * counts neither for `end` nor for guest_memory_size.
 */
int guest_memory_add_device(
	struct guest_memory *memory, gpa_t base, uint64_t size, struct error *err);

/*
 * Maps the first `size` bytes of a file as such memory; the guest's writes are the file's. `fd` is
 * the memory's in any case. The file must not be made shorter: reading what is no longer there ends
 * the process (SIGBUS).
 */
int guest_memory_add_file(struct guest_memory *memory, gpa_t base, uint64_t size, int fd,
	bool read_only, struct error *err);

/*
 * A region that is hidden until guest_memory_place shows it. Under the machine lock once vCPUs run.
 * Its memory lives as long as `memory`. Returns NULL and fills `err` if the host has no memory, or
 * there are too many regions.
 */
struct ram_region *guest_memory_add_movable(
	struct guest_memory *memory, uint64_t size, struct error *err);

/* The same memory as `size` bytes of `of` from `offset`, at another address. As above. */
struct ram_region *guest_memory_add_alias(struct guest_memory *memory, const struct ram_region *of,
	uint64_t offset, uint64_t size, struct error *err);

/* Under the machine lock, from any thread; cheap if nothing changes. The kinds of one place can be
 * changed quickly; moving makes the engine forget the code that it decoded there. */
void guest_memory_place(
	struct guest_memory *memory, struct ram_region *region, gpa_t base, enum ram_kind kind);

/* Under the machine lock. */
void guest_memory_listen(struct guest_memory *memory, struct guest_memory_listener *listener);
void guest_memory_unlisten(struct guest_memory *memory, struct guest_memory_listener *listener);

/* The owner of the region's memory has written [offset, offset + size) of it: announces it wherever
 * it is shown, at the region's place and at its aliases'. Cheap if nobody watches. */
void guest_memory_changed(const struct guest_memory *memory, const struct ram_region *region,
	uint64_t offset, uint64_t size);

void guest_memory_finish(struct guest_memory *memory);

/*
 * The host address of guest bytes [address, address + size), or NULL if they are not all in one
 * region of RAM. For engines and for device code that has latched a ring; others copy.
 */
void *guest_memory_host(const struct guest_memory *memory, gpa_t address, uint64_t size);

/* The same, and NULL too if another region shows some of the bytes. ROM counts as RAM. */
void *guest_memory_host_alone(const struct guest_memory *memory, gpa_t address, uint64_t size);

/* What has the address; false: no region. Any thread. */
bool guest_memory_find(const struct guest_memory *memory, gpa_t address, struct ram_place *place);
/* The same for a processor in system management mode: regions of the kind RAM_SMM are RAM. For
 * engines alone. */
bool guest_memory_find_smm(
	const struct guest_memory *memory, gpa_t address, struct ram_place *place);

/* Where host memory that guest_memory_host or _find led to is shown now; false: nowhere, or as ROM
 * if `writable`. */
bool guest_memory_address(
	const struct guest_memory *memory, const void *host, bool writable, gpa_t *address);

/* Copies; returns 0, or -EFAULT without a partial copy if a byte is not RAM. What is copied may lie
 * in several regions. */
int guest_memory_read(const struct guest_memory *memory, gpa_t address, void *to, uint64_t size);
int guest_memory_write(
	const struct guest_memory *memory, gpa_t address, const void *from, uint64_t size);

/*
 * Fills [address, address + size) from the file's bytes at `offset`, and makes the host's pages for
 * them in one go. Returns 0; -EFAULT, with nothing written, if a byte is not RAM; -ENODATA if the
 * file is too short; another negative errno if it cannot be read.
 */
int guest_memory_read_file(
	const struct guest_memory *memory, gpa_t address, uint64_t size, int fd, uint64_t offset);

/* Has the host make its pages for [host, host + size), which guest_memory_host led to, in one go:
 * much cheaper than a fault for each. A hint; nothing is promised. */
void guest_memory_populate(void *host, uint64_t size);

/*
 * Gives the whole pages inside [host, host + size) back to the host; they read as zero from then
 * on. `host` came from guest_memory_host. For balloons: who discards knows that the guest has
 * given the content up. Returns the bytes given back.
 */
uint64_t guest_memory_discard(const struct guest_memory *memory, void *host, uint64_t size);

/*
 * Private memory of `size` bytes, a multiple of a page, zeroed, in the host's large pages where it
 * has them, placed so that what is at `base` for a guest can be in one. MAP_FAILED, and errno, if
 * there is none. munmap frees it.
 */
void *guest_memory_map_large(gpa_t base, uint64_t size);

/* Total bytes of the fixed regions that are no device's. */
uint64_t guest_memory_size(const struct guest_memory *memory);

#endif
