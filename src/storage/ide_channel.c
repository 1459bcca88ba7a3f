/*
 * A channel of an IDE controller: two devices behind one task file (ATA8-ACS, ATA8-APT), their data
 * through the data register or by the bus master. Under the machine lock.
 */
#include "storage/ide_channel.h"

#include "base/log.h"

#include <string.h>

/* Offsets in the command block. */
enum {
	REG_DATA,
	REG_ERROR,
	REG_COUNT,
	REG_LBA_LOW,
	REG_LBA_MID,
	REG_LBA_HIGH,
	REG_DEVICE,
	REG_STATUS
};

#define NO_DEVICES 0x7f /* what all registers of a channel without devices read */

#define PRD_END 0x80000000u
/* A table may not cross 64 KiB: so many entries at most. */
#define PRD_MAX 8192

/* Interrupt reason: what the count register says in packet commands. */
#define REASON_COMMAND 0x01
#define REASON_TO_HOST 0x02

static struct ide_unit *selected(struct ide_channel *channel)
{
	return &channel->units[ide_channel_state(channel)->device & ATA_DEVICE_DEV ? 1 : 0];
}

/* Interrupts. */

static bool line_of(struct ide_channel *channel)
{
	return ide_unit_state(selected(channel))->irq &&
	       !(ide_channel_state(channel)->control & ATA_CONTROL_NIEN);
}

void ide_update_line(struct ide_channel *channel)
{
	struct ide *ide = channel->ide;

	if (ide->is_legacy)
		irq_line_set(&ide->legacy.irq[channel->index], line_of(channel));
	else
		pci_set_intx(
			&ide->function, line_of(&ide->channels[0]) || line_of(&ide->channels[1]));
}

static void raise(struct ide_unit *unit)
{
	ide_unit_state(unit)->irq = true;
	/* The bus master latches the line's rise. */
	if (line_of(unit->channel))
		ide_channel_state(unit->channel)->bm_status |= IDE_BM_STATUS_INT;
	ide_update_line(unit->channel);
}

static void lower(struct ide_unit *unit)
{
	ide_unit_state(unit)->irq = false;
	ide_update_line(unit->channel);
}

/* Commands. */

static void take_registers(struct ide_unit *unit, struct ata_taskfile *tf, uint8_t code)
{
	const struct ide_unit_state *state = ide_unit_state(unit);

	*tf = (struct ata_taskfile){
		.command = code,
		.feature = state->feature,
		.count = state->count,
		.lba = state->lba,
		.device = ide_channel_state(unit->channel)->device,
	};
}

static void give_registers(struct ide_unit *unit, const struct ata_taskfile *tf)
{
	struct ide_unit_state *state = ide_unit_state(unit);

	state->status = tf->status;
	state->error = tf->error;
	state->count = tf->count;
	state->lba = tf->lba;
	if (!(tf->device & ATA_DEVICE_LBA) && tf->device == 0)
		return;
	ide_channel_state(unit->channel)->device =
		(uint8_t)((ide_channel_state(unit->channel)->device & 0xf0) | (tf->device & 0x0f));
}

static void end_command(struct ide_unit *unit)
{
	struct ata_command *command = &unit->command;

	unit->phase = PHASE_IDLE;
	if (command->is_packet)
		command->tf.count = REASON_COMMAND | REASON_TO_HOST;
	give_registers(unit, &command->tf);
	scatter_clear(&unit->scatter);
}

/* Data through the data register. */

static void fill(struct ide_unit *unit);

static void offer_block(struct ide_unit *unit, bool interrupt)
{
	struct ide_unit_state *state = ide_unit_state(unit);
	uint32_t block = unit->filled - unit->at;

	unit->phase = PHASE_PIO;
	if (unit->command.is_packet) {
		if (block > unit->limit)
			block = unit->limit;
		state->count = unit->command.to_device ? 0 : REASON_TO_HOST;
		state->lba = (state->lba & ~UINT64_C(0xffff00)) | (uint64_t)block << 8;
	}
	unit->end = unit->at + block;
	state->status = ATA_STATUS_DRDY | ATA_STATUS_DSC | ATA_STATUS_DRQ;
	if (interrupt)
		raise(unit);
}

/* How much of the command fits the next load of the buffer. */
static uint32_t load_bytes(const struct ide_unit *unit)
{
	const struct ata_command *command = &unit->command;
	uint64_t left = command->bytes - unit->moved;
	uint32_t most = command->is_packet ? IDE_BUFFER_BYTES : command->drq_bytes;

	return left < most ? (uint32_t)left : most;
}

