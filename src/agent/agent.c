#include "agent/agent.h"

#include "base/host_time.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ANSWER_TIMEOUT_NS (30 * NS_PER_S)
#define SYNC_TIMEOUT_NS   (5 * NS_PER_S)
#define DELIMITER         0xff /* no byte of UTF-8 */

static int no_answer(const struct agent *agent, struct error *err)
{
	return error_set(err, EXIT_CODE_UNAVAILABLE,
		"the guest agent of the VM '%s' does not answer; is qemu-guest-agent installed and "
		"running in the guest?",
		agent->vm_name);
}

static int wrong_answer(const struct agent *agent, const char *command, struct error *err)
{
	return error_set(err, EXIT_CODE_UNAVAILABLE,
		"the guest agent of the VM '%s' answers '%s' with something else", agent->vm_name,
		command);
}

static int wait_ready(int fd, short events, ns_t deadline_ns)
{
	for (;;) {
		struct pollfd ready = { .fd = fd, .events = events };
		ns_t left_ns = deadline_ns - host_now();
		int count = poll(&ready, 1, left_ns > 0 ? (int)(left_ns / NS_PER_MS) + 1 : 0);

		if (count > 0)
			return 0;
		if (count == 0)
			return -ETIMEDOUT;
		if (errno != EINTR)
			return -errno;
	}
}

