/*
 * The controller's registers, and the rings of commands and responses (HD Audio 1.0a, 3.3, 4.4).
 * Rings have 256 entries. Not modelled: input streams, wake-up, unsolicited responses, synchronized
 * starts.
 */
#include "sound/hda.h"

#include "sound/hda_regs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BAR_SIZE  0x4000
#define RING_SIZE 256
#define LINK_HZ   24000000
#define SIZES     UINT32_C(0x00420000) /* 256 entries, and no other size */

/* A doubleword of registers: what it is after a reset, what can be written, what a written 1
 * clears. */
struct row {
	uint8_t offset;
	uint32_t reset, writable, clears;
};

static const struct row rows[] = {
	{ HDA_GCAP, 0x01001001, 0, 0 }, /* version 1.0, one output stream, 64 bits */
	{ HDA_PAYLOAD, 0x001d003c, 0, 0 },
	{ HDA_GCTL, 0, 0x103, 0 },
	{ HDA_WAKE, 0, 0x00007fff, 0x7fff0000 },
	{ HDA_INTCTL, 0, 0xc0000001, 0 },
	{ HDA_SSYNC, 0, 1, 0 },
	{ HDA_CORB_BASE, 0, 0xffffff80, 0 },
	{ HDA_CORB_BASE + 4, 0, 0xffffffff, 0 },
	{ HDA_CORB_POINTERS, 0, 0x800000ff, 0 },
	{ HDA_CORB_CONTROL, SIZES, 0x03, 0x100 },
	{ HDA_RIRB_BASE, 0, 0xffffff80, 0 },
	{ HDA_RIRB_BASE + 4, 0, 0xffffffff, 0 },
	{ HDA_RIRB_POINTER, 0, 0x00ff8000, 0 },
	{ HDA_RIRB_CONTROL, SIZES, 0x07, 0x500 },
	{ HDA_IMMEDIATE, 0, 0xffffffff, 0 },
	{ HDA_IMMEDIATE_STATUS, 0, 1, 2 },
	{ HDA_POSITION_BASE, 0, 0xffffff81, 0 },
	{ HDA_POSITION_BASE + 4, 0, 0xffffffff, 0 },
	{ HDA_STREAM, 0, 0x00ff001f, 0x1c000000 },
	{ HDA_STREAM_LENGTH, 0, 0xffffffff, 0 },
	{ HDA_STREAM_LAST, 0, 0xff, 0 },
	{ HDA_STREAM_FORMAT, 0, 0x7f7f0000, 0 },
	{ HDA_STREAM_LIST, 0, 0xffffff80, 0 },
	{ HDA_STREAM_LIST + 4, 0, 0xffffffff, 0 },
};

static uint32_t *reg(struct hda *hda, unsigned offset)
{
	return &hda->state.registers[offset / 4];
}

static uint64_t base_of(struct hda *hda, enum hda_register offset)
{
	return *reg(hda, offset) | (uint64_t)*reg(hda, offset + 4) << 32;
}

static uint32_t interrupt_status(struct hda *hda)
{
	uint32_t stream = *reg(hda, HDA_STREAM), status = 0;

	if ((stream & HDA_STREAM_DONE) && (stream & HDA_STREAM_INTERRUPT))
		status |= (uint32_t)HDA_INT_STREAM;
	if ((*reg(hda, HDA_RIRB_CONTROL) & HDA_RIRB_DONE) &&
		(*reg(hda, HDA_RIRB_CONTROL) & HDA_RIRB_INTERRUPT))
		status |= (uint32_t)HDA_INT_CONTROLLER;
	if (status & *reg(hda, HDA_INTCTL))
		status |= (uint32_t)HDA_INT_GLOBAL;
	return status;
}

void hda_update_interrupt(struct hda *hda)
{
	uint32_t status = interrupt_status(hda);
	bool was_high = *reg(hda, HDA_INTSTS) & HDA_INT_GLOBAL;
	bool high = (status & HDA_INT_GLOBAL) && (*reg(hda, HDA_INTCTL) & HDA_INT_GLOBAL);

	*reg(hda, HDA_INTSTS) =
		(status & ~(uint32_t)HDA_INT_GLOBAL) | (high ? (uint32_t)HDA_INT_GLOBAL : 0);
	if (!pci_msi_is_enabled(&hda->function))
		pci_set_intx(&hda->function, high);
	else if (high && !was_high)
		pci_msi_notify(&hda->function, 0);
}

/* Codec 0 is the only one; others do not answer. */
static bool run_verb(struct hda *hda, uint32_t verb, uint32_t *response)
{
	if (verb >> 28 != 0)
		return false;
	*response = hda_codec_run(&hda->state.codec, verb);
	return true;
}

