/*
 * What vhost is told of guest memory: what a device may write, each address once.
 */
#include "virtio/vhost_memory.h"

#include "base/bits.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define HIGH UINT64_C(0x100000000)

struct fixture {
	struct guest_memory memory;
	union {
		struct vhost_memory table;
		uint8_t bytes[VHOST_MEMORY_BYTES];
	} room;
};

static int setup(void **context)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_int_equal(guest_memory_add(&f->memory, 0, 0xa0000, false, NULL), 0);
	assert_int_equal(guest_memory_add(&f->memory, 0x100000, 0x10000, false, NULL), 0);
	assert_int_equal(guest_memory_add(&f->memory, 0x110000, 0x1000, true, NULL), 0);
	assert_int_equal(guest_memory_add(&f->memory, HIGH, 0x4000, false, NULL), 0);
	*context = f;
	return 0;
}

static int teardown(void **context)
{
	struct fixture *f = *context;

	guest_memory_finish(&f->memory);
	free(f);
	return 0;
}

static void expect(
	const struct fixture *f, unsigned at, gpa_t address, uint64_t size, const uint8_t *host)
{
	const struct vhost_memory_region *region = &f->room.table.regions[at];

	assert_true(at < f->room.table.count);
	assert_int_equal(region->guest_address, address);
	assert_int_equal(region->size, size);
	assert_int_equal(region->user_address, (uintptr_t)host);
}

static void test_ram_is_told_and_rom_is_not(void **context)
{
	struct fixture *f = *context;
	const struct ram_region *regions = f->memory.regions;

	assert_int_equal(vhost_memory_describe(&f->room.table, &f->memory), 0);
	assert_int_equal(f->room.table.count, 3);
	expect(f, 0, 0, 0xa0000, regions[0].host);
	expect(f, 1, 0x100000, 0x10000, regions[1].host);
	expect(f, 2, HIGH, 0x4000, regions[3].host);
}

static void test_what_lies_over_ram_has_its_addresses(void **context)
{
	struct fixture *f = *context;
	struct ram_region *shown = guest_memory_add_movable(&f->memory, 0x2000, NULL);
	struct ram_region *beneath = guest_memory_add_movable(&f->memory, 0x4000, NULL);

	/* A fixed region is found before it; of two that move the first is. */
	guest_memory_place(&f->memory, shown, 0x9f000, RAM_WRITABLE);
	guest_memory_place(&f->memory, beneath, 0xa0000, RAM_WRITABLE);
	assert_int_equal(vhost_memory_describe(&f->room.table, &f->memory), 0);
	assert_int_equal(f->room.table.count, 5);
	expect(f, 0, 0, 0xa0000, f->memory.regions[0].host);
	expect(f, 1, 0xa0000, 0x1000, shown->host + 0x1000);
	expect(f, 2, 0xa1000, 0x3000, beneath->host + 0x1000);

	/* As ROM it takes the address away; hidden, or of system management mode, it does not. */
	guest_memory_place(&f->memory, shown, 0x9f000, RAM_ROM);
	assert_int_equal(vhost_memory_describe(&f->room.table, &f->memory), 0);
	assert_int_equal(f->room.table.count, 4);
	expect(f, 1, 0xa1000, 0x3000, beneath->host + 0x1000);
	guest_memory_place(&f->memory, shown, 0x9f000, RAM_SMM);
	assert_int_equal(vhost_memory_describe(&f->room.table, &f->memory), 0);
	assert_int_equal(f->room.table.count, 4);
	expect(f, 1, 0xa0000, 0x4000, beneath->host);
}

/* What goes on in both address spaces is one piece, whatever lies next to it in one of them. */
static void test_pieces_that_go_on_are_one(void **context)
{
	struct fixture *f = *context;
	const struct ram_region *ram = &f->memory.regions[0];
	struct ram_region *alias = guest_memory_add_alias(&f->memory, ram, 0x1000, 0x2000, NULL);
	struct ram_region *next = guest_memory_add_alias(&f->memory, ram, 0x3000, 0x1000, NULL);

	guest_memory_place(&f->memory, alias, 0xc0000, RAM_WRITABLE);
	guest_memory_place(&f->memory, next, 0xc2000, RAM_WRITABLE);
	assert_int_equal(vhost_memory_describe(&f->room.table, &f->memory), 0);
	assert_int_equal(f->room.table.count, 4);
	expect(f, 1, 0xc0000, 0x3000, ram->host + 0x1000);
}

static void test_a_layout_of_too_many_pieces_is_refused(void **context)
{
	struct fixture *f = *context;
	struct ram_region *over[20], *beneath;

	for (unsigned i = 0; i < ARRAY_SIZE(over); i++)
		over[i] = guest_memory_add_movable(&f->memory, 0x1000, NULL);
	for (unsigned i = 0; i < ARRAY_SIZE(over); i++)
		guest_memory_place(&f->memory, over[i], 0x200000 + 0x2000 * i, RAM_WRITABLE);
	/* They leave 21 pieces of what is beneath them. */
	beneath = guest_memory_add_movable(&f->memory, 0x29000, NULL);
	guest_memory_place(&f->memory, beneath, 0x1ff000, RAM_WRITABLE);
	assert_int_equal(vhost_memory_describe(&f->room.table, &f->memory), 0);
	assert_int_equal(f->room.table.count, 3 + 20 + 21);
	for (unsigned i = 0; i < 21; i++)
		guest_memory_place(&f->memory, guest_memory_add_movable(&f->memory, 0x1000, NULL),
			0x400000 + 0x2000 * i, RAM_WRITABLE);
	assert_int_equal(vhost_memory_describe(&f->room.table, &f->memory), -E2BIG);
}

static void count_call(void *context)
{
	++*(unsigned *)context;
}

static void test_listeners_hear_of_moves(void **context)
{
	struct fixture *f = *context;
	struct ram_region *region = guest_memory_add_movable(&f->memory, 0x1000, NULL);
	unsigned calls[2] = { 0, 0 };
	struct guest_memory_listener first = { .changed = count_call, .context = &calls[0] };
	struct guest_memory_listener second = { .changed = count_call, .context = &calls[1] };

	guest_memory_listen(&f->memory, &first);
	guest_memory_listen(&f->memory, &second);
	guest_memory_place(&f->memory, region, 0xa0000, RAM_WRITABLE);
	guest_memory_place(&f->memory, region, 0xa0000, RAM_WRITABLE); /* nothing changes */
	guest_memory_unlisten(&f->memory, &first);
	guest_memory_unlisten(&f->memory, &first);
	guest_memory_place(&f->memory, region, 0xa0000, RAM_HIDDEN);
	guest_memory_place(&f->memory, region, 0xb0000, RAM_HIDDEN); /* nobody can see it */
	assert_int_equal(calls[0], 1);
	assert_int_equal(calls[1], 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_ram_is_told_and_rom_is_not, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_what_lies_over_ram_has_its_addresses, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pieces_that_go_on_are_one, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_a_layout_of_too_many_pieces_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_listeners_hear_of_moves, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
