/*
 * The host's end of a vsock connection: a unix stream socket, and what the guest sent that it has
 * not taken yet.
 */
#ifndef VIRTIO_VSOCK_STREAM_H
#define VIRTIO_VSOCK_STREAM_H

#include "base/types.h"

#include <sys/types.h>
#include <sys/uio.h>

/* What a guest may send before it must wait: the credit it is given (5.10.6.3). */
#define VSOCK_BUFFER_BYTES (64u << 10)

struct vsock_stream {
	int fd;       /* non-blocking */
	int epoll_fd; /* readable when `fd` is ready for what is wanted */
	uint32_t wanted;
	uint8_t *buffer; /* a ring of VSOCK_BUFFER_BYTES, made when first needed */
	uint32_t head, count;
};

/* Takes `fd` over. Returns 0 or -errno, and then `fd` is still the caller's. */
int vsock_stream_init(struct vsock_stream *stream, int fd);
void vsock_stream_finish(struct vsock_stream *stream);

/* Whether to be woken when there is something to read. */
void vsock_stream_want(struct vsock_stream *stream, bool input);

/* Passes bytes on, or keeps them. False: there is no room, which a guest that obeys its credit
 * never sees, or the socket is gone. */
bool vsock_stream_write(struct vsock_stream *stream, const struct iovec *iov, unsigned count);

/* Passes on what is kept. Returns how many bytes, or -EPIPE. */
ssize_t vsock_stream_flush(struct vsock_stream *stream);

/* Reads at most `size` bytes. Returns how many, 0 at the end, -EAGAIN or -errno. */
ssize_t vsock_stream_read(struct vsock_stream *stream, const struct iovec *iov, unsigned count);

#endif
