/*
 * virtio-vsock (virtio_vsock.h). Streams only; no sequenced packets, no datagrams, and no transport
 * reset events, which only a migration sends.
 *
 * All queues share lane 0. A connection has at most one packet of control on its way to the guest
 * (the strongest wins: a reset, then a response, then credit), so that nothing is queued without
 * bound; data is read from its socket only when a buffer of the guest's is there to read into.
 */
#include "virtio/virtio_vsock.h"

#include "base/log.h"
#include "virtio/vsock_stream.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define QUEUE_SIZE      128
#define PCI_CLASS_OTHER 0x00ff00
#define MAX_CONNECTIONS 512
#define MAX_RESETS      64 /* for connections that are not there, waiting to be told */
#define MAX_PIECES      64
#define MAX_PACKET      VSOCK_BUFFER_BYTES /* of data to the guest */
#define FIRST_HOST_PORT UINT32_C(0x40000000)
#define REQUEST_BYTES   32 /* "CONNECT 4294967295\n" */
#define PATH_BYTES      sizeof(((struct sockaddr_un *)0)->sun_path)

enum vsock_queue { QUEUE_RX, QUEUE_TX, QUEUE_EVENT, NR_QUEUES };

#define VSOCK_TYPE_STREAM 1
#define VSOCK_HOST_CID    2

/* Operations and flags (5.10.6). */
enum vsock_op {
	OP_INVALID,
	OP_REQUEST,
	OP_RESPONSE,
	OP_RST,
	OP_SHUTDOWN,
	OP_RW,
	OP_CREDIT_UPDATE,
	OP_CREDIT_REQUEST,
};
#define SHUTDOWN_RECEIVE BIT(0)
#define SHUTDOWN_SEND    BIT(1)
#define SHUTDOWN_BOTH    (SHUTDOWN_RECEIVE | SHUTDOWN_SEND)

struct vsock_header {
	uint64_t src_cid, dst_cid;
	uint32_t src_port, dst_port;
	uint32_t length;
	uint16_t type, op;
	uint32_t flags;
	uint32_t buf_alloc, fwd_cnt;
} __attribute__((packed));

enum connection_phase {
	FREE,
	GREETING,  /* the host's client has not said which port */
	REQUESTED, /* the guest has not answered */
	OPEN,
	CLOSING, /* the guest is to be told, then it is free */
};

struct connection {
	enum connection_phase phase;
	struct virtio_vsock *vsock;
	struct vsock_stream stream;
	struct virtio_watch watch;
	uint32_t host_port, guest_port;
	/* Credit (5.10.6.3): what the guest can take, and what it was sent. */
	uint32_t guest_buf_alloc, guest_fwd_cnt, sent;
	/* What was passed on to the host's side, and what of that the guest knows. */
	uint32_t forwarded, told;
	enum vsock_op reply; /* OP_INVALID: none */
	uint32_t shutdown_flags;
	bool input_ended; /* by the host's side */
	bool queued;      /* in the device's list */
	struct connection *next;
	char greeting[REQUEST_BYTES];
	unsigned greeting_bytes;
};

struct reset_reply {
	uint32_t host_port, guest_port;
};

struct virtio_vsock {
	struct virtio_device device;
	uint64_t registers; /* the guest's CID; immutable */
	char path[PATH_BYTES];

	/* Lane 0. */
	int listen_fd;
	struct virtio_watch listen_watch;
	bool running;
	uint32_t next_host_port;
	struct connection connections[MAX_CONNECTIONS];
	struct connection *first, *last; /* those with something for the guest */
	struct reset_reply resets[MAX_RESETS];
	unsigned nr_resets;
};

static struct virtio_vsock *vsock_of(struct virtio_device *device)
{
	return (struct virtio_vsock *)device;
}

/* Puts the connection behind the others that have something for the guest. */
static void queue_for_guest(struct connection *connection)
{
	struct virtio_vsock *vsock = connection->vsock;

	if (connection->queued)
		return;
	connection->queued = true;
	connection->next = NULL;
	if (vsock->last)
		vsock->last->next = connection;
	else
		vsock->first = connection;
	vsock->last = connection;
	virtio_serve_again(&vsock->device, QUEUE_RX);
}

