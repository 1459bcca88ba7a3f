/*
 * Multiboot 0.6.96: kernels with a header in their first 8 KiB, ELF of either class or flat with
 * the addresses in the header. Entered in 32-bit protected mode with EBX at the information.
 *
 * A wish for a video mode is ignored. Not modelled: symbols, drives, the configuration table, APM,
 * VBE; their flags stay clear.
 */
#include "firmware/boot_elf.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define HEADER_MAGIC    0x1badb002
#define LOADER_MAGIC    0x2badb002
#define HEADER_SEARCH   8192
#define HEADER_SIZE     12
#define HEADER_SIZE_AUX 32 /* with the address fields */

#define WANTS_ALIGNED_MODULES BIT(0)
#define WANTS_MEMORY          BIT(1)
#define WANTS_VIDEO           BIT(2)
#define WANTS_REQUIRED        BITS(15, 0) /* what a loader must know or refuse */
#define WANTS_ADDRESSES       BIT(16)

#define HAS_MEMORY       BIT(0)
#define HAS_COMMAND_LINE BIT(2)
#define HAS_MODULES      BIT(3)
#define HAS_MAP          BIT(6)
#define HAS_LOADER_NAME  BIT(9)

struct header {
	uint64_t offset; /* in the file */
	uint32_t flags;
	uint32_t header_address, load_address, load_end, bss_end, entry;
};

struct multiboot_info {
	uint32_t flags;
	uint32_t memory_lower, memory_upper; /* KiB */
	uint32_t boot_device;
	uint32_t command_line;
	uint32_t nr_modules, modules;
	uint32_t symbols[4];
	uint32_t map_size, map;
	uint32_t drives_size, drives;
	uint32_t configuration;
	uint32_t loader_name;
	uint32_t apm;
	uint32_t vbe[4];
};

struct multiboot_module {
	uint32_t start, end;
	uint32_t string;
	uint32_t reserved;
};

struct multiboot_map {
	uint32_t size; /* of the rest */
	uint64_t base;
	uint64_t length;
	uint32_t type;
} __attribute__((packed));

static bool find_header(const struct boot_image *image, struct header *header)
{
	for (uint64_t offset = 0;
		offset < HEADER_SEARCH && boot_image_has(image, offset, HEADER_SIZE); offset += 4) {
		const uint8_t *bytes = image->bytes + offset;
		uint32_t flags = boot_get32(bytes + 4);

		if (boot_get32(bytes) != HEADER_MAGIC ||
			HEADER_MAGIC + flags + boot_get32(bytes + 8) != 0)
			continue;
		*header = (struct header){ .offset = offset, .flags = flags };
		if (flags & WANTS_ADDRESSES) {
			if (!boot_image_has(image, offset, HEADER_SIZE_AUX))
				return false;
			header->header_address = boot_get32(bytes + 12);
			header->load_address = boot_get32(bytes + 16);
			header->load_end = boot_get32(bytes + 20);
			header->bss_end = boot_get32(bytes + 24);
			header->entry = boot_get32(bytes + 28);
		}
		return true;
	}
	return false;
}

bool boot_multiboot_detect(const struct boot_image *image)
{
	struct header header;

	return find_header(image, &header);
}

static int load_flat(struct boot *boot, const struct boot_image *image, const struct header *header,
	gpa_t *end, struct error *err)
{
	uint64_t before = (uint64_t)header->header_address - header->load_address;
	uint64_t offset = header->offset - before;
	uint64_t file_size, memory_size;

	if (header->header_address < header->load_address || before > header->offset)
		goto damaged;
	file_size = image->size - offset;
	if (header->load_end) {
		if (header->load_end < header->load_address ||
			header->load_end - header->load_address > file_size)
			goto damaged;
		file_size = header->load_end - header->load_address;
	}
	memory_size = file_size;
	if (header->bss_end) {
		if (header->bss_end < header->load_address + file_size)
			goto damaged;
		memory_size = header->bss_end - header->load_address;
	}
	if (boot_claim_image(boot, image, header->load_address, memory_size, err) < 0)
		return -EINVAL;
	*end = header->load_address + memory_size;
	if (boot_image_copy(image, offset, file_size, boot->memory, header->load_address, err) < 0)
		return -EINVAL;
	return boot_zero(boot->memory, header->load_address + file_size, memory_size - file_size);
damaged:
	return error_set(err, EXIT_CODE_BAD_FILE,
		"%s is damaged: the addresses in its multiboot header do not fit the file; copy "
		"it again",
		image->path);
}

