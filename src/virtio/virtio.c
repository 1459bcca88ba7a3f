/*
 * Virtio devices whatever their transport: status, features, configuration space, and when a queue
 * is served (virtio 1.2, 2.1 to 2.6, 3.1). Threads and locks: virtio.h.
 */
#include "virtio/virtio.h"

#include "base/log.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STATUS_KNOWN                                                                               \
	(VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER | VIRTIO_STATUS_DRIVER_OK |              \
		VIRTIO_STATUS_FEATURES_OK | VIRTIO_STATUS_FAILED)

static const struct state_field virtio_device_fields[] = {
	STATE(struct virtio_device_state, driver_features),
	STATE(struct virtio_device_state, status),
	STATE(struct virtio_device_state, legacy),
	STATE_PAD(struct virtio_device_state, reserved),
	STATE(struct virtio_device_state, generation),
};

const struct state_table virtio_device_state_table =
	STATE_TABLE_OF(struct virtio_device_state, "virtio", virtio_device_fields, NULL);

/* The device asks for a reset when a queue is broken; told outside the lane. */
static void note_broken(struct virtio_queue *queue)
{
	struct virtio_device *device = queue->device;

	queue->running = false;
	atomic_store(&device->needs_reset, true);
	virtio_lane_call_outside(&device->lanes[queue->lane]);
}

/* A notification that did not come by the eventfd. */
static void kick(const struct virtio_queue *queue)
{
	const uint64_t one = 1;

	/* It fails only after 2^64 times. */
	if (write(queue->kick_fd, &one, sizeof(one)) < 0)
		return;
}

/* Has the kernel serve a queue, if the model knows how and wants it to. Holds the lane. */
static void delegate(struct virtio_queue *queue)
{
	struct virtio_device *device = queue->device;
	const struct virtio_transport_ops *ops = device->transport_ops;
	unsigned index = (unsigned)(queue - device->queues);
	int call_fd;

	if (!device->type->delegate || !ops || !ops->kick_fd)
		return;
	queue->kick_fd = ops->kick_fd(device->transport, index);
	call_fd = device->type->delegate(device, index, queue->kick_fd);
	if (call_fd < 0)
		return;
	if (ops->delegate_queue(device->transport, index, call_fd) < 0)
		device->type->recall(device, index);
	else
		queue->delegated = true;
}

/* Takes it back; true if an interrupt is still to be sent. Holds the lane. */
static bool recall(struct virtio_queue *queue)
{
	struct virtio_device *device = queue->device;
	unsigned index = (unsigned)(queue - device->queues);

	if (!queue->delegated)
		return false;
	queue->delegated = false;
	device->type->recall(device, index);
	return device->transport_ops->recall_queue(device->transport, index);
}

/* The queue is not served any more, but goes on to exist. Holds the lane. */
static void stop_running(struct virtio_queue *queue)
{
	struct virtio_device *device = queue->device;

	queue->running = false;
	if (recall(queue))
		device->transport_ops->interrupt_queue(
			device->transport, (unsigned)(queue - device->queues));
}

/* Serves one queue for one round; true if it is to be served again. Holds the lane. */
static bool serve_queue(struct virtio_queue *queue)
{
	struct virtio_device *device = queue->device;
	struct virtq *ring = &queue->ring;
	uint16_t position = ring->state.next_avail;
	bool wrap = ring->state.avail_wrap;
	bool took_all, took_some;

	if (!queue->running)
		return false;
	if (queue->delegated) {
		kick(queue);
		return false;
	}
	if (!ring->awaits)
		virtq_disable_notification(ring);
	ring->budget = ring->state.size;
	took_all = device->type->serve(device, (unsigned)(queue - device->queues));
	if (ring->state.broken) {
		note_broken(queue);
		return false;
	}
	if (!took_all && ring->budget > 0 && virtq_has_more(ring))
		return false;
	took_some = ring->state.next_avail != position || ring->state.avail_wrap != wrap;
	if (took_some || !virtq_has_more(ring))
		return virtq_enable_notification(ring);
	/* What is there does not suffice: a frame needs more buffers. */
	return virtq_await_more(ring);
}

static bool lane_serve(void *owner, struct virtio_lane *lane)
{
	struct virtio_device *device = owner;
	bool more = false;

	for (unsigned i = 0; i < device->nr_queues; i++) {
		struct virtio_queue *queue = &device->queues[i];

		if (queue->lane != lane->index || !atomic_exchange(&queue->marked, false))
			continue;
		if (serve_queue(queue)) {
			atomic_store(&queue->marked, true);
			more = true;
		}
	}
	return more;
}

