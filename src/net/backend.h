/*
 * Inside src/net: what every back end is made of. net.c does what is the same for all: offloads,
 * rate, capture, counting.
 */
#ifndef NET_BACKEND_H
#define NET_BACKEND_H

#include "net/capture.h"
#include "net/net.h"
#include "net/offload.h"
#include "net/rate.h"

struct net_backend_ops {
	/* One frame, gathered. Returns 0, -EAGAIN if there is no room and nothing was taken, or
	 * another error: it is dropped. */
	int (*send)(struct net_backend *backend, const struct net_header *header,
		const struct iovec *iov, unsigned count);
	/* One frame of at most NET_MAX_FRAME bytes: its size, 0 if there is none, or -errno: one
	 * was dropped, and there may be more. */
	ssize_t (*receive)(struct net_backend *backend, struct net_header *header, uint8_t *frame);
	/* What to wait for (NET_*): makes backend->fd readable. */
	void (*want)(struct net_backend *backend, unsigned events);
	/* Something of the back end's own was ready; NULL if there is nothing. */
	void (*ready)(struct net_backend *backend);
	/* The kernel or a peer can do the work of received frames itself; NULL if it cannot. */
	void (*set_offloads)(struct net_backend *backend, unsigned offloads);
	/* As net_vhost_fd and net_vhost_filter; NULL: it is no descriptor that vhost-net takes. */
	int (*vhost_fd)(struct net_backend *backend, unsigned header_bytes);
	void (*vhost_filter)(struct net_backend *backend, const struct net_filter *filter);
	void (*destroy)(struct net_backend *backend);
};

/* A frame that waits: its rest is to be cut, or it is whole. */
struct pending {
	struct offload_segments segments;
	uint8_t *frame; /* NET_MAX_FRAME bytes, made when first needed */
	uint8_t *segment;
	size_t segment_size; /* cut and not yet taken */
	bool active;
};

struct net_backend {
	const struct net_backend_ops *ops;
	int fd;            /* an epoll descriptor: the back end's own, and the timer */
	int timer_fd;      /* of the rates */
	bool timer_set;    /* it may have expired */
	unsigned sends;    /* NET_OFFLOAD_*: taken by ops->send as they are */
	unsigned accepted; /* ...and by the NIC */
	unsigned wanted;
	unsigned watched; /* what of it ops->want was told last */
	unsigned mtu;
	struct net_rate sent_rate, received_rate;
	struct net_capture *capture;
	struct pending sending, receiving;
	struct net_counters sent, received;
};

/* Zeroes the common part and makes `fd`. Returns 0, or fills `err`. */
int net_backend_init(
	struct net_backend *backend, const struct net_backend_ops *ops, struct error *err);
void net_backend_finish(struct net_backend *backend);

/* Waits for a descriptor of the back end's own; `wanted` is NET_*. Adds it if it is new. */
void net_backend_watch(struct net_backend *backend, int fd, unsigned wanted);

/* Each takes its properties and returns 0, or fills `err`. */
int net_tap_open(struct net_backend **backend, struct properties *properties, struct error *err);
int net_bridge_open(struct net_backend **backend, struct properties *properties, struct error *err);
int net_passt_open(struct net_backend **backend, struct properties *properties, struct error *err);
int net_port_open(struct net_backend **backend, struct properties *properties, struct error *err);
int net_none_open(struct net_backend **backend, struct properties *properties, struct error *err);

#endif
