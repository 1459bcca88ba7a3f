#include "firmware/boot_fixture.h"

/* Offsets are those of Linux Documentation/arch/x86/boot.rst and zero-page.rst. */
#define SETUP_SECTS 3
#define KERNEL_AT   ((SETUP_SECTS + 1) * 512)
#define KERNEL_SIZE 0x1000
#define IMAGE_SIZE  (KERNEL_AT + KERNEL_SIZE)
#define PREFERRED   0x1000000
#define INIT_SIZE   0x800000

static uint8_t image[IMAGE_SIZE];

static void make_image(uint16_t version)
{
	memset(image, 0, sizeof(image));
	image[0x1f1] = SETUP_SECTS;
	image[0x1fe] = 0x55;
	image[0x1ff] = 0xaa;
	image[0x200] = 0xeb;
	image[0x201] = 0x66; /* the header ends at 0x268 */
	memcpy(image + 0x202, "HdrS", 4);
	image[0x206] = (uint8_t)version;
	image[0x207] = (uint8_t)(version >> 8);
	image[0x211] = 1;
	boot_put32(image + 0x214, 0x100000);
	boot_put32(image + 0x22c, 0x7fffffff);
	boot_put32(image + 0x230, 0x200000);
	image[0x234] = 1;
	image[0x236] = 1;
	boot_put32(image + 0x238, 2047);
	boot_put64(image + 0x258, PREFERRED);
	boot_put32(image + 0x260, INIT_SIZE);
	memset(image + KERNEL_AT, 0x90, KERNEL_SIZE);
}

static void enters_in_long_mode(void **state)
{
	struct fixture f;
	const uint8_t *params;
	uint64_t entry;

	(void)state;
	fixture_start(&f, 64 * MIB);
	f.config.command_line = "console=ttyS0";
	f.config.rsdp = 0xe0000;
	make_image(0x20f);
	assert_int_equal(fixture_load(&f, image, sizeof(image)), 0);

	assert_int_equal(f.cpu.rip, PREFERRED + 0x200);
	assert_int_equal(f.cpu.cr0 & (CR0_PE | CR0_PG), CR0_PE | CR0_PG);
	assert_int_equal(f.cpu.cr4, CR4_PAE);
	assert_int_equal(f.cpu.efer, EFER_LME | EFER_LMA);
	assert_int_equal(f.cpu.segment[X86_CS].selector, 0x10);
	assert_int_equal(f.cpu.segment[X86_DS].selector, 0x18);
	assert_true(f.cpu.segment[X86_CS].attributes & SEG_L);
	assert_int_equal(f.cpu.rflags & RFLAGS_IF, 0);
	assert_memory_equal(fixture_at(&f, PREFERRED, KERNEL_SIZE), image + KERNEL_AT, KERNEL_SIZE);

	/* The last 2 MiB below 4 GiB are mapped one to one. */
	entry = fixture_get64(&f, f.cpu.cr3);
	entry = fixture_get64(&f, (entry & ~UINT64_C(0xfff)) + 3 * 8);
	entry = fixture_get64(&f, (entry & ~UINT64_C(0xfff)) + 511 * 8);
	assert_int_equal(entry & ~UINT64_C(0xfff), 0xffe00000);
	assert_int_equal(entry & (PTE_P | PTE_W | PTE_PS), PTE_P | PTE_W | PTE_PS);
	/* SDM 3A 3.4.5: 64-bit code, flat data. */
	assert_int_equal(fixture_get64(&f, f.cpu.gdtr.base + 0x10), 0x00af9b000000ffff);
	assert_int_equal(fixture_get64(&f, f.cpu.gdtr.base + 0x18), 0x00cf93000000ffff);

	params = fixture_at(&f, f.cpu.gpr[X86_RSI], 4096);
	assert_int_equal(params[0x210], 0xff);
	assert_int_equal(boot_get64(params + 0x70), 0xe0000);
	assert_string_equal(
		(const char *)fixture_at(&f, boot_get32(params + 0x228), 14), "console=ttyS0");
	assert_int_equal(boot_get32(params + 0x214), PREFERRED);
	assert_int_equal(boot_get32(params + 0x21c), 0);
	/* E820: conventional memory, the BIOS area, the rest. */
	assert_int_equal(params[0x1e8], 3);
	assert_int_equal(boot_get64(params + 0x2d0), 0);
	assert_int_equal(boot_get64(params + 0x2d8), 0x9fc00);
	assert_int_equal(boot_get32(params + 0x2e0), 1);
	assert_int_equal(boot_get64(params + 0x2e4), 0x9fc00);
	assert_int_equal(boot_get32(params + 0x2f4), 2);
	assert_int_equal(boot_get64(params + 0x2f8), 0x100000);
	assert_int_equal(boot_get64(params + 0x300), 63 * MIB);
	assert_int_equal(boot_get32(params + 0x308), 1);
	fixture_stop(&f);
}

