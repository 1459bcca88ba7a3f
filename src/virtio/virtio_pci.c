#include "virtio/virtio_pci.h"

#include "virtio/virtio_pci_regs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

static const struct state_field virtio_pci_fields[] = {
	STATE(struct virtio_pci_state, device_feature_select),
	STATE(struct virtio_pci_state, driver_feature_select),
	STATE(struct virtio_pci_state, driver_features),
	STATE(struct virtio_pci_state, queue_select),
	STATE(struct virtio_pci_state, config_vector),
	STATE_ARRAY(struct virtio_pci_state, queue_vectors),
	STATE_MAX(struct virtio_pci_state, isr, VIRTIO_ISR_QUEUE | VIRTIO_ISR_CONFIG),
	STATE_PAD(struct virtio_pci_state, reserved),
};

const struct state_table virtio_pci_state_table =
	STATE_TABLE_OF(struct virtio_pci_state, "virtio-pci", virtio_pci_fields, NULL);

/* Interrupts. */

static void update_intx(void *context)
{
	struct virtio_pci *transport = context;

	pci_set_intx(&transport->function,
		__atomic_load_n(&transport->state.isr, __ATOMIC_SEQ_CST) != 0);
}

uint8_t virtio_pci_take_isr(struct virtio_pci *transport)
{
	uint8_t isr = __atomic_exchange_n(&transport->state.isr, 0, __ATOMIC_SEQ_CST);

	pci_set_intx(&transport->function, false);
	return isr;
}

static void interrupt_queue(void *context, unsigned index)
{
	struct virtio_pci *transport = context;

	if (pci_msix_is_enabled(&transport->function)) {
		uint16_t vector =
			__atomic_load_n(&transport->state.queue_vectors[index], __ATOMIC_RELAXED);

		if (vector != VIRTIO_NO_VECTOR)
			pci_msix_notify(&transport->function, vector);
		return;
	}
	__atomic_or_fetch(&transport->state.isr, VIRTIO_ISR_QUEUE, __ATOMIC_SEQ_CST);
	virtio_call_transport(transport->device);
}

static void interrupt_config(void *context)
{
	struct virtio_pci *transport = context;

	if (pci_msix_is_enabled(&transport->function)) {
		if (transport->state.config_vector != VIRTIO_NO_VECTOR)
			pci_msix_notify(&transport->function, transport->state.config_vector);
		return;
	}
	__atomic_or_fetch(
		&transport->state.isr, VIRTIO_ISR_QUEUE | VIRTIO_ISR_CONFIG, __ATOMIC_SEQ_CST);
	update_intx(transport);
}

static const struct virtio_transport_ops transport_ops = {
	.interrupt_queue = interrupt_queue,
	.interrupt_config = interrupt_config,
	.outside = update_intx,
	.kick_fd = virtio_pci_kick_fd,
	.delegate_queue = virtio_pci_delegate_queue,
	.recall_queue = virtio_pci_recall_queue,
};

/* Common configuration (4.1.4.3). */

uint16_t virtio_pci_vector(const struct virtio_pci *transport, uint64_t value)
{
	return value <= transport->device->nr_queues ? (uint16_t)value : VIRTIO_NO_VECTOR;
}

struct virtio_queue *virtio_pci_selected(const struct virtio_pci *transport)
{
	unsigned index = transport->state.queue_select;

	return index < transport->device->nr_queues ? &transport->device->queues[index] : NULL;
}

static void read_queue(const struct virtio_pci *transport, struct virtio_pci_common *common)
{
	const struct virtio_queue *queue = virtio_pci_selected(transport);
	unsigned index = transport->state.queue_select;
	const struct virtq_state *state;

	if (!queue)
		return; /* size 0: there is none */
	state = &queue->ring.state;
	common->queue_size = state->size;
	common->queue_vector = transport->state.queue_vectors[index];
	common->queue_enable = state->enabled;
	common->queue_notify_off = (uint16_t)index;
	common->queue_desc = state->descriptors;
	common->queue_driver = state->driver_area;
	common->queue_device = state->device_area;
	common->queue_reset = virtio_queue_is_stopping(transport->device, index);
}

