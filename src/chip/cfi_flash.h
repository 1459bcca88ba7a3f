/*
 * A flash memory of 8 bits with Intel's basic command set, as it holds the variables of UEFI.
 */
#ifndef CHIP_CFI_FLASH_H
#define CHIP_CFI_FLASH_H

#include "machine/device.h"

/* What a write to the buffer takes at most. */
#define CFI_FLASH_BUFFER 32

struct cfi_flash_state {
	uint32_t buffer_base;  /* of the write to the buffer that has begun */
	uint32_t block;        /* and the block that its commands have to name */
	uint8_t shown;         /* enum in cfi_flash.c: what reads give */
	uint8_t cycle;         /* likewise: what the next write is */
	uint8_t status;        /* SR */
	uint8_t buffer_length; /* bytes to come, less one */
	uint8_t buffer_taken;
	uint8_t reserved[3];
	uint8_t buffer[CFI_FLASH_BUFFER];
	uint8_t buffer_valid[CFI_FLASH_BUFFER / 8]; /* bytes that were given */
};

struct cfi_flash_events {
	/* Reads give the array from now on; false: something else. May be called again. */
	void (*array_shown)(void *context, bool shown);
	/* Bytes of the array have changed. */
	void (*written)(void *context, uint32_t offset, uint32_t size);
	void *context;
};

struct cfi_flash {
	struct cfi_flash_state state;
	uint8_t *array; /* the caller's, which may show it to the guest while it is shown */
	uint32_t size, block_size;
	struct cfi_flash_events events;
};

extern const struct device_type cfi_flash_type;

/* `size` is a multiple of `block_size`, which is a power of two of 256 at least. */
void cfi_flash_init(struct cfi_flash *chip, uint8_t *array, uint32_t size, uint32_t block_size,
	const struct cfi_flash_events *events);

/* Bus cycles; the offset is less than the size. */
uint8_t cfi_flash_read(struct cfi_flash *chip, uint32_t offset);
void cfi_flash_write(struct cfi_flash *chip, uint32_t offset, uint8_t value);

#endif
