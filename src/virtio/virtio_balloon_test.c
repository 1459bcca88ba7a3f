/*
 * virtio-balloon between its queues and memory: what is a promise is discarded, what is a hint is
 * counted under its own command only (virtio 1.2, 5.5.6).
 */
#include "virtio/virtio_balloon.h"

#include "virtio/transport_fixture.h"
#include "virtio/virtqueue_fixture.h"
#include "virtio/virtqueue_ring.h"

#include <errno.h>
#include <unistd.h>

#define MEMORY_BYTES (8u << 20)
#define RING_SIZE    16u
#define RINGS        0x10000u
#define RING_BYTES   0x4000u /* of each queue: descriptors, driver's area, device's area */
#define WORDS        0x40000u
#define PAGES        0x100000u /* what is named */
#define PAGE         4096u
#define PATTERN      0x5a

#define F_FREE_PAGE_HINT BIT(3)
#define F_PAGE_POISON    BIT(4)
#define F_REPORTING      BIT(5)
#define CONFIG_COMMAND   8
#define CONFIG_POISON    12
#define STOP             0
#define DONE             1

/* Without statistics, those behind come forward. */
enum { INFLATE, DEFLATE, HINTS, REPORTING, NR_QUEUES };

struct fixture {
	struct machine machine;
	struct virtio_balloon *balloon;
	struct virtio_device *device;
	uint8_t *ram;
	uint16_t available[NR_QUEUES];
	unsigned words;
};

static void start_driver(struct fixture *f, uint64_t features, uint32_t poison)
{
	uint8_t status = VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER;

	machine_lock(&f->machine);
	virtio_write_status(f->device, status, false);
	virtio_write_features(f->device, VIRTIO_F_VERSION_1 | features, false);
	virtio_write_status(f->device, status |= VIRTIO_STATUS_FEATURES_OK, false);
	assert_true(virtio_has_feature(f->device, features));
	virtio_allow_dma(f->device, true);
	for (unsigned i = 0; i < NR_QUEUES; i++) {
		struct virtq_state *state = &virtio_queue(f->device, i)->state;

		state->size = RING_SIZE;
		state->descriptors = RINGS + RING_BYTES * i;
		state->driver_area = state->descriptors + 0x1000;
		state->device_area = state->descriptors + 0x2000;
		virtio_enable_queue(f->device, i);
	}
	virtio_write_config(f->device, CONFIG_POISON, &poison, sizeof(poison));
	virtio_write_status(f->device, status | VIRTIO_STATUS_DRIVER_OK, false);
	machine_unlock(&f->machine);
}

static int setup(void **context)
{
	struct virtio_balloon_config config = { .name = "balloon0" };
	struct fixture *f = aligned_alloc(64, (sizeof(*f) + 63) & ~(size_t)63);

	memset(f, 0, sizeof(*f));
	machine_init(&f->machine);
	config.machine = &f->machine;
	assert_int_equal(guest_memory_add(&f->machine.memory, 0, MEMORY_BYTES, false, NULL), 0);
	f->ram = f->machine.memory.regions[0].host;
	memset(f->ram + PAGES, PATTERN, MEMORY_BYTES - PAGES);
	assert_int_equal(virtio_balloon_create(&f->balloon, &config, NULL), 0);
	f->device = virtio_balloon_device(f->balloon);
	virtio_set_transport(f->device, &silent_transport_ops, f);
	*context = f;
	return 0;
}

static int teardown(void **context)
{
	struct fixture *f = *context;

	virtio_balloon_destroy(f->device);
	machine_finish(&f->machine);
	free(f);
	return 0;
}

/* One buffer, which is used when this returns. */
static void give(
	struct fixture *f, unsigned queue, uint64_t address, uint32_t length, bool writable)
{
	const struct virtq_state *state = &virtio_queue(f->device, queue)->state;
	uint16_t entry = f->available[queue]++ % RING_SIZE;
	const struct virtq_split_desc desc = {
		.address = address, .length = length, .flags = writable ? VIRTQ_DESC_WRITE : 0
	};

	memcpy(f->ram + state->descriptors + sizeof(desc) * entry, &desc, sizeof(desc));
	virtq_store16(f->ram + state->driver_area + VIRTQ_RING_ENTRIES + 2 * entry, entry);
	virtq_store16(f->ram + state->driver_area + VIRTQ_RING_INDEX, f->available[queue]);
	virtio_queue_ring(&f->device->queues[queue]);
	virtio_lane_enter(virtio_queue_lane(f->device, queue));
	virtio_lane_leave(virtio_queue_lane(f->device, queue));
	assert_int_equal(
		virtq_load16(f->ram + state->device_area + VIRTQ_RING_INDEX), f->available[queue]);
}

static void give_word(struct fixture *f, unsigned queue, uint32_t word, uint32_t length)
{
	uint64_t at = WORDS + 8 * f->words++;

	memcpy(f->ram + at, &word, sizeof(word));
	give(f, queue, at, length, false);
}

static void hint_page(struct fixture *f, unsigned page)
{
	give(f, HINTS, PAGES + page * PAGE, PAGE, true);
}

