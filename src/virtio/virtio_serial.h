/*
 * A named port of a virtio console device (virtio 1.2, 5.3 with VIRTIO_CONSOLE_F_MULTIPORT), which
 * a program in the guest opens as /dev/virtio-ports/NAME: the line to a guest agent. At the host's
 * end is a listening unix socket, which serves one client at a time; others wait.
 *
 * Not modelled: a console (port 0 is never added), resizing, emergency writes.
 */
#ifndef VIRTIO_VIRTIO_SERIAL_H
#define VIRTIO_VIRTIO_SERIAL_H

#include "virtio/virtio.h"

struct virtio_serial_config {
	const char *name; /* of the device; must outlive it */
	struct machine *machine;
	const char *port_name; /* what the guest knows the port by; must outlive the device */
	int listen_fd;         /* non-blocking; the device's from now on, also if this fails */
};

int virtio_serial_create(struct virtio_device **device, const struct virtio_serial_config *config,
	struct error *err);
/* Takes NULL. */
void virtio_serial_destroy(struct virtio_device *device);

#endif
