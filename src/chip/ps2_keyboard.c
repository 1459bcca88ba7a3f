/*
 * The PS/2 keyboard (IBM PS/2 Hardware Interface Technical Reference, Keyboards): scan code sets 1
 * to 3, its commands, and repeating keys. Its self-test takes no time. Not modelled: the shifts
 * that it pretends around cursor keys while Num Lock is on. Runs under the machine lock.
 */
#include "chip/ps2_keyboard.h"

#include "base/bits.h"
#include "chip/ps2_keys_table.h"

#include <string.h>

/* What keys may fill of the queue; the rest is for answers. The longest key has 8 bytes. */
#define KEY_ROOM     24
#define LONGEST_KEY  8
#define BREAK_PREFIX 0xf0

enum answer {
	ANSWER_PASSED = 0xaa,
	ANSWER_ECHO = 0xee,
	ANSWER_ACKNOWLEDGE = 0xfa,
	ANSWER_RESEND = 0xfe,
};

enum command {
	COMMAND_LEDS = 0xed,
	COMMAND_ECHO = 0xee,
	COMMAND_SCAN_SET = 0xf0,
	COMMAND_ID = 0xf2,
	COMMAND_TYPEMATIC = 0xf3,
	COMMAND_ENABLE = 0xf4,
	COMMAND_DISABLE = 0xf5,
	COMMAND_DEFAULT = 0xf6,
	COMMAND_ALL_TYPEMATIC = 0xf7,
	COMMAND_ALL_MAKE_BREAK = 0xf8,
	COMMAND_ALL_MAKE = 0xf9,
	COMMAND_ALL_ALL = 0xfa,
	COMMAND_KEY_TYPEMATIC = 0xfb,
	COMMAND_KEY_MAKE_BREAK = 0xfc,
	COMMAND_KEY_MAKE = 0xfd,
	COMMAND_RESEND = 0xfe,
	COMMAND_RESET = 0xff,
};

#define TYPEMATIC_DEFAULT 0x2b /* 10.9 a second after half a second */

static void put(struct ps2_keyboard *keyboard, uint8_t byte)
{
	if (ps2_queue_room(&keyboard->state.queue) > 0)
		ps2_queue_put(&keyboard->state.queue, byte);
}

static bool is_down(const struct ps2_keyboard *keyboard, unsigned key)
{
	return keyboard->state.down[key / 8] & 1u << key % 8;
}

/* A sequence of set 2, as set 1 has it: translated, with the break in the code's highest bit. */
static void put_sequence(struct ps2_keyboard *keyboard, const uint8_t *bytes, unsigned count)
{
	uint8_t high = 0;

	for (unsigned i = 0; i < count; i++) {
		if (keyboard->state.scan_set != 1) {
			put(keyboard, bytes[i]);
		} else if (bytes[i] == BREAK_PREFIX) {
			high = 0x80;
		} else {
			put(keyboard, ps2_translate(bytes[i]) | high);
			high = 0;
		}
	}
}

static bool has_shift(const struct ps2_keyboard *keyboard)
{
	return is_down(keyboard, KEY_LEFTSHIFT) || is_down(keyboard, KEY_RIGHTSHIFT);
}

static bool has_control(const struct ps2_keyboard *keyboard)
{
	return is_down(keyboard, KEY_LEFTCTRL) || is_down(keyboard, KEY_RIGHTCTRL);
}

static bool has_alt(const struct ps2_keyboard *keyboard)
{
	return is_down(keyboard, KEY_LEFTALT) || is_down(keyboard, KEY_RIGHTALT);
}

#define PUT(keyboard, ...)                                                                         \
	put_sequence(keyboard, (const uint8_t[]){ __VA_ARGS__ },                                   \
		sizeof((const uint8_t[]){ __VA_ARGS__ }))

