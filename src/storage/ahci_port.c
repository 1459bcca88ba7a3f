/*
 * A port of an AHCI controller: its commands, from the list in memory to the FIS that tells of the
 * end (AHCI 1.3.1, 5 and 6; SATA 3.0, 10 and 13.6). Under the machine lock.
 */
#include "storage/ahci_port.h"

#include "base/log.h"

#include <string.h>

#define PRDT_BATCH 64

#define PORT_BIT(port) (1u << (port)->index)

/* Interrupts (10.7). */

void ahci_update_interrupt(struct ahci *ahci, bool again)
{
	bool level = (ahci->state.ghc & AHCI_GHC_IE) && ahci->state.is;

	if (pci_msi_is_enabled(&ahci->function)) {
		if (level && again)
			pci_msi_notify(&ahci->function, 0);
		level = false;
	}
	pci_set_intx(&ahci->function, level);
}

void ahci_port_raise(struct ahci_port *port, uint32_t bits)
{
	struct ahci_port_state *state = ahci_port_state(port);

	state->is |= bits;
	if (!(state->is & state->ie))
		return;
	port->ahci->state.is |= PORT_BIT(port);
	ahci_update_interrupt(port->ahci, true);
}

/* Memory. A controller that is not bus master reaches none. */

static bool dma_read(const struct ahci *ahci, gpa_t address, void *to, uint64_t bytes)
{
	return pci_is_bus_master(&ahci->function) &&
	       guest_memory_read(&ahci->machine->memory, address, to, bytes) == 0;
}

static bool dma_write(const struct ahci *ahci, gpa_t address, const void *from, uint64_t bytes)
{
	return pci_is_bus_master(&ahci->function) &&
	       guest_memory_write(&ahci->machine->memory, address, from, bytes) == 0;
}

static void receive(struct ahci_port *port, unsigned offset, const uint8_t *fis, unsigned bytes)
{
	const struct ahci_port_state *state = ahci_port_state(port);
	gpa_t base = (uint64_t)state->fbu << 32 | state->fb;

	if ((state->cmd & AHCI_PXCMD_FRE) && !dma_write(port->ahci, base + offset, fis, bytes))
		log_guest("%s: the memory for received FIS is not RAM", port->ahci->function.name);
}

static void put_taskfile(uint8_t *fis, const struct ata_taskfile *tf)
{
	fis[2] = tf->status;
	fis[3] = tf->error;
	fis[4] = (uint8_t)tf->lba;
	fis[5] = (uint8_t)(tf->lba >> 8);
	fis[6] = (uint8_t)(tf->lba >> 16);
	fis[7] = tf->device;
	fis[8] = (uint8_t)(tf->lba >> 24);
	fis[9] = (uint8_t)(tf->lba >> 32);
	fis[10] = (uint8_t)(tf->lba >> 40);
	fis[12] = (uint8_t)tf->count;
	fis[13] = (uint8_t)(tf->count >> 8);
}

static void set_tfd(struct ahci_port *port, const struct ata_taskfile *tf)
{
	ahci_port_state(port)->tfd = (uint32_t)tf->error << 8 | tf->status;
}

/* Register, device to host; with the interrupt bit but for signatures. */
static void send_d2h(struct ahci_port *port, const struct ata_taskfile *tf, bool interrupt)
{
	uint8_t fis[20] = { FIS_D2H, interrupt ? 0x40 : 0 };

	put_taskfile(fis, tf);
	receive(port, AHCI_RFIS_D2H, fis, sizeof(fis));
	set_tfd(port, tf);
	if (interrupt)
		ahci_port_raise(port, AHCI_PXIS_DHRS);
}

