/*
 * Root hub ports (xHCI 4.19, 5.4.8): what is plugged in, resets, changes. Resets take no time. Not
 * modelled: over-current, power switching, wake-up, USB 2 link power management.
 */
#include "usb/xhci.h"

static bool is_usb3(unsigned port)
{
	return port >= XHCI_NR_PORTS_2;
}

static void set_link(uint32_t *port, unsigned link)
{
	*port = (uint32_t)field_set(XHCI_PORT_LINK, *port, link);
}

void xhci_tell_ports(struct xhci *xhci)
{
	struct xhci_state *state = &xhci->state;

	if (state->status & XHCI_STS_HALTED)
		return;
	for (unsigned i = 0; i < XHCI_NR_PORTS && state->port_events; i++) {
		struct xhci_trb event = {
			.parameter = (uint64_t)(i + 1) << 24,
			.status = (uint32_t)XHCI_SUCCESS << 24,
			.control = (uint32_t)field_set(XHCI_TRB_TYPE, 0, XHCI_TRB_PORT_EVENT),
		};

		if (!(state->port_events & BIT(i)))
			continue;
		if (!xhci_event_has_room(xhci))
			return;
		state->port_events &= ~(uint32_t)BIT(i);
		xhci_event(xhci, &event, false);
	}
}

/* A change that was not there before is told; one that the guest has not cleared is not told again.
 */
static void change(struct xhci *xhci, unsigned port, uint32_t bits)
{
	uint32_t *value = &xhci->state.ports[port];
	bool told = *value & XHCI_PORT_CHANGES;

	*value |= bits;
	xhci->state.status |= XHCI_STS_PORT;
	if (!told)
		xhci->state.port_events |= (uint32_t)BIT(port);
	xhci_tell_ports(xhci);
}

static void connect(struct xhci *xhci, unsigned port)
{
	uint32_t *value = &xhci->state.ports[port];

	*value = XHCI_PORT_POWER;
	if (!xhci->devices[port]) {
		set_link(value, XHCI_LINK_RX_DETECT);
		return;
	}
	*value |= XHCI_PORT_CONNECTED;
	*value = (uint32_t)field_set(XHCI_PORT_SPEED, *value,
		xhci->devices[port]->speed == USB_SPEED_FULL   ? 1
		: xhci->devices[port]->speed == USB_SPEED_LOW  ? 2
		: xhci->devices[port]->speed == USB_SPEED_HIGH ? 3
							       : 4);
	/* A USB 3 link trains by itself; USB 2 waits for a reset. */
	set_link(value, is_usb3(port) ? XHCI_LINK_U0 : XHCI_LINK_POLLING);
	if (is_usb3(port))
		*value |= XHCI_PORT_ENABLED;
	change(xhci, port, XHCI_PORT_CONNECT_CHG);
}

void xhci_ports_reset(struct xhci *xhci)
{
	xhci->state.port_events = 0;
	for (unsigned i = 0; i < XHCI_NR_PORTS; i++) {
		if (xhci->devices[i])
			usb_device_reset(xhci->devices[i]);
		connect(xhci, i);
	}
}

static void reset_port(struct xhci *xhci, unsigned port, bool warm)
{
	uint32_t *value = &xhci->state.ports[port];

	if (!xhci->devices[port])
		return;
	usb_device_reset(xhci->devices[port]);
	*value |= XHCI_PORT_ENABLED;
	set_link(value, XHCI_LINK_U0);
	change(xhci, port, (uint32_t)(XHCI_PORT_RESET_CHG | (warm ? XHCI_PORT_WARM_CHG : 0)));
}

static void move_link(struct xhci *xhci, unsigned port, unsigned link)
{
	uint32_t *value = &xhci->state.ports[port];
	unsigned before = (unsigned)field_get(XHCI_PORT_LINK, *value);

	if (!(*value & XHCI_PORT_ENABLED))
		return;
	if (link == XHCI_LINK_U0 && before != XHCI_LINK_U0) {
		set_link(value, link);
		if (is_usb3(port) || before == XHCI_LINK_RESUME)
			change(xhci, port, XHCI_PORT_LINK_CHG);
	} else if (link <= XHCI_LINK_U3 || (link == XHCI_LINK_RESUME && !is_usb3(port))) {
		set_link(value, link);
	}
}

void xhci_port_write(struct xhci *xhci, unsigned port, uint32_t value)
{
	uint32_t *now = &xhci->state.ports[port];

	*now &= ~(value & (uint32_t)XHCI_PORT_CHANGES);
	*now = (*now & ~(uint32_t)XHCI_PORT_WAKES) | (value & (uint32_t)XHCI_PORT_WAKES);
	if (value & XHCI_PORT_ENABLED) /* writing 1 disables */
		*now &= ~(uint32_t)XHCI_PORT_ENABLED;
	if (value & XHCI_PORT_LINK_STROBE)
		move_link(xhci, port, (unsigned)field_get(XHCI_PORT_LINK, value));
	if (value & XHCI_PORT_RESET)
		reset_port(xhci, port, false);
	else if ((value & XHCI_PORT_WARM_RESET) && is_usb3(port))
		reset_port(xhci, port, true);
}

static void wake(void *controller, unsigned port, unsigned number, bool in)
{
	struct xhci *xhci = controller;

	for (unsigned i = 0; i < XHCI_NR_SLOTS; i++) {
		if (xhci->state.slots[i].enabled && xhci->state.slots[i].port == port + 1)
			xhci_run_endpoint(xhci, i, 2 * number + in);
	}
}

bool xhci_plug(struct xhci *xhci, struct usb_device *device)
{
	unsigned port = device->speed == USB_SPEED_SUPER ? XHCI_NR_PORTS_2 : 0;
	unsigned end = device->speed == USB_SPEED_SUPER ? XHCI_NR_PORTS : XHCI_NR_PORTS_2;

	while (port < end && xhci->devices[port])
		port++;
	if (port == end)
		return false;
	xhci->devices[port] = device;
	device->wake = wake;
	device->controller = xhci;
	device->port = port;
	connect(xhci, port);
	return true;
}

void xhci_unplug(struct usb_device *device)
{
	struct xhci *xhci = device->controller;
	unsigned port = device->port;

	xhci->devices[port] = NULL;
	device->wake = NULL;
	device->controller = NULL;
	connect(xhci, port);
	change(xhci, port, XHCI_PORT_CONNECT_CHG);
}
