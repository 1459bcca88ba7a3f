/*
 * The entropy device (virtio 1.2, 5.4): the host's random numbers.
 */
#ifndef VIRTIO_VIRTIO_RNG_H
#define VIRTIO_VIRTIO_RNG_H

#include "virtio/virtio.h"

/*
 * `name` must outlive the device. `bytes_per_s` bounds what the guest may take; 0: without limit.
 * Returns 0, or fills `err`. The caller puts it on a bus.
 */
int virtio_rng_create(struct virtio_device **device, const char *name, struct machine *machine,
	uint64_t bytes_per_s, struct error *err);
/* Takes NULL. */
void virtio_rng_destroy(struct virtio_device *device);

#endif
