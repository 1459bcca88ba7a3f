#include "vmm/control.h"

#include "base/host_time.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* With more than this unread, a client's further requests wait. */
#define OUT_PATIENCE_BYTES (64 << 10)

static void connection_close(struct control_connection *connection)
{
	if (connection->fd < 0)
		return;
	loop_remove(connection->control->loop, connection->fd);
	close(connection->fd);
	free(connection->in);
	free(connection->out);
	*connection = (struct control_connection){ .control = connection->control, .fd = -1 };
}

/* Sends what the client takes now, and sets what its descriptor is watched for. */
static void connection_flush(struct control_connection *connection)
{
	unsigned events = 0;

	while (connection->out_size > 0) {
		ssize_t count = send(connection->fd, connection->out, connection->out_size,
			MSG_NOSIGNAL | MSG_DONTWAIT);

		if (count < 0 && errno == EINTR)
			continue;
		if (count < 0 && errno != EAGAIN) {
			connection_close(connection);
			return;
		}
		if (count < 0)
			break;
		connection->out_size -= (size_t)count;
		memmove(connection->out, connection->out + count, connection->out_size);
	}
	if (connection->ending && connection->out_size == 0) {
		connection_close(connection);
		return;
	}
	if (connection->out_size > 0)
		events |= LOOP_WRITE;
	if (connection->out_size < OUT_PATIENCE_BYTES && !connection->ending)
		events |= LOOP_READ;
	loop_change(connection->control->loop, connection->fd, events);
}

/* Queues a line, which it frees; a client that leaves too much unread is cut off. */
static void connection_send(struct control_connection *connection, char *line)
{
	size_t size = line ? strlen(line) : 0;

	if (!line || connection->out_size + size > CONTROL_MAX_QUEUED_BYTES + OUT_PATIENCE_BYTES) {
		free(line);
		connection_close(connection);
		return;
	}
	if (connection->out_size + size > connection->out_room) {
		size_t room = connection->out_size + size + 4096;
		char *grown = realloc(connection->out, room);

		if (!grown) {
			free(line);
			connection_close(connection);
			return;
		}
		connection->out = grown;
		connection->out_room = room;
	}
	memcpy(connection->out + connection->out_size, line, size);
	connection->out_size += size;
	free(line);
}

static const struct control_command *find_command(const struct control *control, const char *name)
{
	for (const struct control_command *command = control->commands; command->name; command++)
		if (strcmp(command->name, name) == 0)
			return command;
	return NULL;
}

static json_t *command_names(const struct control *control)
{
	json_t *names = json_pack("[s, s]", "commands", "subscribe");

	for (const struct control_command *command = control->commands; command->name; command++)
		json_array_append_new(names, json_string(command->name));
	return json_pack("{s:o}", "commands", names);
}

static void connection_request(struct control_connection *connection, const char *line, size_t size)
{
	const struct control *control = connection->control;
	const struct control_command *command;
	struct control_request request;
	struct error err = { 0 };
	json_t *result = NULL;
	const char *code = NULL;

	if (control_request_parse(&request, line, size, &err)) {
		connection_send(
			connection, control_error_line(request.id, CONTROL_BAD_REQUEST, &err));
		return;
	}
	command = find_command(control, request.command);
	if (strcmp(request.command, "commands") == 0) {
		result = command_names(control);
	} else if (strcmp(request.command, "subscribe") == 0) {
		connection->subscribed = true;
	} else if (!command) {
		code = CONTROL_UNKNOWN_COMMAND;
		error_set(&err, EXIT_CODE_USAGE,
			"there is no command '%.80s'; 'commands' lists them", request.command);
	} else if (command->run(control->context, request.arguments, &result, &err)) {
		code = err.exit_code == EXIT_CODE_USAGE ? CONTROL_BAD_ARGUMENT : CONTROL_FAILED;
	}
	if (code)
		json_decref(result);
	connection_send(connection, code ? control_error_line(request.id, code, &err)
					 : control_result_line(request.id, result));
	control_request_finish(&request);
}

