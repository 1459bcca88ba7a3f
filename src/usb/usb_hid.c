/*
 * HID 1.11 and HID Usage Tables 1.12: a boot keyboard, and a pointer with two absolute axes, five
 * buttons and a wheel. Not modelled: automatic repetition at the idle rate, physical descriptors.
 */
#include "usb/usb_hid.h"

#include "usb/usb_keys_table.h"

#include <string.h>

#define ENDPOINT 1

enum hid_request {
	GET_REPORT = 1,
	GET_IDLE = 2,
	GET_PROTOCOL = 3,
	SET_REPORT = 9,
	SET_IDLE = 10,
	SET_PROTOCOL = 11,
};

#define GET_DESCRIPTOR     6
#define DESCRIPTOR_HID     0x21
#define DESCRIPTOR_REPORT  0x22
#define MODIFIERS          0xe0 /* usages from here on are bits of the first byte */
#define TABLET_REPORT_SIZE 6

static const uint8_t keyboard_report[] = {
	0x05,
	0x01, /* usage page: generic desktop */
	0x09,
	0x06, /* usage: keyboard */
	0xa1,
	0x01, /* collection: application */
	0x75,
	0x01,
	0x95,
	0x08,
	0x05,
	0x07,
	0x19,
	0xe0,
	0x29,
	0xe7, /* 8 bits: the modifiers */
	0x15,
	0x00,
	0x25,
	0x01,
	0x81,
	0x02, /* 0 or 1, input: variable */
	0x95,
	0x01,
	0x75,
	0x08,
	0x81,
	0x01, /* a reserved byte */
	0x95,
	0x05,
	0x75,
	0x01,
	0x05,
	0x08,
	0x19,
	0x01,
	0x29,
	0x05, /* 5 bits: the LEDs */
	0x91,
	0x02,
	0x95,
	0x01,
	0x75,
	0x03,
	0x91,
	0x01, /* output, and 3 of padding */
	0x95,
	0x06,
	0x75,
	0x08,
	0x15,
	0x00,
	0x26,
	0xff,
	0x00, /* 6 bytes of 0 to 255 */
	0x05,
	0x07,
	0x19,
	0x00,
	0x2a,
	0xff,
	0x00,
	0x81,
	0x00, /* keys, input: array */
	0xc0,
};

static const uint8_t tablet_report[] = {
	0x05,
	0x01, /* usage page: generic desktop */
	0x09,
	0x02, /* usage: mouse */
	0xa1,
	0x01, /* collection: application */
	0x09,
	0x01,
	0xa1,
	0x00, /* usage: pointer, collection: physical */
	0x05,
	0x09,
	0x19,
	0x01,
	0x29,
	0x05,
	0x15,
	0x00,
	0x25,
	0x01, /* buttons 1 to 5, 0 or 1 */
	0x95,
	0x05,
	0x75,
	0x01,
	0x81,
	0x02,
	0x95,
	0x01,
	0x75,
	0x03,
	0x81,
	0x01, /* input, padding */
	0x05,
	0x01,
	0x09,
	0x30,
	0x09,
	0x31,
	0x15,
	0x00,
	0x26,
	0xff,
	0x7f, /* X and Y */
	0x35,
	0x00,
	0x46,
	0xff,
	0x7f,
	0x75,
	0x10,
	0x95,
	0x02,
	0x81,
	0x02, /* 16 bits each */
	0x05,
	0x01,
	0x09,
	0x38,
	0x15,
	0x81,
	0x25,
	0x7f,
	0x35,
	0x00,
	0x45,
	0x00, /* wheel */
	0x75,
	0x08,
	0x95,
	0x01,
	0x81,
	0x06, /* relative */
	0xc0,
	0xc0,
};

#define DEVICE_DESCRIPTOR(product)                                                                 \
	{                                                                                          \
		18, 1, 0x00, 0x02, 0, 0, 0, 64, 0x27, 0x06, product, 0x00, 0x00, 0x01, 1, 2, 3, 1  \
	}
#define QUALIFIER_DESCRIPTOR                                                                       \
	{                                                                                          \
		10, 6, 0x00, 0x02, 0, 0, 0, 64, 1, 0                                               \
	}
/* One configuration, self powered, one interface with the HID descriptor and one endpoint, looked
 * at every 2^(n-1) microframes. */
