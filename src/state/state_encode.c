/*
 * Writes sections: docs/state-format.md.
 */
#include "state/state_field.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const uint8_t state_tags[] = {
	[STATE_U8] = STATE_TAG_U8,
	[STATE_U16] = STATE_TAG_U16,
	[STATE_U32] = STATE_TAG_U32,
	[STATE_U64] = STATE_TAG_U64,
	[STATE_BOOL] = STATE_TAG_BOOL,
	[STATE_TABLE] = STATE_TAG_RECORD,
};

static int state_append(struct state_buffer *buffer, const void *bytes, size_t size)
{
	if (buffer->capacity - buffer->size < size) {
		size_t capacity = 2 * (buffer->size + size);
		uint8_t *grown = realloc(buffer->bytes, capacity);

		if (!grown)
			return -ENOMEM;
		buffer->bytes = grown;
		buffer->capacity = capacity;
	}
	memcpy(buffer->bytes + buffer->size, bytes, size);
	buffer->size += size;
	return 0;
}

static int state_append_u8(struct state_buffer *buffer, uint8_t value)
{
	return state_append(buffer, &value, sizeof(value));
}

static int state_append_u32(struct state_buffer *buffer, uint32_t value)
{
	return state_append(buffer, &value, sizeof(value));
}

static int state_append_string(struct state_buffer *buffer, const char *string)
{
	size_t length = strlen(string);

	assert(length <= UINT8_MAX);
	if (state_append_u8(buffer, (uint8_t)length) < 0)
		return -ENOMEM;
	return state_append(buffer, string, length + 1);
}

/* Fills in the size that stands at `start`, now that the end is known. */
static void state_close(struct state_buffer *buffer, size_t start)
{
	uint32_t size = (uint32_t)(buffer->size - start);

	memcpy(buffer->bytes + start, &size, sizeof(size));
}

static int state_append_fields(
	struct state_buffer *buffer, const struct state_table *table, const uint8_t *state);

static int state_append_records(
	struct state_buffer *buffer, const struct state_field *field, const uint8_t *at)
{
	for (uint32_t i = 0; i < field->count; i++, at += field->element_size) {
		size_t start = buffer->size;

		if (state_append_u32(buffer, 0) < 0 ||
			state_append_fields(buffer, field->table, at) < 0)
			return -ENOMEM;
		state_close(buffer, start);
	}
	return 0;
}

static int state_append_fields(
	struct state_buffer *buffer, const struct state_table *table, const uint8_t *state)
{
	assert(table->nr_fields <= STATE_MAX_FIELDS);
	for (uint32_t i = 0; i < table->nr_fields; i++) {
		const struct state_field *field = &table->fields[i];
		const uint8_t *at = state + field->offset;
		int rc;

		if (field->kind == STATE_PADDING)
			continue;
		if (state_append_string(buffer, field->name) < 0 ||
			state_append_u8(buffer, state_tags[field->kind]) < 0 ||
			state_append_u32(buffer, field->count) < 0)
			return -ENOMEM;
		if (field->kind == STATE_TABLE)
			rc = state_append_records(buffer, field, at);
		else
			rc = state_append(buffer, at, (size_t)field->element_size * field->count);
		if (rc < 0)
			return rc;
	}
	return 0;
}

int state_encode(struct state_buffer *buffer, const struct state_table *table, const char *instance,
	const void *state)
{
	size_t start = buffer->size;

	if (state_append_u32(buffer, 0) < 0 || state_append_string(buffer, table->name) < 0 ||
		state_append_string(buffer, instance) < 0 ||
		state_append_fields(buffer, table, state) < 0) {
		buffer->size = start;
		return -ENOMEM;
	}
	state_close(buffer, start);
	return 0;
}
