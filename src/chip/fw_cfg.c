/*
 * The firmware configuration device, with its DMA interface (QEMU's docs/specs/fw_cfg.rst).
 *
 * The DMA descriptor and what it copies are the guest's choice: each copy ends with the item, the
 * zeros that follow it are bounded, and memory is reached through guest_memory_write alone. Runs
 * under the machine lock.
 *
 * Not modelled: the MMIO variant, writing through the data register, items of other machines.
 */
#include "chip/fw_cfg.h"

#include "base/bits.h"
#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REGISTER_SELECTOR 0
#define REGISTER_DATA     1
#define REGISTER_DMA_HIGH 4
#define REGISTER_DMA_LOW  8

#define DMA_SIGNATURE UINT64_C(0x51454d5520434647) /* "QEMU CFG" */
#define DMA_ERROR     BIT(0)
#define DMA_READ      BIT(1)
#define DMA_SKIP      BIT(2)
#define DMA_SELECT    BIT(3)
#define DMA_WRITE     BIT(4)
#define DMA_KEY       BITS(31, 16)

#define KEY_MASK 0xbfff /* bit 14 says "to write"; bit 15, "of this architecture", makes others */

/* What one command may fill with zeros beyond an item's end. */
#define MAX_ZEROS (1u << 20)
/* Bytes at a time. */
#define CHUNK 4096

struct directory_entry {
	uint32_t size;
	uint16_t key;
	uint16_t reserved;
	char name[FW_CFG_NAME_SIZE];
} __attribute__((packed));

struct descriptor {
	uint32_t control;
	uint32_t length;
	uint64_t address;
} __attribute__((packed));

static struct fw_cfg_item *item_of(struct fw_cfg *chip, uint16_t key)
{
	key &= KEY_MASK;
	if (key < FW_CFG_FILES)
		return &chip->fixed[key];
	return key - FW_CFG_FILES < (int)chip->nr_files ? &chip->files[key - FW_CFG_FILES] : NULL;
}

static void select_key(struct fw_cfg *chip, uint16_t key)
{
	const struct fw_cfg_item *item = item_of(chip, key);

	chip->state.key = key;
	chip->state.offset = 0;
	if (item && item->selected)
		item->selected(item->context);
}

/* Copies up to `size` of the selected item's next bytes; returns how many there were. */
static uint32_t take(struct fw_cfg *chip, const uint8_t **bytes, uint32_t size)
{
	const struct fw_cfg_item *item = item_of(chip, chip->state.key);
	uint32_t offset = chip->state.offset, left;

	if (!item || offset >= item->size)
		return 0;
	left = item->size - offset;
	*bytes = item->bytes + offset;
	chip->state.offset += left < size ? left : size;
	return left < size ? left : size;
}

static bool dma_read(struct fw_cfg *chip, uint64_t address, uint32_t length)
{
	static const uint8_t zeros[CHUNK];
	const uint8_t *bytes = NULL;
	uint32_t done = take(chip, &bytes, length), chunk;

	if (done && guest_memory_write(chip->memory, address, bytes, done) < 0)
		return false;
	if (length - done > MAX_ZEROS)
		return false;
	for (; done < length; done += chunk) {
		chunk = length - done < CHUNK ? length - done : CHUNK;
		if (guest_memory_write(chip->memory, address + done, zeros, chunk) < 0)
			return false;
	}
	return true;
}

static bool dma_write(struct fw_cfg *chip, uint64_t address, uint32_t length)
{
	struct fw_cfg_item *item = item_of(chip, chip->state.key);
	uint32_t offset = chip->state.offset;

	if (!item || !item->writable || offset > item->size || length > item->size - offset)
		return false;
	if (guest_memory_read(chip->memory, address, item->bytes + offset, length) < 0)
		return false;
	chip->state.offset += length;
	return true;
}

static void dma_skip(struct fw_cfg *chip, uint32_t length)
{
	uint32_t offset = chip->state.offset;

	chip->state.offset = length > UINT32_MAX - offset ? UINT32_MAX : offset + length;
}

static void run_dma(struct fw_cfg *chip)
{
	uint64_t at = chip->state.dma_address;
	struct descriptor descriptor;
	uint32_t control, length, result;
	uint64_t address;
	bool works = true;

	chip->state.dma_address = 0;
	if (guest_memory_read(chip->memory, at, &descriptor, sizeof(descriptor)) < 0) {
		log_guest("the firmware gave a DMA descriptor that is not in RAM");
		return;
	}
	control = __builtin_bswap32(descriptor.control);
	length = __builtin_bswap32(descriptor.length);
	address = __builtin_bswap64(descriptor.address);
	if (control & DMA_SELECT)
		select_key(chip, (uint16_t)field_get(DMA_KEY, control));
	if (control & DMA_READ)
		works = dma_read(chip, address, length);
	else if (control & DMA_WRITE)
		works = dma_write(chip, address, length);
	else if (control & DMA_SKIP)
		dma_skip(chip, length);
	result = __builtin_bswap32(works ? 0 : (uint32_t)DMA_ERROR);
	guest_memory_write(
		chip->memory, at + offsetof(struct descriptor, control), &result, sizeof(result));
}

