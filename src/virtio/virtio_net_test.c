/*
 * virtio-net between its queues and a cable: where received frames go with two pairs of queues
 * (virtio 1.2, 5.1.6.5.6).
 */
#include "virtio/virtio_net_internal.h"

#include "net/cable_fixture.h"
#include "virtio/device_fixture.h"

#include <sched.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define HEADER 12u
#define FRAME  60u
#define BUFFER 2048u

/* RECEIVE and SEND of the first pair, of the second, the control queue. */
enum { RECEIVE, SEND, RECEIVE2, SEND2, CONTROL, NR_QUEUES };

struct fixture {
	struct device_fixture *base;
	struct fixture_cable *cable;
	struct virtio_net *net;
	unsigned nr_buffers;
};

static uint32_t new_buffer(struct fixture *f)
{
	return DEVICE_BUFFERS + BUFFER * (f->nr_buffers++ % 64);
}

static void put_desc(struct fixture *f, unsigned queue, unsigned at, uint32_t address,
	uint32_t length, unsigned flags)
{
	const struct virtq_split_desc desc = { address, length, (uint16_t)flags,
		(uint16_t)(at + 1) };

	memcpy(f->base->ram + DEVICE_RINGS + queue * DEVICE_QUEUE_BYTES + sizeof(desc) * at, &desc,
		sizeof(desc));
}

/* One buffer to `queue`, at the ring's next place. */
static void give(
	struct fixture *f, unsigned queue, uint32_t address, uint32_t length, unsigned flags)
{
	uint16_t at = f->base->available[queue] % DEVICE_RING_SIZE;

	put_desc(f, queue, at, address, length, flags);
	device_make_available(f->base, queue, at);
	device_notify(f->base, queue);
}

/* A TCP segment without data between the driver and a server. */
static void make_frame(uint8_t frame[FRAME], unsigned port, bool back)
{
	static const uint8_t headers[] = { 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0, 0, 40,
		0, 1, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2 };

	memset(frame, 0, FRAME);
	memcpy(frame, headers, sizeof(headers));
	if (back) {
		frame[29] = 2;
		frame[33] = 1;
	}
	frame[34 + 2 * back] = (uint8_t)(port >> 8);
	frame[35 + 2 * back] = (uint8_t)port;
	frame[37 - 2 * back] = 80;
}

/* Under the lane. */
static unsigned nr_sent(struct fixture *f)
{
	unsigned count;

	virtio_lane_enter(virtio_queue_lane(f->base->device, SEND));
	count = f->cable->nr_sent;
	virtio_lane_leave(virtio_queue_lane(f->base->device, SEND));
	return count;
}

static void send(struct fixture *f, unsigned queue, unsigned port)
{
	uint32_t buffer = new_buffer(f);
	unsigned sent = nr_sent(f);

	memset(f->base->ram + buffer, 0, HEADER);
	make_frame(f->base->ram + buffer + HEADER, port, false);
	give(f, queue, buffer, HEADER + FRAME, 0);
	while (nr_sent(f) == sent)
		sched_yield();
}

/* What the I/O thread does when the cable has something. */
static void come(struct fixture *f, unsigned port)
{
	uint8_t frame[FRAME];

	make_frame(frame, port, true);
	virtio_lane_enter(virtio_queue_lane(f->base->device, RECEIVE));
	fixture_cable_come(f->cable, frame, sizeof(frame));
	f->net->watch.ready(f->net);
	virtio_lane_leave(virtio_queue_lane(f->base->device, RECEIVE));
	/* Who gives the lane up wakes the I/O thread, which this then waits for. */
	while (f->cable->nr_taken != f->cable->nr_incoming ||
		atomic_load(&f->net->device.lanes->marked))
		sched_yield();
	virtio_lane_enter(virtio_queue_lane(f->base->device, RECEIVE));
	virtio_lane_leave(virtio_queue_lane(f->base->device, RECEIVE));
}

static void use_pairs(struct fixture *f, uint16_t pairs)
{
	uint8_t *ram = f->base->ram;
	uint32_t buffer = new_buffer(f);

	ram[buffer] = NET_CTRL_MQ;
	ram[buffer + 1] = NET_CTRL_MQ_PAIRS_SET;
	memcpy(ram + buffer + 2, &pairs, sizeof(pairs));
	ram[buffer + 8] = 0xff;
	put_desc(f, CONTROL, 0, buffer, 4, VIRTQ_DESC_NEXT);
	put_desc(f, CONTROL, 1, buffer + 8, 1, VIRTQ_DESC_WRITE);
	device_make_available(f->base, CONTROL, 0);
	device_notify(f->base, CONTROL);
	assert_int_equal(ram[buffer + 8], NET_CTRL_OK);
}

