#include "bundle/control_message.h"

#include <stdlib.h>
#include <string.h>

int control_request_parse(
	struct control_request *request, const char *line, size_t size, struct error *err)
{
	json_error_t json_error;
	json_t *command, *arguments, *id;

	*request = (struct control_request){ 0 };
	request->message = json_loadb(line, size, JSON_REJECT_DUPLICATES, &json_error);
	if (!json_is_object(request->message)) {
		error_set(err, EXIT_CODE_USAGE,
			"this line is no JSON object; send {\"id\": 1, \"command\": \"status\"}");
		goto fail;
	}
	id = json_object_get(request->message, "id");
	if (json_is_integer(id))
		request->id = json_integer_value(id);
	command = json_object_get(request->message, "command");
	arguments = json_object_get(request->message, "arguments");
	if ((id && !json_is_integer(id)) || !json_is_string(command) ||
		(arguments && !json_is_object(arguments))) {
		error_set(err, EXIT_CODE_USAGE,
			"a request has a number 'id', a text 'command' and an object 'arguments'");
		goto fail;
	}
	for (void *at = json_object_iter(request->message); at;
		at = json_object_iter_next(request->message, at)) {
		const char *key = json_object_iter_key(at);

		if (strcmp(key, "id") != 0 && strcmp(key, "command") != 0 &&
			strcmp(key, "arguments") != 0) {
			error_set(err, EXIT_CODE_USAGE, "a request has no '%.80s'", key);
			goto fail;
		}
	}
	request->command = json_string_value(command);
	request->arguments = arguments;
	return 0;
fail:
	control_request_finish(request);
	return -1;
}

void control_request_finish(struct control_request *request)
{
	int64_t id = request->id;

	json_decref(request->message);
	*request = (struct control_request){ .id = id };
}

/* Takes the reference to `message`, which may be NULL. */
static char *control_line(json_t *message)
{
	char *text = message ? json_dumps(message, JSON_COMPACT) : NULL;
	size_t length = text ? strlen(text) : 0;
	char *line = text ? realloc(text, length + 2) : NULL;

	json_decref(message);
	if (!line) {
		free(text);
		return NULL;
	}
	memcpy(line + length, "\n", 2);
	return line;
}

char *control_hello_line(const char *vm_name)
{
	return control_line(
		json_pack("{s:i, s:s}", "protocol", CONTROL_PROTOCOL_VERSION, "name", vm_name));
}

char *control_result_line(int64_t id, json_t *result)
{
	return control_line(json_pack(
		"{s:I, s:o}", "id", (json_int_t)id, "result", result ? result : json_object()));
}

char *control_error_line(int64_t id, const char *code, const struct error *err)
{
	/* A sentence may quote bytes that are no UTF-8. */
	json_t *message = json_string(err->text);

	if (!message)
		message = json_string("the sentence that tells why cannot be written in JSON");
	return control_line(json_pack("{s:I, s:{s:s, s:o, s:i}}", "id", (json_int_t)id, "error",
		"code", code, "message", message, "exit_code", (int)err->exit_code));
}

char *control_event_line(const char *event, int64_t time_ms, json_t *data)
{
	return control_line(json_pack("{s:s, s:I, s:o}", "event", event, "time_ms",
		(json_int_t)time_ms, "data", data ? data : json_object()));
}

char *control_request_line(int64_t id, const char *command, json_t *arguments)
{
	return control_line(json_pack("{s:I, s:s, s:o}", "id", (json_int_t)id, "command", command,
		"arguments", arguments ? arguments : json_object()));
}
