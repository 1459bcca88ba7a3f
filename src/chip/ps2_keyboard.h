/*
 * A PS/2 keyboard with 102 keys and a few of later ones.
 */
#ifndef CHIP_PS2_KEYBOARD_H
#define CHIP_PS2_KEYBOARD_H

#include "chip/ps2_queue.h"
#include "machine/clock.h"
#include "machine/device.h"

#define PS2_KEYBOARD_KEYS 256 /* Linux's key codes below are known */

enum ps2_led { PS2_LED_SCROLL = 1, PS2_LED_NUM = 2, PS2_LED_CAPS = 4 };

/* What a key of scan code set 3 sends besides its make code. */
enum ps2_key_type { PS2_KEY_TYPEMATIC, PS2_KEY_MAKE_BREAK, PS2_KEY_MAKE, PS2_KEY_ALL };

struct ps2_keyboard_state {
	struct ps2_queue queue;
	uint8_t scan_set; /* 1 to 3 */
	uint8_t leds;
	uint8_t typematic; /* rate and delay, as they were sent */
	uint8_t pending;   /* the command that the next byte belongs to, or 0 */
	uint8_t last_sent;
	bool scanning;
	uint8_t down[PS2_KEYBOARD_KEYS / 8]; /* keys that are pressed */
	uint8_t types[256];                  /* set 3, by make code: enum ps2_key_type */
	uint16_t repeating;                  /* the key, or 0 */
	uint8_t reserved[6];
	ns_t repeat_at_ns;
};

struct ps2_keyboard {
	struct ps2_keyboard_state state;
	struct timer repeat_timer;
	/* The controller's: ps2_keyboard_read has something. May be NULL. */
	void (*has_bytes)(void *context);
	void *context;
};

extern const struct device_type ps2_keyboard_type;

void ps2_keyboard_init(struct ps2_keyboard *keyboard, struct clock *clock);

/* A byte from the controller. */
void ps2_keyboard_write(struct ps2_keyboard *keyboard, uint8_t byte);
/* The next byte for it; false: none. */
bool ps2_keyboard_read(struct ps2_keyboard *keyboard, uint8_t *byte);

/*
 * A key goes down or up; `key` is one of Linux's codes (KEY_A). Returns false if the keyboard has
 * no such key, or no room for what it would send: then nothing has happened.
 */
bool ps2_keyboard_key(struct ps2_keyboard *keyboard, unsigned key, bool down);

/* Could a key be pressed now, without being lost? */
bool ps2_keyboard_is_ready(const struct ps2_keyboard *keyboard);

#endif
