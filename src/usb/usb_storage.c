/*
 * Bulk only transport: a command wrapper, data, a status wrapper. Data of the medium go through a
 * buffer, while the drive works the endpoint has nothing to say, and the controller is woken when
 * it has.
 *
 * scsi_disk.c knows the commands. Not modelled: more than one LUN, UAS.
 */
#include "usb/usb_storage.h"

#include "usb/scsi_disk.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ENDPOINT_IN  1
#define ENDPOINT_OUT 2

#define CBW_SIGNATURE 0x43425355
#define CSW_SIGNATURE 0x53425355
#define REQUEST_RESET 0xff
#define REQUEST_LUNS  0xfe

struct command_wrapper {
	uint32_t signature, tag, length;
	uint8_t flags, lun, command_length;
	uint8_t command[16];
} __attribute__((packed));

struct status_wrapper {
	uint32_t signature, tag, residue;
	uint8_t status;
} __attribute__((packed));

_Static_assert(sizeof(struct command_wrapper) == 31, "5.1");
_Static_assert(sizeof(struct status_wrapper) == 13, "5.2");

/* USB 3: 512-byte packets at endpoint 0 are 2^9. */
static const uint8_t device_descriptor[] = { 18, 1, 0x00, 0x03, 0, 0, 0, 9, 0x27, 0x06, 0x03, 0, 0,
	1, 1, 2, 3, 1 };
/* One interface, bulk in and out of 1024 bytes, each with a companion. */
static const uint8_t configuration_descriptor[] = {
	9,
	2,
	44,
	0,
	1,
	1,
	0,
	0xc0,
	0,
	9,
	4,
	0,
	0,
	2,
	8,
	6,
	0x50,
	0,
	7,
	5,
	0x80 | ENDPOINT_IN,
	2,
	0x00,
	0x04,
	0,
	6,
	48,
	15,
	0,
	0,
	0,
	7,
	5,
	ENDPOINT_OUT,
	2,
	0x00,
	0x04,
	0,
	6,
	48,
	15,
	0,
	0,
	0,
};
/* USB 2 extension, SuperSpeed capability: 5 Gbit/s and below. */
static const uint8_t bos_descriptor[] = { 5, 15, 22, 0, 2, 7, 16, 2, 0, 0, 0, 0, 10, 16, 3, 0, 0x0e,
	0, 3, 10, 0x20, 0 };

static const struct usb_descriptors descriptors = {
	.device = { device_descriptor, sizeof(device_descriptor) },
	.configuration = { configuration_descriptor, sizeof(configuration_descriptor) },
	.bos = { bos_descriptor, sizeof(bos_descriptor) },
	.strings = { NULL, "Atoll", "USB disk", "1" },
};

static struct usb_storage *storage_of(struct usb_device *device)
{
	return container_of(device, struct usb_storage, device);
}

static void forget_chunk(struct usb_storage *storage)
{
	storage->draining = true;
	drive_drain(&storage->drive, true);
	storage->draining = false;
	storage->chunk_at = storage->chunk_bytes = storage->writing = 0;
	storage->busy = storage->failed = false;
}

static void clear(struct usb_storage *storage)
{
	struct usb_storage_state *state = &storage->state;
	uint8_t sense[] = { state->sense_key, state->asc, state->ascq };

	forget_chunk(storage);
	memset(state, 0, sizeof(*state));
	state->sense_key = sense[0];
	state->asc = sense[1];
	state->ascq = sense[2];
}

static void storage_reset(struct usb_device *device)
{
	clear(storage_of(device));
}

static enum usb_result storage_control(
	struct usb_device *device, const struct usb_setup *setup, uint8_t *data, uint32_t *length)
{
	if (field_get(USB_TYPE_KIND, setup->type) != USB_KIND_CLASS)
		return USB_STALL;
	switch (setup->request) {
	case REQUEST_RESET: clear(storage_of(device)); return USB_OK;
	case REQUEST_LUNS:
		if (*length > 1)
			*length = 1;
		memset(data, 0, *length);
		return USB_OK;
	}
	return USB_STALL;
}

