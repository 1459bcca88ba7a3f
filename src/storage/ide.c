/*
 * The IDE function of PIIX3 (Intel 82371FB/SB datasheet, 290550): task file registers, PIO, and bus
 * master DMA (Programming Interface for Bus Master IDE, 1.0).
 *
 * Not modelled: timing (the registers are kept), overlap, a transfer that goes on after a restore.
 * Data moves at the speed of the host. Under the machine lock.
 */
#include "storage/ide.h"

#include "base/log.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BUFFER_BYTES (ATA_MAX_MULTIPLE * ATA_SECTOR) /* 4 blocks of a disc too */

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

/* Bus master registers, for each channel. */
#define BM_COMMAND        0
#define BM_STATUS         2
#define BM_TABLE          4
#define BM_CHANNEL_BYTES  8
#define BM_COMMAND_START  0x01
#define BM_COMMAND_KEPT   0x09
#define BM_STATUS_ACTIVE  0x01
#define BM_STATUS_ERROR   0x02
#define BM_STATUS_INT     0x04
#define BM_STATUS_CAPABLE 0x60

#define PRD_END 0x80000000u
/* A table may not cross 64 KiB: so many entries at most. */
#define PRD_MAX 8192

#define BM_BAR      4
#define TIMING      0x40 /* configuration space */
#define TIMING_SIZE 12

/* Interrupt reason: what the count register says in packet commands. */
#define REASON_COMMAND 0x01
#define REASON_TO_HOST 0x02

struct ide_unit_state {
	uint64_t lba; /* as ata_taskfile has it */
	uint16_t feature, count;
	uint8_t status, error;
	bool irq; /* INTRQ */
	uint8_t reserved;
};

struct ide_channel_state {
	struct ide_unit_state units[2];
	uint32_t table;
	uint8_t device; /* the device register, which both have */
	uint8_t control;
	uint8_t bm_command, bm_status;
};

struct ide_state {
	struct ide_channel_state channels[IDE_NR_CHANNELS];
};

enum ide_phase {
	PHASE_IDLE,
	PHASE_RUNNING,  /* the device works: BSY */
	PHASE_PACKET,   /* waits for a packet through the data register */
	PHASE_PIO,      /* data passes through the data register */
	PHASE_DMA_WAIT, /* waits for the bus master */
	PHASE_DMA,
};

struct ide_unit {
	struct ide_channel *channel;
	struct ata_device *device; /* NULL: not there */
	struct ata_command command;
	struct scatter scatter;
	enum ide_phase phase;
	bool packet_dma;
	uint32_t limit;           /* bytes in one DRQ block of a packet command */
	uint32_t at, end, filled; /* of the DRQ block in `data`, and of what `data` holds */
	uint64_t moved;           /* bytes of the command before `data` */
	uint8_t data[BUFFER_BYTES];
};

struct ide_channel {
	struct ide *ide;
	unsigned index;
	struct ide_unit units[2];
};

struct ide {
	struct ide_state state;
	struct pci_function function;
	struct machine *machine;
	struct ide_legacy legacy;
	bool is_legacy;
	bool abandoning; /* commands that end now are not told of */
	struct ide_channel channels[IDE_NR_CHANNELS];
};

static struct ide_channel_state *channel_state(const struct ide_channel *channel)
{
	return &channel->ide->state.channels[channel->index];
}

static struct ide_unit_state *unit_state(const struct ide_unit *unit)
{
	return &channel_state(unit->channel)->units[unit - unit->channel->units];
}

static struct ide_unit *selected(struct ide_channel *channel)
{
	return &channel->units[channel_state(channel)->device & ATA_DEVICE_DEV ? 1 : 0];
}

/* Interrupts. */

static bool line_of(struct ide_channel *channel)
{
	return unit_state(selected(channel))->irq &&
	       !(channel_state(channel)->control & ATA_CONTROL_NIEN);
}

static void update_line(struct ide_channel *channel)
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
	unit_state(unit)->irq = true;
	/* The bus master latches the line's rise. */
	if (line_of(unit->channel))
		channel_state(unit->channel)->bm_status |= BM_STATUS_INT;
	update_line(unit->channel);
}

static void lower(struct ide_unit *unit)
{
	unit_state(unit)->irq = false;
	update_line(unit->channel);
}

/* Commands. */

static void take_registers(struct ide_unit *unit, struct ata_taskfile *tf, uint8_t code)
{
	const struct ide_unit_state *state = unit_state(unit);

	*tf = (struct ata_taskfile){
		.command = code,
		.feature = state->feature,
		.count = state->count,
		.lba = state->lba,
		.device = channel_state(unit->channel)->device,
	};
}

