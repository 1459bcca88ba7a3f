#include "virtio/virtio_serial.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define F_MULTIPORT BIT(1)

/* Queues (5.3.2): port 0's pair comes before those of the control messages. */
enum { CONTROL_TO_GUEST = 2, CONTROL_FROM_GUEST = 3, PORT_TO_GUEST = 4, PORT_FROM_GUEST = 5 };
#define NR_QUEUES  6
#define QUEUE_SIZE 64
#define PORT_ID    1
#define NR_PORTS   2 /* with port 0, which is not there */
#define CHUNK      4096

/* Events of control messages (5.3.6.2). */
enum {
	DEVICE_READY = 0,
	DEVICE_ADD = 1,
	PORT_READY = 3,
	PORT_OPEN = 6,
	PORT_NAME = 7,
};

struct control_message {
	uint32_t id;
	uint16_t event;
	uint16_t value;
} __attribute__((packed));

struct serial_registers {
	uint16_t columns, rows;
	uint32_t max_ports;
	uint32_t emergency_write;
} __attribute__((packed));

struct serial {
	struct virtio_device device;
	struct serial_registers registers; /* machine lock */

	/* Immutable. */
	const char *port_name;
	int listen_fd;

	/* Lane. */
	struct virtio_watch watch; /* fd: an epoll of the listening socket and the client */
	int client_fd;             /* -1: nobody */
	unsigned events;           /* what the client is watched for */
	bool guest_open;           /* a program has the port open */
	bool heard;                /* it was given something of this client's */
	bool guest_closed;         /* and is gone: the client gets its last words, then the end */
	/* Messages that wait for a buffer: a guest that asks again gets no second one. */
	bool add_due, name_due, open_due;
	uint64_t sent; /* of the request at the head of PORT_FROM_GUEST */
};

static void watch_client(struct serial *serial, unsigned events)
{
	struct epoll_event event = { .events = events, .data.fd = serial->client_fd };

	if (serial->client_fd < 0 || events == serial->events)
		return;
	serial->events = events;
	epoll_ctl(serial->watch.fd, EPOLL_CTL_MOD, serial->client_fd, &event);
}

/* While somebody is connected, others wait in the socket's backlog. */
static void watch_listener(struct serial *serial, bool wanted)
{
	struct epoll_event event = { .events = wanted ? EPOLLIN : 0, .data.fd = serial->listen_fd };

	epoll_ctl(serial->watch.fd, EPOLL_CTL_MOD, serial->listen_fd, &event);
}

static void tell_open(struct serial *serial)
{
	serial->open_due = true;
	virtio_serve_again(&serial->device, CONTROL_TO_GUEST);
}

static void drop_client(struct serial *serial)
{
	close(serial->client_fd);
	serial->client_fd = -1;
	serial->events = 0;
	serial->guest_closed = false;
	watch_listener(serial, true);
	tell_open(serial);
	/* What the guest still says is for nobody. */
	virtio_serve_again(&serial->device, PORT_FROM_GUEST);
}