/* On the drive's thread or a vCPU's, under the machine lock. */
static void work_done(struct drive_transfer *transfer, int result)
{
	struct usb_storage *storage = transfer->context;

	storage->busy = false;
	storage->failed |= result < 0;
	/* The bytes of a block that is not whole yet. */
	storage->chunk_at += storage->writing;
	storage->chunk_bytes -= storage->writing;
	memmove(storage->buffer, storage->buffer + storage->writing, storage->chunk_bytes);
	storage->writing = 0;
}

/* The same when it was not done at once: the controller waits. */
static void work_done_later(struct drive_transfer *transfer, int result)
{
	struct usb_storage *storage = transfer->context;

	work_done(transfer, result);
	if (storage->draining)
		return;
	usb_device_wake(&storage->device, ENDPOINT_OUT, false);
	usb_device_wake(&storage->device, ENDPOINT_IN, true);
}

/* The buffer's first bytes, from or to the medium; or a flush. Often it is done at once. */
static void work(struct usb_storage *storage, enum block_operation operation, uint32_t bytes)
{
	struct drive_transfer *transfer = &storage->transfer;

	scatter_clear(&storage->scatter);
	if (bytes > 0 && !scatter_add_host(&storage->scatter, storage->buffer, bytes)) {
		storage->failed = true;
		return;
	}
	storage->busy = true;
	*transfer = (struct drive_transfer){
		.operation = operation,
		.offset = bytes ? storage->state.offset + storage->chunk_at : 0,
		.bytes = bytes,
		.scatter = bytes ? &storage->scatter : NULL,
		.done = work_done,
		.context = storage,
	};
	drive_start(&storage->drive, transfer);
	if (storage->busy)
		drive_run(&storage->drive);
	transfer->done = work_done_later;
}

static void fail_medium(struct usb_storage *storage, bool in)
{
	scsi_disk_fail(&storage->state, in ? SCSI_READ_ERROR : SCSI_WRITE_ERROR);
	storage->failed = false;
	storage->chunk_bytes = 0;
	storage->state.flush = false;
}

/* Bytes that the command still has, of those that the host wants. */
static uint32_t left(const struct usb_storage_state *state)
{
	uint32_t whole = state->data_length < state->length ? state->data_length : state->length;

	return state->status || state->moved >= whole ? 0 : whole - state->moved;
}

/* The next `bytes` are in the buffer, or cannot be had; false: not yet. */
static bool have(struct usb_storage *storage, uint32_t bytes)
{
	uint32_t at = storage->state.moved, from = at - at % storage->block;
	uint64_t end = align_up(at + bytes, storage->block);

	if (storage->busy)
		return false;
	if (storage->failed ||
		(at >= storage->chunk_at && at - storage->chunk_at + bytes <= storage->chunk_bytes))
		return true;
	storage->chunk_at = from;
	storage->chunk_bytes = (uint32_t)(end - from);
	work(storage, BLOCK_READ, storage->chunk_bytes);
	return !storage->busy;
}

static enum usb_result data_in(struct usb_storage *storage, uint8_t *data, uint32_t *length)
{
	struct usb_storage_state *state = &storage->state;
	const uint8_t *from = state->answer + state->moved;
	uint32_t bytes = left(state), room = *length;

	if (bytes > room)
		bytes = room;
	if (bytes > 0 && state->medium) {
		if (!have(storage, bytes))
			return USB_NAK;
		if (storage->failed) {
			fail_medium(storage, true);
			bytes = 0;
		}
		from = storage->buffer + (state->moved - storage->chunk_at);
	}
	if (bytes > 0)
		memcpy(data, from, bytes);
	state->moved += bytes;
	*length = bytes;
	/* A short packet says that there is no more. */
	if (bytes < room || state->moved >= state->length)
		state->phase = USB_STORAGE_STATUS;
	return USB_OK;
}

static enum usb_result send_status(struct usb_storage *storage, uint8_t *data, uint32_t *length)
{
	struct usb_storage_state *state = &storage->state;
	struct status_wrapper wrapper = { .signature = CSW_SIGNATURE, .tag = state->tag };

