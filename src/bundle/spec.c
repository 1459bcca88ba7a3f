#include "bundle/spec.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <yaml.h>

struct spec_reader {
	struct spec *spec;
	const char *name;
	yaml_parser_t parser;
	struct error *err;
};

static int spec_mistake(struct spec_reader *reader, yaml_mark_t mark, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static int spec_mistake(struct spec_reader *reader, yaml_mark_t mark, const char *format, ...)
{
	char text[384];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	return error_set(reader->err, EXIT_CODE_BAD_FILE, "%s:%zu:%zu: %s", reader->name,
		mark.line + 1, mark.column + 1, text);
}

/* The next event, which the caller deletes; what no spec may hold is refused here. */
static int spec_event(struct spec_reader *reader, yaml_event_t *event)
{
	const yaml_char_t *anchor = NULL, *tag = NULL;

	if (!yaml_parser_parse(&reader->parser, event))
		return spec_mistake(reader, reader->parser.problem_mark,
			"this is not YAML: %s; write one 'key: value' on each line",
			reader->parser.problem ? reader->parser.problem : "it cannot be read");
	switch (event->type) {
	case YAML_ALIAS_EVENT: anchor = event->data.alias.anchor; break;
	case YAML_SCALAR_EVENT:
		anchor = event->data.scalar.anchor;
		tag = event->data.scalar.tag;
		break;
	case YAML_SEQUENCE_START_EVENT:
		anchor = event->data.sequence_start.anchor;
		tag = event->data.sequence_start.tag;
		break;
	case YAML_MAPPING_START_EVENT:
		anchor = event->data.mapping_start.anchor;
		tag = event->data.mapping_start.tag;
		break;
	default: break;
	}
	if (!anchor && !tag)
		return 0;
	spec_mistake(reader, event->start_mark,
		"anchors, aliases and tags are not taken; write the value out");
	yaml_event_delete(event);
	return -EINVAL;
}

/* Keys are option names: told in full they would let a file fill a terminal. */
static int spec_check_key(struct spec_reader *reader, const yaml_event_t *event)
{
	const char *key = (const char *)event->data.scalar.value;

	if (event->data.scalar.length == 0 || event->data.scalar.length > 64 ||
		strlen(key) != event->data.scalar.length)
		return spec_mistake(reader, event->start_mark,
			"a key is the name of an option; 'atoll run --help' lists them");
	for (unsigned i = 0; i < reader->spec->nr_entries; i++)
		if (strcmp(reader->spec->entries[i].key, key) == 0)
			return spec_mistake(reader, event->start_mark,
				"the key '%s' is here twice; keep one, with a list if it has "
				"several values",
				key);
	return 0;
}

static int spec_take_value(struct spec_reader *reader, const char *key, const yaml_event_t *event)
{
	const char *value = (const char *)event->data.scalar.value;
	struct spec_entry *entry;

	if (event->type != YAML_SCALAR_EVENT)
		return spec_mistake(reader, event->start_mark,
			"the value of '%s' has to be a text or a list of texts", key);
	if (strlen(value) != event->data.scalar.length)
		return spec_mistake(
			reader, event->start_mark, "the value of '%s' holds a zero byte", key);
	if (spec_add(reader->spec, key, value, event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE,
		    NULL))
		return spec_mistake(reader, event->start_mark,
			"there are more than %d values in this file", SPEC_MAX_ENTRIES);
	entry = &reader->spec->entries[reader->spec->nr_entries - 1];
	entry->line = (unsigned)event->start_mark.line + 1;
	entry->column = (unsigned)event->start_mark.column + 1;
	return 0;
}

/* After '[' or the first '-': up to the list's end. */
static int spec_read_list(struct spec_reader *reader, const char *key)
{
	for (;;) {
		yaml_event_t event;
		bool end;
		int result;

		if (spec_event(reader, &event))
			return -EINVAL;
		end = event.type == YAML_SEQUENCE_END_EVENT;
		result = end ? 0 : spec_take_value(reader, key, &event);
		yaml_event_delete(&event);
		if (end || result)
			return result;
	}
}

static int spec_read_value(struct spec_reader *reader, const char *key)
{
	yaml_event_t event;
	int result;

	if (spec_event(reader, &event))
		return -EINVAL;
	if (event.type == YAML_SEQUENCE_START_EVENT)
		result = spec_read_list(reader, key);
	else
		result = spec_take_value(reader, key, &event);
	yaml_event_delete(&event);
	return result;
}

static int spec_read_mapping(struct spec_reader *reader)
{
	for (;;) {
		yaml_event_t event;
		bool end;
		int result;

		if (spec_event(reader, &event))
			return -EINVAL;
		end = event.type == YAML_MAPPING_END_EVENT;
		if (end)
			result = 0;
		else if (event.type != YAML_SCALAR_EVENT)
			result = spec_mistake(reader, event.start_mark,
				"a key is the name of an option; 'atoll run --help' lists them");
		else
			result = spec_check_key(reader, &event);
		if (!end && !result)
			result = spec_read_value(reader, (const char *)event.data.scalar.value);
		yaml_event_delete(&event);
		if (end || result)
			return result;
	}
}

/* An empty file is an empty spec. */
static int spec_read_document(struct spec_reader *reader)
{
	bool begun = false;

	for (;;) {
		yaml_event_t event;
		yaml_event_type_t type;
		yaml_mark_t mark;

		if (spec_event(reader, &event))
			return -EINVAL;
		type = event.type;
		mark = event.start_mark;
		if (type == YAML_SCALAR_EVENT && event.data.scalar.length == 0)
			type = YAML_NO_EVENT; /* '---' and nothing */
		yaml_event_delete(&event);
		switch (type) {
		case YAML_STREAM_END_EVENT: return 0;
		case YAML_MAPPING_START_EVENT:
			if (spec_read_mapping(reader))
				return -EINVAL;
			break;
		case YAML_DOCUMENT_START_EVENT:
			if (begun)
				return spec_mistake(reader, mark,
					"a second document begins; keep everything in one");
			begun = true;
			break;
		case YAML_STREAM_START_EVENT:
		case YAML_DOCUMENT_END_EVENT:
		case YAML_NO_EVENT: break;
		default:
			return spec_mistake(
				reader, mark, "there have to be lines of 'key: value' here");
		}
	}
}

int spec_parse(
	struct spec *spec, const char *text, size_t size, const char *name, struct error *err)
{
	struct spec_reader reader = { .spec = spec, .name = name, .err = err };
	int result;

	*spec = (struct spec){ 0 };
	if (size > SPEC_MAX_BYTES)
		return error_set(err, EXIT_CODE_BAD_FILE,
			"%s is larger than %d bytes; it holds a VM's options and nothing else",
			name, SPEC_MAX_BYTES);
	if (!yaml_parser_initialize(&reader.parser))
		return error_set(err, EXIT_CODE_HOST, "out of memory");
	yaml_parser_set_input_string(&reader.parser, (const unsigned char *)text, size);
	result = spec_read_document(&reader);
	yaml_parser_delete(&reader.parser);
	if (result)
		spec_finish(spec);
	return result;
}

int spec_read(struct spec *spec, int dir_fd, const char *name, struct error *err)
{
	int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	size_t size = 0;
	ssize_t count;
	char *text;
	int result;

	*spec = (struct spec){ 0 };
	if (fd < 0)
		return error_set_errno(err, EXIT_CODE_NO_FILE, errno, "cannot read %s", name);
	text = malloc(SPEC_MAX_BYTES + 1);
	while (text && size <= SPEC_MAX_BYTES &&
		(count = read(fd, text + size, SPEC_MAX_BYTES + 1 - size)) > 0)
		size += (size_t)count;
	if (!text)
		result = error_set(err, EXIT_CODE_HOST, "out of memory");
	else if (size <= SPEC_MAX_BYTES && count < 0)
		result = error_set_errno(err, EXIT_CODE_NO_FILE, errno, "cannot read %s", name);
	else
		result = spec_parse(spec, text, size, name, err);
	free(text);
	close(fd);
	return result;
}

void spec_finish(struct spec *spec)
{
	for (unsigned i = 0; i < spec->nr_entries; i++) {
		free(spec->entries[i].key);
		free(spec->entries[i].value);
	}
	free(spec->entries);
	*spec = (struct spec){ 0 };
}

int spec_add(struct spec *spec, const char *key, const char *value, bool quoted, struct error *err)
{
	struct spec_entry *grown, entry;

	if (spec->nr_entries == SPEC_MAX_ENTRIES)
		return error_set(err, EXIT_CODE_USAGE, "a VM has %d option values at most",
			SPEC_MAX_ENTRIES);
	grown = realloc(spec->entries, (spec->nr_entries + 1) * sizeof(*grown));
	if (!grown)
		return error_set(err, EXIT_CODE_HOST, "out of memory");
	spec->entries = grown;
	entry = (struct spec_entry){ .key = strdup(key), .value = strdup(value), .quoted = quoted };
	if (!entry.key || !entry.value) {
		free(entry.key);
		free(entry.value);
		return error_set(err, EXIT_CODE_HOST, "out of memory");
	}
	spec->entries[spec->nr_entries++] = entry;
	return 0;
}

static bool spec_emit_scalar(yaml_emitter_t *emitter, const char *text, bool quoted)
{
	yaml_event_t event;

	return yaml_scalar_event_initialize(&event, NULL, NULL, (const yaml_char_t *)text,
		       (int)strlen(text), 1, 1,
		       quoted ? YAML_DOUBLE_QUOTED_SCALAR_STYLE : YAML_PLAIN_SCALAR_STYLE) &&
	       yaml_emitter_emit(emitter, &event);
}

/* The entries of one key, from `first`: a list if there are several. */
static bool spec_emit_key(yaml_emitter_t *emitter, const struct spec *spec, unsigned first)
{
	const char *key = spec->entries[first].key;
	unsigned count = 0;
	yaml_event_t event;

	for (unsigned i = first; i < spec->nr_entries; i++)
		count += strcmp(spec->entries[i].key, key) == 0;
	if (!spec_emit_scalar(emitter, key, false))
		return false;
	if (count > 1 && (!yaml_sequence_start_event_initialize(
				  &event, NULL, NULL, 1, YAML_BLOCK_SEQUENCE_STYLE) ||
				 !yaml_emitter_emit(emitter, &event)))
		return false;
	for (unsigned i = first; i < spec->nr_entries; i++) {
		const struct spec_entry *entry = &spec->entries[i];

		if (strcmp(entry->key, key) == 0 &&
			!spec_emit_scalar(emitter, entry->value, entry->quoted))
			return false;
	}
	return count == 1 ||
	       (yaml_sequence_end_event_initialize(&event) && yaml_emitter_emit(emitter, &event));
}

static bool spec_is_first_of_key(const struct spec *spec, unsigned index)
{
	for (unsigned i = 0; i < index; i++)
		if (strcmp(spec->entries[i].key, spec->entries[index].key) == 0)
			return false;
	return true;
}

static bool spec_emit(const struct spec *spec, FILE *out)
{
	yaml_emitter_t emitter;
	yaml_event_t event;
	bool good;

	if (!yaml_emitter_initialize(&emitter))
		return false;
	yaml_emitter_set_output_file(&emitter, out);
	yaml_emitter_set_unicode(&emitter, 1);
	yaml_emitter_set_width(&emitter, -1);
	good = yaml_stream_start_event_initialize(&event, YAML_UTF8_ENCODING) &&
	       yaml_emitter_emit(&emitter, &event) &&
	       yaml_document_start_event_initialize(&event, NULL, NULL, NULL, 1) &&
	       yaml_emitter_emit(&emitter, &event) &&
	       yaml_mapping_start_event_initialize(
		       &event, NULL, NULL, 1, YAML_BLOCK_MAPPING_STYLE) &&
	       yaml_emitter_emit(&emitter, &event);
	for (unsigned i = 0; i < spec->nr_entries && good; i++)
		if (spec_is_first_of_key(spec, i))
			good = spec_emit_key(&emitter, spec, i);
	good = good && yaml_mapping_end_event_initialize(&event) &&
	       yaml_emitter_emit(&emitter, &event) &&
	       yaml_document_end_event_initialize(&event, 1) &&
	       yaml_emitter_emit(&emitter, &event) && yaml_stream_end_event_initialize(&event) &&
	       yaml_emitter_emit(&emitter, &event);
	yaml_emitter_delete(&emitter);
	return good;
}

int spec_write(const struct spec *spec, int dir_fd, const char *name, struct error *err)
{
	char new_name[64];
	bool good;
	FILE *out;
	int fd;

	snprintf(new_name, sizeof(new_name), "%s.new", name);
	fd = openat(dir_fd, new_name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	out = fd >= 0 ? fdopen(fd, "w") : NULL;
	if (!out) {
		int error = errno;

		if (fd >= 0)
			close(fd);
		return error_set_errno(err, EXIT_CODE_CANNOT_WRITE, error, "cannot write %s", name);
	}
	good = spec_emit(spec, out) && fflush(out) == 0 && fsync(fd) == 0;
	good = fclose(out) == 0 && good;
	if (good && renameat(dir_fd, new_name, dir_fd, name) == 0)
		return 0;
	unlinkat(dir_fd, new_name, 0);
	return error_set(err, EXIT_CODE_CANNOT_WRITE,
		"cannot write %s; is the disk full, or a value no UTF-8 text?", name);
}
