/*
 * Fuzz target: what a driver, and clients and servers of the host, can do to virtio-vsock. Port 1
 * of the host listens; clients ask for small ports.
 */
#include "virtio/virtio_vsock.h"

#include "virtio/virtio_fuzz.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define GUEST_CID  3
#define HOST_PORTS 0x40000000u /* of the host's clients, upwards */
#define MAX_PEERS  8

struct world {
	char directory[32];
	char path[48];
	int listen_fd; /* port 1 of the host */
	int peers[MAX_PEERS];
	unsigned nr_peers; /* that there were */
};

static void set_address(struct sockaddr_un *address, const struct world *world, const char *suffix)
{
	*address = (struct sockaddr_un){ .sun_family = AF_UNIX };
	snprintf(address->sun_path, sizeof(address->sun_path), "%s%s", world->path, suffix);
}

/* 5.10.6 */
static size_t vsock_head(struct virtio_fuzz *fuzz, unsigned queue, uint8_t head[FUZZ_HEAD])
{
	static const uint32_t ports[] = { 1, 2, HOST_PORTS, HOST_PORTS + 1, HOST_PORTS + 2 };
	static const uint32_t credits[] = { 0, 1, 64, 0x10000, UINT32_MAX };
	const uint64_t cids[] = { GUEST_CID, 2 };
	uint32_t words[] = { fuzz_u8(&fuzz->input) % 4,
		fuzz_likely(&fuzz->input, ports, ARRAY_SIZE(ports)), fuzz_u8(&fuzz->input) };
	const uint16_t type_and_op[] = { 1, fuzz_u8(&fuzz->input) % 9 };
	const uint32_t rest[] = { fuzz_u8(&fuzz->input) & 3,
		fuzz_likely(&fuzz->input, credits, ARRAY_SIZE(credits)),
		fuzz_likely(&fuzz->input, credits, ARRAY_SIZE(credits)) };

	(void)queue;
	memcpy(head, cids, sizeof(cids));
	memcpy(head + 16, words, sizeof(words));
	memcpy(head + 28, type_and_op, sizeof(type_and_op));
	memcpy(head + 32, rest, sizeof(rest));
	return 44;
}

static void add_peer(struct world *world, int fd)
{
	unsigned at = world->nr_peers % MAX_PEERS;

	if (fd < 0)
		return;
	if (world->nr_peers++ >= MAX_PEERS)
		close(world->peers[at]);
	world->peers[at] = fd;
}

static void connect_to_guest(struct virtio_fuzz *fuzz, struct world *world)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un address;
	char greeting[32];
	int size = snprintf(greeting, sizeof(greeting), "CONNECT %u\n", fuzz_u8(&fuzz->input) % 4u);

	set_address(&address, world, "");
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		close(fd);
		return;
	}
	if (fuzz_u8(&fuzz->input) & 0xf0)
		send(fd, greeting, (size_t)size, MSG_NOSIGNAL);
	add_peer(world, fd);
}

static void happen(struct virtio_fuzz *fuzz, uint8_t what)
{
	struct world *world = fuzz->ops->context;
	unsigned count = world->nr_peers < MAX_PEERS ? world->nr_peers : MAX_PEERS;
	int peer = count ? world->peers[(what >> 3) % count] : -1;
	uint8_t bytes[4096] = { 0 };

	switch (what % 8) {
	case 0:
	case 1: connect_to_guest(fuzz, world); break;
	case 2: add_peer(world, accept4(world->listen_fd, NULL, NULL, SOCK_NONBLOCK)); break;
	case 3:
	case 4:
		fuzz_bytes(&fuzz->input, bytes, 16);
		send(peer, bytes, fuzz_u16(&fuzz->input) % sizeof(bytes), MSG_NOSIGNAL);
		break;
	case 5: (void)!recv(peer, bytes, sizeof(bytes), 0); break;
	case 6: shutdown(peer, what & 64 ? SHUT_WR : SHUT_RD); break;
	case 7: shutdown(peer, SHUT_RDWR); break;
	}
}

static void remove_directory(void);

static struct world *the_world(void)
{
	static struct world world = { .directory = "/tmp/atoll-vsock-fuzz-XXXXXX" };
	struct sockaddr_un address;

	if (world.path[0])
		return &world;
	if (!mkdtemp(world.directory))
		abort();
	snprintf(world.path, sizeof(world.path), "%s/v", world.directory);
	set_address(&address, &world, "_1");
	world.listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (bind(world.listen_fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
		listen(world.listen_fd, 16) < 0)
		abort();
	atexit(remove_directory);
	return &world;
}

static void remove_directory(void)
{
	struct world *world = the_world();
	struct sockaddr_un address;

	set_address(&address, world, "_1");
	unlink(address.sun_path);
	rmdir(world->directory);
}

static void close_peers(struct world *world)
{
	int fd;

	for (unsigned i = 0; i < world->nr_peers && i < MAX_PEERS; i++)
		close(world->peers[i]);
	world->nr_peers = 0;
	while ((fd = accept(world->listen_fd, NULL, NULL)) >= 0)
		close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	static struct virtio_fuzz fuzz;
	struct world *world = the_world();
	struct virtio_fuzz_ops ops = { .head = vsock_head, .happen = happen, .context = world };
	struct virtio_vsock_config config = {
		.name = "vsock0", .cid = GUEST_CID, .path = world->path
	};
	struct virtio_vsock *vsock;

	virtio_fuzz_init(&fuzz, bytes, size);
	config.machine = &fuzz.pci.machine;
	if (virtio_vsock_create(&vsock, &config, NULL))
		abort();
	virtio_fuzz_run(&fuzz, virtio_vsock_device(vsock), &ops);
	virtio_vsock_destroy(virtio_vsock_device(vsock));
	close_peers(world);
	virtio_fuzz_finish(&fuzz);
	return 0;
}
