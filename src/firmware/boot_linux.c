/*
 * What bzImage and vmlinux have in common: command line, initrd, memory map, zero page.
 *
 * Several initrds become one, each padded to four bytes, as the kernel's unpacker wants them. The
 * initrd lies as high as the kernel lets it, where nothing that unpacks itself can reach.
 */
#include "firmware/boot_linux.h"

#include <errno.h>
#include <stdlib.h>

#define INITRD_PADDING 4

static int put_command_line(
	struct boot *boot, uint8_t *params, const struct linux_limits *limits, struct error *err)
{
	const char *text = boot->config->command_line ? boot->config->command_line : "";
	size_t length = strlen(text);
	gpa_t address;
	int result;

	if (length > limits->command_line)
		return error_set(err, EXIT_CODE_CONFIG,
			"the command line has %zu characters and this kernel takes %llu; shorten "
			"--append",
			length, (unsigned long long)limits->command_line);
	result = boot_place_bytes(boot, text, length + 1, 16, "the command line", &address, err);
	boot_put32(params + LINUX_CMD_LINE_PTR, (uint32_t)address);
	return result;
}

static int copy_initrds(
	struct boot *boot, const struct boot_file *files, gpa_t address, struct error *err)
{
	static const uint8_t padding[INITRD_PADDING];
	int result = 0;

	for (unsigned i = 0; i < boot->config->nr_initrds && result == 0; i++) {
		uint64_t padded = align_up(files[i].size, INITRD_PADDING);

		result = boot_file_copy(&files[i], boot->memory, address, err);
		if (result == 0 && padded > files[i].size)
			result = guest_memory_write(boot->memory, address + files[i].size, padding,
				padded - files[i].size);
		address += padded;
	}
	return result;
}

static int place_initrds(struct boot *boot, const struct boot_image *image, uint8_t *params,
	const struct linux_limits *limits, const struct boot_file *files, struct error *err)
{
	struct boot_request request = {
		.alignment = GUEST_PAGE_SIZE,
		.min = BOOT_1MIB,
		.max = limits->initrd_max + 1,
		.direction = BOOT_HIGHEST,
	};
	gpa_t address;

	for (unsigned i = 0; i < boot->config->nr_initrds; i++) {
		if (files[i].size > BOOT_4GIB - request.size - INITRD_PADDING)
			return error_set(err, EXIT_CODE_BAD_FILE,
				"%s is too large for an initrd, which ends below 4 GiB",
				files[i].path);
		request.size += align_up(files[i].size, INITRD_PADDING);
	}
	if (request.size == 0)
		return 0;
	address = boot_layout_place(&boot->layout, &request);
	if (!address) {
		uint64_t end = align_up(limits->kernel_end, GUEST_PAGE_SIZE) +
			       align_up(request.size, GUEST_PAGE_SIZE);

		if (end > limits->initrd_max || end <= boot->memory->end)
			return error_set(err, EXIT_CODE_CONFIG,
				"the initrd has %llu MiB, for which %s has no room below 0x%llx; "
				"use a smaller one",
				(unsigned long long)(request.size >> 20), image->path,
				(unsigned long long)limits->initrd_max);
		return boot_too_small(boot, "the kernel and its initrd", end, err);
	}
	boot_put32(params + LINUX_RAMDISK_IMAGE, (uint32_t)address);
	boot_put32(params + LINUX_RAMDISK_SIZE, (uint32_t)request.size);
	return copy_initrds(boot, files, address, err);
}

static int put_initrds(struct boot *boot, const struct boot_image *image, uint8_t *params,
	const struct linux_limits *limits, struct error *err)
{
	const struct boot_config *config = boot->config;
	struct boot_file *files;
	unsigned opened = 0;
	int result = 0;

	if (config->nr_initrds == 0)
		return 0;
	files = calloc(config->nr_initrds, sizeof(*files));
	if (!files)
		return error_set_errno(err, EXIT_CODE_HOST, ENOMEM, "cannot read the initrd");
	while (opened < config->nr_initrds && result == 0) {
		result = boot_file_open(&files[opened], config->initrds[opened], "the initrd", err);
		opened++;
	}
	if (result == 0)
		result = place_initrds(boot, image, params, limits, files, err);
	while (opened > 0)
		boot_file_finish(&files[--opened]);
	free(files);
	return result;
}

static void put_memory_map(const struct boot_layout *layout, uint8_t *params)
{
	uint8_t *entry = params + LINUX_E820_TABLE;

	_Static_assert(BOOT_MAX_MAP <= LINUX_E820_MAX, "the zero page holds every map");
	for (unsigned i = 0; i < layout->nr_map; i++, entry += LINUX_E820_SIZE) {
		boot_put64(entry, layout->map[i].base);
		boot_put64(entry + 8, layout->map[i].size);
		boot_put32(entry + 16, layout->map[i].type);
	}
	params[LINUX_E820_ENTRIES] = (uint8_t)layout->nr_map;
}

int boot_linux_finish(struct boot *boot, const struct boot_image *image,
	uint8_t params[LINUX_PARAMS_SIZE], const struct linux_limits *limits, struct error *err)
{
	gpa_t address;
	int result;

	params[LINUX_LOADER_TYPE] = LINUX_LOADER_UNDEFINED;
	boot_put64(params + LINUX_RSDP, boot->config->rsdp);
	put_memory_map(&boot->layout, params);
	result = put_command_line(boot, params, limits, err);
	if (result == 0)
		result = put_initrds(boot, image, params, limits, err);
	if (result == 0)
		result = boot_place_bytes(boot, params, LINUX_PARAMS_SIZE, GUEST_PAGE_SIZE,
			"boot parameters", &address, err);
	if (result < 0)
		return result;
	boot->cpu->gpr[X86_RSI] = address;
	return 0;
}