static void lane_leaving(void *owner, struct virtio_lane *lane)
{
	struct virtio_device *device = owner;

	for (unsigned i = 0; i < device->nr_queues; i++) {
		struct virtio_queue *queue = &device->queues[i];

		if (queue->lane == lane->index && queue->ring.unsignalled > 0 &&
			virtq_take_interrupt(&queue->ring) && device->transport_ops)
			device->transport_ops->interrupt_queue(device->transport, i);
	}
}

/* Takes back what the device model keeps of a queue, and resets it. Holds the lane. */
static void drain_and_reset(struct virtio_queue *queue)
{
	struct virtio_device *device = queue->device;

	if (queue->ring.in_flight > 0 && device->type->drain)
		device->type->drain(device, (unsigned)(queue - device->queues), true);
	recall(queue);
	virtq_reset(&queue->ring);
	atomic_store(&queue->is_stopping, false);
}

static void tell_needs_reset(struct virtio_device *device)
{
	/* Before DRIVER_OK there is nobody to tell; start() looks again. */
	if (!(device->state.status & VIRTIO_STATUS_DRIVER_OK) || device->resetting)
		return;
	if (!atomic_exchange(&device->needs_reset, false) || device->state.legacy)
		return;
	device->state.status |= VIRTIO_STATUS_NEEDS_RESET;
	device->transport_ops->interrupt_config(device->transport);
}

/* What the transport is to hear of that needs the machine lock. */
static void tell_transport(struct virtio_device *device)
{
	if (!device->transport_ops)
		return;
	tell_needs_reset(device);
	if (atomic_exchange(&device->transport_waits, false))
		device->transport_ops->outside(device->transport);
}

/* The kernel does not stop by itself. Under the machine lock. */
static void stop_broken(struct virtio_device *device)
{
	for (unsigned i = 0; i < device->nr_queues; i++) {
		struct virtio_queue *queue = &device->queues[i];
		struct virtio_lane *lane = &device->lanes[queue->lane];

		virtio_lane_enter(lane);
		if (queue->delegated && queue->ring.state.broken)
			stop_running(queue);
		virtio_lane_leave(lane);
	}
}

static void lane_outside(void *owner, struct virtio_lane *lane)
{
	struct virtio_device *device = owner;

	for (unsigned i = 0; i < device->nr_queues; i++) {
		struct virtio_queue *queue = &device->queues[i];

		if (queue->lane != lane->index || !atomic_load(&queue->is_stopping))
			continue;
		virtio_lane_enter(lane);
		if (atomic_load(&queue->is_stopping))
			drain_and_reset(queue);
		virtio_lane_leave(lane);
	}
	if (atomic_load(&device->needs_reset) || atomic_load(&device->transport_waits)) {
		machine_lock(device->machine);
		stop_broken(device);
		tell_transport(device);
		machine_unlock(device->machine);
	}
	if (device->type->outside)
		device->type->outside(device, lane->index);
}

static const struct virtio_lane_ops lane_ops = {
	.serve = lane_serve,
	.leaving = lane_leaving,
	.outside = lane_outside,
};

static int init_queues(struct virtio_device *device, const struct virtio_device_config *config)
{
	size_t request_size = device->type->request_size;

	device->queues = calloc(config->nr_queues, sizeof(*device->queues));
	device->lanes = calloc(config->nr_lanes, sizeof(*device->lanes));
	if (!device->queues || !device->lanes)
		return -ENOMEM;
	for (unsigned i = 0; i < config->nr_queues; i++) {
		struct virtio_queue *queue = &device->queues[i];

		assert(config->queues[i].lane < config->nr_lanes);
		queue->device = device;
		queue->lane = config->queues[i].lane;
		snprintf(queue->name, sizeof(queue->name), "%s queue %u", config->name, i);
		virtq_init(&queue->ring, &config->machine->memory, queue->name,
			config->queues[i].size,
			request_size ? request_size : sizeof(struct virtq_request));
	}
	device->nr_queues = config->nr_queues;
	for (unsigned i = 0; i < config->nr_lanes; i++) {
		int rc = virtio_lane_init(&device->lanes[i], config->name, i, &lane_ops, device);

		if (rc < 0)
			return rc;
		device->nr_lanes++;
	}
	return 0;
}

