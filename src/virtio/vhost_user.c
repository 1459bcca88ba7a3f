#include "virtio/vhost_user.h"

#include "base/vhost_user_protocol.h"
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

/* As it travels, but for the space between header and payload. */
struct message {
	uint32_t request, flags, size;
	union vhost_user_payload payload;
};

static int send_message(
	const struct vhost_user *link, struct message *message, const int *fds, unsigned nr_fds)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(VHOST_USER_MAX_REGIONS * sizeof(int))];
	} control = { 0 };
	struct iovec parts[] = { { .iov_base = message, .iov_len = VHOST_USER_HEADER_BYTES },
		{ .iov_base = &message->payload, .iov_len = message->size } };
	struct msghdr header = { .msg_iov = parts, .msg_iovlen = 2 };
	ssize_t sent;

	message->flags = VHOST_USER_FLAGS_VERSION;
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
	return (size_t)sent == VHOST_USER_HEADER_BYTES + message->size ? 0 : -EPROTO;
}

static int receive(const struct vhost_user *link, void *to, size_t bytes)
{
	ssize_t got = recv(link->socket, to, bytes, MSG_WAITALL);

	if (got < 0)
		return errno == EAGAIN ? -ETIMEDOUT : -errno;
	return (size_t)got == bytes ? 0 : -ECONNRESET;
}

static int get_value(
	const struct vhost_user *link, enum vhost_user_request request, uint64_t *value)
{
	struct message message = { .request = request };
	int rc = send_message(link, &message, NULL, 0);

	if (rc == 0)
		rc = receive(link, &message, VHOST_USER_HEADER_BYTES);
	if (rc == 0 && (message.request != (uint32_t)request ||
			       !(message.flags & VHOST_USER_FLAGS_REPLY) ||
			       message.size != sizeof(*value)))
		rc = -EPROTO;
	return rc < 0 ? rc : receive(link, value, sizeof(*value));
}

static int set_value(const struct vhost_user *link, enum vhost_user_request request, uint64_t value,
	const int *fd)
{
	struct message message = {
		.request = request, .size = sizeof(value), .payload.value = value
	};

	return send_message(link, &message, fd, fd ? 1 : 0);
}

static int set_state(const struct vhost_user *link, enum vhost_user_request request, unsigned index,
	uint32_t value)
{
	struct message message = { .request = request,
		.size = sizeof(message.payload.state),
		.payload.state = { .index = index, .value = value } };

	return send_message(link, &message, NULL, 0);
}

static int negotiate(const struct vhost_user *link)
{
	const uint64_t wanted = VIRTIO_F_VERSION_1 | VHOST_USER_F_PROTOCOL_FEATURES;
	uint64_t features = 0, protocol_features = 0;
	int rc = get_value(link, VHOST_USER_GET_FEATURES, &features);

	if (rc == 0 && (features & wanted) != wanted)
		rc = -EPROTO;
	if (rc == 0)
		rc = get_value(link, VHOST_USER_GET_PROTOCOL_FEATURES, &protocol_features);
	if (rc == 0)
		rc = set_value(link, VHOST_USER_SET_PROTOCOL_FEATURES, 0, NULL);
	if (rc == 0)
		rc = set_value(link, VHOST_USER_SET_OWNER, 0, NULL);
	if (rc == 0)
		rc = set_value(link, VHOST_USER_SET_FEATURES, wanted, NULL);
	return rc;
}

static int share_memory(
	const struct vhost_user *link, const struct guest_memory *memory, int shared_fd)
{
	struct message message = { .request = VHOST_USER_SET_MEM_TABLE };
	struct vhost_user_memory *table = &message.payload.memory;
	int fds[VHOST_USER_MAX_REGIONS];
	unsigned count = 0;

	for (unsigned i = 0; i < memory->nr_regions; i++) {
		const struct ram_region *region = &memory->regions[i];

		if (region->movable || ram_region_kind(region) != RAM_WRITABLE)
			continue;
		if (region->fd < 0 || count + 1 == VHOST_USER_MAX_REGIONS)
			return -EOPNOTSUPP;
		fds[count] = region->fd;
		table->regions[count++] =
			(struct vhost_user_region){ .guest_address = ram_region_base(region),
				.size = region->size,
				.user_address = (uintptr_t)region->host,
				.offset = region->fd_offset };
	}
	fds[count] = shared_fd;
	table->regions[count++] = (struct vhost_user_region){ .guest_address = SHARED_ADDRESS,
		.size = link->shared_bytes,
		.user_address = (uintptr_t)link->shared };
	table->count = count;
	message.size = (uint32_t)(offsetof(struct vhost_user_memory, regions) +
				  count * sizeof(struct vhost_user_region));
	return send_message(link, &message, fds, count);
}

static int start_queue(const struct vhost_user *link, unsigned index)
{
	const struct vhost_queue *queue = &link->queues[index];
	struct message message = { .request = VHOST_USER_SET_VRING_ADDR,
		.size = sizeof(message.payload.address),
		.payload.address = { .index = index,
			.descriptors = (uintptr_t)queue->ring.descriptors,
			.used = (uintptr_t)queue->ring.used,
			.available = (uintptr_t)queue->ring.available } };
	int rc = set_state(link, VHOST_USER_SET_VRING_NUM, index, VHOST_RING_SIZE);

	if (rc == 0)
		rc = set_state(link, VHOST_USER_SET_VRING_BASE, index, 0);
	if (rc == 0)
		rc = send_message(link, &message, NULL, 0);
	if (rc == 0)
		rc = set_value(link, VHOST_USER_SET_VRING_CALL, index, &queue->call_fd);
	if (rc == 0)
		rc = set_value(link, VHOST_USER_SET_VRING_KICK, index, &queue->kick_fd);
	if (rc == 0)
		rc = set_state(link, VHOST_USER_SET_VRING_ENABLE, index, 1);
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
		rc = get_value(link, VHOST_USER_GET_FEATURES, &features);
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
