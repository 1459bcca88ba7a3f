/*
 * Queues that a kernel serves, seen from the bus: which eventfd raises what, and who serves when.
 * The kernel is the test.
 */
#include "virtio/virtio_pci.h"

#include "pci/pci_fixture.h"
#include "virtio/virtio_pci_regs.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define MEMORY_BYTES (1u << 20)
#define SLOT         3u
#define NR_QUEUES    2u
#define RING_SIZE    16u
#define MESSAGE      0xfee00000u
#define WAIT_MS      10000

struct route {
	int fd;
	gpa_t address; /* 0: none */
	uint32_t data;
};

struct fixture {
	struct virtio_device device;
	struct pci_fixture pci;
	struct virtio_pci *transport;
	/* The kernel: what it was given of each queue. */
	int kick_fds[NR_QUEUES], call_fds[NR_QUEUES];
	bool has[NR_QUEUES], refuses;
	struct route routes[NR_QUEUES];
	_Atomic unsigned served;
};

static int take_queue(struct virtio_device *device, unsigned index, int kick_fd)
{
	struct fixture *f = (struct fixture *)device;

	if (f->refuses)
		return -1;
	assert_false(f->has[index]);
	f->has[index] = true;
	f->kick_fds[index] = kick_fd;
	return f->call_fds[index];
}

static void leave_queue(struct virtio_device *device, unsigned index)
{
	struct fixture *f = (struct fixture *)device;

	assert_true(f->has[index]);
	f->has[index] = false;
	virtio_queue(device, index)->state.next_avail = 5;
}

static bool serve(struct virtio_device *device, unsigned index)
{
	(void)index;
	atomic_fetch_add(&((struct fixture *)device)->served, 1);
	return true;
}

static const struct virtio_device_type type = {
	.name = "virtio-kernel",
	.id = 1,
	.serve = serve,
	.delegate = take_queue,
	.recall = leave_queue,
};

static int record_route(void *engine, int fd, gpa_t address, uint32_t data)
{
	struct fixture *f = container_of((struct pci_fixture *)engine, struct fixture, pci);

	for (unsigned i = 0; i < NR_QUEUES; i++) {
		if (f->call_fds[i] == fd)
			f->routes[i] = (struct route){ fd, address, data };
	}
	return 0;
}

/* Registers. */

static void put(struct fixture *f, unsigned bar, unsigned offset, unsigned size, uint64_t value)
{
	machine_mmio_write(
		&f->pci.machine, f->transport->function.bars[bar].address + offset, size, value);
}

static uint64_t get(struct fixture *f, unsigned bar, unsigned offset, unsigned size)
{
	return machine_mmio_read(
		&f->pci.machine, f->transport->function.bars[bar].address + offset, size);
}

#define COMMON(field) ((unsigned)offsetof(struct virtio_pci_common, field))

static void put_common(struct fixture *f, unsigned offset, unsigned size, uint64_t value)
{
	put(f, VIRTIO_PCI_BAR, VIRTIO_PCI_COMMON_OFFSET + offset, size, value);
}

static unsigned status(struct fixture *f)
{
	return (unsigned)get(f, VIRTIO_PCI_BAR, COMMON(device_status), 1);
}

static void set_vector(struct fixture *f, unsigned queue, uint16_t vector)
{
	put_common(f, COMMON(queue_select), 2, queue);
	put_common(f, COMMON(queue_vector), 2, vector);
}

static void set_masked(struct fixture *f, unsigned vector, bool masked)
{
	put(f, VIRTIO_PCI_MSIX_BAR, 16 * vector + 12, 4, masked);
}

static void enable_msix(struct fixture *f, bool enabled)
{
	unsigned at = find_capability(&f->pci, SLOT, PCI_CAP_MSIX);

	config_set(&f->pci, SLOT, at + PCI_MSIX_CONTROL, 2, enabled ? PCI_MSIX_CONTROL_ENABLE : 0);
}

static void start_driver(struct fixture *f)
{
	put_common(f, COMMON(device_status), 1, 3);
	put_common(f, COMMON(driver_feature_select), 4, 1);
	put_common(f, COMMON(driver_feature), 4, VIRTIO_F_VERSION_1 >> 32);
	put_common(f, COMMON(device_status), 1, 11);
	for (unsigned i = 0; i < NR_QUEUES; i++) {
		put_common(f, COMMON(queue_select), 2, i);
		put_common(f, COMMON(queue_desc), 4, 0x10000 * i + 0x1000);
		put_common(f, COMMON(queue_driver), 4, 0x10000 * i + 0x2000);
		put_common(f, COMMON(queue_device), 4, 0x10000 * i + 0x3000);
		put_common(f, COMMON(queue_enable), 2, 1);
	}
	put_common(f, COMMON(device_status), 1, 15);
}