static void send_pio_setup(struct ahci_port *port, const struct ata_command *command)
{
	uint8_t fis[20] = { FIS_PIO_SETUP, (uint8_t)(0x40 | (command->to_device ? 0 : 0x20)) };

	put_taskfile(fis, &command->tf);
	fis[2] |= ATA_STATUS_DRQ;
	fis[15] = command->tf.status;
	fis[16] = (uint8_t)command->bytes;
	fis[17] = (uint8_t)(command->bytes >> 8);
	receive(port, AHCI_RFIS_PIO_SETUP, fis, sizeof(fis));
	ahci_port_raise(port, AHCI_PXIS_PSS);
}

static void send_set_device_bits(
	struct ahci_port *port, const struct ata_taskfile *tf, uint32_t slots)
{
	struct ahci_port_state *state = ahci_port_state(port);
	uint8_t fis[8] = { FIS_SDB, 0x40, tf->status & 0x77, tf->error };

	memcpy(fis + 4, &slots, sizeof(slots));
	receive(port, AHCI_RFIS_SDB, fis, sizeof(fis));
	/* BSY and DRQ are not this FIS's. */
	state->tfd = (state->tfd & 0x88) | (uint32_t)tf->error << 8 | (tf->status & 0x77);
	state->sact &= ~slots;
	ahci_port_raise(port, AHCI_PXIS_SDBS | (tf->status & ATA_STATUS_ERR ? AHCI_PXIS_TFES : 0));
}

/* The end of commands. */

static void issue(struct ahci_port *port);

static void stop_after_error(struct ahci_port *port, uint32_t bits)
{
	port->failed = true;
	ahci_port_raise(port, bits);
}

static void finish_queued(
	struct ahci_port *port, struct ahci_slot *slot, const struct ata_taskfile *tf)
{
	uint32_t bit = 1u << (slot - port->slots);

	port->queued &= ~bit;
	/* After one has failed the device reports no other (SATA 3.0, 13.6.4.4). */
	if (port->failed)
		return;
	if (tf->status & ATA_STATUS_ERR) {
		port->failed = true;
		bit = 0;
	}
	send_set_device_bits(port, tf, bit);
}

static void finish_plain(
	struct ahci_port *port, struct ahci_slot *slot, const struct ata_taskfile *tf)
{
	struct ahci_port_state *state = ahci_port_state(port);
	uint32_t bit = 1u << (slot - port->slots);
	uint32_t moved = slot->scatter.bytes && !(tf->status & ATA_STATUS_ERR)
				 ? (uint32_t)slot->scatter.bytes
				 : 0;
	bool pio_in = slot->command.protocol == ATA_PROTOCOL_PIO && !slot->command.to_device;

	dma_write(port->ahci, slot->header + 4, &moved, sizeof(moved));
	if (tf->status & ATA_STATUS_ERR) {
		port->failed = true;
		send_d2h(port, tf, true);
		ahci_port_raise(port, AHCI_PXIS_TFES);
		return;
	}
	state->ci &= ~bit;
	if (slot->wants_dps)
		ahci_port_raise(port, AHCI_PXIS_DPS);
	if (pio_in) {
		set_tfd(port, tf);
		send_pio_setup(port, &slot->command);
	} else {
		send_d2h(port, tf, true);
	}
}

static void command_done(struct ata_command *command)
{
	struct ahci_slot *slot = container_of(command, struct ahci_slot, command);
	struct ahci_port *port = command->context;
	struct ata_taskfile tf = command->tf;

	slot->running = false;
	port->running &= ~(1u << (slot - port->slots));
	if (command->is_packet) {
		/* Interrupt reason: a status, to the host. */
		tf.count = 3;
		if (!(tf.status & ATA_STATUS_ERR))
			tf.status = ATA_STATUS_DRDY | ATA_STATUS_DSC;
	}
	if (command->protocol == ATA_PROTOCOL_NCQ)
		finish_queued(port, slot, &tf);
	else
		finish_plain(port, slot, &tf);
	scatter_clear(&slot->scatter);
	issue(port);
}

/* Beginning commands. */

