#include "share/share_backend.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

/* VIRTIO_F_VERSION_1, and that there are protocol features, of which we have none. */
#define FEATURES (UINT64_C(1) << 32 | VHOST_USER_F_PROTOCOL_FEATURES)

/* As it travels, but for the space between header and payload. */
struct message {
	uint32_t type, flags, size;
	union vhost_user_payload payload;
	int fds[VHOST_USER_MAX_REGIONS];
	unsigned nr_fds;
};

/* Split rings (virtio 1.2, 2.7). */
#define DESC_NEXT       1
#define DESC_WRITE      2
#define USED_NO_NOTIFY  1
#define AVAIL_NO_SIGNAL 1

struct ring_desc {
	uint64_t address;
	uint32_t length;
	uint16_t flags, next;
};

struct ring_used {
	uint32_t id, length;
};

/* Memory. */

static void unmap_memory(struct share_backend *backend)
{
	for (unsigned i = 0; i < backend->nr_regions; i++)
		munmap(backend->regions[i].mapping, backend->regions[i].mapping_bytes);
	backend->nr_regions = 0;
}

static int map_region(struct share_backend *backend, const struct vhost_user_region *from, int fd)
{
	struct share_region *region = &backend->regions[backend->nr_regions];
	uint64_t bytes = from->offset + from->size;
	void *mapping;

	if (bytes < from->size || bytes > SIZE_MAX / 2 ||
		from->user_address + from->size < from->size ||
		from->guest_address + from->size < from->size)
		return -EINVAL;
	/* An offset need not be a multiple of a huge page. */
	mapping = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
	if (mapping == MAP_FAILED)
		return -errno;
	*region = (struct share_region){ .guest_address = from->guest_address,
		.size = from->size,
		.user_address = from->user_address,
		.host = (uint8_t *)mapping + from->offset,
		.mapping = mapping,
		.mapping_bytes = bytes };
	backend->nr_regions++;
	return 0;
}

static int set_memory(struct share_backend *backend, const struct message *message)
{
	uint32_t count = message->payload.memory.count;
	int rc = 0;

	if (count > VHOST_USER_MAX_REGIONS || count != message->nr_fds ||
		message->size < 8 + count * sizeof(struct vhost_user_region))
		return -EPROTO;
	unmap_memory(backend);
	for (uint32_t i = 0; i < count && rc == 0; i++)
		rc = map_region(backend, &message->payload.memory.regions[i], message->fds[i]);
	return rc;
}

static uint8_t *guest_bytes(const struct share_backend *backend, uint64_t address, uint64_t bytes)
{
	for (unsigned i = 0; i < backend->nr_regions; i++) {
		const struct share_region *region = &backend->regions[i];
		uint64_t offset = address - region->guest_address;

		if (offset < region->size && bytes <= region->size - offset)
			return region->host + offset;
	}
	return NULL;
}

static uint8_t *user_bytes(const struct share_backend *backend, uint64_t address, uint64_t bytes)
{
	for (unsigned i = 0; i < backend->nr_regions; i++) {
		const struct share_region *region = &backend->regions[i];
		uint64_t offset = address - region->user_address;

		if (offset < region->size && bytes <= region->size - offset)
			return region->host + offset;
	}
	return NULL;
}

/* Messages. */

static void close_fds(struct message *message)
{
	for (unsigned i = 0; i < message->nr_fds; i++) {
		if (message->fds[i] >= 0)
			close(message->fds[i]);
	}
	message->nr_fds = 0;
}