int virtio_device_init(struct virtio_device *device, const struct virtio_device_type *type,
	const struct virtio_device_config *config, struct error *err)
{
	int rc;

	assert(config->nr_queues <= VIRTIO_MAX_QUEUES && config->nr_lanes <= VIRTIO_MAX_LANES);
	assert(config->nr_lanes > 0 && config->config_size <= VIRTIO_MAX_CONFIG);
	memset(device, 0, sizeof(*device));
	device->type = type;
	device->name = config->name;
	device->machine = config->machine;
	device->features = config->features | VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT_DESC |
			   VIRTIO_F_EVENT_IDX | VIRTIO_F_RING_RESET |
			   (config->no_packed ? 0 : VIRTIO_F_RING_PACKED);
	device->config = config->config;
	device->config_size = config->config_size;
	device->config_writable = config->config_writable;
	rc = init_queues(device, config);
	if (rc < 0) {
		virtio_device_finish(device);
		return error_set_errno(
			err, EXIT_CODE_HOST, -rc, "cannot create the device %s", config->name);
	}
	return 0;
}

void virtio_device_finish(struct virtio_device *device)
{
	for (unsigned i = 0; i < device->nr_lanes; i++) {
		virtio_lane_enter(&device->lanes[i]);
		for (unsigned j = 0; j < device->nr_queues; j++) {
			if (device->queues[j].lane != i)
				continue;
			device->queues[j].running = false;
			drain_and_reset(&device->queues[j]);
		}
		virtio_lane_leave(&device->lanes[i]);
	}
	for (unsigned i = 0; i < device->nr_lanes; i++)
		virtio_lane_finish(&device->lanes[i]);
	for (unsigned i = 0; i < device->nr_queues; i++)
		virtq_finish(&device->queues[i].ring);
	free(device->queues);
	free(device->lanes);
	device->queues = NULL;
	device->lanes = NULL;
	device->nr_queues = device->nr_lanes = 0;
}

void virtio_set_transport(
	struct virtio_device *device, const struct virtio_transport_ops *ops, void *transport)
{
	device->transport = transport;
	device->transport_ops = ops;
}

/* Notifications. */

void virtio_queue_ring(struct virtio_queue *queue)
{
	atomic_store(&queue->marked, true);
	virtio_lane_poke(&queue->device->lanes[queue->lane]);
}

void virtio_queue_mark(struct virtio_queue *queue)
{
	struct virtio_lane *lane = &queue->device->lanes[queue->lane];

	atomic_store(&queue->marked, true);
	atomic_store(&lane->marked, true);
	virtio_lane_wake(lane);
}

void virtio_serve_again(struct virtio_device *device, unsigned index)
{
	virtio_queue_ring(&device->queues[index]);
}

void virtio_call_outside(struct virtio_device *device, unsigned lane)
{
	virtio_lane_call_outside(&device->lanes[lane]);
}

void virtio_call_transport(struct virtio_device *device)
{
	atomic_store(&device->transport_waits, true);
	virtio_lane_call_outside(&device->lanes[0]);
}

/* Which queues are served. Under the machine lock. */

static bool may_run(const struct virtio_device *device, const struct virtio_queue *queue)
{
	const struct virtq_state *state = &queue->ring.state;

	return state->enabled && !state->broken && !atomic_load(&queue->is_stopping) &&
	       (device->state.status & VIRTIO_STATUS_DRIVER_OK) && !device->resetting &&
	       !device->paused && (device->dma_allowed || device->state.legacy);
}

/* Starts and stops serving as the device's state says. Buffers may have been there before. */
static void update_running(struct virtio_device *device)
{
	for (unsigned lane = 0; lane < device->nr_lanes; lane++) {
		bool started = false;

		virtio_lane_enter(&device->lanes[lane]);
		for (unsigned i = 0; i < device->nr_queues; i++) {
			struct virtio_queue *queue = &device->queues[i];
			bool running;

			if (queue->lane != lane)
				continue;
			running = may_run(device, queue);
			if (running && !queue->running) {
				queue->running = true;
				delegate(queue);
				atomic_store(&queue->marked, true);
				started = true;
			} else if (!running && (queue->running || queue->delegated)) {
				stop_running(queue);
			}
		}
		if (started)
			atomic_store(&device->lanes[lane].marked, true);
		virtio_lane_leave(&device->lanes[lane]);
	}
}