/* Collects what the PRD table describes, up to `bytes`. False: some of it is not RAM. */
static bool collect(struct ahci_port *port, struct ahci_slot *slot, uint64_t table,
	uint32_t entries, uint64_t bytes, bool writable)
{
	uint32_t prd[PRDT_BATCH][4];

	slot->scatter.memory = &port->ahci->machine->memory;
	slot->wants_dps = false;
	for (uint32_t i = 0; i < entries && slot->scatter.bytes < bytes; i++) {
		uint32_t *entry = prd[i % PRDT_BATCH];
		uint32_t batch = entries - i < PRDT_BATCH ? entries - i : PRDT_BATCH;
		uint64_t size, left = bytes - slot->scatter.bytes;

		if (i % PRDT_BATCH == 0 &&
			!dma_read(port->ahci, table + (uint64_t)i * AHCI_PRD_BYTES, prd,
				(uint64_t)batch * AHCI_PRD_BYTES))
			return false;
		size = field_get(AHCI_PRD_DBC, entry[3]) + 1;
		size += size & 1; /* bit 0 shall be 1 */
		if (entry[3] & AHCI_PRD_I)
			slot->wants_dps = true;
		if (!scatter_add(&slot->scatter,
			    ((uint64_t)entry[1] << 32 | entry[0]) & ~UINT64_C(1),
			    size < left ? size : left, writable))
			return false;
	}
	return true;
}

static void take_fis(struct ata_taskfile *tf, const uint8_t *fis)
{
	*tf = (struct ata_taskfile){
		.command = fis[2],
		.feature = (uint16_t)(fis[3] | fis[11] << 8),
		.lba = fis[4] | (uint64_t)fis[5] << 8 | (uint64_t)fis[6] << 16 |
		       (uint64_t)fis[8] << 24 | (uint64_t)fis[9] << 32 | (uint64_t)fis[10] << 40,
		.device = fis[7],
		.count = (uint16_t)(fis[12] | fis[13] << 8),
	};
}

static void send_signature(struct ahci_port *port)
{
	struct ata_taskfile tf = { 0 };

	ata_signature(port->device, &tf);
	ahci_port_state(port)->sig =
		port->device->identity.is_packet ? AHCI_SIGNATURE_PACKET : AHCI_SIGNATURE_DISK;
	send_d2h(port, &tf, false);
}

/* A FIS that writes the device control register: a software reset is two, on and off. */
static void control(struct ahci_port *port, unsigned index, const uint8_t *fis)
{
	struct ahci_port_state *state = ahci_port_state(port);

	state->ci &= ~(1u << index);
	if (fis[15] & ATA_CONTROL_SRST) {
		drive_drain(&port->device->drive, true);
		ata_soft_reset(port->device);
		state->tfd |= ATA_STATUS_BSY;
	} else if (state->tfd & ATA_STATUS_BSY) {
		send_signature(port);
	}
}

/* Packet commands: what data there is, the packet says, and how much of it, the PRD table. */
static bool decode_packet(
	struct ahci_port *port, struct ahci_slot *slot, uint64_t table, uint64_t room)
{
	uint8_t packet[ATA_PACKET_BYTES];

	if (!dma_read(port->ahci, table + AHCI_TABLE_ACMD, packet, sizeof(packet)))
		return false;
	atapi_decode(port->device, &slot->command, packet,
		room > UINT32_MAX ? UINT32_MAX : (uint32_t)room);
	return true;
}

/* The bytes that a PRD table has room for; UINT64_MAX: it is not in RAM. */
static uint64_t room_of(struct ahci_port *port, uint64_t table, uint32_t entries)
{
	uint64_t room = 0;

	/* Answers are short; a transfer of blocks that does not fit is found out later. */
	for (uint32_t i = 0; i < entries && room < ATA_BUFFER_BYTES; i++) {
		uint32_t entry[4];

		if (!dma_read(
			    port->ahci, table + (uint64_t)i * AHCI_PRD_BYTES, entry, sizeof(entry)))
			return UINT64_MAX;
		room += (field_get(AHCI_PRD_DBC, entry[3]) | 1) + 1;
	}
	return room;
}

