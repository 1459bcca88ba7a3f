/*
 * Chooses the boot protocol of a kernel, and what all protocols need.
 */
#include "firmware/boot_elf.h"

#include <errno.h>

#define MIB (UINT64_C(1) << 20)

/* The BIOS data area, and the size in KiB at the start of the EBDA. */
#define BDA_EBDA_SEGMENT 0x40e
#define BDA_MEMORY_SIZE  0x413 /* KiB */
#define EBDA_SIZE        1

int boot_load(const struct boot_config *config, struct machine *machine, struct cpu_state *bsp,
	struct error *err)
{
	struct boot_image image;
	int result = boot_image_open(&image, config->kernel, err);

	if (result == 0)
		result = boot_load_image(config, &machine->memory, bsp, &image, err);
	boot_image_finish(&image);
	return result;
}

/* What kernels without a BIOS still look at to find the top of conventional memory. */
static void put_bios_data(struct guest_memory *memory)
{
	static const uint16_t segment = BOOT_EBDA >> 4, size = BOOT_EBDA >> 10;
	static const uint8_t ebda_size = EBDA_SIZE;

	if (!guest_memory_host(memory, 0, BOOT_EBDA + 1))
		return;
	guest_memory_write(memory, BDA_EBDA_SEGMENT, &segment, sizeof(segment));
	guest_memory_write(memory, BDA_MEMORY_SIZE, &size, sizeof(size));
	guest_memory_write(memory, BOOT_EBDA, &ebda_size, sizeof(ebda_size));
}

int boot_load_image(const struct boot_config *config, struct guest_memory *memory,
	struct cpu_state *bsp, const struct boot_image *image, struct error *err)
{
	struct boot boot = { .config = config, .memory = memory, .cpu = bsp };
	uint32_t pvh_entry;
	int result = boot_layout_init(&boot.layout, memory, config, err);

	if (result < 0)
		return result;
	put_bios_data(memory);
	if (boot_bzimage_detect(image))
		return boot_bzimage_load(&boot, image, err);
	if (boot_multiboot_detect(image))
		return boot_multiboot_load(&boot, image, err);
	if (!boot_elf_detect(image))
		return error_set(err, EXIT_CODE_BAD_FILE,
			"%s is not a kernel: give --kernel a Linux bzImage, an ELF kernel or a "
			"multiboot image",
			image->path);
	pvh_entry = boot_pvh_entry(image);
	if (pvh_entry)
		return boot_pvh_load(&boot, image, pvh_entry, err);
	return boot_vmlinux_load(&boot, image, err);
}

int boot_too_small(const struct boot *boot, const char *path, gpa_t end, struct error *err)
{
	(void)boot;
	return error_set(err, EXIT_CODE_CONFIG,
		"the guest has too little memory for %s: give it --memory %lluM or more", path,
		(unsigned long long)(align_up(end, MIB) / MIB));
}

int boot_place_bytes(struct boot *boot, const void *bytes, uint64_t size, uint64_t alignment,
	const char *what, gpa_t *address, struct error *err)
{
	struct boot_request request = {
		.size = size,
		.alignment = alignment,
		.min = BOOT_LOW_MIN,
		.max = BOOT_4GIB,
		.direction = BOOT_LOWEST,
	};

	*address = boot_layout_place(&boot->layout, &request);
	if (!*address)
		return error_set(err, EXIT_CODE_CONFIG,
			"the guest has too little memory for %s beside its kernel: give it more "
			"with --memory",
			what);
	if (guest_memory_write(boot->memory, *address, bytes, size) < 0)
		return -EFAULT;
	return 0;
}

/* One past the highest RAM below the hole for devices. */
static gpa_t end_of_low_memory(const struct guest_memory *memory)
{
	gpa_t end = 0;

	for (unsigned i = 0; i < memory->nr_regions; i++)
		if (ram_region_base(&memory->regions[i]) < BOOT_4GIB &&
			!memory->regions[i].movable && !memory->regions[i].device)
			end = ram_region_base(&memory->regions[i]) + memory->regions[i].size;
	return end;
}

int boot_claim_image(struct boot *boot, const struct boot_image *image, gpa_t base, uint64_t size,
	struct error *err)
{
	gpa_t low_end = end_of_low_memory(boot->memory);

	if (boot_layout_is_ram(&boot->layout, base, size)) {
		if (boot_layout_claim(&boot->layout, base, size))
			return 0;
		return error_set(err, EXIT_CODE_BAD_FILE,
			"%s is scattered over more than %u places in memory; link it into fewer "
			"segments",
			image->path, BOOT_MAX_CLAIMS);
	}
	/* RAM ends at a hole or at --memory; more --memory helps only in the latter case. */
	if (size <= BOOT_4GIB && base >= BOOT_1MIB && base + size > low_end &&
		base + size <= 0xc0000000 && low_end == boot->memory->end)
		return boot_too_small(boot, image->path, base + size, err);
	return error_set(err, EXIT_CODE_BAD_FILE,
		"%s wants to be loaded at 0x%llx (0x%llx bytes), where the guest has no free "
		"memory; use a kernel that is linked for a PC",
		image->path, (unsigned long long)base, (unsigned long long)size);
}
