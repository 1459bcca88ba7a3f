/*
 * A VM's end of the control protocol (docs/control-protocol.md): a listening socket in its bundle
 * and up to CONTROL_MAX_CLIENTS clients. Everything runs on the event loop's thread, between the
 * guest's requests, without a lock held.
 *
 * A client of another user is turned away. What a client can cost is bounded: a line by
 * CONTROL_MAX_REQUEST_BYTES; answers that it does not read make it wait; events that it does not
 * read, CONTROL_MAX_QUEUED_BYTES of them, end its connection.
 */
#ifndef VMM_CONTROL_H
#define VMM_CONTROL_H

#include "base/loop.h"
#include "bundle/bundle.h"
#include "bundle/control_message.h"

#define CONTROL_MAX_CLIENTS      16
#define CONTROL_MAX_QUEUED_BYTES (256 << 10)

/* What a VM can be told; a table of these ends with a NULL name. */
struct control_command {
	const char *name;
	/*
	 * `arguments` is an object or NULL. Returns 0 and may set `*result` to a new object, or
	 * fills `err`: EXIT_CODE_USAGE says that the arguments are wrong.
	 */
	int (*run)(void *context, const json_t *arguments, json_t **result, struct error *err);
};

struct control_connection {
	struct control *control;
	int fd;   /* -1: free */
	char *in; /* CONTROL_MAX_REQUEST_BYTES; what has come of the next lines */
	size_t in_size;
	char *out; /* what has not been sent */
	size_t out_size, out_room;
	bool subscribed;
	bool ending; /* closed when everything is sent */
};

struct control {
	struct loop *loop;
	const struct bundle *bundle; /* NULL: not open */
	const struct control_command *commands;
	void *context;
	int listen_fd;
	ns_t started_ns; /* CLOCK_MONOTONIC */
	struct control_connection connections[CONTROL_MAX_CLIENTS];
};

/* Listens. `control` and what it is given must stay where they are. Returns 0 or fills `err`. */
int control_open(struct control *control, const struct bundle *bundle, struct loop *loop,
	const struct control_command *commands, void *context, struct error *err);
/* Sends what can be sent now and removes the socket. Takes one that is zeroed. */
void control_close(struct control *control);

/* Tells every client that subscribed. Steals `data`, which may be NULL. */
void control_event(struct control *control, const char *event, json_t *data);

#endif
