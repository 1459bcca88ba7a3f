/*
 * The PS/2 mouse (IBM PS/2 Hardware Interface Technical Reference, Mouse) with Microsoft's
 * IntelliMouse extensions: sample rates of 200, 100, 80 in a row give it a wheel, then 200, 200, 80
 * two more buttons. Its self-test takes no time; the resolution is kept, and changes nothing. Runs
 * under the machine lock.
 */
#include "chip/ps2_mouse.h"

#include <string.h>

#define REPORT_BYTES 4
#define MAX_COUNT    4096

enum answer {
	ANSWER_PASSED = 0xaa,
	ANSWER_ACKNOWLEDGE = 0xfa,
	ANSWER_ERROR = 0xfc,
	ANSWER_RESEND = 0xfe,
};

enum command {
	COMMAND_SCALE_1 = 0xe6,
	COMMAND_SCALE_2 = 0xe7,
	COMMAND_RESOLUTION = 0xe8,
	COMMAND_STATUS = 0xe9,
	COMMAND_STREAM = 0xea,
	COMMAND_READ = 0xeb,
	COMMAND_NO_WRAP = 0xec,
	COMMAND_WRAP = 0xee,
	COMMAND_REMOTE = 0xf0,
	COMMAND_ID = 0xf2,
	COMMAND_RATE = 0xf3,
	COMMAND_ENABLE = 0xf4,
	COMMAND_DISABLE = 0xf5,
	COMMAND_DEFAULT = 0xf6,
	COMMAND_RESEND = 0xfe,
	COMMAND_RESET = 0xff,
};

enum { ID_PLAIN = 0, ID_WHEEL = 3, ID_5_BUTTONS = 4 };

static void put(struct ps2_mouse *mouse, uint8_t byte)
{
	if (ps2_queue_room(&mouse->state.queue) > 0)
		ps2_queue_put(&mouse->state.queue, byte);
}

static void tell(struct ps2_mouse *mouse)
{
	if (mouse->state.queue.count > 0 && mouse->has_bytes)
		mouse->has_bytes(mouse->context);
}

static int clamp(int value, int limit)
{
	return value > limit ? limit : value < -limit ? -limit : value;
}

/* Takes up to `limit` counts in either direction out of a sum. */
static int take(uint32_t *sum, int limit)
{
	int value = clamp((int32_t)*sum, limit);

	*sum -= (uint32_t)value;
	return value;
}

/* Scaling 2:1, of reports that are sent unasked. */
static int scale(const struct ps2_mouse *mouse, int value)
{
	static const int8_t small[] = { 0, 1, 1, 3, 6, 9 };
	int magnitude = value < 0 ? -value : value;

	if (!mouse->state.scaled || mouse->state.remote)
		return value;
	magnitude = magnitude < 6 ? small[magnitude] : clamp(2 * magnitude, 255);
	return value < 0 ? -magnitude : magnitude;
}

static uint8_t status_buttons(uint8_t buttons)
{
	return buttons & (PS2_BUTTON_LEFT | PS2_BUTTON_RIGHT | PS2_BUTTON_MIDDLE);
}

static void put_report(struct ps2_mouse *mouse)
{
	struct ps2_mouse_state *state = &mouse->state;
	int x = scale(mouse, take(&state->x, 255)), y = scale(mouse, take(&state->y, 255));
	/* Of one turn more than a report holds the rest is left. */
	int wheel = take(&state->wheel, state->id == ID_5_BUTTONS ? 7 : 127);

	put(mouse, (uint8_t)(8 | status_buttons(state->buttons) | (x < 0) << 4 | (y < 0) << 5));
	put(mouse, (uint8_t)x);
	put(mouse, (uint8_t)y);
	if (state->id == ID_WHEEL)
		put(mouse, (uint8_t)wheel);
	else if (state->id == ID_5_BUTTONS)
		put(mouse, (uint8_t)((wheel & 0xf) | (state->buttons & 0x18) << 1));
	state->sent_buttons = state->buttons;
}

static bool has_news(const struct ps2_mouse_state *state)
{
	return state->x || state->y || (state->wheel && state->id != ID_PLAIN) ||
	       state->buttons != state->sent_buttons;
}

/* Sends a report when there is one to send, the last was fetched, and its time has come. */
static void report(void *context)
{
	struct ps2_mouse *mouse = context;
	struct ps2_mouse_state *state = &mouse->state;
	ns_t now_ns = clock_now(mouse->report_timer.clock);

	if (!state->reporting || state->remote || state->wrap || !has_news(state) ||
		state->queue.count > 0)
		return;
	if (now_ns < state->next_report_ns) {
		timer_arm(&mouse->report_timer, state->next_report_ns);
		return;
	}
	put_report(mouse);
	state->next_report_ns = now_ns + NS_PER_S / state->rate;
	tell(mouse);
}

