#include "firmware/boot_fixture.h"

#include <elf.h>

/* Multiboot Specification 0.6.96, 3.1 (header), 3.2 (machine state), 3.3 (information). */
#define HEADER_AT 0x20
#define CODE_AT   0x40
#define LOAD      0x200000

static uint8_t image[0x400];

static void put_header(uint32_t flags)
{
	boot_put32(image + HEADER_AT, 0x1badb002);
	boot_put32(image + HEADER_AT + 4, flags);
	boot_put32(image + HEADER_AT + 8, -(0x1badb002 + flags));
}

/* A flat image that starts at its header. */
static void make_flat(void)
{
	memset(image, 0, sizeof(image));
	put_header(0x10003);
	boot_put32(image + HEADER_AT + 12, LOAD + 4); /* the file's first loaded byte is 0x1c */
	boot_put32(image + HEADER_AT + 16, LOAD);
	boot_put32(image + HEADER_AT + 20, LOAD + 0x100);
	boot_put32(image + HEADER_AT + 24, LOAD + 0x1000);
	boot_put32(image + HEADER_AT + 28, LOAD + 0x24);
	image[0x1c] = 0xc3;
	image[0x1c + 0xff] = 0xc4;
}

static void loads_flat(void **state)
{
	struct fixture f;
	gpa_t info, map;

	(void)state;
	fixture_start(&f, 64 * MIB);
	f.config.command_line = "one two";
	make_flat();
	memset(guest_memory_host(&f.memory, LOAD, 0x1001), 0xee, 0x1001);
	assert_int_equal(fixture_load(&f, image, sizeof(image)), 0);
	assert_flat_protected_mode(&f.cpu);
	assert_int_equal(f.cpu.rip, LOAD + 0x24);
	assert_int_equal(f.cpu.gpr[X86_RAX], 0x2badb002);
	assert_int_equal(*fixture_at(&f, LOAD, 1), 0xc3);
	assert_int_equal(*fixture_at(&f, LOAD + 0xff, 1), 0xc4);
	assert_int_equal(*fixture_at(&f, LOAD + 0x100, 1), 0);
	assert_int_equal(*fixture_at(&f, LOAD + 0xfff, 1), 0);
	assert_int_equal(*fixture_at(&f, LOAD + 0x1000, 1), 0xee);

	info = f.cpu.gpr[X86_RBX];
	assert_int_equal(fixture_get32(&f, info), BIT(0) | BIT(2) | BIT(6) | BIT(9));
	assert_int_equal(fixture_get32(&f, info + 4), 639);
	assert_int_equal(fixture_get32(&f, info + 8), 63 * 1024);
	assert_string_equal((const char *)fixture_at(&f, fixture_get32(&f, info + 16), 19),
		"kernel.img one two");
	assert_int_equal(fixture_get32(&f, info + 44), 3 * 24);
	map = fixture_get32(&f, info + 48);
	assert_int_equal(fixture_get32(&f, map + 48), 20);
	assert_int_equal(fixture_get64(&f, map + 52), 0x100000);
	assert_int_equal(fixture_get64(&f, map + 60), 63 * MIB);
	assert_int_equal(fixture_get32(&f, map + 68), 1);
	assert_string_equal((const char *)fixture_at(&f, fixture_get32(&f, info + 64), 6), "atoll");
	fixture_stop(&f);
}

static void loads_to_the_end_without_load_end(void **state)
{
	struct fixture f;

	(void)state;
	fixture_start(&f, 64 * MIB);
	make_flat();
	boot_put32(image + HEADER_AT + 20, 0);
	boot_put32(image + HEADER_AT + 24, 0);
	image[sizeof(image) - 1] = 0x77;
	assert_int_equal(fixture_load(&f, image, sizeof(image)), 0);
	assert_int_equal(*fixture_at(&f, LOAD + sizeof(image) - 0x1c - 1, 1), 0x77);
	fixture_stop(&f);
}

