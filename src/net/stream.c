/*
 * Length-prefixed frames on a stream socket (stream.h). Input is read in large pieces: a frame
 * costs less than a system call.
 */
#include "net/stream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LENGTH_BYTES 4
#define INPUT_BYTES  (4 * (LENGTH_BYTES + NET_MAX_FRAME))
#define OUTPUT_BYTES (LENGTH_BYTES + NET_MAX_FRAME)
#define MAX_PIECES   64

int net_stream_init(struct net_stream *stream)
{
	*stream = (struct net_stream){ .fd = -1 };
	stream->input = malloc(INPUT_BYTES);
	stream->output = malloc(OUTPUT_BYTES);
	return stream->input && stream->output ? 0 : -ENOMEM;
}

void net_stream_finish(struct net_stream *stream)
{
	if (stream->fd >= 0)
		close(stream->fd);
	free(stream->input);
	free(stream->output);
}

void net_stream_connect(struct net_stream *stream, int fd)
{
	if (stream->fd >= 0)
		close(stream->fd);
	stream->fd = fd;
	stream->begin = stream->end = 0;
	stream->is_empty = false;
	stream->output_begin = stream->output_end = 0;
}

static bool would_block(int error)
{
	return error == EAGAIN || error == EWOULDBLOCK || error == EINTR;
}

int net_stream_flush(struct net_stream *stream)
{
	while (stream->output_begin < stream->output_end) {
		ssize_t sent = send(stream->fd, stream->output + stream->output_begin,
			stream->output_end - stream->output_begin, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (sent < 0)
			return would_block(errno) ? -EAGAIN : -EPIPE;
		stream->output_begin += (size_t)sent;
	}
	return 0;
}

/* Keeps what follows the first `sent` bytes. */
static void keep_rest(
	struct net_stream *stream, const struct iovec *iov, unsigned count, size_t sent)
{
	stream->output_begin = stream->output_end = 0;
	for (unsigned i = 0; i < count; i++) {
		size_t skip = sent < iov[i].iov_len ? sent : iov[i].iov_len;
		size_t left = iov[i].iov_len - skip;

		memcpy(stream->output + stream->output_end, (const uint8_t *)iov[i].iov_base + skip,
			left);
		stream->output_end += left;
		sent -= skip;
	}
}

int net_stream_send(struct net_stream *stream, const struct iovec *iov, unsigned count)
{
	struct iovec pieces[MAX_PIECES + 1];
	struct msghdr message = { .msg_iov = pieces, .msg_iovlen = count + 1 };
	size_t size = 0;
	uint8_t length[LENGTH_BYTES];
	ssize_t sent;
	int ret;

	if (stream->fd < 0)
		return -EPIPE;
	ret = net_stream_flush(stream);
	if (ret)
		return ret;
	if (count > MAX_PIECES)
		return -EMSGSIZE;
	for (unsigned i = 0; i < count; i++) {
		pieces[i + 1] = iov[i];
		size += iov[i].iov_len;
	}
	for (unsigned i = 0; i < LENGTH_BYTES; i++)
		length[i] = (uint8_t)(size >> 8 * (LENGTH_BYTES - 1 - i));
	pieces[0] = (struct iovec){ length, LENGTH_BYTES };
	sent = sendmsg(stream->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (sent < 0)
		return would_block(errno) ? -EAGAIN : -EPIPE;
	if ((size_t)sent < LENGTH_BYTES + size)
		keep_rest(stream, pieces, count + 1, (size_t)sent);
	return 0;
}

static size_t length_at(const uint8_t *at)
{
	return (size_t)at[0] << 24 | (size_t)at[1] << 16 | (size_t)at[2] << 8 | at[3];
}

/* Reads what there is room for. Returns 0, -EAGAIN or -EPIPE. */
static int fill(struct net_stream *stream)
{
	ssize_t received;

	memmove(stream->input, stream->input + stream->begin, stream->end - stream->begin);
	stream->end -= stream->begin;
	stream->begin = 0;
	received = recv(
		stream->fd, stream->input + stream->end, INPUT_BYTES - stream->end, MSG_DONTWAIT);
	if (received < 0)
		return would_block(errno) ? -EAGAIN : -EPIPE;
	if (!received)
		return -EPIPE;
	stream->is_empty = (size_t)received < INPUT_BYTES - stream->end;
	stream->end += (size_t)received;
	return 0;
}

ssize_t net_stream_receive(struct net_stream *stream, uint8_t *frame)
{
	if (stream->fd < 0)
		return 0;
	for (;;) {
		const uint8_t *at = stream->input + stream->begin;
		size_t have = stream->end - stream->begin;
		size_t size = have >= LENGTH_BYTES ? length_at(at) : 0;
		int ret;

		if (have >= LENGTH_BYTES && (!size || size > NET_MAX_FRAME))
			return -EPIPE;
		if (have >= LENGTH_BYTES && have - LENGTH_BYTES >= size) {
			memcpy(frame, at + LENGTH_BYTES, size);
			stream->begin += LENGTH_BYTES + size;
			return (ssize_t)size;
		}
		/* What came since is told of by the descriptor. */
		if (stream->is_empty) {
			stream->is_empty = false;
			return 0;
		}
		ret = fill(stream);
		if (ret)
			return ret == -EAGAIN ? 0 : ret;
	}
}
