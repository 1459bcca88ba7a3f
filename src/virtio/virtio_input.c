#include "virtio/virtio_input.h"

#include <errno.h>
#include <linux/input-event-codes.h>
#include <stdlib.h>
#include <string.h>

#define QUEUE_SIZE         64
#define PCI_CLASS_KEYBOARD 0x090000
#define PCI_CLASS_POINTER  0x098000

/* What the driver selects (5.8.5). */
enum select {
	SELECT_NAME = 0x01,
	SELECT_SERIAL = 0x02,
	SELECT_IDENTITY = 0x03,
	SELECT_PROPERTIES = 0x10,
	SELECT_EVENTS = 0x11,
	SELECT_AXIS = 0x12,
};

struct input_identity {
	uint16_t bus, vendor, product, version;
};

struct input_axis {
	uint32_t min, max, fuzz, flat, resolution;
};

#define BITMAP_BYTES 128

/* 5.8.4 */
struct input_registers {
	uint8_t select, subselect; /* the driver's */
	uint8_t size;              /* of what follows; 0: there is no such thing */
	uint8_t reserved[5];
	union {
		char text[BITMAP_BYTES];
		uint8_t bitmap[BITMAP_BYTES];
		struct input_axis axis;
		struct input_identity identity;
	} value;
};

enum input_queue { QUEUE_EVENTS, QUEUE_STATUS, NR_QUEUES };

struct input {
	struct virtio_device device;
	enum virtio_input_kind kind; /* immutable */

	/* Machine lock. */
	struct input_registers registers;

	/* Lane. */
	struct virtio_input_state state;
};

static const struct state_field event_fields[] = {
	STATE(struct virtio_input_event, type),
	STATE(struct virtio_input_event, code),
	STATE(struct virtio_input_event, value),
};

static const struct state_table event_table =
	STATE_TABLE_OF(struct virtio_input_event, "virtio-input-event", event_fields, NULL);

static const struct state_field input_fields[] = {
	STATE_STRUCTS(struct virtio_input_state, events, &event_table),
	STATE_MAX(struct virtio_input_state, first, VIRTIO_INPUT_KEPT - 1),
	STATE_MAX(struct virtio_input_state, count, VIRTIO_INPUT_KEPT),
	STATE(struct virtio_input_state, leds),
};

const struct state_table virtio_input_state_table =
	STATE_TABLE_OF(struct virtio_input_state, "virtio-input", input_fields, NULL);

/* Configuration space: the answer to what is selected. Under the machine lock. */

static void set_bits(struct input_registers *registers, unsigned first, unsigned last)
{
	for (unsigned bit = first; bit <= last; bit++)
		registers->value.bitmap[bit / 8] |= (uint8_t)(1u << bit % 8);
	if (registers->size < last / 8 + 1)
		registers->size = (uint8_t)(last / 8 + 1);
}

static void describe_keyboard(struct input_registers *registers)
{
	switch (registers->subselect) {
	case EV_KEY: set_bits(registers, KEY_ESC, KEY_MICMUTE); break;
	case EV_REP: set_bits(registers, REP_DELAY, REP_PERIOD); break;
	case EV_LED: set_bits(registers, LED_NUML, LED_SCROLLL); break;
	default: break;
	}
}

static void describe_tablet(struct input_registers *registers)
{
	switch (registers->subselect) {
	case EV_KEY: set_bits(registers, BTN_LEFT, BTN_EXTRA); break;
	case EV_REL: set_bits(registers, REL_WHEEL, REL_WHEEL); break;
	case EV_ABS: set_bits(registers, ABS_X, ABS_Y); break;
	default: break;
	}
}

static void describe_axis(struct input_registers *registers)
{
	if (registers->subselect > ABS_Y)
		return;
	registers->value.axis.max = VIRTIO_INPUT_AXIS_MAX;
	registers->size = sizeof(registers->value.axis);
}

static void answer(struct input *input)
{
	static const char *const names[] = {
		[VIRTIO_INPUT_KEYBOARD] = "Atoll keyboard", [VIRTIO_INPUT_TABLET] = "Atoll tablet"
	};
	struct input_registers *registers = &input->registers;
	bool is_tablet = input->kind == VIRTIO_INPUT_TABLET;

	registers->size = 0;
	memset(&registers->value, 0, sizeof(registers->value));
	switch (registers->select) {
	case SELECT_NAME:
		registers->size = (uint8_t)strlen(names[input->kind]);
		memcpy(registers->value.text, names[input->kind], registers->size);
		break;
	case SELECT_IDENTITY:
		registers->value.identity = (struct input_identity){ .bus = 0x06 /* BUS_VIRTUAL */,
			.vendor = 0x1af4,
			.product = (uint16_t)(input->kind + 1u) };
		registers->size = sizeof(registers->value.identity);
		break;
	case SELECT_PROPERTIES:
		if (is_tablet && registers->subselect == 0)
			set_bits(registers, INPUT_PROP_POINTER, INPUT_PROP_POINTER);
		break;
	case SELECT_EVENTS:
		if (is_tablet)
			describe_tablet(registers);
		else
			describe_keyboard(registers);
		break;
	case SELECT_AXIS:
		if (is_tablet)
			describe_axis(registers);
		break;
	default: break;
	}
}