static int load_elf(struct boot *boot, const struct boot_image *image, gpa_t *entry, gpa_t *end,
	struct error *err)
{
	struct boot_elf elf;
	int result;

	if (!boot_elf_detect(image))
		return error_set(err, EXIT_CODE_BAD_FILE,
			"%s has a multiboot header without addresses, but is not an ELF file; "
			"use an ELF kernel",
			image->path);
	result = boot_elf_open(&elf, image, err);
	if (result == 0)
		result = boot_elf_load(boot, &elf, image, end, err);
	if (result == 0)
		*entry = boot_elf_entry(&elf, image);
	if (result == 0 && *entry >= BOOT_4GIB)
		result = error_set(err, EXIT_CODE_BAD_FILE,
			"%s starts above 4 GiB, which multiboot cannot reach; link it lower",
			image->path);
	return result;
}

static int place_string(struct boot *boot, const char *first, const char *rest, const char *what,
	uint32_t *address, struct error *err)
{
	size_t size = strlen(first) + strlen(rest) + 2;
	char *text = malloc(size);
	gpa_t placed = 0;
	int result;

	if (!text)
		return error_set_errno(err, EXIT_CODE_HOST, ENOMEM, "cannot place %s", what);
	snprintf(text, size, "%s%s%s", first, *first && *rest ? " " : "", rest);
	result = boot_place_bytes(boot, text, strlen(text) + 1, 1, what, &placed, err);
	*address = (uint32_t)placed;
	free(text);
	return result;
}

/* Modules follow the kernel, page-aligned whether or not it asks for that. */
static int place_module(struct boot *boot, const char *path, gpa_t kernel_end,
	struct multiboot_module *module, struct error *err)
{
	struct boot_request request = {
		.alignment = GUEST_PAGE_SIZE,
		.min = align_up(kernel_end > BOOT_1MIB ? kernel_end : BOOT_1MIB, GUEST_PAGE_SIZE),
		.max = BOOT_4GIB,
		.direction = BOOT_LOWEST,
	};
	struct boot_file file;
	gpa_t address;
	int result = boot_file_open(&file, path, "the module", err);

	if (result < 0)
		goto out;
	request.size = file.size ? file.size : 1;
	address = boot_layout_place(&boot->layout, &request);
	if (!address && file.size > BOOT_4GIB - request.min)
		result = error_set(err, EXIT_CODE_BAD_FILE,
			"%s is too large for a module, which ends below 4 GiB", path);
	else if (!address)
		result = boot_too_small(boot, path, request.min + file.size, err);
	else
		result = boot_file_copy(&file, boot->memory, address, err);
	module->start = (uint32_t)address;
	module->end = (uint32_t)(address + file.size);
out:
	boot_file_finish(&file);
	return result;
}

static int place_modules(
	struct boot *boot, gpa_t kernel_end, struct multiboot_info *info, struct error *err)
{
	unsigned nr_modules = boot->config->nr_initrds;
	struct multiboot_module *modules;
	gpa_t list = 0;
	int result = 0;

