/*
 * Standard device requests (USB 2.0, 9.4; USB 3.2, 9.4). Not modelled: remote wake-up, alternate
 * settings, SET_DESCRIPTOR, isochronous endpoints.
 */
#include "usb/usb_device.h"

#include <string.h>

enum standard_request {
	GET_STATUS = 0,
	CLEAR_FEATURE = 1,
	SET_FEATURE = 3,
	SET_ADDRESS = 5,
	GET_DESCRIPTOR = 6,
	GET_CONFIGURATION = 8,
	SET_CONFIGURATION = 9,
	GET_INTERFACE = 10,
	SET_INTERFACE = 11,
	SET_SEL = 48,
	SET_ISOCH_DELAY = 49,
};

enum recipient { TO_DEVICE, TO_INTERFACE, TO_ENDPOINT };

enum descriptor_type {
	DESCRIPTOR_DEVICE = 1,
	DESCRIPTOR_CONFIGURATION = 2,
	DESCRIPTOR_STRING = 3,
	DESCRIPTOR_QUALIFIER = 6,
	DESCRIPTOR_BOS = 15,
};

#define FEATURE_HALT     0
#define SELF_POWERED     BIT(0)
#define ENDPOINT_IN      BIT(7)
#define ENDPOINT_NUMBER  BITS(3, 0)
#define LANGUAGE_ENGLISH 0x0409

static uint16_t *halted(struct usb_device *device, bool in)
{
	return in ? &device->state.halted_in : &device->state.halted_out;
}

static void give(uint8_t *data, uint32_t *length, const void *bytes, uint32_t size)
{
	if (*length > size)
		*length = size;
	memcpy(data, bytes, *length);
}

/* UTF-16, of ASCII. */
static enum usb_result give_string(
	struct usb_device *device, unsigned index, uint8_t *data, uint32_t *length)
{
	uint8_t bytes[2 + 2 * 126] = { 4, DESCRIPTOR_STRING, LANGUAGE_ENGLISH & 0xff,
		LANGUAGE_ENGLISH >> 8 };
	const char *text;

	if (index >= ARRAY_SIZE(device->descriptors->strings))
		return USB_STALL;
	text = index == 3 && device->serial ? device->serial : device->descriptors->strings[index];
	if (index > 0) {
		if (!text)
			return USB_STALL;
		bytes[0] = 2;
		for (; *text && bytes[0] + 2u <= sizeof(bytes); text++) {
			bytes[bytes[0]++] = (uint8_t)*text;
			bytes[bytes[0]++] = 0;
		}
	}
	give(data, length, bytes, bytes[0]);
	return USB_OK;
}

static enum usb_result get_descriptor(
	struct usb_device *device, const struct usb_setup *setup, uint8_t *data, uint32_t *length)
{
	const struct usb_descriptors *descriptors = device->descriptors;
	const struct usb_blob *blob;

	switch (setup->value >> 8) {
	case DESCRIPTOR_DEVICE: blob = &descriptors->device; break;
	case DESCRIPTOR_CONFIGURATION: blob = &descriptors->configuration; break;
	case DESCRIPTOR_QUALIFIER: blob = &descriptors->qualifier; break;
	case DESCRIPTOR_BOS: blob = &descriptors->bos; break;
	case DESCRIPTOR_STRING: return give_string(device, setup->value & 0xff, data, length);
	default: return USB_STALL;
	}
	if (blob->size == 0 || (setup->value & 0xff))
		return USB_STALL;
	give(data, length, blob->bytes, blob->size);
	return USB_OK;
}

static enum usb_result endpoint_feature(
	struct usb_device *device, const struct usb_setup *setup, bool set)
{
	unsigned number = setup->index & (unsigned)ENDPOINT_NUMBER;
	bool in = setup->index & ENDPOINT_IN;
	uint16_t *bits = halted(device, in);

	if (setup->value != FEATURE_HALT)
		return USB_STALL;
	*bits = (uint16_t)(set ? *bits | BIT(number) : *bits & ~BIT(number));
	if (!set && device->ops->cleared)
		device->ops->cleared(device, number, in);
	return USB_OK;
}

static enum usb_result get_status(
	struct usb_device *device, const struct usb_setup *setup, uint8_t *data, uint32_t *length)
{
	uint8_t status[2] = { 0 };