static void input_config_written(struct virtio_device *device, unsigned offset, unsigned size)
{
	(void)offset;
	(void)size;
	answer((struct input *)device);
}

/* Queues. All of this holds the lane. */

static bool serve_events(struct input *input)
{
	struct virtio_input_state *state = &input->state;
	struct virtq *queue = virtio_queue(&input->device, QUEUE_EVENTS);
	struct virtq_request *request;

	while (state->count > 0 && (request = virtq_pop(queue))) {
		virtq_write(request, &state->events[state->first], sizeof(state->events[0]));
		virtq_push(queue, request, 0);
		state->first = (state->first + 1) % VIRTIO_INPUT_KEPT;
		state->count--;
	}
	return state->count > 0;
}

/* The driver's buffers wait where they are until there is an event. */
static bool serve_status(struct input *input)
{
	struct virtq *queue = virtio_queue(&input->device, QUEUE_STATUS);
	struct virtio_input_event event;
	struct virtq_request *request;

	while ((request = virtq_pop(queue))) {
		if (virtq_read(request, &event, sizeof(event)) == sizeof(event) &&
			event.type == EV_LED && event.code <= LED_MAX) {
			input->state.leds &= ~(1u << event.code);
			input->state.leds |= (event.value ? 1u : 0u) << event.code;
		}
		virtq_push(queue, request, 0);
	}
	return true;
}

static bool input_serve(struct virtio_device *device, unsigned index)
{
	struct input *input = (struct input *)device;

	return index == QUEUE_STATUS ? serve_status(input) : serve_events(input);
}

static void input_reset(struct virtio_device *device)
{
	struct input *input = (struct input *)device;
	struct virtio_lane *lane = virtio_queue_lane(device, QUEUE_EVENTS);

	memset(&input->registers, 0, sizeof(input->registers));
	virtio_lane_enter(lane);
	memset(&input->state, 0, sizeof(input->state));
	virtio_lane_leave(lane);
}

static const struct virtio_device_type input_type = {
	.name = "virtio-input",
	.id = VIRTIO_ID_INPUT,
	.pci_class = PCI_CLASS_KEYBOARD,
	.serve = input_serve,
	.reset = input_reset,
	.config_written = input_config_written,
};

static const struct virtio_device_type tablet_type = {
	.name = "virtio-input",
	.id = VIRTIO_ID_INPUT,
	.pci_class = PCI_CLASS_POINTER,
	.serve = input_serve,
	.reset = input_reset,
	.config_written = input_config_written,
};

int virtio_input_create(struct virtio_device **device, const char *name, struct machine *machine,
	enum virtio_input_kind kind, struct error *err)
{
	static const uint8_t writable[sizeof(struct input_registers)] = { 0xff, 0xff };
	static const struct virtio_queue_config queues[NR_QUEUES] = {
		{ .size = QUEUE_SIZE },
		{ .size = QUEUE_SIZE },
	};
	struct input *input = calloc(1, sizeof(*input));
	struct virtio_device_config config = {
		.name = name,
		.machine = machine,
		.config_writable = writable,
		.config_size = sizeof(input->registers),
		.queues = queues,
		.nr_queues = NR_QUEUES,
		.nr_lanes = 1,
	};
	int rc;

	*device = NULL;
	if (!input)
		return error_set_errno(
			err, EXIT_CODE_HOST, ENOMEM, "cannot create the device %s", name);
	input->kind = kind;
	config.config = &input->registers;
	rc = virtio_device_init(&input->device,
		kind == VIRTIO_INPUT_TABLET ? &tablet_type : &input_type, &config, err);
	if (rc < 0) {
		virtio_input_destroy(&input->device);
		return rc;
	}
	*device = &input->device;
	return 0;
}

void virtio_input_destroy(struct virtio_device *device)
{
	if (!device)
		return;
	virtio_device_finish(device);
	free((struct input *)device);
}

static void keep(struct virtio_input_state *state, const struct virtio_input_event *event)
{
	state->events[(state->first + state->count++) % VIRTIO_INPUT_KEPT] = *event;
}

bool virtio_input_report(
	struct virtio_device *device, const struct virtio_input_event *events, unsigned count)
{
	static const struct virtio_input_event end = { .type = EV_SYN, .code = SYN_REPORT };
	struct input *input = (struct input *)device;
	struct virtio_lane *lane = virtio_queue_lane(device, QUEUE_EVENTS);
	bool has_room;

	virtio_lane_enter(lane);
	has_room = count < VIRTIO_INPUT_KEPT - input->state.count;
	if (has_room) {
		for (unsigned i = 0; i < count; i++)
			keep(&input->state, &events[i]);
		keep(&input->state, &end);
	}
	virtio_lane_leave(lane);
	if (has_room)
		virtio_serve_again(device, QUEUE_EVENTS);
	return has_room;
}

uint32_t virtio_input_leds(struct virtio_device *device)
{
	struct virtio_lane *lane = virtio_queue_lane(device, QUEUE_STATUS);
	uint32_t leds;

	virtio_lane_enter(lane);
	leds = ((struct input *)device)->state.leds;
	virtio_lane_leave(lane);
	return leds;
}
