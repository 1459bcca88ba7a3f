/*
 * Transfer rings (xHCI 4.9, 4.10, 4.11): a TRB at a time is moved through a buffer, so that nothing
 * the guest says holds memory, and a turn is bounded. A device that has nothing yet leaves its TRB
 * where it is until it wakes the controller.
 *
 * Not modelled: isochronous transfers, streams, and the Stopped event of a TRB that is under way
 * when its endpoint is stopped.
 */
#include "usb/xhci.h"

#include <string.h>

/* TRBs, and bytes, of one turn. */
#define MAX_TRBS  128
#define MAX_BYTES (1u << 20)

enum step { STEP_NEXT, STEP_WAIT, STEP_END };

/* One TRB's work. */
struct turn {
	struct xhci *xhci;
	unsigned slot, dci;
	struct xhci_endpoint_state *endpoint;
	struct usb_device *device;
	struct xhci_trb trb;
	uint64_t address;
	uint32_t moved; /* bytes, of the turn */
};

struct usb_device *xhci_device(struct xhci *xhci, unsigned slot)
{
	unsigned port = xhci->state.slots[slot].port;

	return port ? xhci->devices[port - 1] : NULL;
}

void xhci_set_endpoint_state(struct xhci *xhci, unsigned slot, unsigned dci, uint8_t state)
{
	struct xhci_slot_state *of = &xhci->state.slots[slot];
	struct xhci_endpoint_state *endpoint = &of->endpoints[dci];
	uint64_t at = of->context + dci * XHCI_CONTEXT_SIZE;
	uint64_t dequeue = endpoint->ring.dequeue | endpoint->ring.cycle;
	uint32_t word;

	endpoint->state = state;
	if (guest_memory_read(&xhci->machine->memory, at, &word, sizeof(word)) < 0)
		return;
	word = (uint32_t)field_set(XHCI_EP_STATE, word, state);
	guest_memory_write(&xhci->machine->memory, at, &word, sizeof(word));
	guest_memory_write(&xhci->machine->memory, at + 8, &dequeue, sizeof(dequeue));
}

/* The event of the TRB; `residue` bytes of it were not moved. */
static void tell(struct turn *turn, enum xhci_code code, uint32_t residue)
{
	struct xhci_trb event = {
		.parameter = turn->address,
		.status = residue | (uint32_t)code << 24,
		.control = (uint32_t)(field_set(XHCI_TRB_TYPE, 0, XHCI_TRB_TRANSFER_EVENT) |
				      field_set(XHCI_TRB_ENDPOINT, 0, turn->dci) |
				      field_set(XHCI_TRB_SLOT, 0, turn->slot + 1)),
	};

	xhci_event(turn->xhci, &event, turn->trb.control & XHCI_TRB_QUIET);
}

static void tell_data(struct turn *turn, enum xhci_code code)
{
	struct xhci_trb event = {
		.parameter = turn->trb.parameter,
		.status = (turn->endpoint->transferred & 0xffffff) | (uint32_t)code << 24,
		.control = (uint32_t)(field_set(XHCI_TRB_TYPE, 0, XHCI_TRB_TRANSFER_EVENT) |
				      field_set(XHCI_TRB_ENDPOINT, 0, turn->dci) |
				      field_set(XHCI_TRB_SLOT, 0, turn->slot + 1) | XHCI_TRB_SHORT),
	};

	turn->endpoint->transferred = 0;
	xhci_event(turn->xhci, &event, turn->trb.control & XHCI_TRB_QUIET);
}

/* The endpoint stands still until the guest has seen to it; it goes on behind this TRB. */
static enum step fail(struct turn *turn, enum xhci_code code)
{
	struct xhci_slot_state *slot = &turn->xhci->state.slots[turn->slot];

	slot->has_setup = slot->has_run = false;
	turn->endpoint->partial = turn->endpoint->is_short = false;
	tell(turn, code, turn->trb.status & (uint32_t)XHCI_TRB_LENGTH);
	xhci_set_endpoint_state(turn->xhci, turn->slot, turn->dci,
		code == XHCI_TRB_ERROR ? XHCI_EP_ERROR : XHCI_EP_HALTED);
	return STEP_END;
}

static uint32_t length_of(const struct xhci_trb *trb)
{
	return trb->status & (uint32_t)XHCI_TRB_LENGTH;
}

/* Bytes of the TRB from `at` on, to the buffer or from it. */
static bool copy(struct turn *turn, uint32_t at, uint32_t bytes, bool to_guest)
{
	struct guest_memory *memory = &turn->xhci->machine->memory;
	uint8_t *buffer = turn->xhci->buffer;

	if (bytes == 0)
		return true;
	if (turn->trb.control & XHCI_TRB_IMMEDIATE) {
		if (to_guest || at + bytes > sizeof(turn->trb.parameter))
			return false;
		memcpy(buffer, (uint8_t *)&turn->trb.parameter + at, bytes);
		return true;
	}
	if (to_guest)
		return guest_memory_write(memory, turn->trb.parameter + at, buffer, bytes) == 0;
	return guest_memory_read(memory, turn->trb.parameter + at, buffer, bytes) == 0;
}

