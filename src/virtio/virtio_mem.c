#include "virtio/virtio_mem.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define QUEUE_SIZE      128
#define PCI_CLASS_OTHER 0x00ff00

#define MEM_F_UNPLUGGED_INACCESSIBLE BIT(1)

/* How much more than was asked for the driver may choose from: Linux wants whole sections of 128
 * MiB. */
#define SLACK_BYTES (UINT64_C(256) << 20)

/* 5.15.4 */
struct mem_registers {
	uint64_t block_size;
	uint16_t node_id;
	uint8_t padding[6];
	uint64_t address, region_size, usable_region_size, plugged_size, requested_size;
};

/* 5.15.6 */
struct mem_request {
	uint16_t type, padding[3];
	uint64_t address;
	uint16_t nr_blocks, more_padding[3];
};

struct mem_answer {
	uint16_t type, padding[3];
	uint16_t state;
};

#define ANSWER_BYTES 10

enum { REQUEST_PLUG, REQUEST_UNPLUG, REQUEST_UNPLUG_ALL, REQUEST_STATE };
enum { ANSWER_ACK, ANSWER_NACK, ANSWER_BUSY, ANSWER_ERROR };
enum { STATE_PLUGGED, STATE_UNPLUGGED, STATE_MIXED };

struct virtio_mem {
	struct virtio_device device;
	struct mem_registers registers; /* machine lock */

	/* Any thread. */
	_Atomic uint64_t requested, usable, plugged; /* bytes */

	/* Lane. */
	uint8_t *is_plugged; /* a byte for each block */
};

static struct virtio_mem *mem_of(struct virtio_device *device)
{
	return (struct virtio_mem *)device;
}

static uint64_t usable_for(const struct virtio_mem *mem, uint64_t requested)
{
	uint64_t usable = requested ? requested + SLACK_BYTES : 0;

	return usable < mem->registers.region_size ? usable : mem->registers.region_size;
}

static void discard(struct virtio_mem *mem, uint64_t first, uint64_t count)
{
	const struct guest_memory *memory = &mem->device.machine->memory;
	uint64_t bytes = count * VIRTIO_MEM_BLOCK_BYTES;
	void *host = guest_memory_host(
		memory, mem->registers.address + first * VIRTIO_MEM_BLOCK_BYTES, bytes);

	if (host)
		guest_memory_discard(memory, host, bytes);
}

/* How many of the blocks are plugged. */
static uint64_t count_plugged(const struct virtio_mem *mem, uint64_t first, uint64_t count)
{
	uint64_t plugged = 0;

	for (uint64_t i = first; i < first + count; i++)
		plugged += mem->is_plugged[i];
	return plugged;
}

static void set_plugged(struct virtio_mem *mem, uint64_t first, uint64_t count, bool plugged)
{
	uint64_t bytes = count * VIRTIO_MEM_BLOCK_BYTES;

	/* Before they are plugged too: nothing of the time between is left. */
	discard(mem, first, count);
	memset(mem->is_plugged + first, plugged, count);
	if (plugged)
		atomic_fetch_add(&mem->plugged, bytes);
	else
		atomic_fetch_sub(&mem->plugged, bytes);
}

static void unplug_all(struct virtio_mem *mem)
{
	uint64_t count = mem->registers.region_size / VIRTIO_MEM_BLOCK_BYTES;

	discard(mem, 0, count);
	memset(mem->is_plugged, 0, count);
	atomic_store(&mem->plugged, 0);
	atomic_store(&mem->usable, usable_for(mem, atomic_load(&mem->requested)));
}

/* The first of the request's blocks; false if they are not all in the usable region. */
static bool find_blocks(
	const struct virtio_mem *mem, const struct mem_request *request, uint64_t *first)
{
	uint64_t offset = request->address - mem->registers.address;
	uint64_t bytes = request->nr_blocks * VIRTIO_MEM_BLOCK_BYTES;
	uint64_t usable = atomic_load(&mem->usable);

	*first = offset / VIRTIO_MEM_BLOCK_BYTES;
	return request->nr_blocks > 0 && offset % VIRTIO_MEM_BLOCK_BYTES == 0 && offset < usable &&
	       bytes <= usable - offset;
}

static uint16_t plug(struct virtio_mem *mem, uint64_t first, uint64_t count)
{
	uint64_t after = atomic_load(&mem->plugged) + count * VIRTIO_MEM_BLOCK_BYTES;

	if (count_plugged(mem, first, count) > 0)
		return ANSWER_ERROR;
	if (after > atomic_load(&mem->requested))
		return ANSWER_NACK;
	set_plugged(mem, first, count, true);
	return ANSWER_ACK;
}

static uint16_t unplug(struct virtio_mem *mem, uint64_t first, uint64_t count)
{
	if (count_plugged(mem, first, count) != count)
		return ANSWER_ERROR;
	set_plugged(mem, first, count, false);
	return ANSWER_ACK;
}