static void give_registers(struct ide_unit *unit, const struct ata_taskfile *tf)
{
	struct ide_unit_state *state = unit_state(unit);

	state->status = tf->status;
	state->error = tf->error;
	state->count = tf->count;
	state->lba = tf->lba;
	if (!(tf->device & ATA_DEVICE_LBA) && tf->device == 0)
		return;
	channel_state(unit->channel)->device =
		(uint8_t)((channel_state(unit->channel)->device & 0xf0) | (tf->device & 0x0f));
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
	struct ide_unit_state *state = unit_state(unit);
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
	uint32_t most = command->is_packet ? BUFFER_BYTES : command->drq_bytes;

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
	unit_state(unit)->status = ATA_STATUS_BSY;
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
	channel_state(unit->channel)->bm_status &= ~BM_STATUS_ACTIVE;
	end_command(unit);
	raise(unit);
}

/* Collects what the PRD table describes. False: some of it is not RAM. */
static bool collect(struct ide_unit *unit, uint64_t bytes)
{
	struct ide *ide = unit->channel->ide;
	uint64_t table = channel_state(unit->channel)->table;

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

static void start_dma(struct ide_unit *unit)
{
	struct ide_channel_state *state = channel_state(unit->channel);
	struct ata_command *command = &unit->command;

	if (!collect(unit, command->bytes)) {
		state->bm_status =
			(uint8_t)((state->bm_status & ~BM_STATUS_ACTIVE) | BM_STATUS_ERROR);
		ata_fail(command, ATA_ERROR_ABRT);
		dma_done(command);
		return;
	}
	if (unit->scatter.bytes < command->bytes) {
		/* The device wants to go on, and nobody serves it: until it is reset. */
		state->bm_status &= ~BM_STATUS_ACTIVE;
		return;
	}
	unit->phase = PHASE_DMA;
	unit_state(unit)->status = ATA_STATUS_BSY;
	ata_run(command, &unit->scatter, 0, command->bytes);
}

static void wait_for_dma(struct ide_unit *unit)
{
	unit->phase = PHASE_DMA_WAIT;
	unit->command.done = dma_done;
	unit_state(unit)->status = ATA_STATUS_DRDY | ATA_STATUS_DSC | ATA_STATUS_DRQ;
	if (channel_state(unit->channel)->bm_status & BM_STATUS_ACTIVE)
		start_dma(unit);
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
		unit_state(unit)->status = ATA_STATUS_BSY;
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
	struct ide_unit_state *state = unit_state(unit);
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

/* Nothing of the unit is in flight afterwards, and nobody is told of what was. */
static void abandon(struct ide_unit *unit)
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
	struct ide_channel_state *state = channel_state(channel);
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
		abandon(unit);
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

static void reset_unit(struct ide_unit *unit, bool hard)
{
	struct ide_unit_state *state = unit_state(unit);
	struct ata_taskfile tf;

	abandon(unit);
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

static void write_control(struct ide_channel *channel, uint8_t value)
{
	struct ide_channel_state *state = channel_state(channel);
	bool was_reset = state->control & ATA_CONTROL_SRST;

	state->control = value;
	if (!was_reset && (value & ATA_CONTROL_SRST)) {
		for (unsigned i = 0; i < 2; i++) {
			abandon(&channel->units[i]);
			if (channel->units[i].device)
				state->units[i].status = ATA_STATUS_BSY;
			state->units[i].irq = false;
		}
		state->bm_status &= ~BM_STATUS_ACTIVE;
	} else if (was_reset && !(value & ATA_CONTROL_SRST)) {
		state->device = 0;
		reset_unit(&channel->units[0], false);
		reset_unit(&channel->units[1], false);
	}
	update_line(channel);
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
	struct ide_channel_state *state = channel_state(channel);

	if (reg == REG_STATUS) {
		write_command(channel, value);
		return;
	}
	state->control &= (uint8_t)~ATA_CONTROL_HOB;
	if (reg == REG_DEVICE) {
		state->device = value | ATA_DEVICE_OBS;
		update_line(channel);
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

/* Without devices the bus floats; a device 0 answers for a device 1 that is missing. */
static uint8_t read_status(struct ide_channel *channel)
{
	struct ide_unit *unit = selected(channel);

	if (!channel->units[0].device && !channel->units[1].device)
		return 0xff;
	return unit->device ? unit_state(unit)->status : 0;
}

static uint8_t read_register(struct ide_channel *channel, unsigned reg)
{
	struct ide_channel_state *state = channel_state(channel);
	const struct ide_unit_state *unit = unit_state(selected(channel));
	unsigned up = state->control & ATA_CONTROL_HOB ? 1 : 0;
	uint8_t status = read_status(channel);

	if (status == 0xff)
		return 0xff;
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

static uint64_t channel_read(struct ide_channel *channel, uint64_t offset, unsigned size)
{
	uint64_t value = 0;

	if (offset == REG_DATA)
		return read_data(channel, size);
	for (unsigned i = 0; i < size && offset + i <= REG_STATUS; i++)
		value |= (uint64_t)read_register(channel, (unsigned)offset + i) << (8 * i);
	return value;
}

static void channel_write(
	struct ide_channel *channel, uint64_t offset, unsigned size, uint64_t value)
{
	if (offset == REG_DATA) {
		write_data(channel, size, value);
		return;
	}
	for (unsigned i = 0; i < size && offset + i <= REG_STATUS; i++)
		write_register(channel, (unsigned)offset + i, (uint8_t)(value >> (8 * i)));
}

/* Bus master registers. */

static void write_bm_command(struct ide_channel *channel, uint8_t value)
{
	struct ide_channel_state *state = channel_state(channel);
	bool was_started = state->bm_command & BM_COMMAND_START;

	state->bm_command = value & BM_COMMAND_KEPT;
	if (was_started && !(value & BM_COMMAND_START)) {
		/* A transfer in the middle is lost, and its command is not heard of again. */
		for (unsigned i = 0; i < 2; i++) {
			if (channel->units[i].phase == PHASE_DMA) {
				abandon(&channel->units[i]);
				state->units[i].status = ATA_STATUS_DRDY | ATA_STATUS_DSC;
			}
		}
		state->bm_status &= ~BM_STATUS_ACTIVE;
	} else if (!was_started && (value & BM_COMMAND_START)) {
		state->bm_status |= BM_STATUS_ACTIVE;
		for (unsigned i = 0; i < 2; i++) {
			if (channel->units[i].phase != PHASE_DMA_WAIT)
				continue;
			start_dma(&channel->units[i]);
			drive_run(&channel->units[i].device->drive);
			break;
		}
	}
}

static uint8_t bm_read_byte(const struct ide *ide, uint64_t offset)
{
	const struct ide_channel_state *state =
		&ide->state.channels[offset / BM_CHANNEL_BYTES % IDE_NR_CHANNELS];
	unsigned reg = offset % BM_CHANNEL_BYTES;

	switch (reg) {
	case BM_COMMAND: return state->bm_command;
	case BM_STATUS: return state->bm_status;
	case 1:
	case 3: return 0;
	default: return (uint8_t)(state->table >> (8 * (reg - BM_TABLE)));
	}
}

static void bm_write_byte(struct ide *ide, uint64_t offset, uint8_t value)
{
	struct ide_channel *channel = &ide->channels[offset / BM_CHANNEL_BYTES % IDE_NR_CHANNELS];
	struct ide_channel_state *state = channel_state(channel);
	unsigned reg = offset % BM_CHANNEL_BYTES, shift = 8 * (reg - BM_TABLE);

	switch (reg) {
	case BM_COMMAND: write_bm_command(channel, value); break;
	case BM_STATUS:
		state->bm_status = (uint8_t)((state->bm_status & ~(BM_STATUS_CAPABLE) &
						     ~(value & (BM_STATUS_INT | BM_STATUS_ERROR))) |
					     (value & BM_STATUS_CAPABLE));
		break;
	case 1:
	case 3: break;
	default:
		state->table = (state->table & ~(0xffu << shift)) | (uint32_t)value << shift;
		state->table &= ~3u;
	}
}

static uint64_t bm_read(void *device, uint64_t offset, unsigned size)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < size; i++)
		value |= (uint64_t)bm_read_byte(device, offset + i) << (8 * i);
	return value;
}

static void bm_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	for (unsigned i = 0; i < size; i++)
		bm_write_byte(device, offset + i, (uint8_t)(value >> (8 * i)));
}

/* From an address space or a BAR to a channel. */

static uint64_t block_read(void *device, uint64_t offset, unsigned size)
{
	return channel_read(device, offset, size);
}

static void block_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	channel_write(device, offset, size, value);
}

static uint64_t control_read(void *device, uint64_t offset, unsigned size)
{
	(void)offset;
	(void)size;
	return read_status(device);
}

static void control_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	(void)offset;
	(void)size;
	write_control(device, (uint8_t)value);
}

#define NATIVE_OPS(index)                                                                          \
	static uint64_t block_read_##index(void *device, uint64_t offset, unsigned size)           \
	{                                                                                          \
		return channel_read(&((struct ide *)device)->channels[index], offset, size);       \
	}                                                                                          \
	static void block_write_##index(                                                           \
		void *device, uint64_t offset, unsigned size, uint64_t value)                      \
	{                                                                                          \
		channel_write(&((struct ide *)device)->channels[index], offset, size, value);      \
	}                                                                                          \
	static uint64_t control_read_##index(void *device, uint64_t offset, unsigned size)         \
	{                                                                                          \
		(void)size;                                                                        \
		return offset == 2 ? read_status(&((struct ide *)device)->channels[index]) : 0xff; \
	}                                                                                          \
	static void control_write_##index(                                                         \
		void *device, uint64_t offset, unsigned size, uint64_t value)                      \
	{                                                                                          \
		(void)size;                                                                        \
		if (offset == 2)                                                                   \
			write_control(&((struct ide *)device)->channels[index], (uint8_t)value);   \
	}