	if (storage->busy)
		return USB_NAK;
	if (state->flush) {
		state->flush = false;
		work(storage, BLOCK_FLUSH, 0);
		if (storage->busy)
			return USB_NAK;
	}
	if (storage->failed)
		fail_medium(storage, false);
	wrapper.residue =
		state->length - (state->moved < state->length ? state->moved : state->length);
	wrapper.status = state->status;
	if (*length > sizeof(wrapper))
		*length = sizeof(wrapper);
	memcpy(data, &wrapper, *length);
	forget_chunk(storage);
	state->phase = USB_STORAGE_COMMAND;
	return USB_OK;
}

static enum usb_result storage_in(
	struct usb_device *device, unsigned number, uint8_t *data, uint32_t *length)
{
	struct usb_storage *storage = storage_of(device);

	if (number != ENDPOINT_IN)
		return USB_STALL;
	switch (storage->state.phase) {
	case USB_STORAGE_DATA_IN: return data_in(storage, data, length);
	case USB_STORAGE_STATUS: return send_status(storage, data, length);
	case USB_STORAGE_BROKEN: return USB_STALL;
	}
	return USB_NAK;
}

static enum usb_result take_command(
	struct usb_storage *storage, const uint8_t *data, uint32_t length)
{
	struct usb_storage_state *state = &storage->state;
	struct command_wrapper wrapper;
	bool in, wants;

	memcpy(&wrapper, data, length < sizeof(wrapper) ? length : sizeof(wrapper));
	if (length != sizeof(wrapper) || wrapper.signature != CBW_SIGNATURE || wrapper.lun ||
		wrapper.command_length < 1 || wrapper.command_length > 16) {
		state->phase = USB_STORAGE_BROKEN;
		return USB_STALL;
	}
	in = wrapper.flags & BIT(7);
	memset(wrapper.command + wrapper.command_length, 0, 16u - wrapper.command_length);
	state->tag = wrapper.tag;
	state->length = wrapper.length;
	state->moved = state->data_length = 0;
	state->status = 0;
	state->medium = state->flush = false;
	state->dropped = 0;
	forget_chunk(storage);
	wants = scsi_disk_command(storage, wrapper.command, &in);
	/* The host's direction is the one that moves; another is its mistake. */
	if (wants && state->data_length > 0 && in != !!(wrapper.flags & BIT(7))) {
		state->status = 2;
		state->data_length = 0;
	}
	if (state->length == 0) {
		if (wants && state->data_length > 0)
			state->status = 2;
		state->phase = USB_STORAGE_STATUS;
	} else {
		state->phase = wrapper.flags & BIT(7) ? USB_STORAGE_DATA_IN : USB_STORAGE_DATA_OUT;
	}
	return USB_OK;
}

static enum usb_result data_out(struct usb_storage *storage, const uint8_t *data, uint32_t length)
{
	struct usb_storage_state *state = &storage->state;
	uint32_t bytes = left(state);

	if (storage->busy)
		return USB_NAK;
	if (storage->failed) {
		fail_medium(storage, false);
		bytes = 0;
	}
	if (bytes > length)
		bytes = length;
	if (bytes > 0 && state->medium) {
		memcpy(storage->buffer + storage->chunk_bytes, data, bytes);
		storage->chunk_bytes += bytes;
		storage->writing = storage->chunk_bytes - storage->chunk_bytes % storage->block;
		if (storage->writing)
			work(storage, BLOCK_WRITE, storage->writing);
	} else if (bytes > 0) {
		memcpy(state->answer + state->moved, data, bytes);
	}
	state->moved += bytes;
	/* What the command does not want is taken all the same (6.7.3). */
	state->dropped += length - bytes;
	if (state->dropped >= state->length - state->moved)
		state->phase = USB_STORAGE_STATUS;
	return USB_OK;
}

static enum usb_result storage_out(
	struct usb_device *device, unsigned number, const uint8_t *data, uint32_t length)
{
	struct usb_storage *storage = storage_of(device);

