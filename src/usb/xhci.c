/*
 * The xHCI's registers (xHCI 1.2, chapter 5). One interrupter, 32-byte contexts, 64-bit addresses.
 * Work that the guest asks for by a doorbell is done at once up to a limit, and goes on a
 * millisecond later.
 *
 * Not modelled: save and restore of state by USBCMD, port power, the debug capability, LPM. Runs
 * under the machine lock.
 */
#include "usb/xhci.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PUT_OFF_NS NS_PER_MS

/* 5.3; the extended capabilities are counted in doublewords. */
static const uint32_t capabilities[] = {
	0x01000000 | XHCI_OPERATIONAL,                /* version 1.0, length */
	XHCI_NR_PORTS << 24 | 1 << 8 | XHCI_NR_SLOTS, /* HCSPARAMS1: one interrupter */
	4 << 4,                                       /* HCSPARAMS2: up to 16 segments */
	0,                                            /* HCSPARAMS3 */
	XHCI_EXTENDED / 4 << 16 | 1,                  /* HCCPARAMS1: 64 bits */
	XHCI_DOORBELLS, XHCI_RUNTIME, 0,              /* HCCPARAMS2 */
};

/* 7.2: Supported Protocol, for each kind of port. */
static const uint32_t extended[] = {
	0x02000402,
	0x20425355,
	XHCI_NR_PORTS_2 << 8 | 1,
	0,
	0x03000002,
	0x20425355,
	XHCI_NR_PORTS_3 << 8 | (XHCI_NR_PORTS_2 + 1),
	0,
};

static void kick_all(struct xhci *xhci)
{
	xhci_tell_ports(xhci);
	if (xhci->commands_wait)
		xhci_run_commands(xhci);
	for (unsigned slot = 0; slot < XHCI_NR_SLOTS; slot++) {
		uint32_t waiting = xhci->waiting[slot];

		for (unsigned dci = 1; dci < XHCI_NR_DCIS && waiting; dci++) {
			if (waiting & BIT(dci))
				xhci_run_endpoint(xhci, slot, dci);
		}
	}
}

static void go_on(void *context)
{
	kick_all(context);
}

void xhci_put_off(struct xhci *xhci)
{
	if (!timer_is_armed(&xhci->timer))
		timer_arm(&xhci->timer, clock_now(&xhci->machine->clock) + PUT_OFF_NS);
}

/* HCRST, and the machine's reset. */
static void reset_controller(struct xhci *xhci)
{
	timer_cancel(&xhci->timer);
	memset(&xhci->state, 0, sizeof(xhci->state));
	memset(xhci->waiting, 0, sizeof(xhci->waiting));
	xhci->commands_wait = false;
	xhci->state.status = XHCI_STS_HALTED;
	xhci->state.event_cycle = true;
	pci_set_intx(&xhci->function, false);
	xhci_ports_reset(xhci);
}

static void write_command(struct xhci *xhci, uint32_t value)
{
	struct xhci_state *state = &xhci->state;

	if (value & XHCI_CMD_RESET) {
		reset_controller(xhci);
		return;
	}
	state->command = value & (uint32_t)XHCI_CMD_WRITABLE;
	if (!(value & XHCI_CMD_RUN)) {
		state->status |= XHCI_STS_HALTED;
		state->commands_run = false;
		return;
	}
	if (state->status & XHCI_STS_HALTED) {
		state->status &= ~(uint32_t)XHCI_STS_HALTED;
		kick_all(xhci);
	}
}

/* CRCR: while the ring runs it can only be stopped. */
static void write_ring(struct xhci *xhci, uint64_t value)
{
	struct xhci_state *state = &xhci->state;
	struct xhci_trb event = {
		.parameter = state->commands.dequeue,
		.status = (uint32_t)XHCI_COMMAND_STOPPED << 24,
		.control = (uint32_t)field_set(XHCI_TRB_TYPE, 0, XHCI_TRB_COMMAND_EVENT),
	};

	if (!state->commands_run) {
		state->commands.dequeue = value & ~UINT64_C(0x3f);
		state->commands.cycle = value & XHCI_CRCR_CYCLE;
		return;
	}
	if (value & (XHCI_CRCR_STOP | XHCI_CRCR_ABORT)) {
		state->commands_run = false;
		xhci->commands_wait = false;
		xhci_event(xhci, &event, false);
	}
}

/* A 64-bit register that is written in halves: what it has been put together to. */
static uint64_t merge(uint64_t before, unsigned offset, uint32_t value)
{
	return offset & 4 ? (before & UINT32_MAX) | (uint64_t)value << 32
			  : (before & ~(uint64_t)UINT32_MAX) | value;
}

