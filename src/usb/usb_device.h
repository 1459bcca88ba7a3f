/*
 * A USB device as a host controller sees it (USB 2.0, chapters 8 and 9): packets in and out of
 * endpoints, and standard requests, which usb_device.c answers from descriptors.
 *
 * Everything under the machine lock. A device never waits: what is not there yet is USB_NAK, and
 * the controller is woken when it is.
 */
#ifndef USB_USB_DEVICE_H
#define USB_USB_DEVICE_H

#include "base/bits.h"
#include "machine/device.h"

#define USB_MAX_PACKET  1024 /* of any endpoint here */
#define USB_MAX_CONTROL 1024 /* bytes of a control transfer's data that are kept */

enum usb_speed { USB_SPEED_FULL = 1, USB_SPEED_LOW, USB_SPEED_HIGH, USB_SPEED_SUPER };

enum usb_result {
	USB_OK,
	USB_NAK,   /* later: the device wakes its controller */
	USB_STALL, /* the endpoint halts */
};

struct usb_setup {
	uint8_t type; /* bmRequestType */
	uint8_t request;
	uint16_t value, index, length;
} __attribute__((packed));

#define USB_TYPE_IN        BIT(7)
#define USB_TYPE_KIND      BITS(6, 5)
#define USB_TYPE_RECIPIENT BITS(4, 0)
#define USB_KIND_STANDARD  0
#define USB_KIND_CLASS     1

struct usb_device;

struct usb_device_ops {
	/* The bus was reset, or the machine. */
	void (*reset)(struct usb_device *device);
	/*
	 * A request that is not standard, or a descriptor that an interface has. `*length` bytes of
	 * `data` came (out), or may be given back (in: then it is set to how many are).
	 */
	enum usb_result (*control)(struct usb_device *device, const struct usb_setup *setup,
		uint8_t *data, uint32_t *length);
	/* Up to `*length` bytes from endpoint `number`; sets how many there are, which is less only
	 * if a short packet ends them. */
	enum usb_result (*in)(
		struct usb_device *device, unsigned number, uint8_t *data, uint32_t *length);
	enum usb_result (*out)(
		struct usb_device *device, unsigned number, const uint8_t *data, uint32_t length);
	/* A halted endpoint was cleared by the host (CLEAR_FEATURE); may be NULL. */
	void (*cleared)(struct usb_device *device, unsigned number, bool in);
};

/* Constant bytes. */
struct usb_blob {
	const uint8_t *bytes;
	uint32_t size;
};

/* What a device says of itself; the strings are ASCII. */
struct usb_descriptors {
	struct usb_blob device, configuration, bos; /* bos.size 0: none */
	struct usb_blob qualifier;
	const char *strings[4]; /* from 1 on: manufacturer, product, serial number */
};

struct usb_device_state {
	uint8_t configuration; /* 0: none */
	uint8_t address;
	uint16_t halted_in, halted_out; /* endpoints, by number */
	uint8_t reserved[2];
};

struct usb_device {
	struct usb_device_state state;
	const struct usb_device_ops *ops;
	const struct usb_descriptors *descriptors;
	const char *serial; /* string 3; NULL: that of the descriptors */
	enum usb_speed speed;
	/* The controller's: endpoint `number` may have something now. NULL: not plugged in. */
	void (*wake)(void *controller, unsigned port, unsigned number, bool in);
	void *controller;
	unsigned port;
};

extern const struct device_type usb_device_type; /* its controller resets it */

/* What the controller calls. */
void usb_device_reset(struct usb_device *device);
/* The whole of a control transfer. As ops.control. */
enum usb_result usb_device_control(
	struct usb_device *device, const struct usb_setup *setup, uint8_t *data, uint32_t *length);
enum usb_result usb_device_in(
	struct usb_device *device, unsigned number, uint8_t *data, uint32_t *length);
enum usb_result usb_device_out(
	struct usb_device *device, unsigned number, const uint8_t *data, uint32_t length);

/* What a device calls. */
void usb_device_wake(struct usb_device *device, unsigned number, bool in);

#endif