/* The TRB has moved all but `residue`. A short packet ends its TD. */
static enum step complete(struct turn *turn, uint32_t residue, bool is_short)
{
	struct xhci_endpoint_state *endpoint = turn->endpoint;
	uint32_t control = turn->trb.control;

	endpoint->partial = false;
	if (is_short && (control & (XHCI_TRB_SHORT | XHCI_TRB_COMPLETION)))
		tell(turn, XHCI_SHORT_PACKET, residue);
	else if (control & XHCI_TRB_COMPLETION)
		tell(turn, XHCI_SUCCESS, residue);
	endpoint->is_short = is_short && (control & XHCI_TRB_CHAIN);
	return STEP_NEXT;
}

static enum step move_in(struct turn *turn)
{
	uint32_t length = length_of(&turn->trb), got = length;
	enum usb_result result;

	if (length > sizeof(turn->xhci->buffer))
		return fail(turn, XHCI_TRB_ERROR);
	result = usb_device_in(turn->device, turn->dci / 2, turn->xhci->buffer, &got);
	if (result == USB_NAK)
		return STEP_WAIT;
	if (result == USB_STALL)
		return fail(turn, XHCI_STALL_ERROR);
	if (!copy(turn, 0, got, true))
		return fail(turn, XHCI_DATA_BUFFER_ERROR);
	turn->endpoint->transferred += got;
	turn->moved += got;
	return complete(turn, length - got, got < length);
}

static enum step move_out(struct turn *turn)
{
	uint32_t length = length_of(&turn->trb);
	enum usb_result result;

	if (length > sizeof(turn->xhci->buffer))
		return fail(turn, XHCI_TRB_ERROR);
	if (!copy(turn, 0, length, false))
		return fail(turn, XHCI_DATA_BUFFER_ERROR);
	result = usb_device_out(turn->device, turn->dci / 2, turn->xhci->buffer, length);
	if (result == USB_NAK)
		return STEP_WAIT;
	if (result == USB_STALL)
		return fail(turn, XHCI_STALL_ERROR);
	turn->endpoint->transferred += length;
	turn->moved += length;
	return complete(turn, 0, false);
}

static enum step setup_stage(struct turn *turn)
{
	struct xhci_slot_state *slot = &turn->xhci->state.slots[turn->slot];

	if (!(turn->trb.control & XHCI_TRB_IMMEDIATE) || length_of(&turn->trb) != 8)
		return fail(turn, XHCI_TRB_ERROR);
	memcpy(slot->setup, &turn->trb.parameter, sizeof(slot->setup));
	slot->has_setup = true;
	slot->has_run = false;
	slot->data_at = slot->data_length = 0;
	return complete(turn, 0, false);
}

/* The device does what the setup packet and the data say. */
static enum usb_result run_control(struct turn *turn)
{
	struct xhci_slot_state *slot = &turn->xhci->state.slots[turn->slot];
	struct usb_setup setup;
	uint32_t length;
	enum usb_result result;

	memcpy(&setup, slot->setup, sizeof(setup));
	length = setup.type & USB_TYPE_IN ? setup.length : slot->data_at;
	if (length > sizeof(slot->data))
		length = sizeof(slot->data);
	result = usb_device_control(turn->device, &setup, slot->data, &length);
	slot->has_run = true;
	slot->data_length = setup.type & USB_TYPE_IN ? (uint16_t)length : 0;
	return result == USB_NAK ? USB_STALL : result;
}

static enum step data_in(struct turn *turn, struct xhci_slot_state *slot)
{
	uint32_t length = length_of(&turn->trb), got;

	if (!slot->has_run) {
		slot->data_at = 0;
		if (run_control(turn) != USB_OK)
			return fail(turn, XHCI_STALL_ERROR);
	}
	got = (uint32_t)(slot->data_length - slot->data_at);
	if (got > length)
		got = length;
	memcpy(turn->xhci->buffer, slot->data + slot->data_at, got);
	if (!copy(turn, 0, got, true))
		return fail(turn, XHCI_DATA_BUFFER_ERROR);
	slot->data_at += (uint16_t)got;
	turn->endpoint->transferred += got;
	return complete(turn, length - got, got < length);
}

/* What is beyond the buffer no device here wants. */
static enum step data_out(struct turn *turn, struct xhci_slot_state *slot)
{
	uint32_t length = length_of(&turn->trb),
		 room = (uint32_t)(sizeof(slot->data) - slot->data_at);
	uint32_t kept = length < room ? length : room;

	if (!copy(turn, 0, kept, false))
		return fail(turn, XHCI_DATA_BUFFER_ERROR);
	memcpy(slot->data + slot->data_at, turn->xhci->buffer, kept);
	slot->data_at += (uint16_t)kept;
	turn->endpoint->transferred += length;
	return complete(turn, 0, false);
}

