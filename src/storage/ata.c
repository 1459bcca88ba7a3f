/*
 * The commands of an ATA device (ATA8-ACS, T13/1699-D; NCQ and its log: SATA 3.0, 13.6).
 *
 * Not modelled: security, host protected area but READ NATIVE MAX, SMART beyond "healthy", power
 * management beyond its modes, media serial numbers, overlap, ATA_READ_VERIFY's look at the medium
 * (only its range is checked). Under the machine lock.
 */
#include "storage/ata.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* How many requests the image is given at once. */
#define DRIVE_DEPTH 64

#define LBA48_MASK BITS(47, 0)
#define READY      (ATA_STATUS_DRDY | ATA_STATUS_DSC)

/* Columns of the table of commands. */
#define IS_WRITE BIT(0)
#define IS_EXT   BIT(1)
#define IS_FUA   BIT(2)
#define IS_DMA   BIT(3)
#define IS_MULTI BIT(4)

struct command_row {
	void (*decode)(struct ata_device *device, struct ata_command *command, unsigned flags);
	uint8_t flags;
};

void ata_succeed(struct ata_command *command)
{
	command->work = ATA_WORK_NOTHING;
	command->tf.status = READY;
	command->tf.error = 0;
}

void ata_fail(struct ata_command *command, uint8_t error)
{
	struct ata_device_state *state = &command->device->state;

	command->work = ATA_WORK_NOTHING;
	command->tf.status = READY | ATA_STATUS_ERR;
	command->tf.error = error;
	if (command->protocol == ATA_PROTOCOL_NCQ && !state->ncq_failed) {
		state->ncq_failed = true;
		state->ncq_tag = command->tag;
		state->ncq_status = command->tf.status;
		state->ncq_error = error;
		state->ncq_lba = command->tf.lba;
	}
}

void ata_fail_medium(struct ata_command *command, uint64_t at, int result)
{
	uint8_t error = result == -EINVAL ? ATA_ERROR_IDNF : ATA_ERROR_UNC;

	if (command->is_packet) {
		atapi_fail(command, 0x03, 0x1100); /* unrecovered read error */
		return;
	}
	if (result == -EROFS || result == -ECANCELED || result == -ENOMEDIUM)
		error = ATA_ERROR_ABRT;
	command->tf.lba = (command->offset + at) / ATA_SECTOR & LBA48_MASK;
	ata_fail(command, error);
}

static void begin(struct ata_command *command, enum ata_protocol protocol, enum ata_work work)
{
	command->protocol = protocol;
	command->work = work;
}

/* Data of the device's own: `bytes` of the buffer. */
static void answer(struct ata_command *command, enum ata_protocol protocol, uint32_t bytes)
{
	begin(command, protocol, ATA_WORK_BUFFER);
	command->bytes = bytes;
	command->drq_bytes = ATA_SECTOR;
}

/* Where a command on the medium begins: LBA or, without it, cylinder, head and sector. */
static uint64_t first_sector(
	const struct ata_device *device, const struct ata_taskfile *tf, bool ext)
{
	const struct ata_device_state *state = &device->state;
	uint64_t cylinder = tf->lba >> 8 & 0xffff;
	unsigned sector = tf->lba & 0xff, head = tf->device & 0xf;

	if (ext)
		return tf->lba & LBA48_MASK;
	if (tf->device & ATA_DEVICE_LBA)
		return (tf->lba & 0xffffff) | (uint64_t)head << 24;
	/* Sectors count from 1; 0 and what the geometry lacks are not found. */
	if (sector == 0 || sector > state->sectors || head >= state->heads)
		return UINT64_MAX;
	return (cylinder * state->heads + head) * state->sectors + sector - 1;
}

static uint32_t nr_sectors(const struct ata_taskfile *tf, bool ext)
{
	uint32_t count = ext ? tf->count : tf->count & 0xff;

	return count ? count : ext ? 65536 : 256;
}

static bool is_inside(const struct ata_device *device, uint64_t sector, uint64_t count)
{
	uint64_t sectors = drive_bytes(&device->drive) / ATA_SECTOR;

	return sector <= sectors && count <= sectors - sector;
}