void virtio_delegate_again(struct virtio_device *device)
{
	for (unsigned i = 0; i < device->nr_queues; i++) {
		struct virtio_lane *lane = virtio_queue_lane(device, i);

		virtio_lane_enter(lane);
		stop_running(&device->queues[i]);
		virtio_lane_leave(lane);
	}
	update_running(device);
}

void virtio_delegate_broke(struct virtio_device *device, unsigned index)
{
	struct virtio_queue *queue = &device->queues[index];

	if (!queue->delegated)
		return;
	virtq_break(&queue->ring, "it has buffers that are not in RAM, or no proper chains");
	note_broken(queue);
}

void virtio_allow_dma(struct virtio_device *device, bool allowed)
{
	if (device->dma_allowed == allowed)
		return;
	device->dma_allowed = allowed;
	update_running(device);
}

void virtio_enable_queue(struct virtio_device *device, unsigned index)
{
	struct virtio_queue *queue = &device->queues[index];
	struct virtio_lane *lane = &device->lanes[queue->lane];

	if (device->resetting || atomic_load(&queue->is_stopping))
		return;
	virtio_lane_enter(lane);
	if (!queue->ring.state.enabled &&
		!virtq_enable(&queue->ring, device->state.driver_features))
		note_broken(queue);
	virtio_lane_leave(lane);
	update_running(device);
}

/* Stops a queue; the I/O thread does if the device model still has requests. Holds the lane. */
static void begin_stop(struct virtio_queue *queue)
{
	struct virtio_device *device = queue->device;

	queue->running = false;
	recall(queue);
	if (queue->ring.in_flight == 0) {
		virtq_reset(&queue->ring);
		return;
	}
	atomic_store(&queue->is_stopping, true);
	virtio_lane_call_outside(&device->lanes[queue->lane]);
}

void virtio_stop_queue(struct virtio_device *device, unsigned index)
{
	struct virtio_lane *lane = virtio_queue_lane(device, index);

	if (device->resetting || atomic_load(&device->queues[index].is_stopping))
		return;
	virtio_lane_enter(lane);
	begin_stop(&device->queues[index]);
	virtio_lane_leave(lane);
}

bool virtio_queue_is_stopping(const struct virtio_device *device, unsigned index)
{
	return atomic_load(&device->queues[index].is_stopping);
}

/* Resets. */

static void finish_reset(struct virtio_device *device)
{
	memset(&device->state, 0, sizeof(device->state));
	atomic_store(&device->needs_reset, false);
	device->resetting = false;
	if (device->type->reset)
		device->type->reset(device);
}

void virtio_device_reset(struct virtio_device *device)
{
	for (unsigned lane = 0; lane < device->nr_lanes; lane++) {
		virtio_lane_enter(&device->lanes[lane]);
		for (unsigned i = 0; i < device->nr_queues; i++) {
			struct virtio_queue *queue = &device->queues[i];

			if (queue->lane != lane)
				continue;
			queue->running = false;
			drain_and_reset(queue);
		}
		virtio_lane_leave(&device->lanes[lane]);
	}
	finish_reset(device);
	if (device->type->powered)
		device->type->powered(device);
}

/* The driver's reset: the machine lock is not held while requests end (2.4). */
static void begin_reset(struct virtio_device *device)
{
	device->resetting = true;
	for (unsigned lane = 0; lane < device->nr_lanes; lane++) {
		virtio_lane_enter(&device->lanes[lane]);
		for (unsigned i = 0; i < device->nr_queues; i++) {
			if (device->queues[i].lane == lane)
				begin_stop(&device->queues[i]);
		}
		virtio_lane_leave(&device->lanes[lane]);
	}
}

static bool is_draining(const struct virtio_device *device)
{
	for (unsigned i = 0; i < device->nr_queues; i++) {
		if (atomic_load(&device->queues[i].is_stopping))
			return true;
	}
	return false;
}

uint8_t virtio_read_status(struct virtio_device *device)
{
	if (device->resetting && !is_draining(device))
		finish_reset(device);
	return device->state.status;
}

/* Features and status. */

uint64_t virtio_offered_features(const struct virtio_device *device, bool legacy)
{
	if (!legacy)
		return device->features;
	return (device->features & device->type->legacy_features) | VIRTIO_F_ANY_LAYOUT |
	       VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX;
}

void virtio_write_features(struct virtio_device *device, uint64_t features, bool legacy)
{
	uint8_t over = VIRTIO_STATUS_FEATURES_OK | VIRTIO_STATUS_DRIVER_OK;

	if (device->resetting || (device->state.status & over))
		return;
	device->state.legacy = legacy;
	device->state.driver_features =
		legacy ? features & virtio_offered_features(device, true) : features;
}

