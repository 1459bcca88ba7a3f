/*
 * virtio-input driven as its driver does: configuration space (virtio 1.2, 5.8.4 and 5.8.5),
 * events and status. Rings are written by hand: their own tests are virtqueue_test.c.
 */
#include "virtio/virtio_input.h"

#include "virtio/device_fixture.h"

#include <linux/input-event-codes.h>

#define STATUS_BASE 0x30000u

static struct device_fixture *fixture_new(enum virtio_input_kind kind)
{
	struct device_fixture *f = device_fixture_new();
	struct virtio_device *device;

	assert_int_equal(virtio_input_create(&device, "input0", &f->machine, kind, NULL), 0);
	device_fixture_attach(f, device);
	return f;
}

static void fixture_free(struct device_fixture *f)
{
	virtio_input_destroy(f->device);
	device_fixture_free(f);
}

/* Makes a buffer of `length` bytes available. */
static void add_buffer(
	struct device_fixture *f, unsigned queue, uint64_t address, uint32_t length, uint16_t flags)
{
	uint8_t *rings = f->ram + DEVICE_RINGS + queue * DEVICE_QUEUE_BYTES;
	uint16_t entry = f->available[queue] % DEVICE_RING_SIZE;
	const struct virtq_split_desc desc = {
		.address = address, .length = length, .flags = flags
	};

	memcpy(rings + sizeof(desc) * entry, &desc, sizeof(desc));
	device_make_available(f, queue, entry);
}

static void select_config(
	struct device_fixture *f, uint8_t select, uint8_t subselect, uint8_t *answer)
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
	struct device_fixture *f = fixture_new(VIRTIO_INPUT_KEYBOARD);
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
	struct device_fixture *f = fixture_new(VIRTIO_INPUT_TABLET);
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
	struct device_fixture *f = fixture_new(VIRTIO_INPUT_KEYBOARD);
	const struct virtio_input_event press = { EV_KEY, KEY_A, 1 };
	struct virtio_input_event got[2];

	(void)context;
	/* Before there is a driver: kept. */
	assert_true(virtio_input_report(f->device, &press, 1));
	device_start(f, 0, 2);
	add_buffer(f, 0, DEVICE_BUFFERS, 8, VIRTQ_DESC_WRITE);
	device_notify(f, 0);
	assert_int_equal(device_nr_used(f, 0), 1);
	add_buffer(f, 0, DEVICE_BUFFERS + 8, 8, VIRTQ_DESC_WRITE);
	device_notify(f, 0);
	assert_int_equal(device_nr_used(f, 0), 2);
	memcpy(got, f->ram + DEVICE_BUFFERS, sizeof(got));
	assert_memory_equal(&got[0], &press, sizeof(press));
	assert_int_equal(got[1].type, EV_SYN);
	assert_int_equal(got[1].value, 0);
	assert_true(f->interrupts > 0);
	/* With buffers waiting: at once. */
	add_buffer(f, 0, DEVICE_BUFFERS, 8, VIRTQ_DESC_WRITE);
	add_buffer(f, 0, DEVICE_BUFFERS + 8, 8, VIRTQ_DESC_WRITE);
	device_notify(f, 0);
	assert_int_equal(device_nr_used(f, 0), 2);
	assert_true(virtio_input_report(f->device, &press, 1));
	device_notify(f, 0);
	assert_int_equal(device_nr_used(f, 0), 4);
	fixture_free(f);
}

static void test_a_guest_far_behind(void **context)
{
	struct device_fixture *f = fixture_new(VIRTIO_INPUT_KEYBOARD);
	const struct virtio_input_event press = { EV_KEY, KEY_A, 1 };
	unsigned reports = 0;

	(void)context;
	device_start(f, 0, 2);
	while (virtio_input_report(f->device, &press, 1))
		reports++;
	assert_int_equal(reports, VIRTIO_INPUT_KEPT / 2);
	/* A buffer that is too small loses its event and nothing else. */
	add_buffer(f, 0, DEVICE_BUFFERS, 3, VIRTQ_DESC_WRITE);
	add_buffer(f, 0, DEVICE_BUFFERS + 8, 8, VIRTQ_DESC_WRITE);
	device_notify(f, 0);
	assert_int_equal(device_nr_used(f, 0), 2);
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
	struct device_fixture *f = fixture_new(VIRTIO_INPUT_KEYBOARD);
	const struct virtio_input_event status[] = { { EV_LED, LED_CAPSL, 1 },
		{ EV_LED, LED_NUML, 7 }, { EV_LED, LED_CAPSL, 0 }, { EV_LED, 0xffff, 1 },
		{ EV_KEY, LED_SCROLLL, 1 } };

	(void)context;
	device_start(f, 0, 2);
	memcpy(f->ram + STATUS_BASE, status, sizeof(status));
	add_buffer(f, 1, STATUS_BASE, 8, 0);
	device_notify(f, 1);
	assert_int_equal(virtio_input_leds(f->device), 1u << LED_CAPSL);
	for (unsigned i = 1; i < ARRAY_SIZE(status); i++)
		add_buffer(f, 1, STATUS_BASE + 8 * i, 8, 0);
	add_buffer(f, 1, STATUS_BASE, 5, 0);
	device_notify(f, 1);
	assert_int_equal(device_nr_used(f, 1), ARRAY_SIZE(status) + 1);
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
