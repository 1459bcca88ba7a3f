/*
 * virtio-gpu without 3D (virtio 1.2, 5.7): a screen whose pictures the driver keeps in its memory
 * and copies into resources of the device.
 */
#ifndef VIRTIO_VIRTIO_GPU_H
#define VIRTIO_VIRTIO_GPU_H

#include "display/surface.h"
#include "virtio/virtio.h"

/* What a guest may have of the host's memory, in resources and in lists of their backing. */
#define VIRTIO_GPU_MAX_RESOURCES 256
#define VIRTIO_GPU_MAX_PIXELS    (UINT64_C(64) << 20) /* of all resources, 4 bytes each */
#define VIRTIO_GPU_MAX_PIECES    16384                /* of one resource's backing */

/* Returns 0, or fills `err`. */
int virtio_gpu_create(struct virtio_device **device, const char *name, struct machine *machine,
	struct error *err);
void virtio_gpu_destroy(struct virtio_device *device);

/* What the screen shows; black while nothing is. Any thread, holding no lane. Returns 0 or -ENOMEM.
 */
int virtio_gpu_draw(struct virtio_device *device, struct surface *surface);

/* Brings `shown` up to date, as surface_update does. `scratch` keeps what it has to draw for that.
 */
int virtio_gpu_update(struct virtio_device *device, struct surface *shown, struct surface *scratch,
	surface_damaged_fn *damaged, void *context);

#endif
