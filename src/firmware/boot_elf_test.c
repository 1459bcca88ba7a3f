#include "firmware/boot_fixture.h"

#include <elf.h>

#define CODE_AT   0x200
#define CODE_SIZE 0x100
#define NOTE_AT   0x100
#define LOAD      0x200000
#define ENTRY     (LOAD + 0x10)

static uint8_t image[CODE_AT + CODE_SIZE];

static void make_elf64(void)
{
	Elf64_Ehdr header = {
		.e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT },
		.e_type = ET_EXEC,
		.e_machine = EM_X86_64,
		.e_entry = ENTRY,
		.e_phoff = sizeof(header),
		.e_phentsize = sizeof(Elf64_Phdr),
		.e_phnum = 1,
	};
	Elf64_Phdr load = {
		.p_type = PT_LOAD,
		.p_offset = CODE_AT,
		.p_vaddr = UINT64_C(0xffffffff80000000) + LOAD,
		.p_paddr = LOAD,
		.p_filesz = CODE_SIZE,
		.p_memsz = 0x3000,
	};

	memset(image, 0, sizeof(image));
	memcpy(image, &header, sizeof(header));
	memcpy(image + sizeof(header), &load, sizeof(load));
	memset(image + CODE_AT, 0x90, CODE_SIZE);
}

static void make_elf32(void)
{
	Elf32_Ehdr header = {
		.e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS32, ELFDATA2LSB, EV_CURRENT },
		.e_type = ET_EXEC,
		.e_machine = EM_386,
		.e_entry = ENTRY,
		.e_phoff = sizeof(header),
		.e_phentsize = sizeof(Elf32_Phdr),
		.e_phnum = 1,
	};
	Elf32_Phdr load = {
		.p_type = PT_LOAD,
		.p_offset = CODE_AT,
		.p_vaddr = LOAD,
		.p_paddr = LOAD,
		.p_filesz = CODE_SIZE,
		.p_memsz = CODE_SIZE,
	};

	memset(image, 0, sizeof(image));
	memcpy(image, &header, sizeof(header));
	memcpy(image + sizeof(header), &load, sizeof(load));
}

/* A second segment: the note that gives the PVH entry, after one of another owner. */
static void add_pvh_note(uint32_t entry)
{
	Elf64_Ehdr header;
	Elf64_Phdr note = { .p_type = PT_NOTE, .p_offset = NOTE_AT, .p_filesz = 40 };
	uint8_t *bytes = image + NOTE_AT;

	memcpy(&header, image, sizeof(header));
	header.e_phnum = 2;
	memcpy(image, &header, sizeof(header));
	memcpy(image + sizeof(header) + sizeof(Elf64_Phdr), &note, sizeof(note));
	boot_put32(bytes, 4);
	boot_put32(bytes + 4, 3);
	boot_put32(bytes + 8, 18);
	memcpy(bytes + 12, "GNU", 4);
	memcpy(bytes + 16, "abc", 4);
	boot_put32(bytes + 20, 4);
	boot_put32(bytes + 24, 4);
	boot_put32(bytes + 28, 18); /* XEN_ELFNOTE_PHYS32_ENTRY */
	memcpy(bytes + 32, "Xen", 4);
	boot_put32(bytes + 36, entry);
}

static void loads_vmlinux_of_64_bits(void **state)
{
	struct fixture f;

	(void)state;
	fixture_start(&f, 64 * MIB);
	f.config.command_line = "quiet";
	make_elf64();
	/* What was there before is gone where the segment has no file bytes. */
	memset(guest_memory_host(&f.memory, LOAD, 0x4000), 0xee, 0x4000);
	assert_int_equal(fixture_load(&f, image, sizeof(image)), 0);
	assert_int_equal(f.cpu.rip, ENTRY);
	assert_int_equal(f.cpu.efer, EFER_LME | EFER_LMA);
	assert_int_equal(fixture_get32(&f, LOAD), 0x90909090);
	assert_int_equal(fixture_get32(&f, LOAD + CODE_SIZE), 0);
	assert_int_equal(fixture_get32(&f, LOAD + 0x2ffc), 0);
	assert_int_equal(fixture_get32(&f, LOAD + 0x3000), 0xeeeeeeee);
	/* The zero page is as valid as one from a bzImage. */
	assert_int_equal(fixture_get32(&f, f.cpu.gpr[X86_RSI] + 0x202), 0x53726448);
	assert_string_equal(
		(const char *)fixture_at(&f, fixture_get32(&f, f.cpu.gpr[X86_RSI] + 0x228), 6),
		"quiet");

	f.config.prefer_32bit = true;
	fixture_refuses(&f, image, sizeof(image), EXIT_CODE_CONFIG, "64-bit kernel");
	fixture_stop(&f);
}

static void translates_a_virtual_entry(void **state)
{
	struct fixture f;
	Elf64_Ehdr header;

	(void)state;
	fixture_start(&f, 64 * MIB);
	make_elf64();
	memcpy(&header, image, sizeof(header));
	header.e_entry += UINT64_C(0xffffffff80000000);
	memcpy(image, &header, sizeof(header));
	assert_int_equal(fixture_load(&f, image, sizeof(image)), 0);
	assert_int_equal(f.cpu.rip, ENTRY);
	fixture_stop(&f);
}

static void loads_vmlinux_of_32_bits(void **state)
{
	struct fixture f;

	(void)state;
	fixture_start(&f, 64 * MIB);
	make_elf32();
	assert_int_equal(fixture_load(&f, image, sizeof(image)), 0);
	assert_flat_protected_mode(&f.cpu);
	assert_int_equal(f.cpu.rip, ENTRY);
	fixture_stop(&f);
}

