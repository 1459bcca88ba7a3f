/*
 * Commands (xHCI 4.6): slots, and the contexts in the guest's memory, of which a copy is kept of
 * what matters here. Not modelled: bandwidth, hubs behind the root hub, streams, debug and forced
 * events.
 */
#include "usb/xhci.h"

#include <string.h>

/* Commands of one turn. */
#define MAX_COMMANDS 64

#define INPUT_DROP 0 /* words of the input control context */
#define INPUT_ADD  1
#define ADD_SLOT   BIT(0)
#define ADD_EP0    BIT(1)

struct context {
	uint32_t words[XHCI_CONTEXT_SIZE / 4];
};

static bool load(struct xhci *xhci, uint64_t base, unsigned index, struct context *context)
{
	return guest_memory_read(&xhci->machine->memory, base + index * sizeof(*context), context,
		       sizeof(*context)) == 0;
}

static bool store(struct xhci *xhci, uint64_t base, unsigned index, const struct context *context)
{
	return guest_memory_write(&xhci->machine->memory, base + index * sizeof(*context), context,
		       sizeof(*context)) == 0;
}

void xhci_slot_reset(struct xhci_slot_state *slot)
{
	memset(slot, 0, sizeof(*slot));
}

static void set_slot_state(struct xhci *xhci, struct xhci_slot_state *slot, unsigned index)
{
	static const uint8_t codes[] = { [XHCI_SLOT_DISABLED] = 0,
		[XHCI_SLOT_DEFAULT] = 1,
		[XHCI_SLOT_ADDRESSED] = 2,
		[XHCI_SLOT_CONFIGURED] = 3 };
	struct context context;

	if (!load(xhci, slot->context, 0, &context))
		return;
	context.words[3] =
		(uint32_t)field_set(XHCI_SLOT_STATE, context.words[3], codes[slot->state]);
	context.words[3] = (uint32_t)field_set(XHCI_SLOT_ADDRESS, context.words[3],
		slot->state >= XHCI_SLOT_ADDRESSED ? index + 1 : 0);
	store(xhci, slot->context, 0, &context);
}

static enum xhci_code enable_slot(struct xhci *xhci, unsigned *index)
{
	unsigned max = xhci->state.config & 0xff;

	if (max > XHCI_NR_SLOTS)
		max = XHCI_NR_SLOTS;
	for (*index = 0; *index < max; ++*index) {
		struct xhci_slot_state *slot = &xhci->state.slots[*index];

		if (slot->enabled)
			continue;
		xhci_slot_reset(slot);
		slot->enabled = true;
		return XHCI_SUCCESS;
	}
	*index = UINT32_MAX; /* slot 0 in the event */
	return XHCI_NO_SLOTS;
}

static enum xhci_code disable_slot(struct xhci *xhci, unsigned index)
{
	struct xhci_slot_state *slot = &xhci->state.slots[index];

	slot->state = XHCI_SLOT_DISABLED;
	if (slot->context)
		set_slot_state(xhci, slot, index);
	xhci_slot_reset(slot);
	xhci->waiting[index] = 0;
	return XHCI_SUCCESS;
}

/* Takes what counts of an endpoint's context, which is in use from now on; false: it cannot be. */
static bool start_endpoint(
	struct xhci *xhci, struct xhci_slot_state *slot, unsigned dci, struct context *context)
{
	struct xhci_endpoint_state *endpoint = &slot->endpoints[dci];
	unsigned type = (unsigned)field_get(XHCI_EP_TYPE, context->words[1]);
	bool in = dci & 1;

	if (dci == 1 ? type != XHCI_EP_CONTROL
		: in ? type != XHCI_EP_BULK_IN && type != XHCI_EP_INTERRUPT_IN
		     : type != XHCI_EP_BULK_OUT && type != XHCI_EP_INTERRUPT_OUT)
		return false;
	memset(endpoint, 0, sizeof(*endpoint));
	endpoint->type = (uint8_t)type;
	endpoint->max_packet = (uint16_t)field_get(XHCI_EP_MAX_PACKET, context->words[1]);
	endpoint->ring.dequeue =
		((uint64_t)context->words[3] << 32 | context->words[2]) & XHCI_POINTER;
	endpoint->ring.cycle = context->words[2] & 1;
	endpoint->state = XHCI_EP_RUNNING;
	context->words[0] = (uint32_t)field_set(XHCI_EP_STATE, context->words[0], XHCI_EP_RUNNING);
	return store(xhci, slot->context, dci, context);
}