static uint32_t half(uint64_t value, uint32_t select)
{
	return select > 1 ? 0 : (uint32_t)(value >> (32 * select));
}

/* Reads have no side effects: the whole structure is made, and part of it returned. */
static uint64_t common_read(struct virtio_pci *transport, unsigned offset, unsigned size)
{
	struct virtio_device *device = transport->device;
	const struct virtio_pci_state *state = &transport->state;
	struct virtio_pci_common common = {
		.device_feature_select = state->device_feature_select,
		.device_feature =
			half(virtio_offered_features(device, false), state->device_feature_select),
		.driver_feature_select = state->driver_feature_select,
		.driver_feature = half(state->driver_features, state->driver_feature_select),
		.config_vector = state->config_vector,
		.num_queues = (uint16_t)device->nr_queues,
		.device_status = virtio_read_status(device),
		.config_generation = (uint8_t)device->state.generation,
		.queue_select = state->queue_select,
	};
	uint64_t value = 0;

	if (offset + size > VIRTIO_PCI_COMMON_SIZE)
		return 0;
	read_queue(transport, &common);
	memcpy(&value, (const uint8_t *)&common + offset, size);
	return value;
}

static void write_device_feature_select(struct virtio_pci *transport, uint64_t value)
{
	transport->state.device_feature_select = (uint32_t)value;
}

static void write_driver_feature_select(struct virtio_pci *transport, uint64_t value)
{
	transport->state.driver_feature_select = (uint32_t)value;
}

static void write_driver_feature(struct virtio_pci *transport, uint64_t value)
{
	struct virtio_pci_state *state = &transport->state;

	if (state->driver_feature_select > 1)
		return;
	state->driver_features =
		field_set(state->driver_feature_select ? BITS(63, 32) : BITS(31, 0),
			state->driver_features, value);
	virtio_write_features(transport->device, state->driver_features, false);
}

static void write_config_vector(struct virtio_pci *transport, uint64_t value)
{
	transport->state.config_vector = virtio_pci_vector(transport, value);
}

static void write_status(struct virtio_pci *transport, uint64_t value)
{
	if (value == 0)
		virtio_pci_reset_registers(transport);
	virtio_write_status(transport->device, (uint8_t)value, false);
}

static void write_queue_select(struct virtio_pci *transport, uint64_t value)
{
	transport->state.queue_select = (uint16_t)value;
}

/* The selected queue if it can be set up: it is neither in use nor about to be reset. */
static struct virtq_state *idle_queue(struct virtio_pci *transport)
{
	struct virtio_queue *queue = virtio_pci_selected(transport);

	virtio_read_status(transport->device);
	if (!queue || transport->device->resetting || queue->ring.state.enabled ||
		virtio_queue_is_stopping(transport->device, transport->state.queue_select))
		return NULL;
	return &queue->ring.state;
}

static void write_queue_size(struct virtio_pci *transport, uint64_t value)
{
	struct virtq_state *queue = idle_queue(transport);

	/* An impossible one is found when the queue is enabled. */
	if (queue && value <= VIRTQ_MAX_SIZE)
		queue->size = (uint16_t)value;
}

static void write_queue_vector(struct virtio_pci *transport, uint64_t value)
{
	if (!virtio_pci_selected(transport))
		return;
	__atomic_store_n(&transport->state.queue_vectors[transport->state.queue_select],
		virtio_pci_vector(transport, value), __ATOMIC_RELAXED);
	virtio_pci_route_calls(transport);
}

static void write_queue_enable(struct virtio_pci *transport, uint64_t value)
{
	if (value == 1 && idle_queue(transport))
		virtio_enable_queue(transport->device, transport->state.queue_select);
}

static void write_queue_reset(struct virtio_pci *transport, uint64_t value)
{
	struct virtio_queue *queue = virtio_pci_selected(transport);

	if (value == 1 && queue && queue->ring.state.enabled &&
		virtio_has_feature(transport->device, VIRTIO_F_RING_RESET))
		virtio_stop_queue(transport->device, transport->state.queue_select);
}

