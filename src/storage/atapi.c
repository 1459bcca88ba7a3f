/*
 * An optical drive's packet commands (MMC-5 revision 4; SPC-3 for INQUIRY, REQUEST SENSE and MODE
 * SENSE): a DVD-ROM drive with a data disc of one track.
 *
 * A medium larger than a CD is told as a DVD. Not modelled: writing, audio, sub-channels, raw
 * sectors (READ CD gives user data only), changers, session information beyond one session, unit
 * attention for resets. Under the machine lock.
 */
#include "storage/ata.h"

#include <errno.h>
#include <string.h>

/* Bits of `attention`: conditions that wait to be told. */
enum atapi_attention { ATTENTION_MEDIUM = 1 };
/* Media events of GET EVENT STATUS NOTIFICATION (MMC-5, 6.6.3.5). */
enum atapi_event { EVENT_NONE, EVENT_EJECT_REQUEST, EVENT_NEW_MEDIUM, EVENT_REMOVAL };

/* Sense keys (SPC-3, 4.5.6), and additional sense codes with their qualifiers. */
#define KEY_NOT_READY      0x02
#define KEY_ILLEGAL        0x05
#define KEY_ATTENTION      0x06
#define BAD_OPCODE         0x2000
#define OUT_OF_RANGE       0x2100
#define BAD_FIELD          0x2400
#define MEDIUM_MAY_CHANGED 0x2800
#define NO_MEDIUM_CLOSED   0x3a01
#define NO_MEDIUM_OPEN     0x3a02
#define REMOVAL_PREVENTED  0x5302
#define WRONG_TRACK_MODE   0x6400

#define OP_TEST_UNIT_READY   0x00
#define OP_REQUEST_SENSE     0x03
#define OP_INQUIRY           0x12
#define OP_START_STOP        0x1b
#define OP_PREVENT_ALLOW     0x1e
#define OP_READ_CAPACITY     0x25
#define OP_READ_10           0x28
#define OP_SEEK_10           0x2b
#define OP_READ_SUBCHANNEL   0x42
#define OP_READ_TOC          0x43
#define OP_GET_CONFIGURATION 0x46
#define OP_GET_EVENT         0x4a
#define OP_READ_DISC_INFO    0x51
#define OP_MODE_SENSE_10     0x5a
#define OP_READ_12           0xa8
#define OP_READ_DISC_STRUCT  0xad
#define OP_SET_SPEED         0xbb
#define OP_MECHANISM_STATUS  0xbd
#define OP_READ_CD           0xbe

/* Blocks of the largest CD (80 minutes); what is larger is a DVD. */
#define CD_MAX_BLOCKS   (80 * 60 * 75)
#define PROFILE_CD_ROM  0x0008
#define PROFILE_DVD_ROM 0x0010

#define NEEDS_MEDIUM BIT(0)
#define NO_ATTENTION BIT(1) /* is carried out before a unit attention is told */

struct packet_row {
	void (*decode)(struct ata_command *command, const uint8_t *packet);
	uint8_t flags;
};

static uint32_t get16(const uint8_t *from)
{
	return (uint32_t)from[0] << 8 | from[1];
}

static uint32_t get32(const uint8_t *from)
{
	return get16(from) << 16 | get16(from + 2);
}

static void put16(uint8_t *to, uint32_t value)
{
	to[0] = (uint8_t)(value >> 8);
	to[1] = (uint8_t)value;
}

static void put32(uint8_t *to, uint32_t value)
{
	put16(to, value >> 16);
	put16(to + 2, value);
}

static uint32_t nr_blocks(const struct ata_command *command)
{
	uint64_t blocks = drive_bytes(&command->device->drive) / ATAPI_BLOCK_BYTES;

	return blocks > UINT32_MAX ? UINT32_MAX : (uint32_t)blocks;
}

static bool has_medium(const struct ata_device *device)
{
	return device->drive.image && !device->state.tray_open;
}