static bool features_are_acceptable(const struct virtio_device *device)
{
	uint64_t features = device->state.driver_features;

	return !(features & ~device->features) && (features & VIRTIO_F_VERSION_1) &&
	       (!device->type->accepts || device->type->accepts(device, features));
}

static void start(struct virtio_device *device)
{
	if (device->type->started)
		device->type->started(device);
	update_running(device);
	tell_needs_reset(device);
}

void virtio_write_status(struct virtio_device *device, uint8_t status, bool legacy)
{
	uint8_t before = virtio_read_status(device);
	uint8_t rising = status & STATUS_KNOWN & (uint8_t)~before;

	if (device->resetting)
		return;
	if (status == 0) {
		/* A legacy driver does not wait for the end of a reset. */
		if (legacy)
			virtio_device_reset(device);
		else
			begin_reset(device);
		return;
	}
	if ((rising & VIRTIO_STATUS_FEATURES_OK) && !legacy && !features_are_acceptable(device)) {
		log_guest("%s: the driver accepts features that do not go together: %#llx",
			device->name, (unsigned long long)device->state.driver_features);
		rising &= (uint8_t)~VIRTIO_STATUS_FEATURES_OK;
	}
	device->state.legacy = legacy;
	if ((rising & VIRTIO_STATUS_DRIVER_OK) && !legacy &&
		!((before | rising) & VIRTIO_STATUS_FEATURES_OK)) {
		log_guest("%s: the driver starts it without agreed features", device->name);
		rising &= (uint8_t)~VIRTIO_STATUS_DRIVER_OK;
	}
	device->state.status |= rising;
	if (rising & VIRTIO_STATUS_DRIVER_OK)
		start(device);
}

/* Configuration space. */

void virtio_read_config(struct virtio_device *device, unsigned offset, void *to, unsigned size)
{
	memset(to, 0, size);
	if (offset >= device->config_size)
		return;
	if (size > device->config_size - offset)
		size = device->config_size - offset;
	if (device->type->config_reading)
		device->type->config_reading(device, offset, size);
	memcpy(to, device->config + offset, size);
}

void virtio_write_config(
	struct virtio_device *device, unsigned offset, const void *from, unsigned size)
{
	const uint8_t *bytes = from;
	bool changed = false;

	if (offset >= device->config_size || !device->config_writable)
		return;
	if (size > device->config_size - offset)
		size = device->config_size - offset;
	for (unsigned i = 0; i < size; i++) {
		if (device->config_writable[offset + i]) {
			device->config[offset + i] = bytes[i];
			changed = true;
		}
	}
	if (changed && device->type->config_written)
		device->type->config_written(device, offset, size);
}

void virtio_config_change(
	struct virtio_device *device, unsigned offset, const void *bytes, unsigned size)
{
	assert(offset + size <= device->config_size);
	memcpy(device->config + offset, bytes, size);
	device->state.generation++;
	if ((device->state.status & VIRTIO_STATUS_DRIVER_OK) && device->transport_ops)
		device->transport_ops->interrupt_config(device->transport);
}

/* Saving and restoring. */

void virtio_device_pause(struct virtio_device *device)
{
	device->paused = true;
	update_running(device);
	for (unsigned i = 0; i < device->nr_queues; i++) {
		struct virtio_lane *lane = virtio_queue_lane(device, i);

		virtio_lane_enter(lane);
		if (device->queues[i].ring.in_flight > 0 && device->type->drain)
			device->type->drain(device, i, atomic_load(&device->queues[i].is_stopping));
		virtio_lane_leave(lane);
	}
	/* What is saved includes the interrupts of what was done. */
	tell_transport(device);
}

void virtio_device_resume(struct virtio_device *device)
{
	device->paused = false;
	update_running(device);
}

void virtio_device_restored(struct virtio_device *device)
{
	for (unsigned i = 0; i < device->nr_queues; i++) {
		struct virtio_queue *queue = &device->queues[i];
		struct virtio_lane *lane = virtio_queue_lane(device, i);

		virtio_lane_enter(lane);
		if (queue->ring.state.enabled && !queue->ring.state.broken)
			virtq_enable(&queue->ring, device->state.driver_features);
		virtio_lane_leave(lane);
	}
	update_running(device);
}
