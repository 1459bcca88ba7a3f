/*
 * The event ring (xHCI 4.9.4), of interrupter 0, which is the only one, and its interrupt (4.17).
 *
 * Nothing is lost when the ring is full: commands and transfers are not begun while there is no
 * room, and changes of ports are told when there is. Not modelled: moderation, and the Event Ring
 * Full event.
 */
#include "usb/xhci.h"

#define MAX_SEGMENTS     16
#define MAX_SEGMENT_TRBS 4096

struct segment {
	uint64_t base;
	uint32_t size; /* TRBs */
	uint32_t reserved;
};

static bool load_segment(struct xhci *xhci, uint32_t index, struct segment *segment)
{
	uint64_t at = xhci->state.segment_table + index * sizeof(*segment);

	if (index >= xhci->state.nr_segments ||
		guest_memory_read(&xhci->machine->memory, at, segment, sizeof(*segment)) < 0)
		return false;
	segment->base &= ~UINT64_C(0x3f);
	segment->size &= 0xffff;
	return segment->size > 0 && segment->size <= MAX_SEGMENT_TRBS;
}

void xhci_event_start(struct xhci *xhci)
{
	xhci->state.segment = xhci->state.segment_at = 0;
	xhci->state.event_cycle = true;
}

/* Where the next event goes, and the one after it. */
static bool places(struct xhci *xhci, struct segment *segment, uint64_t *now, uint64_t *next)
{
	struct xhci_state *state = &xhci->state;
	struct segment following;
	uint32_t after = state->segment + 1 < state->nr_segments ? state->segment + 1 : 0;

	if (!load_segment(xhci, state->segment, segment) || state->segment_at >= segment->size)
		return false;
	*now = segment->base + state->segment_at * sizeof(struct xhci_trb);
	*next = *now + sizeof(struct xhci_trb);
	if (state->segment_at + 1 < segment->size)
		return true;
	if (!load_segment(xhci, after, &following))
		return false;
	*next = following.base;
	return true;
}

bool xhci_event_has_room(struct xhci *xhci)
{
	struct segment segment;
	uint64_t now, next;

	return places(xhci, &segment, &now, &next) &&
	       next != (xhci->state.event_dequeue & XHCI_POINTER);
}

static void interrupt(struct xhci *xhci)
{
	struct xhci_state *state = &xhci->state;
	bool enabled;

	state->status |= XHCI_STS_EVENT;
	state->event_dequeue |= XHCI_ERDP_BUSY;
	state->interrupter |= XHCI_IMAN_PENDING;
	enabled = (state->interrupter & XHCI_IMAN_ENABLE) && (state->command & XHCI_CMD_INTERRUPT);
	if (!enabled)
		return;
	if (pci_msix_is_enabled(&xhci->function)) {
		state->interrupter &= ~(uint32_t)XHCI_IMAN_PENDING;
		pci_msix_notify(&xhci->function, 0);
	} else {
		pci_set_intx(&xhci->function, true);
	}
}

void xhci_event(struct xhci *xhci, const struct xhci_trb *event, bool quiet)
{
	struct xhci_state *state = &xhci->state;
	struct xhci_trb trb = *event;
	struct segment segment;
	uint64_t now, next;

	if (!places(xhci, &segment, &now, &next) || next == (state->event_dequeue & XHCI_POINTER))
		return;
	trb.control = (trb.control & ~(uint32_t)XHCI_TRB_CYCLE) | state->event_cycle;
	if (guest_memory_write(&xhci->machine->memory, now, &trb, sizeof(trb)) < 0) {
		state->status |= XHCI_STS_ERROR;
		return;
	}
	if (++state->segment_at == segment.size) {
		state->segment_at = 0;
		if (++state->segment >= state->nr_segments) {
			state->segment = 0;
			state->event_cycle = !state->event_cycle;
		}
	}
	if (!quiet)
		interrupt(xhci);
}
