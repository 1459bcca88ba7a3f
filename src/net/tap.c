/*
 * A tap interface of the host, perhaps in a bridge (Linux: Documentation/networking/tuntap). The
 * kernel takes the offloads of frames in both directions.
 */
#include "net/backend.h"

#include "base/properties.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_PIECES 64

/* A header with num_buffers (virtio 1.2 5.1.6.1), which the kernel reads past, and leaves 0. */
struct tap_header {
	struct net_header net;
	uint16_t nr_buffers;
} __attribute__((packed));

struct tap {
	struct net_backend backend;
	int fd;
	unsigned header_bytes;
};

static struct tap *tap_of(struct net_backend *backend)
{
	return (struct tap *)backend;
}

static int tap_send(struct net_backend *backend, const struct net_header *header,
	const struct iovec *iov, unsigned count)
{
	struct tap_header copy = { .net = *header };
	struct iovec pieces[MAX_PIECES + 1] = { { &copy, tap_of(backend)->header_bytes } };

	if (count > MAX_PIECES)
		return -EMSGSIZE;
	memcpy(pieces + 1, iov, count * sizeof(*iov));
	if (writev(tap_of(backend)->fd, pieces, (int)count + 1) >= 0)
		return 0;
	return errno == EINTR ? -EAGAIN : -errno;
}

static ssize_t tap_receive(struct net_backend *backend, struct net_header *header, uint8_t *frame)
{
	struct tap *tap = tap_of(backend);
	struct tap_header with_count = { .nr_buffers = 0 };
	struct iovec pieces[] = { { &with_count, tap->header_bytes }, { frame, NET_MAX_FRAME } };
	ssize_t size = readv(tap->fd, pieces, ARRAY_SIZE(pieces));

	if (size < 0)
		return 0;
	*header = with_count.net;
	return size > (ssize_t)tap->header_bytes ? size - (ssize_t)tap->header_bytes : -EIO;
}

static void tap_want(struct net_backend *backend, unsigned events)
{
	net_backend_watch(backend, tap_of(backend)->fd, events);
}

static void tap_set_offloads(struct net_backend *backend, unsigned offloads)
{
	unsigned flags = 0;

	/* The kernel refuses segmentation without checksums. */
	if (offloads & NET_OFFLOAD_CHECKSUM) {
		flags |= TUN_F_CSUM;
		flags |= offloads & NET_OFFLOAD_TCPV4 ? TUN_F_TSO4 : 0;
		flags |= offloads & NET_OFFLOAD_TCPV6 ? TUN_F_TSO6 : 0;
		if (offloads & (NET_OFFLOAD_TCPV4 | NET_OFFLOAD_TCPV6))
			flags |= offloads & NET_OFFLOAD_ECN ? TUN_F_TSO_ECN : 0;
	}
	/* What it goes on sending undone is done in software. */
	ioctl(tap_of(backend)->fd, TUNSETOFFLOAD, flags);
}

static int set_header_bytes(struct tap *tap, unsigned bytes)
{
	int size = (int)bytes;

	if (ioctl(tap->fd, TUNSETVNETHDRSZ, &size) < 0)
		return -errno;
	tap->header_bytes = bytes;
	return 0;
}

static int tap_vhost_fd(struct net_backend *backend, unsigned header_bytes)
{
	struct tap *tap = tap_of(backend);
	int rc = header_bytes == tap->header_bytes ? 0 : set_header_bytes(tap, header_bytes);

	return rc < 0 ? rc : tap->fd;
}

/* The kernel compares eight addresses, hashes further ones of groups, and gives up filtering if
 * there are others. */
static void tap_vhost_filter(struct net_backend *backend, const struct net_filter *filter)
{
	/* As struct tun_filter, whose end is open. */
	struct {
		uint16_t flags, count;
		uint8_t addresses[NET_FILTER_MAX][NET_ADDRESS_BYTES];
	} table = { .flags = filter->all_multicast ? TUN_FLT_ALLMULTI : 0,
		.count = (uint16_t)filter->count };

	memcpy(table.addresses, filter->addresses, filter->count * NET_ADDRESS_BYTES);
	/* It saves the guest work; nothing depends on it. */
	ioctl(tap_of(backend)->fd, TUNSETTXFILTER, &table);
}

static void tap_destroy(struct net_backend *backend)
{
	struct tap *tap = tap_of(backend);

	if (tap->fd >= 0)
		close(tap->fd);
	net_backend_finish(backend);
	free(tap);
}

