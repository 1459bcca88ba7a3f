#include "vmm/usb.h"

#include <errno.h>
#include <stdlib.h>

int usb_create(struct usb *usb, struct board *board, struct error *err)
{
	int rc;

	if (usb->xhci)
		return 0;
	if (xhci_create(&usb->xhci, "usb", board->machine, err))
		return -1;
	machine_lock(board->machine);
	rc = pci_plug(board_pci(board), &usb->xhci->function, PCI_ANY_DEVICE, false, err);
	machine_unlock(board->machine);
	return rc;
}

int usb_add(struct usb *usb, struct board *board, struct usb_device *device, const char *name,
	struct error *err)
{
	bool plugged;

	if (usb_create(usb, board, err))
		return -1;
	machine_lock(board->machine);
	plugged = xhci_plug(usb->xhci, device);
	if (plugged)
		machine_add_device(board->machine, &usb_device_type, name, device);
	machine_unlock(board->machine);
	if (!plugged)
		return error_set(err, EXIT_CODE_CONFIG,
			"there are too many USB devices; there is room for %u disks and %u others",
			XHCI_NR_PORTS_3, XHCI_NR_PORTS_2);
	return 0;
}

int usb_add_hid(struct usb *usb, struct board *board, enum usb_hid_kind kind, struct error *err)
{
	struct usb_hid **hid = kind == USB_HID_TABLET ? &usb->tablet : &usb->keyboard;

	*hid = calloc(1, sizeof(**hid));
	if (!*hid)
		return error_set_errno(err, EXIT_CODE_HOST, ENOMEM, "no memory for a USB device");
	usb_hid_init(*hid, kind);
	machine_add_device(board->machine, &usb_hid_type,
		kind == USB_HID_TABLET ? "usb-tablet-hid" : "usb-keyboard-hid", *hid);
	return usb_add(usb, board, &(*hid)->device,
		kind == USB_HID_TABLET ? "usb-tablet" : "usb-keyboard", err);
}

void usb_remove(struct machine *machine, struct usb_device *device)
{
	if (!device->wake)
		return;
	machine_lock(machine);
	xhci_unplug(device);
	machine_remove_device(machine, device);
	machine_unlock(machine);
}

static void destroy_hid(struct usb_hid *hid, struct machine *machine)
{
	if (!hid)
		return;
	usb_remove(machine, &hid->device);
	machine_lock(machine);
	machine_remove_device(machine, hid);
	machine_unlock(machine);
	free(hid);
}

void usb_destroy(struct usb *usb, struct machine *machine)
{
	destroy_hid(usb->keyboard, machine);
	destroy_hid(usb->tablet, machine);
	if (!usb->xhci)
		return;
	machine_lock(machine);
	if (usb->xhci->function.host)
		pci_unplug(&usb->xhci->function);
	machine_unlock(machine);
	xhci_destroy(usb->xhci);
	*usb = (struct usb){ NULL };
}
