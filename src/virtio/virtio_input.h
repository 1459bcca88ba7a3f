/*
 * virtio-input (virtio 1.2, 5.8): a keyboard, or a tablet, which is a pointer that says where it is
 * rather than how far it went. Codes are those of Linux's input events.
 *
 * Whoever has the keys injects reports; what the guest has no buffers for yet is kept, up to
 * VIRTIO_INPUT_KEPT events, and beyond that a report is refused as a whole, so that no key is
 * pressed without the rest of its report.
 */
#ifndef VIRTIO_VIRTIO_INPUT_H
#define VIRTIO_VIRTIO_INPUT_H

#include "virtio/virtio.h"

#define VIRTIO_INPUT_KEPT 256

/* A tablet's axes go from 0 to this. */
#define VIRTIO_INPUT_AXIS_MAX 0x7fff

enum virtio_input_kind { VIRTIO_INPUT_KEYBOARD, VIRTIO_INPUT_TABLET };

/* 5.8.6: type, code and value of linux/input-event-codes.h. */
struct virtio_input_event {
	uint16_t type, code;
	uint32_t value;
};

struct virtio_input_state {
	struct virtio_input_event events[VIRTIO_INPUT_KEPT]; /* a ring */
	uint32_t first, count;
	uint32_t leds; /* bit N: LED N of the keyboard, as the guest set it */
};

extern const struct state_table virtio_input_state_table;

/* `name` is unique in the machine and outlives the device. Returns 0, or fills `err`. */
int virtio_input_create(struct virtio_device **device, const char *name, struct machine *machine,
	enum virtio_input_kind kind, struct error *err);
/* Off the bus, and not under the machine lock. Takes NULL. */
void virtio_input_destroy(struct virtio_device *device);

/*
 * Injects the events of one moment, which the guest acts on together (the report's end is added
 * here). False, and nothing is injected, if the guest is too far behind. Any thread.
 */
bool virtio_input_report(
	struct virtio_device *device, const struct virtio_input_event *events, unsigned count);

/* virtio_input_state.leds. Any thread. */
uint32_t virtio_input_leds(struct virtio_device *device);

#endif