static struct mem_answer answer(struct virtio_mem *mem, const struct mem_request *request)
{
	struct mem_answer answer = { .type = ANSWER_ERROR };
	uint64_t first, plugged;

	if (request->type == REQUEST_UNPLUG_ALL) {
		unplug_all(mem);
		answer.type = ANSWER_ACK;
		return answer;
	}
	if (!find_blocks(mem, request, &first))
		return answer;
	switch (request->type) {
	case REQUEST_PLUG: answer.type = plug(mem, first, request->nr_blocks); break;
	case REQUEST_UNPLUG: answer.type = unplug(mem, first, request->nr_blocks); break;
	case REQUEST_STATE:
		plugged = count_plugged(mem, first, request->nr_blocks);
		answer.type = ANSWER_ACK;
		answer.state = plugged == request->nr_blocks ? STATE_PLUGGED
			       : plugged == 0                ? STATE_UNPLUGGED
							     : STATE_MIXED;
		break;
	default: break;
	}
	return answer;
}

static bool mem_serve(struct virtio_device *device, unsigned index)
{
	struct virtio_mem *mem = mem_of(device);
	struct virtq *queue = virtio_queue(device, index);
	struct virtq_request *request;

	while ((request = virtq_pop(queue))) {
		struct mem_answer out = { .type = ANSWER_ERROR };
		struct mem_request in;

		if (virtq_read(request, &in, sizeof(in)) == sizeof(in))
			out = answer(mem, &in);
		virtq_write(request, &out, ANSWER_BYTES);
		virtq_push(queue, request, 0);
	}
	return true;
}

/* Under the machine lock, as the registers. */
static void mem_config_reading(struct virtio_device *device, unsigned offset, unsigned size)
{
	struct virtio_mem *mem = mem_of(device);

	(void)offset;
	(void)size;
	mem->registers.plugged_size = atomic_load(&mem->plugged);
	mem->registers.usable_region_size = atomic_load(&mem->usable);
}

static void mem_powered(struct virtio_device *device)
{
	struct virtio_mem *mem = mem_of(device);
	struct virtio_lane *lane = virtio_queue_lane(device, 0);

	virtio_lane_enter(lane);
	unplug_all(mem);
	virtio_lane_leave(lane);
}

static const struct virtio_device_type mem_type = {
	.name = "virtio-mem",
	.id = VIRTIO_ID_MEM,
	.pci_class = PCI_CLASS_OTHER,
	.serve = mem_serve,
	.powered = mem_powered,
	.config_reading = mem_config_reading,
};

int virtio_mem_create(
	struct virtio_mem **result, const struct virtio_mem_config *config, struct error *err)
{
	static const struct virtio_queue_config queue = { .size = QUEUE_SIZE };
	struct virtio_mem *mem = calloc(1, sizeof(*mem));
	struct virtio_device_config device = {
		.name = config->name,
		.machine = config->machine,
		.features = MEM_F_UNPLUGGED_INACCESSIBLE,
		.config_size = sizeof(mem->registers),
		.queues = &queue,
		.nr_queues = 1,
		.nr_lanes = 1,
	};

	*result = NULL;
	if (mem)
		mem->is_plugged = calloc(1, config->bytes / VIRTIO_MEM_BLOCK_BYTES);
	if (!mem || !mem->is_plugged) {
		free(mem);
		return error_set_errno(
			err, EXIT_CODE_HOST, ENOMEM, "cannot create the device %s", config->name);
	}
	mem->registers = (struct mem_registers){ .block_size = VIRTIO_MEM_BLOCK_BYTES,
		.address = config->base,
		.region_size = config->bytes };
	device.config = &mem->registers;
	if (virtio_device_init(&mem->device, &mem_type, &device, err)) {
		virtio_mem_destroy(&mem->device);
		return -EINVAL;
	}
	*result = mem;
	return 0;
}

void virtio_mem_destroy(struct virtio_device *device)
{
	struct virtio_mem *mem = mem_of(device);

	if (!mem)
		return;
	virtio_device_finish(device);
	free(mem->is_plugged);
	free(mem);
}

struct virtio_device *virtio_mem_device(struct virtio_mem *mem)
{
	return &mem->device;
}

void virtio_mem_request(struct virtio_mem *mem, uint64_t bytes)
{
	uint64_t requested, usable;

	bytes = align_up(bytes, VIRTIO_MEM_BLOCK_BYTES);
	requested = bytes < mem->registers.region_size ? bytes : mem->registers.region_size;
	usable = usable_for(mem, requested);
	/* It shrinks only when all is unplugged (5.15.4). */
	if (usable > atomic_load(&mem->usable))
		atomic_store(&mem->usable, usable);
	atomic_store(&mem->requested, requested);
	virtio_config_change(&mem->device, offsetof(struct mem_registers, requested_size),
		&requested, sizeof(requested));
}

uint64_t virtio_mem_requested(const struct virtio_mem *mem)
{
	return atomic_load(&mem->requested);
}

uint64_t virtio_mem_plugged(const struct virtio_mem *mem)
{
	return atomic_load(&mem->plugged);
}