#define CONFIGURATION_DESCRIPTOR(subclass, protocol, report, packet)                               \
	{                                                                                          \
		9, 2, 34, 0, 1, 1, 0, 0xe0, 50, 9, 4, 0, 0, 1, 3, subclass, protocol, 0, 9,        \
			DESCRIPTOR_HID, 0x11, 0x01, 0, 1, DESCRIPTOR_REPORT, sizeof(report), 0, 7, \
			5, 0x80 | ENDPOINT, 3, packet, 0, 6                                        \
	}

static const uint8_t keyboard_device[] = DEVICE_DESCRIPTOR(0x01);
static const uint8_t tablet_device[] = DEVICE_DESCRIPTOR(0x02);
static const uint8_t qualifier[] = QUALIFIER_DESCRIPTOR;
static const uint8_t keyboard_configuration[] = CONFIGURATION_DESCRIPTOR(1, 1, keyboard_report, 8);
static const uint8_t tablet_configuration[] = CONFIGURATION_DESCRIPTOR(0, 0, tablet_report, 8);

static const struct usb_descriptors descriptors[] = {
	[USB_HID_KEYBOARD] = {
		.device = { keyboard_device, sizeof(keyboard_device) },
		.configuration = { keyboard_configuration, sizeof(keyboard_configuration) },
		.qualifier = { qualifier, sizeof(qualifier) },
		.strings = { NULL, "Atoll", "USB keyboard", "1" },
	},
	[USB_HID_TABLET] = {
		.device = { tablet_device, sizeof(tablet_device) },
		.configuration = { tablet_configuration, sizeof(tablet_configuration) },
		.qualifier = { qualifier, sizeof(qualifier) },
		.strings = { NULL, "Atoll", "USB tablet", "1" },
	},
};

static struct usb_hid *hid_of(struct usb_device *device)
{
	return container_of(device, struct usb_hid, device);
}

static uint32_t report_size(const struct usb_hid *hid)
{
	return hid->kind == USB_HID_TABLET ? TABLET_REPORT_SIZE : USB_HID_REPORT_SIZE;
}

static void clear(struct usb_hid *hid)
{
	memset(&hid->state, 0, sizeof(hid->state));
	hid->state.protocol = 1;
}

static void hid_reset(struct usb_device *device)
{
	clear(hid_of(device));
}

static enum usb_result give(uint8_t *data, uint32_t *length, const uint8_t *bytes, uint32_t size)
{
	if (*length > size)
		*length = size;
	memcpy(data, bytes, *length);
	return USB_OK;
}

static enum usb_result get_descriptor(
	struct usb_hid *hid, const struct usb_setup *setup, uint8_t *data, uint32_t *length)
{
	bool is_tablet = hid->kind == USB_HID_TABLET;

	switch (setup->value >> 8) {
	case DESCRIPTOR_HID:
		return give(data, length, descriptors[hid->kind].configuration.bytes + 18, 9);
	case DESCRIPTOR_REPORT:
		return give(data, length, is_tablet ? tablet_report : keyboard_report,
			is_tablet ? sizeof(tablet_report) : sizeof(keyboard_report));
	}
	return USB_STALL;
}

static enum usb_result hid_control(
	struct usb_device *device, const struct usb_setup *setup, uint8_t *data, uint32_t *length)
{
	struct usb_hid *hid = hid_of(device);
	struct usb_hid_state *state = &hid->state;

	if (setup->request == GET_DESCRIPTOR && field_get(USB_TYPE_KIND, setup->type) == 0)
		return get_descriptor(hid, setup, data, length);
	if (field_get(USB_TYPE_KIND, setup->type) != USB_KIND_CLASS)
		return USB_STALL;
	switch (setup->request) {
	case GET_REPORT: return give(data, length, state->last, report_size(hid));
	case SET_REPORT:
		if (*length > 0 && hid->kind == USB_HID_KEYBOARD)
			state->leds = data[0] & 0x1f;
		return USB_OK;
	case GET_IDLE: return give(data, length, &state->idle, 1);
	case SET_IDLE: state->idle = (uint8_t)(setup->value >> 8); return USB_OK;
	case GET_PROTOCOL: return give(data, length, &state->protocol, 1);
	case SET_PROTOCOL: state->protocol = setup->value & 1; return USB_OK;
	}
	return USB_STALL;
}

static enum usb_result hid_in(
	struct usb_device *device, unsigned number, uint8_t *data, uint32_t *length)
{
	struct usb_hid *hid = hid_of(device);
	struct usb_hid_state *state = &hid->state;

	if (number != ENDPOINT)
		return USB_STALL;
	if (state->count == 0)
		return USB_NAK;
	give(data, length, state->reports[state->first], report_size(hid));
	state->first = (state->first + 1) % USB_HID_KEPT;
	state->count--;
	return USB_OK;
}

