/*
 * Virtio over PCI (virtio 1.2, 4.1): modern, and transitional for drivers of before 1.0.
 *
 * Interrupts go out from the thread that used buffers; with MSI-X that takes no lock but the
 * function's. Notifications are doorbells: served by the vCPU that rings, or through an eventfd by
 * the queue's I/O thread under KVM. No irqfd but for queues that the kernel serves
 * (virtio_pci_delegate.c): a write to one costs this process as much as the message itself. Not
 * modelled: notification data, shared memory, SR-IOV.
 *
 * Everything runs under the machine lock unless it says otherwise.
 */
#ifndef VIRTIO_VIRTIO_PCI_H
#define VIRTIO_VIRTIO_PCI_H

#include "pci/pci_host.h"
#include "virtio/virtio.h"

struct virtio_pci_state {
	uint32_t device_feature_select, driver_feature_select;
	uint64_t driver_features; /* as written so far */
	uint16_t queue_select;
	uint16_t config_vector;
	uint16_t queue_vectors[VIRTIO_MAX_QUEUES];
	uint8_t isr; /* atomic: interrupts come from any thread */
	uint8_t reserved[3];
};

extern const struct state_table virtio_pci_state_table;

struct virtio_pci_doorbell {
	struct virtio_queue *queue;
	struct pci_doorbell modern, legacy;
	struct virtio_watch watch; /* of the eventfd, -1: none */
	/*
	 * The kernel serves the queue, and asks for interrupts by `call.fd` (-1: it does not): it
	 * sends `irqfd_vector` itself, or if that is none the I/O thread waits for it. The
	 * transport is `transport`. The queue's lane.
	 */
	struct virtio_watch call;
	uint16_t irqfd_vector;
	struct virtio_pci *transport;
};

struct virtio_pci {
	struct virtio_pci_state state;
	struct pci_function function;
	struct virtio_device *device;
	bool transitional;
	uint8_t pci_cfg; /* offset of the PCI configuration access capability */
	struct virtio_pci_doorbell *doorbells;
	unsigned nr_doorbells;
};

/*
 * Gives an initialised device its PCI function, `transport->function`, to be plugged by the caller.
 * `transitional` asks for the legacy interface too, if the device has one. Returns 0, or fills
 * `err`.
 */
int virtio_pci_create(struct virtio_pci **transport, struct virtio_device *device,
	bool transitional, struct error *err);
/* pci_plug and pci_unplug with the machine lock taken. Unplugging what is not plugged is fine. */
int virtio_pci_plug(struct virtio_pci *transport, struct pci_host *host, unsigned device, bool hot,
	struct error *err);
void virtio_pci_unplug(struct virtio_pci *transport);
/* After it is unplugged and virtio_device_finish has ended the device's threads. Takes NULL. */
void virtio_pci_destroy(struct virtio_pci *transport);

/* Between the files of the transport. */
int virtio_pci_kick_fd(void *transport, unsigned index);
int virtio_pci_delegate_queue(void *transport, unsigned index, int call_fd);
bool virtio_pci_recall_queue(void *transport, unsigned index);
/* A queue's vector, or whether there is MSI-X, has changed. Under the machine lock. */
void virtio_pci_route_calls(struct virtio_pci *transport);
extern const struct io_ops virtio_pci_legacy_ops;
uint8_t virtio_pci_take_isr(struct virtio_pci *transport);
void virtio_pci_reset_registers(struct virtio_pci *transport);
/* A vector as the driver may set it: one that does not exist reads back as none. */
uint16_t virtio_pci_vector(const struct virtio_pci *transport, uint64_t value);
/* The selected queue, or NULL. */
struct virtio_queue *virtio_pci_selected(const struct virtio_pci *transport);

#endif
