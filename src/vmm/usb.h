/*
 * The USB of a virtual machine: one xHCI, and what is plugged into it but for disks, which are
 * theirs who made them. It comes with the first that needs it, before the guest runs, and stays.
 * Event loop's thread.
 */
#ifndef VMM_USB_H
#define VMM_USB_H

#include "board/board.h"
#include "usb/usb_hid.h"
#include "usb/xhci.h"

struct usb {
	struct xhci *xhci; /* NULL: there is none */
	/* NULL: not there. */
	struct usb_hid *keyboard, *tablet;
};

/* Returns 0, or fills `err`. */
int usb_create(struct usb *usb, struct board *board, struct error *err);
int usb_add_hid(struct usb *usb, struct board *board, enum usb_hid_kind kind, struct error *err);
int usb_add(struct usb *usb, struct board *board, struct usb_device *device, const char *name,
	struct error *err);

/* Takes it off the controller; one that is plugged nowhere is fine. */
void usb_remove(struct machine *machine, struct usb_device *device);

/* No vCPU runs, and its disks are gone. Takes a zeroed one. */
void usb_destroy(struct usb *usb, struct machine *machine);

#endif
