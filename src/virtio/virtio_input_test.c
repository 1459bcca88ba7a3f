/*
 * virtio-input driven as its driver does: configuration space (virtio 1.2, 5.8.4 and 5.8.5),
 * events and status. Rings are written by hand: their own tests are virtqueue_test.c.
 */
#include "virtio/virtio_input.h"

#include "virtio/virtqueue_fixture.h"
#include "virtio/virtqueue_ring.h"

#include <linux/input-event-codes.h>

#define MEMORY_BYTES (1u << 20)
#define RING_SIZE    16u
#define RINGS        0x1000u /* of a queue: descriptors, then 0x1000 on available, used */
#define QUEUE_BYTES  0x4000u
#define BUFFERS      0x20000u
#define STATUS_BASE  0x30000u

struct fixture {
	struct machine machine;
	struct virtio_device *device;
	uint8_t *ram;
	unsigned interrupts;
	uint16_t available[2];
};

static void interrupt_queue(void *transport, unsigned index)
{
	(void)index;
	__atomic_fetch_add(&((struct fixture *)transport)->interrupts, 1, __ATOMIC_SEQ_CST);
}

static void do_nothing(void *transport)
{
	(void)transport;
}

static const struct virtio_transport_ops transport_ops = {
	.interrupt_queue = interrupt_queue, .interrupt_config = do_nothing, .outside = do_nothing
};

static void start_queue(struct fixture *f, unsigned index)
{
	struct virtq_state *state = &virtio_queue(f->device, index)->state;

	state->size = RING_SIZE;
	state->descriptors = RINGS + index * QUEUE_BYTES;
	state->driver_area = state->descriptors + 0x1000;
	state->device_area = state->descriptors + 0x2000;
	virtio_enable_queue(f->device, index);
}

static void start_driver(struct fixture *f)
{
	machine_lock(&f->machine);
	virtio_write_status(f->device, VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER, false);
	virtio_write_features(f->device, VIRTIO_F_VERSION_1, false);
	virtio_write_status(f->device, VIRTIO_STATUS_FEATURES_OK, false);
	assert_true(virtio_read_status(f->device) & VIRTIO_STATUS_FEATURES_OK);
	virtio_allow_dma(f->device, true);
	start_queue(f, 0);
	start_queue(f, 1);
	virtio_write_status(f->device, VIRTIO_STATUS_DRIVER_OK, false);
	machine_unlock(&f->machine);
}

static struct fixture *fixture_new(enum virtio_input_kind kind)
{
	struct fixture *f = aligned_alloc(64, (sizeof(*f) + 63) & ~(size_t)63);

	memset(f, 0, sizeof(*f));
	machine_init(&f->machine);
	assert_int_equal(guest_memory_add(&f->machine.memory, 0, MEMORY_BYTES, false, NULL), 0);
	f->ram = f->machine.memory.regions[0].host;
	assert_int_equal(virtio_input_create(&f->device, "input0", &f->machine, kind, NULL), 0);
	virtio_set_transport(f->device, &transport_ops, f);
	return f;
}

static void fixture_free(struct fixture *f)
{
	virtio_input_destroy(f->device);
	machine_finish(&f->machine);
	free(f);
}

/* Makes a buffer of `length` bytes available. */
static void add_buffer(
	struct fixture *f, unsigned queue, uint64_t address, uint32_t length, uint16_t flags)
{
	uint8_t *rings = f->ram + RINGS + queue * QUEUE_BYTES;
	uint16_t entry = f->available[queue] % RING_SIZE;
	const struct virtq_split_desc desc = {
		.address = address, .length = length, .flags = flags
	};

	memcpy(rings + sizeof(desc) * entry, &desc, sizeof(desc));
	virtq_store16(rings + 0x1000 + VIRTQ_RING_ENTRIES + 2 * entry, entry);
	virtq_store16(rings + 0x1000 + VIRTQ_RING_INDEX, ++f->available[queue]);
}

static void notify(struct fixture *f, unsigned queue)
{
	virtio_queue_ring(&f->device->queues[queue]);
	/* Whoever had the lane has served it when it is free. */
	virtio_lane_enter(virtio_queue_lane(f->device, queue));
	virtio_lane_leave(virtio_queue_lane(f->device, queue));
}

static unsigned nr_used(const struct fixture *f, unsigned queue)
{
	return virtq_load16(f->ram + RINGS + queue * QUEUE_BYTES + 0x2000 + VIRTQ_RING_INDEX);
}

static void select_config(struct fixture *f, uint8_t select, uint8_t subselect, uint8_t *answer)
{
	const uint8_t selection[] = { select, subselect };

	machine_lock(&f->machine);
	virtio_write_config(f->device, 0, selection, sizeof(selection));
	virtio_read_config(f->device, 0, answer, 136);
	machine_unlock(&f->machine);
}

static bool has_bit(const uint8_t *answer, unsigned bit)
{
	return bit / 8 < answer[2] && (answer[8 + bit / 8] >> bit % 8 & 1);
}

static void test_what_a_keyboard_is(void **context)
{
	struct fixture *f = fixture_new(VIRTIO_INPUT_KEYBOARD);
	uint8_t answer[136];

	(void)context;
	select_config(f, 0x01, 0, answer);
	assert_int_equal(answer[2], strlen("Atoll keyboard"));
	assert_memory_equal(answer + 8, "Atoll keyboard", answer[2]);
	select_config(f, 0x11, EV_KEY, answer);
	assert_true(has_bit(answer, KEY_A) && has_bit(answer, KEY_ESC) && has_bit(answer, KEY_F12));
	assert_false(has_bit(answer, KEY_RESERVED) || has_bit(answer, BTN_LEFT));
	select_config(f, 0x11, EV_LED, answer);
	assert_true(has_bit(answer, LED_CAPSL));
	select_config(f, 0x11, EV_ABS, answer);
	assert_int_equal(answer[2], 0);
	select_config(f, 0x12, ABS_X, answer);
	assert_int_equal(answer[2], 0);
	/* Whatever is selected, there is an answer of a size that fits. */
	for (unsigned i = 0; i < 65536; i++) {
		select_config(f, (uint8_t)(i >> 8), (uint8_t)i, answer);
		assert_true(answer[2] <= 128);
	}
	fixture_free(f);
}