/* Fills a command that moves sectors. */
static void decode_sectors(struct ata_device *device, struct ata_command *command, uint64_t sector,
	uint32_t count, unsigned flags)
{
	command->offset = sector * ATA_SECTOR;
	command->bytes = (uint64_t)count * ATA_SECTOR;
	command->to_device = flags & IS_WRITE;
	command->work = ATA_WORK_MEDIUM;
	if ((flags & IS_WRITE) && ((flags & IS_FUA) || !device->state.write_cache))
		command->flags = BLOCK_FUA;
	if (!is_inside(device, sector, count))
		ata_fail(command, ATA_ERROR_IDNF);
	else if ((flags & IS_WRITE) && drive_is_read_only(&device->drive))
		ata_fail(command, ATA_ERROR_ABRT);
}

static void decode_transfer(struct ata_device *device, struct ata_command *command, unsigned flags)
{
	const struct ata_taskfile *tf = &command->tf;
	bool ext = flags & IS_EXT;

	command->protocol = flags & IS_DMA ? ATA_PROTOCOL_DMA : ATA_PROTOCOL_PIO;
	if ((flags & IS_MULTI) && !device->state.multiple) {
		ata_fail(command, ATA_ERROR_ABRT);
		return;
	}
	command->drq_bytes = ATA_SECTOR * (flags & IS_MULTI ? device->state.multiple : 1u);
	decode_sectors(device, command, first_sector(device, tf, ext), nr_sectors(tf, ext), flags);
}

/* The feature register counts sectors, the count register holds the tag (SATA 3.0, 13.6.4). */
static void decode_fpdma(struct ata_device *device, struct ata_command *command, unsigned flags)
{
	const struct ata_taskfile *tf = &command->tf;

	command->protocol = ATA_PROTOCOL_NCQ;
	command->tag = (uint8_t)(tf->count >> 3 & 0x1f);
	if (!device->identity.is_serial) {
		ata_fail(command, ATA_ERROR_ABRT);
		return;
	}
	if (tf->device & ATA_DEVICE_FUA)
		flags |= IS_FUA;
	decode_sectors(
		device, command, tf->lba & LBA48_MASK, tf->feature ? tf->feature : 65536, flags);
}

static void decode_verify(struct ata_device *device, struct ata_command *command, unsigned flags)
{
	bool ext = flags & IS_EXT;

	if (is_inside(
		    device, first_sector(device, &command->tf, ext), nr_sectors(&command->tf, ext)))
		ata_succeed(command);
	else
		ata_fail(command, ATA_ERROR_IDNF);
}

static void decode_seek(struct ata_device *device, struct ata_command *command, unsigned flags)
{
	(void)flags;
	if (is_inside(device, first_sector(device, &command->tf, false), 1))
		ata_succeed(command);
	else
		ata_fail(command, ATA_ERROR_IDNF);
}

static void decode_native_max(
	struct ata_device *device, struct ata_command *command, unsigned flags)
{
	uint64_t last = drive_bytes(&device->drive) / ATA_SECTOR - 1;
	struct ata_taskfile *tf = &command->tf;

	if (!(flags & IS_EXT) && last > 0x0fffffff)
		last = 0x0fffffff;
	if (flags & IS_EXT) {
		tf->lba = last & LBA48_MASK;
	} else {
		tf->lba = last & 0xffffff;
		tf->device = (uint8_t)((tf->device & 0xf0) | last >> 24);
	}
	ata_succeed(command);
}

static void decode_identify(struct ata_device *device, struct ata_command *command, unsigned flags)
{
	(void)flags;
	ata_identify(device);
	answer(command, ATA_PROTOCOL_PIO, ATA_SECTOR);
}

static void decode_flush(struct ata_device *device, struct ata_command *command, unsigned flags)
{
	(void)device;
	(void)flags;
	command->work = ATA_WORK_FLUSH;
}

static void decode_trim(struct ata_device *device, struct ata_command *command, unsigned flags)
{
	uint32_t blocks = command->tf.count;

	(void)flags;
	/* The only bit of the feature register that there is. */
	if (!(command->tf.feature & 1) || blocks == 0 || blocks > ATA_BUFFER_BYTES / ATA_SECTOR ||
		drive_is_read_only(&device->drive)) {
		ata_fail(command, ATA_ERROR_ABRT);
		return;
	}
	begin(command, ATA_PROTOCOL_DMA, ATA_WORK_TRIM);
	command->to_device = true;
	command->bytes = blocks * ATA_SECTOR;
}