static void enters_in_protected_mode(void **state)
{
	struct fixture f;

	(void)state;
	fixture_start(&f, 64 * MIB);
	make_image(0x20f);
	f.config.prefer_32bit = true;
	assert_int_equal(fixture_load(&f, image, sizeof(image)), 0);
	assert_flat_protected_mode(&f.cpu);
	assert_int_equal(f.cpu.rip, PREFERRED);
	assert_int_equal(f.cpu.gpr[X86_RBP], 0);
	assert_int_equal(f.cpu.gpr[X86_RDI], 0);
	assert_int_equal(f.cpu.gpr[X86_RBX], 0);

	/* A kernel without the 64-bit entry. */
	f.config.prefer_32bit = false;
	image[0x236] = 0;
	assert_int_equal(fixture_load(&f, image, sizeof(image)), 0);
	assert_flat_protected_mode(&f.cpu);
	fixture_stop(&f);
}

static void moves_down_when_memory_is_short(void **state)
{
	struct fixture f;

	(void)state;
	fixture_start(&f, 12 * MIB);
	make_image(0x20f);
	assert_int_equal(fixture_load(&f, image, sizeof(image)), 0);
	assert_int_equal(f.cpu.rip, 0x200000 + 0x200);
	fixture_stop(&f);
}

static void names_the_memory_it_needs(void **state)
{
	struct fixture f;

	(void)state;
	make_image(0x20f);
	fixture_start(&f, 9 * MIB);
	fixture_refuses(&f, image, sizeof(image), EXIT_CODE_CONFIG, "--memory 10M");
	fixture_stop(&f);
	fixture_start(&f, 10 * MIB);
	assert_int_equal(fixture_load(&f, image, sizeof(image)), 0);
	fixture_stop(&f);

	/* One that cannot move. */
	image[0x234] = 0;
	fixture_start(&f, 16 * MIB);
	fixture_refuses(&f, image, sizeof(image), EXIT_CODE_CONFIG, "--memory 24M");
	fixture_stop(&f);
	fixture_start(&f, 24 * MIB);
	assert_int_equal(fixture_load(&f, image, sizeof(image)), 0);
	assert_int_equal(f.cpu.rip, 0x100000 + 0x200);
	fixture_stop(&f);
}

static void joins_initrds(void **state)
{
	struct fixture f;
	char *paths[2] = { fixture_file("12345", 5), fixture_file("abcd", 4) };
	const uint8_t *params;
	gpa_t address;

	(void)state;
	fixture_start(&f, 64 * MIB);
	make_image(0x20f);
	f.config.initrds = (const char *const *)paths;
	f.config.nr_initrds = 2;
	assert_int_equal(fixture_load(&f, image, sizeof(image)), 0);
	params = fixture_at(&f, f.cpu.gpr[X86_RSI], 4096);
	address = boot_get32(params + 0x218);
	assert_int_equal(boot_get32(params + 0x21c), 12);
	assert_memory_equal(fixture_at(&f, address, 12), "12345\0\0\0abcd", 12);
	assert_int_equal(address, 64 * MIB - 4096);

	/* As high as the kernel lets it. */
	boot_put32(image + 0x22c, 0x2ffffff);
	assert_int_equal(fixture_load(&f, image, sizeof(image)), 0);
	params = fixture_at(&f, f.cpu.gpr[X86_RSI], 4096);
	assert_int_equal(boot_get32(params + 0x218), 0x3000000 - 4096);

	unlink(paths[1]);
	fixture_refuses(&f, image, sizeof(image), EXIT_CODE_NO_FILE, paths[1]);
	unlink(paths[0]);
	free(paths[0]);
	free(paths[1]);
	fixture_stop(&f);
}

