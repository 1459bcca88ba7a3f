/*
 * What a guest agent can be asked for.
 */
#include "agent/agent.h"
#include "agent/base64.h"
#include "base/host_time.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHUNK_BYTES       (48 << 10) /* of a file, in one message */
#define MAX_INTERFACES    256
#define FIRST_POLL_NS     (2 * NS_PER_MS)
#define LAST_POLL_NS      (200 * NS_PER_MS)
#define FREEZE_TIMEOUT_NS (120 * NS_PER_S) /* data has to reach the disk first */

static int wrong(const struct agent *agent, const char *command, struct error *err)
{
	return error_set(err, EXIT_CODE_UNAVAILABLE,
		"the guest agent of the VM '%s' answers '%s' with something else", agent->vm_name,
		command);
}

/* A command whose answer is a number of at least `min`. */
static int call_for_number(struct agent *agent, const char *command, json_t *arguments, int64_t min,
	int64_t *number, struct error *err)
{
	json_t *result;
	bool good;

	if (agent_call(agent, command, arguments, &result, err))
		return -EINVAL;
	good = json_is_integer(result) && json_integer_value(result) >= min;
	*number = json_integer_value(result);
	json_decref(result);
	return good ? 0 : wrong(agent, command, err);
}

int agent_ping(struct agent *agent, struct error *err)
{
	return agent_call(agent, "guest-ping", NULL, NULL, err);
}

int agent_freeze(struct agent *agent, bool freeze, unsigned *count, struct error *err)
{
	ns_t former_ns = agent->timeout_ns;
	int64_t number = 0;
	int result;

	agent->timeout_ns = FREEZE_TIMEOUT_NS;
	result = call_for_number(agent, freeze ? "guest-fsfreeze-freeze" : "guest-fsfreeze-thaw",
		NULL, 0, &number, err);
	agent->timeout_ns = former_ns;
	*count = (unsigned)number;
	return result;
}

int agent_set_time(struct agent *agent, ns_t time_ns, struct error *err)
{
	return agent_call(agent, "guest-set-time", json_pack("{s:I}", "time", (json_int_t)time_ns),
		NULL, err);
}

static bool is_interface(const json_t *interface)
{
	const json_t *addresses = json_object_get(interface, "ip-addresses"), *address;
	size_t index;

	if (!json_is_string(json_object_get(interface, "name")))
		return false;
	if (addresses && !json_is_array(addresses))
		return false;
	json_array_foreach(addresses, index,
		address) if (!json_is_string(json_object_get(address, "ip-address")) ||
			     !json_is_integer(json_object_get(address, "prefix"))) return false;
	return true;
}

int agent_interfaces(struct agent *agent, json_t **interfaces, struct error *err)
{
	static const char command[] = "guest-network-get-interfaces";
	const json_t *interface;
	size_t index;

	if (agent_call(agent, command, NULL, interfaces, err))
		return -EINVAL;
	if (!json_is_array(*interfaces) || json_array_size(*interfaces) > MAX_INTERFACES)
		goto bad;
	json_array_foreach(*interfaces, index, interface) if (!is_interface(interface)) goto bad;
	return 0;
bad:
	json_decref(*interfaces);
	*interfaces = NULL;
	return wrong(agent, command, err);
}

static json_t *exec_arguments(char *const *argv, const uint8_t *input, size_t input_size)
{
	json_t *words = json_array(), *arguments;

	for (unsigned i = 1; argv[i]; i++)
		if (json_array_append_new(words, json_string(argv[i])))
			goto fail;
	arguments =
		json_pack("{s:s, s:O, s:b}", "path", argv[0], "arg", words, "capture-output", 1);
	if (arguments && input) {
		char *text = base64_encode(input, input_size);

		json_object_set_new(arguments, "input-data", text ? json_string(text) : NULL);
		free(text);
	}
	json_decref(words);
	return arguments;
fail:
	json_decref(words);
	return NULL;
}

/* Takes one of the captured outputs out of a status; false if it is no base 64. */
static bool take_output(
	const json_t *status, const char *key, const char *truncated, struct agent_output *output)
{
	const json_t *data = json_object_get(status, key);

	if (!data)
		return true;
	if (!json_is_string(data))
		return false;
	output->bytes =
		base64_decode(json_string_value(data), json_string_length(data), &output->size);
	output->truncated = json_is_true(json_object_get(status, truncated));
	return output->bytes != NULL;
}

/* 1: it ended, and `result` is filled; 0: it runs. */
static int take_status(
	struct agent *agent, const json_t *status, struct agent_result *result, struct error *err)
{
	const json_t *code = json_object_get(status, "exitcode");
	const json_t *signal = json_object_get(status, "signal");

	if (json_is_false(json_object_get(status, "exited")))
		return 0;
	if (!json_is_true(json_object_get(status, "exited")) ||
		!take_output(status, "out-data", "out-truncated", &result->out) ||
		!take_output(status, "err-data", "err-truncated", &result->err))
		return wrong(agent, "guest-exec-status", err);
	if (json_is_integer(signal))
		result->exit_code = (128 + (int)(json_integer_value(signal) & 0x7f)) & 0xff;
	else
		result->exit_code = (int)(json_integer_value(code) & 0xff);
	return 1;
}

