/*
 * A cable whose other end is the test: what a NIC sends is kept, what comes was put there.
 */
#ifndef NET_CABLE_FIXTURE_H
#define NET_CABLE_FIXTURE_H

#include "net/backend.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define FIXTURE_DEPTH 8

struct fixture_cable {
	struct net_backend backend;
	uint8_t sent[NET_MAX_FRAME];
	size_t sent_size;
	struct net_header sent_header;
	unsigned nr_sent;
	bool is_full; /* refuses frames */
	/* What comes next. */
	uint8_t incoming[FIXTURE_DEPTH][2048];
	size_t incoming_size[FIXTURE_DEPTH];
	struct net_header incoming_header;
	unsigned nr_incoming, nr_taken;
	/* The test's. */
	void *context;
	int come_fd;
	pthread_t taken_by;
};

static inline int fixture_send(struct net_backend *backend, const struct net_header *header,
	const struct iovec *iov, unsigned count)
{
	struct fixture_cable *cable = container_of(backend, struct fixture_cable, backend);

	if (cable->is_full)
		return -EAGAIN;
	cable->sent_header = *header;
	cable->sent_size = 0;
	for (unsigned i = 0; i < count; i++) {
		memcpy(cable->sent + cable->sent_size, iov[i].iov_base, iov[i].iov_len);
		cable->sent_size += iov[i].iov_len;
	}
	cable->nr_sent++;
	return 0;
}

static inline ssize_t fixture_receive(
	struct net_backend *backend, struct net_header *header, uint8_t *frame)
{
	struct fixture_cable *cable = container_of(backend, struct fixture_cable, backend);
	unsigned at = cable->nr_taken % FIXTURE_DEPTH;

	if (cable->nr_taken == cable->nr_incoming)
		return 0;
	cable->nr_taken++;
	*header = cable->incoming_header;
	memcpy(frame, cable->incoming[at], cable->incoming_size[at]);
	return (ssize_t)cable->incoming_size[at];
}

static inline void fixture_want(struct net_backend *backend, unsigned events)
{
	(void)backend;
	(void)events;
}

static inline void fixture_cable_destroy(struct net_backend *backend)
{
	net_backend_finish(backend);
	free(container_of(backend, struct fixture_cable, backend));
}

/* A NIC's, which destroys it. */
static inline struct fixture_cable *fixture_cable_new(void)
{
	static const struct net_backend_ops ops = { .send = fixture_send,
		.receive = fixture_receive,
		.want = fixture_want,
		.destroy = fixture_cable_destroy };
	struct fixture_cable *cable = calloc(1, sizeof(*cable));

	if (!cable || net_backend_init(&cable->backend, &ops, NULL))
		abort();
	cable->backend.sends =
		NET_OFFLOAD_CHECKSUM | NET_OFFLOAD_TCPV4 | NET_OFFLOAD_TCPV6 | NET_OFFLOAD_ECN;
	return cable;
}

static inline void fixture_cable_come(struct fixture_cable *cable, const void *frame, size_t size)
{
	unsigned at = cable->nr_incoming++ % FIXTURE_DEPTH;

	memcpy(cable->incoming[at], frame, size);
	cable->incoming_size[at] = size;
}

#endif
