/*
 * One description of a piece of guest-visible state, used to save, restore, validate and print it.
 *
 * A `_state` struct is plain data without pointers. Its table names every byte of it once:
 *
 *	static const struct state_field i8254_channel_fields[] = {
 *		STATE(struct i8254_channel_state, reload),
 *		STATE_MAX(struct i8254_channel_state, mode, 5),
 *		STATE_PAD(struct i8254_channel_state, reserved),
 *	};
 *
 * Fields travel by name, never by position, so that fields can be added (they keep the value of a
 * reset state when an older file lacks them) and reordered. A field that the table does not know
 * is refused. What arrives is hostile: every value is range-checked against its field, and the
 * whole against `check`, before anything of it is used.
 */
#ifndef STATE_STATE_H
#define STATE_STATE_H

#include "base/error.h"
#include "base/types.h"

#include <stdio.h>

enum state_kind {
	STATE_U8,
	STATE_U16,
	STATE_U32,
	STATE_U64,
	STATE_BOOL,
	STATE_TABLE,
	STATE_PADDING
};

struct state_field {
	const char *name;
	enum state_kind kind;
	uint32_t offset;                 /* in the struct, bytes */
	uint32_t element_size;           /* bytes */
	uint32_t count;                  /* 1 for a scalar, else the array's length */
	uint64_t max;                    /* the greatest value allowed, elements of scalar kinds */
	const struct state_table *table; /* STATE_TABLE: that of each element */
};

struct state_table {
	const char *name; /* "i8254"; unique in a machine together with the instance's name */
	uint32_t size;    /* sizeof the struct */
	uint32_t nr_fields;
	const struct state_field *fields;
	/*
	 * Optional: relations between fields that a guest could not have violated. May not modify
	 * the state. On refusal fills `err` and returns false.
	 */
	bool (*check)(const void *state, struct error *err);
};

#define STATE_KIND_OF(value)                                                                       \
	_Generic((value), uint8_t                                                                  \
		 : STATE_U8, uint16_t                                                              \
		 : STATE_U16, uint32_t                                                             \
		 : STATE_U32, uint64_t                                                             \
		 : STATE_U64, int64_t                                                              \
		 : STATE_U64, bool                                                                 \
		 : STATE_BOOL)
#define STATE_MEMBER_(type, member) (((type *)0)->member)
#define STATE_FIELD_(type, member, kind_, element, count_, max_, table_)                           \
	{                                                                                          \
		.name = #member, .kind = (kind_), .offset = offsetof(type, member),                \
		.element_size = sizeof(element), .count = (count_), .max = (max_),                 \
		.table = (table_)                                                                  \
	}

/* A scalar that may hold any value of its type. */
#define STATE(type, member) STATE_MAX(type, member, UINT64_MAX)
/* A scalar of at most `max`. */
#define STATE_MAX(type, member, max)                                                               \
	STATE_FIELD_(type, member, STATE_KIND_OF(STATE_MEMBER_(type, member)),                     \
		STATE_MEMBER_(type, member), 1, max, NULL)
/* A point of guest time that is never negative and can be added to another without overflow. */
#define STATE_TIME(type, member) STATE_MAX(type, member, STATE_TIME_MAX)
#define STATE_TIME_MAX           ((uint64_t)INT64_MAX / 4)
/* An array of scalars, and one whose elements are at most `max`. */
#define STATE_ARRAY(type, member) STATE_ARRAY_MAX(type, member, UINT64_MAX)
#define STATE_ARRAY_MAX(type, member, max)                                                         \
	STATE_FIELD_(type, member, STATE_KIND_OF(STATE_MEMBER_(type, member)[0]),                  \
		STATE_MEMBER_(type, member)[0],                                                    \
		sizeof(STATE_MEMBER_(type, member)) / sizeof(STATE_MEMBER_(type, member)[0]), max, \
		NULL)
/* An array of bytes with any number of dimensions. */
#define STATE_BYTES(type, member)                                                                  \
	STATE_FIELD_(type, member, STATE_U8, uint8_t, sizeof(STATE_MEMBER_(type, member)),         \
		UINT64_MAX, NULL)
/* An array of arrays of scalars, as one flat array. */
#define STATE_MATRIX(type, member)                                                                 \
	STATE_FIELD_(type, member, STATE_KIND_OF(STATE_MEMBER_(type, member)[0][0]),               \
		STATE_MEMBER_(type, member)[0][0],                                                 \
		sizeof(STATE_MEMBER_(type, member)) / sizeof(STATE_MEMBER_(type, member)[0][0]),   \
		UINT64_MAX, NULL)
/* A struct described by a table of its own, and an array of such. */
#define STATE_STRUCT(type, member, table)                                                          \
	STATE_FIELD_(type, member, STATE_TABLE, STATE_MEMBER_(type, member), 1, 0, table)
#define STATE_STRUCTS(type, member, table)                                                         \
	STATE_FIELD_(type, member, STATE_TABLE, STATE_MEMBER_(type, member)[0],                    \
		sizeof(STATE_MEMBER_(type, member)) / sizeof(STATE_MEMBER_(type, member)[0]), 0,   \
		table)
/* Bytes that exist for alignment only: an explicit array, always zero, never saved. */
#define STATE_PAD(type, member)                                                                    \
	STATE_FIELD_(type, member, STATE_PADDING, uint8_t, sizeof(STATE_MEMBER_(type, member)), 0, \
		NULL)

#define STATE_TABLE_OF(type, name_, fields_, check_)                                               \
	{                                                                                          \
		.name = (name_), .size = sizeof(type),                                             \
		.nr_fields = sizeof(fields_) / sizeof((fields_)[0]), .fields = (fields_),          \
		.check = (check_)                                                                  \
	}

/* The most fields that one table may have. */
#define STATE_MAX_FIELDS 256

/* A growing byte buffer; zero-initialise it, free it with state_buffer_finish. */
struct state_buffer {
	uint8_t *bytes;
	size_t size;
	size_t capacity;
};

void state_buffer_finish(struct state_buffer *buffer);

/*
 * Appends one section: the table's name, `instance` (such as "com1"), and every field by name.
 * Format: docs/state-format.md. Returns 0 or -ENOMEM.
 */
int state_encode(struct state_buffer *buffer, const struct state_table *table, const char *instance,
	const void *state);

/*
 * The next section's header in `bytes` (size bytes left): fills `*table_name` and `*instance` with
 * NUL-terminated strings inside `bytes`, and `*section_size` with the bytes of the whole section.
 * Returns 0, or fills `err`.
 */
int state_peek(const uint8_t *bytes, size_t size, const char **table_name, const char **instance,
	size_t *section_size, struct error *err);

/*
 * Decodes one section into `state`, which the caller has set to its reset values: fields that the
 * section lacks keep them. On any error `state` is untouched. Returns bytes consumed, or a
 * negative errno with `err` filled.
 */
long state_decode(const uint8_t *bytes, size_t size, const struct state_table *table, void *state,
	struct error *err);

/* Checks ranges and `check` without decoding; true if a guest could be in this state. */
bool state_check(const struct state_table *table, const void *state, struct error *err);

/* Prints the state as one JSON object; 64-bit values as "0x..." strings. */
void state_print_json(FILE *out, const struct state_table *table, const void *state);

/*
 * True if the fields (and tables within) cover every byte of the struct exactly once. On a hole or
 * an overlap fills `err` with its offset. For tests.
 */
bool state_covers(const struct state_table *table, struct error *err);

#endif