static uint32_t command(struct fixture *f)
{
	uint32_t value;

	machine_lock(&f->machine);
	virtio_read_config(f->device, CONFIG_COMMAND, &value, sizeof(value));
	machine_unlock(&f->machine);
	return value;
}

static uint32_t issue(struct fixture *f)
{
	machine_lock(&f->machine);
	assert_int_equal(virtio_balloon_hint(f->balloon), 0);
	machine_unlock(&f->machine);
	return command(f);
}

static uint64_t hinted_pages(struct fixture *f)
{
	uint64_t bytes;

	machine_lock(&f->machine);
	virtio_balloon_hinted(f->balloon, &bytes);
	machine_unlock(&f->machine);
	return bytes / PAGE;
}

/* The I/O thread says so. */
static void wait_until_done(struct fixture *f)
{
	for (unsigned i = 0; i < 10000 && command(f) != DONE; i++)
		usleep(1000);
	assert_int_equal(command(f), DONE);
}

static void test_promises_are_discarded(void **context)
{
	struct fixture *f = *context;

	start_driver(f, F_FREE_PAGE_HINT | F_REPORTING, 0);
	give_word(f, INFLATE, PAGES / PAGE, 4);
	give(f, REPORTING, PAGES + 2 * PAGE, PAGE, true);
	assert_int_equal(f->ram[PAGES], 0);
	assert_int_equal(f->ram[PAGES + PAGE], PATTERN);
	assert_int_equal(f->ram[PAGES + 2 * PAGE], 0);
}

static void test_reports_of_poisoned_pages_are_not(void **context)
{
	struct fixture *f = *context;

	start_driver(f, F_FREE_PAGE_HINT | F_REPORTING | F_PAGE_POISON, 0xaaaaaaaa);
	give(f, REPORTING, PAGES, PAGE, true);
	assert_int_equal(f->ram[PAGES], PATTERN);
}

static void test_hints_are_counted(void **context)
{
	struct fixture *f = *context;
	uint32_t first, second;

	start_driver(f, F_FREE_PAGE_HINT | F_REPORTING, 0);
	assert_int_equal(command(f), STOP);
	first = issue(f);
	assert_true(first > DONE);
	/* Before the driver's command nothing belongs to it. */
	hint_page(f, 0);
	assert_int_equal(hinted_pages(f), 0);
	give_word(f, HINTS, first, 4);
	hint_page(f, 1);
	hint_page(f, 2);
	assert_int_equal(hinted_pages(f), 2);
	assert_int_equal(command(f), first);
	machine_lock(&f->machine);
	assert_int_equal(virtio_balloon_hint(f->balloon), -EBUSY);
	machine_unlock(&f->machine);
	give_word(f, HINTS, STOP, 4);
	wait_until_done(f);
	hint_page(f, 3);
	assert_int_equal(hinted_pages(f), 2);
	/* A hint is no promise: the guest may have written there since (5.5.6.6.1). */
	for (unsigned page = 0; page < 4; page++)
		assert_int_equal(f->ram[PAGES + page * PAGE], PATTERN);

	second = issue(f);
	assert_true(second > DONE && second != first);
	give_word(f, HINTS, first, 4); /* of the round before */
	hint_page(f, 4);
	give_word(f, HINTS, second, 8); /* of a wrong size */
	hint_page(f, 5);
	assert_int_equal(hinted_pages(f), 0);
	give_word(f, HINTS, second, 4);
	hint_page(f, 6);
	assert_int_equal(hinted_pages(f), 1);
	assert_int_equal(command(f), second);
}

static void test_a_round_can_be_ended(void **context)
{
	struct fixture *f = *context;

	start_driver(f, F_FREE_PAGE_HINT | F_REPORTING, 0);
	give_word(f, HINTS, issue(f), 4);
	hint_page(f, 0);
	machine_lock(&f->machine);
	virtio_balloon_end_hints(f->balloon);
	machine_unlock(&f->machine);
	assert_int_equal(command(f), DONE);
	hint_page(f, 1);
	assert_int_equal(hinted_pages(f), 1);
	/* Never more than there is. */
	give_word(f, HINTS, issue(f), 4);
	for (unsigned i = 0; i < 3; i++)
		give(f, HINTS, 0, MEMORY_BYTES, true);
	assert_int_equal(hinted_pages(f), MEMORY_BYTES / PAGE);
}

static void test_no_driver_that_hints(void **context)
{
	struct fixture *f = *context;

	machine_lock(&f->machine);
	assert_int_equal(virtio_balloon_hint(f->balloon), -ENOTSUP);
	machine_unlock(&f->machine);
	start_driver(f, F_REPORTING, 0);
	machine_lock(&f->machine);
	assert_int_equal(virtio_balloon_hint(f->balloon), -ENOTSUP);
	machine_unlock(&f->machine);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_promises_are_discarded, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_reports_of_poisoned_pages_are_not, setup, teardown),
		cmocka_unit_test_setup_teardown(test_hints_are_counted, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_round_can_be_ended, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_driver_that_hints, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