#define WRITE_HALF(name, field)                                                                    \
	static void write_##name##_low(struct virtio_pci *transport, uint64_t value)               \
	{                                                                                          \
		struct virtq_state *queue = idle_queue(transport);                                 \
                                                                                                   \
		if (queue)                                                                         \
			queue->field = field_set(BITS(31, 0), queue->field, value);                \
	}                                                                                          \
	static void write_##name##_high(struct virtio_pci *transport, uint64_t value)              \
	{                                                                                          \
		struct virtq_state *queue = idle_queue(transport);                                 \
                                                                                                   \
		if (queue)                                                                         \
			queue->field = field_set(BITS(63, 32), queue->field, value);               \
	}

WRITE_HALF(queue_desc, descriptors)
WRITE_HALF(queue_driver, driver_area)
WRITE_HALF(queue_device, device_area)

#define COMMON(field) offsetof(struct virtio_pci_common, field)

/* Drivers write each field as a whole, 64-bit ones as two halves (4.1.3.1). */
static const struct {
	uint8_t offset, size;
	void (*write)(struct virtio_pci *transport, uint64_t value);
} common_writes[] = {
	{ COMMON(device_feature_select), 4, write_device_feature_select },
	{ COMMON(driver_feature_select), 4, write_driver_feature_select },
	{ COMMON(driver_feature), 4, write_driver_feature },
	{ COMMON(config_vector), 2, write_config_vector },
	{ COMMON(device_status), 1, write_status },
	{ COMMON(queue_select), 2, write_queue_select },
	{ COMMON(queue_size), 2, write_queue_size },
	{ COMMON(queue_vector), 2, write_queue_vector },
	{ COMMON(queue_enable), 2, write_queue_enable },
	{ COMMON(queue_desc), 4, write_queue_desc_low },
	{ COMMON(queue_desc) + 4, 4, write_queue_desc_high },
	{ COMMON(queue_driver), 4, write_queue_driver_low },
	{ COMMON(queue_driver) + 4, 4, write_queue_driver_high },
	{ COMMON(queue_device), 4, write_queue_device_low },
	{ COMMON(queue_device) + 4, 4, write_queue_device_high },
	{ COMMON(queue_reset), 2, write_queue_reset },
};

static void common_write(
	struct virtio_pci *transport, unsigned offset, unsigned size, uint64_t value)
{
	for (unsigned i = 0; i < ARRAY_SIZE(common_writes); i++) {
		if (common_writes[i].offset == offset && common_writes[i].size == size) {
			common_writes[i].write(transport, value);
			return;
		}
	}
}

void virtio_pci_reset_registers(struct virtio_pci *transport)
{
	memset(&transport->state, 0, sizeof(transport->state));
	transport->state.config_vector = VIRTIO_NO_VECTOR;
	for (unsigned i = 0; i < VIRTIO_MAX_QUEUES; i++)
		transport->state.queue_vectors[i] = VIRTIO_NO_VECTOR;
	pci_set_intx(&transport->function, false);
}

/* The memory BAR: a page for each structure. */

static uint64_t bar_read(void *context, uint64_t offset, unsigned size)
{
	struct virtio_pci *transport = context;
	unsigned within = offset & 0xfff;
	uint64_t value = 0;

	switch (offset & ~UINT64_C(0xfff)) {
	case VIRTIO_PCI_COMMON_OFFSET: return common_read(transport, within, size);
	case VIRTIO_PCI_ISR_OFFSET: return within == 0 ? virtio_pci_take_isr(transport) : 0;
	case VIRTIO_PCI_DEVICE_OFFSET:
		virtio_read_config(transport->device, within, &value, size);
		return value;
	}
	return 0;
}

static void bar_write(void *context, uint64_t offset, unsigned size, uint64_t value)
{
	struct virtio_pci *transport = context;
	unsigned within = offset & 0xfff;

	switch (offset & ~UINT64_C(0xfff)) {
	case VIRTIO_PCI_COMMON_OFFSET: common_write(transport, within, size, value); break;
	case VIRTIO_PCI_DEVICE_OFFSET:
		virtio_write_config(transport->device, within, &value, size);
		break;
	case VIRTIO_PCI_NOTIFY_OFFSET:
		if (within / VIRTIO_PCI_NOTIFY_STRIDE < transport->device->nr_queues)
			virtio_queue_mark(
				&transport->device->queues[within / VIRTIO_PCI_NOTIFY_STRIDE]);
		break;
	}
}

