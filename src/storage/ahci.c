/*
 * The registers and ports of an AHCI controller (AHCI 1.3.1), as Intel's ICH9 has it (8086:2922).
 *
 * Not modelled: port multipliers and FIS-based switching, staggered spin-up, power management of
 * links, hotplug of devices, command completion coalescing, enclosure management, the legacy
 * interface. Data moves at the speed of the host. Under the machine lock.
 */
#include "storage/ahci.h"

#include "base/log.h"
#include "storage/ahci_regs.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NR_SLOTS       32
#define REGISTERS_BAR  5
#define REGISTERS_SIZE 0x1000
#define INDEX_BAR      4
#define VERSION        0x00010300
#define PRDT_BATCH     64

#define PORT_BIT(port) (1u << (port)->index)

struct ahci_port_state {
	uint32_t clb, clbu, fb, fbu;
	uint32_t is, ie, cmd, tfd, sig, ssts, sctl, serr, sact, ci;
};

struct ahci_state {
	uint32_t ghc, is;
	uint32_t index; /* of the index/data pair */
	uint8_t reserved[4];
	struct ahci_port_state ports[AHCI_NR_PORTS];
};

struct ahci_slot {
	struct ata_command command;
	struct scatter scatter;
	uint64_t header; /* the command header's address */
	bool wants_dps;  /* a PRD had its I bit */
	bool running;
};

struct ahci_port {
	struct ahci *ahci;
	unsigned index;
	struct ata_device *device; /* NULL: nothing is plugged in */
	struct ahci_slot slots[NR_SLOTS];
	uint32_t running; /* slots that the device works on */
	uint32_t queued;  /* those of them that are NCQ */
	bool failed;      /* nothing is issued until ST was 0 */
	bool issuing;     /* issue() is running */
	uint8_t next;     /* slot to look at first */
};

struct ahci {
	struct ahci_state state;
	struct pci_function function;
	struct machine *machine;
	struct ahci_port ports[AHCI_NR_PORTS];
};

static struct ahci_port_state *state_of(const struct ahci_port *port)
{
	return &port->ahci->state.ports[port->index];
}

/* Interrupts (10.7). */

static void update_interrupt(struct ahci *ahci, bool again)
{
	bool level = (ahci->state.ghc & AHCI_GHC_IE) && ahci->state.is;

	if (pci_msi_is_enabled(&ahci->function)) {
		if (level && again)
			pci_msi_notify(&ahci->function, 0);
		level = false;
	}
	pci_set_intx(&ahci->function, level);
}

static void raise(struct ahci_port *port, uint32_t bits)
{
	struct ahci_port_state *state = state_of(port);

	state->is |= bits;
	if (!(state->is & state->ie))
		return;
	port->ahci->state.is |= PORT_BIT(port);
	update_interrupt(port->ahci, true);
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
	const struct ahci_port_state *state = state_of(port);
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
	state_of(port)->tfd = (uint32_t)tf->error << 8 | tf->status;
}

/* Register, device to host; with the interrupt bit but for signatures. */
static void send_d2h(struct ahci_port *port, const struct ata_taskfile *tf, bool interrupt)
{
	uint8_t fis[20] = { FIS_D2H, interrupt ? 0x40 : 0 };

	put_taskfile(fis, tf);
	receive(port, AHCI_RFIS_D2H, fis, sizeof(fis));
	set_tfd(port, tf);
	if (interrupt)
		raise(port, AHCI_PXIS_DHRS);
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
	raise(port, AHCI_PXIS_PSS);
}

static void send_set_device_bits(
	struct ahci_port *port, const struct ata_taskfile *tf, uint32_t slots)
{
	struct ahci_port_state *state = state_of(port);
	uint8_t fis[8] = { FIS_SDB, 0x40, tf->status & 0x77, tf->error };