static enum xhci_code address_device(struct xhci *xhci, unsigned index, const struct xhci_trb *trb)
{
	struct xhci_slot_state *slot = &xhci->state.slots[index];
	bool no_address = trb->control & XHCI_TRB_NO_ADDRESS;
	uint64_t input = trb->parameter & XHCI_POINTER;
	struct context control, context, endpoint;
	unsigned port;

	if (guest_memory_read(&xhci->machine->memory, xhci->state.contexts + 8 * (index + 1),
		    &slot->context, sizeof(slot->context)) < 0)
		return XHCI_TRB_ERROR;
	slot->context &= ~UINT64_C(0x3f);
	if (!load(xhci, input, 0, &control) || !load(xhci, input, 1, &context) ||
		!load(xhci, input, 2, &endpoint))
		return XHCI_TRB_ERROR;
	port = (unsigned)field_get(XHCI_SLOT_ROOT_PORT, context.words[1]);
	if ((control.words[INPUT_ADD] & (ADD_SLOT | ADD_EP0)) != (ADD_SLOT | ADD_EP0) || port < 1 ||
		port > XHCI_NR_PORTS || (context.words[0] & XHCI_SLOT_ROUTE))
		return XHCI_PARAMETER_ERROR;
	if (slot->state > (no_address ? XHCI_SLOT_DISABLED : XHCI_SLOT_DEFAULT))
		return XHCI_CONTEXT_STATE_ERROR;
	if (!xhci->devices[port - 1])
		return XHCI_TRANSACTION_ERROR;
	/* One slot for each device. */
	for (unsigned i = 0; i < XHCI_NR_SLOTS; i++) {
		if (i != index && xhci->state.slots[i].enabled && xhci->state.slots[i].port == port)
			return XHCI_PARAMETER_ERROR;
	}
	slot->port = (uint8_t)port;
	slot->state = no_address ? XHCI_SLOT_DEFAULT : XHCI_SLOT_ADDRESSED;
	if (!store(xhci, slot->context, 0, &context) || !start_endpoint(xhci, slot, 1, &endpoint))
		return XHCI_PARAMETER_ERROR;
	slot->has_setup = slot->has_run = false;
	if (!no_address)
		xhci->devices[port - 1]->state.address = (uint8_t)(index + 1);
	set_slot_state(xhci, slot, index);
	return XHCI_SUCCESS;
}

static void stop_endpoints(struct xhci *xhci, unsigned index, uint32_t endpoints)
{
	struct xhci_slot_state *slot = &xhci->state.slots[index];

	for (unsigned dci = 2; dci < XHCI_NR_DCIS; dci++) {
		if (!(endpoints & BIT(dci)) || slot->endpoints[dci].state == XHCI_EP_DISABLED)
			continue;
		xhci_set_endpoint_state(xhci, index, dci, XHCI_EP_DISABLED);
		memset(&slot->endpoints[dci], 0, sizeof(slot->endpoints[dci]));
	}
}

static enum xhci_code configure(struct xhci *xhci, unsigned index, const struct xhci_trb *trb)
{
	struct xhci_slot_state *slot = &xhci->state.slots[index];
	uint64_t input = trb->parameter & XHCI_POINTER;
	struct context control, context, old;

	if (slot->state < XHCI_SLOT_ADDRESSED)
		return XHCI_CONTEXT_STATE_ERROR;
	if (trb->control & XHCI_TRB_NO_ADDRESS) {
		stop_endpoints(xhci, index, UINT32_MAX);
		slot->state = XHCI_SLOT_ADDRESSED;
		set_slot_state(xhci, slot, index);
		return XHCI_SUCCESS;
	}
	if (!load(xhci, input, 0, &control) || !load(xhci, input, 1, &context) ||
		!load(xhci, slot->context, 0, &old))
		return XHCI_TRB_ERROR;
	if ((control.words[INPUT_DROP] & 3) || (control.words[INPUT_ADD] & 3) != ADD_SLOT)
		return XHCI_PARAMETER_ERROR;
	stop_endpoints(xhci, index, control.words[INPUT_DROP]);
	for (unsigned dci = 2; dci < XHCI_NR_DCIS; dci++) {
		struct context endpoint;

		if (!(control.words[INPUT_ADD] & BIT(dci)))
			continue;
		if (!load(xhci, input, dci + 1, &endpoint))
			return XHCI_TRB_ERROR;
		if (!start_endpoint(xhci, slot, dci, &endpoint))
			return XHCI_PARAMETER_ERROR;
	}
	slot->state = XHCI_SLOT_CONFIGURED;
	old.words[0] = (uint32_t)field_set(
		XHCI_SLOT_ENTRIES, old.words[0], field_get(XHCI_SLOT_ENTRIES, context.words[0]));
	store(xhci, slot->context, 0, &old);
	set_slot_state(xhci, slot, index);
	return XHCI_SUCCESS;
}