static void reply(struct connection *connection, enum vsock_op op)
{
	static const uint8_t strength[] = { [OP_CREDIT_UPDATE] = 1,
		[OP_SHUTDOWN] = 2,
		[OP_RESPONSE] = 3,
		[OP_REQUEST] = 3,
		[OP_RST] = 4,
		[OP_CREDIT_REQUEST] = 0 };

	if (connection->reply == OP_INVALID || strength[op] > strength[connection->reply])
		connection->reply = op;
	queue_for_guest(connection);
}

static void close_stream(struct connection *connection)
{
	if (connection->stream.fd < 0)
		return;
	virtio_lane_unwatch(&connection->vsock->device.lanes[0], &connection->watch);
	vsock_stream_finish(&connection->stream);
}

static void free_connection(struct connection *connection)
{
	close_stream(connection);
	connection->phase = FREE;
	connection->reply = OP_INVALID;
}

/* Tells the guest; the connection is free when it has been told. */
static void reset_connection(struct connection *connection)
{
	close_stream(connection);
	if (connection->phase == GREETING) {
		connection->phase = FREE;
		return;
	}
	connection->phase = CLOSING;
	reply(connection, OP_RST);
}

static uint32_t guest_room(const struct connection *connection)
{
	uint32_t in_flight = connection->sent - connection->guest_fwd_cnt;

	return in_flight < connection->guest_buf_alloc ? connection->guest_buf_alloc - in_flight
						       : 0;
}

/* Reads the host's socket only if the guest can take it, and nothing is waiting already. */
static void update_watch(struct connection *connection)
{
	bool input = connection->phase == GREETING ||
		     (connection->phase == OPEN && !connection->queued &&
			     !connection->input_ended && guest_room(connection) > 0);

	if (connection->stream.fd >= 0)
		vsock_stream_want(&connection->stream, input);
}

static void note_forwarded(struct connection *connection, uint32_t bytes)
{
	connection->forwarded += bytes;
	if (connection->forwarded - connection->told >= VSOCK_BUFFER_BYTES / 2)
		reply(connection, OP_CREDIT_UPDATE);
}

static void answer_host(struct connection *connection)
{
	char text[REQUEST_BYTES];
	int length = snprintf(text, sizeof(text), "OK %u\n", connection->host_port);
	struct iovec iov = { text, (size_t)length };

	vsock_stream_write(&connection->stream, &iov, 1);
}

/* "CONNECT PORT\n", nothing else. Returns false if it is not. */
static bool parse_greeting(struct connection *connection)
{
	static const char word[] = "CONNECT ";
	const char *text = connection->greeting;
	char *end;
	unsigned long port;

	if (strncmp(text, word, sizeof(word) - 1) != 0 ||
		!isdigit((unsigned char)text[sizeof(word) - 1]))
		return false;
	errno = 0;
	port = strtoul(text + sizeof(word) - 1, &end, 10);
	if (errno || port > UINT32_MAX || strcmp(end, "\n") != 0)
		return false;
	connection->guest_port = (uint32_t)port;
	return true;
}

/* Byte by byte: what comes behind the line is the guest's. */
static void read_greeting(struct connection *connection)
{
	while (connection->greeting_bytes < REQUEST_BYTES - 1) {
		char *at = connection->greeting + connection->greeting_bytes;
		struct iovec iov = { at, 1 };
		ssize_t ret = vsock_stream_read(&connection->stream, &iov, 1);

		if (ret == -EAGAIN)
			return;
		if (ret <= 0)
			break;
		connection->greeting_bytes++;
		if (*at != '\n')
			continue;
		if (!parse_greeting(connection) || !connection->vsock->running)
			break;
		connection->phase = REQUESTED;
		reply(connection, OP_REQUEST);
		return;
	}
	free_connection(connection);
}

/* The host's socket can be read or written. Holds the lane. */
static void stream_ready(void *context)
{
	struct connection *connection = context;
	ssize_t flushed;

	if (connection->phase == GREETING) {
		read_greeting(connection);
		update_watch(connection);
		return;
	}
	flushed = vsock_stream_flush(&connection->stream);
	if (flushed < 0) {
		reset_connection(connection);
		return;
	}
	note_forwarded(connection, (uint32_t)flushed);
	if (connection->stream.wanted && connection->phase == OPEN && guest_room(connection))
		queue_for_guest(connection);
	update_watch(connection);
}