void atapi_fail(struct ata_command *command, uint8_t key, uint16_t asc_ascq)
{
	struct ata_device_state *state = &command->device->state;

	state->sense_key = key;
	state->asc = (uint8_t)(asc_ascq >> 8);
	state->ascq = (uint8_t)asc_ascq;
	ata_fail(command, (uint8_t)(key << 4 | ATA_ERROR_ABRT));
}

static void fail_no_medium(struct ata_command *command)
{
	atapi_fail(command, KEY_NOT_READY,
		command->device->state.tray_open ? NO_MEDIUM_OPEN : NO_MEDIUM_CLOSED);
}

/* The buffer's first `bytes` are the answer, of which the host wants at most `allocation`. */
static void answer(struct ata_command *command, uint32_t bytes, uint32_t allocation)
{
	if (bytes > allocation)
		bytes = allocation;
	if (bytes == 0) {
		ata_succeed(command);
		return;
	}
	command->work = ATA_WORK_BUFFER;
	command->bytes = bytes;
}

static uint8_t *clear(struct ata_command *command)
{
	memset(command->device->buffer, 0, ATA_BUFFER_BYTES);
	return command->device->buffer;
}

static void test_unit_ready(struct ata_command *command, const uint8_t *packet)
{
	(void)packet;
	ata_succeed(command);
}

static void request_sense(struct ata_command *command, const uint8_t *packet)
{
	struct ata_device_state *state = &command->device->state;
	uint8_t *data = clear(command);

	if (!state->sense_key && (state->attention & ATTENTION_MEDIUM)) {
		state->attention = 0;
		state->sense_key = KEY_ATTENTION;
		state->asc = MEDIUM_MAY_CHANGED >> 8;
	}
	data[0] = 0x70; /* current, fixed format */
	data[2] = state->sense_key;
	data[7] = 10;
	data[12] = state->asc;
	data[13] = state->ascq;
	state->sense_key = state->asc = state->ascq = 0;
	answer(command, 18, packet[4]);
}

static void put_text(uint8_t *to, unsigned bytes, const char *text)
{
	size_t length = strlen(text);

	memset(to, ' ', bytes);
	memcpy(to, text, length < bytes ? length : bytes);
}

static void inquiry(struct ata_command *command, const uint8_t *packet)
{
	uint8_t *data = clear(command);

	if (packet[1] & 3) { /* vital product data, command support data */
		atapi_fail(command, KEY_ILLEGAL, BAD_FIELD);
		return;
	}
	data[0] = 0x05; /* CD/DVD */
	data[1] = 0x80; /* removable */
	data[3] = 0x21; /* ATAPI, response format 1 */
	data[4] = 36 - 5;
	put_text(data + 8, 8, "ATOLL");
	put_text(data + 16, 16, "DVD-ROM");
	put_text(data + 32, 4, "1.0");
	answer(command, 36, get16(packet + 3));
}

static void start_stop(struct ata_command *command, const uint8_t *packet)
{
	struct ata_device *device = command->device;
	bool load = packet[4] & 1, eject = packet[4] & 2;

	if (packet[4] >> 4 || !eject || device->state.tray_open == !load) {
		ata_succeed(command); /* power conditions, the motor, or nothing to move */
		return;
	}
	if (!load && device->state.medium_locked) {
		atapi_fail(command, KEY_ILLEGAL, REMOVAL_PREVENTED);
		return;
	}
	device->state.tray_open = !load;
	if (load && device->drive.image) {
		device->state.attention |= ATTENTION_MEDIUM;
		device->state.event = EVENT_NEW_MEDIUM;
	} else if (!load) {
		device->state.event = EVENT_REMOVAL;
	}
	if (device->identity.tray_moved)
		device->identity.tray_moved(device->identity.context, !load);
	ata_succeed(command);
}

static void prevent_allow(struct ata_command *command, const uint8_t *packet)
{
	command->device->state.medium_locked = packet[4] & 1;
	ata_succeed(command);
}

static void read_capacity(struct ata_command *command, const uint8_t *packet)
{
	uint8_t *data = clear(command);

	(void)packet;
	if (nr_blocks(command) == 0) {
		fail_no_medium(command);
		return;
	}
	put32(data, nr_blocks(command) - 1);
	put32(data + 4, ATAPI_BLOCK_BYTES);
	answer(command, 8, 8);
}