/* The largest packet of endpoint 0; interrupter and latency, which nobody here looks at. */
static enum xhci_code evaluate(struct xhci *xhci, unsigned index, const struct xhci_trb *trb)
{
	struct xhci_slot_state *slot = &xhci->state.slots[index];
	uint64_t input = trb->parameter & XHCI_POINTER;
	struct context control, from, to;

	if (slot->state < XHCI_SLOT_DEFAULT)
		return XHCI_CONTEXT_STATE_ERROR;
	if (!load(xhci, input, 0, &control))
		return XHCI_TRB_ERROR;
	if (control.words[INPUT_DROP] ||
		(control.words[INPUT_ADD] & ~(uint32_t)(ADD_SLOT | ADD_EP0)))
		return XHCI_PARAMETER_ERROR;
	if (control.words[INPUT_ADD] & ADD_SLOT) {
		if (!load(xhci, input, 1, &from) || !load(xhci, slot->context, 0, &to))
			return XHCI_TRB_ERROR;
		to.words[1] = (to.words[1] & ~UINT32_C(0xffff)) | (from.words[1] & 0xffff);
		to.words[2] = (to.words[2] & ~UINT32_C(0xffc00000)) | (from.words[2] & 0xffc00000);
		store(xhci, slot->context, 0, &to);
	}
	if (control.words[INPUT_ADD] & ADD_EP0) {
		if (!load(xhci, input, 2, &from) || !load(xhci, slot->context, 1, &to))
			return XHCI_TRB_ERROR;
		slot->endpoints[1].max_packet =
			(uint16_t)field_get(XHCI_EP_MAX_PACKET, from.words[1]);
		to.words[1] = (uint32_t)field_set(
			XHCI_EP_MAX_PACKET, to.words[1], slot->endpoints[1].max_packet);
		store(xhci, slot->context, 1, &to);
	}
	return XHCI_SUCCESS;
}

static enum xhci_code reset_endpoint(struct xhci *xhci, unsigned index, unsigned dci)
{
	struct xhci_slot_state *slot = &xhci->state.slots[index];

	if (slot->endpoints[dci].state != XHCI_EP_HALTED)
		return XHCI_CONTEXT_STATE_ERROR;
	if (dci == 1)
		slot->has_setup = slot->has_run = false;
	slot->endpoints[dci].partial = slot->endpoints[dci].is_short = false;
	xhci_set_endpoint_state(xhci, index, dci, XHCI_EP_STOPPED);
	return XHCI_SUCCESS;
}

static enum xhci_code stop_endpoint(struct xhci *xhci, unsigned index, unsigned dci)
{
	struct xhci_slot_state *slot = &xhci->state.slots[index];

	if (slot->endpoints[dci].state != XHCI_EP_RUNNING)
		return XHCI_CONTEXT_STATE_ERROR;
	xhci_set_endpoint_state(xhci, index, dci, XHCI_EP_STOPPED);
	xhci->waiting[index] &= ~(uint32_t)BIT(dci);
	return XHCI_SUCCESS;
}

static enum xhci_code set_dequeue(
	struct xhci *xhci, unsigned index, unsigned dci, const struct xhci_trb *trb)
{
	struct xhci_slot_state *slot = &xhci->state.slots[index];
	struct xhci_endpoint_state *endpoint = &slot->endpoints[dci];

	if (endpoint->state != XHCI_EP_STOPPED && endpoint->state != XHCI_EP_ERROR)
		return XHCI_CONTEXT_STATE_ERROR;
	endpoint->ring.dequeue = trb->parameter & XHCI_POINTER;
	endpoint->ring.cycle = trb->parameter & 1;
	endpoint->partial = endpoint->is_short = false;
	endpoint->transferred = 0;
	if (dci == 1)
		slot->has_setup = slot->has_run = false;
	xhci_set_endpoint_state(xhci, index, dci, XHCI_EP_STOPPED);
	return XHCI_SUCCESS;
}

