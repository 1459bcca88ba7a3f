/*
 * SPC-4 and SBC-3: what systems ask of a removable disk. Not modelled: MODE SELECT, UNMAP,
 * reservations, protection. Under the machine lock.
 */
#include "usb/scsi_disk.h"

#include <string.h>

#define NO_MEDIUM       0x023a00
#define BAD_OPCODE      0x052000
#define BAD_ADDRESS     0x052100
#define BAD_FIELD       0x052400
#define WRITE_PROTECTED 0x072700

enum scsi_operation {
	TEST_UNIT_READY = 0x00,
	REQUEST_SENSE = 0x03,
	READ_6 = 0x08,
	WRITE_6 = 0x0a,
	INQUIRY = 0x12,
	MODE_SENSE_6 = 0x1a,
	START_STOP = 0x1b,
	PREVENT_ALLOW = 0x1e,
	READ_CAPACITY_10 = 0x25,
	READ_10 = 0x28,
	WRITE_10 = 0x2a,
	VERIFY_10 = 0x2f,
	SYNCHRONIZE_10 = 0x35,
	MODE_SENSE_10 = 0x5a,
	READ_16 = 0x88,
	WRITE_16 = 0x8a,
	SYNCHRONIZE_16 = 0x91,
	SERVICE_ACTION_IN = 0x9e,
	REPORT_LUNS = 0xa0,
	READ_12 = 0xa8,
	WRITE_12 = 0xaa,
};

#define READ_CAPACITY_16 0x10 /* a service action */
#define FORCE_ACCESS     BIT(3)

static uint64_t get(const uint8_t *from, unsigned bytes)
{
	uint64_t value = 0;

	while (bytes-- > 0)
		value = value << 8 | *from++;
	return value;
}

static void put(uint8_t *to, unsigned bytes, uint64_t value)
{
	while (bytes-- > 0) {
		to[bytes] = (uint8_t)value;
		value >>= 8;
	}
}

void scsi_disk_fail(struct usb_storage_state *state, uint32_t sense)
{
	state->status = 1;
	state->sense_key = (uint8_t)(sense >> 16);
	state->asc = (uint8_t)(sense >> 8);
	state->ascq = (uint8_t)sense;
}

/* The first `bytes` of the answer, of which the host wants `allocation`. */
static bool give(struct usb_storage_state *state, uint32_t bytes, uint64_t allocation)
{
	state->data_length = bytes < allocation ? bytes : (uint32_t)allocation;
	return true;
}

static bool fail(struct usb_storage_state *state, uint32_t sense)
{
	scsi_disk_fail(state, sense);
	return false;
}

static uint64_t nr_blocks(const struct usb_storage *storage)
{
	return drive_bytes(&storage->drive) / storage->block;
}

static bool request_sense(struct usb_storage_state *state, const uint8_t *command)
{
	uint8_t *data = state->answer;

	data[0] = 0x70;
	data[2] = state->sense_key;
	data[7] = 10;
	data[12] = state->asc;
	data[13] = state->ascq;
	state->sense_key = state->asc = state->ascq = 0;
	return give(state, 18, command[4]);
}

static void put_text(uint8_t *to, unsigned bytes, const char *text)
{
	size_t length = strlen(text);

	memset(to, ' ', bytes);
	memcpy(to, text, length < bytes ? length : bytes);
}

/* Vital product data: which pages there are, the serial number. */
static bool inquire_page(struct usb_storage *storage, const uint8_t *command)
{
	struct usb_storage_state *state = &storage->state;
	const char *serial = storage->serial[0] ? storage->serial : "1";
	uint8_t *data = state->answer;

	data[1] = command[2];
	switch (command[2]) {
	case 0x00:
		data[3] = 2;
		data[5] = 0x80;
		break;
	case 0x80:
		data[3] = (uint8_t)strlen(serial);
		memcpy(data + 4, serial, strlen(serial));
		break;
	default: return fail(state, BAD_FIELD);
	}
	return give(state, 4u + data[3], get(command + 3, 2));
}

static bool inquiry(struct usb_storage *storage, const uint8_t *command)
{
	uint8_t *data = storage->state.answer;

	if (command[1] & 1)
		return inquire_page(storage, command);
	if (command[2])
		return fail(&storage->state, BAD_FIELD);
	data[1] = 0x80; /* removable */
	data[2] = 6;    /* SPC-4 */
	data[3] = 2;
	data[4] = 36 - 5;
	put_text(data + 8, 8, "ATOLL");
	put_text(data + 16, 16, "USB disk");
	put_text(data + 32, 4, "1.0");
	return give(&storage->state, 36, get(command + 3, 2));
}

