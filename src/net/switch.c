/*
 * The switch (switch.h). One thread; a port that does not take a frame loses it, as on a wire.
 */
#include "net/switch.h"

#include "base/bits.h"
#include "net/port.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define BATCH          64 /* frames of a port before the next port's */
#define MAX_EVENTS     32
#define BUCKETS        1024
#define NO_ENTRY       UINT16_MAX
#define GROUP_ADDRESS  BIT(0) /* of an Ethernet address's first byte */
#define WATCH_LISTENER UINT32_MAX
#define WATCH_STOP     (UINT32_MAX - 1)

struct address_entry {
	uint8_t address[NET_ADDRESS_BYTES];
	uint16_t port;
	uint16_t next; /* in its bucket, or in the free list */
	ns_t seen_ns;
};

struct switch_port {
	int fd; /* -1: free */
	unsigned nr_addresses;
};

struct net_switch {
	int listen_fd, stop_fd, epoll_fd;
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	struct switch_port ports[SWITCH_MAX_PORTS];
	unsigned nr_ports; /* the highest used, plus one */
	struct address_entry addresses[SWITCH_MAX_ADDRESSES];
	uint16_t buckets[BUCKETS], free;
	uint8_t message[PORT_MAX_MESSAGE];
	ns_t now_ns, swept_ns;
};

static ns_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * NS_PER_S + now.tv_nsec;
}

static unsigned bucket_of(const uint8_t *address)
{
	uint32_t hash = 2166136261u; /* FNV-1a */

	for (unsigned i = 0; i < NET_ADDRESS_BYTES; i++)
		hash = (hash ^ address[i]) * 16777619u;
	return (hash ^ hash >> 16) % BUCKETS;
}

static struct address_entry *find(struct net_switch *net_switch, const uint8_t *address)
{
	uint16_t at = net_switch->buckets[bucket_of(address)];

	for (; at != NO_ENTRY; at = net_switch->addresses[at].next)
		if (memcmp(net_switch->addresses[at].address, address, NET_ADDRESS_BYTES) == 0)
			return &net_switch->addresses[at];
	return NULL;
}

/* Takes away what is older than `before_ns`, or belongs to `port`. */
static void forget(struct net_switch *net_switch, ns_t before_ns, unsigned port)
{
	for (unsigned bucket = 0; bucket < BUCKETS; bucket++) {
		uint16_t *link = &net_switch->buckets[bucket];

		while (*link != NO_ENTRY) {
			uint16_t at = *link;
			struct address_entry *entry = &net_switch->addresses[at];

			if (entry->seen_ns >= before_ns && entry->port != port) {
				link = &entry->next;
				continue;
			}
			net_switch->ports[entry->port].nr_addresses--;
			*link = entry->next;
			entry->next = net_switch->free;
			net_switch->free = at;
		}
	}
}

static void learn(struct net_switch *net_switch, const uint8_t *address, unsigned port)
{
	struct switch_port *to = &net_switch->ports[port];
	struct address_entry *entry;
	uint16_t at;

	if (address[0] & GROUP_ADDRESS)
		return;
	entry = find(net_switch, address);
	if (entry && entry->port != port) {
		if (to->nr_addresses >= SWITCH_PORT_ADDRESSES)
			return;
		net_switch->ports[entry->port].nr_addresses--;
		to->nr_addresses++;
		entry->port = (uint16_t)port;
	}
	if (entry) {
		entry->seen_ns = net_switch->now_ns;
		return;
	}
	at = net_switch->free;
	if (at == NO_ENTRY || to->nr_addresses >= SWITCH_PORT_ADDRESSES)
		return;
	entry = &net_switch->addresses[at];
	net_switch->free = entry->next;
	memcpy(entry->address, address, NET_ADDRESS_BYTES);
	entry->port = (uint16_t)port;
	entry->seen_ns = net_switch->now_ns;
	entry->next = net_switch->buckets[bucket_of(address)];
	net_switch->buckets[bucket_of(address)] = at;
	to->nr_addresses++;
}

static void unplug(struct net_switch *net_switch, unsigned port)
{
	close(net_switch->ports[port].fd);
	net_switch->ports[port].fd = -1;
	forget(net_switch, INT64_MIN, port);
}