static int receive_header(struct share_backend *backend, struct message *message)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(message->fds))];
	} control;
	struct iovec part = { .iov_base = message, .iov_len = VHOST_USER_HEADER_BYTES };
	struct msghdr header = { .msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control) };
	ssize_t got = recvmsg(backend->socket, &header, MSG_WAITALL | MSG_CMSG_CLOEXEC);
	const struct cmsghdr *first;

	message->nr_fds = 0;
	if (got < 0)
		return -errno;
	first = CMSG_FIRSTHDR(&header);
	if (first && first->cmsg_level == SOL_SOCKET && first->cmsg_type == SCM_RIGHTS) {
		message->nr_fds = (unsigned)((first->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		memcpy(message->fds, CMSG_DATA(first), message->nr_fds * sizeof(int));
	}
	if (got != VHOST_USER_HEADER_BYTES)
		return -ECONNRESET;
	return message->size > sizeof(message->payload) ? -EPROTO : 0;
}

static int answer_value(
	const struct share_backend *backend, const struct message *to, uint64_t value)
{
	struct message answer = { .type = to->type,
		.flags = VHOST_USER_FLAGS_VERSION | VHOST_USER_FLAGS_REPLY,
		.size = sizeof(value),
		.payload.value = value };
	struct iovec parts[] = { { .iov_base = &answer, .iov_len = VHOST_USER_HEADER_BYTES },
		{ .iov_base = &answer.payload, .iov_len = sizeof(value) } };
	struct msghdr header = { .msg_iov = parts, .msg_iovlen = 2 };

	return sendmsg(backend->socket, &header, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

/* Takes the descriptor that a message brought over. */
static void set_fd(int *place, struct message *message)
{
	if (*place >= 0)
		close(*place);
	*place = -1;
	if (message->nr_fds > 0) {
		*place = message->fds[0];
		message->fds[0] = -1;
	}
}

static int set_ring(
	struct share_backend *backend, struct share_queue *queue, struct message *message)
{
	const struct vhost_user_vring_address *address = &message->payload.address;
	uint32_t value = message->payload.state.value;

	(void)backend;
	switch (message->type) {
	case VHOST_USER_SET_VRING_NUM:
		if (value == 0 || value > 32768 || (value & (value - 1)))
			return -EPROTO;
		queue->size = (uint16_t)value;
		return 0;
	case VHOST_USER_SET_VRING_BASE:
		queue->next_available = queue->next_used = (uint16_t)value;
		return 0;
	case VHOST_USER_SET_VRING_ADDR:
		queue->descriptors = address->descriptors;
		queue->available = address->available;
		queue->used = address->used;
		return 0;
	case VHOST_USER_SET_VRING_KICK: set_fd(&queue->kick_fd, message); return 0;
	case VHOST_USER_SET_VRING_CALL: set_fd(&queue->call_fd, message); return 0;
	default: return 0;
	}
}

static int obey(struct share_backend *backend, struct message *message)
{
	uint32_t index = message->payload.state.index;

	switch (message->type) {
	case VHOST_USER_GET_FEATURES: return answer_value(backend, message, FEATURES);
	case VHOST_USER_GET_PROTOCOL_FEATURES: return answer_value(backend, message, 0);
	case VHOST_USER_SET_FEATURES:
	case VHOST_USER_SET_PROTOCOL_FEATURES:
	case VHOST_USER_SET_OWNER: return 0;
	case VHOST_USER_SET_MEM_TABLE: return set_memory(backend, message);
	case VHOST_USER_SET_VRING_KICK:
	case VHOST_USER_SET_VRING_CALL: index = message->payload.value & 0xff; break;
	case VHOST_USER_SET_VRING_NUM:
	case VHOST_USER_SET_VRING_ADDR:
	case VHOST_USER_SET_VRING_BASE:
	case VHOST_USER_SET_VRING_ENABLE: break;
	default: return -EPROTO;
	}
	return index < SHARE_MAX_QUEUES ? set_ring(backend, &backend->queues[index], message)
					: -EPROTO;
}

int share_backend_receive(struct share_backend *backend)
{
	struct message message;
	int rc;

	memset(&message.payload, 0, sizeof(message.payload));
	rc = receive_header(backend, &message);
	if (rc == 0 && message.size > 0 &&
		recv(backend->socket, &message.payload, message.size, MSG_WAITALL) !=
			(ssize_t)message.size)
		rc = -ECONNRESET;
	if (rc == 0)
		rc = obey(backend, &message);
	close_fds(&message);
	return rc;
}

/* Requests. */

struct chain {
	unsigned nr_in, nr_out;
};

/* Makes memory of the chain at `head`; false if it is none. */
static bool read_chain(struct share_backend *backend, const struct share_queue *queue,
	const uint8_t *table, uint16_t head, struct chain *chain)
{
	struct ring_desc desc = { .flags = DESC_NEXT, .next = head };

	*chain = (struct chain){ 0 };
	for (unsigned steps = 0; desc.flags & DESC_NEXT; steps++) {
		bool writable;
		uint8_t *bytes;

		if (steps == queue->size || desc.next >= queue->size)
			return false;
		memcpy(&desc, table + desc.next * sizeof(desc), sizeof(desc));
		writable = desc.flags & DESC_WRITE;
		bytes = guest_bytes(backend, desc.address, desc.length);
		if (!bytes || (!writable && chain->nr_out > 0) ||
			(writable ? chain->nr_out : chain->nr_in) == SHARE_MAX_PIECES)
			return false;
		if (writable)
			backend->out[chain->nr_out++] =
				(struct iovec){ .iov_base = bytes, .iov_len = desc.length };
		else
			backend->in[chain->nr_in++] =
				(struct iovec){ .iov_base = bytes, .iov_len = desc.length };
	}
	return true;
}

static void signal_front_end(const struct share_queue *queue, const uint8_t *available)
{
	const uint64_t one = 1;
	uint16_t flags;

	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	memcpy(&flags, available, sizeof(flags));
	/* A write fails only if a signal is pending already. */
	if (queue->call_fd < 0 || (flags & AVAIL_NO_SIGNAL) ||
		write(queue->call_fd, &one, sizeof(one)) < 0)
		return;
}

static void set_notify(uint8_t *used, bool wanted)
{
	__atomic_store_n((uint16_t *)(void *)used, wanted ? 0 : USED_NO_NOTIFY, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static uint16_t available_index(const uint8_t *available)
{
	return __atomic_load_n((const uint16_t *)(const void *)(available + 2), __ATOMIC_ACQUIRE);
}

void share_backend_serve(struct share_backend *backend, struct share_queue *queue)
{
	const size_t size = queue->size;
	const uint8_t *table = user_bytes(backend, queue->descriptors, 16 * size);
	const uint8_t *available = user_bytes(backend, queue->available, 4 + 2 * size);
	uint8_t *used = user_bytes(backend, queue->used, 4 + 8 * size);

	if (size == 0 || !table || !available || !used || ((uintptr_t)available & 1) != 0 ||
		((uintptr_t)used & 3) != 0)
		return;
	set_notify(used, false);
	for (;;) {
		struct ring_used element = { 0 };
		struct chain chain;
		uint16_t head;

		if (available_index(available) == queue->next_available) {
			set_notify(used, true);
			if (available_index(available) == queue->next_available)
				return;
			set_notify(used, false);
		}
		memcpy(&head, available + 4 + 2 * (queue->next_available++ % size), sizeof(head));
		element.id = head;
		if (read_chain(backend, queue, table, head, &chain))
			element.length = (uint32_t)share_serve(backend->share, backend->in,
				chain.nr_in, backend->out, chain.nr_out);
		memcpy(used + 4 + 8 * (queue->next_used++ % size), &element, sizeof(element));
		__atomic_store_n(
			(uint16_t *)(void *)(used + 2), queue->next_used, __ATOMIC_RELEASE);
		signal_front_end(queue, available);
	}
}

void share_backend_init(struct share_backend *backend, struct share *share, int socket)
{
	memset(backend, 0, sizeof(*backend));
	backend->share = share;
	backend->socket = socket;
	for (unsigned i = 0; i < SHARE_MAX_QUEUES; i++)
		backend->queues[i].kick_fd = backend->queues[i].call_fd = -1;
}

void share_backend_finish(struct share_backend *backend)
{
	unmap_memory(backend);
	for (unsigned i = 0; i < SHARE_MAX_QUEUES; i++) {
		if (backend->queues[i].kick_fd >= 0)
			close(backend->queues[i].kick_fd);
		if (backend->queues[i].call_fd >= 0)
			close(backend->queues[i].call_fd);
	}
}
