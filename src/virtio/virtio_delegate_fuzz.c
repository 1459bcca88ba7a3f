/*
 * Fuzz target: what a driver can do to queues that the host's kernel serves. The kernel is played
 * here: it asks for interrupts, finds queues broken, and got to wherever the input says.
 */
#include "virtio/virtio_fuzz.h"

#include <sys/eventfd.h>
#include <unistd.h>

#define NR_QUEUES 3u /* of which the last stays here, as a NIC's control queue */
#define NR_KERNEL 2u

struct kernel {
	struct virtio_device device;
	struct virtio_fuzz *fuzz;
	int call_fds[NR_KERNEL];
	bool has[NR_KERNEL], routed[NR_KERNEL], refuses;
	uint16_t position;
};

static int take_queue(struct virtio_device *device, unsigned index, int kick_fd)
{
	struct kernel *kernel = (struct kernel *)device;

	if (index >= NR_KERNEL || kernel->refuses)
		return -1;
	if (kernel->has[index] || kick_fd < 0 || !virtio_queue(device, index)->device_area)
		abort();
	kernel->has[index] = true;
	return kernel->call_fds[index];
}

static void leave_queue(struct virtio_device *device, unsigned index)
{
	struct kernel *kernel = (struct kernel *)device;
	struct virtq *queue = virtio_queue(device, index);

	if (index >= NR_KERNEL || !kernel->has[index])
		abort();
	kernel->has[index] = false;
	queue->state.next_avail = queue->state.next_used = kernel->position++;
}

static bool serve(struct virtio_device *device, unsigned index)
{
	struct virtq_request *request;

	if (index < NR_KERNEL && ((struct kernel *)device)->has[index])
		abort();
	while ((request = virtq_pop(virtio_queue(device, index))) != NULL)
		virtq_push(virtio_queue(device, index), request, 0);
	return true;
}

static const struct virtio_device_type type = {
	.name = "virtio-kernel",
	.id = VIRTIO_ID_NET,
	.pci_class = 0x020000,
	.is_transitional = true,
	.serve = serve,
	.delegate = take_queue,
	.recall = leave_queue,
};

/* Only of a queue that the kernel has, and to an APIC. */
static int route(void *engine, int fd, gpa_t address, uint32_t data)
{
	struct virtio_fuzz *fuzz =
		container_of((struct pci_fixture *)engine, struct virtio_fuzz, pci);
	struct kernel *kernel = (struct kernel *)fuzz->device;

	(void)data;
	for (unsigned i = 0; i < NR_KERNEL; i++) {
		if (kernel->call_fds[i] != fd)
			continue;
		if (address && (address >> 20 != 0xfee || !kernel->has[i]))
			abort();
		kernel->routed[i] = address != 0;
	}
	return 0;
}

static void set_msix(struct virtio_fuzz *fuzz, bool enabled, bool masked)
{
	unsigned at = find_capability(&fuzz->pci, 1, PCI_CAP_MSIX);

	config_set(&fuzz->pci, 1, at + PCI_MSIX_CONTROL, 2,
		(enabled ? PCI_MSIX_CONTROL_ENABLE : 0) | (masked ? PCI_MSIX_CONTROL_MASKED : 0));
}

static void set_vector(struct virtio_fuzz *fuzz, unsigned queue, unsigned vector)
{
	fuzz_put(fuzz, FUZZ_COMMON(queue_select), 2, queue);
	fuzz_put(
		fuzz, FUZZ_COMMON(queue_vector), 2, vector > NR_QUEUES ? VIRTIO_NO_VECTOR : vector);
}

static void set_entry(struct virtio_fuzz *fuzz, unsigned vector, bool to_apic, bool masked)
{
	uint64_t bar = fuzz_bar(fuzz, VIRTIO_PCI_MSIX_BAR), entry = bar + 16 * vector;

	if (bar == PCI_UNMAPPED)
		return;
	machine_mmio_write(&fuzz->pci.machine, entry, 4, to_apic ? 0xfee00000 : fuzz_value(fuzz));
	machine_mmio_write(&fuzz->pci.machine, entry + 8, 4, 0x40 + vector);
	machine_mmio_write(&fuzz->pci.machine, entry + 12, 4, masked);
}

/* Also what a driver does to its interrupts, which is nearly right here and so goes deepest. */
static void happen(struct virtio_fuzz *fuzz, uint8_t what)
{
	struct kernel *kernel = (struct kernel *)fuzz->device;
	struct virtio_lane *lane = virtio_queue_lane(fuzz->device, 0);
	const uint64_t one = 1;

	switch (what % 8) {
	case 0:
		virtio_lane_enter(lane);
		virtio_delegate_broke(fuzz->device, what >> 3 & 1);
		virtio_lane_leave(lane);
		break;
	case 1:
		machine_lock(&fuzz->pci.machine);
		kernel->refuses = what & 8;
		virtio_delegate_again(fuzz->device);
		machine_unlock(&fuzz->pci.machine);
		break;
	case 2: set_msix(fuzz, what & 8, what & 16); break;
	case 3: set_vector(fuzz, what >> 3 & 1, what >> 4 & 7); break;
	case 4: set_entry(fuzz, what >> 3 & 3, what & 32, what & 64); break;
	default:
		if (write(kernel->call_fds[what >> 3 & 1], &one, sizeof(one)) < 0)
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	static const struct virtio_queue_config queues[NR_QUEUES] = { { .size = FUZZ_RING },
		{ .size = FUZZ_RING }, { .size = FUZZ_RING } };
	static const struct virtio_fuzz_ops ops = { .happen = happen };
	static struct virtio_fuzz fuzz;
	static struct kernel kernel;
	struct virtio_device_config config = { .name = "kernel0",
		.queues = queues,
		.nr_queues = NR_QUEUES,
		.nr_lanes = 1,
		.no_packed = true };

	virtio_fuzz_init(&fuzz, bytes, size);
	fuzz.pci.machine.cpu_bus.irqfd = route;
	memset(&kernel, 0, sizeof(kernel));
	for (unsigned i = 0; i < NR_KERNEL; i++)
		kernel.call_fds[i] = eventfd(0, EFD_NONBLOCK);
	config.machine = &fuzz.pci.machine;
	if (virtio_device_init(&kernel.device, &type, &config, NULL))
		abort();
	virtio_fuzz_run(&fuzz, &kernel.device, &ops);
	for (unsigned i = 0; i < NR_KERNEL; i++) {
		if (kernel.has[i] || kernel.routed[i])
			abort();
		close(kernel.call_fds[i]);
	}
	virtio_fuzz_finish(&fuzz);
	return 0;
}
