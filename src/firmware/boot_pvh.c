/*
 * PVH: the entry that Xen defined for guests without firmware (Xen docs/misc/pvh.pandoc and
 * public/arch-x86/hvm/start_info.h, version 1). 32-bit protected mode, EBX points at the start
 * information. Linux, Xen, the BSDs and unikernels can be entered this way.
 */
#include "firmware/boot_elf.h"

#include <errno.h>
#include <stdlib.h>

#define NOTE_OWNER        "Xen"
#define NOTE_PHYS32_ENTRY 18

#define START_MAGIC 0x336ec578

struct start_info {
	uint32_t magic;
	uint32_t version;
	uint32_t flags;
	uint32_t nr_modules;
	uint64_t modules;
	uint64_t command_line;
	uint64_t rsdp;
	uint64_t memory_map;
	uint32_t nr_memory_map;
	uint32_t reserved;
};

struct start_module {
	uint64_t address;
	uint64_t size;
	uint64_t command_line;
	uint64_t reserved;
};

struct start_memory {
	uint64_t base;
	uint64_t size;
	uint32_t type;
	uint32_t reserved;
};

uint32_t boot_pvh_entry(const struct boot_image *image)
{
	struct boot_elf elf;
	const uint8_t *note;
	uint32_t size;

	if (boot_elf_open(&elf, image, NULL) < 0)
		return 0;
	note = boot_elf_note(&elf, image, NOTE_OWNER, NOTE_PHYS32_ENTRY, &size);
	return note && size >= 4 ? boot_get32(note) : 0;
}

static int place_module(struct boot *boot, const char *path, gpa_t kernel_end,
	struct start_module *module, struct error *err)
{
	struct boot_request request = {
		.alignment = GUEST_PAGE_SIZE,
		.min = BOOT_1MIB,
		.max = BOOT_4GIB,
		.direction = BOOT_HIGHEST,
	};
	struct boot_file file;
	int result = boot_file_open(&file, path, "the module", err);

	if (result < 0)
		goto out;
	/* An empty module still has a place. */
	request.size = file.size ? file.size : 1;
	module->size = file.size;
	module->address = boot_layout_place(&boot->layout, &request);
	if (!module->address)
		result = file.size > BOOT_4GIB
				 ? error_set(err, EXIT_CODE_BAD_FILE,
					   "%s is too large for a module, which "
					   "ends below 4 GiB",
					   path)
				 : boot_too_small(boot, path,
					   align_up(kernel_end, GUEST_PAGE_SIZE) + file.size, err);
	else
		result = boot_file_copy(&file, boot->memory, module->address, err);
out:
	boot_file_finish(&file);
	return result;
}

static int place_modules(
	struct boot *boot, gpa_t kernel_end, struct start_info *info, struct error *err)
{
	unsigned nr_modules = boot->config->nr_initrds;
	struct start_module *modules;
	int result = 0;

	if (nr_modules == 0)
		return 0;
	modules = calloc(nr_modules, sizeof(*modules));
	if (!modules)
		return error_set_errno(err, EXIT_CODE_HOST, ENOMEM, "cannot load modules");
	for (unsigned i = 0; i < nr_modules && result == 0; i++) {
		result = place_module(boot, boot->config->initrds[i], kernel_end, &modules[i], err);
		kernel_end += align_up(modules[i].size, GUEST_PAGE_SIZE);
	}
	if (result == 0)
		result = boot_place_bytes(boot, modules, nr_modules * sizeof(*modules), 8,
			"the module list", &info->modules, err);
	info->nr_modules = nr_modules;
	free(modules);
	return result;
}

static int place_memory_map(struct boot *boot, struct start_info *info, struct error *err)
{
	struct start_memory map[BOOT_MAX_MAP] = { 0 };

	for (unsigned i = 0; i < boot->layout.nr_map; i++) {
		map[i].base = boot->layout.map[i].base;
		map[i].size = boot->layout.map[i].size;
		map[i].type = boot->layout.map[i].type;
	}
	info->nr_memory_map = boot->layout.nr_map;
	return boot_place_bytes(boot, map, boot->layout.nr_map * sizeof(map[0]), 8,
		"the memory map", &info->memory_map, err);
}

int boot_pvh_load(
	struct boot *boot, const struct boot_image *image, uint32_t entry, struct error *err)
{
	const char *text = boot->config->command_line ? boot->config->command_line : "";
	struct start_info info = { .magic = START_MAGIC, .version = 1 };
	struct boot_elf elf;
	gpa_t kernel_end, address;
	int result = boot_elf_open(&elf, image, err);

	if (result == 0)
		result = boot_elf_load(boot, &elf, image, &kernel_end, err);
	if (result == 0)
		result = place_modules(boot, kernel_end, &info, err);
	if (result == 0)
		result = place_memory_map(boot, &info, err);
	if (result == 0)
		result = boot_place_bytes(boot, text, strlen(text) + 1, 16, "the command line",
			&info.command_line, err);
	info.rsdp = boot->config->rsdp;
	if (result == 0)
		result = boot_place_bytes(
			boot, &info, sizeof(info), 8, "the start information", &address, err);
	if (result < 0)
		return result;
	boot->cpu->gpr[X86_RBX] = address;
	return boot_enter_protected(boot, entry, err);
}
