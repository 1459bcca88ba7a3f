/*
 * Doorbells: what matches, and that nothing rings once it is detached.
 */
#include "machine/doorbell.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

static void count(void *context)
{
	++*(unsigned *)context;
}

static void test_matching(void **context)
{
	struct doorbell_table table;
	unsigned rung[3] = { 0 };
	struct doorbell any = { .address = 0xc0000010, .fd = -1, .ring = count };
	struct doorbell second = { .address = 0x1010,
		.is_port = true,
		.size = 2,
		.has_value = true,
		.value = 1,
		.fd = -1,
		.ring = count };
	struct doorbell third = second;

	(void)context;
	any.context = &rung[0];
	second.context = &rung[1];
	third.context = &rung[2];
	third.value = 2;
	doorbell_table_init(&table);
	doorbell_table_attach(&table, &any);
	doorbell_table_attach(&table, &second);
	doorbell_table_attach(&table, &third);

	assert_true(doorbell_table_write(&table, false, 0xc0000010, 1, 7));
	assert_true(doorbell_table_write(&table, false, 0xc0000010, 8, 7));
	assert_false(doorbell_table_write(&table, true, 0xc0000010, 1, 7));
	assert_false(doorbell_table_write(&table, false, 0xc0000011, 1, 7));
	assert_int_equal(rung[0], 2);
	/* Only the bits of the access count. */
	assert_true(doorbell_table_write(&table, true, 0x1010, 2, 0x50001));
	assert_true(doorbell_table_write(&table, true, 0x1010, 2, 2));
	assert_false(doorbell_table_write(&table, true, 0x1010, 2, 3));
	assert_false(doorbell_table_write(&table, true, 0x1010, 4, 1));
	assert_int_equal(rung[1], 1);
	assert_int_equal(rung[2], 1);

	doorbell_table_detach(&table, &second);
	doorbell_table_detach(&table, &second);
	assert_false(doorbell_table_write(&table, true, 0x1010, 2, 1));
	assert_true(doorbell_table_write(&table, true, 0x1010, 2, 2));
	doorbell_table_finish(&table);
}

static void test_eventfd(void **context)
{
	struct doorbell_table table;
	struct doorbell doorbell = { .address = 0x40, .fd = eventfd(0, EFD_NONBLOCK) };
	uint64_t value = 0, most = UINT64_MAX - 1;

	(void)context;
	assert_true(doorbell.fd >= 0);
	doorbell_table_init(&table);
	doorbell_table_attach(&table, &doorbell);
	assert_true(doorbell_table_write(&table, false, 0x40, 4, 0));
	assert_true(doorbell_table_write(&table, false, 0x40, 4, 0));
	assert_int_equal(read(doorbell.fd, &value, sizeof(value)), sizeof(value));
	assert_int_equal(value, 2);
	/* A full counter does not block the vCPU. */
	assert_int_equal(write(doorbell.fd, &most, sizeof(most)), sizeof(most));
	assert_true(doorbell_table_write(&table, false, 0x40, 4, 0));
	doorbell_table_finish(&table);
	close(doorbell.fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_matching),
		cmocka_unit_test(test_eventfd),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