static void piece_done(struct ata_command *command)
{
	struct ide_unit *unit = command->context;

	if (unit->channel->ide->abandoning)
		return;
	if (command->tf.status & ATA_STATUS_ERR) {
		end_command(unit);
		raise(unit);
		return;
	}
	if (!command->to_device) {
		offer_block(unit, true);
		return;
	}
	unit->moved += unit->filled;
	if (unit->moved == command->bytes) {
		end_command(unit);
		raise(unit);
		return;
	}
	unit->at = 0;
	unit->filled = load_bytes(unit);
	offer_block(unit, true);
}

static void run_piece(struct ide_unit *unit)
{
	unit->phase = PHASE_RUNNING;
	ide_unit_state(unit)->status = ATA_STATUS_BSY;
	unit->command.done = piece_done;
	scatter_clear(&unit->scatter);
	unit->scatter.memory = NULL;
	if (!scatter_add_host(&unit->scatter, unit->data, unit->filled)) {
		ata_fail(&unit->command, ATA_ERROR_ABRT);
		piece_done(&unit->command);
		return;
	}
	ata_run(&unit->command, &unit->scatter, unit->moved, unit->filled);
}

/* Reads: the next load of the buffer. */
static void fill(struct ide_unit *unit)
{
	unit->at = 0;
	unit->filled = load_bytes(unit);
	run_piece(unit);
}

static void start_pio(struct ide_unit *unit)
{
	unit->moved = 0;
	unit->at = 0;
	unit->filled = load_bytes(unit);
	if (unit->command.to_device)
		offer_block(unit, false);
	else
		run_piece(unit);
}

static void decode_packet(struct ide_unit *unit);

/* The host has moved the last byte of a block. */
static void block_moved(struct ide_unit *unit)
{
	if (unit->phase == PHASE_PACKET) {
		decode_packet(unit);
	} else if (unit->at < unit->filled) {
		offer_block(unit, true);
	} else if (unit->command.to_device) {
		run_piece(unit);
	} else {
		unit->moved += unit->filled;
		if (unit->moved < unit->command.bytes) {
			fill(unit);
			return;
		}
		unit->command.tf.status = ATA_STATUS_DRDY | ATA_STATUS_DSC;
		end_command(unit);
		/* A packet command's status has an interrupt of its own. */
		if (unit->command.is_packet)
			raise(unit);
	}
}

/* Bus master DMA. */

static void dma_done(struct ata_command *command)
{
	struct ide_unit *unit = command->context;

	if (unit->channel->ide->abandoning)
		return;
	ide_channel_state(unit->channel)->bm_status &= ~IDE_BM_STATUS_ACTIVE;
	end_command(unit);
	raise(unit);
}

/* Collects what the PRD table describes. False: some of it is not RAM. */
static bool collect(struct ide_unit *unit, uint64_t bytes)
{
	struct ide *ide = unit->channel->ide;
	uint64_t table = ide_channel_state(unit->channel)->table;

	scatter_clear(&unit->scatter);
	unit->scatter.memory = &ide->machine->memory;
	if (!pci_is_bus_master(&ide->function))
		return false;
	for (unsigned i = 0; i < PRD_MAX && unit->scatter.bytes < bytes; i++) {
		uint64_t left = bytes - unit->scatter.bytes, size;
		uint32_t prd[2];

		if (guest_memory_read(&ide->machine->memory, table + 8ull * i, prd, sizeof(prd)))
			return false;
		size = prd[1] & 0xfffe ? prd[1] & 0xfffe : 0x10000;
		if (!scatter_add(&unit->scatter, prd[0] & ~1u, size < left ? size : left,
			    !unit->command.to_device))
			return false;
		if (prd[1] & PRD_END)
			break;
	}
	return true;
}

void ide_start_dma(struct ide_unit *unit)
{
	struct ide_channel_state *state = ide_channel_state(unit->channel);
	struct ata_command *command = &unit->command;

	if (!collect(unit, command->bytes)) {
		state->bm_status =
			(uint8_t)((state->bm_status & ~IDE_BM_STATUS_ACTIVE) | IDE_BM_STATUS_ERROR);
		ata_fail(command, ATA_ERROR_ABRT);
		dma_done(command);
		return;
	}
	if (unit->scatter.bytes < command->bytes) {
		/* The device wants to go on, and nobody serves it: until it is reset. */
		state->bm_status &= ~IDE_BM_STATUS_ACTIVE;
		return;
	}
	unit->phase = PHASE_DMA;
	ide_unit_state(unit)->status = ATA_STATUS_BSY;
	ata_run(command, &unit->scatter, 0, command->bytes);
}

static void wait_for_dma(struct ide_unit *unit)
{
	unit->phase = PHASE_DMA_WAIT;
	unit->command.done = dma_done;
	ide_unit_state(unit)->status = ATA_STATUS_DRDY | ATA_STATUS_DSC | ATA_STATUS_DRQ;
	if (ide_channel_state(unit->channel)->bm_status & IDE_BM_STATUS_ACTIVE)
		ide_start_dma(unit);
}

