/*
 * The console device (virtio 1.2, 5.3): consoles, and ports with names for programs in the guest,
 * such as the line to a guest agent.
 *
 * A port's outside is a listening unix socket that serves one client at a time, or a pair of
 * descriptors. What the outside cannot take stays in the guest's queue; what the guest cannot take
 * stays outside. What the guest writes to a port that nobody has connected to is lost.
 * Not modelled: removal of ports, emergency writes.
 */
#ifndef VIRTIO_VIRTIO_CONSOLE_H
#define VIRTIO_VIRTIO_CONSOLE_H

#include "virtio/virtio.h"

#define VIRTIO_CONSOLE_MAX_PORTS  8
#define VIRTIO_CONSOLE_NAME_BYTES 64

struct virtio_console_port_config {
	const char *name; /* /dev/virtio-ports/NAME; NULL: none */
	bool is_console;  /* hvcN */
	/* Clients wait for each other, and a client whose program in the guest closes the port, or
	 * whose guest is reset, is sent away. Else the newest client is the one that somebody is
	 * waiting at. */
	bool takes_turns;
	int listen_fd;     /* -1: in_fd and out_fd */
	int in_fd, out_fd; /* each may be -1 */
};

struct virtio_console_config {
	const char *name; /* unique in the machine; must outlive the device */
	struct machine *machine;
	/* The first is the console that drivers know that know no ports. */
	const struct virtio_console_port_config *ports;
	unsigned nr_ports; /* 1 to VIRTIO_CONSOLE_MAX_PORTS */
};

/*
 * Takes the descriptors, which become non-blocking, also when it fails. Returns 0, or fills `err`.
 * The caller puts it on a bus.
 */
int virtio_console_create(struct virtio_device **device, const struct virtio_console_config *config,
	struct error *err);
/* Takes NULL. */
void virtio_console_destroy(struct virtio_device *device);

/* The console's window has another size now. Under the machine lock. */
void virtio_console_resize(struct virtio_device *device, uint16_t columns, uint16_t rows);

#endif
