#include "virtio/vhost_user.h"

#include "virtio/virtio_regs.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define ANSWER_S 10 /* how long a back end may take for one */

/* Where the back end finds the rings in its idea of guest memory: beyond any guest's. */
#define SHARED_ADDRESS (UINT64_C(1) << 56)

#define MAX_REGIONS 8 /* that every back end takes */

#define F_PROTOCOL_FEATURES BIT(30)

enum request {
	GET_FEATURES = 1,
	SET_FEATURES = 2,
	SET_OWNER = 3,
	SET_MEM_TABLE = 5,
	SET_VRING_NUM = 8,
	SET_VRING_ADDR = 9,
	SET_VRING_BASE = 10,
	SET_VRING_KICK = 12,
	SET_VRING_CALL = 13,
	GET_PROTOCOL_FEATURES = 15,
	SET_PROTOCOL_FEATURES = 16,
	SET_VRING_ENABLE = 18,
};

#define FLAGS_VERSION UINT32_C(0x1)
#define FLAGS_REPLY   UINT32_C(0x4)

struct vring_state {
	uint32_t index, value;
};

struct vring_address {
	uint32_t index, flags;
	uint64_t descriptors, used, available, log; /* in the front end's address space */
};

struct memory_region {
	uint64_t guest_address, size, user_address, offset;
};

struct memory_table {
	uint32_t count, padding;
	struct memory_region regions[MAX_REGIONS];
};

/* As it travels, but for the space between header and payload. */
struct message {
	uint32_t request, flags, size;
	union {
		uint64_t value;
		struct vring_state state;
		struct vring_address address;
		struct memory_table table;
	} payload;
};

#define HEADER_BYTES 12

static int send_message(
	const struct vhost_user *link, struct message *message, const int *fds, unsigned nr_fds)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(MAX_REGIONS * sizeof(int))];
	} control = { 0 };
	struct iovec parts[] = { { .iov_base = message, .iov_len = HEADER_BYTES },
		{ .iov_base = &message->payload, .iov_len = message->size } };
	struct msghdr header = { .msg_iov = parts, .msg_iovlen = 2 };
	ssize_t sent;

	message->flags = FLAGS_VERSION;
	if (nr_fds > 0) {
		header.msg_control = &control;
		header.msg_controllen = CMSG_SPACE(nr_fds * sizeof(int));
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(nr_fds * sizeof(int));
		memcpy(CMSG_DATA(&control.header), fds, nr_fds * sizeof(int));
	}
	sent = sendmsg(link->socket, &header, MSG_NOSIGNAL);
	if (sent < 0)
		return -errno;
	return (size_t)sent == HEADER_BYTES + message->size ? 0 : -EPROTO;
}

static int receive(const struct vhost_user *link, void *to, size_t bytes)
{
	ssize_t got = recv(link->socket, to, bytes, MSG_WAITALL);

	if (got < 0)
		return errno == EAGAIN ? -ETIMEDOUT : -errno;
	return (size_t)got == bytes ? 0 : -ECONNRESET;
}

static int get_value(const struct vhost_user *link, enum request request, uint64_t *value)
{
	struct message message = { .request = request };
	int rc = send_message(link, &message, NULL, 0);

	if (rc == 0)
		rc = receive(link, &message, HEADER_BYTES);
	if (rc == 0 && (message.request != (uint32_t)request || !(message.flags & FLAGS_REPLY) ||
			       message.size != sizeof(*value)))
		rc = -EPROTO;
	return rc < 0 ? rc : receive(link, value, sizeof(*value));
}

static int set_value(
	const struct vhost_user *link, enum request request, uint64_t value, const int *fd)
{
	struct message message = {
		.request = request, .size = sizeof(value), .payload.value = value
	};

	return send_message(link, &message, fd, fd ? 1 : 0);
}

static int set_state(
	const struct vhost_user *link, enum request request, unsigned index, uint32_t value)
{
	struct message message = { .request = request,
		.size = sizeof(message.payload.state),
		.payload.state = { .index = index, .value = value } };

	return send_message(link, &message, NULL, 0);
}

static int negotiate(const struct vhost_user *link)
{
	const uint64_t wanted = VIRTIO_F_VERSION_1 | F_PROTOCOL_FEATURES;
	uint64_t features = 0, protocol_features = 0;
	int rc = get_value(link, GET_FEATURES, &features);

	if (rc == 0 && (features & wanted) != wanted)
		rc = -EPROTO;
	if (rc == 0)
		rc = get_value(link, GET_PROTOCOL_FEATURES, &protocol_features);
	if (rc == 0)
		rc = set_value(link, SET_PROTOCOL_FEATURES, 0, NULL);
	if (rc == 0)
		rc = set_value(link, SET_OWNER, 0, NULL);
	if (rc == 0)
		rc = set_value(link, SET_FEATURES, wanted, NULL);
	return rc;
}

