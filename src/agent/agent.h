/*
 * The host's side of the QEMU guest agent protocol: JSON requests and answers, one a line, over a
 * stream that ends in a program inside the guest (qemu-guest-agent, on the virtio-serial port
 * org.qemu.guest_agent.0). Source: QEMU 7.2, docs/interop/qemu-ga-ref (qga/qapi-schema.json).
 *
 * The program may not be there, may be slow, or may lie: every wait has a limit, every answer a
 * size (AGENT_MAX_ANSWER_BYTES), every value a type that is checked. What it says of its mistakes
 * loses its control characters before anybody's terminal sees it.
 *
 * One thread uses an agent at a time. All functions return 0, or fill `err`.
 */
#ifndef AGENT_AGENT_H
#define AGENT_AGENT_H

#include "base/error.h"
#include "base/types.h"

#include <jansson.h>

#define AGENT_MAX_ANSWER_BYTES (48 << 20) /* the program captures 16 MiB of each output at most */
#define AGENT_PORT             "org.qemu.guest_agent.0"

struct agent {
	int fd;              /* -1: closed */
	const char *vm_name; /* for messages */
	int64_t next_id;
	ns_t timeout_ns; /* of an answer */
	char *buffer;    /* what has come and was not read yet */
	size_t buffered, room;
};

/*
 * Takes `fd`, a connected stream, also when it fails, and makes sure that somebody is there who
 * answers from now on: guest-sync-delimited, after which nothing of an earlier client is left.
 */
int agent_open(struct agent *agent, int fd, const char *vm_name, struct error *err);
void agent_close(struct agent *agent);

/* Any command. Steals `arguments` (may be NULL); `*result` (may be NULL) is the caller's. */
int agent_call(struct agent *agent, const char *command, json_t *arguments, json_t **result,
	struct error *err);

int agent_ping(struct agent *agent, struct error *err);
/* Freezes or thaws the guest's file systems; `*count` is how many. */
int agent_freeze(struct agent *agent, bool freeze, unsigned *count, struct error *err);
/* Sets the guest's clock; UTC, nanoseconds since 1970. */
int agent_set_time(struct agent *agent, ns_t time_ns, struct error *err);
/* An array of {name, hardware-address, ip-addresses}: what the program said, its form checked. */
int agent_interfaces(struct agent *agent, json_t **interfaces, struct error *err);

struct agent_output {
	uint8_t *bytes; /* to be freed */
	size_t size;
	bool truncated; /* the program captured no more */
};

struct agent_result {
	int exit_code; /* 128 + the number if a signal ended it */
	struct agent_output out, err;
};

/*
 * Runs a program in the guest until it ends; `argv[0]` is looked for in the agent's PATH, `argv`
 * ends with a NULL. No limit on its time but `limit_ns` (0: none).
 */
int agent_exec(struct agent *agent, char *const *argv, const uint8_t *input, size_t input_size,
	ns_t limit_ns, struct agent_result *result, struct error *err);
void agent_result_finish(struct agent_result *result);

/* Copies between a file of the guest and a descriptor, to the end. */
int agent_file_get(struct agent *agent, const char *path, int to_fd, struct error *err);
int agent_file_put(struct agent *agent, int from_fd, const char *path, struct error *err);

#endif
