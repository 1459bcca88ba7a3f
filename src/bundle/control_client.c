#include "bundle/control_client.h"

#include "base/host_time.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Takes the first whole line out of the buffer; NULL if there is none, or it is no object. */
static json_t *take_line(struct control_client *client)
{
	for (;;) {
		char *newline = memchr(client->buffer, '\n', client->buffered);
		size_t size;
		json_t *message;

		if (!newline)
			return NULL;
		size = (size_t)(newline - client->buffer) + 1;
		message = json_loadb(client->buffer, size, 0, NULL);
		client->buffered -= size;
		memmove(client->buffer, client->buffer + size, client->buffered);
		if (json_is_object(message))
			return message;
		json_decref(message);
	}
}

/* Returns 1 and a message, 0 at the deadline, -EPIPE when the connection has ended. */
static int receive(struct control_client *client, ns_t deadline_ns, json_t **message)
{
	for (;;) {
		struct pollfd readable = { .fd = client->fd, .events = POLLIN };
		ns_t left_ns = deadline_ns - host_now();
		ssize_t count;

		*message = take_line(client);
		if (*message)
			return 1;
		if (client->buffered == CONTROL_MAX_ANSWER_BYTES)
			return -EPIPE;
		if (poll(&readable, 1, left_ns > 0 ? (int)(left_ns / NS_PER_MS) + 1 : 0) == 0)
			return 0;
		count = read(client->fd, client->buffer + client->buffered,
			CONTROL_MAX_ANSWER_BYTES - client->buffered);
		if (count < 0 && errno == EINTR)
			continue;
		if (count <= 0)
			return -EPIPE;
		client->buffered += (size_t)count;
	}
}

static int no_answer(const struct control_client *client, struct error *err)
{
	return error_set(err, EXIT_CODE_UNAVAILABLE,
		"the VM '%s' does not answer; 'atoll kill %s' ends its process", client->vm_name,
		client->vm_name);
}

int control_connect(struct control_client *client, const struct bundle *bundle, ns_t timeout_ns,
	struct error *err)
{
	json_t *greeting;

	*client = (struct control_client){
		.fd = -1, .vm_name = bundle->name, .timeout_ns = timeout_ns
	};
	if (!bundle_is_running(bundle, NULL))
		return error_set(err, EXIT_CODE_CONFIG,
			"the VM '%s' is not running; 'atoll start %s' starts it", bundle->name,
			bundle->name);
	client->fd = bundle_connect(bundle, BUNDLE_CONTROL);
	if (client->fd < 0)
		return error_set_errno(err, EXIT_CODE_UNAVAILABLE, -client->fd,
			"the VM '%s' cannot be reached; it may just be starting or ending",
			bundle->name);
	client->buffer = malloc(CONTROL_MAX_ANSWER_BYTES);
	if (!client->buffer) {
		control_disconnect(client);
		return error_set(err, EXIT_CODE_HOST, "out of memory");
	}
	if (receive(client, host_now() + timeout_ns, &greeting) <= 0) {
		control_disconnect(client);
		return no_answer(client, err);
	}
	if (json_integer_value(json_object_get(greeting, "protocol")) != CONTROL_PROTOCOL_VERSION) {
		json_decref(greeting);
		control_disconnect(client);
		return error_set(err, EXIT_CODE_UNAVAILABLE,
			"the VM '%s' was started by another version of atoll, whose control "
			"protocol this one does not speak",
			bundle->name);
	}
	json_decref(greeting);
	return 0;
}

void control_disconnect(struct control_client *client)
{
	if (client->fd >= 0)
		close(client->fd);
	free(client->buffer);
	client->fd = -1;
	client->buffer = NULL;
}

static int send_all(int fd, const char *bytes, size_t size)
{
	while (size > 0) {
		ssize_t count = send(fd, bytes, size, MSG_NOSIGNAL);

		if (count < 0 && errno == EINTR)
			continue;
		if (count <= 0)
			return -EPIPE;
		bytes += count;
		size -= (size_t)count;
	}
	return 0;
}

/* What the VM says of why it did not do it. */
static int refused(const json_t *answer, struct error *err)
{
	const json_t *error = json_object_get(answer, "error");
	const char *text = json_string_value(json_object_get(error, "message"));
	json_int_t code = json_integer_value(json_object_get(error, "exit_code"));

	return error_set(err, code > 0 && code < 256 ? (enum exit_code)code : EXIT_CODE_INTERNAL,
		"%s", text ? text : "the VM refused, and did not say why");
}

int control_call(struct control_client *client, const char *command, json_t *arguments,
	json_t **result, struct error *err)
{
	int64_t id = ++client->last_id;
	char *line = control_request_line(id, command, arguments);
	ns_t deadline_ns = host_now() + client->timeout_ns;
	int sent = line ? send_all(client->fd, line, strlen(line)) : -ENOMEM;

	free(line);
	if (result)
		*result = NULL;
	if (sent)
		return no_answer(client, err);
	for (;;) {
		json_t *answer, *value;
		int failed;

		if (receive(client, deadline_ns, &answer) <= 0)
			return no_answer(client, err);
		value = json_object_get(answer, "result");
		/* An event in between, or an answer to nothing. */
		if (json_integer_value(json_object_get(answer, "id")) != id) {
			json_decref(answer);
			continue;
		}
		failed = value ? 0 : refused(answer, err);
		if (!failed && result)
			*result = json_incref(value);
		json_decref(answer);
		return failed;
	}
}

int control_wait_event(struct control_client *client, ns_t timeout_ns, json_t **event)
{
	ns_t deadline_ns = host_now() + timeout_ns;

	for (;;) {
		int got = receive(client, deadline_ns, event);

		if (got <= 0 || json_object_get(*event, "event"))
			return got;
		json_decref(*event);
	}
}
