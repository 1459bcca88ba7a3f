#include "machine/memory.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

int guest_memory_add(
	struct guest_memory *memory, gpa_t base, uint64_t size, bool read_only, struct error *err)
{
	struct ram_region *region;
	void *host;

	assert(memory->nr_regions < GUEST_MEMORY_MAX_REGIONS);
	assert(base % GUEST_PAGE_SIZE == 0 && size % GUEST_PAGE_SIZE == 0 && size > 0);
	assert(base >= memory->end);

	host = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		-1, 0);
	if (host == MAP_FAILED)
		return error_set_errno(err, EXIT_CODE_HOST, errno,
			"cannot map %llu MiB of guest memory; give the guest less with --memory",
			(unsigned long long)(size >> 20));

	region = &memory->regions[memory->nr_regions++];
	*region = (struct ram_region){
		.base = base, .size = size, .host = host, .read_only = read_only
	};
	memory->end = base + size;
	return 0;
}

void guest_memory_finish(struct guest_memory *memory)
{
	for (unsigned i = 0; i < memory->nr_regions; i++)
		munmap(memory->regions[i].host, memory->regions[i].size);
	memory->nr_regions = 0;
	memory->end = 0;
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

uint64_t guest_memory_size(const struct guest_memory *memory)
{
	uint64_t size = 0;

	for (unsigned i = 0; i < memory->nr_regions; i++)
		size += memory->regions[i].size;
	return size;
}
