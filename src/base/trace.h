/*
 * Tracing: `atoll run --trace`. Events are lines of the table in trace_table.h; a line of output is
 *
 *	seconds vcpu category event field=value ...
 *
 * with "-" for threads that are no vCPU's. Each line is one write, so lines of several threads do
 * not mix and the last ones before a crash are there. An event whose category is off costs a load
 * and a branch. Any thread; also while a guest's vector registers are live in the host's.
 */
#ifndef BASE_TRACE_H
#define BASE_TRACE_H

#include "base/bits.h"
#include "base/error.h"
#include "base/trace_table.h"

#include <stdio.h>

#define TRACE_CATEGORY_NUMBER(name, meaning) TRACE_CATEGORY_##name,
enum trace_category { TRACE_CATEGORIES(TRACE_CATEGORY_NUMBER) NR_TRACE_CATEGORIES };

#define TRACE_EVENT_NUMBER(category, name, ...) TRACE_##name,
enum trace_event { TRACE_EVENTS(TRACE_EVENT_NUMBER) NR_TRACE_EVENTS };

#define TRACE_EVENT_CATEGORY(category, name, ...)                                                  \
	TRACE_CATEGORY_OF_##name = TRACE_CATEGORY_##category,
#define TRACE_EVENT_FIELDS(category, name, count, ...) TRACE_FIELDS_OF_##name = (count),
enum { TRACE_EVENTS(TRACE_EVENT_CATEGORY) };
enum { TRACE_EVENTS(TRACE_EVENT_FIELDS) };

/* A bit for each category that is on. Written by trace_start only, before threads are. */
extern uint32_t trace_enabled;

#define trace_is_on(category) (__builtin_expect(trace_enabled & BIT(category), 0))

/* trace(port_read, trace_text("com1"), 0x3f8, 1, value): as many fields as the table says. */
#define trace(event, ...)                                                                          \
	do {                                                                                       \
		if (trace_is_on(TRACE_CATEGORY_OF_##event)) {                                      \
			const uint64_t fields_[] = { __VA_ARGS__ };                                \
			_Static_assert(ARRAY_SIZE(fields_) == TRACE_FIELDS_OF_##event,             \
				"not the table's number of fields");                               \
			trace_record(TRACE_##event, fields_);                                      \
		}                                                                                  \
	} while (0)

/* A text as a field; NULL prints as "-". It is read before trace returns. */
static inline uint64_t trace_text(const char *text)
{
	return (uintptr_t)text;
}

void trace_record(enum trace_event event, const uint64_t *fields);

/* The number that this thread's lines have from now on. */
void trace_set_vcpu(unsigned index);

/* From now on, the categories' events are written to `fd`. */
void trace_begin(int fd, uint32_t categories);

/*
 * Turns categories on: "CATEGORY,...[:FILE]", where "all" is every one, and lines go to stderr
 * unless a file is named, which is replaced. Returns 0 or fills `err`.
 */
int trace_start(const char *spec, struct error *err);

/* The table, for `--trace help`. */
void trace_print_table(FILE *out);

#endif