static const struct net_backend_ops tap_ops = {
	.send = tap_send,
	.receive = tap_receive,
	.want = tap_want,
	.set_offloads = tap_set_offloads,
	.vhost_fd = tap_vhost_fd,
	.vhost_filter = tap_vhost_filter,
	.destroy = tap_destroy,
};

static int tap_error(const char *what, const char *name, int reason, struct error *err)
{
	if (reason == EPERM || reason == EACCES)
		return error_set(err, EXIT_CODE_PERMISSION,
			"--net may not use %s '%s'; run as root, or have it made for this user "
			"(ip tuntap add dev NAME mode tap user USER)",
			what, name);
	if (reason == EBUSY)
		return error_set(err, EXIT_CODE_HOST,
			"--net %s '%s' is in use by another program; choose another name", what,
			name);
	return error_set_errno(err, EXIT_CODE_HOST, reason, "--net cannot use %s '%s'", what, name);
}

/* Opens the interface `name`, or a new one whose name is put there if it is "". */
static int open_interface(struct tap *tap, char name[IFNAMSIZ], struct error *err)
{
	static const struct net_filter everything;
	struct ifreq request = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR };

	tap->fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (tap->fd < 0)
		return tap_error("the device", "/dev/net/tun", errno, err);
	memcpy(request.ifr_name, name, IFNAMSIZ);
	if (ioctl(tap->fd, TUNSETIFF, &request) < 0 ||
		set_header_bytes(tap, sizeof(struct net_header)) < 0)
		return tap_error("the interface", name, errno, err);
	/* An interface that stays keeps the filter of whoever was killed. */
	tap_vhost_filter(&tap->backend, &everything);
	memcpy(name, request.ifr_name, IFNAMSIZ);
	return 0;
}

static int join_bridge(const char *interface, const char *bridge, struct error *err)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), ret = 0;
	struct ifreq request = { 0 };

	if (fd < 0)
		return tap_error("the bridge", bridge, errno, err);
	snprintf(request.ifr_name, IFNAMSIZ, "%s", bridge);
	request.ifr_ifindex = (int)if_nametoindex(interface);
	if (ioctl(fd, SIOCBRADDIF, &request) < 0)
		ret = tap_error("the bridge", bridge, errno, err);
	snprintf(request.ifr_name, IFNAMSIZ, "%s", interface);
	request.ifr_flags = IFF_UP;
	if (!ret && ioctl(fd, SIOCSIFFLAGS, &request) < 0)
		ret = tap_error("the interface", interface, errno, err);
	close(fd);
	return ret;
}

static int open_tap(
	struct net_backend **backend, const char *interface, const char *bridge, struct error *err)
{
	struct tap *tap = calloc(1, sizeof(*tap));
	char name[IFNAMSIZ] = "";

	if (!tap)
		return error_set_errno(err, EXIT_CODE_HOST, ENOMEM, "cannot open a network");
	tap->fd = -1;
	if (interface)
		snprintf(name, sizeof(name), "%s", interface);
	if (net_backend_init(&tap->backend, &tap_ops, err) || open_interface(tap, name, err) ||
		(bridge && join_bridge(name, bridge, err))) {
		tap_destroy(&tap->backend);
		return -EINVAL;
	}
	tap->backend.sends =
		NET_OFFLOAD_CHECKSUM | NET_OFFLOAD_TCPV4 | NET_OFFLOAD_TCPV6 | NET_OFFLOAD_ECN;
	*backend = &tap->backend;
	return 0;
}

/* Takes name=, which both kinds need. */
static const char *take_name(struct properties *properties, const char *what, struct error *err)
{
	const char *name = properties_take(properties, "name");

	if (name && *name && strlen(name) < IFNAMSIZ)
		return name;
	error_set(err, EXIT_CODE_USAGE, "--net %s needs name=%s, of 15 characters at most",
		properties->word, what);
	return NULL;
}

int net_tap_open(struct net_backend **backend, struct properties *properties, struct error *err)
{
	const char *name = take_name(properties, "INTERFACE", err);

	return name ? open_tap(backend, name, NULL, err) : -EINVAL;
}

int net_bridge_open(struct net_backend **backend, struct properties *properties, struct error *err)
{
	const char *name = take_name(properties, "BRIDGE", err);

	if (!name)
		return -EINVAL;
	if (!if_nametoindex(name))
		return error_set(err, EXIT_CODE_CONFIG,
			"--net bridge: there is no interface '%s'; make it with: ip link add %s "
			"type bridge",
			name, name);
	return open_tap(backend, NULL, name, err);
}
