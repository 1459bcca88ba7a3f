/*
 * What an event's line is made of. This file is compiled without vector registers and calls nothing
 * of the C library's but system calls: events happen while the guest's registers are in the host's.
 */
#include "base/trace.h"

#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define LINE_SIZE 512
#define NO_VCPU   (~0u)

struct trace_row {
	const char *category, *name, *format;
};

#define EVENT_ROW(category, name, count, format, meaning) { #category, #name, format },
static const struct trace_row rows[] = { TRACE_EVENTS(EVENT_ROW) };

uint32_t trace_enabled;

static int trace_fd = STDERR_FILENO;
static struct timespec trace_origin;
static __thread unsigned trace_vcpu = NO_VCPU;

struct line {
	char bytes[LINE_SIZE];
	unsigned length;
};

/* The last two bytes are kept for the end of the line. */
static void put(struct line *line, char c)
{
	if (line->length < LINE_SIZE - 2)
		line->bytes[line->length++] = c;
}

static void put_text(struct line *line, const char *text)
{
	for (text = text ? text : "-"; *text; text++)
		put(line, *text == '\n' || *text == '\r' ? ' ' : *text);
}

static void put_number(struct line *line, uint64_t value, unsigned base, unsigned fewest_digits)
{
	char digits[20];
	unsigned count = 0;

	do {
		digits[count++] = "0123456789abcdef"[value % base];
		value /= base;
	} while (value || count < fewest_digits);
	while (count > 0)
		put(line, digits[--count]);
}

static void put_field(struct line *line, char conversion, uint64_t value)
{
	switch (conversion) {
	case 'x':
		put_text(line, "0x");
		put_number(line, value, 16, 1);
		break;
	case 's': put_text(line, (const char *)(uintptr_t)value); break;
	default: put_number(line, value, 10, 1);
	}
}

static void put_fields(struct line *line, const char *format, const uint64_t *fields)
{
	for (; *format; format++) {
		if (*format == '%')
			put_field(line, *++format, *fields++);
		else
			put(line, *format);
	}
}

/* Without the C library's, which may use vector registers. */
static void read_clock(struct timespec *now)
{
	syscall(SYS_clock_gettime, CLOCK_MONOTONIC, now);
}

static void put_time(struct line *line)
{
	struct timespec now;
	uint64_t us;

	read_clock(&now);
	us = (uint64_t)(now.tv_sec - trace_origin.tv_sec) * 1000000 + now.tv_nsec / 1000 -
	     trace_origin.tv_nsec / 1000;
	put_number(line, us / 1000000, 10, 1);
	put(line, '.');
	put_number(line, us % 1000000, 10, 6);
}

void trace_record(enum trace_event event, const uint64_t *fields)
{
	const struct trace_row *row = &rows[event];
	struct line line;

	line.length = 0;
	put_time(&line);
	put(&line, ' ');
	if (trace_vcpu == NO_VCPU)
		put(&line, '-');
	else
		put_number(&line, trace_vcpu, 10, 1);
	put(&line, ' ');
	put_text(&line, row->category);
	put(&line, ' ');
	put_text(&line, row->name);
	put(&line, ' ');
	put_fields(&line, row->format, fields);
	/* As log.c: the guest's console may have the terminal in raw mode. */
	if (trace_fd == STDERR_FILENO)
		line.bytes[line.length++] = '\r';
	line.bytes[line.length++] = '\n';
	if (syscall(SYS_write, trace_fd, line.bytes, (size_t)line.length) < 0)
		trace_enabled = 0; /* nobody reads it */
}

void trace_set_vcpu(unsigned index)
{
	trace_vcpu = index;
}

void trace_begin(int fd, uint32_t categories)
{
	trace_fd = fd;
	read_clock(&trace_origin);
	trace_enabled = categories;
}
