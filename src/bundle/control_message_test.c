/*
 * Lines of the control protocol: what is a request, and what the answers look like.
 */
#include "bundle/control_message.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int parse(struct control_request *request, const char *line, struct error *err)
{
	*err = (struct error){ 0 };
	return control_request_parse(request, line, strlen(line), err);
}

static void test_requests(void **state)
{
	struct control_request request;
	struct error err;

	(void)state;
	assert_int_equal(parse(&request, "{\"command\": \"status\"}", &err), 0);
	assert_int_equal(request.id, 0);
	assert_string_equal(request.command, "status");
	assert_null(request.arguments);
	control_request_finish(&request);

	assert_int_equal(
		parse(&request, "{\"id\":-7,\"command\":\"stop\",\"arguments\":{\"a\":[1]}}", &err),
		0);
	assert_int_equal(request.id, -7);
	assert_non_null(json_object_get(request.arguments, "a"));
	control_request_finish(&request);
}

static void test_bad_requests(void **state)
{
	static const char *const lines[] = { "", "x", "[]", "1", "{}", "{\"id\":1}",
		"{\"id\":1,\"command\":2}", "{\"id\":\"1\",\"command\":\"a\"}",
		"{\"id\":1,\"command\":\"a\",\"arguments\":[]}",
		"{\"id\":1,\"command\":\"a\",\"command\":\"b\"}",
		"{\"id\":1,\"command\":\"a\",\"more\":0}", "{\"command\":\"a\"} {}",
		"{\"command\":\"\xff\"}" };

	(void)state;
	for (unsigned i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		struct control_request request;
		struct error err;

		if (parse(&request, lines[i], &err) == 0)
			fail_msg("%s", lines[i]);
		assert_int_equal(err.exit_code, EXIT_CODE_USAGE);
		assert_null(request.message);
	}
}

/* Deeper than a stack would take. */
static void test_depth(void **state)
{
	struct control_request request;
	struct error err = { 0 };
	char *line = malloc(60000);

	(void)state;
	memset(line, '[', 60000);
	assert_int_not_equal(control_request_parse(&request, line, 60000, &err), 0);
	free(line);
}

static void assert_line(char *line, const char *expected)
{
	assert_non_null(line);
	assert_string_equal(line, expected);
	free(line);
}

static void test_lines(void **state)
{
	struct error err = { 0 };

	(void)state;
	error_set(&err, EXIT_CODE_USAGE, "no\nnewline");
	assert_line(control_result_line(3, NULL), "{\"id\":3,\"result\":{}}\n");
	assert_line(control_result_line(3, json_pack("{s:i}", "a", 1)),
		"{\"id\":3,\"result\":{\"a\":1}}\n");
	assert_line(control_error_line(0, CONTROL_BAD_REQUEST, &err),
		"{\"id\":0,\"error\":{\"code\":\"bad-request\",\"message\":\"no\\nnewline\","
		"\"exit_code\":64}}\n");
	assert_line(control_event_line("paused", 15, NULL),
		"{\"event\":\"paused\",\"time_ms\":15,\"data\":{}}\n");
	assert_line(control_request_line(1, "status", NULL),
		"{\"id\":1,\"command\":\"status\",\"arguments\":{}}\n");
	err = (struct error){ 0 };
	error_set(&err, EXIT_CODE_USAGE, "\xff");
	free(control_error_line(0, CONTROL_BAD_REQUEST, &err));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_requests),
		cmocka_unit_test(test_bad_requests),
		cmocka_unit_test(test_depth),
		cmocka_unit_test(test_lines),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