	if (nr_modules == 0)
		return 0;
	modules = calloc(nr_modules, sizeof(*modules));
	if (!modules)
		return error_set_errno(err, EXIT_CODE_HOST, ENOMEM, "cannot load modules");
	for (unsigned i = 0; i < nr_modules && result == 0; i++) {
		const char *string = boot->config->initrds[i];
		char *path = strndup(string, strcspn(string, " "));

		if (!path)
			result =
				error_set_errno(err, EXIT_CODE_HOST, ENOMEM, "cannot load modules");
		else
			result = place_module(boot, path, kernel_end, &modules[i], err);
		free(path);
		if (result == 0)
			kernel_end = align_up(modules[i].end, GUEST_PAGE_SIZE);
		if (result == 0)
			result = place_string(
				boot, string, "", "a module's string", &modules[i].string, err);
	}
	if (result == 0)
		result = boot_place_bytes(boot, modules, nr_modules * sizeof(*modules), 16,
			"the module list", &list, err);
	info->flags |= HAS_MODULES;
	info->nr_modules = nr_modules;
	info->modules = (uint32_t)list;
	free(modules);
	return result;
}

static int place_memory_map(struct boot *boot, struct multiboot_info *info, struct error *err)
{
	struct multiboot_map map[BOOT_MAX_MAP] = { 0 };
	gpa_t address;
	int result;

	for (unsigned i = 0; i < boot->layout.nr_map; i++) {
		const struct boot_range *range = &boot->layout.map[i];

		map[i].size = sizeof(map[i]) - sizeof(map[i].size);
		map[i].base = range->base;
		map[i].length = range->size;
		map[i].type = range->type;
		if (range->type == BOOT_MEMORY_RAM && range->base == 0)
			info->memory_lower = (uint32_t)(range->size >> 10);
		if (range->type == BOOT_MEMORY_RAM && range->base == BOOT_1MIB)
			info->memory_upper = (uint32_t)(range->size >> 10);
	}
	info->map_size = boot->layout.nr_map * sizeof(map[0]);
	result = boot_place_bytes(boot, map, info->map_size, 8, "the memory map", &address, err);
	info->map = (uint32_t)address;
	info->flags |= HAS_MEMORY | HAS_MAP;
	return result;
}

static int place_information(
	struct boot *boot, const struct boot_image *image, gpa_t kernel_end, struct error *err)
{
	const char *command_line = boot->config->command_line ? boot->config->command_line : "";
	struct multiboot_info info = { .flags = HAS_COMMAND_LINE | HAS_LOADER_NAME };
	gpa_t address;
	int result = place_modules(boot, kernel_end, &info, err);

	if (result == 0)
		result = place_memory_map(boot, &info, err);
	/* As GRUB does: the kernel's name comes first. */
	if (result == 0)
		result = place_string(boot, image->path, command_line, "the command line",
			&info.command_line, err);
	if (result == 0)
		result = place_string(
			boot, "atoll", "", "the loader's name", &info.loader_name, err);
	if (result == 0)
		result = boot_place_bytes(
			boot, &info, sizeof(info), 8, "the multiboot information", &address, err);
	if (result < 0)
		return result;
	boot->cpu->gpr[X86_RAX] = LOADER_MAGIC;
	boot->cpu->gpr[X86_RBX] = address;
	return 0;
}

int boot_multiboot_load(struct boot *boot, const struct boot_image *image, struct error *err)
{
	static const uint32_t known = WANTS_ALIGNED_MODULES | WANTS_MEMORY | WANTS_VIDEO;
	struct header header = { 0 };
	gpa_t entry = 0, end = 0;
	int result;

	find_header(image, &header);
	if (header.flags & WANTS_REQUIRED & ~known)
		return error_set(err, EXIT_CODE_BAD_FILE,
			"%s asks for multiboot features 0x%x that do not exist; use a multiboot 1 "
			"kernel",
			image->path, (unsigned)(header.flags & WANTS_REQUIRED & ~known));
	if (header.flags & WANTS_ADDRESSES) {
		entry = header.entry;
		result = load_flat(boot, image, &header, &end, err);
	} else {
		result = load_elf(boot, image, &entry, &end, err);
	}
	if (result == 0)
		result = place_information(boot, image, end, err);
	return result < 0 ? result : boot_enter_protected(boot, entry, err);
}
