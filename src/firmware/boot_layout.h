/*
 * Who has which part of guest RAM while a guest is being loaded, and the memory map for the guest.
 */
#ifndef FIRMWARE_BOOT_LAYOUT_H
#define FIRMWARE_BOOT_LAYOUT_H

#include "base/bits.h"
#include "firmware/boot.h"

#define BOOT_MAX_MAP    32
#define BOOT_MAX_CLAIMS 64

/* The EBDA, video memory and the BIOS area of a PC: RAM that no operating system uses as such. */
#define BOOT_EBDA    0x9fc00
#define BOOT_1MIB    0x100000
#define BOOT_LOW_MIN 0x1000 /* below are the real-mode vectors and the BIOS data area */
#define BOOT_4GIB    UINT64_C(0x100000000)

struct boot_layout {
	const struct guest_memory *memory;
	struct boot_range map[BOOT_MAX_MAP]; /* ascending, disjoint */
	unsigned nr_map;
	struct boot_range claims[BOOT_MAX_CLAIMS]; /* disjoint; type unused */
	unsigned nr_claims;
};

enum boot_direction { BOOT_LOWEST, BOOT_HIGHEST };

/* What an image asks for: `size` bytes inside [min, max), aligned to a power of two. */
struct boot_request {
	uint64_t size;
	uint64_t alignment;
	gpa_t min, max;
	enum boot_direction direction;
};

/* Builds the map from the machine's RAM and the reserved ranges. */
int boot_layout_init(struct boot_layout *layout, const struct guest_memory *memory,
	const struct boot_config *config, struct error *err);

/* True if [base, base + size) is RAM that the map gives to the guest, in one piece. */
bool boot_layout_is_ram(const struct boot_layout *layout, gpa_t base, uint64_t size);

/* True if no claim touches the range. */
bool boot_layout_is_free(const struct boot_layout *layout, gpa_t base, uint64_t size);

/* Marks a range as taken; ranges may overlap. False if there are too many. */
bool boot_layout_claim(struct boot_layout *layout, gpa_t base, uint64_t size);

/* Finds and claims free RAM. Returns its address, or 0 if there is none. */
gpa_t boot_layout_place(struct boot_layout *layout, const struct boot_request *request);

#endif