static void send_to(struct net_switch *net_switch, unsigned port, size_t size)
{
	int fd = net_switch->ports[port].fd;

	/* What does not fit is lost. A port that is gone is seen when it is read. */
	if (fd >= 0)
		(void)!send(fd, net_switch->message, size, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void forward(struct net_switch *net_switch, unsigned from, size_t size)
{
	const uint8_t *frame = net_switch->message + sizeof(struct net_header);
	const struct address_entry *to;

	learn(net_switch, frame + NET_ADDRESS_BYTES, from);
	to = frame[0] & GROUP_ADDRESS ? NULL : find(net_switch, frame);
	if (to) {
		if (to->port != from)
			send_to(net_switch, to->port, size);
		return;
	}
	for (unsigned port = 0; port < net_switch->nr_ports; port++)
		if (port != from)
			send_to(net_switch, port, size);
}

static void serve(struct net_switch *net_switch, unsigned port)
{
	for (unsigned n = 0; n < BATCH; n++) {
		ssize_t size = recv(net_switch->ports[port].fd, net_switch->message,
			sizeof(net_switch->message), MSG_DONTWAIT | MSG_TRUNC);

		if (size < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (size <= 0) {
			unplug(net_switch, port);
			return;
		}
		if (size >= (ssize_t)sizeof(struct net_header) + NET_MIN_FRAME &&
			size <= (ssize_t)sizeof(net_switch->message))
			forward(net_switch, port, (size_t)size);
	}
}

static void plug(struct net_switch *net_switch)
{
	struct epoll_event event = { .events = EPOLLIN };
	int fd = accept4(net_switch->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	int size = PORT_BUFFER_BYTES;
	unsigned port = 0;

	if (fd < 0)
		return;
	while (port < SWITCH_MAX_PORTS && net_switch->ports[port].fd >= 0)
		port++;
	event.data.u32 = port;
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	if (port == SWITCH_MAX_PORTS ||
		epoll_ctl(net_switch->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0) {
		close(fd);
		return;
	}
	net_switch->ports[port] = (struct switch_port){ .fd = fd };
	if (port >= net_switch->nr_ports)
		net_switch->nr_ports = port + 1;
}

static void age(struct net_switch *net_switch)
{
	ns_t age_ns = SWITCH_AGE_S * NS_PER_S;

	if (net_switch->now_ns - net_switch->swept_ns < age_ns / 10)
		return;
	net_switch->swept_ns = net_switch->now_ns;
	forget(net_switch, net_switch->now_ns - age_ns, SWITCH_MAX_PORTS);
}

int switch_run(struct net_switch *net_switch)
{
	for (;;) {
		struct epoll_event events[MAX_EVENTS];
		int count = epoll_wait(net_switch->epoll_fd, events, MAX_EVENTS, -1);

		if (count < 0 && errno != EINTR)
			return -errno;
		net_switch->now_ns = now_ns();
		for (int i = 0; i < count; i++) {
			uint32_t watch = events[i].data.u32;

			if (watch == WATCH_STOP)
				return 0;
			if (watch == WATCH_LISTENER)
				plug(net_switch);
			else if (net_switch->ports[watch].fd >= 0)
				serve(net_switch, watch);
		}
		age(net_switch);
	}
}

void switch_stop(struct net_switch *net_switch)
{
	const uint64_t one = 1;

	(void)!write(net_switch->stop_fd, &one, sizeof(one));
}

static int watch(struct net_switch *net_switch, int fd, uint32_t as)
{
	struct epoll_event event = { .events = EPOLLIN, .data.u32 = as };

	return fd < 0 || epoll_ctl(net_switch->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno
											: 0;
}

/* A socket that nobody listens at is left over from a switch that was killed. */
static bool is_left_over(const struct sockaddr_un *address)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	bool left = fd >= 0 &&
		    connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 &&
		    errno == ECONNREFUSED;

	if (fd >= 0)
		close(fd);
	return left;
}

static int listen_at(struct net_switch *net_switch, const char *path, struct error *err)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	mode_t mask;
	int ret;

	if (!*path || strlen(path) >= sizeof(address.sun_path))
		return error_set(err, EXIT_CODE_USAGE,
			"the path of a switch has %zu characters at most; choose a shorter one",
			sizeof(address.sun_path) - 1);
	strcpy(address.sun_path, path);
	if (is_left_over(&address))
		unlink(path);
	net_switch->listen_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	mask = umask(0077);
	ret = bind(net_switch->listen_fd, (struct sockaddr *)&address, sizeof(address));
	ret = ret < 0 ? -errno : 0;
	umask(mask);
	if (ret == -EADDRINUSE)
		return error_set(err, EXIT_CODE_CONFIG,
			"there already is a switch at '%s'; choose another path", path);
	if (ret < 0)
		return error_set_errno(
			err, EXIT_CODE_CANNOT_WRITE, -ret, "cannot make the socket '%s'", path);
	strcpy(net_switch->path, path);
	if (listen(net_switch->listen_fd, SOMAXCONN) < 0)
		return error_set_errno(err, EXIT_CODE_HOST, errno, "cannot listen at '%s'", path);
	return 0;
}

int switch_open(struct net_switch **result, const char *path, struct error *err)
{
	struct net_switch *net_switch = calloc(1, sizeof(*net_switch));

	if (!net_switch)
		return error_set_errno(err, EXIT_CODE_HOST, ENOMEM, "cannot make a switch");
	net_switch->listen_fd = -1;
	for (unsigned i = 0; i < SWITCH_MAX_PORTS; i++)
		net_switch->ports[i].fd = -1;
	for (unsigned i = 0; i < BUCKETS; i++)
		net_switch->buckets[i] = NO_ENTRY;
	for (unsigned i = 0; i < SWITCH_MAX_ADDRESSES; i++)
		net_switch->addresses[i].next =
			i + 1 < SWITCH_MAX_ADDRESSES ? (uint16_t)(i + 1) : NO_ENTRY;
	net_switch->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	net_switch->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (net_switch->epoll_fd < 0 || watch(net_switch, net_switch->stop_fd, WATCH_STOP)) {
		error_set_errno(err, EXIT_CODE_HOST, errno, "cannot make a switch");
		goto fail;
	}
	if (listen_at(net_switch, path, err))
		goto fail;
	if (watch(net_switch, net_switch->listen_fd, WATCH_LISTENER)) {
		error_set_errno(err, EXIT_CODE_HOST, errno, "cannot make a switch");
		goto fail;
	}
	*result = net_switch;
	return 0;
fail:
	switch_close(net_switch);
	return -EINVAL;
}

void switch_close(struct net_switch *net_switch)
{
	if (!net_switch)
		return;
	for (unsigned port = 0; port < net_switch->nr_ports; port++)
		if (net_switch->ports[port].fd >= 0)
			close(net_switch->ports[port].fd);
	if (*net_switch->path)
		unlink(net_switch->path);
	if (net_switch->listen_fd >= 0)
		close(net_switch->listen_fd);
	if (net_switch->stop_fd >= 0)
		close(net_switch->stop_fd);
	if (net_switch->epoll_fd >= 0)
		close(net_switch->epoll_fd);
	free(net_switch);
}