/* Print Screen is another key with each modifier. */
static void put_print_screen(struct ps2_keyboard *keyboard, bool down)
{
	if (has_alt(keyboard) && down)
		PUT(keyboard, 0x84);
	else if (has_alt(keyboard))
		PUT(keyboard, BREAK_PREFIX, 0x84);
	else if ((has_control(keyboard) || has_shift(keyboard)) && down)
		PUT(keyboard, 0xe0, 0x7c);
	else if (has_control(keyboard) || has_shift(keyboard))
		PUT(keyboard, 0xe0, BREAK_PREFIX, 0x7c);
	else if (down)
		PUT(keyboard, 0xe0, 0x12, 0xe0, 0x7c);
	else
		PUT(keyboard, 0xe0, BREAK_PREFIX, 0x7c, 0xe0, BREAK_PREFIX, 0x12);
}

/* Pause sends its break at once; with Control it is Break. */
static void put_pause(struct ps2_keyboard *keyboard, bool down)
{
	if (!down)
		return;
	if (has_control(keyboard))
		PUT(keyboard, 0xe0, 0x7e, 0xe0, BREAK_PREFIX, 0x7e);
	else
		PUT(keyboard, 0xe1, 0x14, 0x77, 0xe1, BREAK_PREFIX, 0x14, BREAK_PREFIX, 0x77);
}

static void put_set_3(struct ps2_keyboard *keyboard, const struct ps2_key *key, bool down)
{
	uint8_t type = keyboard->state.types[key->set_3];

	if (!key->set_3 || (!down && (type == PS2_KEY_TYPEMATIC || type == PS2_KEY_MAKE)))
		return;
	if (!down)
		put(keyboard, BREAK_PREFIX);
	put(keyboard, key->set_3);
}

static void put_key(struct ps2_keyboard *keyboard, unsigned code, bool down)
{
	const struct ps2_key *key = &ps2_keys[code];
	uint8_t prefix = (uint8_t)(key->set_2 >> 8), last = (uint8_t)key->set_2;

	if (keyboard->state.scan_set == 3)
		put_set_3(keyboard, key, down);
	else if (code == KEY_SYSRQ)
		put_print_screen(keyboard, down);
	else if (code == KEY_PAUSE)
		put_pause(keyboard, down);
	else if (prefix && down)
		PUT(keyboard, prefix, last);
	else if (prefix)
		PUT(keyboard, prefix, BREAK_PREFIX, last);
	else if (down)
		PUT(keyboard, last);
	else
		PUT(keyboard, BREAK_PREFIX, last);
}

static void tell(struct ps2_keyboard *keyboard)
{
	if (keyboard->state.queue.count > 0 && keyboard->has_bytes)
		keyboard->has_bytes(keyboard->context);
}

/* The delay until a key repeats, and the time between its repetitions. */
static ns_t repeat_delay_ns(uint8_t typematic)
{
	return (1 + (typematic >> 5 & 3)) * 250 * NS_PER_MS;
}

static ns_t repeat_period_ns(uint8_t typematic)
{
	return (ns_t)(8 + (typematic & 7)) * (1 << (typematic >> 3 & 3)) * 4170 * NS_PER_US;
}

static bool repeats(const struct ps2_keyboard *keyboard, unsigned key)
{
	uint8_t type = keyboard->state.types[ps2_keys[key].set_3];

	if (keyboard->state.scan_set == 3)
		return type == PS2_KEY_TYPEMATIC || type == PS2_KEY_ALL;
	return key != KEY_PAUSE;
}

static void stop_repeating(struct ps2_keyboard *keyboard)
{
	keyboard->state.repeating = 0;
	timer_cancel(&keyboard->repeat_timer);
}

static void repeat_in(struct ps2_keyboard *keyboard, ns_t ns)
{
	keyboard->state.repeat_at_ns = clock_now(keyboard->repeat_timer.clock) + ns;
	timer_arm(&keyboard->repeat_timer, keyboard->state.repeat_at_ns);
}

static void repeat(void *context)
{
	struct ps2_keyboard *keyboard = context;
	struct ps2_keyboard_state *state = &keyboard->state;

	if (!state->repeating)
		return;
	/* One that nobody reads is not repeated. */
	if (state->queue.count == 0)
		put_key(keyboard, state->repeating, true);
	repeat_in(keyboard, repeat_period_ns(state->typematic));
	tell(keyboard);
}

bool ps2_keyboard_is_ready(const struct ps2_keyboard *keyboard)
{
	return keyboard->state.queue.count + LONGEST_KEY <= KEY_ROOM;
}

