/*
 * What --trace is given, and the table for people.
 */
#include "base/trace.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define CATEGORY_NAME(name, meaning) #name,
static const char *const names[] = { TRACE_CATEGORIES(CATEGORY_NAME) };

#define CATEGORY_MEANING(name, meaning) meaning,
static const char *const meanings[] = { TRACE_CATEGORIES(CATEGORY_MEANING) };

static const struct {
	enum trace_category category;
	const char *name, *format, *meaning;
} events[] = {
#define EVENT(category, name, count, format, meaning)                                              \
	{ TRACE_CATEGORY_##category, #name, format, meaning },
	TRACE_EVENTS(EVENT)
};

_Static_assert(NR_TRACE_CATEGORIES <= 32, "trace_enabled is a word");

/* The bits of the category named by `length` bytes, 0 if there is none. */
static uint32_t category_bits(const char *name, size_t length)
{
	if (length == 3 && strncmp(name, "all", 3) == 0)
		return (uint32_t)BITS(NR_TRACE_CATEGORIES - 1, 0);
	for (unsigned i = 0; i < NR_TRACE_CATEGORIES; i++)
		if (strlen(names[i]) == length && strncmp(names[i], name, length) == 0)
			return (uint32_t)BIT(i);
	return 0;
}

static int unknown_category(const char *name, size_t length, struct error *err)
{
	char known[256];
	size_t used = 0;

	for (unsigned i = 0; i < NR_TRACE_CATEGORIES; i++)
		used += (size_t)snprintf(known + used, sizeof(known) - used, " %s", names[i]);
	return error_set(err, EXIT_CODE_USAGE, "--trace does not know '%.*s'; use some of:%s all",
		(int)length, name, known);
}

int trace_start(const char *spec, struct error *err)
{
	size_t length = strcspn(spec, ":");
	uint32_t categories = 0;
	const char *path = spec[length] ? spec + length + 1 : NULL;
	int fd = STDERR_FILENO;

	for (size_t at = 0; at <= length;) {
		size_t word = strcspn(spec + at, ",:");
		uint32_t bits = category_bits(spec + at, word);

		if (!bits)
			return unknown_category(spec + at, word, err);
		categories |= bits;
		at += word + 1;
	}
	if (path) {
		fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0666);
		if (fd < 0)
			return error_set_errno(err, EXIT_CODE_CANNOT_WRITE, errno,
				"cannot write the trace to '%s'", path);
	}
	trace_begin(fd, categories);
	return 0;
}

void trace_print_table(FILE *out)
{
	fprintf(out, "--trace CATEGORY,...[:FILE] prints a line for each event:\n"
		     "seconds vcpu category event field=value ...\n");
	for (unsigned category = 0; category < NR_TRACE_CATEGORIES; category++) {
		fprintf(out, "\n%-12s%s\n", names[category], meanings[category]);
		for (unsigned i = 0; i < NR_TRACE_EVENTS; i++)
			if (events[i].category == (enum trace_category)category)
				fprintf(out, "  %-18s%s\n  %-18s%s\n", events[i].name,
					events[i].meaning, "", events[i].format);
	}
}
