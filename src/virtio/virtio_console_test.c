/*
 * The console device between a socket and a driver that both run while it serves them.
 */
#include "virtio/virtio_console.h"

#include "virtio/transport_fixture.h"
#include "virtio/virtqueue_fixture.h"
#include "virtio/virtqueue_ring.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define RING_SIZE    8u
#define GIVEN        4u /* buffers at once: a round of the device ends with the ring empty */
#define BUFFER_BYTES 64u
#define BURST_BYTES  (4 * GIVEN * BUFFER_BYTES)
#define SENT_BYTES   (250 * BURST_BYTES)
#define QUIET_S      5 /* nothing came for so long: it stands still */

struct fixture {
	struct machine machine;
	struct virtio_device *device;
	struct driver driver; /* of the first console's receive queue */
	int outside;
	atomic_size_t received;
	atomic_bool gave_up;
	bool is_wrong;
};

static void start_driver(struct fixture *f)
{
	struct virtq_state *state = &virtio_queue(f->device, 0)->state;
	struct driver *d = &f->driver;

	machine_lock(&f->machine);
	virtio_write_status(f->device, VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER, false);
	virtio_write_features(f->device, VIRTIO_F_VERSION_1 | VIRTIO_F_EVENT_IDX, false);
	virtio_write_status(f->device, VIRTIO_STATUS_FEATURES_OK, false);
	virtio_allow_dma(f->device, true);
	state->size = d->size = RING_SIZE;
	state->descriptors = DRIVER_DESCRIPTORS;
	state->driver_area = DRIVER_AREA;
	state->device_area = DRIVER_DEVICE_AREA;
	d->ram = f->machine.memory.regions[0].host;
	d->event_index = true;
	virtio_enable_queue(f->device, 0);
	virtio_write_status(f->device, VIRTIO_STATUS_DRIVER_OK, false);
	machine_unlock(&f->machine);
}

static int setup(void **context)
{
	struct fixture *f = aligned_alloc(64, (sizeof(*f) + 63) & ~(size_t)63);
	struct virtio_console_port_config port = { .is_console = true, .listen_fd = -1 };
	struct virtio_console_config config = { .name = "console", .ports = &port, .nr_ports = 1 };
	int ends[2];

	memset(f, 0, sizeof(*f));
	machine_init(&f->machine);
	config.machine = &f->machine;
	assert_int_equal(guest_memory_add(&f->machine.memory, 0, DRIVER_MEMORY, false, NULL), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	f->outside = ends[0];
	port.in_fd = ends[1];
	port.out_fd = -1;
	assert_int_equal(virtio_console_create(&f->device, &config, NULL), 0);
	virtio_set_transport(f->device, &silent_transport_ops, f);
	start_driver(f);
	*context = f;
	return 0;
}

static int teardown(void **context)
{
	struct fixture *f = *context;

	virtio_console_destroy(f->device);
	machine_finish(&f->machine);
	close(f->outside);
	free(f);
	return 0;
}

static uint8_t pattern(size_t at)
{
	return (uint8_t)(at ^ at >> 8 ^ at >> 16);
}

/* In bursts of more than the ring takes, each after the device has begun to wait for input. */
static void *send_all(void *context)
{
	struct fixture *f = context;
	uint8_t burst[BURST_BYTES];

	for (size_t sent = 0; sent < SENT_BYTES; sent += BURST_BYTES) {
		while (atomic_load(&f->received) < sent && !atomic_load(&f->gave_up))
			sched_yield();
		for (size_t i = 0; i < BURST_BYTES; i++)
			burst[i] = pattern(sent + i);
		if (send(f->outside, burst, BURST_BYTES, MSG_NOSIGNAL) != BURST_BYTES)
			break;
	}
	return NULL;
}

static uint64_t buffer_at(unsigned id)
{
	return DRIVER_BUFFERS + (uint64_t)id * BUFFER_BYTES;
}

/* Tells the device if it asked for that (virtio 1.2, 2.7.7.1). */
static void give_buffer(struct fixture *f)
{
	struct driver *d = &f->driver;
	const struct piece piece = { buffer_at(d->next_desc % RING_SIZE), BUFFER_BYTES,
		VIRTQ_DESC_WRITE };

	driver_add(d, &piece, 1);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (get16(d, DRIVER_DEVICE_AREA + 4 + 8u * RING_SIZE) == (uint16_t)(d->avail - 1))
		virtio_queue_ring(&f->device->queues[0]);
}

/* Copies what came in the next buffer, `bytes` of BUFFER_BYTES. Returns its length, or 0 if nothing
 * comes any more. */
static uint32_t take_buffer(struct fixture *f, uint8_t *bytes)
{
	time_t end = time(NULL) + QUIET_S;
	uint32_t length = 0;
	uint16_t id = 0;

	while (!driver_take(&f->driver, &id, &length)) {
		if (time(NULL) > end)
			return 0;
		__builtin_ia32_pause();
	}
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	assert_in_range(length, 1, BUFFER_BYTES);
	memcpy(bytes, f->driver.ram + buffer_at(id), length);
	return length;
}

/* All buffers come back just as the device has found none, hundreds of times. */
static void test_all_input_arrives(void **context)
{
	struct fixture *f = *context;
	uint8_t bytes[BUFFER_BYTES];
	uint32_t length = 1;
	pthread_t sender;

	assert_int_equal(pthread_create(&sender, NULL, send_all, f), 0);
	while (f->received < SENT_BYTES && length) {
		size_t held = f->received;

		for (unsigned i = 0; i < GIVEN; i++)
			give_buffer(f);
		for (unsigned i = 0; i < GIVEN && length; i++) {
			length = take_buffer(f, bytes);
			for (uint32_t j = 0; j < length; j++)
				f->is_wrong |= bytes[j] != pattern(held + j);
			held += length;
		}
		atomic_store(&f->received, held);
	}
	atomic_store(&f->gave_up, true);
	shutdown(f->outside, SHUT_RDWR);
	pthread_join(sender, NULL);
	assert_int_equal(f->received, SENT_BYTES);
	assert_false(f->is_wrong);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_all_input_arrives, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