static void write_operational(struct xhci *xhci, unsigned offset, uint32_t value)
{
	struct xhci_state *state = &xhci->state;

	switch (offset) {
	case XHCI_USBCMD: write_command(xhci, value); break;
	case XHCI_USBSTS:
		state->status &=
			~(value & (uint32_t)(XHCI_STS_EVENT | XHCI_STS_PORT | XHCI_STS_ERROR));
		break;
	case XHCI_DNCTRL: state->notifications = value & 0xffff; break;
	case XHCI_CRCR:
		state->command_pointer = merge(state->command_pointer, offset, value);
		write_ring(xhci, state->command_pointer);
		break;
	case XHCI_CRCR + 4:
		/* The half that a driver writes last. */
		state->command_pointer = merge(state->command_pointer, offset, value);
		if (!state->commands_run)
			write_ring(xhci, state->command_pointer);
		break;
	case XHCI_DCBAAP:
	case XHCI_DCBAAP + 4:
		state->contexts = merge(state->contexts, offset, value) & ~UINT64_C(0x3f);
		break;
	case XHCI_CONFIG: state->config = value & 0x3ff; break;
	}
}

static uint32_t read_operational(const struct xhci *xhci, unsigned offset)
{
	const struct xhci_state *state = &xhci->state;

	switch (offset) {
	case XHCI_USBCMD: return state->command;
	case XHCI_USBSTS: return state->status;
	case XHCI_PAGESIZE: return 1;
	case XHCI_DNCTRL: return state->notifications;
	case XHCI_CRCR: return state->commands_run ? (uint32_t)XHCI_CRCR_RUNNING : 0;
	case XHCI_DCBAAP: return (uint32_t)state->contexts;
	case XHCI_DCBAAP + 4: return (uint32_t)(state->contexts >> 32);
	case XHCI_CONFIG: return state->config;
	}
	return 0;
}

static void write_management(struct xhci *xhci, uint32_t value)
{
	struct xhci_state *state = &xhci->state;

	state->interrupter &= ~(value & (uint32_t)XHCI_IMAN_PENDING);
	state->interrupter = (state->interrupter & ~(uint32_t)XHCI_IMAN_ENABLE) |
			     (value & (uint32_t)XHCI_IMAN_ENABLE);
	if (!(state->interrupter & XHCI_IMAN_PENDING))
		pci_set_intx(&xhci->function, false);
}

static void write_runtime(struct xhci *xhci, unsigned offset, uint32_t value)
{
	struct xhci_state *state = &xhci->state;

	switch (offset) {
	case XHCI_IMAN: write_management(xhci, value); break;
	case XHCI_IMOD: state->moderation = value; break;
	case XHCI_ERSTSZ: state->nr_segments = value & 0xffff; break;
	case XHCI_ERSTBA:
	case XHCI_ERSTBA + 4:
		state->segment_table = merge(state->segment_table, offset, value) & ~UINT64_C(0x3f);
		xhci_event_start(xhci);
		break;
	case XHCI_ERDP:
		/* Bit 3 is cleared by writing it. */
		if (value & XHCI_ERDP_BUSY)
			value &= ~(uint32_t)XHCI_ERDP_BUSY;
		else
			value |= (uint32_t)(state->event_dequeue & XHCI_ERDP_BUSY);
		state->event_dequeue = merge(state->event_dequeue, offset, value);
		kick_all(xhci);
		break;
	case XHCI_ERDP + 4:
		state->event_dequeue = merge(state->event_dequeue, offset, value);
		kick_all(xhci);
		break;
	}
}

static uint32_t read_runtime(const struct xhci *xhci, unsigned offset)
{
	const struct xhci_state *state = &xhci->state;

	switch (offset) {
	case XHCI_MFINDEX: /* in 125 microseconds */
		return (uint32_t)(clock_now(&xhci->machine->clock) / 125000) & 0x3fff;
	case XHCI_IMAN: return state->interrupter;
	case XHCI_IMOD: return state->moderation;
	case XHCI_ERSTSZ: return state->nr_segments;
	case XHCI_ERSTBA: return (uint32_t)state->segment_table;
	case XHCI_ERSTBA + 4: return (uint32_t)(state->segment_table >> 32);
	case XHCI_ERDP: return (uint32_t)state->event_dequeue;
	case XHCI_ERDP + 4: return (uint32_t)(state->event_dequeue >> 32);
	}
	return 0;
}

