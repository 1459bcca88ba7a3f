/* Chunks of guest memory, and memory of the engine's own, that the host is asked for. */
#include "engine/soft/populate.h"

#include "base/bits.h"
#include "engine/soft/vcpu_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>

#include <cmocka.h>

#define CHUNK (UINT64_C(1) << POPULATE_SHIFT)

static struct vcpu_fixture fixture;

static int setup(void **state)
{
	(void)state;
	vcpu_fixture_create(&fixture, 1);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	vcpu_fixture_destroy(&fixture);
	return 0;
}

/* How many of `size` bytes' pages the host has made. */
static unsigned resident(void *at, size_t size)
{
	unsigned char pages[CHUNK / GUEST_PAGE_SIZE] = { 0 };
	unsigned count = 0;

	assert_true(size / GUEST_PAGE_SIZE <= ARRAY_SIZE(pages));
	assert_int_equal(mincore(at, size, pages), 0);
	for (unsigned i = 0; i < size / GUEST_PAGE_SIZE; i++)
		count += pages[i] & 1;
	return count;
}

static bool host_can(void)
{
	void *at = mmap(
		NULL, GUEST_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	bool can = madvise(at, GUEST_PAGE_SIZE, MADV_POPULATE_WRITE) == 0;

	munmap(at, GUEST_PAGE_SIZE);
	return can;
}

static void a_write_brings_its_chunk(void **state)
{
	struct guest_memory *memory = &fixture.machine.memory;
	uint8_t *host = guest_memory_host(memory, 2 * CHUNK, CHUNK);

	(void)state;
	assert_non_null(host);
	if (!host_can())
		skip();
	guest_memory_discard(memory, host, CHUNK);
	assert_int_equal(resident(host, CHUNK), 0);
	populate_at(&fixture.engine, 2 * CHUNK + 5);
	assert_int_equal(resident(host, CHUNK), CHUNK / GUEST_PAGE_SIZE);
	/* What is given back stays away: the next pages come one by one. */
	guest_memory_discard(memory, host, CHUNK);
	populate_at(&fixture.engine, 2 * CHUNK + 5);
	assert_int_equal(resident(host, CHUNK), 0);
}

static void what_is_no_memory_is_left_alone(void **state)
{
	(void)state;
	populate_at(&fixture.engine, UINT64_C(1) << 45);
}

static void memory_ahead_ends_with_the_mapping(void **state)
{
	size_t size = 5 * GUEST_PAGE_SIZE;
	void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct populate_ahead ahead = { at, size };

	(void)state;
	populate_ahead(&ahead, 0);
	assert_int_equal(ahead.asked, 0);
	populate_ahead(&ahead, 1);
	assert_int_equal(ahead.asked, size);
	populate_ahead(&ahead, size + 1);
	assert_int_equal(ahead.asked, size);
	if (host_can())
		assert_int_equal(resident(at, size), 5);
	munmap(at, size);
}

/* Where a large page of the host can lie, whether it does or not; of the size that was asked for.
 */
static void large_memory(void **state)
{
	const size_t size = (5u << 20) + 8;
	uint8_t *at = populate_map_large(size);

	(void)state;
	assert_non_null(at);
	assert_int_equal((uintptr_t)at % (2u << 20), 0);
	assert_int_equal(at[0] | at[size - 1], 0);
	at[size - 1] = 1;
	assert_int_equal(resident(at + (5u << 20), GUEST_PAGE_SIZE), 1);
	assert_int_equal(munmap(at, size), 0);
	assert_null(populate_map_large(SIZE_MAX - (4u << 20)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_write_brings_its_chunk, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_no_memory_is_left_alone, setup, teardown),
		cmocka_unit_test(memory_ahead_ends_with_the_mapping),
		cmocka_unit_test(large_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
