/*
 * virtio-vsock (virtio 1.2, 5.10): stream sockets between a guest and the host's unix sockets.
 *
 * From the host: connect to `path`, send "CONNECT PORT\n", and read "OK HOST_PORT\n"; from then on
 * the socket is the guest's. From the guest: a connection to CID 2 (the host), port N, is connected
 * to the unix socket `path`_N.
 *
 * Both sides are distrusted: connections, and what each may have buffered here, are bounded.
 */
#ifndef VIRTIO_VIRTIO_VSOCK_H
#define VIRTIO_VIRTIO_VSOCK_H

#include "base/error.h"
#include "virtio/virtio.h"

#define VIRTIO_VSOCK_MIN_CID 3 /* 0 to 2 are reserved (5.10.4) */

struct virtio_vsock_config {
	const char *name; /* unique in the machine: "vsock0"; must outlive the device */
	struct machine *machine;
	uint32_t cid;     /* the guest's */
	const char *path; /* of the unix socket that is made; only this user may connect */
};

struct virtio_vsock;

/* Returns 0, or fills `err`. */
int virtio_vsock_create(
	struct virtio_vsock **vsock, const struct virtio_vsock_config *config, struct error *err);
/* Off the bus, and not under the machine lock. Takes the socket away. Takes NULL. */
void virtio_vsock_destroy(struct virtio_device *device);

struct virtio_device *virtio_vsock_device(struct virtio_vsock *vsock);

#endif
