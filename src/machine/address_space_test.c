/*
 * Address spaces: who gets an access, how it is split, and what nobody claims.
 */
#include "machine/address_space.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Remembers its accesses; reads give the offset in every byte. */
struct probe {
	struct {
		uint64_t offset;
		unsigned size;
		uint64_t value;
	} calls[8];
	unsigned nr_calls;
};

static uint64_t probe_read(void *device, uint64_t offset, unsigned size)
{
	struct probe *probe = device;
	uint64_t value = 0;

	for (unsigned i = 0; i < size; i++)
		value |= (offset + i) << (8 * i);
	probe->calls[probe->nr_calls].offset = offset;
	probe->calls[probe->nr_calls++].size = size;
	return value | (size < 8 ? UINT64_MAX << (8 * size) : 0); /* excess bits are dropped */
}

static void probe_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct probe *probe = device;

	probe->calls[probe->nr_calls].offset = offset;
	probe->calls[probe->nr_calls].size = size;
	probe->calls[probe->nr_calls++].value = value;
}

static const struct io_ops byte_ops = { probe_read, probe_write, 0 };
static const struct io_ops word_ops = { probe_read, probe_write, 4 };

static void map(struct address_space *space, uint64_t base, uint64_t size, const struct io_ops *ops,
	struct probe *probe)
{
	address_space_map(space, &(struct io_region){ base, size, ops, probe, "probe" });
}

static void test_unclaimed_floats(void **context)
{
	struct address_space space = { 0 };

	(void)context;
	assert_int_equal(address_space_read(&space, 0x80, 1), 0xff);
	assert_int_equal(address_space_read(&space, 0x80, 4), 0xffffffff);
	assert_int_equal(address_space_read(&space, 0x80, 8), UINT64_MAX);
	address_space_write(&space, 0x80, 4, 0);
	assert_null(address_space_find(&space, 0x80));
}

static void test_regions_are_found(void **context)
{
	struct address_space space = { 0 };
	struct probe probes[3] = { 0 };

	(void)context;
	map(&space, 0x60, 1, &byte_ops, &probes[1]);
	map(&space, 0x70, 2, &byte_ops, &probes[2]);
	map(&space, 0x40, 4, &byte_ops, &probes[0]);
	assert_ptr_equal(address_space_find(&space, 0x43)->device, &probes[0]);
	assert_null(address_space_find(&space, 0x44));
	assert_ptr_equal(address_space_find(&space, 0x60)->device, &probes[1]);
	assert_null(address_space_find(&space, 0x61));
	assert_ptr_equal(address_space_find(&space, 0x71)->device, &probes[2]);
	address_space_unmap(&space, 0x60);
	assert_null(address_space_find(&space, 0x60));
	assert_ptr_equal(address_space_find(&space, 0x70)->device, &probes[2]);
}

static void test_wide_accesses_are_split(void **context)
{
	struct address_space space = { 0 };
	struct probe probe = { 0 };

	(void)context;
	map(&space, 0x40, 4, &byte_ops, &probe);
	address_space_write(&space, 0x41, 2, 0xbbaa);
	assert_int_equal(probe.nr_calls, 2);
	assert_int_equal(probe.calls[0].offset, 1);
	assert_int_equal(probe.calls[0].value, 0xaa);
	assert_int_equal(probe.calls[1].offset, 2);
	assert_int_equal(probe.calls[1].value, 0xbb);
	assert_int_equal(address_space_read(&space, 0x40, 4), 0x03020100);
	/* The end of the region and beyond it. */
	assert_int_equal(address_space_read(&space, 0x42, 4), 0xffff0302);
}

static void test_widths_up_to_the_maximum_stay_whole(void **context)
{
	struct address_space space = { 0 };
	struct probe probe = { 0 };

	(void)context;
	map(&space, 0x600, 12, &word_ops, &probe);
	assert_int_equal(address_space_read(&space, 0x608, 4), 0x0b0a0908);
	assert_int_equal(probe.nr_calls, 1);
	assert_int_equal(address_space_read(&space, 0x600, 8), 0x0706050403020100);
	assert_int_equal(probe.nr_calls, 3);
	/* A piece may not reach past the region. */
	address_space_write(&space, 0x60a, 4, 0x44332211);
	assert_int_equal(probe.nr_calls, 4);
	assert_int_equal(probe.calls[3].size, 2);
	assert_int_equal(probe.calls[3].value, 0x2211);
}

static void test_free_ranges(void **context)
{
	struct address_space space = { 0 };
	struct probe probe = { 0 };

	(void)context;
	assert_true(address_space_is_free(&space, 0, UINT64_MAX));
	map(&space, 0x1000, 0x100, &byte_ops, &probe);
	map(&space, 0x2000, 0x100, &byte_ops, &probe);
	assert_true(address_space_is_free(&space, 0xf00, 0x100));
	assert_false(address_space_is_free(&space, 0xf00, 0x101));
	assert_false(address_space_is_free(&space, 0x1010, 1));
	assert_false(address_space_is_free(&space, 0x10ff, 0x1000));
	assert_true(address_space_is_free(&space, 0x1100, 0xf00));
	assert_true(address_space_is_free(&space, 0x2100, UINT64_MAX - 0x2100));
}

/* An access of a region that does not come from an address, and reaches beyond it. */
static void test_region_accesses(void **context)
{
	struct probe probe = { 0 };
	const struct io_region region = { .size = 6, .ops = &word_ops, .device = &probe };

	(void)context;
	assert_int_equal(io_region_read(&region, 0, 8), 0xffff050403020100);
	assert_int_equal(probe.nr_calls, 2);
	assert_int_equal(io_region_read(&region, 6, 2), 0xffff);
	assert_int_equal(io_region_read(&region, UINT64_MAX, 1), 0xff);
	io_region_write(&region, 4, 4, 0x44332211);
	assert_int_equal(probe.nr_calls, 3);
	assert_int_equal(probe.calls[2].size, 2);
	assert_int_equal(probe.calls[2].value, 0x2211);
	io_region_write(&region, 6, 4, 0);
	assert_int_equal(probe.nr_calls, 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_unclaimed_floats),
		cmocka_unit_test(test_regions_are_found),
		cmocka_unit_test(test_wide_accesses_are_split),
		cmocka_unit_test(test_widths_up_to_the_maximum_stay_whole),
		cmocka_unit_test(test_free_ranges),
		cmocka_unit_test(test_region_accesses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
