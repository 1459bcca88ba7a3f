#include "virtio/virtio_console.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define CONSOLE_QUEUE_SIZE 128
/* What one round of a port passes on, so that nobody waits long for the lane. */
#define CONSOLE_ROUND_BYTES (1u << 20)

/* 5.3.3 */
#define CONSOLE_F_SIZE      BIT(0)
#define CONSOLE_F_MULTIPORT BIT(1)

/* 5.3.2: port 0 has the first two queues, then come those of control, then the other ports'. */
#define CONTROL_RECEIVE  2
#define CONTROL_TRANSMIT 3

/* 5.3.6.2 */
enum console_event {
	CONSOLE_DEVICE_READY = 0,
	CONSOLE_PORT_ADD = 1,
	CONSOLE_PORT_READY = 3,
	CONSOLE_CONSOLE_PORT = 4,
	CONSOLE_RESIZE = 5,
	CONSOLE_PORT_OPEN = 6,
	CONSOLE_PORT_NAME = 7,
	CONSOLE_NR_EVENTS,
};

struct console_control {
	uint32_t id;
	uint16_t event;
	uint16_t value;
};

struct console_size {
	uint16_t columns, rows;
};

/* 5.3.4 */
struct console_config {
	struct console_size size;
	uint32_t max_nr_ports;
	uint32_t emerg_wr;
};

struct console_port {
	struct console *console;
	unsigned index;
	char name[VIRTIO_CONSOLE_NAME_BYTES];
	bool is_console, takes_turns;
	bool owns_client; /* in_fd and out_fd came from listen_fd */

	/* Lane. */
	struct virtio_watch in, out, listen; /* their fd: -1 for none */
	bool in_watched, out_watched, listen_watched;
	bool guest_open;
	bool heard;       /* the guest was given something of this client's */
	bool last_words;  /* its program is gone: the client gets what it said, then the end */
	uint32_t pending; /* 1 << enum console_event: to be told the driver */
	size_t sent;      /* of the next request to transmit */
};

struct console {
	struct virtio_device device;
	struct console_config config; /* machine lock */
	unsigned nr_ports;
	struct console_port ports[VIRTIO_CONSOLE_MAX_PORTS];
	struct console_size size; /* lane: the copy that is told in messages */
};

static unsigned receive_queue(unsigned port)
{
	return port == 0 ? 0 : 2 + 2 * port;
}

static struct virtio_lane *lane_of(struct console *console)
{
	return &console->device.lanes[0];
}

static bool is_multiport(const struct console *console)
{
	return virtio_has_feature(&console->device, CONSOLE_F_MULTIPORT);
}

/* A port takes input once the driver has opened it; a console of a driver without ports always
 * does. */
static bool is_open(const struct console_port *port)
{
	return port->guest_open ||
	       (port->index == 0 && port->is_console && !is_multiport(port->console));
}

static bool is_connected(const struct console_port *port)
{
	return port->in.fd >= 0 || port->out.fd >= 0;
}

static void watch(struct console_port *port, struct virtio_watch *watch, bool *watched, bool wanted)
{
	struct virtio_lane *lane = lane_of(port->console);

	wanted = wanted && watch->fd >= 0;
	if (wanted == *watched)
		return;
	if (!wanted)
		virtio_lane_unwatch(lane, watch);
	else if (virtio_lane_watch(lane, watch) < 0)
		return; /* a regular file is always ready, and is no input */
	*watched = wanted;
}

/* Waits for input; or, if the guest takes none, for a client's going only. */
static void watch_input(struct console_port *port, bool wanted)
{
	if (port->in_watched && wanted == !port->in.for_hang_up)
		return;
	watch(port, &port->in, &port->in_watched, false);
	port->in.for_hang_up = !wanted;
	watch(port, &port->in, &port->in_watched, wanted || port->owns_client);
}

/* Who waits for a turn waits in the socket's backlog. */
static void watch_listener(struct console_port *port)
{
	watch(port, &port->listen, &port->listen_watched,
		!port->takes_turns || !is_connected(port));
}

static void tell(struct console_port *port, enum console_event event)
{
	port->pending |= 1u << event;
	virtio_serve_again(&port->console->device, CONTROL_RECEIVE);
}

/* The outside. */