bool ps2_keyboard_key(struct ps2_keyboard *keyboard, unsigned key, bool down)
{
	struct ps2_keyboard_state *state = &keyboard->state;

	if (key >= PS2_KEYBOARD_KEYS || !ps2_keys[key].set_2)
		return false;
	if (is_down(keyboard, key) == down)
		return true;
	if (state->scanning && !ps2_keyboard_is_ready(keyboard))
		return false;
	if (state->scanning)
		put_key(keyboard, key, down);
	state->down[key / 8] ^= (uint8_t)(1u << key % 8);
	if (!down && state->repeating == key)
		stop_repeating(keyboard);
	if (down && state->scanning && repeats(keyboard, key)) {
		state->repeating = (uint16_t)key;
		repeat_in(keyboard, repeat_delay_ns(state->typematic));
	}
	tell(keyboard);
	return true;
}

static void set_all_types(struct ps2_keyboard *keyboard, enum ps2_key_type type)
{
	memset(keyboard->state.types, type, sizeof(keyboard->state.types));
}

static void set_defaults(struct ps2_keyboard *keyboard)
{
	struct ps2_keyboard_state *state = &keyboard->state;

	state->typematic = TYPEMATIC_DEFAULT;
	state->scan_set = 2;
	state->pending = 0;
	set_all_types(keyboard, PS2_KEY_TYPEMATIC);
	for (unsigned i = 0; i < PS2_KEYBOARD_KEYS; i++) {
		if (ps2_keys[i].set_3)
			state->types[ps2_keys[i].set_3] = ps2_keys[i].type;
	}
	stop_repeating(keyboard);
}

static void ps2_keyboard_reset(void *device)
{
	struct ps2_keyboard *keyboard = device;

	memset(&keyboard->state, 0, sizeof(keyboard->state));
	set_defaults(keyboard);
	keyboard->state.scanning = true;
}

/* Everything but what is pressed. */
static void reset_by_command(struct ps2_keyboard *keyboard)
{
	ps2_queue_clear(&keyboard->state.queue);
	set_defaults(keyboard);
	keyboard->state.leds = 0;
	keyboard->state.scanning = true;
	put(keyboard, ANSWER_ACKNOWLEDGE);
	put(keyboard, ANSWER_PASSED);
}

/* The byte that belongs to a command; false: it is a command itself. */
static bool take_argument(struct ps2_keyboard *keyboard, uint8_t byte)
{
	struct ps2_keyboard_state *state = &keyboard->state;
	uint8_t command = state->pending;

	if (command == 0)
		return false;
	/* Neither LEDs nor rates have the highest bit, so this is a command instead. */
	if (byte >= COMMAND_LEDS) {
		state->pending = 0;
		return false;
	}
	switch (command) {
	case COMMAND_LEDS: state->leds = byte & 7; break;
	case COMMAND_TYPEMATIC: state->typematic = byte & 0x7f; break;
	case COMMAND_SCAN_SET:
		if (byte > 3) {
			put(keyboard, ANSWER_RESEND);
			return true;
		}
		break;
	/* These take keys until a command comes. */
	case COMMAND_KEY_TYPEMATIC: state->types[byte] = PS2_KEY_TYPEMATIC; break;
	case COMMAND_KEY_MAKE_BREAK: state->types[byte] = PS2_KEY_MAKE_BREAK; break;
	case COMMAND_KEY_MAKE: state->types[byte] = PS2_KEY_MAKE; break;
	}
	put(keyboard, ANSWER_ACKNOWLEDGE);
	if (command == COMMAND_SCAN_SET && byte == 0)
		put(keyboard, state->scan_set);
	else if (command == COMMAND_SCAN_SET)
		state->scan_set = byte;
	if (command < COMMAND_KEY_TYPEMATIC)
		state->pending = 0;
	return true;
}