static enum xhci_code reset_device(struct xhci *xhci, unsigned index)
{
	struct xhci_slot_state *slot = &xhci->state.slots[index];

	if (slot->state < XHCI_SLOT_ADDRESSED)
		return XHCI_CONTEXT_STATE_ERROR;
	stop_endpoints(xhci, index, UINT32_MAX);
	slot->state = XHCI_SLOT_DEFAULT;
	set_slot_state(xhci, slot, index);
	return XHCI_SUCCESS;
}

static enum xhci_code run_for_endpoint(
	struct xhci *xhci, unsigned type, unsigned index, const struct xhci_trb *trb)
{
	unsigned dci = (unsigned)field_get(XHCI_TRB_ENDPOINT, trb->control);

	if (dci == 0)
		return XHCI_TRB_ERROR;
	if (xhci->state.slots[index].endpoints[dci].state == XHCI_EP_DISABLED)
		return XHCI_ENDPOINT_NOT_ENABLED;
	switch (type) {
	case XHCI_TRB_RESET_ENDPOINT: return reset_endpoint(xhci, index, dci);
	case XHCI_TRB_STOP_ENDPOINT: return stop_endpoint(xhci, index, dci);
	default: return set_dequeue(xhci, index, dci, trb);
	}
}

static enum xhci_code run_for_slot(
	struct xhci *xhci, unsigned type, unsigned index, const struct xhci_trb *trb)
{
	if (index >= XHCI_NR_SLOTS || !xhci->state.slots[index].enabled)
		return XHCI_SLOT_NOT_ENABLED;
	switch (type) {
	case XHCI_TRB_DISABLE_SLOT: return disable_slot(xhci, index);
	case XHCI_TRB_ADDRESS_DEVICE: return address_device(xhci, index, trb);
	case XHCI_TRB_CONFIGURE_ENDPOINT: return configure(xhci, index, trb);
	case XHCI_TRB_EVALUATE_CONTEXT: return evaluate(xhci, index, trb);
	case XHCI_TRB_RESET_DEVICE: return reset_device(xhci, index);
	default: return run_for_endpoint(xhci, type, index, trb);
	}
}

static void run_command(struct xhci *xhci, const struct xhci_trb *trb, uint64_t address)
{
	unsigned type = (unsigned)field_get(XHCI_TRB_TYPE, trb->control);
	unsigned index = (unsigned)field_get(XHCI_TRB_SLOT, trb->control) - 1;
	struct xhci_trb event = { .parameter = address };
	enum xhci_code code;

	if (type == XHCI_TRB_NOOP_COMMAND)
		code = XHCI_SUCCESS;
	else if (type == XHCI_TRB_ENABLE_SLOT)
		code = enable_slot(xhci, &index);
	else if (type > XHCI_TRB_ENABLE_SLOT && type <= XHCI_TRB_RESET_DEVICE)
		code = run_for_slot(xhci, type, index, trb);
	else
		code = XHCI_TRB_ERROR;
	event.status = (uint32_t)code << 24;
	event.control = (uint32_t)(field_set(XHCI_TRB_TYPE, 0, XHCI_TRB_COMMAND_EVENT) |
				   field_set(XHCI_TRB_SLOT, 0, (index + 1) & 0xff));
	xhci_event(xhci, &event, false);
}

void xhci_run_commands(struct xhci *xhci)
{
	struct xhci_state *state = &xhci->state;
	struct xhci_trb trb;
	uint64_t address;

	xhci->commands_wait = false;
	for (unsigned i = 0; i < MAX_COMMANDS; i++) {
		enum xhci_fetch fetch;

		if (!state->commands_run || (state->status & (XHCI_STS_HALTED | XHCI_STS_ERROR)) ||
			!pci_is_bus_master(&xhci->function))
			return;
		if (!xhci_event_has_room(xhci)) {
			xhci->commands_wait = true; /* until ERDP is written */
			return;
		}
		fetch = xhci_ring_peek(xhci, &state->commands, &trb, &address);
		if (fetch == XHCI_FETCH_ERROR)
			state->commands_run = false;
		if (fetch != XHCI_FETCH_TRB)
			return;
		xhci_ring_step(&state->commands);
		run_command(xhci, &trb, address);
	}
	xhci->commands_wait = true;
	xhci_put_off(xhci);
}