static void ring_doorbell(struct xhci *xhci, unsigned index, uint32_t value)
{
	if (index > XHCI_NR_SLOTS || (xhci->state.status & XHCI_STS_HALTED))
		return;
	if (index > 0) {
		if (xhci->state.slots[index - 1].enabled)
			xhci_ring_endpoint(xhci, index - 1, value & 0xff);
		return;
	}
	if (value & 0xff)
		return;
	xhci->state.commands_run = true;
	xhci_run_commands(xhci);
}

static bool port_of(unsigned offset, unsigned *port)
{
	*port = (offset - XHCI_PORTS) / 0x10;
	return offset >= XHCI_PORTS && *port < XHCI_NR_PORTS;
}

static void write_register(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct xhci *xhci = device;
	unsigned at = (unsigned)offset, port;

	if (size != 4 || at % 4)
		return;
	if (port_of(at, &port)) {
		if (at % 0x10 == 0)
			xhci_port_write(xhci, port, (uint32_t)value);
	} else if (at >= XHCI_DOORBELLS) {
		ring_doorbell(xhci, (at - XHCI_DOORBELLS) / 4, (uint32_t)value);
	} else if (at >= XHCI_RUNTIME) {
		write_runtime(xhci, at - XHCI_RUNTIME, (uint32_t)value);
	} else if (at >= XHCI_OPERATIONAL && at < XHCI_PORTS) {
		write_operational(xhci, at - XHCI_OPERATIONAL, (uint32_t)value);
	}
}

static uint32_t read_word(const struct xhci *xhci, unsigned at)
{
	unsigned port;

	if (at < sizeof(capabilities))
		return capabilities[at / 4];
	if (port_of(at, &port))
		return at % 0x10 == 0 ? xhci->state.ports[port] : 0;
	if (at >= XHCI_EXTENDED && at < XHCI_EXTENDED + sizeof(extended))
		return extended[(at - XHCI_EXTENDED) / 4];
	if (at >= XHCI_RUNTIME && at < XHCI_DOORBELLS)
		return read_runtime(xhci, at - XHCI_RUNTIME);
	if (at >= XHCI_OPERATIONAL && at < XHCI_PORTS)
		return read_operational(xhci, at - XHCI_OPERATIONAL);
	return 0;
}

static uint64_t read_register(void *device, uint64_t offset, unsigned size)
{
	return read_word(device, (unsigned)offset & ~3u) >> (8 * (offset & 3)) & byte_mask(size);
}

static void function_reset(void *device)
{
	reset_controller(device);
}

static void xhci_restored(void *device)
{
	struct xhci *xhci = device;

	/* Whatever waited is looked at again. */
	xhci->commands_wait = xhci->state.commands_run;
	for (unsigned slot = 0; slot < XHCI_NR_SLOTS; slot++)
		xhci->waiting[slot] = UINT32_MAX - 1;
	xhci_put_off(xhci);
}

static void xhci_powered(void *device)
{
	reset_controller(device);
}

static const struct state_field ring_fields[] = {
	STATE(struct xhci_ring, dequeue),
	STATE(struct xhci_ring, cycle),
	STATE_PAD(struct xhci_ring, reserved),
};
static const struct state_table ring_table =
	STATE_TABLE_OF(struct xhci_ring, "xhci_ring", ring_fields, NULL);

static const struct state_field endpoint_fields[] = {
	STATE_STRUCT(struct xhci_endpoint_state, ring, &ring_table),
	STATE(struct xhci_endpoint_state, transferred),
	STATE(struct xhci_endpoint_state, residue),
	STATE(struct xhci_endpoint_state, max_packet),
	STATE_MAX(struct xhci_endpoint_state, state, XHCI_EP_ERROR),
	STATE_MAX(struct xhci_endpoint_state, type, XHCI_EP_INTERRUPT_IN),
	STATE(struct xhci_endpoint_state, is_short),
	STATE(struct xhci_endpoint_state, partial),
	STATE_PAD(struct xhci_endpoint_state, reserved),
};
static const struct state_table endpoint_table =
	STATE_TABLE_OF(struct xhci_endpoint_state, "xhci_endpoint", endpoint_fields, NULL);

static bool slot_check(const void *object, struct error *err)
{
	const struct xhci_slot_state *slot = object;

	if (slot->data_at <= slot->data_length || !(slot->setup[0] & USB_TYPE_IN))
		return true;
	error_set(err, EXIT_CODE_BAD_FILE, "the xHCI has moved more than there was");
	return false;
}

