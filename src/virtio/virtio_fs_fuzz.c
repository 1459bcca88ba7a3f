/*
 * Fuzz target: what a driver, and a share server that went mad, can do to virtio-fs's front end.
 * The server is this target: it knows the rings through the descriptor that it was sent, answers
 * what it likes, and writes into them what it likes.
 */
#include "virtio/virtio_fs.h"

#include "base/vhost_user_protocol.h"
#include "virtio/vhost_ring.h"
#include "virtio/virtio_fuzz.h"

#include <linux/fuse.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define NR_QUEUES 2
#define MAX_FDS   16

struct server {
	int socket; /* its end; -1: there is none */
	int call[NR_QUEUES];
	uint8_t *shared;
	uint16_t answered[NR_QUEUES];
};

static struct server the_server;

/* In place of virtio_fs_server.c, which starts a process. */

static void answer(int fd, uint32_t request, uint64_t value)
{
	const uint32_t header[] = { request, VHOST_USER_FLAGS_VERSION | VHOST_USER_FLAGS_REPLY,
		sizeof(value) };
	uint8_t message[sizeof(header) + sizeof(value)];

	memcpy(message, header, sizeof(header));
	memcpy(message + sizeof(header), &value, sizeof(value));
	if (send(fd, message, sizeof(message), MSG_NOSIGNAL) != sizeof(message))
		abort();
}

static void forget(struct server *server)
{
	if (server->shared)
		munmap(server->shared, NR_QUEUES * VHOST_RING_BYTES);
	for (unsigned i = 0; i < NR_QUEUES; i++) {
		if (server->call[i] >= 0)
			close(server->call[i]);
	}
	if (server->socket >= 0)
		close(server->socket);
	*server = (struct server){ .socket = -1, .call = { -1, -1 } };
}

int virtio_fs_server_start(
	struct virtio_fs_server *server, const struct virtio_fs_server_config *config)
{
	const uint64_t features = VIRTIO_F_VERSION_1 | VHOST_USER_F_PROTOCOL_FEATURES;
	int pair[2];

	(void)server;
	(void)config;
	forget(&the_server);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	/* What will be asked is known: vhost_user_connect. */
	answer(pair[1], VHOST_USER_GET_FEATURES, features);
	answer(pair[1], VHOST_USER_GET_PROTOCOL_FEATURES, 0);
	answer(pair[1], VHOST_USER_GET_FEATURES, features);
	the_server.socket = pair[1];
	return pair[0];
}

void virtio_fs_server_end(struct virtio_fs_server *server)
{
	(void)server;
}

void virtio_fs_server_last_message(
	const struct virtio_fs_server *server, char text[static VIRTIO_FS_MESSAGE_BYTES])
{
	(void)server;
	memset(text, 0, VIRTIO_FS_MESSAGE_BYTES);
}

void virtio_fs_server_finish(struct virtio_fs_server *server)
{
	(void)server;
}

/* Takes the descriptors out of one message. */
static ssize_t read_message(struct server *server, uint32_t *request, int *fds, unsigned *nr_fds)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(MAX_FDS * sizeof(int))];
	} control;
	uint32_t header[3];
	uint8_t payload[sizeof(union vhost_user_payload)];
	struct iovec part = { header, sizeof(header) };
	struct msghdr message = { .msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control) };
	ssize_t got = recvmsg(server->socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	*nr_fds = 0;
	if (got != sizeof(header) || header[2] > sizeof(payload))
		return -1;
	if (message.msg_controllen >= CMSG_LEN(sizeof(int))) {
		*nr_fds = (unsigned)((control.header.cmsg_len - CMSG_LEN(0)) / sizeof(int));
		memcpy(fds, CMSG_DATA(&control.header), *nr_fds * sizeof(int));
	}
	*request = header[0];
	return header[2] ? recv(server->socket, payload, header[2], MSG_DONTWAIT) : 0;
}