static const struct io_ops bar_ops = { bar_read, bar_write, 4 };

static uint64_t msix_bar_read(void *context, uint64_t offset, unsigned size)
{
	(void)context;
	(void)offset;
	(void)size;
	return 0;
}

static void msix_bar_write(void *context, uint64_t offset, unsigned size, uint64_t value)
{
	(void)context;
	(void)offset;
	(void)size;
	(void)value;
}

static const struct io_ops msix_bar_ops = { msix_bar_read, msix_bar_write, 4 };

/* The PCI configuration access capability (4.1.4.9): a window for who cannot map BARs. */

/* Whether bytes of configuration space touch the window's data, and what it selects. */
static bool window(const struct virtio_pci *transport, unsigned offset, unsigned size,
	struct virtio_pci_cap *cap)
{
	unsigned data = transport->pci_cfg + offsetof(struct virtio_pci_cap, extra);

	if (offset >= data + sizeof(cap->extra) || offset + size <= data)
		return false;
	memcpy(cap, transport->function.state.config + transport->pci_cfg, sizeof(*cap));
	return cap->bar == VIRTIO_PCI_BAR && (cap->size == 1 || cap->size == 2 || cap->size == 4) &&
	       cap->offset % cap->size == 0 && cap->offset < VIRTIO_PCI_BAR_SIZE;
}

static void config_reading(void *context, unsigned offset, unsigned size)
{
	struct virtio_pci *transport = context;
	struct virtio_pci_cap cap;

	if (window(transport, offset, size, &cap))
		pci_config_set(&transport->function,
			transport->pci_cfg + offsetof(struct virtio_pci_cap, extra), cap.size,
			(uint32_t)pci_bar_read(
				&transport->function, VIRTIO_PCI_BAR, cap.offset, cap.size));
}

static void config_written(void *context, unsigned offset, unsigned size)
{
	struct virtio_pci *transport = context;
	struct virtio_pci_cap cap;

	if (window(transport, offset, size, &cap))
		pci_bar_write(&transport->function, VIRTIO_PCI_BAR, cap.offset, cap.size,
			cap.extra & byte_mask(cap.size));
	virtio_pci_route_calls(transport);
}

/* What the bus tells. */

static void function_reset(void *context)
{
	struct virtio_pci *transport = context;

	virtio_device_reset(transport->device);
	virtio_pci_reset_registers(transport);
	virtio_allow_dma(transport->device, false);
}

static void function_restored(void *context)
{
	struct virtio_pci *transport = context;

	transport->device->dma_allowed = pci_is_bus_master(&transport->function);
	virtio_device_restored(transport->device);
	virtio_pci_route_calls(transport);
	update_intx(transport);
}

static void command_changed(void *context, uint16_t command)
{
	struct virtio_pci *transport = context;

	virtio_allow_dma(transport->device, command & PCI_COMMAND_MASTER);
}

static const struct pci_function_ops function_ops = {
	.reset = function_reset,
	.restored = function_restored,
	.command_changed = command_changed,
	.config_reading = config_reading,
	.config_written = config_written,
};

/* Construction. */

/* The legacy device ids (4.1.2). */
static uint16_t transitional_id(uint16_t type)
{
	switch (type) {
	case VIRTIO_ID_NET: return 0x1000;
	case VIRTIO_ID_BLOCK: return 0x1001;
	case VIRTIO_ID_BALLOON: return 0x1002;
	case VIRTIO_ID_CONSOLE: return 0x1003;
	case VIRTIO_ID_ENTROPY: return 0x1005;
	}
	return 0;
}

static void add_capability(
	struct virtio_pci *transport, uint8_t type, uint32_t offset, uint32_t size, uint32_t extra)
{
	struct virtio_pci_cap cap = {
		.length = type == VIRTIO_PCI_CAP_NOTIFY ? VIRTIO_PCI_CAP_EXTRA_SIZE
							: VIRTIO_PCI_CAP_SIZE,
		.type = type,
		.bar = VIRTIO_PCI_BAR,
		.offset = offset,
		.size = size,
		.extra = extra,
	};

