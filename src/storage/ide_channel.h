/*
 * What the files of the IDE function share: its state, and its channels (ide_channel.c). Under the
 * machine lock.
 */
#ifndef STORAGE_IDE_CHANNEL_H
#define STORAGE_IDE_CHANNEL_H

#include "storage/ide.h"

/* Sectors of READ MULTIPLE; four blocks of a disc. */
#define IDE_BUFFER_BYTES (ATA_MAX_MULTIPLE * ATA_SECTOR)

/* The bus master's status register. */
#define IDE_BM_STATUS_ACTIVE  0x01
#define IDE_BM_STATUS_ERROR   0x02
#define IDE_BM_STATUS_INT     0x04
#define IDE_BM_STATUS_CAPABLE 0x60

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
	uint8_t data[IDE_BUFFER_BYTES];
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

static inline struct ide_channel_state *ide_channel_state(const struct ide_channel *channel)
{
	return &channel->ide->state.channels[channel->index];
}

static inline struct ide_unit_state *ide_unit_state(const struct ide_unit *unit)
{
	return &ide_channel_state(unit->channel)->units[unit - unit->channel->units];
}

/* The task file, `offset` 0 to 7; accesses of 16 and 32 bits to the data register. */
uint64_t ide_channel_read(struct ide_channel *channel, uint64_t offset, unsigned size);
void ide_channel_write(struct ide_channel *channel, uint64_t offset, unsigned size, uint64_t value);
/* Alternate status, and device control. */
uint8_t ide_channel_status(struct ide_channel *channel);
void ide_channel_control(struct ide_channel *channel, uint8_t value);

/* The bus master was started, and the unit waits for it. */
void ide_start_dma(struct ide_unit *unit);
/* Nothing of the unit is in flight afterwards, and nobody is told of what was. */
void ide_abandon(struct ide_unit *unit);
void ide_reset_unit(struct ide_unit *unit, bool hard);
void ide_update_line(struct ide_channel *channel);

#endif
