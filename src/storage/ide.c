/*
 * The IDE function of PIIX3 (Intel 82371FB/SB datasheet, 290550): task file registers, PIO, and bus
 * master DMA (Programming Interface for Bus Master IDE, 1.0).
 *
 * Not modelled: timing (the registers are kept), overlap, a transfer that goes on after a restore.
 * Data moves at the speed of the host. Under the machine lock.
 */
#include "storage/ide_channel.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Bus master registers, for each channel. */
#define BM_COMMAND       0
#define BM_STATUS        2
#define BM_TABLE         4
#define BM_CHANNEL_BYTES 8
#define BM_COMMAND_START 0x01
#define BM_COMMAND_KEPT  0x09

#define BM_BAR      4
#define TIMING      0x40 /* configuration space */
#define TIMING_SIZE 12

/* Bus master registers. */

static void write_bm_command(struct ide_channel *channel, uint8_t value)
{
	struct ide_channel_state *state = ide_channel_state(channel);
	bool was_started = state->bm_command & BM_COMMAND_START;

	state->bm_command = value & BM_COMMAND_KEPT;
	if (was_started && !(value & BM_COMMAND_START)) {
		/* A transfer in the middle is lost, and its command is not heard of again. */
		for (unsigned i = 0; i < 2; i++) {
			if (channel->units[i].phase == PHASE_DMA) {
				ide_abandon(&channel->units[i]);
				state->units[i].status = ATA_STATUS_DRDY | ATA_STATUS_DSC;
			}
		}
		state->bm_status &= ~IDE_BM_STATUS_ACTIVE;
	} else if (!was_started && (value & BM_COMMAND_START)) {
		state->bm_status |= IDE_BM_STATUS_ACTIVE;
		for (unsigned i = 0; i < 2; i++) {
			if (channel->units[i].phase != PHASE_DMA_WAIT)
				continue;
			ide_start_dma(&channel->units[i]);
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
	struct ide_channel_state *state = ide_channel_state(channel);
	unsigned reg = offset % BM_CHANNEL_BYTES, shift = 8 * (reg - BM_TABLE);

	switch (reg) {
	case BM_COMMAND: write_bm_command(channel, value); break;
	case BM_STATUS:
		state->bm_status =
			(uint8_t)((state->bm_status & ~(IDE_BM_STATUS_CAPABLE) &
					  ~(value & (IDE_BM_STATUS_INT | IDE_BM_STATUS_ERROR))) |
				  (value & IDE_BM_STATUS_CAPABLE));
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
	return ide_channel_read(device, offset, size);
}

static void block_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	ide_channel_write(device, offset, size, value);
}

static uint64_t control_read(void *device, uint64_t offset, unsigned size)
{
	(void)offset;
	(void)size;
	return ide_channel_status(device);
}

static void control_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	(void)offset;
	(void)size;
	ide_channel_control(device, (uint8_t)value);
}

#define NATIVE_OPS(index)                                                                          \
	static uint64_t block_read_##index(void *device, uint64_t offset, unsigned size)           \
	{                                                                                          \
		return ide_channel_read(&((struct ide *)device)->channels[index], offset, size);   \
	}                                                                                          \
	static void block_write_##index(                                                           \
		void *device, uint64_t offset, unsigned size, uint64_t value)                      \
	{                                                                                          \
		ide_channel_write(&((struct ide *)device)->channels[index], offset, size, value);  \
	}                                                                                          \
	static uint64_t control_read_##index(void *device, uint64_t offset, unsigned size)         \
	{                                                                                          \
		(void)size;                                                                        \
		return offset == 2 ? ide_channel_status(&((struct ide *)device)->channels[index])  \
				   : 0xff;                                                         \
	}                                                                                          \
	static void control_write_##index(                                                         \
		void *device, uint64_t offset, unsigned size, uint64_t value)                      \
	{                                                                                          \
		(void)size;                                                                        \
		if (offset == 2)                                                                   \
			ide_channel_control(                                                       \
				&((struct ide *)device)->channels[index], (uint8_t)value);         \
	}
NATIVE_OPS(0)
NATIVE_OPS(1)

/* State. */

static void ide_reset(void *device)
{
	struct ide *ide = device;

	for (unsigned i = 0; i < IDE_NR_CHANNELS; i++) {
		struct ide_channel *channel = &ide->channels[i];
		struct ide_channel_state *state = ide_channel_state(channel);

		ide_reset_unit(&channel->units[0], true);
		ide_reset_unit(&channel->units[1], true);
		state->table = 0;
		state->device = state->control = 0;
		state->bm_command = 0;
		state->bm_status = 0;
		ide_update_line(channel);
	}
}

/* A command that was in the middle is lost: its device is idle. */
static void ide_restored(void *device)
{
	struct ide *ide = device;

	for (unsigned i = 0; i < IDE_NR_CHANNELS; i++) {
		ide_abandon(&ide->channels[i].units[0]);
		ide_abandon(&ide->channels[i].units[1]);
		ide_update_line(&ide->channels[i]);
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
		ide_abandon(&ide->channels[i / 2].units[i % 2]);
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
	ide_reset_unit(at, true);
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
