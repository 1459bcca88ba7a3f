/*
 * Guest memory: no access leaves a region, whatever its address and length.
 */
#include "machine/memory.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define HIGH UINT64_C(0x100000000)

static int setup(void **context)
{
	struct guest_memory *memory = calloc(1, sizeof(*memory));

	assert_int_equal(guest_memory_add(memory, 0, 0x10000, false, NULL), 0);
	assert_int_equal(guest_memory_add(memory, 0x10000, 0x1000, true, NULL), 0);
	assert_int_equal(guest_memory_add(memory, HIGH, 0x2000, false, NULL), 0);
	*context = memory;
	return 0;
}

static int teardown(void **context)
{
	guest_memory_finish(*context);
	free(*context);
	return 0;
}

static void test_layout(void **context)
{
	struct guest_memory *memory = *context;
	struct ram_place place;

	assert_int_equal(guest_memory_size(memory), 0x13000);
	assert_int_equal(memory->end, HIGH + 0x2000);
	assert_false(guest_memory_find(memory, 0x11000, &place));
	assert_true(guest_memory_find(memory, HIGH + 0x1fff, &place));
	assert_int_equal(place.offset, 0x1fff);
	assert_int_equal(ram_region_base(place.region), HIGH);
}

static void test_bounds(void **context)
{
	struct guest_memory *memory = *context;

	assert_non_null(guest_memory_host(memory, 0, 0x10000));
	assert_null(guest_memory_host(memory, 0, 0x10001)); /* regions are not contiguous here */
	assert_null(guest_memory_host(memory, 0x11000, 1));
	assert_non_null(guest_memory_host(memory, HIGH + 0x1fff, 1));
	assert_null(guest_memory_host(memory, HIGH + 0x1fff, 2));
	assert_null(guest_memory_host(memory, HIGH + 0x1000, UINT64_MAX));
	assert_null(guest_memory_host(memory, UINT64_MAX, 2));
}

static void test_file(void **context)
{
	struct guest_memory *memory = *context;
	const struct ram_region *region = &memory->regions[2];
	char seen[4] = "";

	assert_int_equal(guest_memory_write(memory, HIGH + 0x1ffc, "atol", 4), 0);
	assert_int_equal(pread(region->fd, seen, 4, (off_t)region->fd_offset + 0x1ffc), 4);
	assert_memory_equal(seen, "atol", 4);
	assert_int_not_equal(region->fd_offset, memory->regions[0].fd_offset);
}

/* Large pages can be mapped in one piece; nothing is in a file that a process could be given. */
static void test_private(void **context)
{
	struct guest_memory memory = { .is_private = true };
	uint8_t *host;

	(void)context;
	assert_int_equal(guest_memory_add(&memory, 0, 0xa0000, false, NULL), 0);
	assert_int_equal(guest_memory_add(&memory, 0x100000, 0x700000, false, NULL), 0);
	assert_int_equal(guest_memory_add_device(&memory, HIGH + 0x3000, 0x5000, NULL), 0);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(memory.regions[i].fd, -1);
		assert_int_equal((uintptr_t)memory.regions[i].host % 0x200000,
			ram_region_base(&memory.regions[i]) % 0x200000);
	}
	host = guest_memory_host(&memory, 0x100000, 0x700000);
	host[0] = host[0x300000] = host[0x6fffff] = 1;
	assert_int_equal(guest_memory_discard(&memory, host + 0x300000, 0x1000), 0x1000);
	assert_int_equal(host[0] + host[0x300000] + host[0x6fffff], 2);
	guest_memory_finish(&memory);
}

static void record_write(void *context, gpa_t address, uint64_t size)
{
	uint64_t *seen = context;

	seen[0] = address;
	seen[1] = size;
}

static void test_copies(void **context)
{
	struct guest_memory *memory = *context;
	uint64_t seen[2] = { 0 };
	char back[6] = "";

	memory->written = record_write;
	memory->written_context = seen;
	assert_int_equal(guest_memory_write(memory, 0xfffa, "hello", 6), 0);
	assert_int_equal(seen[0], 0xfffa);
	assert_int_equal(seen[1], 6);
	assert_int_equal(guest_memory_read(memory, 0xfffa, back, 6), 0);
	assert_string_equal(back, "hello");

	/* No part of a copy that does not fit. */
	assert_int_equal(guest_memory_write(memory, HIGH + 0x1ffe, "hello", 6), -EFAULT);
	assert_int_equal(guest_memory_read(memory, HIGH + 0x1ffe, back, 2), 0);
	assert_int_equal(back[0] | back[1], 0);
	assert_int_equal(guest_memory_read(memory, HIGH + 0x1ffe, back, 6), -EFAULT);
	assert_int_equal(guest_memory_write(memory, 0x10000, "rom", 4), -EFAULT);
}