static void execute(struct ps2_keyboard *keyboard, uint8_t command)
{
	struct ps2_keyboard_state *state = &keyboard->state;

	switch (command) {
	case COMMAND_ECHO: put(keyboard, ANSWER_ECHO); return;
	case COMMAND_RESEND: put(keyboard, state->last_sent); return;
	case COMMAND_RESET: reset_by_command(keyboard); return;
	case COMMAND_LEDS:
	case COMMAND_SCAN_SET:
	case COMMAND_TYPEMATIC:
	case COMMAND_KEY_TYPEMATIC:
	case COMMAND_KEY_MAKE_BREAK:
	case COMMAND_KEY_MAKE: state->pending = command; break;
	case COMMAND_ENABLE:
		ps2_queue_clear(&state->queue);
		state->scanning = true;
		break;
	case COMMAND_DISABLE:
		ps2_queue_clear(&state->queue);
		set_defaults(keyboard);
		state->scanning = false;
		break;
	case COMMAND_DEFAULT:
		ps2_queue_clear(&state->queue);
		set_defaults(keyboard);
		break;
	case COMMAND_ALL_TYPEMATIC: set_all_types(keyboard, PS2_KEY_TYPEMATIC); break;
	case COMMAND_ALL_MAKE_BREAK: set_all_types(keyboard, PS2_KEY_MAKE_BREAK); break;
	case COMMAND_ALL_MAKE: set_all_types(keyboard, PS2_KEY_MAKE); break;
	case COMMAND_ALL_ALL: set_all_types(keyboard, PS2_KEY_ALL); break;
	case COMMAND_ID:
		put(keyboard, ANSWER_ACKNOWLEDGE);
		put(keyboard, 0xab);
		put(keyboard, 0x83);
		return;
	default: put(keyboard, ANSWER_RESEND); return;
	}
	put(keyboard, ANSWER_ACKNOWLEDGE);
}

void ps2_keyboard_write(struct ps2_keyboard *keyboard, uint8_t byte)
{
	if (!take_argument(keyboard, byte))
		execute(keyboard, byte);
	tell(keyboard);
}

bool ps2_keyboard_read(struct ps2_keyboard *keyboard, uint8_t *byte)
{
	if (keyboard->state.queue.count == 0)
		return false;
	*byte = ps2_queue_take(&keyboard->state.queue);
	keyboard->state.last_sent = *byte;
	return true;
}

static void ps2_keyboard_restored(void *device)
{
	struct ps2_keyboard *keyboard = device;

	timer_cancel(&keyboard->repeat_timer);
	if (keyboard->state.repeating)
		timer_arm(&keyboard->repeat_timer, keyboard->state.repeat_at_ns);
}

void ps2_keyboard_init(struct ps2_keyboard *keyboard, struct clock *clock)
{
	memset(keyboard, 0, sizeof(*keyboard));
	timer_init(&keyboard->repeat_timer, clock, repeat, keyboard);
	ps2_keyboard_reset(keyboard);
}

static const struct state_field ps2_keyboard_fields[] = {
	STATE_STRUCT(struct ps2_keyboard_state, queue, &ps2_queue_table),
	STATE_MAX(struct ps2_keyboard_state, scan_set, 3),
	STATE_MAX(struct ps2_keyboard_state, leds, 7),
	STATE_MAX(struct ps2_keyboard_state, typematic, 0x7f),
	STATE(struct ps2_keyboard_state, pending),
	STATE(struct ps2_keyboard_state, last_sent),
	STATE(struct ps2_keyboard_state, scanning),
	STATE_ARRAY(struct ps2_keyboard_state, down),
	STATE_ARRAY_MAX(struct ps2_keyboard_state, types, PS2_KEY_ALL),
	STATE_MAX(struct ps2_keyboard_state, repeating, PS2_KEYBOARD_KEYS - 1),
	STATE_PAD(struct ps2_keyboard_state, reserved),
	STATE_TIME(struct ps2_keyboard_state, repeat_at_ns),
};

static const struct state_table ps2_keyboard_table =
	STATE_TABLE_OF(struct ps2_keyboard_state, "ps2-keyboard", ps2_keyboard_fields, NULL);

const struct device_type ps2_keyboard_type = {
	.name = "ps2-keyboard",
	.state = &ps2_keyboard_table,
	.state_offset = offsetof(struct ps2_keyboard, state),
	.reset = ps2_keyboard_reset,
	.restored = ps2_keyboard_restored,
};
