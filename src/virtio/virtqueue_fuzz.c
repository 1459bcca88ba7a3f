/*
 * A virtqueue whose memory is the fuzz input: the rings, tables and buffers, and what changes
 * between two steps, as a driver on another processor might change it.
 */
#include "base/log.h"
#include "virtio/virtio_regs.h"
#include "virtio/virtqueue.h"

#include <string.h>

#define RAM_BYTES 0x4000u
#define MAX_STEPS 64

struct header {
	uint16_t size;
	uint8_t features;
	uint8_t steps;
	uint16_t descriptors, driver_area, device_area;
};

static uint64_t features_of(uint8_t bits)
{
	return VIRTIO_F_VERSION_1 | (bits & 1 ? VIRTIO_F_RING_PACKED : 0) |
	       (bits & 2 ? VIRTIO_F_EVENT_IDX : 0) | (bits & 4 ? VIRTIO_F_INDIRECT_DESC : 0);
}

static void use(struct virtq *queue, struct virtq_request *request, uint8_t how)
{
	uint8_t bytes[256];
	size_t size = virtq_read(request, bytes, how);

	if (how & 1)
		virtq_take_last_byte(request);
	if (how & 2)
		virtq_skip(request, how);
	virtq_write(request, bytes, size);
	if (how & 4)
		virtq_unpop(queue, request);
	else if (how & 16)
		virtq_push_part(queue, request, how & 8 ? UINT32_MAX : 0);
	else
		virtq_push(queue, request, how & 8 ? UINT32_MAX : 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct guest_memory memory;
	struct virtq queue;
	struct header header;

	if (memory.nr_regions == 0) {
		log_set_level(LOG_ERROR);
		if (guest_memory_add(&memory, 0, RAM_BYTES, false, NULL))
			return 0;
	}
	if (size < sizeof(header))
		return 0;
	memcpy(&header, data, sizeof(header));
	data += sizeof(header);
	size -= sizeof(header);
	memset(memory.regions[0].host, 0, RAM_BYTES);
	memcpy(memory.regions[0].host, data, size < RAM_BYTES ? size : RAM_BYTES);
	virtq_init(&queue, &memory, "queue", 256, sizeof(struct virtq_request));
	queue.state.size = header.size;
	queue.state.descriptors = header.descriptors;
	queue.state.driver_area = header.driver_area;
	queue.state.device_area = header.device_area;
	if (virtq_enable(&queue, features_of(header.features))) {
		for (unsigned step = 0; step < header.steps % MAX_STEPS; step++) {
			struct virtq_request *request;
			uint8_t how = size ? data[step % size] : 0;

			queue.budget = 4;
			request = virtq_pop(&queue);
			if (request)
				use(&queue, request, how);
			if (how & 16)
				virtq_await_more(&queue);
			else
				virtq_enable_notification(&queue);
			virtq_take_interrupt(&queue);
			memory.regions[0].host[(how * 131u + step) % RAM_BYTES] ^= how;
		}
	}
	virtq_finish(&queue);
	return 0;
}
