/*
 * For tests: a device in a machine of a megabyte, and the driver's first steps (virtio 1.2, 3.1).
 * Split rings are written by hand: they have tests of their own (virtqueue_test.c).
 */
#ifndef VIRTIO_DEVICE_FIXTURE_H
#define VIRTIO_DEVICE_FIXTURE_H

#include "virtio/virtio.h"
#include "virtio/virtqueue_fixture.h"
#include "virtio/virtqueue_ring.h"

#define DEVICE_MEMORY      (1u << 20)
#define DEVICE_RING_SIZE   16u
#define DEVICE_RINGS       0x1000u
#define DEVICE_QUEUE_BYTES 0x4000u /* of each: descriptors, 0x1000 on available, then used */
#define DEVICE_QUEUES      5u
#define DEVICE_BUFFERS     0x20000u /* from here on memory is the test's */

struct device_fixture {
	struct machine machine;
	struct virtio_device *device;
	uint8_t *ram;
	unsigned interrupts;
	uint16_t available[DEVICE_QUEUES];
};

static inline void device_interrupt_queue(void *transport, unsigned index)
{
	(void)index;
	__atomic_fetch_add(&((struct device_fixture *)transport)->interrupts, 1, __ATOMIC_SEQ_CST);
}

static inline void device_does_nothing(void *transport)
{
	(void)transport;
}

/* With a machine, for which the caller makes the device. */
static inline struct device_fixture *device_fixture_new(void)
{
	struct device_fixture *f = aligned_alloc(64, (sizeof(*f) + 63) & ~(size_t)63);

	memset(f, 0, sizeof(*f));
	machine_init(&f->machine);
	assert_int_equal(guest_memory_add(&f->machine.memory, 0, DEVICE_MEMORY, false, NULL), 0);
	f->ram = f->machine.memory.regions[0].host;
	return f;
}

static inline void device_fixture_attach(struct device_fixture *f, struct virtio_device *device)
{
	static const struct virtio_transport_ops transport_ops = {
		.interrupt_queue = device_interrupt_queue,
		.interrupt_config = device_does_nothing,
		.outside = device_does_nothing,
	};

	f->device = device;
	virtio_set_transport(device, &transport_ops, f);
}

/* The caller has destroyed the device. */
static inline void device_fixture_free(struct device_fixture *f)
{
	machine_finish(&f->machine);
	free(f);
}

static inline void device_start(struct device_fixture *f, uint64_t features, unsigned nr_queues)
{
	machine_lock(&f->machine);
	virtio_write_status(f->device, VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER, false);
	virtio_write_features(f->device, VIRTIO_F_VERSION_1 | features, false);
	virtio_write_status(f->device, VIRTIO_STATUS_FEATURES_OK, false);
	assert_true(virtio_read_status(f->device) & VIRTIO_STATUS_FEATURES_OK);
	virtio_allow_dma(f->device, true);
	for (unsigned i = 0; i < nr_queues; i++) {
		struct virtq_state *state = &virtio_queue(f->device, i)->state;

		state->size = DEVICE_RING_SIZE;
		state->descriptors = DEVICE_RINGS + i * DEVICE_QUEUE_BYTES;
		state->driver_area = state->descriptors + 0x1000;
		state->device_area = state->descriptors + 0x2000;
		virtio_enable_queue(f->device, i);
	}
	virtio_write_status(f->device, VIRTIO_STATUS_DRIVER_OK, false);
	machine_unlock(&f->machine);
}

static inline unsigned device_nr_used(const struct device_fixture *f, unsigned queue)
{
	return virtq_load16(
		f->ram + DEVICE_RINGS + queue * DEVICE_QUEUE_BYTES + 0x2000 + VIRTQ_RING_INDEX);
}

static inline void device_notify(struct device_fixture *f, unsigned queue)
{
	virtio_queue_ring(&f->device->queues[queue]);
	/* Whoever had the lane has served it when it is free. */
	virtio_lane_enter(virtio_queue_lane(f->device, queue));
	virtio_lane_leave(virtio_queue_lane(f->device, queue));
}

/* Makes a buffer, or a chain whose first descriptor is `entry`, available. */
static inline void device_make_available(struct device_fixture *f, unsigned queue, uint16_t entry)
{
	uint8_t *ring = f->ram + DEVICE_RINGS + queue * DEVICE_QUEUE_BYTES + 0x1000;

	virtq_store16(
		ring + VIRTQ_RING_ENTRIES + 2 * (f->available[queue] % DEVICE_RING_SIZE), entry);
	virtq_store16(ring + VIRTQ_RING_INDEX, ++f->available[queue]);
}

#endif
