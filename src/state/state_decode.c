/*
 * Reads sections: docs/state-format.md. The bytes are hostile: every length is checked against
 * what is left before it is used, recursion is as deep as the tables are, and the caller's state
 * changes only when everything was in order.
 */
#include "state/state_field.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct state_reader {
	const uint8_t *at;
	size_t left;
	const char *section; /* for messages */
	struct error *err;
};

static const uint8_t state_tag_size[] = {
	[STATE_TAG_U8] = 1,
	[STATE_TAG_U16] = 2,
	[STATE_TAG_U32] = 4,
	[STATE_TAG_U64] = 8,
	[STATE_TAG_BOOL] = 1,
};

static int state_refuse(const struct state_reader *reader, const char *name, const char *why)
{
	error_set(reader->err, EXIT_CODE_BAD_FILE, "the saved state of %s cannot be used: %s%s%s",
		reader->section, name, *name ? " " : "", why);
	return -EINVAL;
}

static int state_take(struct state_reader *reader, void *to, size_t size)
{
	if (size > reader->left)
		return state_refuse(reader, "", "it ends too early");
	memcpy(to, reader->at, size);
	reader->at += size;
	reader->left -= size;
	return 0;
}

static int state_take_string(struct state_reader *reader, const char **string)
{
	uint8_t length;

	if (state_take(reader, &length, sizeof(length)) < 0)
		return -EINVAL;
	if (reader->left < (size_t)length + 1)
		return state_refuse(reader, "", "it ends too early");
	for (unsigned i = 0; i < length; i++) {
		if (reader->at[i] < ' ' || reader->at[i] > '~')
			return state_refuse(reader, "", "a name has odd characters");
	}
	if (reader->at[length] != '\0')
		return state_refuse(reader, "", "a name does not end");
	*string = (const char *)reader->at;
	reader->at += length + 1;
	reader->left -= length + 1;
	return 0;
}

/* Splits off what a size field announces: `inner` gets the bytes after that field. */
static int state_take_sized(struct state_reader *reader, struct state_reader *inner)
{
	uint32_t size;

	if (state_take(reader, &size, sizeof(size)) < 0)
		return -EINVAL;
	if (size < sizeof(size) || size - sizeof(size) > reader->left)
		return state_refuse(reader, "", "a size is wrong");
	*inner = *reader;
	inner->left = size - sizeof(size);
	reader->at += inner->left;
	reader->left -= inner->left;
	return 0;
}

static int state_take_scalars(struct state_reader *reader, const struct state_field *field,
	unsigned element_size, uint8_t *to)
{
	for (uint32_t i = 0; i < field->count; i++, to += field->element_size) {
		uint64_t value = 0;

		if (state_take(reader, &value, element_size) < 0)
			return -EINVAL;
		if (value > state_field_max(field))
			return state_refuse(reader, field->name, "is out of range");
		state_store(field, to, value);
	}
	return 0;
}

static int state_take_fields(
	struct state_reader *reader, const struct state_table *table, uint8_t *state);

static int state_take_records(
	struct state_reader *reader, const struct state_field *field, uint8_t *to)
{
	for (uint32_t i = 0; i < field->count; i++, to += field->element_size) {
		struct state_reader record;

		if (state_take_sized(reader, &record) < 0 ||
			state_take_fields(&record, field->table, to) < 0)
			return -EINVAL;
	}
	return 0;
}

static const struct state_field *state_find_field(const struct state_table *table, const char *name)
{
	for (uint32_t i = 0; i < table->nr_fields; i++) {
		if (table->fields[i].kind != STATE_PADDING &&
			strcmp(table->fields[i].name, name) == 0)
			return &table->fields[i];
	}
	return NULL;
}

static int state_take_field(
	struct state_reader *reader, const struct state_table *table, uint8_t *state, bool *seen)
{
	const struct state_field *field;
	const char *name;
	uint32_t count;
	uint8_t tag;

	if (state_take_string(reader, &name) < 0 || state_take(reader, &tag, sizeof(tag)) < 0 ||
		state_take(reader, &count, sizeof(count)) < 0)
		return -EINVAL;

	field = state_find_field(table, name);
	if (!field)
		return state_refuse(reader, name, "is unknown; a newer atoll saved it");
	if (seen[field - table->fields])
		return state_refuse(reader, name, "occurs twice");
	seen[field - table->fields] = true;
	if (count != field->count)
		return state_refuse(reader, name, "has another length");

	if (tag > STATE_TAG_RECORD || (tag == STATE_TAG_RECORD) != (field->kind == STATE_TABLE))
		return state_refuse(reader, name, "has another type");
	if (tag == STATE_TAG_RECORD)
		return state_take_records(reader, field, state + field->offset);
	return state_take_scalars(reader, field, state_tag_size[tag], state + field->offset);
}

static int state_take_fields(
	struct state_reader *reader, const struct state_table *table, uint8_t *state)
{
	bool seen[STATE_MAX_FIELDS] = { false };

	assert(table->nr_fields <= STATE_MAX_FIELDS);
	while (reader->left > 0) {
		if (state_take_field(reader, table, state, seen) < 0)
			return -EINVAL;
	}
	return 0;
}

static int state_take_header(struct state_reader *reader, struct state_reader *section,
	const char **table_name, const char **instance)
{
	if (state_take_sized(reader, section) < 0 || state_take_string(section, table_name) < 0 ||
		state_take_string(section, instance) < 0)
		return -EINVAL;
	if (**table_name == '\0')
		return state_refuse(reader, "", "it has no name");
	return 0;
}

int state_peek(const uint8_t *bytes, size_t size, const char **table_name, const char **instance,
	size_t *section_size, struct error *err)
{
	struct state_reader reader = { bytes, size, "the machine", err }, section;

	if (state_take_header(&reader, &section, table_name, instance) < 0)
		return -EINVAL;
	*section_size = size - reader.left;
	return 0;
}

long state_decode(const uint8_t *bytes, size_t size, const struct state_table *table, void *state,
	struct error *err)
{
	struct state_reader reader = { bytes, size, table->name, err }, section;
	const char *table_name, *instance;
	uint8_t *scratch;
	long result;

	if (state_take_header(&reader, &section, &table_name, &instance) < 0)
		return -EINVAL;
	if (strcmp(table_name, table->name) != 0)
		return state_refuse(&reader, "", "it belongs to another kind of device");

	scratch = malloc(table->size);
	if (!scratch) {
		error_set_errno(err, EXIT_CODE_HOST, ENOMEM, "cannot restore %s", table->name);
		return -ENOMEM;
	}
	memcpy(scratch, state, table->size);
	result = state_take_fields(&section, table, scratch);
	if (result == 0 && !state_check(table, scratch, err))
		result = -EINVAL;
	if (result == 0) {
		memcpy(state, scratch, table->size);
		result = (long)(size - reader.left);
	}
	free(scratch);
	return result;
}
