/*
 * What all back ends share (net.h): which kind is meant, offloads that a side does not take, rates,
 * captures, counting.
 */
#include "net/backend.h"

#include "base/properties.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

static ns_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * NS_PER_S + now.tv_nsec;
}

int net_backend_init(
	struct net_backend *backend, const struct net_backend_ops *ops, struct error *err)
{
	struct epoll_event event = { .events = EPOLLIN };

	*backend = (struct net_backend){ .ops = ops, .fd = -1, .timer_fd = -1 };
	backend->fd = epoll_create1(EPOLL_CLOEXEC);
	backend->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (backend->fd < 0 || backend->timer_fd < 0 ||
		epoll_ctl(backend->fd, EPOLL_CTL_ADD, backend->timer_fd, &event) < 0)
		return error_set_errno(err, EXIT_CODE_HOST, errno, "cannot open a network");
	return 0;
}

static void pending_finish(struct pending *pending)
{
	free(pending->frame);
	free(pending->segment);
	*pending = (struct pending){ 0 };
}

void net_backend_finish(struct net_backend *backend)
{
	if (backend->timer_fd >= 0)
		close(backend->timer_fd);
	if (backend->fd >= 0)
		close(backend->fd);
	net_capture_close(backend->capture);
	pending_finish(&backend->sending);
	pending_finish(&backend->receiving);
}

void net_backend_watch(struct net_backend *backend, int fd, unsigned wanted)
{
	struct epoll_event event = { .events = (wanted & NET_READ ? EPOLLIN : 0u) |
					       (wanted & NET_WRITE ? EPOLLOUT : 0u) };

	if (fd < 0)
		return;
	/* A peer that hangs up is always ready: while nothing is wanted it is not looked at. */
	if (!wanted)
		epoll_ctl(backend->fd, EPOLL_CTL_DEL, fd, NULL);
	else if (epoll_ctl(backend->fd, EPOLL_CTL_MOD, fd, &event) < 0)
		epoll_ctl(backend->fd, EPOLL_CTL_ADD, fd, &event);
}

static const struct {
	const char *name;
	int (*open)(struct net_backend **backend, struct properties *properties, struct error *err);
} kinds[] = {
	{ "user", net_passt_open },
	{ "tap", net_tap_open },
	{ "bridge", net_bridge_open },
	{ "switch", net_port_open },
	{ "none", net_none_open },
};

static int open_kind(struct net_backend **backend, struct properties *properties, struct error *err)
{
	for (unsigned i = 0; properties->word && i < ARRAY_SIZE(kinds); i++)
		if (strcmp(kinds[i].name, properties->word) == 0)
			return kinds[i].open(backend, properties, err);
	return error_set(err, EXIT_CODE_USAGE,
		"--%s does not know '%s'; begin with one of: user, tap, bridge, switch, none",
		properties->option, properties->word ? properties->word : "");
}

int net_open(struct net_backend **backend, struct properties *properties, struct error *err)
{
	const char *capture = properties_take(properties, "capture");
	uint64_t rate = 0, burst = 0;
	struct net_backend *new;

	if (properties_take_size(properties, "rate", &rate, err) ||
		properties_take_size(properties, "burst", &burst, err))
		return -EINVAL;
	if (open_kind(&new, properties, err))
		return -EINVAL;
	net_rate_init(&new->sent_rate, rate, burst);
	net_rate_init(&new->received_rate, rate, burst);
	if (capture && net_capture_open(&new->capture, capture, err)) {
		net_close(new);
		return -EINVAL;
	}
	*backend = new;
	return 0;
}

void net_close(struct net_backend *backend)
{
	if (backend)
		backend->ops->destroy(backend);
}

int net_fd(const struct net_backend *backend)
{
	return backend->fd;
}

const char *net_vhost_refusal(const struct net_backend *backend)
{
	if (!backend->ops->vhost_fd)
		return "it needs a tap or a bridge";
	if (backend->capture)
		return "nothing can be captured then; leave capture= away";
	if (net_rate_is_set(&backend->sent_rate) || net_rate_is_set(&backend->received_rate))
		return "it knows no rates; leave rate= away";
	return NULL;
}

