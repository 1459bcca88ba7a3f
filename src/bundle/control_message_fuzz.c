/*
 * Fuzz target: arbitrary bytes as a line to a VM's control socket. What is accepted has the form of
 * a request, and every answer is one line.
 */
#include "bundle/control_message.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void check_line(char *line)
{
	if (!line || strchr(line, '\n') != line + strlen(line) - 1)
		abort();
	free(line);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	struct control_request request;
	struct error err = { 0 };

	if (control_request_parse(&request, (const char *)bytes, size, &err)) {
		if (!err.exit_code || request.message)
			abort();
		check_line(control_error_line(request.id, CONTROL_BAD_REQUEST, &err));
		return 0;
	}
	if (!request.command || (request.arguments && !json_is_object(request.arguments)))
		abort();
	error_set(&err, EXIT_CODE_USAGE, "there is no command '%.80s'", request.command);
	check_line(control_error_line(request.id, CONTROL_UNKNOWN_COMMAND, &err));
	check_line(control_result_line(request.id, json_deep_copy(request.arguments)));
	control_request_finish(&request);
	return 0;
}