NATIVE_OPS(0)
NATIVE_OPS(1)

/* State. */

static void ide_reset(void *device)
{
	struct ide *ide = device;

	for (unsigned i = 0; i < IDE_NR_CHANNELS; i++) {
		struct ide_channel *channel = &ide->channels[i];
		struct ide_channel_state *state = channel_state(channel);

		reset_unit(&channel->units[0], true);
		reset_unit(&channel->units[1], true);
		state->table = 0;
		state->device = state->control = 0;
		state->bm_command = 0;
		state->bm_status = 0;
		update_line(channel);
	}
}

/* A command that was in the middle is lost: its device is idle. */
static void ide_restored(void *device)
{
	struct ide *ide = device;

	for (unsigned i = 0; i < IDE_NR_CHANNELS; i++) {
		abandon(&ide->channels[i].units[0]);
		abandon(&ide->channels[i].units[1]);
		update_line(&ide->channels[i]);
	}
}

static const struct state_field unit_fields[] = {
	STATE(struct ide_unit_state, lba),
	STATE(struct ide_unit_state, feature),
	STATE(struct ide_unit_state, count),
	STATE(struct ide_unit_state, status),
	STATE(struct ide_unit_state, error),
	STATE(struct ide_unit_state, irq),
	STATE_PAD(struct ide_unit_state, reserved),
};
static const struct state_table unit_table =
	STATE_TABLE_OF(struct ide_unit_state, "ide_unit", unit_fields, NULL);

