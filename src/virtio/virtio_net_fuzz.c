/* Fuzz target: what a driver, and a network, can do to virtio-net. */
#include "virtio/virtio_net_internal.h"

#include "net/cable_fixture.h"
#include "virtio/virtio_fuzz.h"

#define NR_PAIRS 2

/* A command to the control queue, or a frame's header and the beginning of its frame. */
static size_t net_head(struct virtio_fuzz *fuzz, unsigned queue, uint8_t head[FUZZ_HEAD])
{
	static const uint8_t tcp[] = { 2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0, 0, 40, 0,
		1, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 0, 80, 0, 80 };

	if (queue % 2 == 0) {
		fuzz_bytes(&fuzz->input, head, 12);
		head[0] %= 6;
		head[1] %= 6;
		return 12;
	}
	fuzz_bytes(&fuzz->input, head, 12);
	head[0] &= 3;
	memcpy(head + 12, tcp, sizeof(tcp));
	return 12 + sizeof(tcp);
}

static void come(struct virtio_fuzz *fuzz, struct fixture_cable *cable)
{
	static const uint16_t sizes[] = { 14, 15, 60, 64, 590, 1514, 2000 };
	uint8_t frame[2048] = { 2, 0, 0, 0, 0, 1 };

	fuzz_bytes(&fuzz->input, frame + 5, 24);
	if (cable->nr_incoming - cable->nr_taken < FIXTURE_DEPTH)
		fixture_cable_come(cable, frame, sizes[fuzz_u8(&fuzz->input) % ARRAY_SIZE(sizes)]);
}

static void happen(struct virtio_fuzz *fuzz, uint8_t what)
{
	struct fixture_cable *cable = fuzz->ops->context;
	struct virtio_net *net = virtio_net_of(fuzz->device);

	switch (what % 4) {
	case 0:
		machine_lock(&fuzz->pci.machine);
		virtio_net_set_link(net, what & 4);
		machine_unlock(&fuzz->pci.machine);
		break;
	default:
		virtio_lane_enter(virtio_queue_lane(fuzz->device, 0));
		cable->is_full = what & 4;
		come(fuzz, cable);
		virtio_lane_leave(virtio_queue_lane(fuzz->device, 0));
		for (unsigned queue = 0; queue < fuzz->device->nr_queues; queue++)
			virtio_serve_again(fuzz->device, queue);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	static struct virtio_fuzz fuzz;
	struct virtio_fuzz_ops ops = { .head = net_head, .happen = happen };
	struct virtio_net_config config = {
		.name = "net0", .address = { 2, 0, 0, 0, 0, 1 }, .nr_pairs = NR_PAIRS, .mtu = 1400
	};
	struct fixture_cable *cable = fixture_cable_new();
	struct virtio_net *net;

	virtio_fuzz_init(&fuzz, bytes, size);
	config.machine = &fuzz.pci.machine;
	config.backend = &cable->backend;
	ops.context = cable;
	if (virtio_net_create(&net, &config, NULL))
		abort();
	virtio_fuzz_run(&fuzz, virtio_net_device(net), &ops);
	if (!state_check(&virtio_net_state_table, &net->state, NULL))
		abort();
	virtio_net_destroy(&net->device);
	virtio_fuzz_finish(&fuzz);
	return 0;
}