int net_vhost_fd(struct net_backend *backend, unsigned header_bytes)
{
	return net_vhost_refusal(backend) ? -ENOTSUP
					  : backend->ops->vhost_fd(backend, header_bytes);
}

void net_vhost_filter(struct net_backend *backend, const struct net_filter *filter)
{
	if (backend->ops->vhost_filter)
		backend->ops->vhost_filter(backend, filter);
}

unsigned net_mtu(const struct net_backend *backend)
{
	return backend->mtu;
}

static void arm_timer(struct net_backend *backend, ns_t when_ns)
{
	const struct itimerspec at = { .it_value = { .tv_sec = when_ns / NS_PER_S,
					       .tv_nsec = when_ns % NS_PER_S } };

	timerfd_settime(backend->timer_fd, TFD_TIMER_ABSTIME, &at, NULL);
	backend->timer_set = true;
}

/* While a rate holds a direction back, its descriptor is not looked at. */
static void watch(struct net_backend *backend)
{
	unsigned wanted = backend->wanted;
	ns_t now = now_ns(), when = INT64_MAX;

	if (wanted & NET_READ && !net_rate_allows(&backend->received_rate, now)) {
		when = net_rate_when(&backend->received_rate);
		wanted &= ~NET_READ;
	}
	if (wanted & NET_WRITE && !net_rate_allows(&backend->sent_rate, now)) {
		ns_t then = net_rate_when(&backend->sent_rate);

		when = then < when ? then : when;
		wanted &= ~NET_WRITE;
	}
	if (backend->receiving.active && wanted & NET_READ)
		when = now;
	if (when != INT64_MAX)
		arm_timer(backend, when);
	if (wanted == backend->watched)
		return;
	backend->watched = wanted;
	backend->ops->want(backend, wanted);
}

void net_want(struct net_backend *backend, unsigned events)
{
	backend->wanted = events;
	watch(backend);
}

unsigned net_ready(struct net_backend *backend)
{
	uint64_t expirations;
	unsigned ready = 0;
	ns_t now = now_ns();

	if (backend->timer_set &&
		read(backend->timer_fd, &expirations, sizeof(expirations)) == sizeof(expirations))
		backend->timer_set = false;
	if (backend->ops->ready)
		backend->ops->ready(backend);
	if (net_rate_allows(&backend->received_rate, now))
		ready |= NET_READ;
	if (net_rate_allows(&backend->sent_rate, now))
		ready |= NET_WRITE;
	watch(backend);
	return ready & backend->wanted;
}

void net_set_offloads(struct net_backend *backend, unsigned offloads)
{
	backend->accepted = offloads;
	if (backend->ops->set_offloads)
		backend->ops->set_offloads(backend, offloads);
}

static bool pending_prepare(struct pending *pending)
{
	if (!pending->frame)
		pending->frame = malloc(NET_MAX_FRAME);
	if (!pending->segment)
		pending->segment = malloc(NET_MAX_FRAME);
	return pending->frame && pending->segment;
}

/* The next segment into `to`; ends the frame after its last. */
static size_t pending_next(struct pending *pending, uint8_t *to)
{
	size_t size = offload_segments_next(&pending->segments, to);

	pending->active = size != 0;
	return size;
}

static void gather(uint8_t *to, const struct iovec *iov, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		memcpy(to, iov[i].iov_base, iov[i].iov_len);
		to += iov[i].iov_len;
	}
}

static int put(struct net_backend *backend, const struct net_header *header,
	const struct iovec *iov, unsigned count, size_t size)
{
	int ret = backend->ops->send(backend, header, iov, count);

	if (ret == -EAGAIN)
		return ret;
	net_rate_take(&backend->sent_rate, size);
	net_capture_frame(backend->capture, iov, count, size);
	if (ret < 0) {
		backend->sent.dropped++;
		return 0;
	}
	backend->sent.frames++;
	backend->sent.bytes += size;
	return 0;
}

