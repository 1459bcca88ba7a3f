/*
 * An xHCI host controller with four USB 2 and four USB 3 ports, as a PCI function.
 */
#ifndef USB_XHCI_H
#define USB_XHCI_H

#include "base/error.h"
#include "machine/machine.h"
#include "pci/pci.h"
#include "usb/usb_device.h"
#include "usb/xhci_regs.h"

/* A ring that the guest fills. */
struct xhci_ring {
	uint64_t dequeue;
	bool cycle;
	uint8_t reserved[7];
};

struct xhci_endpoint_state {
	struct xhci_ring ring;
	uint32_t transferred; /* since the last event data TRB */
	uint32_t residue;     /* of the TRB that is under way: bytes that it has not moved yet */
	uint16_t max_packet;
	uint8_t state; /* enum xhci_ep_state */
	uint8_t type;  /* enum xhci_ep_type */
	bool is_short; /* the rest of the TD is skipped */
	bool partial;  /* `residue` holds */
	uint8_t reserved[2];
};

struct xhci_slot_state {
	uint64_t context; /* the output device context, as it was when the slot got it */
	uint8_t state;    /* enum xhci_slot_phase */
	bool enabled;
	uint8_t port; /* from 1; 0: none yet */
	/* The control transfer that is under way. */
	bool has_setup, has_run;
	uint8_t reserved0;
	uint16_t data_at;     /* bytes of `data` that were moved */
	uint16_t data_length; /* of it, that the device gave */
	uint8_t setup[8];
	uint8_t reserved1[6];
	uint8_t data[USB_MAX_CONTROL];
	struct xhci_endpoint_state endpoints[XHCI_NR_DCIS];
};

struct xhci_state {
	uint32_t command, status, notifications, config;
	uint64_t command_pointer; /* CRCR as it was written, while the ring stands still */
	struct xhci_ring commands;
	uint64_t contexts; /* DCBAAP */
	uint32_t ports[XHCI_NR_PORTS];
	uint32_t interrupter, moderation, nr_segments;
	bool commands_run, event_cycle;
	uint8_t reserved[2];
	uint64_t segment_table, event_dequeue;
	uint32_t segment, segment_at; /* where the next event goes */
	uint32_t port_events;         /* that could not be told yet, by port */
	uint32_t reserved1;
	struct xhci_slot_state slots[XHCI_NR_SLOTS];
};

struct xhci {
	struct pci_function function;
	struct xhci_state state;
	struct machine *machine;
	struct usb_device *devices[XHCI_NR_PORTS];
	struct timer timer;              /* goes on with what was put off */
	uint32_t waiting[XHCI_NR_SLOTS]; /* endpoints by bit, that have more to do than one turn
					    allows */
	bool commands_wait;
	uint8_t buffer[65536]; /* of one TRB */
};

extern const struct device_type xhci_type;

/* `name` outlives it. Plug `function`. Returns 0, or fills `err`. */
int xhci_create(struct xhci **xhci, const char *name, struct machine *machine, struct error *err);
/* Unplugged already, and its devices are the caller's to destroy; takes NULL. */
void xhci_destroy(struct xhci *xhci);

/* Plugs a device into the first free port of its speed. Under the machine lock. False: there is
 * none. */
bool xhci_plug(struct xhci *xhci, struct usb_device *device);
/* Pulls it out. */
void xhci_unplug(struct usb_device *device);

/* For the files of the controller. */

/* xhci_event.c: false if the ring has no room; then nobody loses anything by trying later. */
bool xhci_event_has_room(struct xhci *xhci);
void xhci_event(struct xhci *xhci, const struct xhci_trb *event, bool quiet);
/* Where the guest put the ring. */
void xhci_event_start(struct xhci *xhci);

/* xhci_ring.c: the next TRB that is no link, where it lies, and steps over it. */
enum xhci_fetch { XHCI_FETCH_NONE, XHCI_FETCH_TRB, XHCI_FETCH_ERROR };
enum xhci_fetch xhci_ring_peek(
	struct xhci *xhci, struct xhci_ring *ring, struct xhci_trb *trb, uint64_t *address);
void xhci_ring_step(struct xhci_ring *ring);

/* xhci_command.c */
void xhci_run_commands(struct xhci *xhci);
/* Ends what a slot does; its contexts in memory stay. */
void xhci_slot_reset(struct xhci_slot_state *slot);

/* xhci_transfer.c: serves endpoint `dci` of the slot, for a turn. */
void xhci_run_endpoint(struct xhci *xhci, unsigned slot, unsigned dci);
/* Its doorbell: one that was stopped runs again. */
void xhci_ring_endpoint(struct xhci *xhci, unsigned slot, unsigned dci);
/* The endpoint's state, in memory too. */
void xhci_set_endpoint_state(struct xhci *xhci, unsigned slot, unsigned dci, uint8_t state);
struct usb_device *xhci_device(struct xhci *xhci, unsigned slot);

/* xhci_port.c */
void xhci_ports_reset(struct xhci *xhci);
void xhci_port_write(struct xhci *xhci, unsigned port, uint32_t value);
void xhci_tell_ports(struct xhci *xhci);

/* Goes on soon with what waits. */
void xhci_put_off(struct xhci *xhci);

#endif
