/* Fuzz target: what a driver can do to virtio-blk, with a small image behind it. */
#include "virtio/virtio_blk.h"

#include "virtio/virtio_fuzz.h"

#include <unistd.h>

#define IMAGE_BYTES (1u << 16)

static size_t blk_head(struct virtio_fuzz *fuzz, unsigned queue, uint8_t head[FUZZ_HEAD])
{
	static const uint32_t types[] = { 0, 1, 4, 8, 11, 13, 2, 0x80000000 };
	static const uint32_t sectors[] = { 0, 1, IMAGE_BYTES / 512 - 1, IMAGE_BYTES / 512 };
	const uint32_t words[] = { fuzz_likely(&fuzz->input, types, ARRAY_SIZE(types)), 0,
		fuzz_likely(&fuzz->input, sectors, ARRAY_SIZE(sectors)), 0 };
	/* A range to erase, for types that take one. */
	const uint32_t range[] = { words[2], 0, fuzz_u8(&fuzz->input), fuzz_u8(&fuzz->input) & 1 };

	(void)queue;
	memcpy(head, words, sizeof(words));
	if (words[0] < 11)
		return sizeof(words);
	memcpy(head + sizeof(words), range, sizeof(range));
	return sizeof(words) + sizeof(range);
}

static void happen(struct virtio_fuzz *fuzz, uint8_t what)
{
	struct block_device *image = fuzz->ops->context;
	const struct block_limits limits = { .bytes = { .per_s = what & 2 ? 1u << 20 : 0 } };

	block_device_set_limits(image, &limits);
	machine_lock(&fuzz->pci.machine);
	virtio_blk_resized(fuzz->device, (uint64_t)what << 9);
	machine_unlock(&fuzz->pci.machine);
}

static struct block_device *open_image(void)
{
	char path[] = "/tmp/atoll-blk-fuzz-XXXXXX";
	struct block_options options = { .path = path, .format = "raw", .aio = BLOCK_AIO_THREADS };
	struct block_device *image;
	int fd = mkstemp(path);

	if (fd < 0 || ftruncate(fd, IMAGE_BYTES) < 0 ||
		block_device_open(&image, &options, NULL, NULL))
		abort();
	close(fd);
	unlink(path);
	return image;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	static struct block_device *image;
	static struct virtio_fuzz fuzz;
	const struct block_limits none = { 0 };
	struct virtio_fuzz_ops ops = { .head = blk_head, .happen = happen };
	struct virtio_blk_config config = { .name = "disk0", .serial = "1", .nr_queues = 2 };
	struct virtio_device *device;

	if (!image)
		image = open_image();
	block_device_set_limits(image, &none);
	virtio_fuzz_init(&fuzz, bytes, size);
	config.machine = &fuzz.pci.machine;
	config.image = ops.context = image;
	if (virtio_blk_create(&device, &config, NULL))
		abort();
	virtio_fuzz_run(&fuzz, device, &ops);
	virtio_blk_destroy(device);
	virtio_fuzz_finish(&fuzz);
	return 0;
}
