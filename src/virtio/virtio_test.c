/*
 * The framework between a model and its queues, with a model that needs two buffers for what it
 * has, as a network card does for a large frame.
 */
#include "virtio/virtio.h"

#include "virtio/transport_fixture.h"
#include "virtio/virtqueue_fixture.h"
#include "virtio/virtqueue_ring.h"

#define MEMORY_BYTES (1u << 20)
#define RING_SIZE    16u
#define DESCRIPTORS  0x1000u
#define AVAILABLE_AT 0x2000u
#define USED_AT      0x3000u
#define BUFFERS      0x20000u

struct fixture {
	struct virtio_device device;
	struct machine machine;
	uint8_t *ram;
	uint16_t available;
	unsigned served;
};

static bool serve(struct virtio_device *device, unsigned index)
{
	struct virtq *queue = virtio_queue(device, index);
	struct virtq_request *first = virtq_pop(queue), *second;

	((struct fixture *)device)->served++;
	if (!first)
		return true;
	second = virtq_pop(queue);
	if (!second) {
		virtq_unpop(queue, first);
		return true;
	}
	virtq_push(queue, first, 4);
	virtq_push(queue, second, 4);
	return true;
}

static const struct virtio_device_type type = { .name = "virtio-two", .id = 1, .serve = serve };

static void start_driver(struct fixture *f)
{
	struct virtq_state *state = &virtio_queue(&f->device, 0)->state;

	machine_lock(&f->machine);
	virtio_write_status(&f->device, VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER, false);
	virtio_write_features(&f->device, VIRTIO_F_VERSION_1 | VIRTIO_F_EVENT_IDX, false);
	virtio_write_status(&f->device, VIRTIO_STATUS_FEATURES_OK, false);
	assert_true(virtio_has_feature(&f->device, VIRTIO_F_EVENT_IDX));
	virtio_allow_dma(&f->device, true);
	state->size = RING_SIZE;
	state->descriptors = DESCRIPTORS;
	state->driver_area = AVAILABLE_AT;
	state->device_area = USED_AT;
	virtio_enable_queue(&f->device, 0);
	virtio_write_status(&f->device, VIRTIO_STATUS_DRIVER_OK, false);
	machine_unlock(&f->machine);
}

static int setup(void **context)
{
	static const struct virtio_queue_config queue = { .size = RING_SIZE };
	struct fixture *f = aligned_alloc(64, (sizeof(*f) + 63) & ~(size_t)63);
	struct virtio_device_config config = {
		.name = "two", .queues = &queue, .nr_queues = 1, .nr_lanes = 1
	};

	memset(f, 0, sizeof(*f));
	machine_init(&f->machine);
	config.machine = &f->machine;
	assert_int_equal(guest_memory_add(&f->machine.memory, 0, MEMORY_BYTES, false, NULL), 0);
	f->ram = f->machine.memory.regions[0].host;
	assert_int_equal(virtio_device_init(&f->device, &type, &config, NULL), 0);
	virtio_set_transport(&f->device, &silent_transport_ops, f);
	start_driver(f);
	*context = f;
	return 0;
}

static int teardown(void **context)
{
	struct fixture *f = *context;

	virtio_device_finish(&f->device);
	machine_finish(&f->machine);
	free(f);
	return 0;
}

/* Returns whether the driver tells the device of it (virtio 1.2, 2.7.7.1). */
static bool add_buffer(struct fixture *f)
{
	uint16_t entry = f->available % RING_SIZE;
	const struct virtq_split_desc desc = {
		.address = BUFFERS + 64 * entry, .length = 4, .flags = VIRTQ_DESC_WRITE
	};

	memcpy(f->ram + DESCRIPTORS + sizeof(desc) * entry, &desc, sizeof(desc));
	virtq_store16(f->ram + AVAILABLE_AT + VIRTQ_RING_ENTRIES + 2 * entry, entry);
	virtq_store16(f->ram + AVAILABLE_AT + VIRTQ_RING_INDEX, ++f->available);
	return virtq_load16(f->ram + USED_AT + VIRTQ_RING_ENTRIES + 8 * RING_SIZE) ==
	       (uint16_t)(f->available - 1);
}

static void notify(struct fixture *f)
{
	virtio_queue_ring(&f->device.queues[0]);
	/* Whoever had the lane has served it when it is free. */
	virtio_lane_enter(virtio_queue_lane(&f->device, 0));
	virtio_lane_leave(virtio_queue_lane(&f->device, 0));
}

static unsigned nr_used(const struct fixture *f)
{
	return virtq_load16(f->ram + USED_AT + VIRTQ_RING_INDEX);
}

/* One buffer does not suffice and goes back: the driver has to tell of the next. */
static void test_a_model_hears_of_the_buffer_it_lacks(void **context)
{
	struct fixture *f = *context;

	assert_true(add_buffer(f));
	notify(f);
	assert_int_equal(nr_used(f), 0);
	assert_true(f->served < 4);
	assert_true(add_buffer(f));
	notify(f);
	assert_int_equal(nr_used(f), 2);
	assert_true(add_buffer(f));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			test_a_model_hears_of_the_buffer_it_lacks, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