static void accept_client(struct serial *serial)
{
	int fd = accept4(serial->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct epoll_event event = { .data.fd = fd };

	if (fd < 0)
		return;
	if (epoll_ctl(serial->watch.fd, EPOLL_CTL_ADD, fd, &event) < 0) {
		close(fd);
		return;
	}
	serial->client_fd = fd;
	serial->events = 0;
	serial->heard = false;
	watch_listener(serial, false);
	watch_client(serial, EPOLLIN);
	tell_open(serial);
}

static void sockets_ready(void *context)
{
	struct serial *serial = context;
	struct epoll_event events[2];
	int count = epoll_wait(serial->watch.fd, events, 2, 0);

	for (int i = 0; i < count; i++) {
		if (events[i].data.fd == serial->listen_fd) {
			if (serial->client_fd < 0)
				accept_client(serial);
		} else if (events[i].data.fd == serial->client_fd) {
			/* Hang-ups come though nothing is waited for. */
			if (events[i].events & (EPOLLHUP | EPOLLERR) &&
				!(events[i].events & EPOLLIN))
				drop_client(serial);
			if (events[i].events & EPOLLIN)
				virtio_serve_again(&serial->device, PORT_TO_GUEST);
			if (events[i].events & EPOLLOUT)
				virtio_serve_again(&serial->device, PORT_FROM_GUEST);
		}
	}
}

/* Returns how many bytes the client took; what nobody takes is taken. */
static size_t send_to_client(struct serial *serial, const uint8_t *bytes, size_t size)
{
	while (serial->client_fd >= 0) {
		ssize_t count = send(serial->client_fd, bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (count >= 0)
			return (size_t)count;
		if (errno == EAGAIN)
			return 0;
		if (errno != EINTR)
			drop_client(serial);
	}
	return size;
}

static void skip(struct virtq_request *request, uint64_t bytes)
{
	uint8_t unused[CHUNK];

	while (bytes > 0) {
		size_t part = virtq_read(request, unused, bytes < CHUNK ? bytes : CHUNK);

		if (part == 0)
			return;
		bytes -= part;
	}
}

/* True if all of the request was sent. */
static bool send_request(struct serial *serial, struct virtq_request *request)
{
	uint8_t bytes[CHUNK];
	size_t size;

	skip(request, serial->sent);
	while ((size = virtq_read(request, bytes, sizeof(bytes))) > 0) {
		size_t used = 0;

		while (used < size) {
			size_t part = send_to_client(serial, bytes + used, size - used);

			if (part == 0)
				return false;
			used += part;
			serial->sent += part;
		}
	}
	serial->sent = 0;
	return true;
}

static bool serve_from_guest(struct serial *serial)
{
	struct virtq *queue = virtio_queue(&serial->device, PORT_FROM_GUEST);
	struct virtq_request *request;

	while ((request = virtq_pop(queue))) {
		if (!send_request(serial, request)) {
			virtq_unpop(queue, request);
			watch_client(serial, serial->events | EPOLLOUT);
			return false;
		}
		virtq_push(queue, request, 0);
	}
	watch_client(serial, serial->events & ~(unsigned)EPOLLOUT);
	if (serial->guest_closed && serial->client_fd >= 0 && !virtq_has_more(queue))
		drop_client(serial);
	return true;
}

static bool serve_to_guest(struct serial *serial)
{
	struct virtq *queue = virtio_queue(&serial->device, PORT_TO_GUEST);
	struct virtq_request *request;
	uint8_t bytes[CHUNK];

	while (serial->client_fd >= 0 && serial->guest_open && (request = virtq_pop(queue))) {
		size_t room = request->writable_bytes < CHUNK ? request->writable_bytes : CHUNK;
		ssize_t count = recv(serial->client_fd, bytes, room, MSG_DONTWAIT);

		if (count > 0) {
			virtq_write(request, bytes, (size_t)count);
			virtq_push(queue, request, 0);
			serial->heard = true;
			continue;
		}
		virtq_unpop(queue, request);
		/* A buffer without room is no end of the client's. */
		if (room == 0 || (count < 0 && (errno == EAGAIN || errno == EINTR))) {
			watch_client(serial, room ? serial->events | EPOLLIN : 0);
			return false;
		}
		drop_client(serial);
	}
	/* Without a reader or a buffer the client's bytes wait in its socket. */
	watch_client(serial, serial->events & ~(unsigned)EPOLLIN);
	return !virtq_has_more(queue);
}

/* Sends a message if the driver has a buffer for it. */
static bool send_message(struct serial *serial, uint16_t event, uint16_t value, const char *text)
{
	struct virtq *queue = virtio_queue(&serial->device, CONTROL_TO_GUEST);
	struct virtq_request *request = virtq_pop(queue);
	const struct control_message message = { htole32(PORT_ID), htole16(event), htole16(value) };

	if (!request)
		return false;
	virtq_write(request, &message, sizeof(message));
	if (text)
		virtq_write(request, text, strlen(text));
	virtq_push(queue, request, 0);
	return true;
}

static bool serve_messages(struct serial *serial)
{
	if (serial->add_due && send_message(serial, DEVICE_ADD, 0, NULL))
		serial->add_due = false;
	if (serial->add_due)
		return true;
	if (serial->name_due && send_message(serial, PORT_NAME, 1, serial->port_name))
		serial->name_due = false;
	if (!serial->name_due && serial->open_due &&
		send_message(serial, PORT_OPEN, serial->client_fd >= 0, NULL))
		serial->open_due = false;
	return true;
}

static void take_message(struct serial *serial, const struct control_message *message)
{
	bool is_ours = le32toh(message->id) == PORT_ID;
	bool value = le16toh(message->value) != 0;

	switch (le16toh(message->event)) {
	case DEVICE_READY:
		serial->add_due = value;
		serial->name_due = serial->open_due = false;
		break;
	case PORT_READY: serial->name_due = serial->open_due = is_ours && value; break;
	case PORT_OPEN:
		if (!is_ours)
			return;
		/* Who waits for the program waits on; who was talking to it waits in vain. */
		serial->guest_closed =
			serial->guest_open && !value && serial->heard && serial->client_fd >= 0;
		serial->guest_open = value;
		watch_client(serial, serial->events | EPOLLIN);
		virtio_serve_again(&serial->device, PORT_FROM_GUEST);
		virtio_serve_again(&serial->device, PORT_TO_GUEST);
		return;
	default: return;
	}
	virtio_serve_again(&serial->device, CONTROL_TO_GUEST);
}

static bool serve_control(struct serial *serial)
{
	struct virtq *queue = virtio_queue(&serial->device, CONTROL_FROM_GUEST);
	struct virtq_request *request;

	while ((request = virtq_pop(queue))) {
		struct control_message message;

		if (virtq_read(request, &message, sizeof(message)) == sizeof(message))
			take_message(serial, &message);
		virtq_push(queue, request, 0);
	}
	return true;
}

static bool serial_serve(struct virtio_device *device, unsigned index)
{
	struct serial *serial = (struct serial *)device;

	switch (index) {
	case CONTROL_TO_GUEST: return serve_messages(serial);
	case CONTROL_FROM_GUEST: return serve_control(serial);
	case PORT_TO_GUEST: return serve_to_guest(serial);
	case PORT_FROM_GUEST: return serve_from_guest(serial);
	default: return true; /* port 0 is not there */
	}
}

static void serial_reset(struct virtio_device *device)
{
	struct serial *serial = (struct serial *)device;
	struct virtio_lane *lane = virtio_queue_lane(device, 0);

	virtio_lane_enter(lane);
	serial->guest_open = serial->guest_closed = false;
	serial->add_due = serial->name_due = serial->open_due = false;
	serial->sent = 0;
	/* Half a request of the guest before means nothing to the one after. */
	if (serial->client_fd >= 0) {
		close(serial->client_fd);
		serial->client_fd = -1;
		watch_listener(serial, true);
	}
	virtio_lane_leave(lane);
}

static const struct virtio_device_type serial_type = {
	.name = "virtio-serial",
	.id = VIRTIO_ID_CONSOLE,
	.pci_class = 0x078000,
	.is_transitional = true,
	.legacy_features = F_MULTIPORT,
	.serve = serial_serve,
	.reset = serial_reset,
};

/* The inner epoll, watched by the lane. */
static int watch_sockets(struct serial *serial)
{
	struct virtio_lane *lane = virtio_queue_lane(&serial->device, 0);
	struct epoll_event event = { .events = EPOLLIN, .data.fd = serial->listen_fd };
	int result;

	serial->watch.fd = epoll_create1(EPOLL_CLOEXEC);
	if (serial->watch.fd < 0 ||
		epoll_ctl(serial->watch.fd, EPOLL_CTL_ADD, serial->listen_fd, &event) < 0)
		return -errno;
	virtio_lane_enter(lane);
	result = virtio_lane_watch(lane, &serial->watch);
	virtio_lane_leave(lane);
	return result;
}

int virtio_serial_create(
	struct virtio_device **device, const struct virtio_serial_config *config, struct error *err)
{
	struct virtio_queue_config queues[NR_QUEUES];
	struct serial *serial = calloc(1, sizeof(*serial));
	int result;

	*device = NULL;
	if (!serial) {
		close(config->listen_fd);
		return error_set_errno(
			err, EXIT_CODE_HOST, ENOMEM, "cannot make the device '%s'", config->name);
	}
	serial->registers.max_ports = htole32(NR_PORTS);
	serial->port_name = config->port_name;
	serial->listen_fd = config->listen_fd;
	serial->client_fd = -1;
	serial->watch =
		(struct virtio_watch){ .fd = -1, .ready = sockets_ready, .context = serial };
	for (unsigned i = 0; i < NR_QUEUES; i++)
		queues[i] = (struct virtio_queue_config){ .size = QUEUE_SIZE };
	result = virtio_device_init(&serial->device, &serial_type,
		&(struct virtio_device_config){
			.name = config->name,
			.machine = config->machine,
			.features = F_MULTIPORT,
			.config = &serial->registers,
			.config_size = sizeof(serial->registers),
			.queues = queues,
			.nr_queues = NR_QUEUES,
			.nr_lanes = 1,
		},
		err);
	if (result == 0) {
		result = watch_sockets(serial);
		if (result)
			error_set_errno(err, EXIT_CODE_HOST, -result, "cannot make the device '%s'",
				config->name);
	}
	if (result) {
		virtio_serial_destroy(&serial->device);
		return result;
	}
	*device = &serial->device;
	return 0;
}

void virtio_serial_destroy(struct virtio_device *device)
{
	struct serial *serial = (struct serial *)device;

	if (!serial)
		return;
	virtio_device_finish(device);
	if (serial->watch.fd >= 0)
		close(serial->watch.fd);
	if (serial->client_fd >= 0)
		close(serial->client_fd);
	close(serial->listen_fd);
	free(serial);
}