static void respond(struct hda *hda, uint32_t response)
{
	uint32_t *pointer = reg(hda, HDA_RIRB_POINTER);
	uint32_t words[2] = { response, 0 }, count = *pointer >> 16 & 0xff;
	uint32_t at = (*pointer + 1) % RING_SIZE;

	*pointer = (*pointer & ~(uint32_t)HDA_POINTER) | at;
	guest_memory_write(&hda->machine->memory, base_of(hda, HDA_RIRB_BASE) + at * sizeof(words),
		words, sizeof(words));
	if (++hda->state.responses >= (count ? count : RING_SIZE)) {
		hda->state.responses = 0;
		*reg(hda, HDA_RIRB_CONTROL) |= (uint32_t)HDA_RIRB_DONE;
	}
}

/* Everything up to the write pointer, a ring of commands at most. */
static void run_commands(struct hda *hda)
{
	uint32_t *pointers = reg(hda, HDA_CORB_POINTERS);

	if (!(*reg(hda, HDA_CORB_CONTROL) & HDA_DMA_RUN) ||
		!(*reg(hda, HDA_RIRB_CONTROL) & HDA_DMA_RUN) || !pci_is_bus_master(&hda->function))
		return;
	for (unsigned i = 0; i < RING_SIZE; i++) {
		uint32_t read = *pointers >> 16 & 0xff, verb, response;

		if (read == (*pointers & HDA_POINTER))
			break;
		read = (read + 1) % RING_SIZE;
		*pointers = (*pointers & 0xffff) | read << 16;
		if (guest_memory_read(&hda->machine->memory,
			    base_of(hda, HDA_CORB_BASE) + read * sizeof(verb), &verb,
			    sizeof(verb)) == 0 &&
			run_verb(hda, verb, &response))
			respond(hda, response);
	}
	/* What waits for more is told when there is no more (4.4.2.2). */
	if (hda->state.responses) {
		hda->state.responses = 0;
		*reg(hda, HDA_RIRB_CONTROL) |= (uint32_t)HDA_RIRB_DONE;
	}
}

static void reset_registers(struct hda *hda)
{
	timer_cancel(&hda->timer);
	memset(&hda->state, 0, sizeof(hda->state));
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
		*reg(hda, rows[i].offset) = rows[i].reset;
	hda_codec_reset(&hda->state.codec);
	pci_set_intx(&hda->function, false);
}

static void write_control(struct hda *hda, uint32_t before)
{
	uint32_t now = *reg(hda, HDA_GCTL);

	if (!(now & HDA_GCTL_RUN)) {
		reset_registers(hda);
	} else if (!(before & HDA_GCTL_RUN)) {
		/* Out of reset: the codec says that it is there. */
		*reg(hda, HDA_WAKE) |= (uint32_t)HDA_STATE_CODEC;
	}
}

static void run_immediate(struct hda *hda)
{
	uint32_t *status = reg(hda, HDA_IMMEDIATE_STATUS);

	if (!(*status & HDA_IMMEDIATE_BUSY))
		return;
	*status &= ~(uint32_t)(HDA_IMMEDIATE_BUSY | HDA_IMMEDIATE_VALID);
	if (run_verb(hda, *reg(hda, HDA_IMMEDIATE), reg(hda, HDA_RESPONSE)))
		*status |= (uint32_t)HDA_IMMEDIATE_VALID;
}

/* The doubleword at `offset` changed from `before`. */
static void act(struct hda *hda, unsigned offset, uint32_t before, uint32_t written)
{
	uint32_t *now = reg(hda, offset);

	switch (offset) {
	case HDA_GCTL: write_control(hda, before); break;
	case HDA_CORB_POINTERS:
		/* The read pointer is reset by its highest bit, which reads back until it is
		 * cleared. */
		*now = (*now & 0x800000ff) | (*now & BIT(31) ? 0 : (before & 0x00ff0000));
		run_commands(hda);
		break;
	case HDA_RIRB_POINTER:
		if (written & HDA_POINTER_RESET)
			*now &= ~(uint32_t)(HDA_POINTER | HDA_POINTER_RESET);
		*now &= ~(uint32_t)HDA_POINTER_RESET;
		break;
	case HDA_CORB_CONTROL:
	case HDA_RIRB_CONTROL: run_commands(hda); break;
	case HDA_IMMEDIATE_STATUS: run_immediate(hda); break;
	case HDA_STREAM: hda_stream_update(hda, before); break;
	}
	hda_update_interrupt(hda);
}

static const struct row *find_row(unsigned offset)
{
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		if (rows[i].offset == offset)
			return &rows[i];
	}
	return NULL;
}

