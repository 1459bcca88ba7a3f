/*
 * A USB keyboard and a tablet (Device Class Definition for HID 1.11).
 */
#ifndef USB_USB_HID_H
#define USB_USB_HID_H

#include "base/error.h"
#include "machine/machine.h"
#include "usb/usb_device.h"

enum usb_hid_kind { USB_HID_KEYBOARD, USB_HID_TABLET };

#define USB_HID_REPORT_SIZE 8
#define USB_HID_KEPT        32 /* reports that wait for the guest */
#define USB_HID_KEYS        6  /* of one report */
#define USB_HID_AXIS_MAX    0x7fff

struct usb_hid_state {
	uint8_t reports[USB_HID_KEPT][USB_HID_REPORT_SIZE];
	uint8_t last[USB_HID_REPORT_SIZE]; /* what GET_REPORT says: how it is now */
	uint8_t first, count;
	uint8_t protocol; /* 1: report, 0: boot */
	uint8_t idle;     /* in 4 ms; kept, and nothing repeats */
	uint8_t leds;
	uint8_t reserved[3];
};

struct usb_hid {
	struct usb_device device;
	struct usb_hid_state state;
	enum usb_hid_kind kind; /* immutable */
};

extern const struct device_type usb_hid_type;

void usb_hid_init(struct usb_hid *hid, enum usb_hid_kind kind);

/* A key by Linux's code. False: too many reports wait. */
bool usb_hid_key(struct usb_hid *hid, unsigned key, bool down);
/* The pointer, on axes up to USB_HID_AXIS_MAX; buttons as PS/2 has them. False: as above. */
bool usb_hid_point(struct usb_hid *hid, uint16_t x, uint16_t y, int wheel, unsigned buttons);

#endif