/* What was said at the beginning, once it was said. */
static void listen_to(struct server *server)
{
	int fds[MAX_FDS];
	unsigned nr_fds, nr_calls = 0;
	uint32_t request;

	while (!server->shared && read_message(server, &request, fds, &nr_fds) >= 0) {
		if (request == VHOST_USER_SET_MEM_TABLE && nr_fds > 0)
			server->shared = mmap(NULL, NR_QUEUES * VHOST_RING_BYTES,
				PROT_READ | PROT_WRITE, MAP_SHARED, fds[nr_fds - 1], 0);
		for (unsigned i = 0; i < nr_fds; i++)
			close(fds[i]);
	}
	while (server->shared && nr_calls < NR_QUEUES &&
		read_message(server, &request, fds, &nr_fds) >= 0) {
		if (request == VHOST_USER_SET_VRING_CALL && nr_fds == 1) {
			server->call[nr_calls++] = fds[0];
			continue;
		}
		for (unsigned i = 0; i < nr_fds; i++)
			close(fds[i]);
	}
}

/* Uses the next entry, or one that was not given. The layout is vhost_ring_init's. */
static void use_entry(struct fuzz_input *input, struct server *server, unsigned queue)
{
	uint8_t *ring = server->shared + queue * VHOST_RING_BYTES;
	uint8_t *available = ring + VHOST_RING_SIZE * 16;
	uint8_t *used = available + 4096;
	uint16_t at = server->answered[queue]++ % VHOST_RING_SIZE, entry;
	struct virtq_used_element element;

	memcpy(&entry, available + VIRTQ_RING_ENTRIES + 2 * at, sizeof(entry));
	element = (struct virtq_used_element){ entry, fuzz_u8(input) };
	if (fuzz_u8(input) > 0xf8)
		element.id = fuzz_u16(input);
	memcpy(used + VIRTQ_RING_ENTRIES + sizeof(element) * at, &element, sizeof(element));
	memcpy(used + VIRTQ_RING_INDEX, &server->answered[queue], sizeof(server->answered[queue]));
}

static void happen(struct virtio_fuzz *fuzz, uint8_t what)
{
	const uint64_t one = 1;
	unsigned queue = what >> 4 & 1;
	struct server *server = &the_server;

	if (server->socket >= 0 && !server->shared)
		listen_to(server);
	if (!server->shared)
		return;
	switch (what % 8) {
	case 0: shutdown(server->socket, SHUT_RDWR); break;
	case 1: (void)!send(server->socket, &one, sizeof(one), MSG_NOSIGNAL); break;
	case 2:
		fuzz_bytes(&fuzz->input,
			server->shared +
				fuzz_u16(&fuzz->input) % (NR_QUEUES * VHOST_RING_BYTES - 16),
			4);
		break;
	default: use_entry(&fuzz->input, server, queue);
	}
	if (server->call[queue] >= 0)
		(void)!write(server->call[queue], &one, sizeof(one));
}

/* It goes, or the device waits for seconds. */
static void resetting(struct virtio_fuzz *fuzz)
{
	(void)fuzz;
	if (the_server.socket >= 0)
		shutdown(the_server.socket, SHUT_RDWR);
}

static size_t fs_head(struct virtio_fuzz *fuzz, unsigned queue, uint8_t head[FUZZ_HEAD])
{
	struct fuse_in_header header = {
		.len = fuzz_u8(&fuzz->input), .opcode = fuzz_u8(&fuzz->input) % 60, .unique = 7
	};

	(void)queue;
	memcpy(head, &header, sizeof(header));
	fuzz_bytes(&fuzz->input, head + sizeof(header), 8);
	return sizeof(header) + 8;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	static const struct virtio_fuzz_ops ops = {
		.head = fs_head, .happen = happen, .resetting = resetting
	};
	static struct virtio_fuzz fuzz;
	struct virtio_fs_config config = { .name = "share0", .directory = "/", .tag = "tag" };
	struct virtio_device *device;

	the_server = (struct server){ .socket = -1, .call = { -1, -1 } };
	virtio_fuzz_init(&fuzz, bytes, size);
	config.machine = &fuzz.pci.machine;
	config.read_only = fuzz_u8(&fuzz.input) & 1;
	if (virtio_fs_create(&device, &config, NULL))
		abort();
	virtio_fuzz_run(&fuzz, device, &ops);
	virtio_fs_destroy(device);
	forget(&the_server);
	virtio_fuzz_finish(&fuzz);
	return 0;
}
