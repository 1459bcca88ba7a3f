/*
 * State tables: the wire format byte by byte, what a reader refuses, and JSON.
 */
#include "state/state.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct lamp_state {
	uint16_t hours;
	bool lit;
	uint8_t colour[3];
	uint8_t reserved[2];
};

static const struct state_field lamp_fields[] = {
	STATE_MAX(struct lamp_state, hours, 1000),
	STATE(struct lamp_state, lit),
	STATE_ARRAY(struct lamp_state, colour),
	STATE_PAD(struct lamp_state, reserved),
};
static const struct state_table lamp_table =
	STATE_TABLE_OF(struct lamp_state, "lamp", lamp_fields, NULL);

struct room_state {
	struct lamp_state lamps[2];
	int64_t since_ns;
	uint64_t serial;
	uint32_t people;
	uint32_t chairs;
	uint8_t wall[2][4];
};

static bool room_check(const void *state, struct error *err)
{
	const struct room_state *room = state;

	(void)err;
	return room->people <= room->chairs;
}

static const struct state_field room_fields[] = {
	STATE_STRUCTS(struct room_state, lamps, &lamp_table),
	STATE_TIME(struct room_state, since_ns),
	STATE(struct room_state, serial),
	STATE(struct room_state, people),
	STATE(struct room_state, chairs),
	STATE_BYTES(struct room_state, wall),
};
static const struct state_table room_table =
	STATE_TABLE_OF(struct room_state, "room", room_fields, room_check);

static const struct room_state example = {
	.lamps = { { 999, true, { 1, 2, 3 }, { 0 } }, { 7, false, { 4, 5, 6 }, { 0 } } },
	.since_ns = 123456789,
	.serial = 0xfedcba9876543210,
	.people = 3,
	.chairs = 4,
	.wall = { { 0, 1, 2, 3 }, { 4, 5, 6, 0xff } },
};

static struct state_buffer encode_room(const struct room_state *room)
{
	struct state_buffer buffer = { 0 };

	assert_int_equal(state_encode(&buffer, &room_table, "attic", room), 0);
	return buffer;
}

/* docs/state-format.md, written out. */
static void test_wire_format(void **context)
{
	static const uint8_t expected[] = {
		0x36, 0, 0, 0,                                                   /* size */
		4, 'l', 'a', 'm', 'p', 0,                                        /* table */
		1, 'a', 0,                                                       /* instance */
		5, 'h', 'o', 'u', 'r', 's', 0, 1, 1, 0, 0, 0, 0xe7, 0x03,        /* u16 999 */
		3, 'l', 'i', 't', 0, 4, 1, 0, 0, 0, 1,                           /* bool */
		6, 'c', 'o', 'l', 'o', 'u', 'r', 0, 0, 3, 0, 0, 0, 0xa, 0xb, 0xc /* u8[3] */
	};
	struct lamp_state lamp = { 999, true, { 0xa, 0xb, 0xc }, { 0 } };
	struct state_buffer buffer = { 0 };

	(void)context;
	assert_int_equal(state_encode(&buffer, &lamp_table, "a", &lamp), 0);
	assert_int_equal(buffer.size, sizeof(expected));
	assert_memory_equal(buffer.bytes, expected, sizeof(expected));
	state_buffer_finish(&buffer);
}

static void test_round_trip(void **context)
{
	struct state_buffer buffer = encode_room(&example), again;
	struct room_state room = { 0 };
	const char *table_name, *instance;
	struct error err = { 0 };
	size_t section_size;

	(void)context;
	assert_int_equal(
		state_peek(buffer.bytes, buffer.size, &table_name, &instance, &section_size, &err),
		0);
	assert_string_equal(table_name, "room");
	assert_string_equal(instance, "attic");
	assert_int_equal(section_size, buffer.size);

	assert_int_equal(state_decode(buffer.bytes, buffer.size, &room_table, &room, &err),
		(long)buffer.size);
	assert_memory_equal(&room, &example, sizeof(room));
	again = encode_room(&room);
	assert_int_equal(again.size, buffer.size);
	assert_memory_equal(again.bytes, buffer.bytes, buffer.size);
	state_buffer_finish(&again);
	state_buffer_finish(&buffer);
}

