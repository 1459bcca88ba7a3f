/*
 * Rings that the guest fills (xHCI 4.9.2): TRBs, and links to where it goes on. A guest may link a
 * ring to itself: links are followed a few times for each TRB, and no ring is gone round without a
 * TRB in it.
 */
#include "usb/xhci.h"

#define MAX_LINKS 8

void xhci_ring_step(struct xhci_ring *ring)
{
	ring->dequeue += sizeof(struct xhci_trb);
}

enum xhci_fetch xhci_ring_peek(
	struct xhci *xhci, struct xhci_ring *ring, struct xhci_trb *trb, uint64_t *address)
{
	for (unsigned links = 0; links < MAX_LINKS; links++) {
		if (guest_memory_read(&xhci->machine->memory, ring->dequeue, trb, sizeof(*trb)) < 0)
			return XHCI_FETCH_ERROR;
		if ((trb->control & XHCI_TRB_CYCLE) != ring->cycle)
			return XHCI_FETCH_NONE;
		if (field_get(XHCI_TRB_TYPE, trb->control) != XHCI_TRB_LINK) {
			*address = ring->dequeue;
			return XHCI_FETCH_TRB;
		}
		ring->dequeue = trb->parameter & XHCI_POINTER;
		if (trb->control & XHCI_TRB_TOGGLE)
			ring->cycle = !ring->cycle;
	}
	return XHCI_FETCH_ERROR;
}
