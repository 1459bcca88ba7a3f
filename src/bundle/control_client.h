/*
 * The client's end of a VM's control socket: one request at a time, each with a time limit, and
 * events in between.
 */
#ifndef BUNDLE_CONTROL_CLIENT_H
#define BUNDLE_CONTROL_CLIENT_H

#include "base/types.h"
#include "bundle/bundle.h"
#include "bundle/control_message.h"

struct control_client {
	int fd; /* -1: not connected */
	const char *vm_name;
	int64_t last_id;
	ns_t timeout_ns; /* of an answer */
	char *buffer;    /* CONTROL_MAX_ANSWER_BYTES */
	size_t buffered;
};

#define CONTROL_PATIENCE_NS (20 * NS_PER_S) /* for a VM that somebody needs an answer of */

/*
 * Connects to a VM that runs, and checks the greeting. Whoever does not answer for `timeout_ns`,
 * now or later, is taken for stuck.
 */
int control_connect(struct control_client *client, const struct bundle *bundle, ns_t timeout_ns,
	struct error *err);
void control_disconnect(struct control_client *client);

/*
 * Sends a command and waits for its answer. Steals `arguments`, which may be NULL. `*result` (may
 * be NULL) is the caller's. An error of the VM becomes `err`, with its exit code.
 */
int control_call(struct control_client *client, const char *command, json_t *arguments,
	json_t **result, struct error *err);

/*
 * Waits up to `timeout_ns` for the next event. Returns 1 and the message, 0 after the time, or
 * -EPIPE when the VM's process has ended.
 */
int control_wait_event(struct control_client *client, ns_t timeout_ns, json_t **event);

#endif