static int setup(void **context)
{
	struct virtio_net_config config = {
		.name = "net0", .address = { 2, 0, 0, 0, 0, 1 }, .nr_pairs = 2
	};
	struct fixture *f = calloc(1, sizeof(*f));

	f->base = device_fixture_new();
	f->cable = fixture_cable_new();
	config.machine = &f->base->machine;
	config.backend = &f->cable->backend;
	assert_int_equal(virtio_net_create(&f->net, &config, NULL), 0);
	device_fixture_attach(f->base, virtio_net_device(f->net));
	device_start(f->base, VIRTIO_F_EVENT_IDX | NET_F_CTRL_VQ | NET_F_MQ | NET_F_MRG_RXBUF,
		NR_QUEUES);
	use_pairs(f, 2);
	for (unsigned i = 0; i < 8; i++) {
		give(f, RECEIVE, new_buffer(f), BUFFER, VIRTQ_DESC_WRITE);
		give(f, RECEIVE2, new_buffer(f), BUFFER, VIRTQ_DESC_WRITE);
	}
	*context = f;
	return 0;
}

static int teardown(void **context)
{
	struct fixture *f = *context;

	virtio_net_destroy(f->base->device);
	device_fixture_free(f->base);
	free(f);
	return 0;
}

static void assert_received(struct fixture *f, unsigned first, unsigned second)
{
	assert_int_equal(device_nr_used(f->base, RECEIVE), first);
	assert_int_equal(device_nr_used(f->base, RECEIVE2), second);
}

/* The driver has taken what it was given, and asks for an interrupt for more (2.7.7). */
static void take(struct fixture *f, unsigned queue)
{
	const struct virtq *ring = &f->base->device->queues[queue].ring;
	uint16_t used = (uint16_t)device_nr_used(f->base, queue);

	memcpy(ring->driver_area + 4 + 2 * ring->state.size, &used, sizeof(used));
}

static void an_answer_goes_to_the_pair_that_asked(void **context)
{
	struct fixture *f = *context;

	come(f, 4000); /* nobody asked */
	assert_received(f, 1, 0);
	take(f, RECEIVE);
	send(f, SEND2, 4000);
	come(f, 4000);
	assert_received(f, 1, 1);
	send(f, SEND, 4001);
	come(f, 4001);
	come(f, 4000);
	assert_received(f, 2, 2);
	/* It must not overtake what was received there. */
	send(f, SEND, 4000);
	come(f, 4000);
	assert_received(f, 2, 3);
	take(f, RECEIVE2);
	come(f, 4000);
	assert_received(f, 3, 3);
}

static atomic_uint seen; /* bits: how many buffers a driver that looks at any time finds used */

static void look(void *context, gpa_t address, uint64_t size)
{
	(void)address;
	(void)size;
	atomic_fetch_or(&seen, 1u << device_nr_used(context, RECEIVE));
}

/* ...are found used by the driver all at once (5.1.6.4). */
static void buffers_of_one_frame(void **context)
{
	struct fixture *f = *context;
	struct guest_memory *memory = &f->base->machine.memory;

	for (unsigned i = 0; i < 8; i++)
		come(f, 4000);
	for (unsigned i = 0; i < 3; i++)
		give(f, RECEIVE, new_buffer(f), (HEADER + FRAME) / 3, VIRTQ_DESC_WRITE);
	assert_received(f, 8, 0);
	virtio_lane_enter(virtio_queue_lane(f->base->device, RECEIVE));
	memory->written_context = f->base;
	memory->written = look;
	virtio_lane_leave(virtio_queue_lane(f->base->device, RECEIVE));
	come(f, 4000);
	assert_received(f, 11, 0);
	assert_int_equal(atomic_load(&seen), 1u << 8 | 1u << 11);
	virtio_lane_enter(virtio_queue_lane(f->base->device, RECEIVE));
	memory->written = NULL;
	virtio_lane_leave(virtio_queue_lane(f->base->device, RECEIVE));
}

/* ...is used no more, whatever was sent on it. */
static void a_pair_that_the_driver_gives_up(void **context)
{
	struct fixture *f = *context;

	send(f, SEND2, 4000);
	use_pairs(f, 1);
	come(f, 4000);
	assert_received(f, 1, 0);
}

