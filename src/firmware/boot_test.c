#include "firmware/boot_fixture.h"

#include "machine/machine.h"

/* Memory map, placement, and kernels from files. */

static void cuts_the_map(void **state)
{
	static const struct boot_range reserved[] = {
		{ 0x7f0000, 0x10000, BOOT_MEMORY_ACPI },
		{ 0x400000, 0x1000, BOOT_MEMORY_NVS },
	};
	static const struct boot_range expected[] = {
		{ 0, 0x9fc00, BOOT_MEMORY_RAM },
		{ 0x9fc00, 0x60400, BOOT_MEMORY_RESERVED },
		{ 0x100000, 0x300000, BOOT_MEMORY_RAM },
		{ 0x400000, 0x1000, BOOT_MEMORY_NVS },
		{ 0x401000, 0x3ef000, BOOT_MEMORY_RAM },
		{ 0x7f0000, 0x10000, BOOT_MEMORY_ACPI },
		{ BOOT_4GIB, 0x200000, BOOT_MEMORY_RAM },
	};
	struct boot_config config = { .reserved = reserved, .nr_reserved = 2 };
	struct boot_layout layout;
	struct fixture f;

	(void)state;
	fixture_start(&f, 8 * MIB);
	assert_int_equal(guest_memory_add(&f.memory, BOOT_4GIB, 2 * MIB, false, NULL), 0);
	assert_int_equal(boot_layout_init(&layout, &f.memory, &config, NULL), 0);
	assert_int_equal(layout.nr_map, ARRAY_SIZE(expected));
	for (unsigned i = 0; i < ARRAY_SIZE(expected); i++) {
		assert_int_equal(layout.map[i].base, expected[i].base);
		assert_int_equal(layout.map[i].size, expected[i].size);
		assert_int_equal(layout.map[i].type, expected[i].type);
	}
	assert_true(boot_layout_is_ram(&layout, 0x100000, 0x300000));
	assert_false(boot_layout_is_ram(&layout, 0x100000, 0x300001));
	assert_false(boot_layout_is_ram(&layout, 0x100000, UINT64_MAX));
	assert_false(boot_layout_is_ram(&layout, UINT64_MAX, 2));
	fixture_stop(&f);
}

static void fills_the_bios_data_area(void **state)
{
	static const uint8_t text[16] = "no kernel";
	struct fixture f;

	(void)state;
	fixture_start(&f, 4 * MIB);
	assert_true(fixture_load(&f, text, sizeof(text)) < 0);
	assert_int_equal(boot_get16(fixture_at(&f, 0x40e, 2)), 0x9fc0); /* segment of the EBDA */
	assert_int_equal(boot_get16(fixture_at(&f, 0x413, 2)), 639);    /* KiB below it */
	assert_int_equal(*fixture_at(&f, 0x9fc00, 1), 1);               /* KiB of it */
	fixture_stop(&f);
}

static void joins_regions_and_reserves_rom(void **state)
{
	struct boot_config config = { 0 };
	struct boot_layout layout;
	struct guest_memory memory = { 0 };

	(void)state;
	assert_int_equal(guest_memory_add(&memory, 0, 0x80000, false, NULL), 0);
	assert_int_equal(guest_memory_add(&memory, 0x80000, 0x60000, false, NULL), 0);
	assert_int_equal(guest_memory_add(&memory, 0xe0000, 0x20000, true, NULL), 0);
	assert_int_equal(guest_memory_add(&memory, 0x100000, 0x10000, true, NULL), 0);
	assert_int_equal(boot_layout_init(&layout, &memory, &config, NULL), 0);
	assert_int_equal(layout.nr_map, 2);
	assert_int_equal(layout.map[0].size, 0x9fc00);
	assert_int_equal(layout.map[1].size, 0x110000 - 0x9fc00);
	/* One range for the guest, but two mappings here. */
	assert_false(boot_layout_is_ram(&layout, 0x7f000, 0x2000));
	guest_memory_finish(&memory);
}

static void places_around_claims(void **state)
{
	struct boot_config config = { 0 };
	struct boot_request request = { 0x1000, 0x1000, BOOT_1MIB, BOOT_4GIB, BOOT_LOWEST };
	struct boot_layout layout;
	struct fixture f;

	(void)state;
	fixture_start(&f, 4 * MIB);
	assert_int_equal(boot_layout_init(&layout, &f.memory, &config, NULL), 0);
	assert_true(boot_layout_claim(&layout, 0x100000, 0x1800));
	assert_int_equal(boot_layout_place(&layout, &request), 0x102000);
	assert_int_equal(boot_layout_place(&layout, &request), 0x103000);
	request.direction = BOOT_HIGHEST;
	assert_int_equal(boot_layout_place(&layout, &request), 0x3ff000);
	assert_int_equal(boot_layout_place(&layout, &request), 0x3fe000);
	request.max = 0x200800;
	assert_int_equal(boot_layout_place(&layout, &request), 0x1ff000);
	request.size = 0x200000;
	assert_int_equal(boot_layout_place(&layout, &request), 0);
	request.min = BOOT_LOW_MIN;
	request.max = BOOT_EBDA;
	request.size = 0x9e000;
	assert_int_equal(boot_layout_place(&layout, &request), 0x1000);
	assert_int_equal(boot_layout_place(&layout, &request), 0);
	request.alignment = UINT64_C(1) << 63;
	request.direction = BOOT_LOWEST;
	assert_int_equal(boot_layout_place(&layout, &request), 0);
	fixture_stop(&f);
}