	memcpy(fis + 4, &slots, sizeof(slots));
	receive(port, AHCI_RFIS_SDB, fis, sizeof(fis));
	/* BSY and DRQ are not this FIS's. */
	state->tfd = (state->tfd & 0x88) | (uint32_t)tf->error << 8 | (tf->status & 0x77);
	state->sact &= ~slots;
	raise(port, AHCI_PXIS_SDBS | (tf->status & ATA_STATUS_ERR ? AHCI_PXIS_TFES : 0));
}

/* The end of commands. */

static void issue(struct ahci_port *port);

static void stop_after_error(struct ahci_port *port, uint32_t bits)
{
	port->failed = true;
	raise(port, bits);
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
	struct ahci_port_state *state = state_of(port);
	uint32_t bit = 1u << (slot - port->slots);
	uint32_t moved = slot->scatter.bytes && !(tf->status & ATA_STATUS_ERR)
				 ? (uint32_t)slot->scatter.bytes
				 : 0;
	bool pio_in = slot->command.protocol == ATA_PROTOCOL_PIO && !slot->command.to_device;

	dma_write(port->ahci, slot->header + 4, &moved, sizeof(moved));
	if (tf->status & ATA_STATUS_ERR) {
		port->failed = true;
		send_d2h(port, tf, true);
		raise(port, AHCI_PXIS_TFES);
		return;
	}
	state->ci &= ~bit;
	if (slot->wants_dps)
		raise(port, AHCI_PXIS_DPS);
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
	state_of(port)->sig =
		port->device->identity.is_packet ? AHCI_SIGNATURE_PACKET : AHCI_SIGNATURE_DISK;
	send_d2h(port, &tf, false);
}

/* A FIS that writes the device control register: a software reset is two, on and off. */
static void control(struct ahci_port *port, unsigned index, const uint8_t *fis)
{
	struct ahci_port_state *state = state_of(port);

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
	struct ahci_port_state *state = state_of(port);
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
			raise(port, AHCI_PXIS_OFS);
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
	const struct ahci_port_state *state = state_of(port);

	return port->device && (state->cmd & AHCI_PXCMD_ST) && !port->failed && state->ci &&
	       !(port->running & ~port->queued) && !(port->running & state->ci);
}