static void decode_set_multiple(
	struct ata_device *device, struct ata_command *command, unsigned flags)
{
	unsigned count = command->tf.count & 0xff;

	(void)flags;
	if (count > ATA_MAX_MULTIPLE || (count & (count - 1))) {
		ata_fail(command, ATA_ERROR_ABRT);
		return;
	}
	device->state.multiple = (uint8_t)count;
	ata_succeed(command);
}

/* PIO modes 0 to 4, multiword DMA 0 to 2, Ultra DMA 0 to 5. */
static bool set_transfer_mode(struct ata_device *device, uint8_t mode)
{
	static const uint8_t highest[32] = { [0] = 1, [1] = 4, [4] = 2, [8] = 5 };
	unsigned kind = mode >> 3;

	if ((kind > 1 && kind != 4 && kind != 8) || (mode & 7) > highest[kind])
		return false;
	if (kind > 1)
		device->state.transfer_mode = mode;
	return true;
}

static void decode_set_features(
	struct ata_device *device, struct ata_command *command, unsigned flags)
{
	struct ata_device_state *state = &device->state;
	bool done = true;

	(void)flags;
	switch (command->tf.feature & 0xff) {
	case ATA_FEATURE_WRITE_CACHE_ON: state->write_cache = true; break;
	case ATA_FEATURE_WRITE_CACHE_OFF:
		state->write_cache = false;
		/* What is in it reaches the medium. */
		command->work = ATA_WORK_FLUSH;
		return;
	case ATA_FEATURE_LOOK_AHEAD_ON: state->look_ahead = true; break;
	case ATA_FEATURE_LOOK_AHEAD_OFF: state->look_ahead = false; break;
	case ATA_FEATURE_TRANSFER_MODE:
		done = set_transfer_mode(device, (uint8_t)command->tf.count);
		break;
	case ATA_FEATURE_REVERTING_ON:
	case ATA_FEATURE_REVERTING_OFF: break;
	default: done = false;
	}
	if (done)
		ata_succeed(command);
	else
		ata_fail(command, ATA_ERROR_ABRT);
}

static void decode_nothing(struct ata_device *device, struct ata_command *command, unsigned flags)
{
	(void)device;
	(void)flags;
	ata_succeed(command);
}

static void decode_power(struct ata_device *device, struct ata_command *command, unsigned flags)
{
	struct ata_device_state *state = &device->state;
	uint8_t code = command->tf.command;

	(void)flags;
	state->sleeping = code == ATA_SLEEP;
	state->standby = code == ATA_STANDBY || code == ATA_STANDBY_IMMEDIATE || code == ATA_SLEEP;
	/* Going to standby writes the cache back. */
	if (state->standby && !device->identity.is_packet)
		command->work = ATA_WORK_FLUSH;
	else
		ata_succeed(command);
}

static void decode_check_power(
	struct ata_device *device, struct ata_command *command, unsigned flags)
{
	(void)flags;
	command->tf.count = device->state.standby ? 0x00 : 0xff;
	ata_succeed(command);
}

static void decode_geometry(struct ata_device *device, struct ata_command *command, unsigned flags)
{
	unsigned sectors = command->tf.count & 0xff;

	(void)flags;
	if (sectors == 0 || sectors > 63) {
		ata_fail(command, ATA_ERROR_ABRT);
		return;
	}
	device->state.sectors = (uint8_t)sectors;
	device->state.heads = (uint8_t)((command->tf.device & 0xf) + 1);
	ata_succeed(command);
}

static void decode_diagnostic(
	struct ata_device *device, struct ata_command *command, unsigned flags)
{
	(void)flags;
	ata_succeed(command);
	command->protocol = ATA_PROTOCOL_DIAGNOSTIC;
	ata_signature(device, &command->tf);
}

static void put_checksum(uint8_t *page)
{
	uint8_t sum = 0;

	for (unsigned i = 0; i < ATA_SECTOR - 1; i++)
		sum = (uint8_t)(sum + page[i]);
	page[ATA_SECTOR - 1] = (uint8_t)-sum;
}