void ps2_mouse_act(struct ps2_mouse *mouse, int right, int down, int wheel, unsigned buttons)
{
	struct ps2_mouse_state *state = &mouse->state;

	state->x = (uint32_t)clamp((int32_t)state->x + clamp(right, MAX_COUNT), MAX_COUNT);
	state->y = (uint32_t)clamp((int32_t)state->y - clamp(down, MAX_COUNT), MAX_COUNT);
	state->wheel = (uint32_t)clamp((int32_t)state->wheel - clamp(wheel, MAX_COUNT), MAX_COUNT);
	state->buttons = buttons & 0x1f;
	report(mouse);
}

static void forget_motion(struct ps2_mouse *mouse)
{
	mouse->state.x = mouse->state.y = mouse->state.wheel = 0;
	mouse->state.sent_buttons = mouse->state.buttons;
}

static void set_defaults(struct ps2_mouse *mouse)
{
	struct ps2_mouse_state *state = &mouse->state;

	state->rate = 100;
	state->resolution = 2;
	state->scaled = state->remote = state->wrap = state->reporting = false;
	state->pending = 0;
	forget_motion(mouse);
	timer_cancel(&mouse->report_timer);
}

static void ps2_mouse_reset(void *device)
{
	struct ps2_mouse *mouse = device;

	memset(&mouse->state, 0, sizeof(mouse->state));
	set_defaults(mouse);
}

static void reset_by_command(struct ps2_mouse *mouse)
{
	struct ps2_mouse_state *state = &mouse->state;

	ps2_queue_clear(&state->queue);
	set_defaults(mouse);
	state->id = ID_PLAIN;
	memset(state->last_rates, 0, sizeof(state->last_rates));
	put(mouse, ANSWER_ACKNOWLEDGE);
	put(mouse, ANSWER_PASSED);
	put(mouse, ID_PLAIN);
}

static void put_status(struct ps2_mouse *mouse)
{
	const struct ps2_mouse_state *state = &mouse->state;
	uint8_t buttons = (state->buttons & PS2_BUTTON_LEFT ? 4 : 0) |
			  (state->buttons & PS2_BUTTON_MIDDLE ? 2 : 0) |
			  (state->buttons & PS2_BUTTON_RIGHT ? 1 : 0);

	put(mouse, (uint8_t)(buttons | state->scaled << 4 | state->reporting << 5 |
			     state->remote << 6));
	put(mouse, state->resolution);
	put(mouse, state->rate);
}

static bool is_rate(uint8_t rate)
{
	static const uint8_t rates[] = { 10, 20, 40, 60, 80, 100, 200 };

	return memchr(rates, rate, sizeof(rates));
}

static void set_rate(struct ps2_mouse_state *state, uint8_t rate)
{
	if (rate == 80 && state->last_rates[0] == 200 && state->last_rates[1] == 100)
		state->id = ID_WHEEL;
	if (rate == 80 && state->last_rates[0] == 200 && state->last_rates[1] == 200 &&
		state->id == ID_WHEEL)
		state->id = ID_5_BUTTONS;
	state->last_rates[0] = state->last_rates[1];
	state->last_rates[1] = rate;
	state->rate = rate;
}

static bool take_argument(struct ps2_mouse *mouse, uint8_t byte)
{
	struct ps2_mouse_state *state = &mouse->state;
	uint8_t command = state->pending;
	bool valid = command == COMMAND_RATE ? is_rate(byte) : byte < 4;

	state->pending = 0;
	if (command == 0 || byte == COMMAND_RESET)
		return false;
	if (!valid) {
		put(mouse, ANSWER_ERROR);
		return true;
	}
	if (command == COMMAND_RATE)
		set_rate(state, byte);
	else
		state->resolution = byte;
	put(mouse, ANSWER_ACKNOWLEDGE);
	return true;
}