/* The device's next command. One that is not queued waits until the device has no other. */
static void issue(struct ahci_port *port)
{
	struct ahci_port_state *state = state_of(port);

	/* What ends at once comes back here; the loop goes on with the next. */
	if (port->issuing)
		return;
	port->issuing = true;
	for (unsigned i = 0; i < NR_SLOTS && may_issue(port); i++) {
		unsigned index = port->next;

		port->next = (port->next + 1) % NR_SLOTS;
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

static void run_port(struct ahci_port *port)
{
	issue(port);
	if (port->device)
		drive_run(&port->device->drive);
}

/* Resets and start and stop. */

/* Nothing of the port is in flight afterwards, and nobody is told of what was. */
static void abandon(struct ahci_port *port)
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
	struct ahci_port_state *state = state_of(port);
	uint32_t is = state->is, global = port->ahci->state.is;
	struct ata_device_state device;

	if (port->device)
		device = port->device->state;
	abandon(port);
	/* As if the commands had never ended. */
	state->is = is;
	port->ahci->state.is = global;
	if (port->device)
		port->device->state = device;
	state->ci = state->sact = 0;
	state->cmd &= ~(uint32_t)(AHCI_PXCMD_CCS | AHCI_PXCMD_CR);
	port->failed = false;
	update_interrupt(port->ahci, false);
}

static void reset_port(struct ahci_port *port)
{
	struct ahci_port_state *state = state_of(port);

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
static void write_sctl(struct ahci_port *port, uint32_t value)
{
	struct ahci_port_state *state = state_of(port);
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
		raise(port, AHCI_PXIS_PCS | AHCI_PXIS_PRCS);
	}
}

static void write_cmd(struct ahci_port *port, uint32_t value)
{
	struct ahci_port_state *state = state_of(port);
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
	run_port(port);
}

static void reset_controller(struct ahci *ahci)
{
	ahci->state.ghc = AHCI_GHC_AE;
	ahci->state.is = 0;
	ahci->state.index = 0;
	for (unsigned i = 0; i < AHCI_NR_PORTS; i++)
		reset_port(&ahci->ports[i]);
	update_interrupt(ahci, false);
}

/* Registers. */

static uint32_t read_port(const struct ahci_port *port, unsigned offset)
{
	const struct ahci_port_state *state = state_of(port);

	switch (offset) {
	case AHCI_PXCLB: return state->clb;
	case AHCI_PXCLBU: return state->clbu;
	case AHCI_PXFB: return state->fb;
	case AHCI_PXFBU: return state->fbu;
	case AHCI_PXIS: return state->is;
	case AHCI_PXIE: return state->ie;
	case AHCI_PXCMD: return state->cmd;
	case AHCI_PXTFD: return state->tfd;
	case AHCI_PXSIG: return state->sig;
	case AHCI_PXSSTS: return state->ssts;
	case AHCI_PXSCTL: return state->sctl;
	case AHCI_PXSERR: return state->serr;
	case AHCI_PXSACT: return state->sact;
	case AHCI_PXCI: return state->ci;
	default: return 0;
	}
}

static uint32_t read_register(const struct ahci *ahci, unsigned offset)
{
	uint64_t capabilities = AHCI_CAP_SAM | AHCI_CAP_SCLO | AHCI_CAP_SNCQ | AHCI_CAP_S64A;

	if (offset >= AHCI_PORTS) {
		unsigned index = (offset - AHCI_PORTS) / AHCI_PORT_BYTES;

		return index < AHCI_NR_PORTS
			       ? read_port(&ahci->ports[index], offset % AHCI_PORT_BYTES)
			       : 0;
	}
	switch (offset) {
	case AHCI_CAP:
		capabilities = field_set(AHCI_CAP_NP, capabilities, AHCI_NR_PORTS - 1);
		capabilities = field_set(AHCI_CAP_NCS, capabilities, NR_SLOTS - 1);
		return (uint32_t)field_set(AHCI_CAP_ISS, capabilities, 3); /* 6 Gb/s */
	case AHCI_GHC: return ahci->state.ghc;
	case AHCI_IS: return ahci->state.is;
	case AHCI_PI: return (1u << AHCI_NR_PORTS) - 1;
	case AHCI_VS: return VERSION;
	default: return 0;
	}
}

static void write_port(struct ahci_port *port, unsigned offset, uint32_t value)
{
	struct ahci_port_state *state = state_of(port);
	bool started = state->cmd & AHCI_PXCMD_ST;

	switch (offset) {
	case AHCI_PXCLB: state->clb = value & ~0x3ffu; break;
	case AHCI_PXCLBU: state->clbu = value; break;
	case AHCI_PXFB: state->fb = value & ~0xffu; break;
	case AHCI_PXFBU: state->fbu = value; break;
	case AHCI_PXIS: state->is &= ~value; break;
	case AHCI_PXIE:
		state->ie = value & AHCI_PXIE_ALL;
		raise(port, 0);
		break;
	case AHCI_PXCMD: write_cmd(port, value); break;
	case AHCI_PXSCTL: write_sctl(port, value); break;
	case AHCI_PXSERR:
		state->serr &= ~value;
		/* PCS mirrors DIAG.X. */
		if (!(state->serr & AHCI_PXSERR_X))
			state->is &= ~(uint32_t)AHCI_PXIS_PCS;
		break;
	case AHCI_PXSACT:
		if (started)
			state->sact |= value;
		break;
	case AHCI_PXCI:
		if (started) {
			state->ci |= value;
			run_port(port);
		}
		break;
	}
}

static void write_register(struct ahci *ahci, unsigned offset, uint32_t value)
{
	if (offset >= AHCI_PORTS) {
		unsigned index = (offset - AHCI_PORTS) / AHCI_PORT_BYTES;

		if (index < AHCI_NR_PORTS)
			write_port(&ahci->ports[index], offset % AHCI_PORT_BYTES, value);
		return;
	}
	switch (offset) {
	case AHCI_GHC:
		if (value & AHCI_GHC_HR) {
			reset_controller(ahci);
			break;
		}
		ahci->state.ghc = (uint32_t)(AHCI_GHC_AE | (value & AHCI_GHC_IE));
		update_interrupt(ahci, true);
		break;
	case AHCI_IS:
		ahci->state.is &= ~value;
		/* A port whose interrupt is still pending sets its bit again (10.7.2.1). */
		for (unsigned i = 0; i < AHCI_NR_PORTS; i++) {
			const struct ahci_port_state *state = &ahci->state.ports[i];

			if (state->is & state->ie)
				ahci->state.is |= 1u << i;
		}
		update_interrupt(ahci, true);
		break;
	}
}

/* Wider or narrower accesses than a register take or change its bytes. */
static uint64_t ahci_read(void *device, uint64_t offset, unsigned size)
{
	uint32_t value = read_register(device, (unsigned)offset & ~3u);

	return (value >> (8 * (offset & 3))) & byte_mask(size);
}

static void ahci_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	if (size == 4 && offset % 4 == 0)
		write_register(device, (unsigned)offset, (uint32_t)value);
}