static void decode_smart(struct ata_device *device, struct ata_command *command, unsigned flags)
{
	struct ata_device_state *state = &device->state;
	struct ata_taskfile *tf = &command->tf;
	uint8_t subcommand = (uint8_t)tf->feature;

	(void)flags;
	if ((tf->lba & 0xffff00) != ATA_SMART_LBA ||
		(!state->smart && subcommand != ATA_SMART_ENABLE)) {
		ata_fail(command, ATA_ERROR_ABRT);
		return;
	}
	memset(device->buffer, 0, ATA_SECTOR);
	switch (subcommand) {
	case ATA_SMART_ENABLE:
	case ATA_SMART_DISABLE: state->smart = subcommand == ATA_SMART_ENABLE; break;
	case ATA_SMART_AUTOSAVE:
	case ATA_SMART_OFFLINE: break;
	case ATA_SMART_RETURN_STATUS: break; /* the LBA as it came: no threshold is exceeded */
	case ATA_SMART_READ_DATA:
	case ATA_SMART_READ_THRESHOLDS:
		device->buffer[0] = 1; /* revision; no attributes */
		put_checksum(device->buffer);
		answer(command, ATA_PROTOCOL_PIO, ATA_SECTOR);
		return;
	case ATA_SMART_READ_LOG:
		if ((tf->lba & 0xff) == ATA_LOG_DIRECTORY && (tf->count & 0xff) == 1) {
			device->buffer[0] = 1;
			answer(command, ATA_PROTOCOL_PIO, ATA_SECTOR);
			return;
		}
		ata_fail(command, ATA_ERROR_ABRT);
		return;
	default: ata_fail(command, ATA_ERROR_ABRT); return;
	}
	ata_succeed(command);
}

/* Log page 10h: the NCQ command that failed, once (SATA 3.0, 13.7.2). */
static void put_ncq_error(struct ata_device *device)
{
	struct ata_device_state *state = &device->state;
	uint8_t *page = device->buffer;

	page[0] = state->ncq_failed ? state->ncq_tag : 0x80; /* NQ: none was queued */
	if (state->ncq_failed) {
		page[2] = state->ncq_status;
		page[3] = state->ncq_error;
		for (unsigned i = 0; i < 3; i++) {
			page[4 + i] = (uint8_t)(state->ncq_lba >> (8 * i));
			page[8 + i] = (uint8_t)(state->ncq_lba >> (24 + 8 * i));
		}
		page[7] = ATA_DEVICE_LBA;
	}
	put_checksum(page);
	state->ncq_failed = false;
}

static void decode_log(struct ata_device *device, struct ata_command *command, unsigned flags)
{
	unsigned log = command->tf.lba & 0xff;
	unsigned page = command->tf.lba >> 8 & 0xff; /* and bits 47:40, 39:32 of it */

	if (command->tf.count != 1 || page != 0 || (command->tf.lba >> 32 & 0xff) != 0) {
		ata_fail(command, ATA_ERROR_ABRT);
		return;
	}
	memset(device->buffer, 0, ATA_SECTOR);
	if (log == ATA_LOG_DIRECTORY) {
		device->buffer[0] = 1; /* version; then the pages of each log */
		device->buffer[2 * ATA_LOG_NCQ_ERROR] = device->identity.is_serial;
	} else if (log == ATA_LOG_NCQ_ERROR && device->identity.is_serial) {
		put_ncq_error(device);
	} else {
		ata_fail(command, ATA_ERROR_ABRT);
		return;
	}
	answer(command, flags & IS_DMA ? ATA_PROTOCOL_DMA : ATA_PROTOCOL_PIO, ATA_SECTOR);
}