	if (number != ENDPOINT_OUT)
		return USB_STALL;
	switch (storage->state.phase) {
	case USB_STORAGE_COMMAND: return take_command(storage, data, length);
	case USB_STORAGE_DATA_OUT: return data_out(storage, data, length);
	}
	return USB_STALL;
}

static void storage_powered(void *object)
{
	struct usb_storage *storage = object;

	clear(storage);
	memset(&storage->device.state, 0, sizeof(storage->device.state));
	storage->state.sense_key = storage->state.asc = storage->state.ascq = 0;
}

static bool check(const void *object, struct error *err)
{
	const struct usb_storage_state *state = object;

	if (state->medium ? state->data_length <= SCSI_DISK_MAX_BYTES &&
				    state->offset <= INT64_MAX / 2
			  : state->data_length <= sizeof(state->answer) &&
				    state->moved <= sizeof(state->answer))
		return true;
	error_set(err, EXIT_CODE_BAD_FILE, "the USB disk has more data than it can have");
	return false;
}

static const struct state_field fields[] = {
	STATE(struct usb_storage_state, tag),
	STATE(struct usb_storage_state, length),
	STATE(struct usb_storage_state, moved),
	STATE(struct usb_storage_state, dropped),
	STATE_MAX(struct usb_storage_state, phase, USB_STORAGE_BROKEN),
	STATE_MAX(struct usb_storage_state, status, 2),
	STATE(struct usb_storage_state, sense_key),
	STATE(struct usb_storage_state, asc),
	STATE(struct usb_storage_state, ascq),
	STATE(struct usb_storage_state, medium),
	STATE(struct usb_storage_state, flush),
	STATE_PAD(struct usb_storage_state, reserved0),
	STATE(struct usb_storage_state, offset),
	STATE(struct usb_storage_state, data_length),
	STATE_PAD(struct usb_storage_state, reserved1),
	STATE_ARRAY(struct usb_storage_state, answer),
};
static const struct state_table table =
	STATE_TABLE_OF(struct usb_storage_state, "usb_storage", fields, check);

const struct device_type usb_storage_type = {
	.name = "usb_storage",
	.state = &table,
	.state_offset = offsetof(struct usb_storage, state),
	.reset = storage_powered,
};

static int open_drive(struct usb_storage *storage, const char *name, struct block_device *image,
	struct error *err)
{
	struct drive_lock lock = drive_machine_lock(storage->machine);
	int rc = drive_init(&storage->drive, name, &lock, err);

	if (rc < 0)
		return rc;
	machine_lock(storage->machine);
	rc = drive_insert(&storage->drive, image, 1, err);
	machine_unlock(storage->machine);
	return rc;
}

int usb_storage_create(struct usb_storage **out, const char *name, const char *serial,
	struct machine *machine, struct block_device *image, struct error *err)
{
	static const struct usb_device_ops ops = { .reset = storage_reset,
		.control = storage_control,
		.in = storage_in,
		.out = storage_out };
	struct usb_storage *storage = calloc(1, sizeof(*storage));
	int rc;

	*out = NULL;
	if (!storage)
		return error_set_errno(
			err, EXIT_CODE_HOST, ENOMEM, "cannot create the disk %s", name);
	storage->machine = machine;
	storage->device.ops = &ops;
	storage->device.descriptors = &descriptors;
	storage->device.speed = USB_SPEED_SUPER;
	if (serial) {
		snprintf(storage->serial, sizeof(storage->serial), "%s", serial);
		storage->device.serial = storage->serial;
	}
	storage->block = block_device_geometry(image)->logical_block_bytes;
	if (storage->block > USB_STORAGE_MAX_BLOCK)
		rc = error_set(err, EXIT_CODE_CONFIG,
			"the image of %s has blocks of more than %u bytes; use bus=virtio", name,
			USB_STORAGE_MAX_BLOCK);
	else
		rc = open_drive(storage, name, image, err);
	if (rc < 0) {
		drive_finish(&storage->drive);
		free(storage);
		return rc;
	}
	*out = storage;
	return 0;
}

void usb_storage_destroy(struct usb_storage *storage)
{
	if (!storage)
		return;
	drive_finish(&storage->drive);
	scatter_finish(&storage->scatter);
	free(storage);
}