static void merges_claims(void **state)
{
	struct boot_config config = { 0 };
	struct boot_layout layout;
	struct fixture f;

	(void)state;
	fixture_start(&f, 4 * MIB);
	assert_int_equal(boot_layout_init(&layout, &f.memory, &config, NULL), 0);
	for (unsigned i = 0; i < BOOT_MAX_CLAIMS; i++)
		assert_true(boot_layout_claim(&layout, 0x100000 + i * 0x2000, 0x1000));
	assert_false(boot_layout_claim(&layout, 0x300000, 0x1000));
	assert_true(boot_layout_claim(&layout, 0x101000, 0x1000));
	assert_int_equal(layout.nr_claims, BOOT_MAX_CLAIMS - 1);
	assert_true(boot_layout_claim(&layout, 0x80000, 0x200000));
	assert_int_equal(layout.nr_claims, 1);
	assert_int_equal(layout.claims[0].base, 0x80000);
	assert_int_equal(layout.claims[0].size, 0x200000);
	fixture_stop(&f);
}

static void refuses_files(void **state)
{
	struct fixture f;
	struct machine *machine = calloc(1, sizeof(*machine));
	char *empty = fixture_file("", 0);
	static const char text[] = "This is a text, not a kernel.\n";
	char *readable = fixture_file(text, sizeof(text));
	const struct {
		const char *path;
		enum exit_code exit_code;
		const char *text;
	} cases[] = {
		{ "/nonexistent/vmlinuz", EXIT_CODE_NO_FILE, "/nonexistent/vmlinuz" },
		{ "/tmp", EXIT_CODE_NO_FILE, "not a regular file" },
		{ empty, EXIT_CODE_BAD_FILE, "empty" },
		{ readable, EXIT_CODE_BAD_FILE, "give --kernel" },
	};

	(void)state;
	fixture_start(&f, 4 * MIB);
	machine->memory = f.memory;
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		f.config.kernel = cases[i].path;
		f.err = (struct error){ 0 };
		assert_true(boot_load(&f.config, machine, &f.cpu, &f.err) < 0);
		assert_int_equal(f.err.exit_code, cases[i].exit_code);
		assert_non_null(strstr(f.err.text, cases[i].text));
	}
	unlink(empty);
	unlink(readable);
	free(empty);
	free(readable);
	free(machine);
	fixture_stop(&f);
}

/* Kernels that tools/guest-kernels has fetched. */
static void loads_debian(const char *name)
{
	struct fixture f;
	struct machine *machine;
	const char *cache = getenv("ATOLL_CACHE");
	char path[512];

	snprintf(path, sizeof(path), "%s/guest/%s", cache ? cache : ".cache", name);
	if (access(path, R_OK) < 0) {
		print_message("%s: tools/guest-kernels has not fetched it\n", path);
		skip();
	}
	machine = calloc(1, sizeof(*machine));
	fixture_start(&f, 256 * MIB);
	machine->memory = f.memory;
	f.config.kernel = path;
	for (unsigned i = 0; i < 2; i++) {
		f.config.prefer_32bit = i;
		memset(&f.cpu, 0, sizeof(f.cpu));
		assert_int_equal(boot_load(&f.config, machine, &f.cpu, &f.err), 0);
		assert_true(f.cpu.rip >= BOOT_1MIB);
	}
	free(machine);
	fixture_stop(&f);
}

static void loads_debian_cloud(void **state)
{
	(void)state;
	loads_debian("cloud-amd64");
}

static void loads_debian_full(void **state)
{
	(void)state;
	loads_debian("amd64");
}

static void loads_debian_686(void **state)
{
	(void)state;
	loads_debian("686-pae");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cuts_the_map),
		cmocka_unit_test(fills_the_bios_data_area),
		cmocka_unit_test(joins_regions_and_reserves_rom),
		cmocka_unit_test(places_around_claims),
		cmocka_unit_test(merges_claims),
		cmocka_unit_test(refuses_files),
		cmocka_unit_test(loads_debian_cloud),
		cmocka_unit_test(loads_debian_full),
		cmocka_unit_test(loads_debian_686),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