static const struct command_row disk_commands[256] = {
	[ATA_DATA_SET_MANAGEMENT] = { decode_trim, 0 },
	[ATA_READ_SECTORS] = { decode_transfer, 0 },
	[ATA_READ_SECTORS_NORETRY] = { decode_transfer, 0 },
	[ATA_READ_SECTORS_EXT] = { decode_transfer, IS_EXT },
	[ATA_READ_MULTIPLE] = { decode_transfer, IS_MULTI },
	[ATA_READ_MULTIPLE_EXT] = { decode_transfer, IS_MULTI | IS_EXT },
	[ATA_READ_DMA] = { decode_transfer, IS_DMA },
	[ATA_READ_DMA_NORETRY] = { decode_transfer, IS_DMA },
	[ATA_READ_DMA_EXT] = { decode_transfer, IS_DMA | IS_EXT },
	[ATA_READ_FPDMA] = { decode_fpdma, 0 },
	[ATA_WRITE_SECTORS] = { decode_transfer, IS_WRITE },
	[ATA_WRITE_SECTORS_NORETRY] = { decode_transfer, IS_WRITE },
	[ATA_WRITE_SECTORS_EXT] = { decode_transfer, IS_WRITE | IS_EXT },
	[ATA_WRITE_MULTIPLE] = { decode_transfer, IS_WRITE | IS_MULTI },
	[ATA_WRITE_MULTIPLE_EXT] = { decode_transfer, IS_WRITE | IS_MULTI | IS_EXT },
	[ATA_WRITE_MULTIPLE_FUA_EXT] = { decode_transfer, IS_WRITE | IS_MULTI | IS_EXT | IS_FUA },
	[ATA_WRITE_DMA] = { decode_transfer, IS_WRITE | IS_DMA },
	[ATA_WRITE_DMA_NORETRY] = { decode_transfer, IS_WRITE | IS_DMA },
	[ATA_WRITE_DMA_EXT] = { decode_transfer, IS_WRITE | IS_DMA | IS_EXT },
	[ATA_WRITE_DMA_FUA_EXT] = { decode_transfer, IS_WRITE | IS_DMA | IS_EXT | IS_FUA },
	[ATA_WRITE_FPDMA] = { decode_fpdma, IS_WRITE },
	[ATA_READ_VERIFY] = { decode_verify, 0 },
	[ATA_READ_VERIFY_NORETRY] = { decode_verify, 0 },
	[ATA_READ_VERIFY_EXT] = { decode_verify, IS_EXT },
	[ATA_SEEK] = { decode_seek, 0 },
	[ATA_RECALIBRATE] = { decode_nothing, 0 },
	[ATA_READ_NATIVE_MAX] = { decode_native_max, 0 },
	[ATA_READ_NATIVE_MAX_EXT] = { decode_native_max, IS_EXT },
	[ATA_READ_LOG_EXT] = { decode_log, 0 },
	[ATA_READ_LOG_DMA_EXT] = { decode_log, IS_DMA },
	[ATA_IDENTIFY] = { decode_identify, 0 },
	[ATA_FLUSH] = { decode_flush, 0 },
	[ATA_FLUSH_EXT] = { decode_flush, 0 },
	[ATA_SET_MULTIPLE] = { decode_set_multiple, 0 },
	[ATA_SET_FEATURES] = { decode_set_features, 0 },
	[ATA_INITIALIZE_PARAMETERS] = { decode_geometry, 0 },
	[ATA_EXECUTE_DIAGNOSTIC] = { decode_diagnostic, 0 },
	[ATA_SMART] = { decode_smart, 0 },
	[ATA_STANDBY] = { decode_power, 0 },
	[ATA_STANDBY_IMMEDIATE] = { decode_power, 0 },
	[ATA_IDLE] = { decode_power, 0 },
	[ATA_IDLE_IMMEDIATE] = { decode_power, 0 },
	[ATA_SLEEP] = { decode_power, 0 },
	[ATA_CHECK_POWER_MODE] = { decode_check_power, 0 },
};

static const struct command_row packet_commands[256] = {
	[ATA_IDENTIFY_PACKET] = { decode_identify, 0 },
	[ATA_SET_FEATURES] = { decode_set_features, 0 },
	[ATA_EXECUTE_DIAGNOSTIC] = { decode_diagnostic, 0 },
	[ATA_STANDBY] = { decode_power, 0 },
	[ATA_STANDBY_IMMEDIATE] = { decode_power, 0 },
	[ATA_IDLE] = { decode_power, 0 },
	[ATA_IDLE_IMMEDIATE] = { decode_power, 0 },
	[ATA_SLEEP] = { decode_power, 0 },
	[ATA_CHECK_POWER_MODE] = { decode_check_power, 0 },
};