/* Does the whole lines that have come, as long as the client reads what it is told. */
static void connection_serve(struct control_connection *connection)
{
	while (connection->fd >= 0 && connection->out_size < OUT_PATIENCE_BYTES &&
		!connection->ending) {
		char *newline = memchr(connection->in, '\n', connection->in_size);
		size_t size;

		if (!newline)
			break;
		size = (size_t)(newline - connection->in);
		connection_request(connection, connection->in, size);
		if (connection->fd < 0)
			return;
		connection->in_size -= size + 1;
		memmove(connection->in, newline + 1, connection->in_size);
	}
	if (connection->fd >= 0 && connection->in_size == CONTROL_MAX_REQUEST_BYTES &&
		!memchr(connection->in, '\n', connection->in_size)) {
		struct error err = { 0 };

		error_set(&err, EXIT_CODE_USAGE, "a line has %d bytes at most",
			CONTROL_MAX_REQUEST_BYTES);
		connection->ending = true;
		connection_send(connection, control_error_line(0, CONTROL_BAD_REQUEST, &err));
	}
	if (connection->fd >= 0)
		connection_flush(connection);
}

static void connection_ready(void *context, unsigned events)
{
	struct control_connection *connection = context;
	ssize_t count;

	if (events & LOOP_WRITE) {
		connection_flush(connection);
		if (connection->fd < 0)
			return;
	}
	if (events & LOOP_READ && connection->in_size < CONTROL_MAX_REQUEST_BYTES) {
		count = read(connection->fd, connection->in + connection->in_size,
			CONTROL_MAX_REQUEST_BYTES - connection->in_size);
		if (count == 0 || (count < 0 && errno != EINTR && errno != EAGAIN)) {
			connection_close(connection);
			return;
		}
		if (count > 0)
			connection->in_size += (size_t)count;
	}
	connection_serve(connection);
}

static void control_accept(void *context, unsigned events)
{
	struct control *control = context;
	struct control_connection *connection = NULL;
	int fd = bundle_accept(control->listen_fd);

	(void)events;
	if (fd < 0)
		return;
	for (unsigned i = 0; i < CONTROL_MAX_CLIENTS && !connection; i++)
		if (control->connections[i].fd < 0)
			connection = &control->connections[i];
	if (!connection) {
		close(fd);
		return;
	}
	connection->in = malloc(CONTROL_MAX_REQUEST_BYTES);
	if (!connection->in ||
		loop_add(control->loop, fd, LOOP_READ, connection_ready, connection)) {
		free(connection->in);
		connection->in = NULL;
		close(fd);
		return;
	}
	connection->fd = fd;
	connection_send(connection, control_hello_line(control->bundle->name));
	if (connection->fd >= 0)
		connection_flush(connection);
}

int control_open(struct control *control, const struct bundle *bundle, struct loop *loop,
	const struct control_command *commands, void *context, struct error *err)
{
	int result;

	*control = (struct control){
		.loop = loop,
		.bundle = bundle,
		.commands = commands,
		.context = context,
		.started_ns = host_now(),
	};
	for (unsigned i = 0; i < CONTROL_MAX_CLIENTS; i++)
		control->connections[i] =
			(struct control_connection){ .control = control, .fd = -1 };
	control->listen_fd = bundle_listen(bundle, BUNDLE_CONTROL);
	if (control->listen_fd < 0)
		return error_set_errno(err, EXIT_CODE_CANNOT_WRITE, -control->listen_fd,
			"cannot listen on %s/" BUNDLE_CONTROL, bundle->path);
	result = loop_add(loop, control->listen_fd, LOOP_READ, control_accept, control);
	if (result)
		return error_set_errno(
			err, EXIT_CODE_HOST, -result, "cannot watch " BUNDLE_CONTROL);
	return 0;
}

void control_close(struct control *control)
{
	if (!control->bundle)
		return;
	for (unsigned i = 0; i < CONTROL_MAX_CLIENTS; i++) {
		struct control_connection *connection = &control->connections[i];

		if (connection->fd >= 0)
			connection_flush(connection);
		connection_close(connection);
	}
	if (control->listen_fd >= 0) {
		loop_remove(control->loop, control->listen_fd);
		close(control->listen_fd);
		unlinkat(control->bundle->dir_fd, BUNDLE_CONTROL, 0);
	}
	control->bundle = NULL;
}

void control_event(struct control *control, const char *event, json_t *data)
{
	ns_t time_ns = host_now() - control->started_ns;

	if (!control->bundle) {
		json_decref(data);
		return;
	}
	for (unsigned i = 0; i < CONTROL_MAX_CLIENTS; i++) {
		struct control_connection *connection = &control->connections[i];

		if (connection->fd < 0 || !connection->subscribed)
			continue;
		connection_send(connection,
			control_event_line(event, time_ns / NS_PER_MS, json_incref(data)));
		if (connection->fd >= 0)
			connection_flush(connection);
	}
	json_decref(data);
}