static void loads_elf(void **state)
{
	struct fixture f;
	Elf32_Ehdr header = {
		.e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS32, ELFDATA2LSB, EV_CURRENT },
		.e_machine = EM_386,
		.e_entry = LOAD + 8,
		.e_phoff = 0x80,
		.e_phentsize = sizeof(Elf32_Phdr),
		.e_phnum = 1,
	};
	Elf32_Phdr load = { PT_LOAD, 0x100, LOAD, LOAD, 0x100, 0x100, 0, 0 };

	(void)state;
	fixture_start(&f, 64 * MIB);
	memset(image, 0, sizeof(image));
	memcpy(image, &header, sizeof(header));
	memcpy(image + 0x80, &load, sizeof(load));
	boot_put32(image + 0x180, 0x1badb002);
	boot_put32(image + 0x184, 7); /* asks for video, too */
	boot_put32(image + 0x188, -(0x1badb002 + 7));
	assert_int_equal(fixture_load(&f, image, sizeof(image)), 0);
	assert_int_equal(f.cpu.gpr[X86_RAX], 0x2badb002);
	assert_int_equal(f.cpu.rip, LOAD + 8);
	fixture_stop(&f);
}

static void passes_modules(void **state)
{
	struct fixture f;
	char *path = fixture_file("first", 5), *empty = fixture_file("", 0);
	char with_text[100];
	const char *modules[] = { with_text, empty };
	gpa_t info, list, start;

	(void)state;
	snprintf(with_text, sizeof(with_text), "%s dom0 console=hvc0", path);
	fixture_start(&f, 64 * MIB);
	f.config.initrds = modules;
	f.config.nr_initrds = 2;
	make_flat();
	assert_int_equal(fixture_load(&f, image, sizeof(image)), 0);
	info = f.cpu.gpr[X86_RBX];
	assert_true(fixture_get32(&f, info) & BIT(3));
	assert_int_equal(fixture_get32(&f, info + 20), 2);
	list = fixture_get32(&f, info + 24);
	start = fixture_get32(&f, list);
	assert_int_equal(start % 4096, 0);
	assert_int_equal(fixture_get32(&f, list + 4), start + 5);
	assert_memory_equal(fixture_at(&f, start, 5), "first", 5);
	assert_string_equal(
		(const char *)fixture_at(&f, fixture_get32(&f, list + 8), strlen(with_text) + 1),
		with_text);
	assert_int_equal(fixture_get32(&f, list + 16), fixture_get32(&f, list + 20));

	unlink(path);
	fixture_refuses(&f, image, sizeof(image), EXIT_CODE_NO_FILE, path);
	unlink(empty);
	free(path);
	free(empty);
	fixture_stop(&f);
}

static void refuses_what_it_cannot_load(void **state)
{
	static const struct {
		unsigned field;
		uint32_t value;
	} damages[] = {
		{ 12, LOAD - 4 },    /* header before the load address */
		{ 12, LOAD + 0x24 }, /* would start before the file */
		{ 20, LOAD - 1 },
		{ 20, LOAD + 0x1000 },
		{ 24, LOAD + 0xff },
		{ 24, 1 },
	};
	struct fixture f;

	(void)state;
	fixture_start(&f, 64 * MIB);
	for (unsigned i = 0; i < ARRAY_SIZE(damages); i++) {
		make_flat();
		boot_put32(image + HEADER_AT + damages[i].field, damages[i].value);
		fixture_refuses(&f, image, sizeof(image), EXIT_CODE_BAD_FILE, "damaged");
	}
	make_flat();
	put_header(0x10003 | BIT(5));
	fixture_refuses(&f, image, sizeof(image), EXIT_CODE_BAD_FILE, "0x20");
	make_flat();
	put_header(3);
	fixture_refuses(&f, image, sizeof(image), EXIT_CODE_BAD_FILE, "not an ELF");
	make_flat();
	boot_put32(image + HEADER_AT + 24, LOAD + 80 * MIB);
	fixture_refuses(&f, image, sizeof(image), EXIT_CODE_CONFIG, "--memory 82M");
	/* A bad checksum is no header at all. */
	make_flat();
	image[HEADER_AT + 8]++;
	fixture_refuses(&f, image, sizeof(image), EXIT_CODE_BAD_FILE, "not a kernel");
	fixture_stop(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(loads_flat),
		cmocka_unit_test(loads_to_the_end_without_load_end),
		cmocka_unit_test(loads_elf),
		cmocka_unit_test(passes_modules),
		cmocka_unit_test(refuses_what_it_cannot_load),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