static void enters_by_pvh(void **state)
{
	struct fixture f;
	char *path = fixture_file("module", 6);
	const char *paths[] = { path };
	gpa_t info, list;

	(void)state;
	fixture_start(&f, 64 * MIB);
	f.config.command_line = "pvh";
	f.config.rsdp = 0xe0000;
	f.config.initrds = paths;
	f.config.nr_initrds = 1;
	make_elf64();
	add_pvh_note(LOAD + 0x40);
	assert_int_equal(fixture_load(&f, image, sizeof(image)), 0);
	assert_flat_protected_mode(&f.cpu);
	assert_int_equal(f.cpu.rip, LOAD + 0x40);

	/* struct hvm_start_info */
	info = f.cpu.gpr[X86_RBX];
	assert_int_equal(fixture_get32(&f, info), 0x336ec578);
	assert_int_equal(fixture_get32(&f, info + 4), 1);
	assert_int_equal(fixture_get32(&f, info + 12), 1);
	list = fixture_get64(&f, info + 16);
	assert_int_equal(fixture_get64(&f, list + 8), 6);
	assert_memory_equal(fixture_at(&f, fixture_get64(&f, list), 6), "module", 6);
	assert_string_equal((const char *)fixture_at(&f, fixture_get64(&f, info + 24), 4), "pvh");
	assert_int_equal(fixture_get64(&f, info + 32), 0xe0000);
	list = fixture_get64(&f, info + 40);
	assert_int_equal(fixture_get32(&f, info + 48), 3);
	assert_int_equal(fixture_get64(&f, list + 48), 0x100000);
	assert_int_equal(fixture_get64(&f, list + 56), 63 * MIB);
	assert_int_equal(fixture_get32(&f, list + 64), 1);
	fixture_stop(&f);
	unlink(path);
	free(path);
}

static void ignores_broken_notes(void **state)
{
	struct fixture f;

	(void)state;
	fixture_start(&f, 64 * MIB);
	make_elf64();
	add_pvh_note(LOAD);
	boot_put32(image + NOTE_AT, 0xffffffff);
	assert_int_equal(fixture_load(&f, image, sizeof(image)), 0);
	assert_int_equal(f.cpu.efer, EFER_LME | EFER_LMA); /* no PVH: vmlinux */
	fixture_stop(&f);
}

static void refuses_overlapping_segments(void **state)
{
	struct fixture f;
	Elf64_Phdr load;
	uint8_t *segments = image + sizeof(Elf64_Ehdr);

	(void)state;
	fixture_start(&f, 64 * MIB);
	make_elf64();
	add_pvh_note(LOAD);
	memcpy(&load, segments, sizeof(load));
	load.p_paddr += load.p_memsz - 1;
	memcpy(segments + sizeof(load), &load, sizeof(load));
	fixture_refuses(&f, image, sizeof(image), EXIT_CODE_BAD_FILE, "overlap");
	load.p_paddr++;
	memcpy(segments + sizeof(load), &load, sizeof(load));
	assert_int_equal(fixture_load(&f, image, sizeof(image)), 0);
	fixture_stop(&f);
}

static void refuses_damaged_files(void **state)
{
	struct fixture f;
	Elf64_Phdr load;
	uint8_t *segment = image + sizeof(Elf64_Ehdr);

	(void)state;
	fixture_start(&f, 64 * MIB);
	make_elf64();
	fixture_refuses(&f, image, 40, EXIT_CODE_BAD_FILE, "cut short");
	fixture_refuses(&f, image, 70, EXIT_CODE_BAD_FILE, "program headers");
	fixture_refuses(&f, image, CODE_AT + 1, EXIT_CODE_BAD_FILE, "outside of the file");
	image[18] = EM_ARM;
	fixture_refuses(&f, image, sizeof(image), EXIT_CODE_BAD_FILE, "another processor");

	make_elf64();
	memcpy(&load, segment, sizeof(load));
	load.p_type = PT_NULL;
	memcpy(segment, &load, sizeof(load));
	fixture_refuses(&f, image, sizeof(image), EXIT_CODE_BAD_FILE, "nothing to load");
	load.p_type = PT_LOAD;
	load.p_memsz = 1;
	memcpy(segment, &load, sizeof(load));
	fixture_refuses(&f, image, sizeof(image), EXIT_CODE_BAD_FILE, "outside of the file");
	load.p_memsz = UINT64_MAX;
	memcpy(segment, &load, sizeof(load));
	fixture_refuses(&f, image, sizeof(image), EXIT_CODE_BAD_FILE, "no free memory");
	load.p_memsz = 100 * MIB;
	memcpy(segment, &load, sizeof(load));
	fixture_refuses(&f, image, sizeof(image), EXIT_CODE_CONFIG, "--memory 102M");
	load.p_memsz = CODE_SIZE;
	load.p_paddr = 0xa0000; /* not for an operating system */
	memcpy(segment, &load, sizeof(load));
	fixture_refuses(&f, image, sizeof(image), EXIT_CODE_BAD_FILE, "0xa0000");
	load.p_paddr = UINT64_MAX - 8;
	memcpy(segment, &load, sizeof(load));
	fixture_refuses(&f, image, sizeof(image), EXIT_CODE_BAD_FILE, "no free memory");
	fixture_stop(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(loads_vmlinux_of_64_bits),
		cmocka_unit_test(translates_a_virtual_entry),
		cmocka_unit_test(loads_vmlinux_of_32_bits),
		cmocka_unit_test(enters_by_pvh),
		cmocka_unit_test(ignores_broken_notes),
		cmocka_unit_test(refuses_overlapping_segments),
		cmocka_unit_test(refuses_damaged_files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
