/*
 * Prints state as JSON. 64-bit values are "0x..." strings, because a JSON number holds 53 bits;
 * arrays of bytes are one string of hexadecimal digits.
 */
#include "state/state_field.h"

static void state_print_element(FILE *out, const struct state_field *field, const uint8_t *at)
{
	switch (field->kind) {
	case STATE_TABLE: state_print_json(out, field->table, at); break;
	case STATE_BOOL: fputs(state_load(field, at) ? "true" : "false", out); break;
	case STATE_U64:
		fprintf(out, "\"0x%llx\"", (unsigned long long)state_load(field, at));
		break;
	default: fprintf(out, "%llu", (unsigned long long)state_load(field, at)); break;
	}
}

static void state_print_field(FILE *out, const struct state_field *field, const uint8_t *at)
{
	if (field->count == 1) {
		state_print_element(out, field, at);
		return;
	}
	if (field->kind == STATE_U8) {
		fputc('"', out);
		for (uint32_t i = 0; i < field->count; i++)
			fprintf(out, "%02x", at[i]);
		fputc('"', out);
		return;
	}
	fputc('[', out);
	for (uint32_t i = 0; i < field->count; i++) {
		if (i > 0)
			fputs(", ", out);
		state_print_element(out, field, at + (size_t)i * field->element_size);
	}
	fputc(']', out);
}

void state_print_json(FILE *out, const struct state_table *table, const void *state)
{
	const char *separator = "";

	fputc('{', out);
	for (uint32_t i = 0; i < table->nr_fields; i++) {
		const struct state_field *field = &table->fields[i];

		if (field->kind == STATE_PADDING)
			continue;
		fprintf(out, "%s\"%s\": ", separator, field->name);
		state_print_field(out, field, (const uint8_t *)state + field->offset);
		separator = ", ";
	}
	fputc('}', out);
}