static void read_blocks(struct ata_command *command, uint32_t first, uint32_t count)
{
	uint32_t blocks = nr_blocks(command);

	if (count == 0) {
		ata_succeed(command);
		return;
	}
	if (first > blocks || count > blocks - first) {
		atapi_fail(command, KEY_ILLEGAL, OUT_OF_RANGE);
		return;
	}
	command->work = ATA_WORK_MEDIUM;
	command->offset = (uint64_t)first * ATAPI_BLOCK_BYTES;
	command->bytes = (uint64_t)count * ATAPI_BLOCK_BYTES;
}

static void read_10(struct ata_command *command, const uint8_t *packet)
{
	read_blocks(command, get32(packet + 2), get16(packet + 7));
}

static void read_12(struct ata_command *command, const uint8_t *packet)
{
	read_blocks(command, get32(packet + 2), get32(packet + 6));
}

/* Which parts of a sector, in the high five bits of byte 9; 0x10 is the user data. */
static void read_cd(struct ata_command *command, const uint8_t *packet)
{
	uint32_t count = get16(packet + 7) | (uint32_t)packet[6] << 16;
	unsigned kind = packet[1] >> 2 & 7, parts = packet[9] & 0xf8;

	if (kind != 0 && kind != 2 && kind != 4) { /* any, mode 1, mode 2 form 1 */
		atapi_fail(command, KEY_ILLEGAL, WRONG_TRACK_MODE);
	} else if (parts == 0) {
		ata_succeed(command);
	} else if (parts != 0x10 || packet[10] & 7) {
		atapi_fail(command, KEY_ILLEGAL, BAD_FIELD);
	} else {
		read_blocks(command, get32(packet + 2), count);
	}
}

static void seek(struct ata_command *command, const uint8_t *packet)
{
	if (get32(packet + 2) >= nr_blocks(command))
		atapi_fail(command, KEY_ILLEGAL, OUT_OF_RANGE);
	else
		ata_succeed(command);
}

/* An address as a block, or as minute, second and frame, which count from two seconds before. */
static void put_address(uint8_t *to, uint32_t block, bool as_time)
{
	if (!as_time) {
		put32(to, block);
		return;
	}
	block += 150;
	to[0] = 0;
	to[1] = (uint8_t)(block / 75 / 60);
	to[2] = (uint8_t)(block / 75 % 60);
	to[3] = (uint8_t)(block % 75);
}

static uint8_t *put_track(uint8_t *to, uint8_t track, uint32_t block, bool as_time)
{
	memset(to, 0, 8);
	to[1] = 0x14; /* data, uninterrupted */
	to[2] = track;
	put_address(to + 4, block, as_time);
	return to + 8;
}

static uint8_t *put_raw(uint8_t *to, uint8_t point, uint8_t minute, uint32_t block, bool as_time)
{
	memset(to, 0, 11);
	to[0] = 1; /* session */
	to[1] = 0x14;
	to[3] = point;
	if (minute)
		to[8] = minute;
	else
		put_address(to + 7, block, as_time);
	return to + 11;
}

/* One session with one track; formats 0 (tracks), 1 (sessions) and 2 (raw). */
static void read_toc(struct ata_command *command, const uint8_t *packet)
{
	unsigned format = packet[2] & 0xf ? packet[2] & 0xf : packet[9] >> 6;
	bool as_time = packet[1] & 2;
	uint8_t *data = clear(command), *at = data + 4;
	uint32_t blocks = nr_blocks(command);
	uint8_t first = packet[6];

	data[2] = data[3] = 1; /* first and last track or session */
	switch (format) {
	case 0:
		if (first > 1 && first != 0xaa) {
			atapi_fail(command, KEY_ILLEGAL, BAD_FIELD);
			return;
		}
		if (first <= 1)
			at = put_track(at, 1, 0, as_time);
		at = put_track(at, 0xaa, blocks, as_time);
		break;
	case 1: at = put_track(at, 1, 0, as_time); break;
	case 2:
		at = put_raw(at, 0xa0, 1, 0, true);
		at = put_raw(at, 0xa1, 1, 0, true);
		at = put_raw(at, 0xa2, 0, blocks, as_time);
		at = put_raw(at, 1, 0, 0, as_time);
		break;
	default: atapi_fail(command, KEY_ILLEGAL, BAD_FIELD); return;
	}
	put16(data, (uint32_t)(at - data) - 2);
	answer(command, (uint32_t)(at - data), get16(packet + 7));
}