uint64_t fw_cfg_read(struct fw_cfg *chip, unsigned offset, unsigned size)
{
	const uint8_t *byte = NULL;
	uint64_t value = 0;

	if (offset == REGISTER_DATA && size == 1)
		return take(chip, &byte, 1) ? *byte : 0;
	if (offset < REGISTER_DMA_HIGH)
		return byte_mask(size);
	/* Big endian. */
	for (unsigned i = 0; i < size; i++) {
		unsigned at = offset - REGISTER_DMA_HIGH + i;
		uint64_t part = at < 8 ? DMA_SIGNATURE >> (8 * (7 - at)) & 0xff : 0xff;

		value |= part << (8 * i);
	}
	return value;
}

void fw_cfg_write(struct fw_cfg *chip, unsigned offset, unsigned size, uint64_t value)
{
	uint32_t swapped = __builtin_bswap32((uint32_t)value);

	if (offset == REGISTER_SELECTOR && size == 2) {
		select_key(chip, (uint16_t)value);
	} else if (offset == REGISTER_DMA_HIGH && size == 4) {
		chip->state.dma_address = (uint64_t)swapped << 32;
	} else if (offset == REGISTER_DMA_LOW && size == 4) {
		chip->state.dma_address |= swapped;
		run_dma(chip);
	}
}

static int set_bytes(struct fw_cfg_item *item, const void *bytes, uint32_t size, struct error *err)
{
	uint8_t *copy = malloc(size ? size : 1);

	if (!copy)
		return error_set_errno(
			err, EXIT_CODE_HOST, ENOMEM, "no memory for what the firmware reads");
	if (size)
		memcpy(copy, bytes, size);
	free(item->bytes);
	item->bytes = copy;
	item->size = size;
	return 0;
}

int fw_cfg_set(
	struct fw_cfg *chip, uint16_t key, const void *bytes, uint32_t size, struct error *err)
{
	return set_bytes(&chip->fixed[key % FW_CFG_FILES], bytes, size, err);
}

/* In big endian, as the only item. */
static int write_directory(struct fw_cfg *chip, struct error *err)
{
	struct {
		uint32_t count;
		struct directory_entry entries[FW_CFG_MAX_FILES];
	} __attribute__((packed)) directory = { .count = __builtin_bswap32(chip->nr_files) };

	for (unsigned i = 0; i < chip->nr_files; i++) {
		struct directory_entry *entry = &directory.entries[i];

		entry->size = __builtin_bswap32(chip->files[i].size);
		entry->key = __builtin_bswap16((uint16_t)(FW_CFG_FILES + i));
		memcpy(entry->name, chip->files[i].name, sizeof(entry->name));
	}
	return fw_cfg_set(chip, FW_CFG_DIRECTORY, &directory,
		(uint32_t)(sizeof(directory.count) + chip->nr_files * sizeof(directory.entries[0])),
		err);
}

struct fw_cfg_item *fw_cfg_file(struct fw_cfg *chip, const char *name)
{
	for (unsigned i = 0; i < chip->nr_files; i++) {
		if (strncmp(chip->files[i].name, name, FW_CFG_NAME_SIZE - 1) == 0)
			return &chip->files[i];
	}
	return NULL;
}

int fw_cfg_set_file(
	struct fw_cfg *chip, const char *name, const void *bytes, uint32_t size, struct error *err)
{
	struct fw_cfg_item *item = fw_cfg_file(chip, name);
	struct fw_cfg_item added = { .name = "" };
	unsigned at = 0;
	int rc;

	if (item) {
		rc = set_bytes(item, bytes, size, err);
		return rc < 0 ? rc : write_directory(chip, err);
	}
	if (chip->nr_files == FW_CFG_MAX_FILES)
		return error_set(err, EXIT_CODE_CONFIG,
			"the firmware is given more than %u files; leave %s out", FW_CFG_MAX_FILES,
			name);
	snprintf(added.name, sizeof(added.name), "%s", name);
	rc = set_bytes(&added, bytes, size, err);
	if (rc < 0)
		return rc;
	while (at < chip->nr_files && strcmp(chip->files[at].name, added.name) < 0)
		at++;
	memmove(&chip->files[at + 1], &chip->files[at],
		(chip->nr_files - at) * sizeof(chip->files[0]));
	chip->files[at] = added;
	chip->nr_files++;
	return write_directory(chip, err);
}

static void fw_cfg_reset(void *device)
{
	struct fw_cfg *chip = device;

	memset(&chip->state, 0, sizeof(chip->state));
}

void fw_cfg_init(struct fw_cfg *chip, struct guest_memory *memory)
{
	memset(chip, 0, sizeof(*chip));
	chip->memory = memory;
}

void fw_cfg_finish(struct fw_cfg *chip)
{
	for (unsigned i = 0; i < FW_CFG_FILES; i++)
		free(chip->fixed[i].bytes);
	for (unsigned i = 0; i < chip->nr_files; i++)
		free(chip->files[i].bytes);
	chip->nr_files = 0;
}

static const struct state_field fw_cfg_fields[] = {
	STATE(struct fw_cfg_state, dma_address),
	STATE(struct fw_cfg_state, offset),
	STATE(struct fw_cfg_state, key),
	STATE_PAD(struct fw_cfg_state, reserved),
};
static const struct state_table fw_cfg_table =
	STATE_TABLE_OF(struct fw_cfg_state, "fw_cfg", fw_cfg_fields, NULL);

const struct device_type fw_cfg_type = {
	.name = "fw_cfg",
	.state = &fw_cfg_table,
	.state_offset = offsetof(struct fw_cfg, state),
	.reset = fw_cfg_reset,
};
