/*
 * The flash memory's command set: 290667, chapter 9 (table 13, "Command Bus-Cycle Definitions"),
 * and what EDK2's flash driver does.
 */
#include "chip/cfi_flash.h"
#include "chip/chip_fixture.h"

#define SIZE  0x4000u
#define BLOCK 0x1000u

struct fixture {
	struct cfi_flash chip;
	uint8_t array[SIZE];
	bool shown;
	unsigned nr_changes;
	uint32_t written_at, written_bytes;
};

static void array_shown(void *context, bool shown)
{
	struct fixture *f = context;

	f->shown = shown;
	f->nr_changes++;
}

static void written(void *context, uint32_t offset, uint32_t size)
{
	struct fixture *f = context;

	f->written_at = offset;
	f->written_bytes = size;
}

static int setup(void **context)
{
	struct fixture *f = calloc(1, sizeof(*f));
	const struct cfi_flash_events events = {
		.array_shown = array_shown, .written = written, .context = f
	};

	memset(f->array, 0xff, SIZE);
	cfi_flash_init(&f->chip, f->array, SIZE, BLOCK, &events);
	cfi_flash_type.reset(&f->chip);
	*context = f;
	return 0;
}

static int teardown(void **context)
{
	free(*context);
	return 0;
}

static void write(struct fixture *f, uint32_t offset, uint8_t value)
{
	cfi_flash_write(&f->chip, offset, value);
}

static uint8_t read(struct fixture *f, uint32_t offset)
{
	return cfi_flash_read(&f->chip, offset);
}

static void test_power_up_shows_the_array(void **context)
{
	struct fixture *f = *context;

	assert_true(f->shown);
	f->array[5] = 0x42;
	assert_int_equal(read(f, 5), 0x42);
	write(f, 0, 0x70);
	assert_false(f->shown);
	assert_int_equal(read(f, 5), 0x80);
	write(f, 0, 0xff);
	assert_true(f->shown);
	assert_int_equal(read(f, 5), 0x42);
}

static void test_programming_clears_bits(void **context)
{
	struct fixture *f = *context;

	write(f, 0x123, 0x40);
	write(f, 0x123, 0xf0);
	assert_int_equal(read(f, 0), 0x80);
	write(f, 0x123, 0x10);
	write(f, 0x123, 0x3c);
	assert_int_equal(f->array[0x123], 0x30);
	assert_int_equal(f->written_at, 0x123);
	assert_int_equal(f->written_bytes, 1);
	write(f, 0, 0xff);
	assert_int_equal(read(f, 0x123), 0x30);
}

static void test_erasing_sets_a_block(void **context)
{
	struct fixture *f = *context;

	memset(f->array, 0, SIZE);
	write(f, BLOCK + 7, 0x20);
	write(f, BLOCK + 9, 0xd0);
	assert_int_equal(read(f, 0), 0x80);
	assert_int_equal(f->array[BLOCK - 1], 0);
	assert_int_equal(f->array[BLOCK], 0xff);
	assert_int_equal(f->array[2 * BLOCK - 1], 0xff);
	assert_int_equal(f->array[2 * BLOCK], 0);
	assert_int_equal(f->written_at, BLOCK);
	assert_int_equal(f->written_bytes, BLOCK);
}

/* Without the confirmation, and with one for another block: SR.4 and SR.5. */
static void test_erasing_must_be_confirmed(void **context)
{
	struct fixture *f = *context;

	memset(f->array, 0, SIZE);
	write(f, 0, 0x20);
	write(f, 0, 0xff);
	assert_int_equal(read(f, 0), 0xb0);
	write(f, 0, 0x50);
	write(f, 0, 0x20);
	write(f, BLOCK, 0xd0);
	assert_int_equal(read(f, 0), 0xb0);
	for (unsigned i = 0; i < SIZE; i++)
		assert_int_equal(f->array[i], 0);
}

static void test_write_to_buffer(void **context)
{
	struct fixture *f = *context;

	write(f, BLOCK, 0xe8);
	assert_int_equal(read(f, BLOCK), 0x80);
	write(f, BLOCK, 2);
	write(f, BLOCK + 0x22, 1);
	write(f, BLOCK + 0x20, 2);
	write(f, BLOCK + 0x3f, 3);
	assert_int_equal(f->written_bytes, 0);
	write(f, BLOCK, 0xd0);
	assert_int_equal(read(f, 0), 0x80);
	assert_int_equal(f->array[BLOCK + 0x20], 2);
	assert_int_equal(f->array[BLOCK + 0x21], 0xff);
	assert_int_equal(f->array[BLOCK + 0x22], 1);
	assert_int_equal(f->array[BLOCK + 0x3f], 3);
	assert_int_equal(f->array[BLOCK + 0x40], 0xff);
}

