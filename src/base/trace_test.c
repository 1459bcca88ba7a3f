/*
 * Tracing: what is printed of an event, and what --trace may be given.
 */
#include "base/trace.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FORMAT(category, name, count, format, meaning) { count, format },
static const struct {
	unsigned count;
	const char *format;
} formats[] = { TRACE_EVENTS(FORMAT) };

/* Each field is "name=%conversion", and there are as many as the table says. */
static void test_formats(void **state)
{
	(void)state;
	for (unsigned i = 0; i < NR_TRACE_EVENTS; i++) {
		unsigned count = 0;

		for (const char *at = formats[i].format; (at = strchr(at, '%')); at += 2) {
			assert_true(at > formats[i].format && at[-1] == '=');
			assert_non_null(strchr("xus", at[1]));
			count++;
		}
		assert_int_equal(count, formats[i].count);
	}
}

struct traced {
	char text[4096];
	int fd;
};

static void start(struct traced *traced, const char *categories)
{
	char path[] = "/tmp/atoll-trace-XXXXXX", spec[64];
	struct error err = { 0 };

	traced->fd = mkstemp(path);
	assert_true(traced->fd >= 0);
	snprintf(spec, sizeof(spec), "%s:%s", categories, path);
	assert_int_equal(trace_start(spec, &err), 0);
	unlink(path);
}

static const char *finish(struct traced *traced)
{
	ssize_t length = pread(traced->fd, traced->text, sizeof(traced->text) - 1, 0);

	trace_enabled = 0;
	close(traced->fd);
	assert_true(length >= 0);
	traced->text[length] = '\0';
	return traced->text;
}

static void test_line(void **state)
{
	struct traced traced;
	const char *text;

	(void)state;
	start(&traced, "io,faults");
	trace(port_read, trace_text("com1"), 0x3fd, 1, 0);
	trace_set_vcpu(3);
	trace(fault, 14, 2, UINT64_MAX, 0xffff888000000000);
	trace(port_write, trace_text(NULL), 0x80, 4, 0xabc);
	trace(tlb_flush, 1);
	text = finish(&traced);
	assert_non_null(strstr(text, " - io port_read device=com1 port=0x3fd size=1 value=0x0\n"));
	assert_non_null(strstr(text, " 3 faults fault vector=14 error=0x2 rip=0xffffffffffffffff "
				     "cr2=0xffff888000000000\n"));
	assert_non_null(strstr(text, " 3 io port_write device=- port=0x80 size=4 value=0xabc\n"));
	assert_null(strstr(text, "tlb"));
}

/* A text that is too long, or of several lines, is still one line. */
static void test_text_stays_one_line(void **state)
{
	struct traced traced;
	char text[2000];
	const char *lines;

	(void)state;
	memset(text, 'x', sizeof(text));
	text[10] = '\n';
	text[sizeof(text) - 1] = '\0';
	start(&traced, "guest");
	trace(guest_error, trace_text(text));
	lines = finish(&traced);
	assert_ptr_equal(strchr(lines, '\n'), lines + strlen(lines) - 1);
	assert_true(strlen(lines) <= 512);
}

static void test_off_records_nothing(void **state)
{
	struct traced traced;

	(void)state;
	start(&traced, "guest");
	trace_enabled = 0;
	trace(guest_error, trace_text("nothing"));
	assert_string_equal(finish(&traced), "");
}

static void assert_mistake(const char *spec, int exit_code, const char *part)
{
	struct error err = { 0 };

	assert_true(trace_start(spec, &err) < 0);
	assert_int_equal(err.exit_code, exit_code);
	assert_non_null(strstr(err.text, part));
	assert_int_equal(trace_enabled, 0);
}

static void test_mistakes(void **state)
{
	(void)state;
	assert_mistake("io,nonsense", EXIT_CODE_USAGE, "'nonsense'");
	assert_mistake("", EXIT_CODE_USAGE, "exits");
	assert_mistake("io,", EXIT_CODE_USAGE, "''");
	assert_mistake(":file", EXIT_CODE_USAGE, "''");
	assert_mistake("io:/nowhere/at/all", EXIT_CODE_CANNOT_WRITE, "/nowhere/at/all");
}

static void test_all(void **state)
{
	struct error err = { 0 };
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);

	(void)state;
	assert_int_equal(trace_start("all:/dev/null", &err), 0);
	assert_int_equal(trace_enabled, BITS(NR_TRACE_CATEGORIES - 1, 0));
	trace_enabled = 0;
	trace_print_table(out);
	fclose(out);
	assert_non_null(strstr(text, "port_read"));
	assert_non_null(strstr(text, "interrupts"));
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_formats),
		cmocka_unit_test(test_line),
		cmocka_unit_test(test_text_stays_one_line),
		cmocka_unit_test(test_off_records_nothing),
		cmocka_unit_test(test_mistakes),
		cmocka_unit_test(test_all),
	};

	return cmocka_run_group_tests_name("trace", tests, NULL, NULL);
}