static const struct state_field slot_fields[] = {
	STATE(struct xhci_slot_state, context),
	STATE_MAX(struct xhci_slot_state, state, XHCI_SLOT_CONFIGURED),
	STATE(struct xhci_slot_state, enabled),
	STATE_MAX(struct xhci_slot_state, port, XHCI_NR_PORTS),
	STATE(struct xhci_slot_state, has_setup),
	STATE(struct xhci_slot_state, has_run),
	STATE_PAD(struct xhci_slot_state, reserved0),
	STATE_MAX(struct xhci_slot_state, data_at, USB_MAX_CONTROL),
	STATE_MAX(struct xhci_slot_state, data_length, USB_MAX_CONTROL),
	STATE_ARRAY(struct xhci_slot_state, setup),
	STATE_PAD(struct xhci_slot_state, reserved1),
	STATE_ARRAY(struct xhci_slot_state, data),
	STATE_STRUCTS(struct xhci_slot_state, endpoints, &endpoint_table),
};
static const struct state_table slot_table =
	STATE_TABLE_OF(struct xhci_slot_state, "xhci_slot", slot_fields, slot_check);

static const struct state_field xhci_fields[] = {
	STATE(struct xhci_state, command),
	STATE(struct xhci_state, status),
	STATE(struct xhci_state, notifications),
	STATE(struct xhci_state, config),
	STATE(struct xhci_state, command_pointer),
	STATE_STRUCT(struct xhci_state, commands, &ring_table),
	STATE(struct xhci_state, contexts),
	STATE_ARRAY(struct xhci_state, ports),
	STATE(struct xhci_state, interrupter),
	STATE(struct xhci_state, moderation),
	STATE_MAX(struct xhci_state, nr_segments, 0xffff),
	STATE(struct xhci_state, commands_run),
	STATE(struct xhci_state, event_cycle),
	STATE_PAD(struct xhci_state, reserved),
	STATE(struct xhci_state, segment_table),
	STATE(struct xhci_state, event_dequeue),
	STATE_MAX(struct xhci_state, segment, 0xffff),
	STATE_MAX(struct xhci_state, segment_at, 0xffff),
	STATE_MAX(struct xhci_state, port_events, (1u << XHCI_NR_PORTS) - 1),
	STATE_PAD(struct xhci_state, reserved1),
	STATE_STRUCTS(struct xhci_state, slots, &slot_table),
};
static const struct state_table xhci_table =
	STATE_TABLE_OF(struct xhci_state, "xhci", xhci_fields, NULL);

const struct device_type xhci_type = {
	.name = "xhci",
	.state = &xhci_table,
	.state_offset = offsetof(struct xhci, state),
	.reset = xhci_powered,
	.restored = xhci_restored,
};

int xhci_create(struct xhci **out, const char *name, struct machine *machine, struct error *err)
{
	static const struct pci_identity identity = {
		.vendor_id = 0x1b36,
		.device_id = 0x000d,
		.revision = 1,
		.class_code = 0x0c0330,
		.subsystem_vendor_id = 0x1af4,
		.subsystem_id = 0x1100,
		.interrupt_pin = 1,
	};
	static const struct pci_function_ops ops = { .reset = function_reset };
	static const struct io_ops registers = { read_register, write_register, 4 };
	static const struct pci_bar bar = {
		.kind = PCI_BAR_MEMORY64, .size = XHCI_BAR_SIZE, .ops = &registers, .name = "xhci"
	};
	struct xhci *xhci = calloc(1, sizeof(*xhci));

	*out = NULL;
	if (!xhci)
		return error_set_errno(
			err, EXIT_CODE_HOST, ENOMEM, "cannot create the device %s", name);
	xhci->machine = machine;
	timer_init(&xhci->timer, &machine->clock, go_on, xhci);
	pci_function_init(&xhci->function, name, &identity, &ops, xhci);
	pci_add_register(&xhci->function, 0x60, 1, 0x30, 0); /* release 3.0 */
	pci_add_bar(&xhci->function, 0, &bar);
	pci_add_msix(&xhci->function, 1, 0, XHCI_MSIX_TABLE, XHCI_MSIX_PBA);
	machine_add_device(machine, &xhci_type, name, xhci);
	xhci->state.status = XHCI_STS_HALTED;
	xhci->state.event_cycle = true;
	*out = xhci;
	return 0;
}

void xhci_destroy(struct xhci *xhci)
{
	if (!xhci)
		return;
	machine_lock(xhci->machine);
	timer_cancel(&xhci->timer);
	for (unsigned i = 0; i < XHCI_NR_PORTS; i++) {
		if (xhci->devices[i])
			xhci->devices[i]->wake = NULL;
	}
	machine_remove_device(xhci->machine, xhci);
	machine_unlock(xhci->machine);
	pci_function_finish(&xhci->function);
	free(xhci);
}