void ata_decode(struct ata_device *device, struct ata_command *command)
{
	const struct command_row *row =
		device->identity.is_packet ? packet_commands : disk_commands;
	uint8_t code = command->tf.command;

	command->device = device;
	command->protocol = ATA_PROTOCOL_NONE;
	command->work = ATA_WORK_NOTHING;
	command->to_device = command->is_packet = false;
	command->tag = 0;
	command->offset = command->bytes = 0;
	command->flags = 0;
	command->drq_bytes = ATA_SECTOR;
	if (device->identity.is_packet && code == ATA_PACKET) {
		command->protocol = ATA_PROTOCOL_PACKET;
		command->is_packet = true;
		return;
	}
	if (device->identity.is_packet && code == ATA_DEVICE_RESET) {
		ata_soft_reset(device);
		command->protocol = ATA_PROTOCOL_RESET;
		ata_signature(device, &command->tf);
		return;
	}
	/* A packet device refuses IDENTIFY DEVICE with its signature (ATA8-ACS 7.16.6). */
	if (device->identity.is_packet && (code == ATA_IDENTIFY || code == ATA_READ_SECTORS)) {
		ata_signature(device, &command->tf);
		ata_fail(command, ATA_ERROR_ABRT);
		return;
	}
	/* Only a reset wakes a device that sleeps. */
	if (!row[code].decode || device->state.sleeping) {
		ata_fail(command, ATA_ERROR_ABRT);
		return;
	}
	row[code].decode(device, command, row[code].flags);
}

/* Running. */

static void end(struct ata_command *command, int result)
{
	if (result)
		ata_fail_medium(command, command->transfer.at, result);
	else
		ata_succeed(command);
	command->done(command);
}

static void transfer_done(struct drive_transfer *transfer, int result)
{
	struct ata_command *command = transfer->context;
	uint64_t at = transfer->offset - command->offset;

	if (result)
		ata_fail_medium(command, at + transfer->at, result);
	command->done(command);
}

static void start(struct ata_command *command, enum block_operation operation)
{
	command->transfer = (struct drive_transfer){
		.operation = operation, .done = transfer_done, .context = command
	};
}

static void simple_done(struct drive_transfer *transfer, int result)
{
	end(transfer->context, result);
}

/* TRIM: entries of LBA (48 bits) and count (16 bits); those with count 0 are not used. */

static void next_range(struct ata_command *command);

static void range_done(struct drive_transfer *transfer, int result)
{
	struct ata_command *command = transfer->context;

	if (result && result != -ENOTSUP && result != -EOPNOTSUPP)
		end(command, result);
	else
		next_range(command);
}

static bool take_range(struct ata_command *command, uint64_t *sector, uint64_t *count)
{
	uint64_t entry;

	if (command->range == command->nr_ranges)
		return false;
	memcpy(&entry, command->device->buffer + 8 * command->range++, sizeof(entry));
	*sector = entry & LBA48_MASK;
	*count = entry >> 48;
	return true;
}

static void next_range(struct ata_command *command)
{
	struct ata_device *device = command->device;
	uint64_t sector, count;

	while (take_range(command, &sector, &count)) {
		if (count == 0)
			continue;
		if (!is_inside(device, sector, count)) {
			ata_fail(command, ATA_ERROR_IDNF);
			command->done(command);
			return;
		}
		start(command, BLOCK_DISCARD);
		command->transfer.offset = sector * ATA_SECTOR;
		command->transfer.bytes = count * ATA_SECTOR;
		command->transfer.done = range_done;
		drive_start(&device->drive, &command->transfer);
		return;
	}
	end(command, 0);
}

void ata_run(struct ata_command *command, struct scatter *scatter, uint64_t at, uint64_t bytes)
{
	struct ata_device *device = command->device;

	switch (command->work) {
	case ATA_WORK_NOTHING: command->done(command); return;
	case ATA_WORK_BUFFER:
		scatter_store(scatter, device->buffer + at, bytes);
		command->tf.status = READY;
		command->done(command);
		return;
	case ATA_WORK_TRIM:
		scatter_load(scatter, device->buffer, bytes);
		command->range = 0;
		command->nr_ranges = (uint16_t)(bytes / 8);
		next_range(command);
		return;
	case ATA_WORK_FLUSH:
		start(command, BLOCK_FLUSH);
		command->transfer.done = simple_done;
		break;
	case ATA_WORK_MEDIUM:
		start(command, command->to_device ? BLOCK_WRITE : BLOCK_READ);
		command->tf.status = READY;
		command->tf.error = 0;
		command->transfer.flags = command->flags;
		command->transfer.offset = command->offset + at;
		command->transfer.bytes = bytes;
		command->transfer.scatter = scatter;
		break;
	}
	drive_start(&device->drive, &command->transfer);
}

/* Life. */

void ata_signature(const struct ata_device *device, struct ata_taskfile *tf)
{
	bool is_packet = device->identity.is_packet;

	tf->count = 1;
	tf->lba = (is_packet ? ATA_SIGNATURE_PACKET : ATA_SIGNATURE_DISK) << 8 | 1;
	tf->device = 0;
	tf->error = 1; /* passed */
	tf->status = is_packet ? 0 : READY;
}

