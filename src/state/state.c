/*
 * Checks on state tables and on values against them; the growing buffer. The wire format is in
 * state_encode.c and state_decode.c (docs/state-format.md), JSON in state_print.c.
 */
#include "state/state_field.h"

#include "base/bits.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

uint64_t state_load(const struct state_field *field, const void *element)
{
	uint64_t value = 0;

	/* The host is little-endian, as its guests are. */
	memcpy(&value, element, field->element_size);
	return value;
}

void state_store(const struct state_field *field, void *element, uint64_t value)
{
	memcpy(element, &value, field->element_size);
}

uint64_t state_field_max(const struct state_field *field)
{
	uint64_t kind_max = field->kind == STATE_BOOL ? 1 : byte_mask(field->element_size);

	return field->max < kind_max ? field->max : kind_max;
}

void state_buffer_finish(struct state_buffer *buffer)
{
	free(buffer->bytes);
	*buffer = (struct state_buffer){ 0 };
}

static bool state_check_field(const char *table_name, const struct state_field *field,
	const uint8_t *at, struct error *err)
{
	if (field->kind == STATE_PADDING)
		return true;
	for (uint32_t i = 0; i < field->count; i++, at += field->element_size) {
		if (field->kind == STATE_TABLE) {
			if (!state_check(field->table, at, err))
				return false;
		} else if (state_load(field, at) > state_field_max(field)) {
			error_set(err, EXIT_CODE_BAD_FILE,
				"the saved state has %s.%s = 0x%llx, more than 0x%llx: it was not "
				"saved by atoll or is damaged",
				table_name, field->name, (unsigned long long)state_load(field, at),
				(unsigned long long)state_field_max(field));
			return false;
		}
	}
	return true;
}

bool state_check(const struct state_table *table, const void *state, struct error *err)
{
	for (uint32_t i = 0; i < table->nr_fields; i++) {
		const struct state_field *field = &table->fields[i];

		if (!state_check_field(
			    table->name, field, (const uint8_t *)state + field->offset, err))
			return false;
	}
	if (table->check && !table->check(state, err)) {
		error_set(err, EXIT_CODE_BAD_FILE,
			"the saved state of %s contradicts itself: it was not saved by atoll or "
			"is damaged",
			table->name);
		return false;
	}
	return true;
}

static bool state_cover_field(const struct state_table *table, const struct state_field *field,
	uint8_t *covered, struct error *err)
{
	uint64_t end = field->offset + (uint64_t)field->element_size * field->count;

	if (end > table->size) {
		error_set(err, EXIT_CODE_INTERNAL, "%s.%s ends at offset %llu, past the struct",
			table->name, field->name, (unsigned long long)end);
		return false;
	}
	for (uint64_t i = field->offset; i < end; i++) {
		if (covered[i]++) {
			error_set(err, EXIT_CODE_INTERNAL, "%s.%s overlaps another at offset %llu",
				table->name, field->name, (unsigned long long)i);
			return false;
		}
	}
	if (field->kind == STATE_TABLE && field->element_size != field->table->size) {
		error_set(err, EXIT_CODE_INTERNAL, "%s.%s has %u bytes, its table %s %u",
			table->name, field->name, field->element_size, field->table->name,
			field->table->size);
		return false;
	}
	return field->kind != STATE_TABLE || state_covers(field->table, err);
}

bool state_covers(const struct state_table *table, struct error *err)
{
	uint8_t *covered = calloc(1, table->size);
	bool complete = true;

	assert(covered && table->nr_fields <= STATE_MAX_FIELDS);
	for (uint32_t i = 0; complete && i < table->nr_fields; i++)
		complete = state_cover_field(table, &table->fields[i], covered, err);
	for (uint32_t i = 0; complete && i < table->size; i++) {
		if (covered[i])
			continue;
		error_set(err, EXIT_CODE_INTERNAL, "%s: no field covers offset %u", table->name, i);
		complete = false;
	}
	free(covered);
	return complete;
}