	pci_add_capability(&transport->function, PCI_CAP_VENDOR, &cap, NULL, cap.length);
}

static void add_pci_cfg(struct virtio_pci *transport)
{
	struct virtio_pci_cap cap = { .length = VIRTIO_PCI_CAP_EXTRA_SIZE,
		.type = VIRTIO_PCI_CAP_PCI };
	struct virtio_pci_cap writable = {
		.bar = 0xff, .offset = UINT32_MAX, .size = UINT32_MAX, .extra = UINT32_MAX
	};

	transport->pci_cfg = (uint8_t)pci_add_capability(
		&transport->function, PCI_CAP_VENDOR, &cap, &writable, sizeof(cap));
}

static void add_bars(struct virtio_pci *transport)
{
	const struct virtio_device *device = transport->device;
	unsigned legacy_size = 64;
	struct pci_bar bar = { .kind = PCI_BAR_MEMORY64,
		.prefetchable = true,
		.size = VIRTIO_PCI_BAR_SIZE,
		.ops = &bar_ops,
		.name = device->type->name };
	struct pci_bar msix = { .kind = PCI_BAR_MEMORY32,
		.size = VIRTIO_PCI_MSIX_SIZE,
		.ops = &msix_bar_ops,
		.name = device->type->name };
	struct pci_bar legacy = {
		.kind = PCI_BAR_IO, .ops = &virtio_pci_legacy_ops, .name = device->type->name
	};

	pci_add_bar(&transport->function, VIRTIO_PCI_BAR, &bar);
	pci_add_bar(&transport->function, VIRTIO_PCI_MSIX_BAR, &msix);
	if (!transport->transitional)
		return;
	while (legacy_size < 24 + device->config_size)
		legacy_size *= 2;
	legacy.size = legacy_size;
	pci_add_bar(&transport->function, VIRTIO_PCI_LEGACY_BAR, &legacy);
}

static void add_function(struct virtio_pci *transport)
{
	const struct virtio_device *device = transport->device;
	const struct virtio_device_type *type = device->type;
	const struct pci_identity identity = {
		.vendor_id = VIRTIO_PCI_VENDOR,
		.device_id = transport->transitional ? transitional_id(type->id)
						     : VIRTIO_PCI_MODERN_DEVICE + type->id,
		.revision = transport->transitional ? 0 : 1,
		.class_code = type->pci_class,
		.subsystem_vendor_id = VIRTIO_PCI_VENDOR,
		.subsystem_id = transport->transitional ? type->id : VIRTIO_PCI_MODERN_DEVICE,
		.interrupt_pin = 1,
	};

	pci_function_init(&transport->function, device->name, &identity, &function_ops, transport);
	add_bars(transport);
	pci_add_msix(&transport->function, device->nr_queues + 1, VIRTIO_PCI_MSIX_BAR, 0,
		VIRTIO_PCI_PBA);
	add_capability(transport, VIRTIO_PCI_CAP_COMMON, VIRTIO_PCI_COMMON_OFFSET,
		VIRTIO_PCI_COMMON_SIZE, 0);
	add_capability(transport, VIRTIO_PCI_CAP_ISR, VIRTIO_PCI_ISR_OFFSET, 1, 0);
	if (device->config_size > 0)
		add_capability(transport, VIRTIO_PCI_CAP_DEVICE, VIRTIO_PCI_DEVICE_OFFSET,
			device->config_size, 0);
	add_capability(transport, VIRTIO_PCI_CAP_NOTIFY, VIRTIO_PCI_NOTIFY_OFFSET,
		device->nr_queues * VIRTIO_PCI_NOTIFY_STRIDE, VIRTIO_PCI_NOTIFY_STRIDE);
	add_pci_cfg(transport);
}

/* On the vCPU's thread or, when the eventfd is signalled, on the queue's I/O thread. */
static void doorbell_ring(void *context)
{
	virtio_queue_ring(((struct virtio_pci_doorbell *)context)->queue);
}

