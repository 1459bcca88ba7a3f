#include "virtio/virtio_pmem.h"

#include "base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define QUEUE_SIZE       64
#define PCI_CLASS_MEMORY 0x050000

#define REQUEST_FLUSH 0
#define ANSWER_GOOD   UINT32_C(0)
#define ANSWER_FAILED UINT32_C(0xffffffff)

struct pmem_registers {
	uint64_t start, size;
};

struct pmem {
	struct virtio_device device;
	/* Immutable. */
	struct pmem_registers registers;
	int fd;
	bool read_only;
};

static uint32_t flush(struct pmem *pmem)
{
	if (pmem->read_only || fdatasync(pmem->fd) == 0)
		return ANSWER_GOOD;
	log_warning("%s: the host cannot write its file: %s", pmem->device.name, strerror(errno));
	return ANSWER_FAILED;
}

static bool pmem_serve(struct virtio_device *device, unsigned index)
{
	struct pmem *pmem = (struct pmem *)device;
	struct virtq *queue = virtio_queue(device, index);
	struct virtq_request *request;

	while ((request = virtq_pop(queue))) {
		uint32_t type, answer = ANSWER_FAILED;

		if (virtq_read(request, &type, sizeof(type)) == sizeof(type) &&
			type == REQUEST_FLUSH)
			answer = flush(pmem);
		virtq_write(request, &answer, sizeof(answer));
		virtq_push(queue, request, 0);
	}
	return true;
}

static const struct virtio_device_type pmem_type = {
	.name = "virtio-pmem",
	.id = VIRTIO_ID_PMEM,
	.pci_class = PCI_CLASS_MEMORY,
	.serve = pmem_serve,
};

int virtio_pmem_create(
	struct virtio_device **device, const struct virtio_pmem_config *config, struct error *err)
{
	static const struct virtio_queue_config queue = { .size = QUEUE_SIZE };
	struct pmem *pmem = calloc(1, sizeof(*pmem));
	struct virtio_device_config base = {
		.name = config->name,
		.machine = config->machine,
		.config_size = sizeof(pmem->registers),
		.queues = &queue,
		.nr_queues = 1,
		.nr_lanes = 1,
	};

	*device = NULL;
	if (!pmem)
		return error_set_errno(
			err, EXIT_CODE_HOST, ENOMEM, "cannot create the device %s", config->name);
	pmem->fd = config->fd;
	pmem->read_only = config->read_only;
	pmem->registers = (struct pmem_registers){ .start = config->base, .size = config->bytes };
	base.config = &pmem->registers;
	if (virtio_device_init(&pmem->device, &pmem_type, &base, err)) {
		virtio_pmem_destroy(&pmem->device);
		return -EINVAL;
	}
	*device = &pmem->device;
	return 0;
}

void virtio_pmem_destroy(struct virtio_device *device)
{
	if (!device)
		return;
	virtio_device_finish(device);
	free(device);
}