static void start_slot(struct ahci_port *port, unsigned index)
{
	struct ahci_port_state *state = ahci_port_state(port);
	struct ahci_slot *slot = &port->slots[index];
	struct ata_command *command = &slot->command;
	uint32_t header[4], entries;
	uint8_t fis[20];
	uint64_t table, room;

	slot->header = ((uint64_t)state->clbu << 32 | state->clb) + index * AHCI_HEADER_BYTES;
	if (!dma_read(port->ahci, slot->header, header, sizeof(header))) {
		stop_after_error(port, AHCI_PXIS_HBFS);
		return;
	}
	table = (uint64_t)header[3] << 32 | (header[2] & ~0x7fu);
	entries = (uint32_t)field_get(AHCI_HEADER_PRDTL, header[0]);
	if (field_get(AHCI_HEADER_CFL, header[0]) < 4 ||
		!dma_read(port->ahci, table, fis, sizeof(fis))) {
		stop_after_error(port, AHCI_PXIS_HBFS);
		return;
	}
	if (fis[0] != FIS_H2D || !(fis[1] & 0x80)) {
		control(port, index, fis);
		return;
	}
	scatter_clear(&slot->scatter);
	take_fis(&command->tf, fis);
	command->context = port;
	command->done = command_done;
	ata_decode(port->device, command);
	if (command->protocol == ATA_PROTOCOL_PACKET) {
		room = room_of(port, table + AHCI_TABLE_PRDT, entries);
		if (room == UINT64_MAX || !decode_packet(port, slot, table, room)) {
			stop_after_error(port, AHCI_PXIS_HBFS);
			return;
		}
	}
	if (command->work != ATA_WORK_NOTHING && command->bytes > 0) {
		if (!collect(port, slot, table + AHCI_TABLE_PRDT, entries, command->bytes,
			    !command->to_device)) {
			stop_after_error(port, AHCI_PXIS_HBFS);
			return;
		}
		if (slot->scatter.bytes < command->bytes) {
			ahci_port_raise(port, AHCI_PXIS_OFS);
			ata_fail(command, ATA_ERROR_ABRT);
		}
	}
	slot->running = true;
	port->running |= 1u << index;
	if (command->protocol == ATA_PROTOCOL_NCQ) {
		/* The device takes it, and is free for the next. */
		port->queued |= 1u << index;
		state->ci &= ~(1u << index);
		state->tfd = (state->tfd & ~UINT32_C(0x88)) | ATA_STATUS_DRDY;
	} else {
		state->tfd |= ATA_STATUS_BSY;
	}
	ata_run(command, &slot->scatter, 0, command->bytes);
}

/* May another command go to the device? */
static bool may_issue(const struct ahci_port *port)
{
	const struct ahci_port_state *state = ahci_port_state(port);

	return port->device && (state->cmd & AHCI_PXCMD_ST) && !port->failed && state->ci &&
	       !(port->running & ~port->queued) && !(port->running & state->ci);
}

/* The device's next command. One that is not queued waits until the device has no other. */
static void issue(struct ahci_port *port)
{
	struct ahci_port_state *state = ahci_port_state(port);

	/* What ends at once comes back here; the loop goes on with the next. */
	if (port->issuing)
		return;
	port->issuing = true;
	for (unsigned i = 0; i < AHCI_NR_SLOTS && may_issue(port); i++) {
		unsigned index = port->next;

		port->next = (port->next + 1) % AHCI_NR_SLOTS;
		if (!(state->ci & 1u << index))
			continue;
		if (port->queued && !(state->sact & 1u << index)) {
			port->next = (uint8_t)index;
			break;
		}
		state->cmd = (uint32_t)field_set(AHCI_PXCMD_CCS, state->cmd, index);
		start_slot(port, index);
	}
	port->issuing = false;
}

void ahci_port_run(struct ahci_port *port)
{
	issue(port);
	if (port->device)
		drive_run(&port->device->drive);
}