static void simple_done(struct ata_command *command)
{
	struct ide_unit *unit = command->context;

	if (unit->channel->ide->abandoning)
		return;
	end_command(unit);
	raise(unit);
}

/* What was decoded begins. */
static void start(struct ide_unit *unit, bool dma)
{
	struct ata_command *command = &unit->command;

	if (command->work == ATA_WORK_NOTHING || command->bytes == 0) {
		unit->phase = PHASE_RUNNING;
		ide_unit_state(unit)->status = ATA_STATUS_BSY;
		command->done = simple_done;
		ata_run(command, &unit->scatter, 0, 0);
	} else if (dma) {
		wait_for_dma(unit);
	} else {
		start_pio(unit);
	}
}

static void decode_packet(struct ide_unit *unit)
{
	uint8_t packet[ATA_PACKET_BYTES];

	memcpy(packet, unit->data, sizeof(packet));
	atapi_decode(unit->device, &unit->command, packet, UINT32_MAX);
	start(unit, unit->packet_dma);
}

static void wait_for_packet(struct ide_unit *unit)
{
	struct ide_unit_state *state = ide_unit_state(unit);
	uint32_t limit = (uint32_t)(state->lba >> 8 & 0xffff);

	unit->packet_dma = state->feature & 1;
	/* Odd limits are rounded down, and 0 is what a driver of DMA may leave (ATA8-ACS 7.18). */
	unit->limit = limit > 1 ? limit & 0xfffe : 0xfffe;
	unit->at = 0;
	unit->end = unit->filled = ATA_PACKET_BYTES;
	unit->phase = PHASE_PACKET;
	state->count = REASON_COMMAND;
	state->status = ATA_STATUS_DRDY | ATA_STATUS_DRQ;
}

void ide_abandon(struct ide_unit *unit)
{
	struct ide *ide = unit->channel->ide;

	if (unit->device && (unit->phase == PHASE_RUNNING || unit->phase == PHASE_DMA)) {
		ide->abandoning = true;
		drive_drain(&unit->device->drive, true);
		ide->abandoning = false;
	}
	unit->phase = PHASE_IDLE;
	scatter_clear(&unit->scatter);
}

static void write_command(struct ide_channel *channel, uint8_t code)
{
	struct ide_unit *unit = selected(channel);
	struct ide_channel_state *state = ide_channel_state(channel);
	struct ata_command *command = &unit->command;

	/* Both devices take this one. */
	if (code == ATA_EXECUTE_DIAGNOSTIC) {
		state->device &= (uint8_t)~ATA_DEVICE_DEV;
		unit = channel->units[0].device ? &channel->units[0] : &channel->units[1];
		command = &unit->command;
	}
	if (!unit->device)
		return;
	lower(unit);
	if (unit->phase == PHASE_IDLE || code == ATA_DEVICE_RESET) {
		ide_abandon(unit);
	} else {
		log_guest("%s: command %#x while another runs", unit->device->drive.name, code);
		return;
	}
	take_registers(unit, &command->tf, code);
	command->context = unit;
	ata_decode(unit->device, command);
	switch (command->protocol) {
	case ATA_PROTOCOL_PACKET: wait_for_packet(unit); break;
	case ATA_PROTOCOL_RESET: end_command(unit); break;
	default: start(unit, command->protocol == ATA_PROTOCOL_DMA);
	}
	drive_run(&unit->device->drive);
}

void ide_reset_unit(struct ide_unit *unit, bool hard)
{
	struct ide_unit_state *state = ide_unit_state(unit);
	struct ata_taskfile tf;

	ide_abandon(unit);
	*state = (struct ide_unit_state){ 0 };
	if (!unit->device)
		return;
	if (hard)
		ata_reset(unit->device);
	else
		ata_soft_reset(unit->device);
	ata_signature(unit->device, &tf);
	state->status = tf.status;
	state->error = tf.error;
	state->count = tf.count;
	state->lba = tf.lba;
}

void ide_channel_control(struct ide_channel *channel, uint8_t value)
{
	struct ide_channel_state *state = ide_channel_state(channel);
	bool was_reset = state->control & ATA_CONTROL_SRST;

	state->control = value;
	if (!was_reset && (value & ATA_CONTROL_SRST)) {
		for (unsigned i = 0; i < 2; i++) {
			ide_abandon(&channel->units[i]);
			if (channel->units[i].device)
				state->units[i].status = ATA_STATUS_BSY;
			state->units[i].irq = false;
		}
		state->bm_status &= ~IDE_BM_STATUS_ACTIVE;
	} else if (was_reset && !(value & ATA_CONTROL_SRST)) {
		state->device = 0;
		ide_reset_unit(&channel->units[0], false);
		ide_reset_unit(&channel->units[1], false);
	}
	ide_update_line(channel);
}