static void expect_refusal(const struct state_buffer *buffer, size_t size)
{
	struct room_state room, before;
	struct error err = { 0 };

	memset(&room, 0x5a, sizeof(room));
	before = room;
	assert_true(state_decode(buffer->bytes, size, &room_table, &room, &err) < 0);
	assert_int_equal(err.exit_code, EXIT_CODE_BAD_FILE);
	assert_true(err.text[0] != '\0');
	assert_memory_equal(&room, &before, sizeof(room));
}

static void test_every_truncation_is_refused(void **context)
{
	struct state_buffer buffer = encode_room(&example);

	(void)context;
	for (size_t size = 0; size < buffer.size; size++) {
		/* In a block of its own, so that a sanitizer sees an overrun. */
		struct state_buffer cut = { .bytes = malloc(size + 1), .size = size };

		memcpy(cut.bytes, buffer.bytes, size);
		expect_refusal(&cut, size);
		state_buffer_finish(&cut);
	}
	state_buffer_finish(&buffer);
}

static void test_range_and_relations_are_checked(void **context)
{
	struct room_state too_many_hours = example, too_many_people = example,
			  before_time = example;
	struct state_buffer buffer;

	(void)context;
	too_many_hours.lamps[1].hours = 1001;
	too_many_people.people = 5;
	before_time.since_ns = -1;
	assert_true(state_check(&room_table, &example, NULL));
	assert_false(state_check(&room_table, &too_many_hours, NULL));
	assert_false(state_check(&room_table, &too_many_people, NULL));
	assert_false(state_check(&room_table, &before_time, NULL));

	buffer = encode_room(&too_many_hours);
	expect_refusal(&buffer, buffer.size);
	state_buffer_finish(&buffer);
	buffer = encode_room(&too_many_people);
	expect_refusal(&buffer, buffer.size);
	state_buffer_finish(&buffer);
	buffer = encode_room(&before_time);
	expect_refusal(&buffer, buffer.size);
	state_buffer_finish(&buffer);
}

/* A section of table `table_name` with the fields `fields`. */
static struct state_buffer section_of(const void *fields, size_t size)
{
	static const uint8_t header[] = { 4, 'l', 'a', 'm', 'p', 0, 0, 0 };
	struct state_buffer buffer = { .size = 4 + sizeof(header) + size };
	uint32_t total = (uint32_t)buffer.size;

	buffer.bytes = malloc(buffer.size);
	memcpy(buffer.bytes, &total, 4);
	memcpy(buffer.bytes + 4, header, sizeof(header));
	memcpy(buffer.bytes + 4 + sizeof(header), fields, size);
	return buffer;
}

static long decode_lamp(const void *fields, size_t size, struct lamp_state *lamp, struct error *err)
{
	struct state_buffer buffer = section_of(fields, size);
	long result;

	memset(err, 0, sizeof(*err));
	result = state_decode(buffer.bytes, buffer.size, &lamp_table, lamp, err);
	state_buffer_finish(&buffer);
	return result;
}

