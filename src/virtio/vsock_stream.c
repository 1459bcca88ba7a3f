/*
 * The host's end of a vsock connection (vsock_stream.h). Owned by the lane of its device.
 */
#include "virtio/vsock_stream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

int vsock_stream_init(struct vsock_stream *stream, int fd)
{
	*stream = (struct vsock_stream){ .fd = -1, .epoll_fd = epoll_create1(EPOLL_CLOEXEC) };
	if (stream->epoll_fd < 0)
		return -errno;
	stream->fd = fd;
	return 0;
}

void vsock_stream_finish(struct vsock_stream *stream)
{
	close(stream->fd);
	close(stream->epoll_fd);
	free(stream->buffer);
	*stream = (struct vsock_stream){ .fd = -1, .epoll_fd = -1 };
}

static void watch(struct vsock_stream *stream, uint32_t wanted)
{
	struct epoll_event event = { .events = wanted };

	if (wanted == stream->wanted)
		return;
	/* A peer that hangs up is always ready: while nothing is wanted it is not looked at. */
	if (!wanted)
		epoll_ctl(stream->epoll_fd, EPOLL_CTL_DEL, stream->fd, NULL);
	else
		epoll_ctl(stream->epoll_fd, stream->wanted ? EPOLL_CTL_MOD : EPOLL_CTL_ADD,
			stream->fd, &event);
	stream->wanted = wanted;
}

void vsock_stream_want(struct vsock_stream *stream, bool input)
{
	watch(stream, (input ? (uint32_t)EPOLLIN : 0) | (stream->count ? (uint32_t)EPOLLOUT : 0));
}

static bool keep(struct vsock_stream *stream, const uint8_t *bytes, size_t size)
{
	if (!stream->buffer)
		stream->buffer = malloc(VSOCK_BUFFER_BYTES);
	if (!stream->buffer || size > VSOCK_BUFFER_BYTES - stream->count)
		return false;
	while (size) {
		uint32_t at = (stream->head + stream->count) % VSOCK_BUFFER_BYTES;
		size_t part = VSOCK_BUFFER_BYTES - at < size ? VSOCK_BUFFER_BYTES - at : size;

		memcpy(stream->buffer + at, bytes, part);
		stream->count += (uint32_t)part;
		bytes += part;
		size -= part;
	}
	return true;
}

bool vsock_stream_write(struct vsock_stream *stream, const struct iovec *iov, unsigned count)
{
	struct msghdr message = { .msg_iov = (struct iovec *)iov, .msg_iovlen = count };
	size_t sent = 0;

	if (!stream->count) {
		ssize_t ret = sendmsg(stream->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (ret < 0 && errno != EAGAIN && errno != EINTR)
			return false;
		sent = ret > 0 ? (size_t)ret : 0;
	}
	for (unsigned i = 0; i < count; i++) {
		size_t skip = sent < iov[i].iov_len ? sent : iov[i].iov_len;

		if (!keep(stream, (const uint8_t *)iov[i].iov_base + skip, iov[i].iov_len - skip))
			return false;
		sent -= skip;
	}
	vsock_stream_want(stream, stream->wanted & EPOLLIN);
	return true;
}

ssize_t vsock_stream_flush(struct vsock_stream *stream)
{
	ssize_t flushed = 0;

	while (stream->count) {
		uint32_t end = VSOCK_BUFFER_BYTES - stream->head;
		ssize_t sent = send(stream->fd, stream->buffer + stream->head,
			stream->count < end ? stream->count : end, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (sent < 0 && (errno == EAGAIN || errno == EINTR))
			break;
		if (sent < 0)
			return -EPIPE;
		stream->head = (stream->head + (uint32_t)sent) % VSOCK_BUFFER_BYTES;
		stream->count -= (uint32_t)sent;
		flushed += sent;
	}
	vsock_stream_want(stream, stream->wanted & EPOLLIN);
	return flushed;
}

ssize_t vsock_stream_read(struct vsock_stream *stream, const struct iovec *iov, unsigned count)
{
	struct msghdr message = { .msg_iov = (struct iovec *)iov, .msg_iovlen = count };
	ssize_t received = recvmsg(stream->fd, &message, MSG_DONTWAIT);

	if (received >= 0)
		return received;
	return errno == EINTR ? -EAGAIN : -errno;
}
