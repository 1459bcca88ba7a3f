/* Fuzz target: what a driver can do to virtio-balloon while its target changes. */
#include "virtio/virtio_balloon.h"

#include "virtio/virtio_fuzz.h"

enum { QUEUE_STATISTICS = 2, QUEUE_HINTS = 3 };

/* Page numbers, commands, or statistics: a tag and a value. */
static size_t balloon_head(struct virtio_fuzz *fuzz, unsigned queue, uint8_t head[FUZZ_HEAD])
{
	static const uint32_t pages[] = { 0, 1, FUZZ_ROM >> 12, FUZZ_MORE >> 12, UINT32_MAX, 2, 3 };
	unsigned count = 1 + fuzz_u8(&fuzz->input) % 6;

	for (unsigned i = 0; i < count; i++) {
		uint32_t page = fuzz_likely(&fuzz->input, pages, ARRAY_SIZE(pages));

		memcpy(head + 10 * i, &page, sizeof(page));
		memset(head + 10 * i + sizeof(page), 0, 6);
	}
	/* A command comes alone. */
	if (queue == QUEUE_HINTS && count > 1)
		return sizeof(uint32_t);
	return queue == QUEUE_STATISTICS ? 10 * count : 4 * count;
}

static void happen(struct virtio_fuzz *fuzz, uint8_t what)
{
	struct virtio_balloon *balloon = fuzz->ops->context;
	struct virtio_balloon_statistics statistics;
	uint64_t bytes;

	machine_lock(&fuzz->pci.machine);
	if (what & 1)
		virtio_balloon_set_target(balloon, (uint64_t)what << 12);
	if (what & 2)
		virtio_balloon_hint(balloon);
	if (what & 4)
		virtio_balloon_end_hints(balloon);
	virtio_balloon_hinted(balloon, &bytes);
	virtio_balloon_ask(balloon);
	virtio_balloon_get_statistics(balloon, &statistics);
	machine_unlock(&fuzz->pci.machine);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	static struct virtio_fuzz fuzz;
	struct virtio_fuzz_ops ops = { .head = balloon_head, .happen = happen };
	struct virtio_balloon_config config = { .name = "balloon0" };
	struct virtio_balloon *balloon;

	virtio_fuzz_init(&fuzz, bytes, size);
	config.machine = &fuzz.pci.machine;
	if (virtio_balloon_create(&balloon, &config, NULL))
		abort();
	ops.context = balloon;
	virtio_fuzz_run(&fuzz, virtio_balloon_device(balloon), &ops);
	virtio_balloon_destroy(virtio_balloon_device(balloon));
	virtio_fuzz_finish(&fuzz);
	return 0;
}
