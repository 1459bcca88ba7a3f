#include "machine/memory.h"

#include "base/bits.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* The regions' file, made for the first of them, with room for `size` more bytes; -1 if it cannot
 * be had. */
static int grow_file(struct guest_memory *memory, uint64_t size)
{
	int fd = memory->nr_regions > 0 ? memory->regions[0].fd
					: memfd_create("guest-memory", MFD_CLOEXEC);

	if (fd < 0 || ftruncate(fd, (off_t)(memory->file_size + size)) == 0)
		return fd;
	if (memory->nr_regions == 0)
		close(fd);
	return -1;
}

static void *map(int fd, uint64_t offset, uint64_t size)
{
	int kind = fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;

	return mmap(NULL, size, PROT_READ | PROT_WRITE, kind | MAP_NORESERVE, fd, (off_t)offset);
}

int guest_memory_add(
	struct guest_memory *memory, gpa_t base, uint64_t size, bool read_only, struct error *err)
{
	struct ram_region *region;
	void *host;
	int fd;

	assert(memory->nr_regions < GUEST_MEMORY_MAX_REGIONS);
	assert(base % GUEST_PAGE_SIZE == 0 && size % GUEST_PAGE_SIZE == 0 && size > 0);
	assert(base >= memory->end);

	fd = grow_file(memory, size);
	host = map(fd, memory->file_size, size);
	if (host == MAP_FAILED) {
		int saved = errno;

		if (fd >= 0 && memory->nr_regions == 0)
			close(fd);
		return error_set_errno(err, EXIT_CODE_HOST, saved,
			"cannot map %llu MiB of guest memory; give the guest less with --memory",
			(unsigned long long)(size >> 20));
	}
	region = &memory->regions[memory->nr_regions++];
	*region = (struct ram_region){ .base = base,
		.size = size,
		.host = host,
		.read_only = read_only,
		.fd = fd,
		.fd_offset = memory->file_size };
	if (fd >= 0)
		memory->file_size += size;
	memory->end = base + size;
	return 0;
}

void guest_memory_finish(struct guest_memory *memory)
{
	for (unsigned i = 0; i < memory->nr_regions; i++)
		munmap(memory->regions[i].host, memory->regions[i].size);
	if (memory->nr_regions > 0 && memory->regions[0].fd >= 0)
		close(memory->regions[0].fd);
	memory->nr_regions = 0;
	memory->end = 0;
	memory->file_size = 0;
}

const struct ram_region *guest_memory_region(const struct guest_memory *memory, gpa_t address)
{
	for (unsigned i = 0; i < memory->nr_regions; i++) {
		const struct ram_region *region = &memory->regions[i];

		if (address - region->base < region->size)
			return region;
	}
	return NULL;
}

void *guest_memory_host(const struct guest_memory *memory, gpa_t address, uint64_t size)
{
	const struct ram_region *region = guest_memory_region(memory, address);
	uint64_t offset;

	if (!region)
		return NULL;
	offset = address - region->base;
	if (size > region->size - offset)
		return NULL;
	return region->host + offset;
}

int guest_memory_read(const struct guest_memory *memory, gpa_t address, void *to, uint64_t size)
{
	const void *from = guest_memory_host(memory, address, size);

	if (!from)
		return -EFAULT;
	memcpy(to, from, size);
	return 0;
}

int guest_memory_write(
	const struct guest_memory *memory, gpa_t address, const void *from, uint64_t size)
{
	void *to = guest_memory_host(memory, address, size);

	if (!to || guest_memory_region(memory, address)->read_only)
		return -EFAULT;
	memcpy(to, from, size);
	if (memory->written)
		memory->written(memory->written_context, address, size);
	return 0;
}

static const struct ram_region *region_of_host(
	const struct guest_memory *memory, const uint8_t *host, uint64_t size)
{
	for (unsigned i = 0; i < memory->nr_regions; i++) {
		const struct ram_region *region = &memory->regions[i];
		uint64_t offset = (uint64_t)(host - region->host);

		if (host >= region->host && offset < region->size && size <= region->size - offset)
			return region;
	}
	return NULL;
}

uint64_t guest_memory_discard(const struct guest_memory *memory, void *host, uint64_t size)
{
	const struct ram_region *region = region_of_host(memory, host, size);
	uint64_t offset, first, end;

	if (!region || region->read_only)
		return 0;
	offset = (uint64_t)((uint8_t *)host - region->host);
	first = align_up(offset, GUEST_PAGE_SIZE);
	end = align_down(offset + size, GUEST_PAGE_SIZE);
	if (first >= end || madvise(region->host + first, end - first,
				    region->fd < 0 ? MADV_DONTNEED : MADV_REMOVE) < 0)
		return 0;
	if (memory->written)
		memory->written(memory->written_context, region->base + first, end - first);
	return end - first;
}

uint64_t guest_memory_size(const struct guest_memory *memory)
{
	uint64_t size = 0;

	for (unsigned i = 0; i < memory->nr_regions; i++)
		size += memory->regions[i].size;
	return size;
}
