/*
 * The firmware configuration device: items that firmware reads through a selector and a data
 * register, or has copied to memory, and a directory of those that have names (QEMU's
 * docs/specs/fw_cfg.rst; firmware/seabios and OVMF speak it).
 */
#ifndef CHIP_FW_CFG_H
#define CHIP_FW_CFG_H

#include "base/bits.h"
#include "base/error.h"
#include "machine/device.h"
#include "machine/memory.h"

/* Keys with a fixed meaning. */
#define FW_CFG_SIGNATURE 0x00
#define FW_CFG_ID        0x01
#define FW_CFG_NR_CPUS   0x05
#define FW_CFG_BOOT_MENU 0x0e
#define FW_CFG_MAX_CPUS  0x0f
#define FW_CFG_DIRECTORY 0x19
#define FW_CFG_FILES     0x20 /* the first of those with names */

/* Of the id. */
#define FW_CFG_ID_TRADITIONAL BIT(0)
#define FW_CFG_ID_DMA         BIT(1)

#define FW_CFG_MAX_FILES 64
#define FW_CFG_NAME_SIZE 56 /* with its final 0 */

struct fw_cfg_state {
	uint64_t dma_address; /* as far as it was written */
	uint32_t offset;      /* of the next byte of the data register */
	uint16_t key;
	uint8_t reserved[2];
};

struct fw_cfg_item {
	char name[FW_CFG_NAME_SIZE]; /* "": no file */
	uint8_t *bytes;              /* owned */
	uint32_t size;
	bool writable; /* by DMA */
	/* Called before the firmware begins to read it, which may change the bytes. NULL: they are
	 * as they are. */
	void (*selected)(void *context);
	void *context;
};

struct fw_cfg {
	struct fw_cfg_state state;
	struct guest_memory *memory;
	struct fw_cfg_item fixed[FW_CFG_FILES];
	struct fw_cfg_item files[FW_CFG_MAX_FILES]; /* by name */
	unsigned nr_files;
};

extern const struct device_type fw_cfg_type;

void fw_cfg_init(struct fw_cfg *chip, struct guest_memory *memory);
void fw_cfg_finish(struct fw_cfg *chip);

/* These copy `bytes`. Before the guest runs, or while it is reset. Return 0, or fill `err`. */
int fw_cfg_set(
	struct fw_cfg *chip, uint16_t key, const void *bytes, uint32_t size, struct error *err);
/* Replaces the file if there is one of that name; a name longer than there is room for is cut. */
int fw_cfg_set_file(
	struct fw_cfg *chip, const char *name, const void *bytes, uint32_t size, struct error *err);

/* The file of that name, or NULL. It stays where it is until a file is added. */
struct fw_cfg_item *fw_cfg_file(struct fw_cfg *chip, const char *name);

/* The registers, at byte offsets: selector (2 bytes), data (at 1, which shares it), DMA address (at
 * 4 to 11, big endian). */
#define FW_CFG_PORTS 12
uint64_t fw_cfg_read(struct fw_cfg *chip, unsigned offset, unsigned size);
void fw_cfg_write(struct fw_cfg *chip, unsigned offset, unsigned size, uint64_t value);

#endif
