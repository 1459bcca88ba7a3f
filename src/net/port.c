/*
 * A port of an `atoll switch`, and a cable that leads nowhere. Frames between VMs keep their
 * headers: what both ends take is never done. A switch that is gone is looked for every second.
 */
#include "net/backend.h"

#include "base/log.h"
#include "base/properties.h"
#include "net/port.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <unistd.h>

#define MAX_PIECES 64
#define RETRY_S    1

struct port {
	struct net_backend backend;
	struct sockaddr_un address;
	int fd; /* -1: not connected */
	int retry_fd;
	unsigned wanted;
};

static struct port *port_of(struct net_backend *backend)
{
	return (struct port *)backend;
}

static int port_connect(struct port *port)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int size = PORT_BUFFER_BYTES;

	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&port->address, sizeof(port->address)) < 0) {
		int reason = errno;

		close(fd);
		return -reason;
	}
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	port->fd = fd;
	net_backend_watch(&port->backend, fd, port->wanted);
	return 0;
}

static void lost(struct port *port)
{
	const struct itimerspec at = { .it_value.tv_sec = RETRY_S, .it_interval.tv_sec = RETRY_S };

	if (port->fd < 0)
		return;
	close(port->fd);
	port->fd = -1;
	log_warning("the network is out: the switch '%s' is gone; it is looked for every second",
		port->address.sun_path);
	timerfd_settime(port->retry_fd, 0, &at, NULL);
}

static int port_send(struct net_backend *backend, const struct net_header *header,
	const struct iovec *iov, unsigned count)
{
	struct port *port = port_of(backend);
	struct net_header copy = *header;
	struct iovec pieces[MAX_PIECES + 1] = { { &copy, sizeof(copy) } };
	struct msghdr message = { .msg_iov = pieces, .msg_iovlen = count + 1 };

	if (port->fd < 0)
		return -ENOTCONN;
	if (count > MAX_PIECES)
		return -EMSGSIZE;
	memcpy(pieces + 1, iov, count * sizeof(*iov));
	if (sendmsg(port->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
		return 0;
	if (errno == EAGAIN || errno == EINTR)
		return -EAGAIN;
	if (errno == EPIPE || errno == ECONNRESET || errno == ENOTCONN)
		lost(port);
	return -EIO;
}

static ssize_t port_receive(struct net_backend *backend, struct net_header *header, uint8_t *frame)
{
	struct port *port = port_of(backend);
	struct iovec pieces[] = { { header, sizeof(*header) }, { frame, NET_MAX_FRAME } };
	struct msghdr message = { .msg_iov = pieces, .msg_iovlen = ARRAY_SIZE(pieces) };
	ssize_t size;

	if (port->fd < 0)
		return 0;
	size = recvmsg(port->fd, &message, MSG_DONTWAIT);
	if (size < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (size <= 0) {
		lost(port);
		return 0;
	}
	if (message.msg_flags & MSG_TRUNC || size <= (ssize_t)sizeof(*header))
		return -EIO;
	return size - (ssize_t)sizeof(*header);
}

static void port_want(struct net_backend *backend, unsigned events)
{
	struct port *port = port_of(backend);

	port->wanted = events;
	net_backend_watch(backend, port->fd, events);
}

static void port_ready(struct net_backend *backend)
{
	static const struct itimerspec never;
	struct port *port = port_of(backend);
	uint64_t expirations;

	if (port->fd >= 0 || read(port->retry_fd, &expirations, sizeof(expirations)) < 0)
		return;
	if (port_connect(port))
		return;
	timerfd_settime(port->retry_fd, 0, &never, NULL);
	log_warning("the network is back: connected to the switch '%s'", port->address.sun_path);
}

static void port_destroy(struct net_backend *backend)
{
	struct port *port = port_of(backend);

	if (port->fd >= 0)
		close(port->fd);
	if (port->retry_fd >= 0)
		close(port->retry_fd);
	net_backend_finish(backend);
	free(port);
}

static const struct net_backend_ops port_ops = {
	.send = port_send,
	.receive = port_receive,
	.want = port_want,
	.ready = port_ready,
	.destroy = port_destroy,
};

static int port_open(struct port *port, const char *path, struct error *err)
{
	int ret;

	if (net_backend_init(&port->backend, &port_ops, err))
		return -EINVAL;
	if (!path || !*path || strlen(path) >= sizeof(port->address.sun_path))
		return error_set(err, EXIT_CODE_USAGE,
			"--net switch needs path=SOCKET, of %zu characters at most",
			sizeof(port->address.sun_path) - 1);
	port->address.sun_family = AF_UNIX;
	strcpy(port->address.sun_path, path);
	port->retry_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (port->retry_fd < 0)
		return error_set_errno(err, EXIT_CODE_HOST, errno, "cannot open a network");
	net_backend_watch(&port->backend, port->retry_fd, NET_READ);
	ret = port_connect(port);
	if (ret == -ENOENT || ret == -ECONNREFUSED)
		return error_set(err, EXIT_CODE_UNAVAILABLE,
			"--net switch: nobody listens at '%s'; start it with: atoll switch %s",
			path, path);
	if (ret < 0)
		return error_set_errno(
			err, EXIT_CODE_HOST, -ret, "--net switch cannot connect to '%s'", path);
	/* The other end's NIC, or its net.c, does what is left. */
	port->backend.sends = NET_OFFLOAD_CHECKSUM | NET_OFFLOAD_TCPV4 | NET_OFFLOAD_TCPV6 |
			      NET_OFFLOAD_ECN | NET_OFFLOAD_UDP;
	return 0;
}

int net_port_open(struct net_backend **backend, struct properties *properties, struct error *err)
{
	struct port *port = calloc(1, sizeof(*port));

	if (!port)
		return error_set_errno(err, EXIT_CODE_HOST, ENOMEM, "cannot open a network");
	port->fd = port->retry_fd = -1;
	if (port_open(port, properties_take(properties, "path"), err)) {
		port_destroy(&port->backend);
		return -EINVAL;
	}
	*backend = &port->backend;
	return 0;
}

static int none_send(struct net_backend *backend, const struct net_header *header,
	const struct iovec *iov, unsigned count)
{
	(void)backend;
	(void)header;
	(void)iov;
	(void)count;
	return 0;
}

static ssize_t none_receive(struct net_backend *backend, struct net_header *header, uint8_t *frame)
{
	(void)backend;
	(void)header;
	(void)frame;
	return 0;
}

static void none_want(struct net_backend *backend, unsigned events)
{
	(void)backend;
	(void)events;
}

static void none_destroy(struct net_backend *backend)
{
	net_backend_finish(backend);
	free(backend);
}

static const struct net_backend_ops none_ops = {
	.send = none_send,
	.receive = none_receive,
	.want = none_want,
	.destroy = none_destroy,
};

int net_none_open(struct net_backend **backend, struct properties *properties, struct error *err)
{
	struct net_backend *none = calloc(1, sizeof(*none));

	(void)properties;
	if (!none)
		return error_set_errno(err, EXIT_CODE_HOST, ENOMEM, "cannot open a network");
	if (net_backend_init(none, &none_ops, err)) {
		none_destroy(none);
		return -EINVAL;
	}
	*backend = none;
	return 0;
}
