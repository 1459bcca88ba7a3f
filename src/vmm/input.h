/*
 * What a person at the machine does: keys and a pointer, sent to whatever keyboard and pointer the
 * machine has. virtio devices come before USB's, and those before PS/2's.
 *
 * Keys are Linux's codes. They go to the guest in order, as fast as its keyboard takes them, and
 * not faster than INPUT_PERIOD_NS of guest time each once some are waiting, so that what is typed
 * as text does not outrun an operating system that polls. Event loop only, which also runs the
 * clock's timers.
 */
#ifndef VMM_INPUT_H
#define VMM_INPUT_H

#include "base/error.h"
#include "chip/i8042.h"
#include "machine/machine.h"
#include "usb/usb_hid.h"
#include "virtio/virtio_input.h"

#define INPUT_MAX_KEYS  8192
#define INPUT_PERIOD_NS (5 * NS_PER_MS)

/* Bits of buttons: those of PS/2. */
struct input_key {
	uint16_t key;
	bool down;
};

struct input {
	struct machine *machine;
	struct i8042 *i8042;            /* NULL, or perhaps with nothing plugged in */
	struct virtio_device *keyboard; /* NULL: none */
	struct virtio_device *tablet;
	struct usb_hid *usb_keyboard, *usb_tablet; /* likewise */
	struct input_key keys[INPUT_MAX_KEYS];     /* a ring of those that wait */
	unsigned first, count;
	struct timer timer;
	unsigned buttons;
	int x, y; /* where the pointer was last, in the picture's pixels */
};

/* After the devices have been plugged. */
void input_init(struct input *input, struct machine *machine, struct i8042 *i8042);

bool input_has_keyboard(const struct input *input);
bool input_has_tablet(const struct input *input);
bool input_has_mouse(const struct input *input);

/* False: too many wait already. */
bool input_key(struct input *input, unsigned key, bool down);
/* Press all in order, release all in the opposite one. */
bool input_chord(struct input *input, const unsigned *keys, unsigned count);
/* UTF-8 text on a keyboard of `layout`. Returns 0, or fills `err`; then nothing is typed. */
int input_type(struct input *input, const char *layout, const char *text, struct error *err);

/* The pointer is moved by so many pixels or counts, the wheel turned upwards, buttons are held. */
void input_move(struct input *input, int right, int down, int wheel, unsigned buttons);
/* The pointer is at a pixel of a picture of this size; a mouse is moved there from where it was. */
void input_point(
	struct input *input, int x, int y, int width, int height, int wheel, unsigned buttons);

#endif
