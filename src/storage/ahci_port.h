/*
 * What the files of the AHCI controller share: its state, and its ports (ahci_port.c). Under the
 * machine lock.
 */
#ifndef STORAGE_AHCI_PORT_H
#define STORAGE_AHCI_PORT_H

#include "storage/ahci.h"
#include "storage/ahci_regs.h"

#define AHCI_NR_SLOTS 32

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
	struct ahci_slot slots[AHCI_NR_SLOTS];
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

static inline struct ahci_port_state *ahci_port_state(const struct ahci_port *port)
{
	return &port->ahci->state.ports[port->index];
}

/* `again`: an interrupt that is pending is sent once more, where it is a message. */
void ahci_update_interrupt(struct ahci *ahci, bool again);
/* Sets bits of PxIS. */
void ahci_port_raise(struct ahci_port *port, uint32_t bits);
/* Issues what the guest has asked for. */
void ahci_port_run(struct ahci_port *port);
void ahci_port_write_cmd(struct ahci_port *port, uint32_t value);
void ahci_port_write_sctl(struct ahci_port *port, uint32_t value);
/* Power on, or a reset of the controller. */
void ahci_port_reset(struct ahci_port *port);
/* Nothing of the port is in flight afterwards, and nothing is issued until `failed` is cleared. */
void ahci_port_abandon(struct ahci_port *port);

#endif
