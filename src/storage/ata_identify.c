/*
 * IDENTIFY DEVICE and IDENTIFY PACKET DEVICE data (ATA8-ACS 7.16, 7.17): word by word.
 */
#include "storage/ata.h"

#include <string.h>

static void put(struct ata_device *device, unsigned word, uint64_t value)
{
	device->buffer[2 * word] = (uint8_t)value;
	device->buffer[2 * word + 1] = (uint8_t)(value >> 8);
}

static void put_wide(struct ata_device *device, unsigned word, uint64_t value, unsigned words)
{
	for (unsigned i = 0; i < words; i++)
		put(device, word + i, value >> (16 * i));
}

/* Padded with spaces, the first character in the high byte of a word. */
static void put_text(struct ata_device *device, unsigned word, unsigned bytes, const char *text)
{
	size_t length = text ? strlen(text) : 0;

	for (unsigned i = 0; i < bytes; i++)
		device->buffer[2 * word + (i ^ 1)] = (uint8_t)(i < length ? text[i] : ' ');
}

static void put_texts(struct ata_device *device, const char *model)
{
	const struct ata_identity *identity = &device->identity;

	put_text(device, 10, ATA_SERIAL_BYTES, identity->serial);
	put_text(device, 23, 8, "1.0");
	put_text(device, 27, ATA_MODEL_BYTES, identity->model ? identity->model : model);
}

/* Modes: word 63 multiword DMA, 64 advanced PIO, 88 Ultra DMA; selected ones in the high bytes. */
static void put_modes(struct ata_device *device)
{
	uint8_t mode = device->state.transfer_mode;

	put(device, 53, 0x0007);
	put(device, 63, 0x0007 | (mode >> 3 == 4 ? 0x100u << (mode & 7) : 0));
	put(device, 64, 0x0003);
	for (unsigned word = 65; word <= 68; word++)
		put(device, word, 120); /* ns per cycle */
	put(device, 88, 0x003f | (mode >> 3 == 8 ? 0x100u << (mode & 7) : 0));
	/* Hardware reset: device 0 passed, and sees an 80-conductor cable. */
	if (!device->identity.is_serial)
		put(device, 93, 0x600b);
}

static void put_transport(struct ata_device *device)
{
	put(device, 80, 0x01f0); /* ATA/ATAPI-4 to ATA8-ACS */
	put(device, 222, device->identity.is_serial ? 0x103f : 0x003f);
	if (!device->identity.is_serial)
		return;
	/* 1.5, 3 and 6 Gb/s; NCQ for disks. */
	put(device, 76, device->identity.is_packet ? 0x000e : 0x010e);
	if (!device->identity.is_packet)
		put(device, 75, ATA_QUEUE_DEPTH - 1);
}

static void put_checksum(struct ata_device *device)
{
	uint8_t sum = 0xa5;

	device->buffer[510] = 0xa5;
	for (unsigned i = 0; i < 510; i++)
		sum = (uint8_t)(sum + device->buffer[i]);
	device->buffer[511] = (uint8_t)-sum;
}

static void identify_packet(struct ata_device *device)
{
	put(device, 0, 0x8580); /* CD-ROM, removable, 12-byte packets, DRQ within 50 us */
	put_texts(device, "ATOLL DVD-ROM");
	put(device, 48, 0x4000);
	put(device, 49, 0x0b00); /* DMA, LBA, IORDY */
	put_modes(device);
	put_transport(device);
	put(device, 82, 0x4210); /* NOP, DEVICE RESET, PACKET */
	put(device, 83, 0x4000);
	put(device, 84, 0x4000);
	put(device, 85, 0x4210);
	put(device, 87, 0x4000);
	put_checksum(device);
}

static void put_geometry(struct ata_device *device, uint64_t sectors)
{
	const struct ata_device_state *state = &device->state;
	uint64_t cylinders = sectors / (16 * 63);
	uint64_t chs;

	put(device, 1, cylinders > 16383 ? 16383 : cylinders);
	put(device, 3, 16);
	put(device, 6, 63);
	cylinders = sectors / ((uint64_t)state->heads * state->sectors);
	cylinders = cylinders > 65535 ? 65535 : cylinders;
	if (state->heads == 16 && state->sectors == 63 && cylinders > 16383)
		cylinders = 16383;
	chs = cylinders * state->heads * state->sectors;
	put(device, 54, cylinders);
	put(device, 55, state->heads);
	put(device, 56, state->sectors);
	put_wide(device, 57, chs, 2);
}

static void put_blocks(struct ata_device *device)
{
	const struct block_geometry *geometry =
		device->drive.image ? block_device_geometry(device->drive.image) : NULL;
	unsigned exponent = 0;

	while (geometry && exponent < 7 &&
		(uint32_t)ATA_SECTOR << exponent < geometry->physical_block_bytes)
		exponent++;
	put(device, 106, 0x4000 | (exponent ? 0x2000u | exponent : 0));
	put(device, 209, 0x4000); /* logical block 0 begins a physical one */
	if (geometry && geometry->discard_granularity_bytes && !geometry->read_only) {
		put(device, 105, ATA_BUFFER_BYTES / ATA_SECTOR);
		put(device, 169, 1);
	}
	put(device, 217, 1); /* does not rotate */
}

static void identify_disk(struct ata_device *device)
{
	const struct ata_device_state *state = &device->state;
	uint64_t sectors = drive_bytes(&device->drive) / ATA_SECTOR;
	uint16_t enabled =
		(uint16_t)(0x4008 | (state->smart ? 1 : 0) | (state->write_cache ? 0x20 : 0) |
			   (state->look_ahead ? 0x40 : 0));

	put(device, 0, 0x0040);
	put_texts(device, "ATOLL HARDDISK");
	put_geometry(device, sectors);
	put(device, 47, 0x8000 | ATA_MAX_MULTIPLE);
	put(device, 48, 0x4000);
	put(device, 49, 0x0f00); /* LBA, DMA, IORDY */
	put(device, 50, 0x4000);
	put(device, 59, state->multiple ? 0x100u | state->multiple : 0);
	put_wide(device, 60, sectors > 0x0fffffff ? 0x0fffffff : sectors, 2);
	put_modes(device);
	put_transport(device);
	put(device, 82, 0x4069); /* NOP, look-ahead, write cache, power management, SMART */
	put(device, 83, 0x7400); /* 48-bit, FLUSH, FLUSH EXT */
	put(device, 84, 0x4060); /* FUA, general purpose logging */
	put(device, 85, enabled);
	put(device, 86, 0x3400);
	put(device, 87, 0x4060);
	put_wide(device, 100, sectors, 4);
	put_blocks(device);
	put_checksum(device);
}

void ata_identify(struct ata_device *device)
{
	memset(device->buffer, 0, ATA_SECTOR);
	if (device->identity.is_packet)
		identify_packet(device);
	else
		identify_disk(device);
}
