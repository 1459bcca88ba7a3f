#include "virtio/vhost_net.h"

#include "virtio/vhost_memory.h"
#include "virtio/virtio_net_regs.h"
#include "virtio/virtio_regs.h"
#include "virtio/virtqueue_ring.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define DEVICE_PATH "/dev/vhost-net"

/* Of the features those that change what the kernel does; offloads are the tap's. */
#define NEEDED (VIRTIO_F_VERSION_1 | VIRTIO_F_EVENT_IDX | VIRTIO_F_INDIRECT_DESC | NET_F_MRG_RXBUF)

static int command(const struct vhost_net *link, unsigned long request, const void *argument)
{
	return ioctl(link->fd, request, argument) < 0 ? -errno : 0;
}

static int set_file(const struct vhost_net *link, unsigned long request, unsigned index, int fd)
{
	const struct vhost_ring_file file = { .index = index, .fd = fd };

	return command(link, request, &file);
}

static int open_eventfds(struct vhost_net *link)
{
	for (unsigned i = 0; i < VHOST_NET_QUEUES; i++) {
		link->call_fds[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		link->error_fds[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (link->call_fds[i] < 0 || link->error_fds[i] < 0)
			return -errno;
	}
	return 0;
}

static const struct vhost_net closed = {
	.fd = -1, .call_fds = { -1, -1 }, .error_fds = { -1, -1 }
};

int vhost_net_open(struct vhost_net *link, struct error *err)
{
	int rc;

	*link = closed;
	link->fd = open(DEVICE_PATH, O_RDWR | O_CLOEXEC);
	if (link->fd < 0 && (errno == EACCES || errno == EPERM))
		return error_set(err, EXIT_CODE_PERMISSION,
			"--net vhost=on may not open " DEVICE_PATH
			"; give this user access to it, or leave vhost=on away");
	if (link->fd < 0)
		return error_set_errno(err, EXIT_CODE_UNAVAILABLE, errno,
			"--net vhost=on cannot open " DEVICE_PATH
			"; load the kernel module vhost_net, or leave vhost=on away");
	rc = command(link, VHOST_IOCTL_SET_OWNER, NULL);
	if (rc == 0)
		rc = command(link, VHOST_IOCTL_GET_FEATURES, &link->features);
	if (rc == 0)
		rc = open_eventfds(link);
	if (rc < 0)
		return error_set_errno(
			err, EXIT_CODE_HOST, -rc, "--net vhost=on cannot use " DEVICE_PATH);
	if ((link->features & NEEDED) != NEEDED)
		return error_set(err, EXIT_CODE_UNAVAILABLE,
			"--net vhost=on: the host's kernel is too old for it; leave vhost=on away");
	return 0;
}

static void close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
}

void vhost_net_close(struct vhost_net *link)
{
	close_fd(link->fd);
	for (unsigned i = 0; i < VHOST_NET_QUEUES; i++) {
		close_fd(link->call_fds[i]);
		close_fd(link->error_fds[i]);
	}
	*link = closed;
}

int vhost_net_set_memory(const struct vhost_net *link, const struct guest_memory *memory)
{
	union {
		struct vhost_memory table;
		uint8_t bytes[VHOST_MEMORY_BYTES];
	} room = { .bytes = { 0 } };
	int rc = vhost_memory_describe(&room.table, memory);

	return rc < 0 ? rc : command(link, VHOST_IOCTL_SET_MEMORY, &room);
}

static int set_ring(const struct vhost_net *link, unsigned index, const struct virtq *queue)
{
	const struct vhost_ring_value size = { .index = index, .value = queue->state.size };
	const struct vhost_ring_value base = { .index = index, .value = queue->state.next_avail };
	const struct vhost_ring_addresses addresses = {
		.index = index,
		.descriptors = (uintptr_t)queue->descriptors,
		.available = (uintptr_t)queue->driver_area,
		.used = (uintptr_t)queue->device_area,
	};
	int rc = command(link, VHOST_IOCTL_SET_RING_SIZE, &size);

	if (rc == 0)
		rc = command(link, VHOST_IOCTL_SET_POSITION, &base);
	if (rc == 0)
		rc = command(link, VHOST_IOCTL_SET_ADDRESSES, &addresses);
	return rc;
}

int vhost_net_start(const struct vhost_net *link, unsigned index, const struct virtq *queue,
	uint64_t features, int kick_fd, int tap_fd)
{
	const uint64_t one = 1, agreed = features & link->features & NEEDED;
	int rc = command(link, VHOST_IOCTL_SET_FEATURES, &agreed);

	if (rc == 0)
		rc = set_ring(link, index, queue);
	if (rc == 0)
		rc = set_file(link, VHOST_IOCTL_SET_CALL, index, link->call_fds[index]);
	if (rc == 0)
		rc = set_file(link, VHOST_IOCTL_SET_ERROR, index, link->error_fds[index]);
	if (rc == 0)
		rc = set_file(link, VHOST_IOCTL_SET_KICK, index, kick_fd);
	if (rc == 0)
		rc = set_file(link, VHOST_IOCTL_NET_SET_SOCKET, index, tap_fd);
	if (rc < 0) {
		set_file(link, VHOST_IOCTL_SET_KICK, index, -1);
		return rc;
	}
	/* What is there already. It fails only after 2^64 times. */
	return write(kick_fd, &one, sizeof(one)) < 0 ? 0 : rc;
}

void vhost_net_stop(const struct vhost_net *link, unsigned index, struct virtq *queue)
{
	struct vhost_ring_value base = { .index = index };

	set_file(link, VHOST_IOCTL_NET_SET_SOCKET, index, -1);
	set_file(link, VHOST_IOCTL_SET_KICK, index, -1);
	if (command(link, VHOST_IOCTL_GET_POSITION, &base) == 0)
		queue->state.next_avail = (uint16_t)base.value;
	/* Where the kernel goes on itself, had it been started again. */
	queue->state.next_used = virtq_load16(queue->device_area + VIRTQ_RING_INDEX);
}