/* Resets and start and stop. */

void ahci_port_abandon(struct ahci_port *port)
{
	port->failed = true;
	port->issuing = true;
	if (port->device)
		drive_drain(&port->device->drive, true);
	port->issuing = false;
	port->running = port->queued = 0;
	port->next = 0;
}

static void stop(struct ahci_port *port)
{
	struct ahci_port_state *state = ahci_port_state(port);
	uint32_t is = state->is, global = port->ahci->state.is;
	struct ata_device_state device;

	if (port->device)
		device = port->device->state;
	ahci_port_abandon(port);
	/* As if the commands had never ended. */
	state->is = is;
	port->ahci->state.is = global;
	if (port->device)
		port->device->state = device;
	state->ci = state->sact = 0;
	state->cmd &= ~(uint32_t)(AHCI_PXCMD_CCS | AHCI_PXCMD_CR);
	port->failed = false;
	ahci_update_interrupt(port->ahci, false);
}

void ahci_port_reset(struct ahci_port *port)
{
	struct ahci_port_state *state = ahci_port_state(port);

	stop(port);
	*state = (struct ahci_port_state){
		.cmd = AHCI_PXCMD_SUD | AHCI_PXCMD_POD,
		.tfd = 0x7f,
		.sig = AHCI_SIGNATURE_NONE,
	};
	if (!port->device)
		return;
	ata_reset(port->device);
	state->ssts = AHCI_PXSSTS_UP;
	state->serr = AHCI_PXSERR_X;
	state->is = AHCI_PXIS_PCS;
	send_signature(port);
}

/* COMRESET: while DET is 1 the link is down; afterwards the device sends its signature. */
void ahci_port_write_sctl(struct ahci_port *port, uint32_t value)
{
	struct ahci_port_state *state = ahci_port_state(port);
	uint64_t before = field_get(AHCI_PXSCTL_DET, state->sctl);
	uint64_t after = field_get(AHCI_PXSCTL_DET, value);

	state->sctl = value & AHCI_PXSCTL_WRITABLE;
	if (before != 1 && after == 1) {
		stop(port);
		state->ssts = 0;
		state->tfd = 0x7f | ATA_STATUS_BSY;
		state->sig = AHCI_SIGNATURE_NONE;
	} else if (after == 4) {
		state->ssts = 4; /* offline */
	} else if (before != after && after == 0 && port->device) {
		ata_reset(port->device);
		state->ssts = AHCI_PXSSTS_UP;
		state->serr |= AHCI_PXSERR_X;
		send_signature(port);
		ahci_port_raise(port, AHCI_PXIS_PCS | AHCI_PXIS_PRCS);
	}
}

void ahci_port_write_cmd(struct ahci_port *port, uint32_t value)
{
	struct ahci_port_state *state = ahci_port_state(port);
	bool had_fre = state->cmd & AHCI_PXCMD_FRE;

	if ((state->cmd & AHCI_PXCMD_ST) && !(value & AHCI_PXCMD_ST))
		stop(port);
	state->cmd =
		(uint32_t)((state->cmd & ~AHCI_PXCMD_WRITABLE) | (value & AHCI_PXCMD_WRITABLE));
	state->cmd &= ~(uint32_t)(AHCI_PXCMD_FR | AHCI_PXCMD_CR);
	if (state->cmd & AHCI_PXCMD_FRE)
		state->cmd |= AHCI_PXCMD_FR;
	if (state->cmd & AHCI_PXCMD_ST)
		state->cmd |= (uint32_t)AHCI_PXCMD_CR;
	/* The signature waits for memory to be received in. */
	if (!had_fre && (state->cmd & AHCI_PXCMD_FRE) && port->device &&
		state->ssts == AHCI_PXSSTS_UP && !(state->cmd & AHCI_PXCMD_ST))
		send_signature(port);
	if (value & AHCI_PXCMD_CLO)
		state->tfd &= ~UINT32_C(0x88);
	ahci_port_run(port);
}
