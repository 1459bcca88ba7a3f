/* Fuzz target: what a driver can do to virtio-mem while the host changes its mind. */
#include "virtio/virtio_mem.h"

#include "virtio/virtio_fuzz.h"

#define REGION_BASE  (UINT64_C(4) << 30)
#define REGION_BYTES (8 * VIRTIO_MEM_BLOCK_BYTES)

/* 5.15.6: a type, an address and a number of blocks. */
static size_t mem_head(struct virtio_fuzz *fuzz, unsigned queue, uint8_t head[FUZZ_HEAD])
{
	uint64_t address = REGION_BASE + fuzz_u8(&fuzz->input) % 10 * VIRTIO_MEM_BLOCK_BYTES;
	uint16_t blocks = fuzz_u8(&fuzz->input) % 12;
	uint8_t odd = fuzz_u8(&fuzz->input);

	(void)queue;
	memset(head, 0, 24);
	head[0] = fuzz_u8(&fuzz->input) % 5;
	if (odd > 0xf0)
		address += fuzz_u32(&fuzz->input);
	memcpy(head + 8, &address, sizeof(address));
	memcpy(head + 16, &blocks, sizeof(blocks));
	return 24;
}

static void happen(struct virtio_fuzz *fuzz, uint8_t what)
{
	machine_lock(&fuzz->pci.machine);
	virtio_mem_request(fuzz->ops->context, (uint64_t)what << 20);
	machine_unlock(&fuzz->pci.machine);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	static struct virtio_fuzz fuzz;
	struct virtio_fuzz_ops ops = { .head = mem_head, .happen = happen };
	struct virtio_mem_config config = {
		.name = "mem0", .base = REGION_BASE, .bytes = REGION_BYTES
	};
	struct virtio_mem *mem;

	virtio_fuzz_init(&fuzz, bytes, size);
	config.machine = &fuzz.pci.machine;
	if (guest_memory_add_device(&fuzz.pci.machine.memory, REGION_BASE, REGION_BYTES, NULL) ||
		virtio_mem_create(&mem, &config, NULL))
		abort();
	ops.context = mem;
	virtio_fuzz_run(&fuzz, virtio_mem_device(mem), &ops);
	if (virtio_mem_plugged(mem) > REGION_BYTES ||
		virtio_mem_plugged(mem) % VIRTIO_MEM_BLOCK_BYTES)
		abort();
	virtio_mem_destroy(virtio_mem_device(mem));
	virtio_fuzz_finish(&fuzz);
	return 0;
}
