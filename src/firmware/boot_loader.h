/*
 * What the loaders of the boot protocols share. Each takes an image in memory, so that it can be
 * fuzzed without files.
 */
#ifndef FIRMWARE_BOOT_LOADER_H
#define FIRMWARE_BOOT_LOADER_H

#include "firmware/boot_image.h"
#include "firmware/boot_layout.h"

struct boot {
	const struct boot_config *config;
	struct guest_memory *memory;
	struct boot_layout layout;
	struct cpu_state *cpu; /* the bootstrap processor */
};

/* boot_load without opening the kernel. */
int boot_load_image(const struct boot_config *config, struct guest_memory *memory,
	struct cpu_state *bsp, const struct boot_image *image, struct error *err);

bool boot_bzimage_detect(const struct boot_image *image);
int boot_bzimage_load(struct boot *boot, const struct boot_image *image, struct error *err);

bool boot_multiboot_detect(const struct boot_image *image);
int boot_multiboot_load(struct boot *boot, const struct boot_image *image, struct error *err);

/* The entry that a PVH kernel starts at, or 0 if the image asks for no PVH. */
uint32_t boot_pvh_entry(const struct boot_image *image);
int boot_pvh_load(
	struct boot *boot, const struct boot_image *image, uint32_t entry, struct error *err);

int boot_vmlinux_load(struct boot *boot, const struct boot_image *image, struct error *err);

/*
 * Places `size` bytes below 4 GiB and copies them there. `*address` is where. `what` is for the
 * message when there is no room.
 */
int boot_place_bytes(struct boot *boot, const void *bytes, uint64_t size, uint64_t alignment,
	const char *what, gpa_t *address, struct error *err);

/*
 * Claims RAM for [base, base + size) of the image, or explains why that cannot be, with the
 * --memory that would do.
 */
int boot_claim_image(struct boot *boot, const struct boot_image *image, gpa_t base, uint64_t size,
	struct error *err);

/* The refusal of a guest that does not fit; `end` is the lowest end of RAM that would do. */
int boot_too_small(const struct boot *boot, const char *path, gpa_t end, struct error *err);

/* How the processor starts: flat segments with the GDT in guest memory, interrupts off. */
int boot_enter_protected(struct boot *boot, gpa_t entry, struct error *err);
/* Long mode with the first 4 GiB mapped one to one. */
int boot_enter_long(struct boot *boot, gpa_t entry, struct error *err);

#endif