void ata_soft_reset(struct ata_device *device)
{
	device->state.sleeping = false;
	device->state.standby = false;
}

void ata_reset(struct ata_device *device)
{
	struct ata_device_state *state = &device->state;
	bool tray_open = state->tray_open;
	uint8_t attention = state->attention;

	memset(state, 0, sizeof(*state));
	state->write_cache = state->look_ahead = state->smart = true;
	state->transfer_mode = 0x45; /* Ultra DMA 5 */
	state->heads = 16;
	state->sectors = 63;
	state->tray_open = tray_open;
	state->attention = attention;
}

static bool check(const void *object, struct error *err)
{
	const struct ata_device_state *state = object;

	(void)err;
	return state->heads > 0 && state->sectors > 0 &&
	       (state->multiple & (state->multiple - 1)) == 0;
}

static const struct state_field ata_device_fields[] = {
	STATE_MAX(struct ata_device_state, multiple, ATA_MAX_MULTIPLE),
	STATE(struct ata_device_state, write_cache),
	STATE(struct ata_device_state, look_ahead),
	STATE(struct ata_device_state, smart),
	STATE(struct ata_device_state, sleeping),
	STATE(struct ata_device_state, standby),
	STATE(struct ata_device_state, transfer_mode),
	STATE_MAX(struct ata_device_state, heads, 16),
	STATE_MAX(struct ata_device_state, sectors, 63),
	STATE(struct ata_device_state, ncq_failed),
	STATE_MAX(struct ata_device_state, ncq_tag, ATA_QUEUE_DEPTH - 1),
	STATE(struct ata_device_state, ncq_status),
	STATE(struct ata_device_state, ncq_error),
	STATE_PAD(struct ata_device_state, reserved),
	STATE(struct ata_device_state, ncq_lba),
	STATE_MAX(struct ata_device_state, sense_key, 15),
	STATE(struct ata_device_state, asc),
	STATE(struct ata_device_state, ascq),
	STATE(struct ata_device_state, medium_locked),
	STATE(struct ata_device_state, tray_open),
	STATE(struct ata_device_state, attention),
	STATE_MAX(struct ata_device_state, event, 3),
	STATE_PAD(struct ata_device_state, reserved1),
};
static const struct state_table ata_device_table =
	STATE_TABLE_OF(struct ata_device_state, "ata_device", ata_device_fields, check);

static const struct device_type ata_device_type = {
	.name = "ata_device",
	.state = &ata_device_table,
	.state_offset = offsetof(struct ata_device, state),
};

int ata_insert(struct ata_device *device, struct block_device *image, struct error *err)
{
	if (block_device_geometry(image)->logical_block_bytes != ATA_SECTOR)
		return error_set(err, EXIT_CODE_CONFIG,
			"the disk '%s' has blocks of %u bytes, and IDE, AHCI and optical drives "
			"have 512; use bus=virtio or bus=nvme",
			block_device_path(image),
			block_device_geometry(image)->logical_block_bytes);
	return drive_insert(&device->drive, image, DRIVE_DEPTH, err);
}

int ata_create(struct ata_device **created, const char *name, const struct ata_identity *identity,
	struct machine *machine, struct block_device *image, struct error *err)
{
	struct drive_lock lock = drive_machine_lock(machine);
	struct ata_device *device = calloc(1, sizeof(*device));
	int rc;

	*created = NULL;
	if (!device)
		return error_set_errno(
			err, EXIT_CODE_HOST, ENOMEM, "cannot create the drive %s", name);
	device->identity = *identity;
	device->machine = machine;
	ata_reset(device);
	rc = drive_init(&device->drive, name, &lock, err);
	machine_lock(machine);
	machine_add_device(machine, &ata_device_type, name, device);
	if (rc == 0 && image)
		rc = ata_insert(device, image, err);
	machine_unlock(machine);
	if (rc == 0)
		*created = device;
	else
		ata_destroy(device);
	return rc;
}

void ata_destroy(struct ata_device *device)
{
	if (!device)
		return;
	drive_finish(&device->drive);
	machine_lock(device->machine);
	machine_remove_device(device->machine, device);
	machine_unlock(device->machine);
	free(device);
}