/* Whole pages only, of RAM that is not ROM, and the engine is told. */
static void test_discard(void **context)
{
	struct guest_memory *memory = *context;
	uint8_t *host = guest_memory_host(memory, 0x1000, 0x4000);
	uint64_t seen[2] = { 0 };

	memset(host, 0x5a, 0x4000);
	memory->written = record_write;
	memory->written_context = seen;
	assert_int_equal(guest_memory_discard(memory, host + 1, 0x2fff), 0x2000);
	assert_int_equal(seen[0], 0x2000);
	assert_int_equal(seen[1], 0x2000);
	assert_int_equal(host[0xfff], 0x5a);
	assert_int_equal(host[0x1000] | host[0x2fff], 0);
	assert_int_equal(host[0x3000], 0x5a);
	assert_int_equal(guest_memory_discard(memory, host + 1, 0x1ffe), 0);
	assert_int_equal(
		guest_memory_discard(memory, guest_memory_host(memory, 0x10000, 0x1000), 0x1000),
		0);
	assert_int_equal(guest_memory_discard(memory, host, UINT64_MAX), 0);
	assert_int_equal(guest_memory_discard(memory, seen, 0x1000), 0);
}

static void test_copies_over_regions(void **context)
{
	struct guest_memory *memory = *context;
	struct ram_region *next = guest_memory_add_movable(memory, 0x1000, NULL);
	char back[8] = "";

	guest_memory_place(memory, next, HIGH + 0x2000, RAM_WRITABLE);
	assert_int_equal(guest_memory_write(memory, HIGH + 0x1ffd, "regions", 8), 0);
	assert_int_equal(guest_memory_read(memory, HIGH + 0x1ffd, back, 8), 0);
	assert_string_equal(back, "regions");
	assert_memory_equal(next->host, "ions", 5);
	/* Nothing is copied if the end is not there. */
	assert_int_equal(guest_memory_write(memory, HIGH + 0x2ffd, "regions", 8), -EFAULT);
	assert_int_equal(next->host[0xffd], 0);
}

static void record_change(void *context, const struct ram_region *region, uint64_t from)
{
	uint64_t *seen = context;

	seen[0]++;
	seen[1] = from;
	seen[2] = region->place;
}

static void test_moves(void **context)
{
	struct guest_memory *memory = *context;
	struct ram_region *region = guest_memory_add_movable(memory, 0x2000, NULL);
	struct ram_place place;
	uint64_t seen[3] = { 0 };

	memory->changed = record_change;
	memory->written_context = seen;
	assert_int_equal(region->host[0x1fff], 0);
	guest_memory_place(memory, region, 0x20000, RAM_HIDDEN);
	assert_int_equal(seen[0], 0);
	assert_null(guest_memory_host(memory, 0x20000, 1));
	guest_memory_place(memory, region, 0x20000, RAM_WRITABLE);
	assert_int_equal(seen[0], 1);
	assert_int_equal(seen[1], 0x20000 | RAM_HIDDEN);
	assert_int_equal(seen[2], 0x20000 | RAM_WRITABLE);
	assert_ptr_equal(guest_memory_host(memory, 0x21000, 0x1000), region->host + 0x1000);
	guest_memory_place(memory, region, 0x20000, RAM_WRITABLE);
	assert_int_equal(seen[0], 1);

	/* Its content goes with it. */
	assert_int_equal(guest_memory_write(memory, 0x20010, "x", 1), 0);
	guest_memory_place(memory, region, HIGH * 2, RAM_ROM);
	assert_false(guest_memory_find(memory, 0x20010, &place));
	assert_true(guest_memory_find(memory, HIGH * 2 + 0x10, &place));
	assert_true(place.read_only);
	assert_int_equal(region->host[0x10], 'x');
	assert_int_equal(guest_memory_write(memory, HIGH * 2, "x", 1), -EFAULT);
	/* A fixed region that comes before wins. */
	guest_memory_place(memory, region, 0xf000, RAM_WRITABLE);
	assert_ptr_equal(guest_memory_host(memory, 0xf000, 1), memory->regions[0].host + 0xf000);
	/* It is not the machine's memory. */
	assert_int_equal(guest_memory_size(memory), 0x13000);
	assert_int_equal(guest_memory_discard(memory, region->host, 0x2000), 0);
}