static void refuses_an_initrd_without_room(void **state)
{
	struct fixture f;
	uint8_t *bytes = calloc(1, 4 * MIB);
	char *path = fixture_file(bytes, 4 * MIB);
	const char *paths[1] = { path };

	(void)state;
	make_image(0x20f);
	f.config.nr_initrds = 1;
	fixture_start(&f, 12 * MIB);
	f.config.initrds = paths;
	f.config.nr_initrds = 1;
	fixture_refuses(&f, image, sizeof(image), EXIT_CODE_CONFIG, "--memory 14M");
	fixture_stop(&f);
	fixture_start(&f, 14 * MIB);
	f.config.initrds = paths;
	f.config.nr_initrds = 1;
	assert_int_equal(fixture_load(&f, image, sizeof(image)), 0);
	fixture_stop(&f);
	unlink(path);
	free(path);
	free(bytes);
}

static void limits_the_command_line(void **state)
{
	struct fixture f;
	char text[300];

	(void)state;
	fixture_start(&f, 64 * MIB);
	memset(text, 'a', sizeof(text));
	text[256] = '\0';
	f.config.command_line = text;
	make_image(0x205); /* before 2.06 the limit is 255 */
	fixture_refuses(&f, image, sizeof(image), EXIT_CODE_CONFIG, "takes 255");
	text[255] = '\0';
	assert_int_equal(fixture_load(&f, image, sizeof(image)), 0);
	make_image(0x20f);
	text[255] = 'a';
	assert_int_equal(fixture_load(&f, image, sizeof(image)), 0);
	fixture_stop(&f);
}

static void refuses_what_it_cannot_boot(void **state)
{
	struct fixture f;

	(void)state;
	fixture_start(&f, 64 * MIB);
	make_image(0x201);
	fixture_refuses(&f, image, sizeof(image), EXIT_CODE_BAD_FILE, "2.4");
	make_image(0x20f);
	image[0x211] = 0; /* zImage */
	fixture_refuses(&f, image, sizeof(image), EXIT_CODE_BAD_FILE, "zImage");
	make_image(0x207);
	boot_put32(image + 0x214, 0); /* iPXE's .lkrn */
	fixture_refuses(&f, image, sizeof(image), EXIT_CODE_BAD_FILE, "real mode");
	make_image(0x20f);
	fixture_refuses(&f, image, KERNEL_AT, EXIT_CODE_BAD_FILE, "cut short");
	boot_put32(image + 0x230, 0x300000);
	fixture_refuses(&f, image, sizeof(image), EXIT_CODE_BAD_FILE, "alignment");
	boot_put32(image + 0x230, 0);
	fixture_refuses(&f, image, sizeof(image), EXIT_CODE_BAD_FILE, "alignment");
	make_image(0x20f);
	boot_put32(image + 0x260, 0xffffffff);
	fixture_refuses(&f, image, sizeof(image), EXIT_CODE_CONFIG, "too little memory");
	memset(image, 'x', sizeof(image));
	fixture_refuses(&f, image, sizeof(image), EXIT_CODE_BAD_FILE, "not a kernel");
	fixture_stop(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(enters_in_long_mode),
		cmocka_unit_test(enters_in_protected_mode),
		cmocka_unit_test(moves_down_when_memory_is_short),
		cmocka_unit_test(names_the_memory_it_needs),
		cmocka_unit_test(joins_initrds),
		cmocka_unit_test(refuses_an_initrd_without_room),
		cmocka_unit_test(limits_the_command_line),
		cmocka_unit_test(refuses_what_it_cannot_boot),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
