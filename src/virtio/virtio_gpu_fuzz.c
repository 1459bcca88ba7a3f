/* Fuzz target: what a driver can do to virtio-gpu while somebody looks at its picture. */
#include "virtio/virtio_gpu.h"

#include "virtio/virtio_fuzz.h"

/* A command, with small numbers for resources and sizes. */
static size_t gpu_head(struct virtio_fuzz *fuzz, unsigned queue, uint8_t head[FUZZ_HEAD])
{
	uint32_t words[FUZZ_HEAD / 4] = { 0 };

	words[0] = (queue ? 0x300u : 0x100u) + fuzz_u8(&fuzz->input) % 12;
	words[1] = fuzz_u8(&fuzz->input) & 1;
	for (unsigned i = 6; i < ARRAY_SIZE(words); i++)
		words[i] = fuzz_u8(&fuzz->input);
	if (fuzz_u8(&fuzz->input) < 16)
		words[6 + fuzz_u8(&fuzz->input) % 10] = UINT32_MAX - fuzz_u8(&fuzz->input);
	memcpy(head, words, FUZZ_HEAD);
	return words[0] == 0x106 ? 32 : FUZZ_HEAD;
}

static void ignore(void *context, const struct surface_rect *rect)
{
	(void)context;
	(void)rect;
}

static void happen(struct virtio_fuzz *fuzz, uint8_t what)
{
	struct surface surface = { 0 }, shown = { 0 }, scratch = { 0 };

	(void)what;
	if (virtio_gpu_draw(fuzz->device, &surface) < 0 ||
		virtio_gpu_update(fuzz->device, &shown, &scratch, ignore, NULL) < 0 ||
		surface_hash(&shown) != surface_hash(&surface))
		abort();
	surface_finish(&surface);
	surface_finish(&shown);
	surface_finish(&scratch);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	static const struct virtio_fuzz_ops ops = { .head = gpu_head, .happen = happen };
	static struct virtio_fuzz fuzz;
	struct virtio_device *device;

	virtio_fuzz_init(&fuzz, bytes, size);
	if (virtio_gpu_create(&device, "gpu0", &fuzz.pci.machine, NULL))
		abort();
	virtio_fuzz_run(&fuzz, device, &ops);
	virtio_gpu_destroy(device);
	virtio_fuzz_finish(&fuzz);
	return 0;
}
