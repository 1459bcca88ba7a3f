/*
 * The flash memory of the board "pc" that holds UEFI's variables, below the ROM with its code.
 */
#ifndef BOARD_PC_FLASH_H
#define BOARD_PC_FLASH_H

#include "chip/cfi_flash.h"
#include "machine/machine.h"

#define PC_FLASH_BLOCK 4096

struct pc_flash {
	struct cfi_flash chip;
	struct machine *machine;
	struct guest_memory *memory;
	bool smm_only;             /* only processors in system management mode give commands */
	struct ram_region *region; /* NULL: there is none */
	gpa_t base;
	uint8_t *kept;       /* the caller's copy, which gets every change */
	uint32_t begin, end; /* what has changed since the guest last saw the array */
};

/* A flash memory with the `size` bytes of `kept`, whole blocks, that ends at `end`. Returns 0, or
 * fills `err`. */
int pc_flash_create(struct pc_flash *flash, struct machine *machine, uint8_t *kept, uint64_t size,
	gpa_t end, bool smm_only, struct error *err);

#endif
