/*
 * `--display curses`: a VGA's text screen in the terminal, and the terminal's keys as a keyboard.
 * Event loop only.
 */
#ifndef VMM_CURSES_H
#define VMM_CURSES_H

#include "base/loop.h"
#include "vmm/input.h"
#include "vmm/screen.h"
#include "vmm/serial.h"

struct curses {
	struct loop *loop;
	struct devices *devices;
	struct input *input;
	void (*key)(void *context, enum serial_key key); /* what Ctrl-A asks for */
	void *context;
	void *terminal; /* ncurses' SCREEN; NULL: not open */
	struct text_screen *text;
	ns_t next_ns; /* CLOCK_MONOTONIC: when to draw */
	bool escaped; /* the last key was Ctrl-A */
};

bool curses_is_wanted(const char *display);

/* Returns 0, or fills `err`: there is no terminal. */
int curses_open(struct curses *curses, struct loop *loop, struct devices *devices,
	struct input *input, struct error *err);
/* Gives the terminal back. Takes a zeroed one. */
void curses_close(struct curses *curses);

/* When curses_service has something to do; INT64_MAX: never. */
ns_t curses_deadline(const struct curses *curses);
void curses_service(struct curses *curses);

#endif
