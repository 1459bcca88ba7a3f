#include "machine/memory.h"

#include "base/bits.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* What a processor maps in one piece, if guest and host addresses are alike below this. */
#define HUGE_PAGE_SIZE (UINT64_C(2) << 20)

/* The regions' file, made for the first of them, with room for `size` more bytes; -1 if it cannot
 * be had. */
static int grow_file(struct guest_memory *memory, uint64_t size)
{
	int fd = memory->is_private       ? -1
		 : memory->nr_regions > 0 ? memory->regions[0].fd
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

void *guest_memory_map_large(gpa_t base, uint64_t size)
{
	uint64_t within = base % HUGE_PAGE_SIZE;
	uint8_t *room = map(-1, 0, size + HUGE_PAGE_SIZE), *host;

	if (room == MAP_FAILED)
		return map(-1, 0, size);
	host = (uint8_t *)align_up((uintptr_t)room - within, HUGE_PAGE_SIZE) + within;
	if (host > room)
		munmap(room, (size_t)(host - room));
	munmap(host + size, HUGE_PAGE_SIZE - (size_t)(host - room));
	/* Advice that the host need not take. */
	madvise(host, size, MADV_HUGEPAGE);
	return host;
}

static void *map_private(gpa_t base, uint64_t size)
{
	void *host = guest_memory_map_large(base, size);

	/* A program that is started must not make the guest's next writes copies. */
	if (host != MAP_FAILED)
		madvise(host, size, MADV_DONTFORK);
	return host;
}

/* A place for a region, mapped but not yet counted. `base`: where it will be, if that is known. */
static struct ram_region *create(
	struct guest_memory *memory, gpa_t base, uint64_t size, struct error *err)
{
	struct ram_region *region;
	void *host;
	int fd;

	if (memory->nr_regions == GUEST_MEMORY_MAX_REGIONS) {
		error_set(err, EXIT_CODE_CONFIG,
			"the machine has too many devices with memory of their own; remove one");
		return NULL;
	}
	fd = grow_file(memory, size);
	host = memory->is_private ? map_private(base, size) : map(fd, memory->file_size, size);
	if (host == MAP_FAILED) {
		int saved = errno;

		if (fd >= 0 && memory->nr_regions == 0)
			close(fd);
		error_set_errno(err, EXIT_CODE_HOST, saved,
			"cannot map %llu MiB of guest memory; give the guest less with --memory",
			(unsigned long long)(size >> 20));
		return NULL;
	}
	region = &memory->regions[memory->nr_regions];
	*region = (struct ram_region){
		.size = size, .host = host, .fd = fd, .fd_offset = memory->file_size
	};
	if (fd >= 0)
		memory->file_size += size;
	return region;
}

int guest_memory_add(
	struct guest_memory *memory, gpa_t base, uint64_t size, bool read_only, struct error *err)
{
	struct ram_region *region;

	assert(memory->nr_regions < GUEST_MEMORY_MAX_REGIONS);
	assert(base % GUEST_PAGE_SIZE == 0 && size % GUEST_PAGE_SIZE == 0 && size > 0);
	assert(base >= memory->end);

	region = create(memory, base, size, err);
	if (!region)
		return -ENOMEM;
	region->place = base | (read_only ? RAM_ROM : RAM_WRITABLE);
	memory->nr_regions++;
	memory->end = base + size;
	return 0;
}

int guest_memory_add_device(
	struct guest_memory *memory, gpa_t base, uint64_t size, struct error *err)
{
	struct ram_region *region;

	assert(base % GUEST_PAGE_SIZE == 0 && size % GUEST_PAGE_SIZE == 0 && size > 0);
	region = create(memory, base, size, err);
	if (!region)
		return -ENOMEM;
	region->place = base | RAM_WRITABLE;
	region->device = true;
	memory->nr_regions++;
	return 0;
}

int guest_memory_add_file(struct guest_memory *memory, gpa_t base, uint64_t size, int fd,
	bool read_only, struct error *err)
{
	int protection = read_only ? PROT_READ : PROT_READ | PROT_WRITE;
	void *host;

	assert(base % GUEST_PAGE_SIZE == 0 && size % GUEST_PAGE_SIZE == 0 && size > 0);
	if (memory->nr_regions == GUEST_MEMORY_MAX_REGIONS) {
		close(fd);
		return error_set(err, EXIT_CODE_CONFIG,
			"the machine has too many devices with memory of their own; remove one");
	}
	host = mmap(NULL, size, protection, MAP_SHARED, fd, 0);
	if (host == MAP_FAILED) {
		int saved = errno;

		close(fd);
		return error_set_errno(err, EXIT_CODE_HOST, saved,
			"cannot map a file of %llu MiB as guest memory",
			(unsigned long long)(size >> 20));
	}
	memory->regions[memory->nr_regions++] = (struct ram_region){
		.place = base | (read_only ? RAM_ROM : RAM_WRITABLE),
		.size = size,
		.host = host,
		.fd = fd,
		.device = true,
		.foreign = true,
	};
	return 0;
}

struct ram_region *guest_memory_add_movable(
	struct guest_memory *memory, uint64_t size, struct error *err)
{
	struct ram_region *region;

	assert(size % GUEST_PAGE_SIZE == 0 && size > 0);
	region = create(memory, 0, size, err);
	if (!region)
		return NULL;
	region->movable = true;
	memory->nr_regions++;
	return region;
}

struct ram_region *guest_memory_add_alias(struct guest_memory *memory, const struct ram_region *of,
	uint64_t offset, uint64_t size, struct error *err)
{
	struct ram_region *region = &memory->regions[memory->nr_regions];

	assert(offset % GUEST_PAGE_SIZE == 0 && size % GUEST_PAGE_SIZE == 0 && size > 0);
	assert(offset < of->size && size <= of->size - offset);
	if (memory->nr_regions == GUEST_MEMORY_MAX_REGIONS) {
		error_set(err, EXIT_CODE_CONFIG,
			"the machine has too many devices with memory of their own; remove one");
		return NULL;
	}
	*region = (struct ram_region){ .size = size,
		.host = of->host + offset,
		.fd = of->fd,
		.fd_offset = of->fd_offset + offset,
		.movable = true,
		.shared = true };
	memory->regions[of - memory->regions].aliased = true;
	memory->nr_regions++;
	return region;
}

void guest_memory_place(
	struct guest_memory *memory, struct ram_region *region, gpa_t base, enum ram_kind kind)
{
	uint64_t from = region->place, to = base | kind;

	assert(region->movable && base % GUEST_PAGE_SIZE == 0);
	assert(base <= UINT64_MAX - region->size);
	if (from == to)
		return;
	region->place = to;
	if (ram_place_kind(from) == RAM_HIDDEN && ram_place_kind(to) == RAM_HIDDEN)
		return;
	if (memory->changed)
		memory->changed(memory->written_context, region, from);
	for (struct guest_memory_listener *at = memory->listeners; at; at = at->next)
		at->changed(at->context);
}

void guest_memory_listen(struct guest_memory *memory, struct guest_memory_listener *listener)
{
	listener->next = memory->listeners;
	memory->listeners = listener;
}

void guest_memory_unlisten(struct guest_memory *memory, struct guest_memory_listener *listener)
{
	struct guest_memory_listener **at = &memory->listeners;

	while (*at && *at != listener)
		at = &(*at)->next;
	if (*at)
		*at = listener->next;
}

void guest_memory_changed(const struct guest_memory *memory, const struct ram_region *region,
	uint64_t offset, uint64_t size)
{
	const uint8_t *begin = region->host + offset, *end = begin + size;

	if (!memory->written)
		return;
	/* Either the engine finds what has been written, or it has said that it watches. */
	atomic_thread_fence(memory_order_seq_cst);
	if (region->movable && !region->shared && !region->aliased &&
		!atomic_load_explicit(&region->watched, memory_order_relaxed))
		return;
	for (unsigned i = 0; i < memory->nr_regions; i++) {
		const struct ram_region *shown = &memory->regions[i];
		const uint8_t *from = begin > shown->host ? begin : shown->host;
		const uint8_t *to =
			end < shown->host + shown->size ? end : shown->host + shown->size;

		if (from < to && ram_region_kind(shown) != RAM_HIDDEN)
			memory->written(memory->written_context,
				ram_region_base(shown) + (uint64_t)(from - shown->host),
				(uint64_t)(to - from));
	}
}

void guest_memory_finish(struct guest_memory *memory)
{
	for (unsigned i = 0; i < memory->nr_regions; i++) {
		if (!memory->regions[i].shared)
			munmap(memory->regions[i].host, memory->regions[i].size);
		if (memory->regions[i].foreign)
			close(memory->regions[i].fd);
	}
	if (memory->nr_regions > 0 && memory->regions[0].fd >= 0)
		close(memory->regions[0].fd);
	memory->nr_regions = 0;
	memory->end = 0;
	memory->file_size = 0;
}

static inline bool find(
	const struct guest_memory *memory, gpa_t address, bool smm, struct ram_place *place)
{
	unsigned count = atomic_load_explicit(&memory->nr_regions, memory_order_acquire);

	for (unsigned i = 0; i < count; i++) {
		const struct ram_region *region = &memory->regions[i];
		uint64_t at = atomic_load_explicit(&region->place, memory_order_relaxed);
		uint64_t offset = address - ram_place_base(at);

		if (offset >= region->size || ram_place_kind(at) == RAM_HIDDEN ||
			(ram_place_kind(at) == RAM_SMM && !smm))
			continue;
		*place = (struct ram_place){ .region = region,
			.offset = offset,
			.read_only = ram_place_kind(at) == RAM_ROM };
		return true;
	}
	return false;
}

bool guest_memory_find(const struct guest_memory *memory, gpa_t address, struct ram_place *place)
{
	return find(memory, address, false, place);
}

bool guest_memory_find_smm(
	const struct guest_memory *memory, gpa_t address, struct ram_place *place)
{
	return find(memory, address, true, place);
}

void *guest_memory_host(const struct guest_memory *memory, gpa_t address, uint64_t size)
{
	struct ram_place place;

	if (!guest_memory_find(memory, address, &place) || size > place.region->size - place.offset)
		return NULL;
	return place.region->host + place.offset;
}

void *guest_memory_host_alone(const struct guest_memory *memory, gpa_t address, uint64_t size)
{
	void *host = guest_memory_host(memory, address, size);
	struct ram_place place;

	if (!host || !guest_memory_find(memory, address, &place))
		return NULL;
	for (const struct ram_region *before = memory->regions; before < place.region; before++) {
		gpa_t base = ram_region_base(before);
		enum ram_kind kind = ram_region_kind(before);

		if (kind != RAM_HIDDEN && kind != RAM_SMM && base < address + size &&
			address < base + before->size)
			return NULL;
	}
	return host;
}

/* The host address of the bytes at `address`, and how many of `size` follow there. */
static uint8_t *piece(const struct guest_memory *memory, gpa_t address, uint64_t size, bool write,
	uint64_t *length)
{
	struct ram_place place;

	if (!guest_memory_find(memory, address, &place) || (write && place.read_only))
		return NULL;
	*length = place.region->size - place.offset;
	if (*length > size)
		*length = size;
	return place.region->host + place.offset;
}

static bool is_ram(const struct guest_memory *memory, gpa_t address, uint64_t size, bool write)
{
	uint64_t length;

	for (; size > 0; address += length, size -= length) {
		if (!piece(memory, address, size, write, &length))
			return false;
	}
	return true;
}

int guest_memory_read(const struct guest_memory *memory, gpa_t address, void *to, uint64_t size)
{
	uint8_t *bytes = to;
	uint64_t length;

	if (!is_ram(memory, address, size, false))
		return -EFAULT;
	for (; size > 0; address += length, bytes += length, size -= length) {
		const uint8_t *from = piece(memory, address, size, false, &length);

		/* The layout changed under us. */
		if (!from)
			return -EFAULT;
		memcpy(bytes, from, length);
	}
	return 0;
}

int guest_memory_write(
	const struct guest_memory *memory, gpa_t address, const void *from, uint64_t size)
{
	const uint8_t *bytes = from;
	uint64_t length;

	if (!is_ram(memory, address, size, true))
		return -EFAULT;
	for (; size > 0; address += length, bytes += length, size -= length) {
		uint8_t *to = piece(memory, address, size, true, &length);

		if (!to)
			return -EFAULT;
		memcpy(to, bytes, length);
		if (memory->written)
			memory->written(memory->written_context, address, length);
	}
	return 0;
}

void guest_memory_populate(void *host, uint64_t size)
{
	uintptr_t first = align_down((uintptr_t)host, GUEST_PAGE_SIZE);

	/* Before Linux 5.14 there is no such advice. */
	madvise((void *)first, (uintptr_t)host + size - first, MADV_POPULATE_WRITE);
}

static int read_part(int fd, uint8_t *to, uint64_t size, uint64_t offset)
{
	guest_memory_populate(to, size);
	while (size > 0) {
		ssize_t got = pread(fd, to, size, (off_t)offset);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return got < 0 ? -errno : -ENODATA;
		to += got;
		offset += (uint64_t)got;
		size -= (uint64_t)got;
	}
	return 0;
}

int guest_memory_read_file(
	const struct guest_memory *memory, gpa_t address, uint64_t size, int fd, uint64_t offset)
{
	uint64_t length;

	if (!is_ram(memory, address, size, true))
		return -EFAULT;
	for (; size > 0; address += length, offset += length, size -= length) {
		uint8_t *to = piece(memory, address, size, true, &length);
		int result = to ? read_part(fd, to, length, offset) : -EFAULT;

		if (memory->written && to)
			memory->written(memory->written_context, address, length);
		if (result < 0)
			return result;
	}
	return 0;
}

bool guest_memory_address(
	const struct guest_memory *memory, const void *host, bool writable, gpa_t *address)
{
	for (unsigned i = 0; i < memory->nr_regions; i++) {
		const struct ram_region *region = &memory->regions[i];
		uint64_t at = region->place;
		uintptr_t offset = (uintptr_t)host - (uintptr_t)region->host;

		if (offset >= region->size || ram_place_kind(at) == RAM_HIDDEN ||
			ram_place_kind(at) == RAM_SMM ||
			(writable && ram_place_kind(at) == RAM_ROM))
			continue;
		*address = ram_place_base(at) + offset;
		return true;
	}
	return false;
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

	/* A file keeps what it has: it is not the guest's memory. */
	if (!region || region->movable || region->foreign ||
		ram_region_kind(region) != RAM_WRITABLE)
		return 0;
	offset = (uint64_t)((uint8_t *)host - region->host);
	first = align_up(offset, GUEST_PAGE_SIZE);
	end = align_down(offset + size, GUEST_PAGE_SIZE);
	if (first >= end || madvise(region->host + first, end - first,
				    region->fd < 0 ? MADV_DONTNEED : MADV_REMOVE) < 0)
		return 0;
	if (memory->written)
		memory->written(
			memory->written_context, ram_region_base(region) + first, end - first);
	return end - first;
}

uint64_t guest_memory_size(const struct guest_memory *memory)
{
	uint64_t size = 0;

	for (unsigned i = 0; i < memory->nr_regions; i++) {
		if (!memory->regions[i].movable && !memory->regions[i].device)
			size += memory->regions[i].size;
	}
	return size;
}