static int add_doorbell(struct virtio_pci *transport, unsigned index)
{
	struct virtio_pci_doorbell *doorbell = &transport->doorbells[index];
	struct virtio_lane *lane = virtio_queue_lane(transport->device, index);
	int rc;

	doorbell->queue = &transport->device->queues[index];
	doorbell->transport = transport;
	doorbell->watch.ready = doorbell_ring;
	doorbell->watch.is_signal = true;
	doorbell->watch.context = doorbell;
	doorbell->watch.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (doorbell->watch.fd < 0)
		return -errno;
	virtio_lane_enter(lane);
	rc = virtio_lane_watch(lane, &doorbell->watch);
	virtio_lane_leave(lane);
	if (rc < 0)
		return rc;
	doorbell->modern = (struct pci_doorbell){
		.doorbell = { .fd = doorbell->watch.fd,
			.ring = doorbell_ring,
			.context = doorbell },
		.bar = VIRTIO_PCI_BAR,
		.offset = VIRTIO_PCI_NOTIFY_OFFSET + index * VIRTIO_PCI_NOTIFY_STRIDE,
	};
	pci_attach_doorbell(&transport->function, &doorbell->modern);
	if (!transport->transitional)
		return 0;
	doorbell->legacy = doorbell->modern;
	doorbell->legacy.bar = VIRTIO_PCI_LEGACY_BAR;
	doorbell->legacy.offset = VIRTIO_LEGACY_QUEUE_NOTIFY;
	doorbell->legacy.doorbell.is_port = true;
	doorbell->legacy.doorbell.size = 2;
	doorbell->legacy.doorbell.has_value = true;
	doorbell->legacy.doorbell.value = index;
	pci_attach_doorbell(&transport->function, &doorbell->legacy);
	return 0;
}

int virtio_pci_create(struct virtio_pci **created, struct virtio_device *device, bool transitional,
	struct error *err)
{
	struct virtio_pci *transport = calloc(1, sizeof(*transport));
	int rc = 0;

	*created = NULL;
	if (!transport)
		return error_set_errno(
			err, EXIT_CODE_HOST, ENOMEM, "cannot create the device %s", device->name);
	transport->device = device;
	transport->transitional = transitional && device->type->is_transitional;
	transport->nr_doorbells = device->nr_queues;
	transport->doorbells = calloc(device->nr_queues, sizeof(*transport->doorbells));
	add_function(transport);
	if (!transport->doorbells)
		rc = -ENOMEM;
	for (unsigned i = 0; i < device->nr_queues && rc == 0; i++)
		transport->doorbells[i].watch.fd = transport->doorbells[i].call.fd = -1;
	for (unsigned i = 0; i < device->nr_queues && rc == 0; i++)
		rc = add_doorbell(transport, i);
	if (rc < 0) {
		virtio_pci_destroy(transport);
		return error_set_errno(
			err, EXIT_CODE_HOST, -rc, "cannot create the device %s", device->name);
	}
	virtio_pci_reset_registers(transport);
	virtio_set_transport(device, &transport_ops, transport);
	*created = transport;
	return 0;
}

int virtio_pci_plug(struct virtio_pci *transport, struct pci_host *host, unsigned device, bool hot,
	struct error *err)
{
	struct machine *machine = transport->device->machine;
	int rc;

	machine_lock(machine);
	rc = pci_plug(host, &transport->function, device, hot, err);
	machine_unlock(machine);
	return rc;
}

void virtio_pci_unplug(struct virtio_pci *transport)
{
	struct machine *machine = transport->device->machine;

	machine_lock(machine);
	if (transport->function.host)
		pci_unplug(&transport->function);
	machine_unlock(machine);
}

void virtio_pci_destroy(struct virtio_pci *transport)
{
	if (!transport)
		return;
	/* The device may be finished, and have no queues any more. */
	for (unsigned i = 0; transport->doorbells && i < transport->nr_doorbells; i++) {
		if (transport->doorbells[i].watch.fd >= 0)
			close(transport->doorbells[i].watch.fd);
	}
	pci_function_finish(&transport->function);
	free(transport->doorbells);
	free(transport);
}
