/*
 * The console device between a socket and a driver that both run while it serves them.
 */
#include "virtio/virtio_console.h"

#include "virtio/device_fixture.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define GIVEN        4u /* buffers at once: a round of the device ends with the ring empty */
#define USED_RING    (DEVICE_RINGS + 0x2000)
#define BUFFER_BYTES 64u
#define BURST_BYTES  (4 * GIVEN * BUFFER_BYTES)
#define SENT_BYTES   (250 * BURST_BYTES)
#define QUIET_S      5 /* nothing came for so long: it stands still */

struct fixture {
	struct device_fixture *base;
	uint16_t taken; /* of the buffers of the first console's receive queue */
	int outside;
	atomic_size_t received;
	atomic_bool gave_up;
	bool is_wrong;
};

static int setup(void **context)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct virtio_console_port_config port = { .is_console = true, .listen_fd = -1 };
	struct virtio_console_config config = { .name = "console", .ports = &port, .nr_ports = 1 };
	struct virtio_device *device;
	int ends[2];

	f->base = device_fixture_new();
	config.machine = &f->base->machine;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	f->outside = ends[0];
	port.in_fd = ends[1];
	port.out_fd = -1;
	assert_int_equal(virtio_console_create(&device, &config, NULL), 0);
	device_fixture_attach(f->base, device);
	device_start(f->base, VIRTIO_F_EVENT_IDX, 1);
	*context = f;
	return 0;
}

static int teardown(void **context)
{
	struct fixture *f = *context;

	virtio_console_destroy(f->base->device);
	device_fixture_free(f->base);
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

static uint64_t buffer_at(unsigned entry)
{
	return DEVICE_BUFFERS + (uint64_t)entry * BUFFER_BYTES;
}

/* Tells the device if it asked for that (virtio 1.2, 2.7.7.1). */
static void give_buffer(struct device_fixture *f)
{
	const uint8_t *wanted = f->ram + USED_RING + VIRTQ_RING_ENTRIES + 8 * DEVICE_RING_SIZE;
	uint16_t before = f->available[0], entry = before % DEVICE_RING_SIZE;
	const struct virtq_split_desc desc = {
		.address = buffer_at(entry), .length = BUFFER_BYTES, .flags = VIRTQ_DESC_WRITE
	};

	memcpy(f->ram + DEVICE_RINGS + sizeof(desc) * entry, &desc, sizeof(desc));
	device_make_available(f, 0, entry);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (virtq_load16(wanted) == before)
		virtio_queue_ring(&f->device->queues[0]);
}

/* Copies what came in the next buffer, `bytes` of BUFFER_BYTES. Returns its length, or 0 if nothing
 * comes any more. */
static uint32_t take_buffer(struct fixture *f, uint8_t *bytes)
{
	time_t end = time(NULL) + QUIET_S;
	struct virtq_used_element element;

	while (device_nr_used(f->base, 0) == f->taken) {
		if (time(NULL) > end)
			return 0;
		__builtin_ia32_pause();
	}
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	memcpy(&element,
		f->base->ram + USED_RING + VIRTQ_RING_ENTRIES +
			sizeof(element) * (f->taken++ % DEVICE_RING_SIZE),
		sizeof(element));
	assert_in_range(element.length, 1, BUFFER_BYTES);
	memcpy(bytes, f->base->ram + buffer_at(element.id), element.length);
	return element.length;
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
			give_buffer(f->base);
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