static enum usb_result hid_out(
	struct usb_device *device, unsigned number, const uint8_t *data, uint32_t length)
{
	(void)device;
	(void)number;
	(void)data;
	(void)length;
	return USB_STALL;
}

static bool keep(struct usb_hid *hid)
{
	struct usb_hid_state *state = &hid->state;

	if (!hid->device.state.configuration)
		return true; /* nobody listens */
	if (state->count == USB_HID_KEPT)
		return false;
	memcpy(state->reports[(state->first + state->count) % USB_HID_KEPT], state->last,
		sizeof(state->last));
	state->count++;
	usb_device_wake(&hid->device, ENDPOINT, true);
	return true;
}

/* Puts the key into the report, or takes it out. */
static void change_key(uint8_t report[USB_HID_REPORT_SIZE], uint8_t usage, bool down)
{
	uint8_t *keys = report + 2;

	if (usage >= MODIFIERS) {
		uint8_t bit = (uint8_t)BIT(usage - MODIFIERS);

		report[0] = (uint8_t)(down ? report[0] | bit : report[0] & ~bit);
		return;
	}
	for (unsigned i = 0; i < USB_HID_KEYS; i++) {
		if (keys[i] != usage)
			continue;
		if (!down) {
			memmove(keys + i, keys + i + 1, USB_HID_KEYS - 1 - i);
			keys[USB_HID_KEYS - 1] = 0;
		}
		return;
	}
	for (unsigned i = 0; i < USB_HID_KEYS && down; i++) {
		if (!keys[i]) {
			keys[i] = usage;
			return;
		}
	}
}

bool usb_hid_key(struct usb_hid *hid, unsigned key, bool down)
{
	uint8_t usage = key < ARRAY_SIZE(usb_key_usages) ? usb_key_usages[key] : 0;
	uint8_t before[USB_HID_REPORT_SIZE];

	if (!usage)
		return true;
	memcpy(before, hid->state.last, sizeof(before));
	change_key(hid->state.last, usage, down);
	if (memcmp(before, hid->state.last, sizeof(before)) == 0 || keep(hid))
		return true;
	memcpy(hid->state.last, before, sizeof(before));
	return false;
}

bool usb_hid_point(struct usb_hid *hid, uint16_t x, uint16_t y, int wheel, unsigned buttons)
{
	uint8_t *report = hid->state.last;
	uint8_t before[USB_HID_REPORT_SIZE];
	bool kept;

	memcpy(before, report, sizeof(before));
	report[0] = (uint8_t)(buttons & 0x1f);
	report[1] = (uint8_t)x;
	report[2] = (uint8_t)(x >> 8 & 0x7f);
	report[3] = (uint8_t)y;
	report[4] = (uint8_t)(y >> 8 & 0x7f);
	report[5] = (uint8_t)(wheel < -127 ? -127 : wheel > 127 ? 127 : wheel);
	kept = keep(hid);
	if (!kept)
		memcpy(report, before, sizeof(before));
	report[5] = 0;
	return kept;
}

static void hid_powered(void *object)
{
	struct usb_hid *hid = object;

	clear(hid);
	memset(&hid->device.state, 0, sizeof(hid->device.state));
}

void usb_hid_init(struct usb_hid *hid, enum usb_hid_kind kind)
{
	static const struct usb_device_ops ops = {
		.reset = hid_reset, .control = hid_control, .in = hid_in, .out = hid_out
	};

	memset(hid, 0, sizeof(*hid));
	hid->kind = kind;
	hid->device.ops = &ops;
	hid->device.descriptors = &descriptors[kind];
	hid->device.speed = USB_SPEED_HIGH;
	clear(hid);
}

static const struct state_field fields[] = {
	STATE_BYTES(struct usb_hid_state, reports),
	STATE_ARRAY(struct usb_hid_state, last),
	STATE_MAX(struct usb_hid_state, first, USB_HID_KEPT - 1),
	STATE_MAX(struct usb_hid_state, count, USB_HID_KEPT),
	STATE_MAX(struct usb_hid_state, protocol, 1),
	STATE(struct usb_hid_state, idle),
	STATE_MAX(struct usb_hid_state, leds, 0x1f),
	STATE_PAD(struct usb_hid_state, reserved),
};
static const struct state_table table =
	STATE_TABLE_OF(struct usb_hid_state, "usb_hid", fields, NULL);

const struct device_type usb_hid_type = {
	.name = "usb_hid",
	.state = &table,
	.state_offset = offsetof(struct usb_hid, state),
	.reset = hid_powered,
};