static void test_fields_by_name(void **context)
{
	static const char widened[] = "\5hours\0\3\1\0\0\0\2\0\0\0\0\0\0\0";
	static const char too_wide[] = "\5hours\0\3\1\0\0\0\2\0\1\0\0\0\0\0";
	static const char unknown[] = "\5power\0\0\1\0\0\0\1";
	static const char twice[] = "\3lit\0\4\1\0\0\0\1\3lit\0\4\1\0\0\0\1";
	static const char not_bool[] = "\3lit\0\4\1\0\0\0\2";
	static const char count[] = "\3lit\0\4\2\0\0\0\1\1";
	static const char huge_count[] = "\6colour\0\0\377\377\377\377\1";
	static const char record[] = "\3lit\0\5\1\0\0\0\4\0\0\0";
	static const char bad_tag[] = "\3lit\0\6\1\0\0\0\1";
	static const char padding[] = "\10reserved\0\0\2\0\0\0\1\1";
	struct lamp_state lamp = { 5, true, { 1, 2, 3 }, { 0 } };
	struct error err;

	(void)context;
	assert_true(decode_lamp(widened, sizeof(widened) - 1, &lamp, &err) > 0);
	assert_int_equal(lamp.hours, 2);
	assert_true(lamp.lit); /* lacking fields keep their values */
	assert_int_equal(lamp.colour[2], 3);

	assert_true(decode_lamp(too_wide, sizeof(too_wide) - 1, &lamp, &err) < 0);
	assert_true(decode_lamp(unknown, sizeof(unknown) - 1, &lamp, &err) < 0);
	assert_non_null(strstr(err.text, "power is unknown"));
	assert_true(decode_lamp(twice, sizeof(twice) - 1, &lamp, &err) < 0);
	assert_non_null(strstr(err.text, "occurs twice"));
	assert_true(decode_lamp(not_bool, sizeof(not_bool) - 1, &lamp, &err) < 0);
	assert_true(decode_lamp(count, sizeof(count) - 1, &lamp, &err) < 0);
	assert_true(decode_lamp(huge_count, sizeof(huge_count) - 1, &lamp, &err) < 0);
	assert_true(decode_lamp(record, sizeof(record) - 1, &lamp, &err) < 0);
	assert_true(decode_lamp(bad_tag, sizeof(bad_tag) - 1, &lamp, &err) < 0);
	assert_true(decode_lamp(padding, sizeof(padding) - 1, &lamp, &err) < 0);
}

static void test_another_kind_is_refused(void **context)
{
	struct state_buffer buffer = encode_room(&example);
	struct lamp_state lamp = { 0 };
	struct error err = { 0 };

	(void)context;
	assert_true(state_decode(buffer.bytes, buffer.size, &lamp_table, &lamp, &err) < 0);
	state_buffer_finish(&buffer);
}

static void test_json(void **context)
{
	static const char expected[] =
		"{\"lamps\": [{\"hours\": 999, \"lit\": true, \"colour\": \"010203\"}, "
		"{\"hours\": 7, \"lit\": false, \"colour\": \"040506\"}], "
		"\"since_ns\": \"0x75bcd15\", \"serial\": \"0xfedcba9876543210\", "
		"\"people\": 3, \"chairs\": 4, \"wall\": \"00010203040506ff\"}";
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	(void)context;
	state_print_json(out, &room_table, &example);
	fclose(out);
	assert_string_equal(text, expected);
	free(text);
}

static void test_covers(void **context)
{
	static const struct state_field hole[] = {
		STATE(struct lamp_state, hours),
		STATE_ARRAY(struct lamp_state, colour),
		STATE_PAD(struct lamp_state, reserved),
	};
	static const struct state_table hole_table =
		STATE_TABLE_OF(struct lamp_state, "hole", hole, NULL);
	static const struct state_field overlap[] = {
		STATE(struct lamp_state, hours),
		STATE(struct lamp_state, hours),
		STATE(struct lamp_state, lit),
		STATE_ARRAY(struct lamp_state, colour),
		STATE_PAD(struct lamp_state, reserved),
	};
	static const struct state_table overlap_table =
		STATE_TABLE_OF(struct lamp_state, "overlap", overlap, NULL);
	struct error err = { 0 };

	(void)context;
	assert_true(state_covers(&room_table, NULL));
	assert_false(state_covers(&hole_table, &err));
	assert_non_null(strstr(err.text, "offset 2"));
	assert_false(state_covers(&overlap_table, NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_wire_format),
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_every_truncation_is_refused),
		cmocka_unit_test(test_range_and_relations_are_checked),
		cmocka_unit_test(test_fields_by_name),
		cmocka_unit_test(test_another_kind_is_refused),
		cmocka_unit_test(test_json),
		cmocka_unit_test(test_covers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