static int share_memory(
	const struct vhost_user *link, const struct guest_memory *memory, int shared_fd)
{
	struct message message = { .request = SET_MEM_TABLE };
	struct memory_table *table = &message.payload.table;
	int fds[MAX_REGIONS];
	unsigned count = 0;

	for (unsigned i = 0; i < memory->nr_regions; i++) {
		const struct ram_region *region = &memory->regions[i];

		if (region->movable || ram_region_kind(region) != RAM_WRITABLE)
			continue;
		if (region->fd < 0 || count + 1 == MAX_REGIONS)
			return -EOPNOTSUPP;
		fds[count] = region->fd;
		table->regions[count++] =
			(struct memory_region){ .guest_address = ram_region_base(region),
				.size = region->size,
				.user_address = (uintptr_t)region->host,
				.offset = region->fd_offset };
	}
	fds[count] = shared_fd;
	table->regions[count++] = (struct memory_region){ .guest_address = SHARED_ADDRESS,
		.size = link->shared_bytes,
		.user_address = (uintptr_t)link->shared };
	table->count = count;
	message.size = (uint32_t)(offsetof(struct memory_table, regions) +
				  count * sizeof(struct memory_region));
	return send_message(link, &message, fds, count);
}

static int start_queue(const struct vhost_user *link, unsigned index)
{
	const struct vhost_queue *queue = &link->queues[index];
	struct message message = { .request = SET_VRING_ADDR,
		.size = sizeof(message.payload.address),
		.payload.address = { .index = index,
			.descriptors = (uintptr_t)queue->ring.descriptors,
			.used = (uintptr_t)queue->ring.used,
			.available = (uintptr_t)queue->ring.available } };
	int rc = set_state(link, SET_VRING_NUM, index, VHOST_RING_SIZE);

	if (rc == 0)
		rc = set_state(link, SET_VRING_BASE, index, 0);
	if (rc == 0)
		rc = send_message(link, &message, NULL, 0);
	if (rc == 0)
		rc = set_value(link, SET_VRING_CALL, index, &queue->call_fd);
	if (rc == 0)
		rc = set_value(link, SET_VRING_KICK, index, &queue->kick_fd);
	if (rc == 0)
		rc = set_state(link, SET_VRING_ENABLE, index, 1);
	return rc;
}

static int create_rings(struct vhost_user *link, const struct guest_memory *memory, int *shared_fd)
{
	link->shared_bytes = (size_t)link->nr_queues * VHOST_RING_BYTES;
	*shared_fd = memfd_create("vhost-rings", MFD_CLOEXEC);
	if (*shared_fd < 0 || ftruncate(*shared_fd, (off_t)link->shared_bytes) < 0)
		return -errno;
	link->shared =
		mmap(NULL, link->shared_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, *shared_fd, 0);
	if (link->shared == MAP_FAILED) {
		link->shared = NULL;
		return -errno;
	}
	for (unsigned i = 0; i < link->nr_queues; i++) {
		struct vhost_queue *queue = &link->queues[i];

		vhost_ring_init(&queue->ring, memory, link->shared + i * VHOST_RING_BYTES,
			SHARED_ADDRESS + i * VHOST_RING_BYTES);
		queue->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		queue->call_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (queue->kick_fd < 0 || queue->call_fd < 0)
			return -errno;
	}
	return 0;
}

int vhost_user_connect(
	struct vhost_user *link, int socket, const struct guest_memory *memory, unsigned nr_queues)
{
	const struct timeval patience = { .tv_sec = ANSWER_S };
	uint64_t features;
	int shared_fd, rc;

	memset(link, 0, sizeof(*link));
	link->socket = socket;
	link->nr_queues = nr_queues;
	for (unsigned i = 0; i < VHOST_MAX_QUEUES; i++)
		link->queues[i].kick_fd = link->queues[i].call_fd = -1;
	setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	rc = create_rings(link, memory, &shared_fd);
	if (rc == 0)
		rc = negotiate(link);
	if (rc == 0)
		rc = share_memory(link, memory, shared_fd);
	for (unsigned i = 0; i < nr_queues && rc == 0; i++)
		rc = start_queue(link, i);
	/* What was sent is done in turn: an answer says that it was. */
	if (rc == 0)
		rc = get_value(link, GET_FEATURES, &features);
	if (shared_fd >= 0)
		close(shared_fd);
	if (rc < 0)
		vhost_user_disconnect(link);
	return rc;
}

void vhost_user_disconnect(struct vhost_user *link)
{
	for (unsigned i = 0; i < link->nr_queues; i++) {
		if (link->queues[i].kick_fd >= 0)
			close(link->queues[i].kick_fd);
		if (link->queues[i].call_fd >= 0)
			close(link->queues[i].call_fd);
	}
	if (link->shared)
		munmap(link->shared, link->shared_bytes);
	if (link->nr_queues > 0 && link->socket >= 0)
		close(link->socket);
	memset(link, 0, sizeof(*link));
	link->socket = -1;
}

void vhost_user_kick(struct vhost_user *link, unsigned index)
{
	const uint64_t one = 1;

	if (!vhost_ring_publish(&link->queues[index].ring))
		return;
	/* It fails only if a kick is pending already. */
	if (write(link->queues[index].kick_fd, &one, sizeof(one)) < 0)
		return;
}
