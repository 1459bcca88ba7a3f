/*
 * vhost_ring with a back end that writes anything anywhere into the shared memory: each request
 * comes back at most once, entries are neither lost nor doubled, and nothing else is touched.
 */
#include "virtio/vhost_ring.h"
#include "virtio/virtio_fs.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define RAM_BYTES   4096
#define NR_REQUESTS 8
#define MAX_PIECES  600
#define STEP_BYTES  8

struct world {
	struct guest_memory memory;
	struct vhost_ring ring;
	uint8_t ram[RAM_BYTES];
	struct virtq_request requests[NR_REQUESTS];
	bool out[NR_REQUESTS];
	struct iovec pieces[MAX_PIECES];
};

static void require(bool condition)
{
	if (!condition)
		abort();
}

static void add(struct world *world, const uint8_t *step)
{
	unsigned index = step[1] % NR_REQUESTS, head_bytes = step[2] % (VHOST_HEAD_BYTES + 1);
	struct virtq_request *request = &world->requests[index];
	uint8_t head[VHOST_HEAD_BYTES] = { 0 };

	if (world->out[index])
		return;
	*request = (struct virtq_request){ .readable = world->pieces,
		.writable = world->pieces + step[3],
		.nr_readable = step[3],
		.nr_writable = step[4],
		.writable_bytes = 4u * step[4] };
	world->out[index] = vhost_ring_add(&world->ring, request, head, head_bytes) == 0;
	vhost_ring_publish(&world->ring);
}

static void got_back(struct world *world, struct virtq_request *request)
{
	size_t index = (size_t)(request - world->requests);

	require(index < NR_REQUESTS && world->out[index]);
	world->out[index] = false;
}

/* False if the ring is found broken. */
static bool take(struct world *world)
{
	struct virtq_request *request;
	bool broken = false;
	uint32_t written;

	while ((request = vhost_ring_take(&world->ring, &written, &broken))) {
		require(written <= request->writable_bytes);
		got_back(world, request);
	}
	return !broken;
}

static void scribble(uint8_t *shared, const uint8_t *step)
{
	/* Most often into the beginning of the used ring, which is what is read. */
	size_t used = VHOST_RING_SIZE * 16 + 4096;
	size_t offset = step[0] & 0x80 ? (size_t)(step[1] | step[2] << 8) * 2 : used + step[1];

	memcpy(shared + offset % (VHOST_RING_BYTES - 4), step + 3, 1 + step[0] % 4);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct world *world = calloc(1, sizeof(*world));
	uint8_t *shared = aligned_alloc(16, VHOST_RING_BYTES);
	struct virtq_request *request;
	bool works = true;

	require(world && shared);
	memset(shared, 0, VHOST_RING_BYTES);
	world->memory.nr_regions = 1;
	world->memory.regions[0] = (struct ram_region){
		.place = 0x1000 | RAM_WRITABLE, .size = RAM_BYTES, .host = world->ram
	};
	for (unsigned i = 0; i < MAX_PIECES; i++)
		world->pieces[i] = (struct iovec){ .iov_base = world->ram + 4 * i, .iov_len = 4 };
	vhost_ring_init(&world->ring, &world->memory, shared, UINT64_C(1) << 56);
	virtio_fs_only_reads(data, size);
	for (; size >= STEP_BYTES && works; data += STEP_BYTES, size -= STEP_BYTES) {
		switch (data[0] & 3) {
		case 0: add(world, data); break;
		case 1: works = take(world); break;
		default: scribble(shared, data); break;
		}
	}
	while ((request = vhost_ring_abandon(&world->ring)))
		got_back(world, request);
	for (unsigned i = 0; i < NR_REQUESTS; i++)
		require(!world->out[i]);
	require(world->ring.nr_free == VHOST_RING_SIZE && world->ring.in_flight == 0);
	free(shared);
	free(world);
	return 0;
}
