/*
 * The lines of the control protocol (docs/control-protocol.md): one JSON object each.
 *
 *	first         {"protocol": 1, "name": "web"}
 *	to the VM     {"id": 7, "command": "stop", "arguments": {}}
 *	from the VM   {"id": 7, "result": {}}
 *	              {"id": 7, "error": {"code": "unknown-command", "message": "...", "exit_code":
 *64}}
 *	              {"event": "paused", "time_ms": 1500, "data": {}}
 *
 * Both ends use these, and neither trusts the other.
 */
#ifndef BUNDLE_CONTROL_MESSAGE_H
#define BUNDLE_CONTROL_MESSAGE_H

#include "base/error.h"

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#define CONTROL_PROTOCOL_VERSION  1
#define CONTROL_MAX_REQUEST_BYTES 65536 /* a line to the VM, with its newline */
#define CONTROL_MAX_ANSWER_BYTES  (1 << 20)

/* Why a request was not done, for programs; `message` is for people. */
#define CONTROL_BAD_REQUEST     "bad-request"     /* no JSON object, or not of this form */
#define CONTROL_UNKNOWN_COMMAND "unknown-command" /* of a later version, or mistyped */
#define CONTROL_BAD_ARGUMENT    "bad-argument"
#define CONTROL_FAILED          "failed" /* understood, and could not be done */

struct control_request {
	int64_t id; /* the client's; 0 if it gave none */
	const char *command;
	const json_t *arguments; /* an object; NULL if there is none */
	json_t *message;         /* what the others point into */
};

/*
 * Parses one line, without its newline. On failure `id` is what could be read of it, `err` holds
 * the sentence, and nothing is left to finish.
 */
int control_request_parse(
	struct control_request *request, const char *line, size_t size, struct error *err);
void control_request_finish(struct control_request *request);

/* These make a line with its newline, to be freed; NULL if memory ran out. They steal `json`. */
char *control_hello_line(const char *vm_name);
char *control_result_line(int64_t id, json_t *result);
char *control_error_line(int64_t id, const char *code, const struct error *err);
char *control_event_line(const char *event, int64_t time_ms, json_t *data);
char *control_request_line(int64_t id, const char *command, json_t *arguments);

#endif