/* Audio status: nothing plays; and, for format 1, where the head is. */
static void read_subchannel(struct ata_command *command, const uint8_t *packet)
{
	uint8_t *data = clear(command);

	data[1] = 0x15; /* no current audio status */
	answer(command, 4, get16(packet + 7));
}

static uint32_t profile(const struct ata_command *command)
{
	if (!has_medium(command->device))
		return 0;
	return nr_blocks(command) > CD_MAX_BLOCKS ? PROFILE_DVD_ROM : PROFILE_CD_ROM;
}

static uint8_t *put_feature(
	uint8_t *to, uint32_t code, uint8_t version, bool is_current, uint8_t bytes)
{
	put16(to, code);
	to[2] = (uint8_t)(version << 2 | 2 | is_current); /* persistent */
	to[3] = bytes;
	return to + 4;
}

static uint8_t *put_profiles(uint8_t *to, uint32_t current)
{
	static const uint16_t profiles[] = { PROFILE_DVD_ROM, PROFILE_CD_ROM };

	to = put_feature(to, 0x0000, 0, true, 8);
	for (unsigned i = 0; i < ARRAY_SIZE(profiles); i++, to += 4) {
		put16(to, profiles[i]);
		to[2] = profiles[i] == current;
	}
	return to;
}

/* One feature's descriptor; NULL: there is no such feature. */
static uint8_t *put_one(uint8_t *to, uint32_t code, uint32_t current)
{
	bool is_current = current != 0;

	switch (code) {
	case 0x0000: return put_profiles(to, current);
	case 0x0001: /* core: ATAPI */
		to = put_feature(to, code, 2, true, 8);
		put32(to, 2);
		to[4] = 1; /* device busy event */
		return to + 8;
	case 0x0002: /* morphing: asynchronous events are polled for */
		to = put_feature(to, code, 1, true, 4);
		return to + 4;
	case 0x0003: /* removable medium: a tray that can be locked and opened */
		to = put_feature(to, code, 0, true, 4);
		to[0] = 0x29;
		return to + 4;
	case 0x0010: /* random readable */
		to = put_feature(to, code, 0, is_current, 8);
		put32(to, ATAPI_BLOCK_BYTES);
		put16(to + 4, 1);
		return to + 8;
	case 0x001e: /* CD read */
		to = put_feature(to, code, 2, current == PROFILE_CD_ROM, 4);
		return to + 4;
	case 0x001f: return put_feature(to, code, 0, current == PROFILE_DVD_ROM, 0);
	default: return NULL;
	}
}

static void get_configuration(struct ata_command *command, const uint8_t *packet)
{
	static const uint16_t features[] = { 0x0000, 0x0001, 0x0002, 0x0003, 0x0010, 0x001e,
		0x001f };
	uint32_t current = profile(command), from = get16(packet + 2);
	unsigned wanted = packet[1] & 3;
	uint8_t *data = clear(command), *at = data + 8;

	if (wanted == 3) {
		atapi_fail(command, KEY_ILLEGAL, BAD_FIELD);
		return;
	}
	for (unsigned i = 0; i < ARRAY_SIZE(features); i++) {
		uint8_t *end;

		if (wanted == 2 ? features[i] != from : features[i] < from)
			continue;
		end = put_one(at, features[i], current);
		/* 1: only features that are current. */
		if (end && (wanted != 1 || at[2] & 1))
			at = end;
	}
	memset(at, 0, 16);
	put32(data, (uint32_t)(at - data) - 4);
	put16(data + 6, current);
	answer(command, (uint32_t)(at - data), get16(packet + 7));
}