static void frames_for_a_pair_without_buffers_wait(void **context)
{
	struct fixture *f = *context;

	send(f, SEND2, 4000);
	for (unsigned i = 0; i < 8; i++)
		come(f, 4000);
	assert_received(f, 0, 8);
	come(f, 4000);
	assert_received(f, 0, 8);
	give(f, RECEIVE2, new_buffer(f), BUFFER, VIRTQ_DESC_WRITE);
	assert_received(f, 0, 9);
	come(f, 4000);
	/* The first pair takes over. */
	use_pairs(f, 1);
	assert_received(f, 1, 9);
}

/* Nobody takes what has come: the thread must not be woken for it for ever. */
static void a_queue_that_is_reset(void **context)
{
	struct fixture *f = *context;
	uint8_t frame[FRAME];

	make_frame(frame, 4000, true);
	virtio_lane_enter(virtio_queue_lane(f->base->device, RECEIVE));
	assert_true(f->net->wanted & NET_READ);
	f->base->device->queues[RECEIVE].running = false;
	fixture_cable_come(f->cable, frame, sizeof(frame));
	f->net->watch.ready(f->net);
	assert_false(f->net->wanted & NET_READ);
	f->base->device->queues[RECEIVE].running = true;
	virtio_lane_leave(virtio_queue_lane(f->base->device, RECEIVE));
	/* The driver gives it buffers when it has enabled it again. */
	give(f, RECEIVE, new_buffer(f), BUFFER, VIRTQ_DESC_WRITE);
	assert_received(f, 1, 0);
	assert_true(f->net->wanted & NET_READ);
}

static ssize_t take_here(struct net_backend *backend, struct net_header *header, uint8_t *frame)
{
	struct fixture_cable *cable = container_of(backend, struct fixture_cable, backend);
	ssize_t size = fixture_receive(backend, header, frame);
	uint64_t told;

	if (size && read(cable->come_fd, &told, sizeof(told)) == sizeof(told))
		cable->taken_by = pthread_self();
	return size;
}

/* The answer is there, and the I/O thread knows, before the sender is back. */
static int answer_at_once(struct net_backend *backend, const struct net_header *header,
	const struct iovec *iov, unsigned count)
{
	struct fixture_cable *cable = container_of(backend, struct fixture_cable, backend);
	struct virtio_lane *lane = virtio_queue_lane(cable->context, RECEIVE);
	const uint64_t one = 1;
	uint8_t frame[FRAME];

	make_frame(frame, 4000, true);
	fixture_cable_come(cable, frame, sizeof(frame));
	assert_int_equal(write(cable->come_fd, &one, sizeof(one)), sizeof(one));
	/* It may be that thread that sends. */
	while (!pthread_equal(pthread_self(), lane->thread) && !atomic_load(&lane->shared_is_ready))
		sched_yield();
	return fixture_send(backend, header, iov, count);
}

/* ...by the thread that sends: no other is woken for it. */
static void an_early_answer_is_received(void **context)
{
	static const struct net_backend_ops ops = { .send = answer_at_once,
		.receive = take_here,
		.want = fixture_want,
		.destroy = fixture_cable_destroy };
	struct fixture *f = *context;
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	bool taken_here = false;
	unsigned sent = 0;

	f->cable->context = f->base->device;
	f->cable->come_fd = fd;
	f->cable->backend.ops = &ops;
	net_backend_watch(&f->cable->backend, fd, NET_READ);
	while (!taken_here && sent < 8) {
		/* The I/O thread goes to sleep, later on a busy host. */
		usleep(2000u << sent);
		send(f, SEND2, 4000);
		sent++;
		while (device_nr_used(f->base, RECEIVE2) < sent)
			sched_yield();
		virtio_lane_enter(virtio_queue_lane(f->base->device, RECEIVE));
		taken_here |= pthread_equal(f->cable->taken_by, pthread_self()) != 0;
		virtio_lane_leave(virtio_queue_lane(f->base->device, RECEIVE));
	}
	assert_true(taken_here);
	assert_received(f, 0, sent);
	net_backend_watch(&f->cable->backend, fd, 0);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			an_answer_goes_to_the_pair_that_asked, setup, teardown),
		cmocka_unit_test_setup_teardown(buffers_of_one_frame, setup, teardown),
		cmocka_unit_test_setup_teardown(a_pair_that_the_driver_gives_up, setup, teardown),
		cmocka_unit_test_setup_teardown(
			frames_for_a_pair_without_buffers_wait, setup, teardown),
		cmocka_unit_test_setup_teardown(an_early_answer_is_received, setup, teardown),
		cmocka_unit_test_setup_teardown(a_queue_that_is_reset, setup, teardown),
	};

	return cmocka_run_group_tests_name("virtio_net", tests, NULL, NULL);
}
