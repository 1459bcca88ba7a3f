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

	assert_int_equal(guest_memory_size(memory), 0x13000);
	assert_int_equal(memory->end, HIGH + 0x2000);
	assert_null(guest_memory_region(memory, 0x11000));
	assert_int_equal(guest_memory_region(memory, HIGH + 0x1fff)->base, HIGH);
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
	const struct ram_region *region = guest_memory_region(memory, HIGH);
	char seen[4] = "";

	assert_int_equal(guest_memory_write(memory, HIGH + 0x1ffc, "atol", 4), 0);
	assert_int_equal(pread(region->fd, seen, 4, (off_t)region->fd_offset + 0x1ffc), 4);
	assert_memory_equal(seen, "atol", 4);
	assert_int_not_equal(region->fd_offset, guest_memory_region(memory, 0)->fd_offset);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_layout, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bounds, setup, teardown),
		cmocka_unit_test_setup_teardown(test_file, setup, teardown),
		cmocka_unit_test_setup_teardown(test_copies, setup, teardown),
		cmocka_unit_test_setup_teardown(test_discard, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
