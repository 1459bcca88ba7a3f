/*
 * Fuzz target: what a driver, and who is at the other ends, can do to virtio-console with a
 * console, a port, and a port without a name.
 */
#include "virtio/virtio_console.h"

#include "virtio/virtio_fuzz.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define NR_PORTS   3
#define NR_CLIENTS 4

struct world {
	struct sockaddr_un address; /* of the port that listens: no name in the file system */
	socklen_t address_size;
	int peer; /* the other end of the port with descriptors */
	int clients[NR_CLIENTS];
};

/* A control message, or the bytes of a port. */
static size_t console_head(struct virtio_fuzz *fuzz, unsigned queue, uint8_t head[FUZZ_HEAD])
{
	fuzz_bytes(&fuzz->input, head, 8);
	if (queue == 3) {
		head[0] %= NR_PORTS + 1;
		head[1] = head[2] = head[3] = 0;
		head[4] %= 9;
		head[5] = 0;
		head[6] &= 1;
	}
	return 8;
}

static void come(struct world *world, unsigned at)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (world->clients[at] >= 0)
		close(world->clients[at]);
	if (connect(fd, (struct sockaddr *)&world->address, world->address_size) < 0) {
		close(fd);
		fd = -1;
	}
	world->clients[at] = fd;
}

static void happen(struct virtio_fuzz *fuzz, uint8_t what)
{
	struct world *world = fuzz->ops->context;
	unsigned at = (what >> 3) % NR_CLIENTS;
	int peer = what & 64 ? world->peer : world->clients[at];
	uint8_t bytes[4096] = { 0 };

	switch (what % 8) {
	case 0:
	case 1: come(world, at); break;
	case 2:
	case 3: send(peer, bytes, fuzz_u16(&fuzz->input) % sizeof(bytes), MSG_NOSIGNAL); break;
	case 4: (void)!recv(peer, bytes, sizeof(bytes), MSG_DONTWAIT); break;
	case 5: shutdown(peer, what & 128 ? SHUT_RDWR : SHUT_WR); break;
	case 6:
	case 7:
		machine_lock(&fuzz->pci.machine);
		virtio_console_resize(fuzz->device, what, what & 63);
		machine_unlock(&fuzz->pci.machine);
		break;
	}
}

static int listen_somewhere(struct world *world)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	world->address.sun_family = AF_UNIX;
	/* The kernel picks an abstract name. */
	if (bind(fd, (struct sockaddr *)&world->address, sizeof(sa_family_t)) < 0)
		abort();
	world->address_size = sizeof(world->address);
	if (getsockname(fd, (struct sockaddr *)&world->address, &world->address_size) < 0 ||
		listen(fd, NR_CLIENTS) < 0)
		abort();
	return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	static struct virtio_fuzz fuzz;
	struct world world = { .clients = { -1, -1, -1, -1 } };
	struct virtio_fuzz_ops ops = { .head = console_head, .happen = happen, .context = &world };
	struct virtio_console_port_config ports[NR_PORTS] = {
		{ .is_console = true, .listen_fd = -1 },
		{ .name = "port",
			.listen_fd = listen_somewhere(&world),
			.in_fd = -1,
			.out_fd = -1 },
		{ .listen_fd = -1, .in_fd = -1, .out_fd = -1 },
	};
	struct virtio_console_config config = {
		.name = "console0", .ports = ports, .nr_ports = NR_PORTS
	};
	struct virtio_device *device;
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		abort();
	ports[0].in_fd = pair[0];
	ports[0].out_fd = fcntl(pair[0], F_DUPFD_CLOEXEC, 0);
	world.peer = pair[1];
	ports[1].takes_turns = size & 1;
	virtio_fuzz_init(&fuzz, bytes, size);
	config.machine = &fuzz.pci.machine;
	if (virtio_console_create(&device, &config, NULL))
		abort();
	virtio_fuzz_run(&fuzz, device, &ops);
	virtio_console_destroy(device);
	close(world.peer);
	for (unsigned i = 0; i < NR_CLIENTS; i++) {
		if (world.clients[i] >= 0)
			close(world.clients[i]);
	}
	virtio_fuzz_finish(&fuzz);
	return 0;
}
