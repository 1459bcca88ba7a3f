/*
 * The legacy interface of virtio over PCI (virtio 1.2, 4.1.4.10): one I/O BAR, rings that follow
 * each other at a page number. Guest and device are both little-endian.
 */
#include "virtio/virtio_pci.h"

#include "virtio/virtio_pci_regs.h"

#include <string.h>

/* 2.7.2: the used ring begins on the next page. */
static void lay_out(struct virtq_state *queue, uint64_t address)
{
	queue->descriptors = address;
	queue->driver_area = address + virtq_descriptors_bytes(queue->size);
	queue->device_area =
		align_up(queue->driver_area + virtq_driver_bytes(queue->size, false), 4096);
}

static void write_queue_address(struct virtio_pci *transport, uint32_t page)
{
	struct virtio_queue *queue = virtio_pci_selected(transport);
	unsigned index = transport->state.queue_select;

	if (!queue || virtio_queue_is_stopping(transport->device, index))
		return;
	if (page == 0) {
		virtio_stop_queue(transport->device, index);
		return;
	}
	if (queue->ring.state.enabled)
		return;
	transport->device->state.legacy = true;
	lay_out(&queue->ring.state, (uint64_t)page << VIRTIO_LEGACY_PAGE_SHIFT);
	virtio_enable_queue(transport->device, index);
}

static uint32_t queue_page(const struct virtio_pci *transport)
{
	const struct virtio_queue *queue = virtio_pci_selected(transport);

	return queue ? (uint32_t)(queue->ring.state.descriptors >> VIRTIO_LEGACY_PAGE_SHIFT) : 0;
}

/* Where configuration space begins: MSI-X inserts two registers. */
static unsigned config_offset(const struct virtio_pci *transport)
{
	return pci_msix_is_enabled(&transport->function) ? 24 : 20;
}

static uint64_t register_read(struct virtio_pci *transport, unsigned offset)
{
	struct virtio_device *device = transport->device;
	const struct virtio_queue *queue = virtio_pci_selected(transport);

	switch (offset) {
	case VIRTIO_LEGACY_DEVICE_FEATURES: return (uint32_t)virtio_offered_features(device, true);
	case VIRTIO_LEGACY_DRIVER_FEATURES: return (uint32_t)transport->state.driver_features;
	case VIRTIO_LEGACY_QUEUE_ADDRESS: return queue_page(transport);
	case VIRTIO_LEGACY_QUEUE_SIZE: return queue ? queue->ring.max_size : 0;
	case VIRTIO_LEGACY_QUEUE_SELECT: return transport->state.queue_select;
	case VIRTIO_LEGACY_STATUS: return virtio_read_status(device);
	case VIRTIO_LEGACY_ISR: return virtio_pci_take_isr(transport);
	case VIRTIO_LEGACY_CONFIG_VECTOR: return transport->state.config_vector;
	case VIRTIO_LEGACY_QUEUE_VECTOR:
		return queue ? transport->state.queue_vectors[transport->state.queue_select]
			     : VIRTIO_NO_VECTOR;
	}
	return 0;
}

static void write_status(struct virtio_pci *transport, uint8_t status)
{
	if (status == 0)
		virtio_pci_reset_registers(transport);
	virtio_write_status(transport->device, status, true);
}

static void register_write(struct virtio_pci *transport, unsigned offset, uint64_t value)
{
	struct virtio_pci_state *state = &transport->state;

	switch (offset) {
	case VIRTIO_LEGACY_DRIVER_FEATURES:
		state->driver_features = (uint32_t)value;
		virtio_write_features(transport->device, (uint32_t)value, true);
		break;
	case VIRTIO_LEGACY_QUEUE_ADDRESS: write_queue_address(transport, (uint32_t)value); break;
	case VIRTIO_LEGACY_QUEUE_SELECT: state->queue_select = (uint16_t)value; break;
	case VIRTIO_LEGACY_QUEUE_NOTIFY:
		if (value < transport->device->nr_queues)
			virtio_queue_mark(&transport->device->queues[value]);
		break;
	case VIRTIO_LEGACY_STATUS: write_status(transport, (uint8_t)value); break;
	case VIRTIO_LEGACY_CONFIG_VECTOR:
		state->config_vector = virtio_pci_vector(transport, (uint16_t)value);
		break;
	case VIRTIO_LEGACY_QUEUE_VECTOR:
		if (!virtio_pci_selected(transport))
			break;
		__atomic_store_n(&state->queue_vectors[state->queue_select],
			virtio_pci_vector(transport, (uint16_t)value), __ATOMIC_RELAXED);
		virtio_pci_route_calls(transport);
		break;
	}
}

static uint64_t legacy_read(void *context, uint64_t offset, unsigned size)
{
	struct virtio_pci *transport = context;
	uint64_t value = 0;

	if (offset < config_offset(transport))
		return register_read(transport, (unsigned)offset) & byte_mask(size);
	virtio_read_config(
		transport->device, (unsigned)offset - config_offset(transport), &value, size);
	return value;
}

static void legacy_write(void *context, uint64_t offset, unsigned size, uint64_t value)
{
	struct virtio_pci *transport = context;

	if (offset < config_offset(transport))
		register_write(transport, (unsigned)offset, value & byte_mask(size));
	else
		virtio_write_config(transport->device, (unsigned)offset - config_offset(transport),
			&value, size);
}

const struct io_ops virtio_pci_legacy_ops = { legacy_read, legacy_write, 4 };