static int setup(void **context)
{
	static const struct virtio_queue_config queues[NR_QUEUES] = { { .size = RING_SIZE },
		{ .size = RING_SIZE } };
	struct fixture *f = aligned_alloc(64, (sizeof(*f) + 63) & ~(size_t)63);
	struct virtio_device_config config = {
		.name = "kernel0", .queues = queues, .nr_queues = NR_QUEUES, .nr_lanes = 1
	};

	memset(f, 0, sizeof(*f));
	fixture_init(&f->pci);
	f->pci.machine.cpu_bus.irqfd = record_route;
	config.machine = &f->pci.machine;
	assert_int_equal(guest_memory_add(&f->pci.machine.memory, 0, MEMORY_BYTES, false, NULL), 0);
	for (unsigned i = 0; i < NR_QUEUES; i++)
		f->call_fds[i] = eventfd(0, EFD_NONBLOCK);
	assert_int_equal(virtio_device_init(&f->device, &type, &config, NULL), 0);
	assert_int_equal(virtio_pci_create(&f->transport, &f->device, false, NULL), 0);
	assert_int_equal(virtio_pci_plug(f->transport, f->pci.host, SLOT, false, NULL), 0);
	machine_lock(&f->pci.machine);
	machine_reset(&f->pci.machine);
	machine_unlock(&f->pci.machine);
	config_set(&f->pci, SLOT, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	for (unsigned vector = 0; vector < 3; vector++) {
		put(f, VIRTIO_PCI_MSIX_BAR, 16 * vector, 4, MESSAGE);
		put(f, VIRTIO_PCI_MSIX_BAR, 16 * vector + 8, 4, 0x40 + vector);
		set_masked(f, vector, false);
	}
	*context = f;
	return 0;
}

static int teardown(void **context)
{
	struct fixture *f = *context;

	virtio_pci_unplug(f->transport);
	for (unsigned i = 0; i < NR_QUEUES; i++) {
		assert_false(f->has[i]);
		assert_int_equal(f->routes[i].address, 0);
		close(f->call_fds[i]);
	}
	virtio_device_finish(&f->device);
	virtio_pci_destroy(f->transport);
	fixture_finish(&f->pci);
	free(f);
	return 0;
}

static void start_with_vectors(struct fixture *f)
{
	enable_msix(f, true);
	set_vector(f, 0, 1);
	set_vector(f, 1, 2);
	start_driver(f);
}

static void signal_call(const struct fixture *f, unsigned queue)
{
	const uint64_t one = 1;

	assert_int_equal(write(f->call_fds[queue], &one, sizeof(one)), sizeof(one));
}

static bool is_signalled(int fd)
{
	return poll(&(struct pollfd){ .fd = fd, .events = POLLIN }, 1, 0) == 1;
}

/* Until the I/O thread has seen the signal, and interrupted. */
static void await_read(struct fixture *f, unsigned queue)
{
	for (unsigned ms = 0; ms < WAIT_MS && is_signalled(f->call_fds[queue]); ms++)
		usleep(1000);
	assert_false(is_signalled(f->call_fds[queue]));
	virtio_lane_enter(virtio_queue_lane(&f->device, queue));
	virtio_lane_leave(virtio_queue_lane(&f->device, queue));
}

static void test_the_kernel_sends_a_queues_vector(void **context)
{
	struct fixture *f = *context;

	start_with_vectors(f);
	assert_true(f->has[0] && f->has[1]);
	assert_int_equal(f->routes[0].address, MESSAGE);
	assert_int_equal(f->routes[0].data, 0x41);
	assert_int_equal(f->routes[1].data, 0x42);
	/* Another message, then another vector. */
	put(f, VIRTIO_PCI_MSIX_BAR, 16 + 8, 4, 0x51);
	assert_int_equal(f->routes[0].data, 0x51);
	set_vector(f, 0, 0);
	assert_int_equal(f->routes[0].data, 0x40);
}

static void test_a_masked_vector_is_pending(void **context)
{
	struct fixture *f = *context;

	start_with_vectors(f);
	set_masked(f, 1, true);
	assert_int_equal(f->routes[0].address, 0);
	assert_int_equal(f->routes[1].address, MESSAGE);
	assert_int_equal(get(f, VIRTIO_PCI_MSIX_BAR, VIRTIO_PCI_PBA, 4), 0);
	signal_call(f, 0);
	assert_int_equal(get(f, VIRTIO_PCI_MSIX_BAR, VIRTIO_PCI_PBA, 4), 2);
	/* The kernel finds what waits in it (cpu_bus.irqfd). */
	set_masked(f, 1, false);
	assert_int_equal(f->routes[0].address, MESSAGE);
	assert_true(is_signalled(f->call_fds[0]));
}

static void test_a_pin_is_raised_without_msix(void **context)
{
	struct fixture *f = *context;

	start_driver(f);
	assert_true(f->has[0]);
	assert_int_equal(f->routes[0].address, 0);
	signal_call(f, 1);
	await_read(f, 1);
	for (unsigned ms = 0; ms < WAIT_MS && !f->transport->function.state.intx; ms++)
		usleep(1000);
	assert_int_equal(get(f, VIRTIO_PCI_BAR, VIRTIO_PCI_ISR_OFFSET, 1), VIRTIO_ISR_QUEUE);
	/* Later drivers turn it on. */
	set_vector(f, 1, 2);
	enable_msix(f, true);
	assert_int_equal(f->routes[1].data, 0x42);
	enable_msix(f, false);
	assert_int_equal(f->routes[1].address, 0);
	signal_call(f, 1);
	await_read(f, 1);
}

static void test_queues_share_a_vector(void **context)
{
	struct fixture *f = *context;
	unsigned before;

	start_with_vectors(f);
	set_vector(f, 1, 1);
	assert_int_equal(f->routes[0].data, 0x41);
	assert_int_equal(f->routes[1].address, 0);
	before = f->pci.nr_messages;
	signal_call(f, 1);
	await_read(f, 1);
	assert_int_equal(f->pci.nr_messages, before + 1);
	assert_int_equal(f->pci.messages[before].data, 0x41);
}

static void test_notifications_reach_the_kernel(void **context)
{
	struct fixture *f = *context;
	uint64_t count;

	start_with_vectors(f);
	assert_int_equal(read(f->kick_fds[1], &count, sizeof(count)), -1);
	put(f, VIRTIO_PCI_BAR, VIRTIO_PCI_NOTIFY_OFFSET + VIRTIO_PCI_NOTIFY_STRIDE, 2, 1);
	virtio_lane_enter(virtio_queue_lane(&f->device, 1));
	virtio_lane_leave(virtio_queue_lane(&f->device, 1));
	assert_true(is_signalled(f->kick_fds[1]));
	assert_int_equal(f->served, 0);
}

static void test_a_pause_takes_queues_back(void **context)
{
	struct fixture *f = *context;
	unsigned before;

	start_with_vectors(f);
	set_masked(f, 1, true);
	signal_call(f, 0);
	before = f->pci.nr_messages;
	machine_lock(&f->pci.machine);
	virtio_device_pause(&f->device);
	assert_false(f->has[0] || f->has[1]);
	assert_int_equal(virtio_queue(&f->device, 0)->state.next_avail, 5);
	/* The interrupt is the function's now, and saved with it. */
	assert_int_equal(f->transport->function.state.msix_pending[0], 2);
	virtio_device_resume(&f->device);
	machine_unlock(&f->pci.machine);
	assert_true(f->has[0] && f->has[1]);
	set_masked(f, 1, false);
	assert_int_equal(f->pci.nr_messages, before + 1);
	assert_int_equal(f->routes[0].address, MESSAGE);
}

static void test_resets_and_the_bus_take_queues_back(void **context)
{
	struct fixture *f = *context;

	start_with_vectors(f);
	put_common(f, COMMON(device_status), 1, 0);
	assert_false(f->has[0] || f->has[1]);
	assert_int_equal(f->routes[0].address, 0);
	assert_int_equal(status(f), 0);
	set_vector(f, 0, 1);
	start_driver(f);
	assert_true(f->has[0] && f->has[1]);
	config_set(&f->pci, SLOT, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	assert_false(f->has[0] || f->has[1]);
	config_set(&f->pci, SLOT, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	assert_true(f->has[0] && f->has[1]);
}

static void test_a_broken_queue_asks_for_a_reset(void **context)
{
	struct fixture *f = *context;

	start_with_vectors(f);
	virtio_lane_enter(virtio_queue_lane(&f->device, 0));
	virtio_delegate_broke(&f->device, 1);
	virtio_lane_leave(virtio_queue_lane(&f->device, 0));
	for (unsigned ms = 0; ms < WAIT_MS && !(status(f) & VIRTIO_STATUS_NEEDS_RESET); ms++)
		usleep(1000);
	assert_true(status(f) & VIRTIO_STATUS_NEEDS_RESET);
	assert_true(f->has[0]);
	assert_false(f->has[1]);
}

static void test_a_kernel_that_cannot_is_done_without(void **context)
{
	struct fixture *f = *context;

	f->refuses = true;
	start_with_vectors(f);
	put(f, VIRTIO_PCI_BAR, VIRTIO_PCI_NOTIFY_OFFSET, 2, 0);
	virtio_lane_enter(virtio_queue_lane(&f->device, 0));
	virtio_lane_leave(virtio_queue_lane(&f->device, 0));
	assert_true(f->served > 0);
	f->refuses = false;
	machine_lock(&f->pci.machine);
	virtio_delegate_again(&f->device);
	machine_unlock(&f->pci.machine);
	assert_true(f->has[0] && f->has[1]);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_the_kernel_sends_a_queues_vector),
		CASE(test_a_masked_vector_is_pending),
		CASE(test_a_pin_is_raised_without_msix),
		CASE(test_queues_share_a_vector),
		CASE(test_notifications_reach_the_kernel),
		CASE(test_a_pause_takes_queues_back),
		CASE(test_resets_and_the_bus_take_queues_back),
		CASE(test_a_broken_queue_asks_for_a_reset),
		CASE(test_a_kernel_that_cannot_is_done_without),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
