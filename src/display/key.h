/*
 * Keys by name and by what they write: how people and programs say what is to be typed. Keys are
 * Linux's codes (linux/input-event-codes.h).
 */
#ifndef DISPLAY_KEY_H
#define DISPLAY_KEY_H

#include "base/error.h"
#include "base/types.h"

#define KEY_MAX_CHORD 8

/* The keys of "ctrl-alt-del", in this order. Returns their number, or fills `err` and returns
 * -EINVAL.
 */
int key_parse_chord(const char *text, unsigned keys[KEY_MAX_CHORD], struct error *err);

struct key_stroke {
	uint8_t key; /* 0: no key writes this */
	bool shift, altgr;
};

/* What writes a character on a keyboard of a layout ("us", "de"); NULL layouts are "us". */
struct key_stroke key_for_character(const char *layout, uint32_t character);
bool key_layout_exists(const char *layout);

/* The next character of UTF-8 text, which is moved on; a byte that is none counts as U+FFFD. 0 at
 * the end. */
uint32_t key_next_character(const char **text);

/* The key of an X11 keysym (what VNC clients send), by what is written on it; 0: none. */
unsigned key_for_keysym(uint32_t keysym);

#endif