/* The index/data pair in I/O space (ICH9 datasheet, 14.1.20). */
static uint64_t index_read(void *device, uint64_t offset, unsigned size)
{
	const struct ahci *ahci = device;

	if (size != 4 || (offset != 16 && offset != 20))
		return 0;
	return offset == 16 ? ahci->state.index : read_register(ahci, ahci->state.index);
}

static void index_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct ahci *ahci = device;

	if (size != 4)
		return;
	if (offset == 16)
		ahci->state.index = (uint32_t)value & 0x3fc;
	else if (offset == 20)
		write_register(ahci, ahci->state.index, (uint32_t)value);
}

static void ahci_reset(void *device)
{
	reset_controller(device);
}

static const struct state_field port_fields[] = {
	STATE(struct ahci_port_state, clb),
	STATE(struct ahci_port_state, clbu),
	STATE(struct ahci_port_state, fb),
	STATE(struct ahci_port_state, fbu),
	STATE(struct ahci_port_state, is),
	STATE(struct ahci_port_state, ie),
	STATE(struct ahci_port_state, cmd),
	STATE(struct ahci_port_state, tfd),
	STATE(struct ahci_port_state, sig),
	STATE(struct ahci_port_state, ssts),
	STATE(struct ahci_port_state, sctl),
	STATE(struct ahci_port_state, serr),
	STATE(struct ahci_port_state, sact),
	STATE(struct ahci_port_state, ci),
};
static const struct state_table port_table =
	STATE_TABLE_OF(struct ahci_port_state, "ahci_port", port_fields, NULL);

static const struct state_field ahci_fields[] = {
	STATE(struct ahci_state, ghc),
	STATE(struct ahci_state, is),
	STATE_MAX(struct ahci_state, index, 0x3fc),
	STATE_PAD(struct ahci_state, reserved),
	STATE_STRUCTS(struct ahci_state, ports, &port_table),
};
static const struct state_table ahci_table =
	STATE_TABLE_OF(struct ahci_state, "ahci", ahci_fields, NULL);

/* What the device had begun is not part of the state: it is issued again. */
static void ahci_restored(void *device)
{
	struct ahci *ahci = device;

	for (unsigned i = 0; i < AHCI_NR_PORTS; i++) {
		struct ahci_port_state *state = &ahci->state.ports[i];

		state->ci |= state->sact;
		abandon(&ahci->ports[i]);
		ahci->ports[i].failed = false;
	}
	update_interrupt(ahci, false);
}