/* The rest of a frame that is being cut; -EAGAIN if some of it must wait. */
static int send_pending(struct net_backend *backend)
{
	struct pending *pending = &backend->sending;
	const struct net_header done = { 0 };

	while (pending->active) {
		struct iovec iov;

		if (!pending->segment_size)
			pending->segment_size = pending_next(pending, pending->segment);
		if (!pending->segment_size)
			break;
		iov = (struct iovec){ pending->segment, pending->segment_size };
		if (put(backend, &done, &iov, 1, pending->segment_size))
			return -EAGAIN;
		pending->segment_size = 0;
	}
	return 0;
}

/* Does in software what the back end does not take. */
static int send_unfinished(struct net_backend *backend, const struct net_header *header,
	const struct iovec *iov, unsigned count, size_t size)
{
	struct pending *pending = &backend->sending;
	struct net_header left = *header;
	struct iovec whole;

	if (!pending_prepare(pending)) {
		backend->sent.dropped++;
		return 0;
	}
	gather(pending->frame, iov, count);
	if (header->gso_type == NET_GSO_NONE) {
		offload_checksum(&left, pending->frame, size);
		whole = (struct iovec){ pending->frame, size };
		return put(backend, &left, &whole, 1, size);
	}
	if (!offload_segments_begin(&pending->segments, header, pending->frame, size)) {
		backend->sent.dropped++;
		return 0;
	}
	pending->active = true;
	pending->segment_size = 0;
	/* It is taken, whatever becomes of its segments. */
	send_pending(backend);
	return 0;
}

int net_send(struct net_backend *backend, const struct net_header *header, const struct iovec *iov,
	unsigned count, size_t size)
{
	if (!net_rate_allows(&backend->sent_rate, now_ns()) || send_pending(backend))
		return -EAGAIN;
	if (size < NET_MIN_FRAME || size > NET_MAX_FRAME ||
		!offload_header_is_valid(header, size)) {
		backend->sent.dropped++;
		return 0;
	}
	if (offload_needed(header) & ~backend->sends)
		return send_unfinished(backend, header, iov, count, size);
	return put(backend, header, iov, count, size);
}

static size_t got(struct net_backend *backend, uint8_t *frame, size_t size)
{
	const struct iovec iov = { frame, size };

	net_rate_take(&backend->received_rate, size);
	net_capture_frame(backend->capture, &iov, 1, size);
	backend->received.frames++;
	backend->received.bytes += size;
	return size;
}

/* Does in software what the NIC does not take. Returns the size, 0 if it is dropped. */
static size_t receive_unfinished(
	struct net_backend *backend, struct net_header *header, uint8_t *frame, size_t size)
{
	struct pending *pending = &backend->receiving;

	if (header->gso_type == NET_GSO_NONE) {
		offload_checksum(header, frame, size);
		return size;
	}
	if (!pending_prepare(pending))
		return 0;
	memcpy(pending->frame, frame, size);
	if (!offload_segments_begin(&pending->segments, header, pending->frame, size))
		return 0;
	*header = (struct net_header){ 0 };
	return pending_next(pending, frame);
}

size_t net_receive(struct net_backend *backend, struct net_header *header, uint8_t *frame)
{
	/* Dropped frames must not keep the caller here. */
	enum { MAX_DROPS = 64 };

	if (!net_rate_allows(&backend->received_rate, now_ns())) {
		watch(backend);
		return 0;
	}
	for (unsigned drops = 0; drops < MAX_DROPS; drops++) {
		ssize_t size = 0;

		*header = (struct net_header){ 0 };
		if (backend->receiving.active)
			size = (ssize_t)pending_next(&backend->receiving, frame);
		if (size > 0)
			return got(backend, frame, (size_t)size);
		size = backend->ops->receive(backend, header, frame);
		if (!size)
			return 0;
		if (size >= NET_MIN_FRAME && offload_header_is_valid(header, (size_t)size)) {
			if (offload_needed(header) & ~backend->accepted)
				size = (ssize_t)receive_unfinished(
					backend, header, frame, (size_t)size);
			if (size > 0)
				return got(backend, frame, (size_t)size);
		}
		backend->received.dropped++;
	}
	return 0;
}

void net_get_counters(
	const struct net_backend *backend, struct net_counters *sent, struct net_counters *received)
{
	*sent = backend->sent;
	*received = backend->received;
}