static void execute(struct ps2_mouse *mouse, uint8_t command)
{
	struct ps2_mouse_state *state = &mouse->state;

	if (command == COMMAND_RESET) {
		reset_by_command(mouse);
		return;
	}
	if (state->wrap && command != COMMAND_NO_WRAP) {
		put(mouse, command);
		return;
	}
	switch (command) {
	case COMMAND_SCALE_1:
	case COMMAND_SCALE_2:
	case COMMAND_RESOLUTION:
	case COMMAND_STATUS:
	case COMMAND_STREAM:
	case COMMAND_READ:
	case COMMAND_NO_WRAP:
	case COMMAND_WRAP:
	case COMMAND_REMOTE:
	case COMMAND_ID:
	case COMMAND_RATE:
	case COMMAND_ENABLE:
	case COMMAND_DISABLE:
	case COMMAND_DEFAULT:
		/* A report that is on its way is dropped. */
		ps2_queue_clear(&state->queue);
		put(mouse, ANSWER_ACKNOWLEDGE);
		break;
	case COMMAND_RESEND: put(mouse, state->last_sent); return;
	default: put(mouse, ANSWER_RESEND); return;
	}
	switch (command) {
	case COMMAND_SCALE_1: state->scaled = false; break;
	case COMMAND_SCALE_2: state->scaled = true; break;
	case COMMAND_STATUS: put_status(mouse); break;
	case COMMAND_STREAM:
		state->remote = false;
		forget_motion(mouse);
		break;
	case COMMAND_READ: put_report(mouse); break;
	case COMMAND_NO_WRAP: state->wrap = false; break;
	case COMMAND_WRAP: state->wrap = true; break;
	case COMMAND_REMOTE:
		state->remote = true;
		forget_motion(mouse);
		break;
	case COMMAND_ID: put(mouse, state->id); break;
	case COMMAND_RESOLUTION:
	case COMMAND_RATE: state->pending = command; break;
	case COMMAND_ENABLE:
		state->reporting = true;
		forget_motion(mouse);
		break;
	case COMMAND_DISABLE: state->reporting = false; break;
	case COMMAND_DEFAULT: set_defaults(mouse); break;
	}
}

void ps2_mouse_write(struct ps2_mouse *mouse, uint8_t byte)
{
	if (!take_argument(mouse, byte))
		execute(mouse, byte);
	tell(mouse);
}

bool ps2_mouse_read(struct ps2_mouse *mouse, uint8_t *byte)
{
	if (mouse->state.queue.count == 0)
		return false;
	*byte = ps2_queue_take(&mouse->state.queue);
	mouse->state.last_sent = *byte;
	if (mouse->state.queue.count == 0 && has_news(&mouse->state))
		timer_arm(&mouse->report_timer, mouse->state.next_report_ns);
	return true;
}

static void ps2_mouse_restored(void *device)
{
	struct ps2_mouse *mouse = device;

	timer_cancel(&mouse->report_timer);
	if (has_news(&mouse->state))
		timer_arm(&mouse->report_timer, mouse->state.next_report_ns);
}

void ps2_mouse_init(struct ps2_mouse *mouse, struct clock *clock)
{
	memset(mouse, 0, sizeof(*mouse));
	timer_init(&mouse->report_timer, clock, report, mouse);
	ps2_mouse_reset(mouse);
}

static bool is_sum(uint32_t sum)
{
	return (int32_t)sum >= -MAX_COUNT && (int32_t)sum <= MAX_COUNT;
}

static bool ps2_mouse_check(const void *object, struct error *err)
{
	const struct ps2_mouse_state *state = object;

	if (is_rate(state->rate) && is_sum(state->x) && is_sum(state->y) && is_sum(state->wheel))
		return true;
	error_set(err, EXIT_CODE_BAD_FILE, "the mouse's rate or motion is impossible");
	return false;
}

static const struct state_field ps2_mouse_fields[] = {
	STATE_STRUCT(struct ps2_mouse_state, queue, &ps2_queue_table),
	STATE_MAX(struct ps2_mouse_state, id, ID_5_BUTTONS),
	STATE(struct ps2_mouse_state, rate),
	STATE_ARRAY(struct ps2_mouse_state, last_rates),
	STATE_MAX(struct ps2_mouse_state, resolution, 3),
	STATE(struct ps2_mouse_state, pending),
	STATE_MAX(struct ps2_mouse_state, buttons, 0x1f),
	STATE_MAX(struct ps2_mouse_state, sent_buttons, 0x1f),
	STATE(struct ps2_mouse_state, scaled),
	STATE(struct ps2_mouse_state, remote),
	STATE(struct ps2_mouse_state, wrap),
	STATE(struct ps2_mouse_state, reporting),
	STATE(struct ps2_mouse_state, last_sent),
	STATE_PAD(struct ps2_mouse_state, reserved),
	STATE(struct ps2_mouse_state, x),
	STATE(struct ps2_mouse_state, y),
	STATE(struct ps2_mouse_state, wheel),
	STATE_PAD(struct ps2_mouse_state, reserved_too),
	STATE_TIME(struct ps2_mouse_state, next_report_ns),
};

static const struct state_table ps2_mouse_table =
	STATE_TABLE_OF(struct ps2_mouse_state, "ps2-mouse", ps2_mouse_fields, ps2_mouse_check);

const struct device_type ps2_mouse_type = {
	.name = "ps2-mouse",
	.state = &ps2_mouse_table,
	.state_offset = offsetof(struct ps2_mouse, state),
	.reset = ps2_mouse_reset,
	.restored = ps2_mouse_restored,
};
