/*
 * Frames on a stream socket, each behind its length in four bytes, big-endian: the protocol of
 * passt and of QEMU's stream back end. Frames carry no header: nothing is left undone.
 */
#ifndef NET_STREAM_H
#define NET_STREAM_H

#include "net/net.h"

struct net_stream {
	int fd; /* non-blocking; -1: not connected */
	/* What the peer has sent and nobody has taken: [begin, end). */
	uint8_t *input;
	size_t begin, end;
	bool is_empty; /* so was the socket when it was read last */
	/* The rest of a frame that the socket did not take whole. */
	uint8_t *output;
	size_t output_begin, output_end;
};

/* Returns 0 or -ENOMEM. */
int net_stream_init(struct net_stream *stream);
void net_stream_finish(struct net_stream *stream);

/* Takes `fd` over, and forgets what was under way with the one before. */
void net_stream_connect(struct net_stream *stream, int fd);

/* 0, -EAGAIN if nothing was taken, -EPIPE if the peer is gone. */
int net_stream_send(struct net_stream *stream, const struct iovec *iov, unsigned count);
/* The same for what an earlier send left. */
int net_stream_flush(struct net_stream *stream);

/* The size of the next frame, copied to `frame` (NET_MAX_FRAME bytes); 0 if there is none yet,
 * -EPIPE if the peer is gone or does not speak this protocol. */
ssize_t net_stream_receive(struct net_stream *stream, uint8_t *frame);

#endif