/* Registers. Writes go to both devices, and push what was there up. */

static void push16(uint16_t *reg, uint8_t value)
{
	*reg = (uint16_t)(*reg << 8 | value);
}

static void push_lba(uint64_t *lba, unsigned byte, uint8_t value)
{
	uint64_t low = *lba >> (8 * byte) & 0xff;

	*lba &= ~(UINT64_C(0xff) << (8 * byte) | UINT64_C(0xff) << (8 * byte + 24));
	*lba |= (uint64_t)value << (8 * byte) | low << (8 * byte + 24);
}

static void write_register(struct ide_channel *channel, unsigned reg, uint8_t value)
{
	struct ide_channel_state *state = ide_channel_state(channel);

	if (reg == REG_STATUS) {
		write_command(channel, value);
		return;
	}
	state->control &= (uint8_t)~ATA_CONTROL_HOB;
	if (reg == REG_DEVICE) {
		state->device = value | ATA_DEVICE_OBS;
		ide_update_line(channel);
		return;
	}
	for (unsigned i = 0; i < 2; i++) {
		struct ide_unit_state *unit = &state->units[i];

		/* A busy device does not look. */
		if (unit->status & ATA_STATUS_BSY)
			continue;
		switch (reg) {
		case REG_ERROR: push16(&unit->feature, value); break;
		case REG_COUNT: push16(&unit->count, value); break;
		default: push_lba(&unit->lba, reg - REG_LBA_LOW, value);
		}
	}
}

/* Without devices the bus floats, but for DD7, which is pulled down so that nobody waits for BSY; a
 * device 0 answers for a device 1 that is missing. */
uint8_t ide_channel_status(struct ide_channel *channel)
{
	struct ide_unit *unit = selected(channel);

	if (!channel->units[0].device && !channel->units[1].device)
		return NO_DEVICES;
	return unit->device ? ide_unit_state(unit)->status : 0;
}

static uint8_t read_register(struct ide_channel *channel, unsigned reg)
{
	struct ide_channel_state *state = ide_channel_state(channel);
	const struct ide_unit_state *unit = ide_unit_state(selected(channel));
	unsigned up = state->control & ATA_CONTROL_HOB ? 1 : 0;
	uint8_t status = ide_channel_status(channel);

	if (status == NO_DEVICES)
		return NO_DEVICES;
	switch (reg) {
	case REG_ERROR: return unit->error;
	case REG_COUNT: return (uint8_t)(unit->count >> (8 * up));
	case REG_LBA_LOW:
	case REG_LBA_MID:
	case REG_LBA_HIGH: return (uint8_t)(unit->lba >> (8 * (reg - REG_LBA_LOW) + 24 * up));
	case REG_DEVICE: return state->device | ATA_DEVICE_OBS;
	default: lower(selected(channel)); return status;
	}
}

static bool moves_data(const struct ide_unit *unit, bool to_device)
{
	return unit->device && unit->at < unit->end &&
	       ((unit->phase == PHASE_PACKET && to_device) ||
		       (unit->phase == PHASE_PIO && unit->command.to_device == to_device));
}

static uint64_t read_data(struct ide_channel *channel, unsigned size)
{
	struct ide_unit *unit = selected(channel);
	uint64_t value = 0;

	for (unsigned i = 0; i < size && moves_data(unit, false); i++) {
		value |= (uint64_t)unit->data[unit->at++] << (8 * i);
		if (unit->at == unit->end)
			block_moved(unit);
	}
	if (unit->phase == PHASE_RUNNING)
		drive_run(&unit->device->drive);
	return value;
}

static void write_data(struct ide_channel *channel, unsigned size, uint64_t value)
{
	struct ide_unit *unit = selected(channel);

	for (unsigned i = 0; i < size && moves_data(unit, true); i++) {
		unit->data[unit->at++] = (uint8_t)(value >> (8 * i));
		if (unit->at == unit->end)
			block_moved(unit);
	}
	if (unit->phase == PHASE_RUNNING || unit->phase == PHASE_DMA)
		drive_run(&unit->device->drive);
}

uint64_t ide_channel_read(struct ide_channel *channel, uint64_t offset, unsigned size)
{
	uint64_t value = 0;

	if (offset == REG_DATA)
		return read_data(channel, size);
	for (unsigned i = 0; i < size && offset + i <= REG_STATUS; i++)
		value |= (uint64_t)read_register(channel, (unsigned)offset + i) << (8 * i);
	return value;
}

void ide_channel_write(struct ide_channel *channel, uint64_t offset, unsigned size, uint64_t value)
{
	if (offset == REG_DATA) {
		write_data(channel, size, value);
		return;
	}
	for (unsigned i = 0; i < size && offset + i <= REG_STATUS; i++)
		write_register(channel, (unsigned)offset + i, (uint8_t)(value >> (8 * i)));
}