static int agent_send(struct agent *agent, const char *bytes, size_t size, ns_t deadline_ns)
{
	while (size > 0) {
		ssize_t count = send(agent->fd, bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (count < 0 && errno != EINTR && errno != EAGAIN)
			return -errno;
		if (count > 0) {
			bytes += count;
			size -= (size_t)count;
			continue;
		}
		if (wait_ready(agent->fd, POLLOUT, deadline_ns))
			return -ETIMEDOUT;
	}
	return 0;
}

/* Reads more into the buffer. */
static int agent_receive(struct agent *agent, ns_t deadline_ns)
{
	ssize_t count;

	if (agent->buffered == AGENT_MAX_ANSWER_BYTES)
		return -EMSGSIZE;
	if (agent->buffered == agent->room) {
		size_t room = agent->room ? 2 * agent->room : 65536;
		char *grown;

		if (room > AGENT_MAX_ANSWER_BYTES)
			room = AGENT_MAX_ANSWER_BYTES;
		grown = realloc(agent->buffer, room);
		if (!grown)
			return -ENOMEM;
		agent->buffer = grown;
		agent->room = room;
	}
	do {
		if (wait_ready(agent->fd, POLLIN, deadline_ns))
			return -ETIMEDOUT;
		count = read(
			agent->fd, agent->buffer + agent->buffered, agent->room - agent->buffered);
	} while (count < 0 && (errno == EINTR || errno == EAGAIN));
	if (count <= 0)
		return -EPIPE;
	agent->buffered += (size_t)count;
	return 0;
}

static void agent_drop(struct agent *agent, size_t size)
{
	agent->buffered -= size;
	memmove(agent->buffer, agent->buffer + size, agent->buffered);
}

/* The next line as an object; NULL in `*answer` if it is none. */
static int agent_read_line(struct agent *agent, ns_t deadline_ns, json_t **answer)
{
	size_t searched = 0;

	for (;;) {
		char *newline = agent->buffered > searched ? memchr(agent->buffer + searched, '\n',
								     agent->buffered - searched)
							   : NULL;
		int result;

		if (newline) {
			size_t size = (size_t)(newline - agent->buffer) + 1;

			*answer = json_loadb(agent->buffer, size, 0, NULL);
			agent_drop(agent, size);
			if (*answer && !json_is_object(*answer)) {
				json_decref(*answer);
				*answer = NULL;
			}
			return 0;
		}
		searched = agent->buffered;
		result = agent_receive(agent, deadline_ns);
		if (result)
			return result;
	}
}

static char *request_text(const char *command, json_t *arguments)
{
	json_t *request = json_pack("{s:s, s:o}", "execute", command, "arguments",
		arguments ? arguments : json_object());
	char *text = request ? json_dumps(request, JSON_COMPACT) : NULL;

	json_decref(request);
	return text;
}

static int agent_send_request(
	struct agent *agent, const char *command, json_t *arguments, ns_t deadline_ns)
{
	char *text = request_text(command, arguments);
	int result = text ? agent_send(agent, text, strlen(text), deadline_ns) : -ENOMEM;

	free(text);
	return result ? result : agent_send(agent, "\n", 1, deadline_ns);
}

/* Skips to what comes after the next delimiter. */
static int agent_skip_to_delimiter(struct agent *agent, ns_t deadline_ns)
{
	for (;;) {
		char *delimiter =
			agent->buffered ? memchr(agent->buffer, DELIMITER, agent->buffered) : NULL;
		int result;

		if (delimiter) {
			agent_drop(agent, (size_t)(delimiter - agent->buffer) + 1);
			return 0;
		}
		agent->buffered = 0;
		result = agent_receive(agent, deadline_ns);
		if (result)
			return result;
	}
}

/* The delimiter that is sent makes the program forget half a request of an earlier client. */
static int agent_synchronize(struct agent *agent, struct error *err)
{
	static const char delimiter[] = { (char)DELIMITER };
	ns_t deadline_ns = host_now() + SYNC_TIMEOUT_NS;
	int64_t id = agent->next_id++;

	if (agent_send(agent, delimiter, 1, deadline_ns) ||
		agent_send_request(agent, "guest-sync-delimited",
			json_pack("{s:I}", "id", (json_int_t)id), deadline_ns))
		return no_answer(agent, err);
	for (;;) {
		json_t *answer = NULL;
		bool is_ours;

		if (agent_skip_to_delimiter(agent, deadline_ns) ||
			agent_read_line(agent, deadline_ns, &answer))
			return no_answer(agent, err);
		is_ours = json_is_integer(json_object_get(answer, "return")) &&
			  json_integer_value(json_object_get(answer, "return")) == id;
		json_decref(answer);
		if (is_ours)
			return 0;
	}
}

int agent_open(struct agent *agent, int fd, const char *vm_name, struct error *err)
{
	*agent = (struct agent){
		.fd = fd,
		.vm_name = vm_name,
		/* An answer to somebody before us must not pass for ours. */
		.next_id = host_now() & INT64_C(0xffffffffffff),
		.timeout_ns = ANSWER_TIMEOUT_NS,
	};
	if (agent_synchronize(agent, err) == 0)
		return 0;
	agent_close(agent);
	return -EINVAL;
}

void agent_close(struct agent *agent)
{
	if (agent->fd >= 0)
		close(agent->fd);
	free(agent->buffer);
	agent->fd = -1;
	agent->buffer = NULL;
	agent->buffered = agent->room = 0;
}

/* What the guest says of its mistake, for a terminal: printable ASCII, and not too much of it. */
static void print_clean(char *out, size_t size, const char *text)
{
	size_t used = 0;

	for (; *text && used + 1 < size; text++)
		out[used++] = (char)(*text >= ' ' && *text <= '~' ? *text : '?');
	out[used] = '\0';
}

int agent_call(struct agent *agent, const char *command, json_t *arguments, json_t **result,
	struct error *err)
{
	ns_t deadline_ns = host_now() + agent->timeout_ns;
	json_t *answer = NULL, *value, *error;
	int failed;

	if (result)
		*result = NULL;
	failed = agent_send_request(agent, command, arguments, deadline_ns);
	if (!failed)
		failed = agent_read_line(agent, deadline_ns, &answer);
	if (failed == -EMSGSIZE)
		return error_set(err, EXIT_CODE_UNAVAILABLE,
			"the guest agent of the VM '%s' answers '%s' with more than %d MiB",
			agent->vm_name, command, AGENT_MAX_ANSWER_BYTES >> 20);
	if (failed)
		return no_answer(agent, err);
	value = json_object_get(answer, "return");
	error = json_object_get(answer, "error");
	if (error) {
		const char *text = json_string_value(json_object_get(error, "desc"));
		char clean[256];

		print_clean(clean, sizeof(clean), text ? text : "it does not say why");
		error_set(err, EXIT_CODE_UNAVAILABLE,
			"the guest agent of the VM '%s' refuses '%s': %s", agent->vm_name, command,
			clean);
	} else if (!value) {
		wrong_answer(agent, command, err);
	} else if (result) {
		*result = json_incref(value);
	}
	json_decref(answer);
	return value && !error ? 0 : -EINVAL;
}