static struct connection *find(struct virtio_vsock *vsock, uint32_t host_port, uint32_t guest_port)
{
	for (unsigned i = 0; i < MAX_CONNECTIONS; i++) {
		struct connection *connection = &vsock->connections[i];

		if (connection->phase > GREETING && connection->host_port == host_port &&
			connection->guest_port == guest_port)
			return connection;
	}
	return NULL;
}

/* Takes `fd` over, also if it returns NULL. */
static struct connection *new_connection(
	struct virtio_vsock *vsock, int fd, enum connection_phase phase)
{
	struct connection *connection = NULL;

	for (unsigned i = 0; i < MAX_CONNECTIONS && !connection; i++)
		if (vsock->connections[i].phase == FREE && !vsock->connections[i].queued)
			connection = &vsock->connections[i];
	if (!connection) {
		close(fd);
		return NULL;
	}
	*connection = (struct connection){ .vsock = vsock, .phase = phase };
	if (vsock_stream_init(&connection->stream, fd) < 0) {
		close(fd);
		connection->phase = FREE;
		connection->stream.fd = -1;
		return NULL;
	}
	connection->watch = (struct virtio_watch){
		.fd = connection->stream.epoll_fd, .ready = stream_ready, .context = connection
	};
	if (virtio_lane_watch(&vsock->device.lanes[0], &connection->watch) < 0) {
		vsock_stream_finish(&connection->stream);
		connection->phase = FREE;
		return NULL;
	}
	return connection;
}