static void get_event(struct ata_command *command, const uint8_t *packet)
{
	struct ata_device_state *state = &command->device->state;
	uint8_t *data = clear(command);

	if (!(packet[1] & 1)) { /* only polling */
		atapi_fail(command, KEY_ILLEGAL, BAD_FIELD);
		return;
	}
	data[3] = 0x10; /* of the classes there are: media */
	if (!(packet[4] & 0x10)) {
		put16(data, 2);
		data[2] = 0x80; /* none of those asked for */
		answer(command, 4, get16(packet + 7));
		return;
	}
	put16(data, 6);
	data[2] = 4;
	data[4] = state->event;
	data[5] = (uint8_t)((has_medium(command->device) ? 2 : 0) | state->tray_open);
	if (get16(packet + 7) > 4)
		state->event = EVENT_NONE;
	answer(command, 8, get16(packet + 7));
}

static void read_disc_info(struct ata_command *command, const uint8_t *packet)
{
	uint8_t *data = clear(command);

	if (packet[1] & 7) {
		atapi_fail(command, KEY_ILLEGAL, BAD_FIELD);
		return;
	}
	put16(data, 32);
	data[2] = 0x0e; /* complete, last session complete */
	data[3] = data[4] = data[5] = data[6] = 1;
	data[7] = 0x20; /* unrestricted use */
	memset(data + 16, 0xff, 8);
	answer(command, 34, get16(packet + 7));
}

static uint8_t *put_error_page(uint8_t *to)
{
	to[0] = 0x01;
	to[1] = 6;
	return to + 8;
}

static uint8_t *put_capabilities(const struct ata_device *device, uint8_t *to)
{
	to[0] = 0x2a;
	to[1] = 20;
	to[2] = 0x3b; /* reads CD-R, CD-RW, method 2, DVD-ROM, DVD-R */
	to[4] = 0x70; /* mode 2 forms 1 and 2, multi-session */
	to[6] = (uint8_t)(0x29 | (device->state.medium_locked ? 2 : 0)); /* tray, lock, eject */
	put16(to + 8, 706 * 4);
	put16(to + 12, 512); /* KiB of buffer */
	put16(to + 14, 706 * 4);
	return to + 22;
}

static void mode_sense(struct ata_command *command, const uint8_t *packet)
{
	unsigned control = packet[2] >> 6, page = packet[2] & 0x3f;
	uint8_t *data = clear(command), *at = data + 8;

	if (control == 3) { /* saved values */
		atapi_fail(command, KEY_ILLEGAL, 0x3900);
		return;
	}
	if (page == 0x01 || page == 0x3f)
		at = put_error_page(at);
	if (page == 0x2a || page == 0x3f)
		at = put_capabilities(command->device, at);
	if (at == data + 8) {
		atapi_fail(command, KEY_ILLEGAL, BAD_FIELD);
		return;
	}
	/* Which values can be changed: none. */
	if (control == 1) {
		for (uint8_t *p = data + 8; p < at; p += p[1] + 2)
			memset(p + 2, 0, p[1]);
	}
	put16(data, (uint32_t)(at - data) - 2);
	data[2] = has_medium(command->device) ? 0x01 : 0x70;
	answer(command, (uint32_t)(at - data), get16(packet + 7));
}

/* Physical format information of a DVD (MMC-5, 6.23.3). */
static void read_disc_structure(struct ata_command *command, const uint8_t *packet)
{
	uint32_t blocks = nr_blocks(command);
	uint8_t *data = clear(command);

	if (profile(command) != PROFILE_DVD_ROM) {
		atapi_fail(command, KEY_ILLEGAL, 0x3002); /* incompatible format */
		return;
	}
	if (packet[7] != 0 || packet[6] != 0) {
		atapi_fail(command, KEY_ILLEGAL, BAD_FIELD);
		return;
	}
	put16(data, 2050);
	data[4] = 0x01; /* DVD-ROM, version 1 */
	data[5] = 0x0f; /* 120 mm, no maximum rate */
	data[6] = 0x01; /* one layer, embossed */
	put32(data + 8, 0x30000);
	put32(data + 12, 0x30000 + blocks - 1);
	answer(command, 2052, get16(packet + 8));
}