static void disconnect(struct console_port *port)
{
	watch(port, &port->in, &port->in_watched, false);
	watch(port, &port->out, &port->out_watched, false);
	if (port->in.fd >= 0)
		close(port->in.fd);
	if (port->out.fd >= 0)
		close(port->out.fd);
	port->in.fd = port->out.fd = -1;
	port->sent = 0;
	port->heard = port->last_words = false;
	watch_listener(port);
}

static void hang_up(struct console_port *port)
{
	disconnect(port);
	tell(port, CONSOLE_PORT_OPEN);
	/* What the guest still says is for nobody. */
	virtio_serve_again(&port->console->device, receive_queue(port->index) + 1);
}

/* Two descriptors for one socket, since each is watched for one thing. */
static void connected(void *context)
{
	struct console_port *port = context;
	int fd = accept4(port->listen.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return;
	disconnect(port);
	port->in.fd = fd;
	port->out.fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (port->out.fd < 0) {
		disconnect(port);
		return;
	}
	watch_input(port, false);
	watch_listener(port);
	tell(port, CONSOLE_PORT_OPEN);
	virtio_serve_again(&port->console->device, receive_queue(port->index));
	virtio_serve_again(&port->console->device, receive_queue(port->index) + 1);
}

static void readable(void *context)
{
	struct console_port *port = context;

	if (port->in.for_hang_up)
		hang_up(port);
	else
		virtio_serve_again(&port->console->device, receive_queue(port->index));
}

static void writable(void *context)
{
	struct console_port *port = context;

	watch(port, &port->out, &port->out_watched, false);
	virtio_serve_again(&port->console->device, receive_queue(port->index) + 1);
}

/* Queues. */

static bool serve_receive(struct console_port *port)
{
	struct virtq *queue = virtio_queue(&port->console->device, receive_queue(port->index));
	struct virtq_request *request;

	while (is_open(port) && port->in.fd >= 0 && (request = virtq_pop(queue))) {
		ssize_t got;

		/* Nothing fits, which must not look like the client's end. */
		if (request->writable_bytes == 0) {
			virtq_push(queue, request, 0);
			continue;
		}
		got = readv(port->in.fd, request->writable,
			request->nr_writable < IOV_MAX ? (int)request->nr_writable : IOV_MAX);
		if (got > 0) {
			virtq_push(queue, request, (uint64_t)got);
			port->heard = true;
			continue;
		}
		virtq_unpop(queue, request);
		if (got < 0 && (errno == EAGAIN || errno == EINTR))
			watch_input(port, true);
		else if (port->owns_client)
			hang_up(port);
		else
			watch(port, &port->in, &port->in_watched, false);
		return false;
	}
	watch_input(port, false);
	/* Nowhere to put it: look again when there are buffers, also those that have come
	 * meanwhile. Nobody to give it to, or nobody who sends: connecting and opening look again.
	 */
	return is_open(port) && port->in.fd >= 0;
}

/* Passes on what the outside takes, `*left` bytes at most. False: it takes no more now. */
static bool pass_on(struct console_port *port, struct virtq_request *request, size_t *left)
{
	ssize_t put = 0;

	virtq_skip(request, port->sent);
	while (port->out.fd >= 0 && request->readable_bytes > 0 && *left > 0) {
		put = writev(port->out.fd, request->readable,
			request->nr_readable < IOV_MAX ? (int)request->nr_readable : IOV_MAX);
		if (put <= 0)
			break;
		virtq_skip(request, (size_t)put);
		port->sent += (size_t)put;
		*left -= (size_t)put < *left ? (size_t)put : *left;
	}
	if (put >= 0)
		return port->out.fd < 0 || put == 0 || request->readable_bytes == 0;
	if (errno == EAGAIN || errno == EINTR) {
		watch(port, &port->out, &port->out_watched, true);
		return false;
	}
	if (port->owns_client)
		hang_up(port);
	return true;
}

static bool serve_transmit(struct console_port *port)
{
	unsigned index = receive_queue(port->index) + 1;
	struct virtq *queue = virtio_queue(&port->console->device, index);
	size_t left = CONSOLE_ROUND_BYTES;
	struct virtq_request *request;

	while (left > 0 && (request = virtq_pop(queue))) {
		if (!pass_on(port, request, &left)) {
			virtq_unpop(queue, request);
			if (left == 0)
				break;
			return false;
		}
		port->sent = 0;
		virtq_push(queue, request, 0);
	}
	if (left == 0) {
		virtio_serve_again(&port->console->device, index);
		return false;
	}
	if (port->last_words && !virtq_has_more(queue))
		hang_up(port);
	return true;
}

/* The value of a message about a port, and what follows it. */
static size_t fill(const struct console_port *port, enum console_event event, uint8_t *bytes)
{
	struct console_control control = { port->index, (uint16_t)event, 1 };
	size_t size = sizeof(control);

	if (event == CONSOLE_PORT_OPEN)
		control.value = is_connected(port);
	if (event == CONSOLE_RESIZE) {
		memcpy(bytes + size, &port->console->size, sizeof(struct console_size));
		size += sizeof(struct console_size);
	}
	if (event == CONSOLE_PORT_NAME) {
		memcpy(bytes + size, port->name, strlen(port->name));
		size += strlen(port->name);
	}
	memcpy(bytes, &control, sizeof(control));
	return size;
}

static bool serve_control_receive(struct console *console)
{
	struct virtq *queue = virtio_queue(&console->device, CONTROL_RECEIVE);

	for (unsigned i = 0; i < console->nr_ports; i++) {
		struct console_port *port = &console->ports[i];

		while (port->pending) {
			enum console_event event = (enum console_event)__builtin_ctz(port->pending);
			uint8_t bytes[sizeof(struct console_control) + VIRTIO_CONSOLE_NAME_BYTES];
			struct virtq_request *request = virtq_pop(queue);

			if (!request)
				return true;
			port->pending &= ~(1u << event);
			virtq_write(request, bytes, fill(port, event, bytes));
			virtq_push(queue, request, 0);
		}
	}
	return false;
}

static void control_message(struct console *console, const struct console_control *control)
{
	struct console_port *port;

	if (control->event == CONSOLE_DEVICE_READY && control->value) {
		for (unsigned i = 0; i < console->nr_ports; i++)
			tell(&console->ports[i], CONSOLE_PORT_ADD);
		return;
	}
	if (control->id >= console->nr_ports)
		return;
	port = &console->ports[control->id];
	if (control->event == CONSOLE_PORT_READY && control->value) {
		if (port->is_console)
			tell(port, CONSOLE_CONSOLE_PORT);
		if (port->is_console && console->size.columns)
			tell(port, CONSOLE_RESIZE);
		if (port->name[0])
			tell(port, CONSOLE_PORT_NAME);
		if (is_connected(port))
			tell(port, CONSOLE_PORT_OPEN);
	} else if (control->event == CONSOLE_PORT_OPEN) {
		/* Who waits for the program waits on; who was talking to it waits in vain. */
		port->last_words = port->takes_turns && port->guest_open && !control->value &&
				   port->heard && is_connected(port);
		port->guest_open = control->value;
		virtio_serve_again(&console->device, receive_queue(port->index));
		virtio_serve_again(&console->device, receive_queue(port->index) + 1);
	}
}

static bool serve_control_transmit(struct console *console)
{
	struct virtq *queue = virtio_queue(&console->device, CONTROL_TRANSMIT);
	struct virtq_request *request;

	while ((request = virtq_pop(queue))) {
		struct console_control control;

		if (virtq_read(request, &control, sizeof(control)) == sizeof(control))
			control_message(console, &control);
		virtq_push(queue, request, 0);
	}
	return true;
}

static bool console_serve(struct virtio_device *device, unsigned index)
{
	struct console *console = (struct console *)device;
	unsigned port = index < 2 ? 0 : index / 2 - 1;

	if (index == CONTROL_RECEIVE)
		return serve_control_receive(console);
	if (index == CONTROL_TRANSMIT)
		return serve_control_transmit(console);
	return index % 2 ? serve_transmit(&console->ports[port])
			 : serve_receive(&console->ports[port]);
}

static void console_reset(struct virtio_device *device)
{
	struct console *console = (struct console *)device;

	virtio_lane_enter(lane_of(console));
	for (unsigned i = 0; i < console->nr_ports; i++) {
		struct console_port *port = &console->ports[i];

		port->guest_open = false;
		port->sent = 0;
		watch_input(port, false);
		watch(port, &port->out, &port->out_watched, false);
		/* Half a request to the guest before means nothing to the one after. */
		if (port->takes_turns && is_connected(port))
			disconnect(port);
		port->pending = 0;
	}
	virtio_lane_leave(lane_of(console));
}

static const struct virtio_device_type console_type = {
	.name = "virtio-console",
	.id = VIRTIO_ID_CONSOLE,
	.pci_class = 0x078000,
	.is_transitional = true,
	.legacy_features = CONSOLE_F_SIZE | CONSOLE_F_MULTIPORT,
	.serve = console_serve,
	.reset = console_reset,
};

void virtio_console_resize(struct virtio_device *device, uint16_t columns, uint16_t rows)
{
	struct console *console = (struct console *)device;
	struct console_size size = { columns, rows };

	virtio_config_change(device, offsetof(struct console_config, size), &size, sizeof(size));
	virtio_lane_enter(lane_of(console));
	console->size = size;
	for (unsigned i = 0; i < console->nr_ports; i++) {
		if (console->ports[i].is_console && is_multiport(console))
			tell(&console->ports[i], CONSOLE_RESIZE);
	}
	virtio_lane_leave(lane_of(console));
}

static void set_non_blocking(int fd)
{
	if (fd >= 0)
		fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

static void open_port(
	struct console *console, unsigned index, const struct virtio_console_port_config *config)
{
	struct console_port *port = &console->ports[index];

	port->console = console;
	port->index = index;
	port->is_console = config->is_console;
	port->takes_turns = config->takes_turns;
	port->owns_client = config->listen_fd >= 0;
	if (config->name)
		strncpy(port->name, config->name, sizeof(port->name) - 1);
	port->in = (struct virtio_watch){ .fd = config->in_fd, .ready = readable, .context = port };
	port->out = (struct virtio_watch){
		.fd = config->out_fd, .ready = writable, .context = port, .for_writing = true
	};
	port->listen = (struct virtio_watch){
		.fd = config->listen_fd, .ready = connected, .context = port
	};
	set_non_blocking(config->in_fd);
	set_non_blocking(config->out_fd);
	set_non_blocking(config->listen_fd);
}

static int listen_at_ports(struct console *console)
{
	int rc = 0;

	virtio_lane_enter(lane_of(console));
	for (unsigned i = 0; i < console->nr_ports && rc == 0; i++) {
		struct console_port *port = &console->ports[i];

		if (port->listen.fd >= 0)
			rc = virtio_lane_watch(lane_of(console), &port->listen);
		port->listen_watched = rc == 0 && port->listen.fd >= 0;
	}
	virtio_lane_leave(lane_of(console));
	return rc;
}

int virtio_console_create(struct virtio_device **device, const struct virtio_console_config *wanted,
	struct error *err)
{
	struct virtio_queue_config queues[2 + 2 * VIRTIO_CONSOLE_MAX_PORTS];
	struct virtio_device_config config = { .name = wanted->name,
		.machine = wanted->machine,
		.features = CONSOLE_F_SIZE | CONSOLE_F_MULTIPORT,
		.config_size = sizeof(struct console_config),
		.queues = queues,
		.nr_queues = 2 + 2 * wanted->nr_ports,
		.nr_lanes = 1 };
	struct console *console = calloc(1, sizeof(*console));
	int rc;

	*device = NULL;
	assert(wanted->nr_ports >= 1 && wanted->nr_ports <= VIRTIO_CONSOLE_MAX_PORTS);
	if (!console)
		return error_set_errno(
			err, EXIT_CODE_HOST, ENOMEM, "cannot create the device %s", wanted->name);
	for (unsigned i = 0; i < config.nr_queues; i++)
		queues[i] = (struct virtio_queue_config){ .size = CONSOLE_QUEUE_SIZE };
	console->nr_ports = wanted->nr_ports;
	for (unsigned i = 0; i < wanted->nr_ports; i++)
		open_port(console, i, &wanted->ports[i]);
	console->config.max_nr_ports = wanted->nr_ports;
	config.config = &console->config;
	rc = virtio_device_init(&console->device, &console_type, &config, err);
	if (rc == 0)
		rc = listen_at_ports(console);
	if (rc < 0) {
		virtio_console_destroy(&console->device);
		return error_set_errno(
			err, EXIT_CODE_HOST, -rc, "cannot create the device %s", wanted->name);
	}
	*device = &console->device;
	return 0;
}

void virtio_console_destroy(struct virtio_device *device)
{
	struct console *console = (struct console *)device;

	if (!console)
		return;
	virtio_device_finish(device);
	for (unsigned i = 0; i < console->nr_ports; i++) {
		struct console_port *port = &console->ports[i];

		if (port->in.fd >= 0)
			close(port->in.fd);
		if (port->out.fd >= 0)
			close(port->out.fd);
		if (port->listen.fd >= 0)
			close(port->listen.fd);
	}
	free(console);
}
