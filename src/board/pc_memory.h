/*
 * The memory of the board "pc": RAM, the firmware's ROM, and the part below 1 MiB that the chipset
 * switches between the two.
 */
#ifndef BOARD_PC_MEMORY_H
#define BOARD_PC_MEMORY_H

#include "machine/machine.h"

#define PC_NR_SEGMENTS 13 /* of 16 KiB from 0xc0000, the last of 64 KiB at 0xf0000 */
#define PC_NR_PAM      7
#define PC_NR_SHADOWS  5 /* segments where the end of the ROM shows through: from 0xe0000 */

#define PC_HIGH_BASE UINT64_C(0x100000000)

/* What TSEG may take of the end of RAM below 4 GiB, in parts that are switched each. */
#define PC_TSEG_MAX      (UINT64_C(16) << 20)
#define PC_NR_TSEG_PARTS 4

struct pc_memory {
	struct machine *machine;
	struct ram_region *window; /* RAM beneath the VGA's, at 0xa0000 */
	struct ram_region *segments[PC_NR_SEGMENTS];
	struct ram_region *tseg[PC_NR_TSEG_PARTS]; /* from the end down; NULL: no SMM */
	gpa_t low_end;
	struct ram_region *rom;
	struct ram_region *shadows[PC_NR_SHADOWS]; /* the end of the ROM; NULL: no firmware */
	uint8_t pam[PC_NR_PAM];
};

/* RAM up to `low_end`, and the rest of `bytes` from 4 GiB on; with `smm` there can be a TSEG. */
int pc_memory_create(struct pc_memory *memory, struct machine *machine, uint64_t bytes,
	uint64_t low_end, bool smm, struct error *err);

/* ROM of whole pages that ends at 4 GiB, with its last 128 KiB below 1 MiB too. */
int pc_memory_add_rom(
	struct pc_memory *memory, const void *bytes, uint64_t size, struct error *err);

/* The chipset's registers as they are now; a bit pair for each segment: 1 read, 2 write. */
void pc_memory_set_pam(struct pc_memory *memory, const uint8_t pam[PC_NR_PAM]);
/* What the RAM at 0xa0000 is: instead of the VGA's memory, to SMM alone, or beneath. */
void pc_memory_set_window(struct pc_memory *memory, enum ram_kind kind);
/* The last 0, 1, 2, 8 or 16 MiB of RAM below 4 GiB are SMM's. */
void pc_memory_set_tseg(struct pc_memory *memory, uint64_t bytes);

#endif
