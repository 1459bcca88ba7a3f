/*
 * SMBIOS tables as an operating system reads them (DSP0134, 5.2.1 and 6.1): entry point, a walk
 * over the structures and their strings.
 */
#include "firmware/smbios.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char uuid_text[] = "00112233-4455-6677-8899-AABBCCDDEEFF";

static struct smbios_config config_of(uint64_t memory_bytes, uint64_t low_end)
{
	struct smbios_config config = {
		.identity = { .manufacturer = "Atoll", .product = "pc", .serial = "S-1" },
		.firmware = "SeaBIOS",
		.nr_cpus = 4,
		.cpu_signature = 0x000306a9,
		.memory_bytes = memory_bytes,
		.low_end = low_end,
		.high_base = UINT64_C(1) << 32,
	};

	assert_true(smbios_parse_uuid(uuid_text, config.identity.uuid));
	return config;
}

static uint8_t sum(const uint8_t *bytes, size_t size)
{
	uint8_t total = 0;

	while (size-- > 0)
		total += *bytes++;
	return total;
}

/* The `n`th structure of a type; NULL: there is none. */
static const uint8_t *find(const struct smbios_image *image, uint8_t type, unsigned n)
{
	const uint8_t *at = image->tables, *end = image->tables + image->size;

	while (at + 4 <= end) {
		const uint8_t *next = at + at[1];

		if (at[0] == type && n-- == 0)
			return at;
		while (next[0] || next[1])
			next++;
		at = next + 2;
	}
	assert_ptr_equal(at, end);
	return NULL;
}

static const char *string(const uint8_t *structure, unsigned offset)
{
	const char *at = (const char *)structure + structure[1];

	for (unsigned n = structure[offset]; n > 1; n--)
		at += strlen(at) + 1;
	return structure[offset] ? at : NULL;
}

static uint64_t field(const uint8_t *structure, unsigned offset, unsigned size)
{
	uint64_t value = 0;

	memcpy(&value, structure + offset, size);
	return value;
}

static void test_entry_point(void **context)
{
	struct smbios_config config = config_of(UINT64_C(1) << 30, UINT64_C(1) << 30);
	struct smbios_image image;
	unsigned structures = 0;

	(void)context;
	assert_true(smbios_build(&config, 0xf0020, &image));
	assert_memory_equal(image.anchor, "_SM_", 4);
	assert_int_equal(image.anchor[5], 31);
	assert_int_equal(sum(image.anchor, 31), 0);
	assert_memory_equal(image.anchor + 16, "_DMI_", 5);
	assert_int_equal(sum(image.anchor + 16, 15), 0);
	assert_int_equal(field(image.anchor, 22, 2), image.size);
	assert_int_equal(field(image.anchor, 24, 4), 0xf0020);
	for (unsigned type = 0; type < 128; type++) {
		while (find(&image, (uint8_t)type, structures) && structures < 64)
			structures++;
		if (type < 127)
			structures = 0;
	}
	assert_int_equal(structures, 1);
	assert_null(find(&image, 126, 0));
	assert_int_equal(field(image.anchor, 28, 2), 9);
}

static void test_identity(void **context)
{
	/* The first three fields are little endian (7.2.1). */
	static const uint8_t uuid[] = { 0x33, 0x22, 0x11, 0x00, 0x55, 0x44, 0x77, 0x66, 0x88, 0x99,
		0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff };
	struct smbios_config config = config_of(UINT64_C(1) << 30, UINT64_C(1) << 30);
	struct smbios_image image;
	const uint8_t *system;

	(void)context;
	assert_true(smbios_build(&config, 0, &image));
	system = find(&image, 1, 0);
	assert_string_equal(string(system, 4), "Atoll");
	assert_string_equal(string(system, 5), "pc");
	assert_null(string(system, 6));
	assert_string_equal(string(system, 7), "S-1");
	assert_memory_equal(system + 8, uuid, 16);
	assert_string_equal(string(find(&image, 0, 0), 4), "SeaBIOS");
	assert_int_equal(find(&image, 0, 0)[0x13] & 0x10, 0x10); /* a virtual machine */
	assert_int_equal(find(&image, 4, 0)[0x23], 4);
	assert_int_equal(field(find(&image, 4, 0), 8, 4), 0x000306a9);
}

static void test_memory(void **context)
{
	struct smbios_config config = config_of(UINT64_C(3) << 30, UINT64_C(2) << 30);
	struct smbios_image image;

	(void)context;
	assert_true(smbios_build(&config, 0, &image));
	assert_int_equal(field(find(&image, 16, 0), 7, 4), 3 << 20);
	assert_int_equal(field(find(&image, 17, 0), 0x0c, 2), 3 << 10);
	assert_int_equal(field(find(&image, 19, 0), 4, 4), 0);
	assert_int_equal(field(find(&image, 19, 0), 8, 4), (2 << 20) - 1);
	assert_int_equal(field(find(&image, 19, 1), 4, 4), 4 << 20);
	assert_int_equal(field(find(&image, 19, 1), 8, 4), (5 << 20) - 1);

	/* 512 GiB: 32 devices of 16 GiB. */
	config = config_of(UINT64_C(512) << 30, UINT64_C(2) << 30);
	assert_true(smbios_build(&config, 0, &image));
	assert_int_equal(field(find(&image, 16, 0), 0x0d, 2), 32);
	assert_int_equal(field(find(&image, 17, 31), 0x0c, 2), 16 << 10);
	assert_null(find(&image, 17, 32));
}

static void test_long_strings(void **context)
{
	struct smbios_config config = config_of(UINT64_C(1) << 30, UINT64_C(1) << 30);
	char *text = malloc(SMBIOS_MAX_SIZE + 1);
	struct smbios_image image;

	(void)context;
	memset(text, 'x', SMBIOS_MAX_SIZE);
	text[SMBIOS_MAX_SIZE] = '\0';
	config.identity.family = text;
	assert_false(smbios_build(&config, 0, &image));
	free(text);
}

static void test_uuid(void **context)
{
	uint8_t uuid[16];

	(void)context;
	assert_true(smbios_parse_uuid("0f0e0d0c-0b0a-0908-0706-050403020100", uuid));
	for (unsigned i = 0; i < 16; i++)
		assert_int_equal(uuid[i], 15 - i);
	assert_false(smbios_parse_uuid("0f0e0d0c-0b0a-0908-0706-05040302010", uuid));
	assert_false(smbios_parse_uuid("0f0e0d0c+0b0a-0908-0706-050403020100", uuid));
	assert_false(smbios_parse_uuid("0f0e0d0c-0b0a-0908-0706-0504030201-0", uuid));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_entry_point),
		cmocka_unit_test(test_identity),
		cmocka_unit_test(test_memory),
		cmocka_unit_test(test_long_strings),
		cmocka_unit_test(test_uuid),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