int agent_exec(struct agent *agent, char *const *argv, const uint8_t *input, size_t input_size,
	ns_t limit_ns, struct agent_result *result, struct error *err)
{
	ns_t deadline_ns = limit_ns ? host_now() + limit_ns : INT64_MAX, pause_ns = FIRST_POLL_NS;
	json_t *arguments = exec_arguments(argv, input, input_size), *started;
	const json_t *pid;
	int ended = 0;

	*result = (struct agent_result){ 0 };
	if (!arguments)
		return error_set(err, EXIT_CODE_USAGE,
			"the command holds bytes that are no UTF-8, which the guest agent cannot "
			"be "
			"told");
	if (agent_call(agent, "guest-exec", arguments, &started, err))
		return -EINVAL;
	pid = json_object_get(started, "pid");
	if (!json_is_integer(pid)) {
		json_decref(started);
		return wrong(agent, "guest-exec", err);
	}
	while (ended == 0) {
		const struct timespec pause = { .tv_nsec = pause_ns };
		json_t *status;

		if (agent_call(agent, "guest-exec-status",
			    json_pack("{s:I}", "pid", json_integer_value(pid)), &status, err)) {
			ended = -EINVAL;
			break;
		}
		ended = take_status(agent, status, result, err);
		json_decref(status);
		if (ended == 0 && host_now() > deadline_ns)
			ended = error_set(err, EXIT_CODE_UNAVAILABLE,
				"the command in the VM '%s' still runs after %lld s; it goes on "
				"there",
				agent->vm_name, (long long)(limit_ns / NS_PER_S));
		if (ended == 0)
			nanosleep(&pause, NULL);
		if (pause_ns < LAST_POLL_NS)
			pause_ns *= 2;
	}
	json_decref(started);
	if (ended < 0)
		agent_result_finish(result);
	return ended < 0 ? ended : 0;
}

void agent_result_finish(struct agent_result *result)
{
	free(result->out.bytes);
	free(result->err.bytes);
	*result = (struct agent_result){ .exit_code = result->exit_code };
}

static int file_open(
	struct agent *agent, const char *path, const char *mode, int64_t *handle, struct error *err)
{
	json_t *arguments = json_pack("{s:s, s:s}", "path", path, "mode", mode);

	if (!arguments)
		return error_set(err, EXIT_CODE_USAGE,
			"the path in the guest holds bytes that are no UTF-8, which the guest "
			"agent "
			"cannot be told");
	return call_for_number(agent, "guest-file-open", arguments, INT64_MIN, handle, err);
}

static int file_close(struct agent *agent, int64_t handle, struct error *err)
{
	return agent_call(agent, "guest-file-close",
		json_pack("{s:I}", "handle", (json_int_t)handle), NULL, err);
}

static int write_all(int fd, const uint8_t *bytes, size_t size, struct error *err)
{
	while (size > 0) {
		ssize_t count = write(fd, bytes, size);

		if (count < 0 && errno == EINTR)
			continue;
		if (count <= 0)
			return error_set_errno(
				err, EXIT_CODE_CANNOT_WRITE, errno, "the copy cannot be written");
		bytes += count;
		size -= (size_t)count;
	}
	return 0;
}

/* One part of a file; `*ended` after the last. */
static int get_chunk(struct agent *agent, int64_t handle, int to_fd, bool *ended, struct error *err)
{
	static const char command[] = "guest-file-read";
	const json_t *text;
	uint8_t *bytes;
	size_t size = 0;
	json_t *part;
	int result;

	if (agent_call(agent, command,
		    json_pack("{s:I, s:i}", "handle", (json_int_t)handle, "count", CHUNK_BYTES),
		    &part, err))
		return -EINVAL;
	text = json_object_get(part, "buf-b64");
	bytes = json_is_string(text)
			? base64_decode(json_string_value(text), json_string_length(text), &size)
			: NULL;
	*ended = json_is_true(json_object_get(part, "eof"));
	json_decref(part);
	/* Neither an end nor anything before it: this would never end. */
	if (!bytes || size > CHUNK_BYTES || (size == 0 && !*ended))
		result = wrong(agent, command, err);
	else
		result = write_all(to_fd, bytes, size, err);
	free(bytes);
	return result;
}

int agent_file_get(struct agent *agent, const char *path, int to_fd, struct error *err)
{
	bool ended = false;
	int64_t handle;
	int result = 0;

	if (file_open(agent, path, "r", &handle, err))
		return -EINVAL;
	while (!ended && !result)
		result = get_chunk(agent, handle, to_fd, &ended, err);
	if (file_close(agent, handle, result ? NULL : err))
		return -EINVAL;
	return result;
}

static int put_chunk(
	struct agent *agent, int64_t handle, const uint8_t *bytes, size_t size, struct error *err)
{
	static const char command[] = "guest-file-write";

	while (size > 0) {
		char *text = base64_encode(bytes, size);
		int64_t count;
		json_t *done;

		if (!text)
			return error_set(err, EXIT_CODE_HOST, "out of memory");
		done = json_pack("{s:I, s:s}", "handle", (json_int_t)handle, "buf-b64", text);
		free(text);
		if (agent_call(agent, command, done, &done, err))
			return -EINVAL;
		count = json_integer_value(json_object_get(done, "count"));
		json_decref(done);
		if (count <= 0 || (size_t)count > size)
			return wrong(agent, command, err);
		bytes += count;
		size -= (size_t)count;
	}
	return 0;
}

int agent_file_put(struct agent *agent, int from_fd, const char *path, struct error *err)
{
	uint8_t bytes[CHUNK_BYTES];
	int64_t handle;
	int result = 0;
	ssize_t count;

	if (file_open(agent, path, "w", &handle, err))
		return -EINVAL;
	while (!result && (count = read(from_fd, bytes, sizeof(bytes))) != 0) {
		if (count < 0 && errno == EINTR)
			continue;
		result = count < 0 ? error_set_errno(err, EXIT_CODE_NO_FILE, errno,
					     "the file to copy cannot be read")
				   : put_chunk(agent, handle, bytes, (size_t)count, err);
	}
	/* What the guest could not write shows when it closes. */
	if (file_close(agent, handle, result ? NULL : err))
		return -EINVAL;
	return result;
}
