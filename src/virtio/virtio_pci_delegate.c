/*
 * Queues that the host's kernel serves (virtio_device_type.delegate): it waits for the doorbell's
 * eventfd itself, and signals another where the driver wants an interrupt.
 *
 * That one raises the queue's MSI-X vector in the kernel too (pci_msix_set_irqfd, which follows
 * masks and messages). Where it cannot, the I/O thread waits for it and interrupts as for any
 * queue: while the driver has INTx, for a queue without a vector, and for one whose vector another
 * queue has already.
 *
 * Which of the two it is changes under the machine lock and the queue's lane.
 */
#include "virtio/virtio_pci.h"

#include <unistd.h>

int virtio_pci_kick_fd(void *context, unsigned index)
{
	struct virtio_pci *transport = context;

	return transport->doorbells[index].watch.fd;
}

static unsigned index_of(const struct virtio_pci_doorbell *doorbell)
{
	return (unsigned)(doorbell - doorbell->transport->doorbells);
}

static bool is_called(const struct virtio_pci_doorbell *doorbell)
{
	uint64_t count;

	return read(doorbell->call.fd, &count, sizeof(count)) == sizeof(count);
}

static void called(void *context)
{
	struct virtio_pci_doorbell *doorbell = context;
	struct virtio_device *device = doorbell->transport->device;

	if (is_called(doorbell))
		device->transport_ops->interrupt_queue(doorbell->transport, index_of(doorbell));
}

/* The vector that the kernel is to send, or none. */
static uint16_t wanted_vector(const struct virtio_pci_doorbell *doorbell)
{
	const struct virtio_pci *transport = doorbell->transport;
	uint16_t vector = transport->state.queue_vectors[index_of(doorbell)];

	if (!pci_msix_is_enabled(&transport->function) || vector == VIRTIO_NO_VECTOR)
		return VIRTIO_NO_VECTOR;
	for (const struct virtio_pci_doorbell *other = transport->doorbells;
		other < transport->doorbells + transport->nr_doorbells; other++) {
		if (other != doorbell && other->call.fd >= 0 && other->irqfd_vector == vector)
			return VIRTIO_NO_VECTOR;
	}
	return vector;
}

/* Holds the lane. */
static void detach(struct virtio_lane *lane, struct virtio_pci_doorbell *doorbell)
{
	if (doorbell->irqfd_vector == VIRTIO_NO_VECTOR)
		virtio_lane_unwatch(lane, &doorbell->call);
	else
		pci_msix_set_irqfd(&doorbell->transport->function, doorbell->irqfd_vector, -1);
	doorbell->irqfd_vector = VIRTIO_NO_VECTOR;
}

/* What was signalled before is seen then. Holds the lane. */
static int attach(struct virtio_lane *lane, struct virtio_pci_doorbell *doorbell, uint16_t vector)
{
	doorbell->irqfd_vector = vector;
	if (vector != VIRTIO_NO_VECTOR &&
		pci_msix_set_irqfd(&doorbell->transport->function, vector, doorbell->call.fd) == 0)
		return 0;
	doorbell->irqfd_vector = VIRTIO_NO_VECTOR;
	return virtio_lane_watch(lane, &doorbell->call);
}

int virtio_pci_delegate_queue(void *context, unsigned index, int call_fd)
{
	struct virtio_pci *transport = context;
	struct virtio_pci_doorbell *doorbell = &transport->doorbells[index];
	struct virtio_lane *lane = virtio_queue_lane(transport->device, index);
	int rc;

	doorbell->call =
		(struct virtio_watch){ .fd = call_fd, .ready = called, .context = doorbell };
	doorbell->irqfd_vector = VIRTIO_NO_VECTOR;
	rc = attach(lane, doorbell, wanted_vector(doorbell));
	if (rc < 0)
		doorbell->call.fd = -1;
	else
		virtio_lane_unwatch(lane, &doorbell->watch);
	return rc;
}

bool virtio_pci_recall_queue(void *context, unsigned index)
{
	struct virtio_pci *transport = context;
	struct virtio_pci_doorbell *doorbell = &transport->doorbells[index];
	struct virtio_lane *lane = virtio_queue_lane(transport->device, index);
	bool waits;

	detach(lane, doorbell);
	waits = is_called(doorbell);
	doorbell->call.fd = -1;
	/* It was watched before, so that there is room. */
	virtio_lane_watch(lane, &doorbell->watch);
	return waits;
}

void virtio_pci_route_calls(struct virtio_pci *transport)
{
	for (unsigned i = 0; i < transport->nr_doorbells; i++) {
		struct virtio_pci_doorbell *doorbell = &transport->doorbells[i];
		struct virtio_lane *lane;
		uint16_t vector;

		/* Written under the machine lock while a queue runs. */
		if (doorbell->call.fd < 0)
			continue;
		lane = virtio_queue_lane(transport->device, i);
		virtio_lane_enter(lane);
		vector = wanted_vector(doorbell);
		if (doorbell->call.fd >= 0 && vector != doorbell->irqfd_vector) {
			detach(lane, doorbell);
			attach(lane, doorbell, vector);
		}
		virtio_lane_leave(lane);
	}
}