static void mechanism_status(struct ata_command *command, const uint8_t *packet)
{
	uint8_t *data = clear(command);

	data[1] = command->device->state.tray_open ? 0x10 : 0;
	answer(command, 8, get16(packet + 8));
}

static const struct packet_row packet_commands[256] = {
	[OP_TEST_UNIT_READY] = { test_unit_ready, NEEDS_MEDIUM },
	[OP_REQUEST_SENSE] = { request_sense, NO_ATTENTION },
	[OP_INQUIRY] = { inquiry, NO_ATTENTION },
	[OP_START_STOP] = { start_stop, 0 },
	[OP_PREVENT_ALLOW] = { prevent_allow, 0 },
	[OP_READ_CAPACITY] = { read_capacity, NEEDS_MEDIUM },
	[OP_READ_10] = { read_10, NEEDS_MEDIUM },
	[OP_SEEK_10] = { seek, NEEDS_MEDIUM },
	[OP_READ_SUBCHANNEL] = { read_subchannel, NEEDS_MEDIUM },
	[OP_READ_TOC] = { read_toc, NEEDS_MEDIUM },
	[OP_GET_CONFIGURATION] = { get_configuration, NO_ATTENTION },
	[OP_GET_EVENT] = { get_event, NO_ATTENTION },
	[OP_READ_DISC_INFO] = { read_disc_info, NEEDS_MEDIUM },
	[OP_MODE_SENSE_10] = { mode_sense, 0 },
	[OP_READ_12] = { read_12, NEEDS_MEDIUM },
	[OP_READ_DISC_STRUCT] = { read_disc_structure, NEEDS_MEDIUM },
	[OP_SET_SPEED] = { test_unit_ready, 0 },
	[OP_MECHANISM_STATUS] = { mechanism_status, 0 },
	[OP_READ_CD] = { read_cd, NEEDS_MEDIUM },
};

void atapi_decode(struct ata_device *device, struct ata_command *command,
	const uint8_t packet[ATA_PACKET_BYTES], uint32_t room)
{
	const struct packet_row *row = &packet_commands[packet[0]];
	struct ata_device_state *state = &device->state;

	command->work = ATA_WORK_NOTHING;
	command->bytes = 0;
	if (packet[0] != OP_REQUEST_SENSE)
		state->sense_key = state->asc = state->ascq = 0;
	if (!row->decode) {
		atapi_fail(command, KEY_ILLEGAL, BAD_OPCODE);
		return;
	}
	if (state->attention && !(row->flags & NO_ATTENTION)) {
		state->attention = 0;
		atapi_fail(command, KEY_ATTENTION, MEDIUM_MAY_CHANGED);
		return;
	}
	if ((row->flags & NEEDS_MEDIUM) && !has_medium(device)) {
		fail_no_medium(command);
		return;
	}
	row->decode(command, packet);
	/* A buffer that is too small for an answer cuts it off. */
	if (command->work == ATA_WORK_BUFFER && command->bytes > room)
		command->bytes = room;
	if (command->work == ATA_WORK_BUFFER && command->bytes == 0)
		ata_succeed(command);
}

int atapi_insert(struct ata_device *device, struct block_device *image, struct error *err)
{
	int rc = ata_insert(device, image, err);

	if (rc < 0)
		return rc;
	device->state.tray_open = false;
	device->state.attention |= ATTENTION_MEDIUM;
	device->state.event = EVENT_NEW_MEDIUM;
	return 0;
}

struct block_device *atapi_remove(struct ata_device *device)
{
	struct block_device *image = drive_remove(&device->drive);

	if (image)
		device->state.event = EVENT_REMOVAL;
	return image;
}

bool atapi_press_eject(struct ata_device *device)
{
	if (device->state.medium_locked) {
		device->state.event = EVENT_EJECT_REQUEST;
		return false;
	}
	device->state.tray_open = true;
	return true;
}