/* A client of the host's. Holds the lane. */
static void listener_ready(void *context)
{
	struct virtio_vsock *vsock = context;
	int fd = accept4(vsock->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct connection *connection;

	if (fd < 0)
		return;
	connection = new_connection(vsock, fd, GREETING);
	if (!connection)
		return;
	connection->host_port = vsock->next_host_port++;
	if (vsock->next_host_port < FIRST_HOST_PORT)
		vsock->next_host_port = FIRST_HOST_PORT;
	update_watch(connection);
}

static void refuse(struct virtio_vsock *vsock, const struct vsock_header *header)
{
	if (header->op == OP_RST || vsock->nr_resets == MAX_RESETS)
		return;
	vsock->resets[vsock->nr_resets++] =
		(struct reset_reply){ header->dst_port, header->src_port };
	virtio_serve_again(&vsock->device, QUEUE_RX);
}

/* Connects to the unix socket of a port. Returns -1 if nobody listens. */
static int connect_host(const struct virtio_vsock *vsock, uint32_t port)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int length = snprintf(address.sun_path, PATH_BYTES, "%s_%u", vsock->path, port), fd;

	if (length < 0 || (size_t)length >= PATH_BYTES)
		return -1;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

static void guest_requests(struct virtio_vsock *vsock, const struct vsock_header *header)
{
	struct connection *connection = NULL;
	int fd = connect_host(vsock, header->dst_port);

	if (fd >= 0)
		connection = new_connection(vsock, fd, OPEN);
	if (!connection) {
		refuse(vsock, header);
		return;
	}
	connection->host_port = header->dst_port;
	connection->guest_port = header->src_port;
	connection->guest_buf_alloc = header->buf_alloc;
	connection->guest_fwd_cnt = header->fwd_cnt;
	reply(connection, OP_RESPONSE);
}

static void guest_writes(struct connection *connection, const struct vsock_header *header,
	struct virtq_request *request)
{
	uint32_t kept = connection->stream.count;

	if (connection->phase != OPEN || header->length > request->readable_bytes ||
		header->length < request->readable_bytes || request->nr_readable > MAX_PIECES ||
		!vsock_stream_write(&connection->stream, request->readable, request->nr_readable)) {
		reset_connection(connection);
		return;
	}
	note_forwarded(connection, header->length - (connection->stream.count - kept));
}

static void guest_shuts_down(struct connection *connection, uint32_t flags)
{
	connection->shutdown_flags |= flags;
	if ((connection->shutdown_flags & SHUTDOWN_BOTH) == SHUTDOWN_BOTH) {
		vsock_stream_flush(&connection->stream);
		reset_connection(connection);
	} else if (flags & SHUTDOWN_SEND) {
		shutdown(connection->stream.fd, SHUT_WR);
	}
}

static void guest_says(struct connection *connection, const struct vsock_header *header,
	struct virtq_request *request)
{
	connection->guest_buf_alloc = header->buf_alloc;
	connection->guest_fwd_cnt = header->fwd_cnt;
	switch (header->op) {
	case OP_RESPONSE:
		if (connection->phase != REQUESTED) {
			reset_connection(connection);
			return;
		}
		connection->phase = OPEN;
		answer_host(connection);
		break;
	case OP_RST: free_connection(connection); return;
	case OP_SHUTDOWN: guest_shuts_down(connection, header->flags); break;
	case OP_RW: guest_writes(connection, header, request); break;
	case OP_CREDIT_UPDATE: break;
	case OP_CREDIT_REQUEST: reply(connection, OP_CREDIT_UPDATE); break;
	default: reset_connection(connection); return;
	}
	update_watch(connection);
}

static void take_packet(struct virtio_vsock *vsock, struct virtq_request *request)
{
	struct vsock_header header;
	struct connection *connection;

	if (virtq_read(request, &header, sizeof(header)) != sizeof(header) ||
		header.src_cid != vsock->registers)
		return;
	if (header.dst_cid != VSOCK_HOST_CID || header.type != VSOCK_TYPE_STREAM) {
		refuse(vsock, &header);
		return;
	}
	connection = find(vsock, header.dst_port, header.src_port);
	if (connection && connection->phase != CLOSING && header.op != OP_REQUEST)
		guest_says(connection, &header, request);
	else if (!connection && header.op == OP_REQUEST)
		guest_requests(vsock, &header);
	else if (connection && connection->phase != CLOSING)
		reset_connection(connection);
	else if (!connection)
		refuse(vsock, &header);
}

static bool serve_tx(struct virtio_vsock *vsock)
{
	struct virtq *queue = virtio_queue(&vsock->device, QUEUE_TX);
	struct virtq_request *request;

	while ((request = virtq_pop(queue)) != NULL) {
		take_packet(vsock, request);
		virtq_push(queue, request, 0);
	}
	return true;
}

static struct vsock_header header_to(
	const struct virtio_vsock *vsock, uint32_t host_port, uint32_t guest_port, enum vsock_op op)
{
	return (struct vsock_header){ .src_cid = VSOCK_HOST_CID,
		.dst_cid = vsock->registers,
		.src_port = host_port,
		.dst_port = guest_port,
		.type = VSOCK_TYPE_STREAM,
		.op = (uint16_t)op,
		.buf_alloc = VSOCK_BUFFER_BYTES };
}

static void push_header(struct virtio_vsock *vsock, struct virtq_request *request,
	const struct vsock_header *header, uint32_t data)
{
	/* Behind the header is `data` that was read into the request already. */
	virtq_write(request, header, sizeof(*header));
	virtq_push(virtio_queue(&vsock->device, QUEUE_RX), request, sizeof(*header) + data);
}

/* Where data goes in a buffer: behind the header. Returns the number of pieces. */
static unsigned data_pieces(
	const struct virtq_request *request, struct iovec pieces[MAX_PIECES], uint32_t limit)
{
	size_t skip = sizeof(struct vsock_header), left = limit;
	unsigned count = 0;

	for (unsigned i = 0; i < request->nr_writable && left && count < MAX_PIECES; i++) {
		struct iovec piece = request->writable[i];
		size_t skipped = skip < piece.iov_len ? skip : piece.iov_len;

		piece.iov_base = (uint8_t *)piece.iov_base + skipped;
		piece.iov_len -= skipped;
		skip -= skipped;
		if (piece.iov_len > left)
			piece.iov_len = left;
		left -= piece.iov_len;
		if (piece.iov_len)
			pieces[count++] = piece;
	}
	return count;
}

/* True if the buffer was used. */
static bool give_data(struct connection *connection, struct virtq_request *request)
{
	struct virtio_vsock *vsock = connection->vsock;
	struct vsock_header header =
		header_to(vsock, connection->host_port, connection->guest_port, OP_RW);
	uint32_t room = guest_room(connection);
	struct iovec pieces[MAX_PIECES];
	unsigned count = data_pieces(request, pieces, room < MAX_PACKET ? room : MAX_PACKET);
	ssize_t size = count ? vsock_stream_read(&connection->stream, pieces, count) : -EAGAIN;

	if (size == -EAGAIN)
		return false;
	if (size <= 0) {
		/* The host's client has closed its side: all that it sent was passed on. */
		connection->input_ended = true;
		header.op = OP_SHUTDOWN;
		header.flags = SHUTDOWN_BOTH;
		size = 0;
	}
	connection->sent += (uint32_t)size;
	connection->told = header.fwd_cnt = connection->forwarded;
	header.length = (uint32_t)size;
	push_header(vsock, request, &header, (uint32_t)size);
	return true;
}

static void give_reply(struct connection *connection, struct virtq_request *request)
{
	struct virtio_vsock *vsock = connection->vsock;
	struct vsock_header header =
		header_to(vsock, connection->host_port, connection->guest_port, connection->reply);

	connection->reply = OP_INVALID;
	connection->told = header.fwd_cnt = connection->forwarded;
	push_header(vsock, request, &header, 0);
	if (connection->phase == CLOSING)
		connection->phase = FREE;
}

/* Serves the first in the list. True if the buffer was used. */
static bool give_first(struct virtio_vsock *vsock, struct virtq_request *request)
{
	struct connection *connection = vsock->first;
	bool used = true;

	vsock->first = connection->next;
	if (!vsock->first)
		vsock->last = NULL;
	connection->queued = false;
	if (connection->reply != OP_INVALID)
		give_reply(connection, request);
	else if (connection->phase == OPEN && !connection->input_ended)
		used = give_data(connection, request);
	else
		used = false;
	/* What more there is waits behind the others. */
	if (used && connection->phase == OPEN && !connection->input_ended && guest_room(connection))
		queue_for_guest(connection);
	update_watch(connection);
	return used;
}

static bool serve_rx(struct virtio_vsock *vsock)
{
	struct virtq *queue = virtio_queue(&vsock->device, QUEUE_RX);
	struct virtq_request *request = NULL;

	while (vsock->first || vsock->nr_resets) {
		if (!request)
			request = virtq_pop(queue);
		if (!request)
			return true;
		if (request->writable_bytes < sizeof(struct vsock_header)) {
			virtq_push(queue, request, 0);
			request = NULL;
		} else if (vsock->nr_resets) {
			const struct reset_reply *reset = &vsock->resets[--vsock->nr_resets];
			struct vsock_header header =
				header_to(vsock, reset->host_port, reset->guest_port, OP_RST);

			push_header(vsock, request, &header, 0);
			request = NULL;
		} else if (give_first(vsock, request)) {
			request = NULL;
		}
	}
	if (request)
		virtq_unpop(queue, request);
	return false;
}

static bool vsock_serve(struct virtio_device *device, unsigned index)
{
	struct virtio_vsock *vsock = vsock_of(device);

	switch (index) {
	case QUEUE_RX: return serve_rx(vsock);
	case QUEUE_TX: return serve_tx(vsock);
	default: return false; /* buffers for events, of which there are none */
	}
}

static void vsock_started(struct virtio_device *device)
{
	struct virtio_vsock *vsock = vsock_of(device);

	virtio_lane_enter(&device->lanes[0]);
	vsock->running = true;
	virtio_lane_leave(&device->lanes[0]);
}

static void close_all(struct virtio_vsock *vsock)
{
	for (unsigned i = 0; i < MAX_CONNECTIONS; i++) {
		struct connection *connection = &vsock->connections[i];

		if (connection->phase != FREE)
			close_stream(connection);
		*connection = (struct connection){ .stream.fd = -1 };
	}
	vsock->first = vsock->last = NULL;
	vsock->nr_resets = 0;
}

static void vsock_reset(struct virtio_device *device)
{
	struct virtio_vsock *vsock = vsock_of(device);

	virtio_lane_enter(&device->lanes[0]);
	vsock->running = false;
	close_all(vsock);
	virtio_lane_leave(&device->lanes[0]);
}

static const struct virtio_device_type virtio_vsock_type = {
	.name = "virtio-vsock",
	.id = VIRTIO_ID_VSOCK,
	.pci_class = PCI_CLASS_OTHER,
	.serve = vsock_serve,
	.started = vsock_started,
	.reset = vsock_reset,
};

static int listen_at(struct virtio_vsock *vsock, const char *path, struct error *err)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	mode_t mask;
	int ret;

	/* A port's number is put behind it. */
	if (!*path || strlen(path) + sizeof("_4294967295") > PATH_BYTES)
		return error_set(err, EXIT_CODE_USAGE,
			"the path of a vsock has %zu characters at most; choose a shorter one",
			PATH_BYTES - sizeof("_4294967295"));
	strcpy(address.sun_path, path);
	vsock->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	mask = umask(0077);
	ret = bind(vsock->listen_fd, (struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
	umask(mask);
	if (ret == -EADDRINUSE)
		return error_set(err, EXIT_CODE_CONFIG,
			"the vsock's socket '%s' is there already; remove it, or choose another "
			"path",
			path);
	if (ret < 0)
		return error_set_errno(
			err, EXIT_CODE_CANNOT_WRITE, -ret, "cannot make the socket '%s'", path);
	strcpy(vsock->path, path);
	if (listen(vsock->listen_fd, SOMAXCONN) < 0)
		return error_set_errno(err, EXIT_CODE_HOST, errno, "cannot listen at '%s'", path);
	return 0;
}

static int vsock_init(
	struct virtio_vsock *vsock, const struct virtio_vsock_config *config, struct error *err)
{
	static const struct virtio_queue_config queues[NR_QUEUES] = {
		{ .size = QUEUE_SIZE },
		{ .size = QUEUE_SIZE },
		{ .size = QUEUE_SIZE },
	};
	const struct virtio_device_config device = {
		.name = config->name,
		.machine = config->machine,
		.config = &vsock->registers,
		.config_size = sizeof(vsock->registers),
		.queues = queues,
		.nr_queues = NR_QUEUES,
		.nr_lanes = 1,
	};
	int ret;

	if (listen_at(vsock, config->path, err) ||
		virtio_device_init(&vsock->device, &virtio_vsock_type, &device, err))
		return -EINVAL;
	vsock->listen_watch = (struct virtio_watch){
		.fd = vsock->listen_fd, .ready = listener_ready, .context = vsock
	};
	virtio_lane_enter(&vsock->device.lanes[0]);
	ret = virtio_lane_watch(&vsock->device.lanes[0], &vsock->listen_watch);
	virtio_lane_leave(&vsock->device.lanes[0]);
	if (ret < 0)
		return error_set_errno(
			err, EXIT_CODE_HOST, -ret, "cannot make the vsock '%s'", config->name);
	return 0;
}

int virtio_vsock_create(
	struct virtio_vsock **result, const struct virtio_vsock_config *config, struct error *err)
{
	struct virtio_vsock *vsock = calloc(1, sizeof(*vsock));

	if (!vsock)
		return error_set_errno(
			err, EXIT_CODE_HOST, ENOMEM, "cannot make the vsock '%s'", config->name);
	vsock->listen_fd = -1;
	vsock->registers = config->cid;
	vsock->next_host_port = FIRST_HOST_PORT;
	close_all(vsock);
	if (vsock_init(vsock, config, err)) {
		virtio_vsock_destroy(&vsock->device);
		return -EINVAL;
	}
	*result = vsock;
	return 0;
}

void virtio_vsock_destroy(struct virtio_device *device)
{
	struct virtio_vsock *vsock = vsock_of(device);

	if (!device)
		return;
	virtio_device_finish(&vsock->device);
	for (unsigned i = 0; i < MAX_CONNECTIONS; i++)
		if (vsock->connections[i].stream.fd >= 0)
			vsock_stream_finish(&vsock->connections[i].stream);
	if (*vsock->path)
		unlink(vsock->path);
	if (vsock->listen_fd >= 0)
		close(vsock->listen_fd);
	free(vsock);
}

struct virtio_device *virtio_vsock_device(struct virtio_vsock *vsock)
{
	return &vsock->device;
}