/* For others than SMM what comes behind it is there, or nothing. */
static void test_smm_memory(void **context)
{
	struct guest_memory *memory = *context;
	struct ram_region *smram = guest_memory_add_movable(memory, 0x2000, NULL);
	struct ram_region *behind = guest_memory_add_movable(memory, 0x1000, NULL);
	struct ram_place place;
	gpa_t address;

	guest_memory_place(memory, smram, 0x20000, RAM_SMM);
	guest_memory_place(memory, behind, 0x21000, RAM_WRITABLE);
	assert_true(guest_memory_find_smm(memory, 0x20000, &place));
	assert_ptr_equal(place.region, smram);
	assert_false(place.read_only);
	assert_false(guest_memory_find(memory, 0x20000, &place));
	assert_null(guest_memory_host(memory, 0x20000, 1));
	assert_int_equal(guest_memory_read(memory, 0x20000, &place, 1), -EFAULT);
	assert_int_equal(guest_memory_write(memory, 0x20000, "x", 1), -EFAULT);
	assert_false(guest_memory_address(memory, smram->host, false, &address));
	assert_true(guest_memory_find_smm(memory, 0x21000, &place));
	assert_ptr_equal(place.region, smram);
	assert_true(guest_memory_find(memory, 0x21000, &place));
	assert_ptr_equal(place.region, behind);
}

static void count_writes(void *context, gpa_t address, uint64_t size)
{
	uint64_t *seen = context;

	seen[0] += size;
	seen[1] = address;
}

static void test_aliases(void **context)
{
	struct guest_memory *memory = *context;
	struct ram_region *rom = guest_memory_add_movable(memory, 0x4000, NULL);
	struct ram_region *low = guest_memory_add_alias(memory, rom, 0x3000, 0x1000, NULL);
	uint64_t seen[2] = { 0 };
	gpa_t address;

	assert_false(guest_memory_address(memory, rom->host, false, &address));
	guest_memory_place(memory, rom, HIGH - 0x4000, RAM_ROM);
	guest_memory_place(memory, low, 0xff000, RAM_ROM);
	rom->host[0x3004] = 0x5a;
	assert_int_equal(((uint8_t *)guest_memory_host(memory, 0xff004, 1))[0], 0x5a);
	memory->written = count_writes;
	memory->written_context = seen;
	/* Both places, and of the alias only what it shows. */
	guest_memory_changed(memory, rom, 0x2ff0, 0x20);
	assert_int_equal(seen[0], 0x30);
	assert_int_equal(seen[1], 0xff000);
	assert_true(guest_memory_address(memory, rom->host + 4, false, &address));
	assert_int_equal(address, HIGH - 0x4000 + 4);
	assert_false(guest_memory_address(memory, rom->host + 4, true, &address));
}

/* A device's own memory, which nobody decodes from, need not be told of at each write. */
static void test_tells_who_watches(void **context)
{
	struct guest_memory *memory = *context;
	struct ram_region *region = guest_memory_add_movable(memory, 0x2000, NULL);
	uint64_t seen[2] = { 0 };

	memory->written = count_writes;
	memory->written_context = seen;
	guest_memory_place(memory, region, 0x20000, RAM_WRITABLE);
	guest_memory_changed(memory, region, 0x10, 4);
	assert_int_equal(seen[0], 0);
	atomic_store(&region->watched, true);
	guest_memory_changed(memory, region, 0x10, 4);
	assert_int_equal(seen[0], 4);
	assert_int_equal(seen[1], 0x20010);
}

static void test_refuses_too_many(void **context)
{
	struct guest_memory *memory = *context;
	struct error err = { 0 };
	unsigned count = 0;

	while (guest_memory_add_movable(memory, 0x1000, &err))
		count++;
	assert_int_equal(count, GUEST_MEMORY_MAX_REGIONS - 3);
	assert_int_equal(err.exit_code, EXIT_CODE_CONFIG);
	assert_null(guest_memory_add_alias(memory, &memory->regions[3], 0, 0x1000, &err));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_layout, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bounds, setup, teardown),
		cmocka_unit_test(test_private),
		cmocka_unit_test_setup_teardown(test_file, setup, teardown),
		cmocka_unit_test_setup_teardown(test_copies, setup, teardown),
		cmocka_unit_test_setup_teardown(test_discard, setup, teardown),
		cmocka_unit_test_setup_teardown(test_copies_over_regions, setup, teardown),
		cmocka_unit_test_setup_teardown(test_moves, setup, teardown),
		cmocka_unit_test_setup_teardown(test_smm_memory, setup, teardown),
		cmocka_unit_test_setup_teardown(test_aliases, setup, teardown),
		cmocka_unit_test_setup_teardown(test_tells_who_watches, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refuses_too_many, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
