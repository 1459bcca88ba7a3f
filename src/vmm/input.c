#include "vmm/input.h"

#include "base/bits.h"
#include "display/key.h"

#include <errno.h>
#include <linux/input-event-codes.h>
#include <string.h>

bool input_has_keyboard(const struct input *input)
{
	return input->keyboard || input->usb_keyboard || (input->i8042 && input->i8042->keyboard);
}

bool input_has_tablet(const struct input *input)
{
	return input->tablet || input->usb_tablet;
}

bool input_has_mouse(const struct input *input)
{
	return input->i8042 && input->i8042->mouse;
}

/* True if the key has arrived, or never will. Under the machine lock. */
static bool deliver(struct input *input, const struct input_key *key)
{
	struct virtio_input_event event = { .type = EV_KEY, .code = key->key, .value = key->down };

	if (input->keyboard)
		return virtio_input_report(input->keyboard, &event, 1);
	if (input->usb_keyboard)
		return usb_hid_key(input->usb_keyboard, key->key, key->down);
	if (!input_has_keyboard(input))
		return true;
	return ps2_keyboard_key(input->i8042->keyboard, key->key, key->down) ||
	       ps2_keyboard_is_ready(input->i8042->keyboard);
}

/* Under the machine lock. */
static void pump(void *context)
{
	struct input *input = context;

	if (input->count == 0)
		return;
	if (deliver(input, &input->keys[input->first])) {
		input->first = (input->first + 1) % INPUT_MAX_KEYS;
		input->count--;
	}
	if (input->count > 0)
		timer_arm(&input->timer, clock_now(&input->machine->clock) + INPUT_PERIOD_NS);
}

static void append(struct input *input, unsigned key, bool down)
{
	input->keys[(input->first + input->count++) % INPUT_MAX_KEYS] =
		(struct input_key){ .key = (uint16_t)key, .down = down };
}

/* What was appended is on its way. */
static void start(struct input *input)
{
	machine_lock(input->machine);
	if (!timer_is_armed(&input->timer))
		pump(input);
	machine_unlock(input->machine);
}

bool input_key(struct input *input, unsigned key, bool down)
{
	if (input->count == INPUT_MAX_KEYS)
		return false;
	append(input, key, down);
	start(input);
	return true;
}

bool input_chord(struct input *input, const unsigned *keys, unsigned count)
{
	if (INPUT_MAX_KEYS - input->count < 2 * count)
		return false;
	for (unsigned i = 0; i < count; i++)
		append(input, keys[i], true);
	for (unsigned i = count; i-- > 0;)
		append(input, keys[i], false);
	start(input);
	return true;
}

static void append_stroke(struct input *input, struct key_stroke stroke)
{
	unsigned modifier = stroke.shift ? KEY_LEFTSHIFT : stroke.altgr ? KEY_RIGHTALT : 0;

	if (modifier)
		append(input, modifier, true);
	append(input, stroke.key, true);
	append(input, stroke.key, false);
	if (modifier)
		append(input, modifier, false);
}

int input_type(struct input *input, const char *layout, const char *text, struct error *err)
{
	unsigned events = 0;
	const char *at = text;
	uint32_t character;

	if (!key_layout_exists(layout))
		return error_set(err, EXIT_CODE_USAGE,
			"there is no keyboard layout '%.40s'; use one of: us de", layout);
	while ((character = key_next_character(&at))) {
		struct key_stroke stroke = key_for_character(layout, character);

		if (!stroke.key)
			return error_set(err, EXIT_CODE_USAGE,
				"no key writes the character U+%04X on this layout; use another "
				"with --layout, or leave it out",
				(unsigned)character);
		events += stroke.shift || stroke.altgr ? 4 : 2;
		if (events > INPUT_MAX_KEYS - input->count)
			return error_set(err, EXIT_CODE_UNAVAILABLE,
				"the text is too long for what the guest has not taken yet; type "
				"less at once, or later");
	}
	for (at = text; (character = key_next_character(&at));)
		append_stroke(input, key_for_character(layout, character));
	start(input);
	return 0;
}

/* Of buttons, those that changed, as events. */
static unsigned button_events(
	unsigned before, unsigned now, struct virtio_input_event events[static 5])
{
	static const struct {
		unsigned button;
		uint16_t code;
	} codes[] = { { PS2_BUTTON_LEFT, BTN_LEFT }, { PS2_BUTTON_RIGHT, BTN_RIGHT },
		{ PS2_BUTTON_MIDDLE, BTN_MIDDLE }, { PS2_BUTTON_SIDE, BTN_SIDE },
		{ PS2_BUTTON_EXTRA, BTN_EXTRA } };
	unsigned count = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(codes); i++) {
		if ((before ^ now) & codes[i].button)
			events[count++] = (struct virtio_input_event){ .type = EV_KEY,
				.code = codes[i].code,
				.value = now & codes[i].button ? 1 : 0 };
	}
	return count;
}

static uint32_t axis(int at, int size)
{
	if (size <= 1 || at <= 0)
		return 0;
	if (at >= size)
		at = size - 1;
	return (uint32_t)((int64_t)at * VIRTIO_INPUT_AXIS_MAX / (size - 1));
}

static void point_tablet(
	struct input *input, int x, int y, int width, int height, int wheel, unsigned buttons)
{
	struct virtio_input_event events[8] = {
		{ .type = EV_ABS, .code = ABS_X, .value = axis(x, width) },
		{ .type = EV_ABS, .code = ABS_Y, .value = axis(y, height) },
	};
	unsigned count = 2 + button_events(input->buttons, buttons, events + 2);

	if (wheel)
		events[count++] = (struct virtio_input_event){
			.type = EV_REL, .code = REL_WHEEL, .value = (uint32_t)wheel
		};
	/* Of a motion that the guest has no room for the next one tells as well; a button must not
	 * be lost, and is sent with it. */
	if (virtio_input_report(input->tablet, events, count))
		input->buttons = buttons;
}

static void point_usb(
	struct input *input, int x, int y, int width, int height, int wheel, unsigned buttons)
{
	_Static_assert(VIRTIO_INPUT_AXIS_MAX == USB_HID_AXIS_MAX, "axes have one scale");
	machine_lock(input->machine);
	if (usb_hid_point(input->usb_tablet, (uint16_t)axis(x, width), (uint16_t)axis(y, height),
		    wheel, buttons))
		input->buttons = buttons;
	machine_unlock(input->machine);
}

void input_move(struct input *input, int right, int down, int wheel, unsigned buttons)
{
	if (!input_has_mouse(input))
		return;
	machine_lock(input->machine);
	ps2_mouse_act(input->i8042->mouse, right, down, wheel, buttons);
	machine_unlock(input->machine);
	input->buttons = buttons;
}

void input_point(
	struct input *input, int x, int y, int width, int height, int wheel, unsigned buttons)
{
	if (!input->tablet && input->usb_tablet)
		point_usb(input, x, y, width, height, wheel, buttons);
	else if (input->tablet)
		point_tablet(input, x, y, width, height, wheel, buttons);
	else
		input_move(input, x - input->x, y - input->y, wheel, buttons);
	input->x = x;
	input->y = y;
}

void input_init(struct input *input, struct machine *machine, struct i8042 *i8042)
{
	input->machine = machine;
	input->i8042 = i8042;
	timer_init(&input->timer, &machine->clock, pump, input);
}