static const struct state_field channel_fields[] = {
	STATE_STRUCTS(struct ide_channel_state, units, &unit_table),
	STATE(struct ide_channel_state, table),
	STATE(struct ide_channel_state, device),
	STATE(struct ide_channel_state, control),
	STATE(struct ide_channel_state, bm_command),
	STATE(struct ide_channel_state, bm_status),
};
static const struct state_table channel_table =
	STATE_TABLE_OF(struct ide_channel_state, "ide_channel", channel_fields, NULL);

static const struct state_field ide_fields[] = {
	STATE_STRUCTS(struct ide_state, channels, &channel_table),
};
static const struct state_table ide_table =
	STATE_TABLE_OF(struct ide_state, "ide", ide_fields, NULL);

static const struct device_type ide_type = {
	.name = "ide",
	.state = &ide_table,
	.state_offset = offsetof(struct ide, state),
	.restored = ide_restored,
};

/* Life. */

static void map_legacy(struct ide *ide)
{
	static const struct io_ops block_ops = { block_read, block_write, 4 };
	static const struct io_ops control_ops = { control_read, control_write, 1 };
	static const char *const names[IDE_NR_CHANNELS] = { "ide-primary", "ide-secondary" };

	for (unsigned i = 0; i < IDE_NR_CHANNELS; i++) {
		struct io_region region = { .base = ide->legacy.command_port[i],
			.size = 8,
			.ops = &block_ops,
			.device = &ide->channels[i],
			.name = names[i] };

		address_space_map(&ide->machine->pio, &region);
		region.base = ide->legacy.control_port[i];
		region.size = 1;
		region.ops = &control_ops;
		address_space_map(&ide->machine->pio, &region);
	}
}

