/*
 * ELF executables as kernels: segments by physical address, and notes.
 */
#ifndef FIRMWARE_BOOT_ELF_H
#define FIRMWARE_BOOT_ELF_H

#include "firmware/boot_loader.h"

struct boot_elf {
	bool is_64;
	uint64_t entry; /* as the header says, maybe virtual */
	uint64_t segments_offset;
	uint16_t segment_size;
	uint16_t nr_segments;
};

struct boot_elf_segment {
	uint32_t type;
	uint64_t offset;
	uint64_t virtual_address;
	uint64_t physical_address;
	uint64_t file_size;
	uint64_t memory_size;
};

/* True if the image starts as an ELF file does. */
bool boot_elf_detect(const struct boot_image *image);

/* Reads the header of an x86 executable; every segment header is then inside the image. */
int boot_elf_open(struct boot_elf *elf, const struct boot_image *image, struct error *err);

void boot_elf_segment(const struct boot_elf *elf, const struct boot_image *image, unsigned index,
	struct boot_elf_segment *segment);

/* Loads every PT_LOAD segment at its physical address. `*end` is one past the highest byte. */
int boot_elf_load(struct boot *boot, const struct boot_elf *elf, const struct boot_image *image,
	gpa_t *end, struct error *err);

/* The physical address of the entry: many kernels give a virtual one. */
gpa_t boot_elf_entry(const struct boot_elf *elf, const struct boot_image *image);

/* The first note of that owner and type: its bytes in the image, or NULL. */
const uint8_t *boot_elf_note(const struct boot_elf *elf, const struct boot_image *image,
	const char *owner, uint32_t type, uint32_t *size);

#endif
