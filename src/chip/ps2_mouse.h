/*
 * A PS/2 mouse: three buttons, a wheel and two more buttons once the host asks for them.
 */
#ifndef CHIP_PS2_MOUSE_H
#define CHIP_PS2_MOUSE_H

#include "chip/ps2_queue.h"
#include "machine/clock.h"
#include "machine/device.h"

enum ps2_button {
	PS2_BUTTON_LEFT = 1,
	PS2_BUTTON_RIGHT = 2,
	PS2_BUTTON_MIDDLE = 4,
	PS2_BUTTON_SIDE = 8,
	PS2_BUTTON_EXTRA = 16,
};

struct ps2_mouse_state {
	struct ps2_queue queue;
	uint8_t id;   /* 0, 3 with a wheel, 4 with five buttons */
	uint8_t rate; /* samples a second */
	uint8_t last_rates[2];
	uint8_t resolution; /* 0 to 3: 1 to 8 counts a millimetre */
	uint8_t pending;    /* the command that the next byte belongs to, or 0 */
	uint8_t buttons, sent_buttons;
	bool scaled; /* 2:1 */
	bool remote; /* sends only when asked */
	bool wrap;   /* echoes */
	bool reporting;
	uint8_t last_sent;
	uint8_t reserved[1];
	/* Since the last report; as numbers they are signed. */
	uint32_t x, y, wheel;
	uint8_t reserved_too[4];
	ns_t next_report_ns;
};

struct ps2_mouse {
	struct ps2_mouse_state state;
	struct timer report_timer;
	void (*has_bytes)(void *context);
	void *context;
};

extern const struct device_type ps2_mouse_type;

void ps2_mouse_init(struct ps2_mouse *mouse, struct clock *clock);

void ps2_mouse_write(struct ps2_mouse *mouse, uint8_t byte);
bool ps2_mouse_read(struct ps2_mouse *mouse, uint8_t *byte);

/* It is moved to the right and downwards, its wheel turned upwards, its buttons (enum ps2_button)
 * pressed. What the host does not fetch adds up to a few thousand counts. */
void ps2_mouse_act(struct ps2_mouse *mouse, int right, int down, int wheel, unsigned buttons);

#endif