static const struct device_type ahci_type = {
	.name = "ahci",
	.state = &ahci_table,
	.state_offset = offsetof(struct ahci, state),
	.restored = ahci_restored,
};

int ahci_create(struct ahci **created, const char *name, struct machine *machine, struct error *err)
{
	static const struct pci_identity identity = {
		.vendor_id = 0x8086,
		.device_id = 0x2922,
		.revision = 2,
		.class_code = 0x010601,
		.subsystem_vendor_id = 0x8086,
		.subsystem_id = 0x2922,
		.interrupt_pin = 1,
	};
	static const struct pci_function_ops function_ops = { .reset = ahci_reset };
	static const struct io_ops register_ops = { ahci_read, ahci_write, 4 };
	static const struct io_ops index_ops = { index_read, index_write, 4 };
	static const struct pci_bar registers = { .kind = PCI_BAR_MEMORY32,
		.size = REGISTERS_SIZE,
		.ops = &register_ops,
		.name = "ahci" };
	static const struct pci_bar index = {
		.kind = PCI_BAR_IO, .size = 32, .ops = &index_ops, .name = "ahci-index"
	};
	struct ahci *ahci = calloc(1, sizeof(*ahci));

	*created = ahci;
	if (!ahci)
		return error_set_errno(
			err, EXIT_CODE_HOST, ENOMEM, "cannot create the controller %s", name);
	ahci->machine = machine;
	for (unsigned i = 0; i < AHCI_NR_PORTS; i++) {
		ahci->ports[i].ahci = ahci;
		ahci->ports[i].index = i;
	}
	pci_function_init(&ahci->function, name, &identity, &function_ops, ahci);
	pci_add_bar(&ahci->function, REGISTERS_BAR, &registers);
	pci_add_bar(&ahci->function, INDEX_BAR, &index);
	pci_add_msi(&ahci->function, 1);
	machine_lock(machine);
	machine_add_device(machine, &ahci_type, name, ahci);
	reset_controller(ahci);
	machine_unlock(machine);
	return 0;
}

void ahci_destroy(struct ahci *ahci)
{
	if (!ahci)
		return;
	machine_lock(ahci->machine);
	for (unsigned i = 0; i < AHCI_NR_PORTS; i++)
		abandon(&ahci->ports[i]);
	machine_remove_device(ahci->machine, ahci);
	machine_unlock(ahci->machine);
	for (unsigned i = 0; i < AHCI_NR_PORTS; i++) {
		struct ahci_port *port = &ahci->ports[i];

		ata_destroy(port->device);
		for (unsigned slot = 0; slot < NR_SLOTS; slot++)
			scatter_finish(&port->slots[slot].scatter);
	}
	pci_function_finish(&ahci->function);
	free(ahci);
}

struct pci_function *ahci_function(struct ahci *ahci)
{
	return &ahci->function;
}

int ahci_attach(struct ahci *ahci, unsigned port, const char *name,
	const struct ata_identity *identity, struct block_device *image, struct error *err)
{
	struct ata_identity serial = *identity;
	struct ata_device *device;
	int rc;

	assert(port < AHCI_NR_PORTS && !ahci->ports[port].device);
	serial.is_serial = true;
	rc = ata_create(&device, name, &serial, ahci->machine, image, err);
	if (rc < 0)
		return rc;
	machine_lock(ahci->machine);
	ahci->ports[port].device = device;
	reset_port(&ahci->ports[port]);
	machine_unlock(ahci->machine);
	return 0;
}

int ahci_free_port(const struct ahci *ahci)
{
	for (int i = 0; i < AHCI_NR_PORTS; i++) {
		if (!ahci->ports[i].device)
			return i;
	}
	return -1;
}

struct ata_device *ahci_device(struct ahci *ahci, unsigned port)
{
	return port < AHCI_NR_PORTS ? ahci->ports[port].device : NULL;
}
