/*
 * The back end of vhost-user for the share server (QEMU's docs/interop/vhost-user.rst): what
 * virtio/vhost_user.h, the front end, says is enough. Split rings without indirect tables or event
 * index. The front end is another process of ours, which a guest may have taken over: addresses,
 * sizes and descriptors are checked here all the same.
 *
 * One thread owns all of this.
 */
#ifndef SHARE_SHARE_BACKEND_H
#define SHARE_SHARE_BACKEND_H

#include "base/vhost_user_protocol.h"
#include "share/share.h"

#define SHARE_MAX_QUEUES 4

struct share_region {
	uint64_t guest_address, size, user_address;
	uint8_t *host;
	uint8_t *mapping; /* with what lies before `host` in its file */
	size_t mapping_bytes;
};

struct share_queue {
	uint16_t size; /* 0: not set */
	uint16_t next_available, next_used;
	uint64_t descriptors, available, used; /* in the front end's address space */
	int kick_fd, call_fd;                  /* -1: not there */
};

struct share_backend {
	struct share *share;
	int socket;
	struct share_region regions[VHOST_USER_MAX_REGIONS];
	unsigned nr_regions;
	struct share_queue queues[SHARE_MAX_QUEUES];
	struct iovec in[SHARE_MAX_PIECES], out[SHARE_MAX_PIECES]; /* of one request */
};

void share_backend_init(struct share_backend *backend, struct share *share, int socket);
void share_backend_finish(struct share_backend *backend);

/* A message is there. Returns 0, or -errno: the front end is gone, or nothing to go on with. */
int share_backend_receive(struct share_backend *backend);
/* Serves what is in a queue. */
void share_backend_serve(struct share_backend *backend, struct share_queue *queue);

#endif
