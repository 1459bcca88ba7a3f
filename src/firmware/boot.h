/*
 * Boot without firmware: puts a kernel and what belongs to it into guest memory and sets the
 * bootstrap processor to where the kernel's boot protocol starts.
 *
 * What a file is, is decided in this order, so that a file that is several things always boots the
 * same way:
 *  1. a Linux bzImage ("HdrS" at 0x202): Linux boot protocol 2.02 or later, 64-bit entry if the
 *     kernel has one, else 32-bit entry;
 *  2. a multiboot 1 header in the first 8 KiB: ELF, or flat with the header's address fields;
 *  3. an ELF file with the note XEN_ELFNOTE_PHYS32_ENTRY: PVH;
 *  4. any other ELF executable: taken as Linux's vmlinux, 64-bit entry for ELF64, 32-bit for ELF32.
 *
 * The files are hostile: whatever they hold, the result is a loaded guest or an error.
 */
#ifndef FIRMWARE_BOOT_H
#define FIRMWARE_BOOT_H

#include "machine/machine.h"
#include "x86/cpu_state.h"

/* Types of memory as E820, PVH and multiboot number them (ACPI 6.4, chapter 15). */
enum boot_memory_type {
	BOOT_MEMORY_RAM = 1,
	BOOT_MEMORY_RESERVED = 2,
	BOOT_MEMORY_ACPI = 3,
	BOOT_MEMORY_NVS = 4,
};

struct boot_range {
	gpa_t base;
	uint64_t size; /* bytes */
	enum boot_memory_type type;
};

struct boot_config {
	const char *kernel; /* path */
	/*
	 * Paths. Linux and PVH get the files, the former as one initrd. For multiboot each is a
	 * module: a path, then, after a space, what the module's string adds to it.
	 */
	const char *const *initrds;
	unsigned nr_initrds;
	const char *command_line; /* NULL: empty */
	bool prefer_32bit; /* the processor has no long mode, or the user wants the other entry */
	gpa_t rsdp;        /* 0: no ACPI */
	/*
	 * RAM that the kernel must not take for free, beyond the EBDA and the BIOS area up to 1
	 * MiB, which always are reserved. Nothing is loaded there.
	 */
	const struct boot_range *reserved;
	unsigned nr_reserved;
};

/*
 * Loads, and sets up `*bsp`, which must be in reset state; the other processors stay as they are
 * after reset. May be called again for a reset machine. Returns 0, or fills `err`.
 */
int boot_load(const struct boot_config *config, struct machine *machine, struct cpu_state *bsp,
	struct error *err);

#endif