static enum step control_stage(struct turn *turn, unsigned type)
{
	struct xhci_slot_state *slot = &turn->xhci->state.slots[turn->slot];
	bool in = slot->setup[0] & USB_TYPE_IN;

	if (type == XHCI_TRB_SETUP)
		return setup_stage(turn);
	if (!slot->has_setup)
		return fail(turn, XHCI_TRB_ERROR);
	if (type != XHCI_TRB_STATUS)
		return in ? data_in(turn, slot) : data_out(turn, slot);
	if (!slot->has_run && run_control(turn) != USB_OK)
		return fail(turn, XHCI_STALL_ERROR);
	slot->has_setup = slot->has_run = false;
	return complete(turn, 0, false);
}

/* The rest of a TD that ended short: only its event data are told. */
static enum step skip(struct turn *turn, unsigned type)
{
	if (type == XHCI_TRB_EVENT_DATA && (turn->trb.control & XHCI_TRB_COMPLETION))
		tell_data(turn, XHCI_SHORT_PACKET);
	turn->endpoint->is_short = turn->trb.control & XHCI_TRB_CHAIN;
	return STEP_NEXT;
}

static enum step run_trb(struct turn *turn)
{
	unsigned type = (unsigned)field_get(XHCI_TRB_TYPE, turn->trb.control);
	bool is_control = turn->dci == 1;

	if (turn->endpoint->is_short && type != XHCI_TRB_SETUP && type != XHCI_TRB_STATUS)
		return skip(turn, type);
	turn->endpoint->is_short = false;
	switch (type) {
	case XHCI_TRB_EVENT_DATA:
		if (turn->trb.control & XHCI_TRB_COMPLETION)
			tell_data(turn, XHCI_SUCCESS);
		return STEP_NEXT;
	case XHCI_TRB_NOOP: return complete(turn, 0, false);
	case XHCI_TRB_SETUP:
	case XHCI_TRB_DATA:
	case XHCI_TRB_STATUS:
		return is_control ? control_stage(turn, type) : fail(turn, XHCI_TRB_ERROR);
	case XHCI_TRB_NORMAL:
		if (is_control) /* the data stage's, after its first */
			return control_stage(turn, type);
		return turn->dci & 1 ? move_in(turn) : move_out(turn);
	default: return fail(turn, XHCI_TRB_ERROR);
	}
}

void xhci_run_endpoint(struct xhci *xhci, unsigned slot, unsigned dci)
{
	struct turn turn = { .xhci = xhci, .slot = slot, .dci = dci };

	if (dci == 0 || dci >= XHCI_NR_DCIS || slot >= XHCI_NR_SLOTS)
		return;
	xhci->waiting[slot] &= ~(uint32_t)BIT(dci);
	turn.endpoint = &xhci->state.slots[slot].endpoints[dci];
	for (unsigned i = 0; i < MAX_TRBS && turn.moved < MAX_BYTES; i++) {
		enum xhci_fetch fetch;
		struct xhci_ring behind;

		turn.device = xhci_device(xhci, slot);
		if (turn.endpoint->state != XHCI_EP_RUNNING || !turn.device ||
			!pci_is_bus_master(&xhci->function) ||
			(xhci->state.status & (XHCI_STS_HALTED | XHCI_STS_ERROR)))
			return;
		if (!xhci_event_has_room(xhci)) {
			xhci->waiting[slot] |= (uint32_t)BIT(dci); /* until ERDP is written */
			return;
		}
		fetch = xhci_ring_peek(xhci, &turn.endpoint->ring, &turn.trb, &turn.address);
		if (fetch == XHCI_FETCH_ERROR) {
			turn.address = turn.endpoint->ring.dequeue;
			memset(&turn.trb, 0, sizeof(turn.trb));
			fail(&turn, XHCI_TRB_ERROR);
		}
		if (fetch != XHCI_FETCH_TRB)
			return;
		/* Where it is in memory it stays until it is done: a halted endpoint's ring is
		 * behind it, one that waits is not. */
		behind = turn.endpoint->ring;
		xhci_ring_step(&turn.endpoint->ring);
		switch (run_trb(&turn)) {
		case STEP_NEXT: break;
		case STEP_WAIT: turn.endpoint->ring = behind; return;
		case STEP_END: return;
		}
	}
	xhci->waiting[slot] |= (uint32_t)BIT(dci);
	xhci_put_off(xhci);
}

void xhci_ring_endpoint(struct xhci *xhci, unsigned slot, unsigned dci)
{
	if (dci == 0 || dci >= XHCI_NR_DCIS)
		return;
	if (xhci->state.slots[slot].endpoints[dci].state == XHCI_EP_STOPPED)
		xhci_set_endpoint_state(xhci, slot, dci, XHCI_EP_RUNNING);
	xhci_run_endpoint(xhci, slot, dci);
}
