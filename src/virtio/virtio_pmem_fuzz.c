/* Fuzz target: what a driver can do to virtio-pmem. */
#include "virtio/virtio_pmem.h"

#include "virtio/virtio_fuzz.h"

#include <sys/mman.h>
#include <unistd.h>

#define REGION_BASE  (UINT64_C(4) << 30)
#define REGION_BYTES (UINT64_C(2) << 20)

static size_t pmem_head(struct virtio_fuzz *fuzz, unsigned queue, uint8_t head[FUZZ_HEAD])
{
	(void)queue;
	memset(head, 0, 4);
	head[0] = fuzz_u8(&fuzz->input) & 1;
	return 4;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	static const struct virtio_fuzz_ops ops = { .head = pmem_head };
	static struct virtio_fuzz fuzz;
	struct virtio_pmem_config config = {
		.name = "pmem0", .base = REGION_BASE, .bytes = REGION_BYTES
	};
	struct virtio_device *device;

	virtio_fuzz_init(&fuzz, bytes, size);
	config.machine = &fuzz.pci.machine;
	config.read_only = fuzz_u8(&fuzz.input) & 1;
	config.fd = memfd_create("pmem-fuzz", MFD_CLOEXEC);
	if (config.fd < 0 || ftruncate(config.fd, REGION_BYTES) < 0 ||
		guest_memory_add_file(&fuzz.pci.machine.memory, REGION_BASE, REGION_BYTES,
			config.fd, config.read_only, NULL) ||
		virtio_pmem_create(&device, &config, NULL))
		abort();
	virtio_fuzz_run(&fuzz, device, &ops);
	virtio_pmem_destroy(device);
	virtio_fuzz_finish(&fuzz);
	return 0;
}