static void add_native_bars(struct ide *ide)
{
	static const struct io_ops ops[] = {
		{ block_read_0, block_write_0, 4 },
		{ control_read_0, control_write_0, 1 },
		{ block_read_1, block_write_1, 4 },
		{ control_read_1, control_write_1, 1 },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(ops); i++) {
		struct pci_bar bar = {
			.kind = PCI_BAR_IO, .size = i % 2 ? 4 : 8, .ops = &ops[i], .name = "ide"
		};

		pci_add_bar(&ide->function, i, &bar);
	}
}

static void add_function(struct ide *ide, const char *name)
{
	static const struct pci_function_ops function_ops = { .reset = ide_reset };
	static const struct io_ops bm_ops = { bm_read, bm_write, 4 };
	static const struct pci_bar bm = {
		.kind = PCI_BAR_IO, .size = 16, .ops = &bm_ops, .name = "ide-bus-master"
	};
	struct pci_identity identity = {
		.vendor_id = 0x8086,
		.device_id = 0x7010,
		.class_code = ide->is_legacy ? 0x010180 : 0x010185,
		.interrupt_pin = ide->is_legacy ? 0 : 1,
	};
	struct pci_function *function = &ide->function;

	pci_function_init(function, name, &identity, &function_ops, ide);
	if (!ide->is_legacy)
		add_native_bars(ide);
	pci_add_bar(function, BM_BAR, &bm);
	/* IDETIM and what follows: kept. Both channels are decoded. */
	memset(function->writable + TIMING, 0xff, TIMING_SIZE);
	function->reset_config[TIMING + 1] = function->reset_config[TIMING + 3] = 0x80;
	function->state.config[TIMING + 1] = function->state.config[TIMING + 3] = 0x80;
}

int ide_create(struct ide **created, const char *name, struct machine *machine,
	const struct ide_legacy *legacy, struct error *err)
{
	struct ide *ide = calloc(1, sizeof(*ide));

	*created = ide;
	if (!ide)
		return error_set_errno(
			err, EXIT_CODE_HOST, ENOMEM, "cannot create the controller %s", name);
	ide->machine = machine;
	ide->is_legacy = legacy;
	if (legacy)
		ide->legacy = *legacy;
	for (unsigned i = 0; i < IDE_NR_CHANNELS; i++) {
		ide->channels[i].ide = ide;
		ide->channels[i].index = i;
		ide->channels[i].units[0].channel = ide->channels[i].units[1].channel =
			&ide->channels[i];
	}
	add_function(ide, name);
	machine_lock(machine);
	machine_add_device(machine, &ide_type, name, ide);
	if (legacy)
		map_legacy(ide);
	machine_unlock(machine);
	return 0;
}

void ide_destroy(struct ide *ide)
{
	if (!ide)
		return;
	machine_lock(ide->machine);
	for (unsigned i = 0; i < IDE_NR_UNITS; i++)
		abandon(&ide->channels[i / 2].units[i % 2]);
	for (unsigned i = 0; i < IDE_NR_CHANNELS && ide->is_legacy; i++) {
		address_space_unmap(&ide->machine->pio, ide->legacy.command_port[i]);
		address_space_unmap(&ide->machine->pio, ide->legacy.control_port[i]);
	}
	machine_remove_device(ide->machine, ide);
	machine_unlock(ide->machine);
	for (unsigned i = 0; i < IDE_NR_UNITS; i++) {
		ata_destroy(ide_device(ide, i));
		scatter_finish(&ide->channels[i / 2].units[i % 2].scatter);
	}
	pci_function_finish(&ide->function);
	free(ide);
}

struct pci_function *ide_function(struct ide *ide)
{
	return &ide->function;
}

int ide_attach(struct ide *ide, unsigned unit, const char *name,
	const struct ata_identity *identity, struct block_device *image, struct error *err)
{
	struct ide_unit *at = &ide->channels[unit / 2].units[unit % 2];
	struct ata_identity parallel = *identity;
	struct ata_device *device;
	int rc;

	assert(unit < IDE_NR_UNITS && !at->device);
	parallel.is_serial = false;
	rc = ata_create(&device, name, &parallel, ide->machine, image, err);
	if (rc < 0)
		return rc;
	machine_lock(ide->machine);
	at->device = device;
	reset_unit(at, true);
	machine_unlock(ide->machine);
	return 0;
}

int ide_free_unit(const struct ide *ide)
{
	for (int i = 0; i < IDE_NR_UNITS; i++) {
		if (!ide->channels[i / 2].units[i % 2].device)
			return i;
	}
	return -1;
}

struct ata_device *ide_device(struct ide *ide, unsigned unit)
{
	return unit < IDE_NR_UNITS ? ide->channels[unit / 2].units[unit % 2].device : NULL;
}
