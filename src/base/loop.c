#include "base/loop.h"

#include "base/bits.h"

#include <assert.h>
#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

static struct loop_watch *loop_find(struct loop *loop, int fd)
{
	for (unsigned i = 0; i < LOOP_MAX_WATCHES; i++)
		if (loop->watches[i].fd == fd)
			return &loop->watches[i];
	return NULL;
}

static struct epoll_event loop_event(const struct loop_watch *watch)
{
	uint32_t events = 0;

	if (watch->events & LOOP_READ)
		events |= EPOLLIN;
	if (watch->events & LOOP_WRITE)
		events |= EPOLLOUT;
	return (struct epoll_event){ .events = events, .data.fd = watch->fd };
}

static void loop_drain_wake(void *context, unsigned events)
{
	struct loop *loop = context;
	uint64_t count;

	(void)events;
	/* Non-blocking; that it was already empty does not matter. */
	(void)!read(loop->wake_fd, &count, sizeof(count));
}

int loop_init(struct loop *loop)
{
	*loop = (struct loop){ .epoll_fd = -1, .wake_fd = -1 };
	for (unsigned i = 0; i < LOOP_MAX_WATCHES; i++)
		loop->watches[i].fd = -1;
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (loop->epoll_fd < 0 || loop->wake_fd < 0) {
		int error = -errno;

		loop_finish(loop);
		return error;
	}
	return loop_add(loop, loop->wake_fd, LOOP_READ, loop_drain_wake, loop);
}

void loop_finish(struct loop *loop)
{
	if (loop->epoll_fd >= 0)
		close(loop->epoll_fd);
	if (loop->wake_fd >= 0)
		close(loop->wake_fd);
	loop->epoll_fd = loop->wake_fd = -1;
}

int loop_add(struct loop *loop, int fd, unsigned events,
	void (*ready)(void *context, unsigned events), void *context)
{
	struct loop_watch *watch = loop_find(loop, -1);
	struct epoll_event event;

	assert(fd >= 0 && !loop_find(loop, fd));
	if (!watch)
		return -ENOSPC;
	*watch = (struct loop_watch){
		.fd = fd, .events = events, .ready = ready, .context = context
	};
	event = loop_event(watch);
	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0)
		return 0;
	if (errno == EPERM) {
		watch->always_ready = true;
		return 0;
	}
	watch->fd = -1;
	return -errno;
}

void loop_change(struct loop *loop, int fd, unsigned events)
{
	struct loop_watch *watch = loop_find(loop, fd);
	struct epoll_event event;

	assert(watch);
	if (watch->events == events)
		return;
	/* Hang-ups are reported even for no events: an idle watch leaves the epoll set. */
	if (!watch->always_ready) {
		int operation = !events          ? EPOLL_CTL_DEL
				: !watch->events ? EPOLL_CTL_ADD
						 : EPOLL_CTL_MOD;

		watch->events = events;
		event = loop_event(watch);
		epoll_ctl(loop->epoll_fd, operation, fd, &event);
	}
	watch->events = events;
}

void loop_remove(struct loop *loop, int fd)
{
	struct loop_watch *watch = loop_find(loop, fd);

	if (!watch)
		return;
	if (!watch->always_ready && watch->events)
		epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
	watch->fd = -1;
}

static bool loop_has_ready_file(const struct loop *loop)
{
	for (unsigned i = 0; i < LOOP_MAX_WATCHES; i++)
		if (loop->watches[i].fd >= 0 && loop->watches[i].always_ready &&
			loop->watches[i].events)
			return true;
	return false;
}

static ns_t loop_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * NS_PER_S + now.tv_nsec;
}

void loop_run_once(struct loop *loop, ns_t deadline_ns)
{
	struct epoll_event events[LOOP_MAX_WATCHES];
	struct timespec timeout, *limit = NULL;
	int count;

	if (loop_has_ready_file(loop))
		deadline_ns = 0;
	if (deadline_ns != INT64_MAX) {
		ns_t wait_ns = deadline_ns - loop_now();

		if (wait_ns < 0)
			wait_ns = 0;
		timeout = (struct timespec){ wait_ns / NS_PER_S, wait_ns % NS_PER_S };
		limit = &timeout;
	}
	count = epoll_pwait2(loop->epoll_fd, events, LOOP_MAX_WATCHES, limit, NULL);

	for (int i = 0; i < count; i++) {
		struct loop_watch *watch = loop_find(loop, events[i].data.fd);
		unsigned ready = 0;

		if (!watch)
			continue;
		if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
			ready |= LOOP_READ;
		if (events[i].events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
			ready |= LOOP_WRITE;
		if (ready & watch->events)
			watch->ready(watch->context, ready & watch->events);
	}
	for (unsigned i = 0; i < LOOP_MAX_WATCHES; i++) {
		struct loop_watch *watch = &loop->watches[i];

		if (watch->fd >= 0 && watch->always_ready && watch->events)
			watch->ready(watch->context, watch->events);
	}
}

void loop_wake(struct loop *loop)
{
	uint64_t one = 1;

	(void)!write(loop->wake_fd, &one, sizeof(one));
}