static void test_write_to_buffer_refuses(void **context)
{
	struct fixture *f = *context;

	/* More than the buffer has. */
	write(f, 0, 0xe8);
	write(f, 0, 32);
	assert_int_equal(read(f, 0), 0xb0);
	/* A byte outside, and no confirmation. */
	write(f, 0, 0x50);
	write(f, 0, 0xe8);
	write(f, 0, 1);
	write(f, 0, 0);
	write(f, 32, 0);
	assert_int_equal(read(f, 0), 0xb0);
	write(f, 0, 0x50);
	write(f, 0, 0xe8);
	write(f, 0, 0);
	write(f, 0, 0);
	write(f, 0, 0x70);
	assert_int_equal(read(f, 0), 0xb0);
	assert_int_equal(f->array[0], 0xff);
}

static void test_identifier_and_query(void **context)
{
	struct fixture *f = *context;
	static const uint8_t geometry[] = { 1, 3, 0, 0x10, 0 }; /* 4 blocks of 16 times 256 bytes */

	write(f, 0, 0x90);
	assert_int_equal(read(f, BLOCK), 0x89);
	assert_int_equal(read(f, BLOCK + 1), 0x18);
	assert_int_equal(read(f, BLOCK + 2), 0);
	write(f, 0x55, 0x98);
	assert_int_equal(read(f, 0x10), 'Q');
	assert_int_equal(read(f, 0x11), 'R');
	assert_int_equal(read(f, 0x12), 'Y');
	assert_int_equal(read(f, 0x13), 1);
	assert_int_equal(read(f, read(f, 0x15)), 'P');
	assert_int_equal(read(f, 0x27), 14);
	assert_int_equal(read(f, 0x2a), 5);
	for (unsigned i = 0; i < sizeof(geometry); i++)
		assert_int_equal(read(f, 0x2c + i), geometry[i]);
	assert_false(f->shown);
}

/* How EDK2's QemuFlashFvbServicesRuntimeDxe tells flash from RAM and ROM. */
static void test_edk2_detects_it(void **context)
{
	struct fixture *f = *context;

	f->array[0x10] = 0x8d;
	write(f, 0x10, 0x50);
	assert_int_equal(read(f, 0x10), 0x8d);
	write(f, 0x10, 0x70);
	assert_int_equal(read(f, 0x10), 0x00);
	write(f, 0x10, 0x8d);
	write(f, 0x10, 0xff);
	assert_int_equal(read(f, 0x10), 0x8d);
}

static void test_state(void **context)
{
	struct fixture *f = *context;
	struct state_buffer saved = { 0 };
	struct error err = { 0 };

	assert_true(state_covers(cfi_flash_type.state, &err));
	write(f, BLOCK, 0xe8);
	write(f, BLOCK, 0);
	write(f, BLOCK + 1, 0x77);
	assert_int_equal(state_encode(&saved, cfi_flash_type.state, "flash", &f->chip.state), 0);
	cfi_flash_type.reset(&f->chip);
	assert_true(f->shown);
	assert_int_equal(
		state_decode(saved.bytes, saved.size, cfi_flash_type.state, &f->chip.state, &err),
		(long)saved.size);
	cfi_flash_type.restored(&f->chip);
	assert_false(f->shown);
	write(f, BLOCK, 0xd0);
	assert_int_equal(f->array[BLOCK + 1], 0x77);
	state_buffer_finish(&saved);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_power_up_shows_the_array, setup, teardown),
		cmocka_unit_test_setup_teardown(test_programming_clears_bits, setup, teardown),
		cmocka_unit_test_setup_teardown(test_erasing_sets_a_block, setup, teardown),
		cmocka_unit_test_setup_teardown(test_erasing_must_be_confirmed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_write_to_buffer, setup, teardown),
		cmocka_unit_test_setup_teardown(test_write_to_buffer_refuses, setup, teardown),
		cmocka_unit_test_setup_teardown(test_identifier_and_query, setup, teardown),
		cmocka_unit_test_setup_teardown(test_edk2_detects_it, setup, teardown),
		cmocka_unit_test_setup_teardown(test_state, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
