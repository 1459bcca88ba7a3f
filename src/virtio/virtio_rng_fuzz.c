/* Fuzz target: what a driver can do to virtio-rng, with a limit on its rate. */
#include "virtio/virtio_rng.h"

#include "virtio/virtio_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	static const struct virtio_fuzz_ops ops;
	static struct virtio_fuzz fuzz;
	struct virtio_device *device;

	virtio_fuzz_init(&fuzz, bytes, size);
	if (virtio_rng_create(&device, "rng0", &fuzz.pci.machine, 1 << 20, NULL))
		abort();
	virtio_fuzz_run(&fuzz, device, &ops);
	virtio_rng_destroy(device);
	virtio_fuzz_finish(&fuzz);
	return 0;
}