static void test_what_a_tablet_is(void **context)
{
	struct fixture *f = fixture_new(VIRTIO_INPUT_TABLET);
	uint8_t answer[136];
	uint32_t max;

	(void)context;
	select_config(f, 0x11, EV_ABS, answer);
	assert_true(has_bit(answer, ABS_X) && has_bit(answer, ABS_Y));
	select_config(f, 0x11, EV_KEY, answer);
	assert_true(has_bit(answer, BTN_LEFT) && has_bit(answer, BTN_MIDDLE));
	assert_false(has_bit(answer, KEY_A));
	select_config(f, 0x12, ABS_Y, answer);
	assert_int_equal(answer[2], 20);
	memcpy(&max, answer + 12, sizeof(max));
	assert_int_equal(max, VIRTIO_INPUT_AXIS_MAX);
	select_config(f, 0x12, ABS_Z, answer);
	assert_int_equal(answer[2], 0);
	fixture_free(f);
}

static void test_reports_arrive(void **context)
{
	struct fixture *f = fixture_new(VIRTIO_INPUT_KEYBOARD);
	const struct virtio_input_event press = { EV_KEY, KEY_A, 1 };
	struct virtio_input_event got[2];

	(void)context;
	/* Before there is a driver: kept. */
	assert_true(virtio_input_report(f->device, &press, 1));
	start_driver(f);
	add_buffer(f, 0, BUFFERS, 8, VIRTQ_DESC_WRITE);
	notify(f, 0);
	assert_int_equal(nr_used(f, 0), 1);
	add_buffer(f, 0, BUFFERS + 8, 8, VIRTQ_DESC_WRITE);
	notify(f, 0);
	assert_int_equal(nr_used(f, 0), 2);
	memcpy(got, f->ram + BUFFERS, sizeof(got));
	assert_memory_equal(&got[0], &press, sizeof(press));
	assert_int_equal(got[1].type, EV_SYN);
	assert_int_equal(got[1].value, 0);
	assert_true(f->interrupts > 0);
	/* With buffers waiting: at once. */
	add_buffer(f, 0, BUFFERS, 8, VIRTQ_DESC_WRITE);
	add_buffer(f, 0, BUFFERS + 8, 8, VIRTQ_DESC_WRITE);
	notify(f, 0);
	assert_int_equal(nr_used(f, 0), 2);
	assert_true(virtio_input_report(f->device, &press, 1));
	notify(f, 0);
	assert_int_equal(nr_used(f, 0), 4);
	fixture_free(f);
}

static void test_a_guest_far_behind(void **context)
{
	struct fixture *f = fixture_new(VIRTIO_INPUT_KEYBOARD);
	const struct virtio_input_event press = { EV_KEY, KEY_A, 1 };
	unsigned reports = 0;

	(void)context;
	start_driver(f);
	while (virtio_input_report(f->device, &press, 1))
		reports++;
	assert_int_equal(reports, VIRTIO_INPUT_KEPT / 2);
	/* A buffer that is too small loses its event and nothing else. */
	add_buffer(f, 0, BUFFERS, 3, VIRTQ_DESC_WRITE);
	add_buffer(f, 0, BUFFERS + 8, 8, VIRTQ_DESC_WRITE);
	notify(f, 0);
	assert_int_equal(nr_used(f, 0), 2);
	assert_true(virtio_input_report(f->device, &press, 1));
	assert_false(virtio_input_report(f->device, &press, 1));
	machine_lock(&f->machine);
	virtio_device_reset(f->device);
	machine_unlock(&f->machine);
	assert_true(virtio_input_report(f->device, &press, 1));
	fixture_free(f);
}

static void test_lights(void **context)
{
	struct fixture *f = fixture_new(VIRTIO_INPUT_KEYBOARD);
	const struct virtio_input_event status[] = { { EV_LED, LED_CAPSL, 1 },
		{ EV_LED, LED_NUML, 7 }, { EV_LED, LED_CAPSL, 0 }, { EV_LED, 0xffff, 1 },
		{ EV_KEY, LED_SCROLLL, 1 } };

	(void)context;
	start_driver(f);
	memcpy(f->ram + STATUS_BASE, status, sizeof(status));
	add_buffer(f, 1, STATUS_BASE, 8, 0);
	notify(f, 1);
	assert_int_equal(virtio_input_leds(f->device), 1u << LED_CAPSL);
	for (unsigned i = 1; i < ARRAY_SIZE(status); i++)
		add_buffer(f, 1, STATUS_BASE + 8 * i, 8, 0);
	add_buffer(f, 1, STATUS_BASE, 5, 0);
	notify(f, 1);
	assert_int_equal(nr_used(f, 1), ARRAY_SIZE(status) + 1);
	assert_int_equal(virtio_input_leds(f->device), 1u << LED_NUML);
	fixture_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_a_keyboard_is),
		cmocka_unit_test(test_what_a_tablet_is),
		cmocka_unit_test(test_reports_arrive),
		cmocka_unit_test(test_a_guest_far_behind),
		cmocka_unit_test(test_lights),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