	switch (setup->type & USB_TYPE_RECIPIENT) {
	case TO_DEVICE: status[0] = SELF_POWERED; break;
	case TO_ENDPOINT:
		status[0] = *halted(device, setup->index & ENDPOINT_IN) >>
				    (setup->index & ENDPOINT_NUMBER) &
			    1;
		break;
	}
	give(data, length, status, sizeof(status));
	return USB_OK;
}

static enum usb_result set_configuration(struct usb_device *device, unsigned value)
{
	if (value > 1)
		return USB_STALL;
	device->state.configuration = (uint8_t)value;
	device->state.halted_in = device->state.halted_out = 0;
	return USB_OK;
}

static enum usb_result standard(
	struct usb_device *device, const struct usb_setup *setup, uint8_t *data, uint32_t *length)
{
	static const uint8_t zero;
	unsigned recipient = setup->type & (unsigned)USB_TYPE_RECIPIENT;

	switch (setup->request) {
	case GET_STATUS: return get_status(device, setup, data, length);
	case CLEAR_FEATURE:
	case SET_FEATURE:
		if (recipient == TO_ENDPOINT)
			return endpoint_feature(device, setup, setup->request == SET_FEATURE);
		return USB_OK; /* power management, remote wake-up: nothing to do */
	case SET_ADDRESS: device->state.address = setup->value & 0x7f; return USB_OK;
	case GET_CONFIGURATION: give(data, length, &device->state.configuration, 1); return USB_OK;
	case SET_CONFIGURATION: return set_configuration(device, setup->value);
	case GET_INTERFACE: give(data, length, &zero, 1); return USB_OK;
	case SET_INTERFACE: return setup->value == 0 ? USB_OK : USB_STALL;
	case SET_SEL:
	case SET_ISOCH_DELAY: return USB_OK;
	}
	return USB_STALL;
}

enum usb_result usb_device_control(
	struct usb_device *device, const struct usb_setup *setup, uint8_t *data, uint32_t *length)
{
	uint32_t room = *length;
	enum usb_result result;

	if (field_get(USB_TYPE_KIND, setup->type) != USB_KIND_STANDARD)
		result = device->ops->control(device, setup, data, length);
	else if (setup->request == GET_DESCRIPTOR &&
		 (setup->type & USB_TYPE_RECIPIENT) == TO_INTERFACE)
		result = device->ops->control(device, setup, data, length);
	else if (setup->request == GET_DESCRIPTOR)
		result = get_descriptor(device, setup, data, length);
	else
		result = standard(device, setup, data, length);
	/* Requests that answer nothing leave it as it was. */
	if (*length > room || !(setup->type & USB_TYPE_IN) || setup->length == 0)
		*length = room;
	return result;
}

enum usb_result usb_device_in(
	struct usb_device *device, unsigned number, uint8_t *data, uint32_t *length)
{
	enum usb_result result;

	if (device->state.halted_in & BIT(number))
		return USB_STALL;
	result = device->ops->in(device, number, data, length);
	if (result == USB_STALL)
		device->state.halted_in |= (uint16_t)BIT(number);
	return result;
}

enum usb_result usb_device_out(
	struct usb_device *device, unsigned number, const uint8_t *data, uint32_t length)
{
	enum usb_result result;

	if (device->state.halted_out & BIT(number))
		return USB_STALL;
	result = device->ops->out(device, number, data, length);
	if (result == USB_STALL)
		device->state.halted_out |= (uint16_t)BIT(number);
	return result;
}

void usb_device_reset(struct usb_device *device)
{
	memset(&device->state, 0, sizeof(device->state));
	device->ops->reset(device);
}

void usb_device_wake(struct usb_device *device, unsigned number, bool in)
{
	if (device->wake)
		device->wake(device->controller, device->port, number, in);
}

static const struct state_field fields[] = {
	STATE_MAX(struct usb_device_state, configuration, 1),
	STATE_MAX(struct usb_device_state, address, 127),
	STATE(struct usb_device_state, halted_in),
	STATE(struct usb_device_state, halted_out),
	STATE_PAD(struct usb_device_state, reserved),
};

static const struct state_table table =
	STATE_TABLE_OF(struct usb_device_state, "usb_device", fields, NULL);

const struct device_type usb_device_type = {
	.name = "usb_device",
	.state = &table,
	.state_offset = offsetof(struct usb_device, state),
};