static void write_register(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct hda *hda = device;
	unsigned at = (unsigned)offset & ~3u, shift = 8 * ((unsigned)offset & 3);
	const struct row *row = at < HDA_NR_WORDS * 4 ? find_row(at) : NULL;
	uint32_t lanes = (uint32_t)(byte_mask(size) << shift), written = (uint32_t)(value << shift);
	uint32_t before;

	if (!row)
		return;
	before = *reg(hda, at);
	/* In reset only GCTL answers. */
	if (at != HDA_GCTL && at != HDA_WAKE && !(*reg(hda, HDA_GCTL) & HDA_GCTL_RUN))
		return;
	*reg(hda, at) = (before & ~(row->writable & lanes)) | (written & row->writable & lanes);
	*reg(hda, at) &= ~(written & row->clears & lanes);
	act(hda, at, before, written & lanes);
}

static uint64_t read_register(void *device, uint64_t offset, unsigned size)
{
	struct hda *hda = device;
	unsigned at = (unsigned)offset & ~3u;
	uint32_t value = at < HDA_NR_WORDS * 4 ? *reg(hda, at) : 0;

	if (at == HDA_WALCLK)
		value = (uint32_t)ns_to_ticks(clock_now(&hda->machine->clock), LINK_HZ);
	if (at == HDA_STREAM_POSITION && (*reg(hda, HDA_STREAM) & HDA_STREAM_RUN)) {
		hda_stream_advance(hda);
		value = *reg(hda, at);
	}
	return value >> (8 * (offset & 3)) & byte_mask(size);
}

static void expire(void *context)
{
	hda_stream_advance(context);
}

static void hda_reset(void *device)
{
	reset_registers(device);
}

static void hda_restored(void *device)
{
	struct hda *hda = device;

	timer_cancel(&hda->timer);
	if (*reg(hda, HDA_STREAM) & HDA_STREAM_RUN)
		timer_arm(&hda->timer, clock_now(&hda->machine->clock));
}

static bool check(const void *object, struct error *err)
{
	const struct hda_state *state = object;

	if (state->remainder < UINT64_C(5000000000))
		return true;
	error_set(err, EXIT_CODE_BAD_FILE, "the sound card is between two samples for too long");
	return false;
}

static const struct state_field fields[] = {
	STATE_ARRAY(struct hda_state, registers),
	STATE_TIME(struct hda_state, played_ns),
	STATE(struct hda_state, remainder),
	STATE(struct hda_state, at),
	STATE_MAX(struct hda_state, piece, 255),
	STATE_MAX(struct hda_state, responses, 255),
	STATE_STRUCT(struct hda_state, codec, &hda_codec_table),
};
static const struct state_table table = STATE_TABLE_OF(struct hda_state, "hda", fields, check);

const struct device_type hda_type = {
	.name = "hda",
	.state = &table,
	.state_offset = offsetof(struct hda, state),
	.reset = hda_reset,
	.restored = hda_restored,
};

int hda_create(struct hda **out, const char *name, struct machine *machine,
	const struct hda_sink *sink, struct error *err)
{
	static const struct pci_identity identity = {
		.vendor_id = 0x8086,
		.device_id = 0x2668, /* ICH6 */
		.revision = 1,
		.class_code = 0x040300,
		.subsystem_vendor_id = 0x1af4,
		.subsystem_id = 0x1100,
		.interrupt_pin = 1,
	};
	static const struct pci_function_ops ops = { .reset = hda_reset };
	static const struct io_ops registers = { read_register, write_register, 4 };
	static const struct pci_bar bar = {
		.kind = PCI_BAR_MEMORY32, .size = BAR_SIZE, .ops = &registers, .name = "hda"
	};
	struct hda *hda = calloc(1, sizeof(*hda));

	*out = NULL;
	if (!hda)
		return error_set_errno(
			err, EXIT_CODE_HOST, ENOMEM, "cannot create the device %s", name);
	hda->machine = machine;
	hda->sink = *sink;
	timer_init(&hda->timer, &machine->clock, expire, hda);
	pci_function_init(&hda->function, name, &identity, &ops, hda);
	pci_add_register(&hda->function, 0x40, 1, 1, 0); /* HD Audio, not AC'97 */
	pci_add_bar(&hda->function, 0, &bar);
	pci_add_msi(&hda->function, 1);
	machine_add_device(machine, &hda_type, name, hda);
	reset_registers(hda);
	*out = hda;
	return 0;
}

void hda_destroy(struct hda *hda)
{
	if (!hda)
		return;
	machine_lock(hda->machine);
	timer_cancel(&hda->timer);
	machine_remove_device(hda->machine, hda);
	machine_unlock(hda->machine);
	pci_function_finish(&hda->function);
	free(hda);
}