/* The caching page: writes may be kept until they are synchronized. */
static bool mode_sense(struct usb_storage *storage, const uint8_t *command)
{
	struct usb_storage_state *state = &storage->state;
	bool is_long = command[0] == MODE_SENSE_10;
	unsigned page = command[2] & 0x3f, head = is_long ? 8 : 4, bytes = head;
	uint8_t *data = state->answer;

	if (page != 0x08 && page != 0x3f && page != 0x1c)
		return fail(state, BAD_FIELD);
	data[is_long ? 3 : 2] = drive_is_read_only(&storage->drive) ? 0x80 : 0;
	if (page != 0x1c) {
		data[head] = 0x08;
		data[head + 1] = 18;
		data[head + 2] = 0x04; /* write cache */
		bytes += 20;
	}
	if (is_long)
		put(data, 2, bytes - 2);
	else
		data[0] = (uint8_t)(bytes - 1);
	return give(state, bytes, is_long ? get(command + 7, 2) : command[4]);
}

static bool read_capacity_10(struct usb_storage *storage)
{
	uint64_t last = nr_blocks(storage) - 1;

	if (nr_blocks(storage) == 0)
		return fail(&storage->state, NO_MEDIUM);
	put(storage->state.answer, 4, last < UINT32_MAX ? last : UINT32_MAX);
	put(storage->state.answer + 4, 4, storage->block);
	return give(&storage->state, 8, 8);
}

static bool read_capacity_16(struct usb_storage *storage, const uint8_t *command)
{
	if ((command[1] & 0x1f) != READ_CAPACITY_16)
		return fail(&storage->state, BAD_FIELD);
	if (nr_blocks(storage) == 0)
		return fail(&storage->state, NO_MEDIUM);
	put(storage->state.answer, 8, nr_blocks(storage) - 1);
	put(storage->state.answer + 8, 4, storage->block);
	return give(&storage->state, 32, get(command + 10, 4));
}

static bool move(
	struct usb_storage *storage, uint64_t first, uint64_t count, bool write, bool force)
{
	struct usb_storage_state *state = &storage->state;
	uint64_t blocks = nr_blocks(storage);

	if (write && drive_is_read_only(&storage->drive))
		return fail(state, WRITE_PROTECTED);
	if (first > blocks || count > blocks - first)
		return fail(state, BAD_ADDRESS);
	if (count * storage->block > SCSI_DISK_MAX_BYTES)
		return fail(state, BAD_FIELD);
	state->medium = true;
	state->offset = first * storage->block;
	state->data_length = (uint32_t)(count * storage->block);
	state->flush = write && force;
	return count > 0;
}

bool scsi_disk_command(struct usb_storage *storage, const uint8_t command[16], bool *in)
{
	struct usb_storage_state *state = &storage->state;
	bool force = command[1] & FORCE_ACCESS;

	memset(state->answer, 0, sizeof(state->answer));
	*in = true;
	switch (command[0]) {
	case TEST_UNIT_READY:
	case START_STOP:
	case PREVENT_ALLOW:
	case VERIFY_10: return false;
	case REQUEST_SENSE: return request_sense(state, command);
	case INQUIRY: return inquiry(storage, command);
	case MODE_SENSE_6:
	case MODE_SENSE_10: return mode_sense(storage, command);
	case READ_CAPACITY_10: return read_capacity_10(storage);
	case SERVICE_ACTION_IN: return read_capacity_16(storage, command);
	case REPORT_LUNS: put(state->answer, 4, 8); return give(state, 16, get(command + 6, 4));
	case SYNCHRONIZE_10:
	case SYNCHRONIZE_16: state->flush = true; return false;
	case WRITE_6:
	case WRITE_10:
	case WRITE_12:
	case WRITE_16: *in = false; break;
	}
	switch (command[0]) {
	case READ_6:
	case WRITE_6:
		return move(storage, get(command + 1, 3) & 0x1fffff, command[4] ? command[4] : 256,
			!*in, false);
	case READ_10:
	case WRITE_10: return move(storage, get(command + 2, 4), get(command + 7, 2), !*in, force);
	case READ_12:
	case WRITE_12: return move(storage, get(command + 2, 4), get(command + 6, 4), !*in, force);
	case READ_16:
	case WRITE_16: return move(storage, get(command + 2, 8), get(command + 10, 4), !*in, force);
	}
	return fail(state, BAD_OPCODE);
}
