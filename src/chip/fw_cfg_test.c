/*
 * The firmware configuration device as firmware uses it (QEMU's docs/specs/fw_cfg.rst): selector
 * and data, the directory, and DMA with descriptors of every sort.
 */
#include "chip/fw_cfg.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define DESCRIPTOR 0x1000
#define BUFFER     0x2000

struct fixture {
	struct guest_memory memory;
	struct fw_cfg chip;
};

static int set_up(void **context)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_int_equal(guest_memory_add(&f->memory, 0, 0x10000, false, NULL), 0);
	fw_cfg_init(&f->chip, &f->memory);
	assert_int_equal(fw_cfg_set(&f->chip, FW_CFG_SIGNATURE, "QEMU", 4, NULL), 0);
	assert_int_equal(fw_cfg_set_file(&f->chip, "etc/two", "second", 6, NULL), 0);
	assert_int_equal(fw_cfg_set_file(&f->chip, "etc/one", "first", 5, NULL), 0);
	*context = f;
	return 0;
}

static int tear_down(void **context)
{
	struct fixture *f = *context;

	fw_cfg_finish(&f->chip);
	guest_memory_finish(&f->memory);
	free(f);
	return 0;
}

static void choose(struct fixture *f, uint16_t key)
{
	fw_cfg_write(&f->chip, 0, 2, key);
}

static uint8_t next(struct fixture *f)
{
	return (uint8_t)fw_cfg_read(&f->chip, 1, 1);
}

static void put_be(uint8_t *at, unsigned size, uint64_t value)
{
	for (unsigned i = 0; i < size; i++)
		at[i] = (uint8_t)(value >> (8 * (size - 1 - i)));
}

/* Runs a descriptor; returns its control word afterwards. */
static uint32_t dma(struct fixture *f, uint32_t control, uint32_t length, uint64_t address)
{
	uint8_t *at = guest_memory_host(&f->memory, DESCRIPTOR, 16);
	uint32_t result;

	put_be(at, 4, control);
	put_be(at + 4, 4, length);
	put_be(at + 8, 8, address);
	fw_cfg_write(&f->chip, 4, 4, 0);
	fw_cfg_write(&f->chip, 8, 4, __builtin_bswap32(DESCRIPTOR));
	memcpy(&result, at, sizeof(result));
	return __builtin_bswap32(result);
}

static void test_signature(void **context)
{
	struct fixture *f = *context;

	choose(f, FW_CFG_SIGNATURE);
	assert_int_equal(next(f), 'Q');
	assert_int_equal(next(f), 'E');
	assert_int_equal(next(f), 'M');
	assert_int_equal(next(f), 'U');
	/* Beyond its end, and where nothing is. */
	assert_int_equal(next(f), 0);
	choose(f, 0x8000);
	assert_int_equal(next(f), 0);
	choose(f, 0x4000);
	assert_int_equal(next(f), 'Q');
	choose(f, 0x3fff);
	assert_int_equal(next(f), 0);
	/* "QEMU CFG" says that there is DMA. */
	assert_int_equal(fw_cfg_read(&f->chip, 4, 4), 0x554d4551);
	assert_int_equal(fw_cfg_read(&f->chip, 8, 4), 0x47464320);
}

/* Sorted by name, whatever the order in which they came; big endian. */
static void test_directory(void **context)
{
	static const uint8_t first[] = "\0\0\0\2\0\0\0\5\0\x20\0\0etc/one";
	struct fixture *f = *context;

	choose(f, FW_CFG_DIRECTORY);
	for (unsigned i = 0; i < sizeof(first); i++)
		assert_int_equal(next(f), first[i]);
	choose(f, FW_CFG_FILES + 1);
	assert_int_equal(next(f), 's');
	/* One of the same name takes its place. */
	assert_int_equal(fw_cfg_set_file(&f->chip, "etc/two", "x", 1, NULL), 0);
	assert_int_equal(f->chip.nr_files, 2);
	choose(f, FW_CFG_FILES + 1);
	assert_int_equal(next(f), 'x');
}

static void test_dma(void **context)
{
	struct fixture *f = *context;
	uint8_t *buffer = guest_memory_host(&f->memory, BUFFER, 16);

	memset(buffer, 0xee, 16);
	assert_int_equal(dma(f, (FW_CFG_FILES + 1) << 16 | 8 | 2, 8, BUFFER), 0);
	assert_memory_equal(buffer, "second\0\0\xee", 9);
	/* Skip goes on from there. */
	assert_int_equal(dma(f, FW_CFG_FILES << 16 | 8 | 4, 2, 0), 0);
	assert_int_equal(dma(f, 2, 3, BUFFER), 0);
	assert_memory_equal(buffer, "rst", 3);
}

static void test_dma_errors(void **context)
{
	struct fixture *f = *context;

	/* Not RAM; more zeros than anybody needs; a file that cannot be written. */
	assert_int_equal(dma(f, FW_CFG_FILES << 16 | 8 | 2, 5, 0x20000), 1);
	assert_int_equal(dma(f, FW_CFG_FILES << 16 | 8 | 2, UINT32_MAX, BUFFER), 1);
	assert_int_equal(dma(f, FW_CFG_FILES << 16 | 8 | 16, 1, BUFFER), 1);
	assert_int_equal(dma(f, FW_CFG_FILES << 16 | 8 | 4, UINT32_MAX, 0), 0);
	assert_int_equal(dma(f, 4, UINT32_MAX, 0), 0);
	assert_int_equal(dma(f, 2, 1, BUFFER), 0);
	/* A descriptor that is nowhere is dropped. */
	fw_cfg_write(&f->chip, 4, 4, UINT32_MAX);
	fw_cfg_write(&f->chip, 8, 4, UINT32_MAX);
}

static void test_writable_file(void **context)
{
	struct fixture *f = *context;
	struct fw_cfg_item *file = fw_cfg_file(&f->chip, "etc/one");

	file->writable = true;
	assert_int_equal(guest_memory_write(&f->memory, BUFFER, "FIR", 3), 0);
	assert_int_equal(dma(f, FW_CFG_FILES << 16 | 8 | 16, 3, BUFFER), 0);
	assert_memory_equal(file->bytes, "FIRst", 5);
	assert_int_equal(dma(f, 16, 3, BUFFER), 1);
}

static void test_state_table(void **context)
{
	struct error err;

	(void)context;
	if (!state_covers(fw_cfg_type.state, &err))
		fail_msg("%s", err.text);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_signature),
		TEST(test_directory),
		TEST(test_dma),
		TEST(test_dma_errors),
		TEST(test_writable_file),
		cmocka_unit_test(test_state_table),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
