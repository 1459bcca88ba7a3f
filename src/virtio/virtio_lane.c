#include "virtio/virtio_lane.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* How often whoever gives the lane up serves what came meanwhile, before the I/O thread does. */
#define LANE_ROUNDS 8
#define LANE_EVENTS 8
/* Some ten microseconds, in which a vCPU comes back from a system call. */
#define LANE_PATIENCE 400
/* The I/O thread calls back ends, which keep no large frames. */
#define LANE_STACK_BYTES (256 << 10)

static void give_up(struct virtio_lane *lane)
{
	lane->ops->leaving(lane->owner, lane);
	pthread_mutex_unlock(&lane->lock);
	/* Orders the unlock before the look at `marked`, against a mark before a failed trylock. */
	atomic_thread_fence(memory_order_seq_cst);
}

/* Holds the lane. */
static void serve_shared(struct virtio_lane *lane)
{
	if (lane->shared && atomic_exchange(&lane->shared_is_ready, false))
		lane->shared->ready(lane->shared->context);
}

/* Holds the lane; true if something is left. */
static bool serve_marked(struct virtio_lane *lane)
{
	bool more;

	serve_shared(lane);
	more = lane->ops->serve(lane->owner, lane);
	/* The answer to what was just sent. */
	if (atomic_load(&lane->shared_is_ready)) {
		serve_shared(lane);
		more = lane->ops->serve(lane->owner, lane);
	}
	return more;
}

/* Serves what is marked, if the lane is free: else its holder does, when it gives it up. */
static void serve(struct virtio_lane *lane)
{
	for (unsigned round = 0; atomic_load(&lane->marked); round++) {
		if (round == LANE_ROUNDS) {
			virtio_lane_wake(lane);
			return;
		}
		if (pthread_mutex_trylock(&lane->lock))
			return;
		if (atomic_exchange(&lane->marked, false) && serve_marked(lane))
			atomic_store(&lane->marked, true);
		give_up(lane);
	}
}

void virtio_lane_enter(struct virtio_lane *lane)
{
	pthread_mutex_lock(&lane->lock);
}

void virtio_lane_leave(struct virtio_lane *lane)
{
	give_up(lane);
	if (atomic_load(&lane->marked))
		virtio_lane_wake(lane);
}

void virtio_lane_poke(struct virtio_lane *lane)
{
	atomic_store(&lane->marked, true);
	serve(lane);
}

void virtio_lane_wake(struct virtio_lane *lane)
{
	uint64_t one = 1;

	/* It fails only after 2^64 times. */
	if (write(lane->wake_fd, &one, sizeof(one)) < 0)
		return;
}

void virtio_lane_call_outside(struct virtio_lane *lane)
{
	if (!atomic_exchange(&lane->outside, true))
		virtio_lane_wake(lane);
}

static bool is_watched(const struct virtio_lane *lane, const struct virtio_watch *watch)
{
	for (const struct virtio_watch *at = lane->watches; at; at = at->next) {
		if (at == watch)
			return true;
	}
	return false;
}

/* As dispatch: by this thread if it gets the lane, else by whoever has it. */
static void dispatch_shared(struct virtio_lane *lane)
{
	atomic_store(&lane->shared_is_ready, true);
	atomic_store(&lane->marked, true);
	for (unsigned i = 0; pthread_mutex_trylock(&lane->lock); i++) {
		if (!atomic_load(&lane->shared_is_ready))
			return;
		if (i >= lane->patience) {
			pthread_mutex_lock(&lane->lock);
			break;
		}
		__builtin_ia32_pause();
	}
	serve_shared(lane);
	give_up(lane);
}

static void dispatch(struct virtio_lane *lane, struct virtio_watch *watch)
{
	if (!watch) /* woken */
		return;
	if (watch == lane->shared) {
		dispatch_shared(lane);
		return;
	}
	virtio_lane_enter(lane);
	/* It may have been removed since the kernel told of it. */
	if (is_watched(lane, watch))
		watch->ready(watch->context);
	give_up(lane);
}

static void *lane_main(void *context)
{
	struct virtio_lane *lane = context;
	struct epoll_event events[LANE_EVENTS];

	while (!atomic_load(&lane->ending)) {
		int count = epoll_wait(lane->epoll_fd, events, LANE_EVENTS, -1);

		for (int i = 0; i < count; i++)
			dispatch(lane, events[i].data.ptr);
		if (atomic_exchange(&lane->outside, false))
			lane->ops->outside(lane->owner, lane);
		serve(lane);
	}
	return NULL;
}

static int start_thread(struct virtio_lane *lane, const char *name)
{
	pthread_attr_t attributes;
	sigset_t all, before;
	char title[16];
	int rc;

	rc = pthread_attr_init(&attributes);
	if (rc)
		return -rc;
	pthread_attr_setstacksize(&attributes, LANE_STACK_BYTES);
	/* Signals are the main thread's and the vCPUs'. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	rc = pthread_create(&lane->thread, &attributes, lane_main, lane);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attributes);
	if (rc)
		return -rc;
	lane->started = true;
	snprintf(title, sizeof(title), "io/%s", name);
	pthread_setname_np(lane->thread, title);
	return 0;
}

int virtio_lane_init(struct virtio_lane *lane, const char *name, unsigned index,
	const struct virtio_lane_ops *ops, void *owner)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLET };
	int rc;

	memset(lane, 0, sizeof(*lane));
	pthread_mutex_init(&lane->lock, NULL);
	lane->ops = ops;
	lane->owner = owner;
	lane->index = index;
	lane->wake_fd = -1;
	/* With one processor it would wait for itself. */
	lane->patience = sysconf(_SC_NPROCESSORS_ONLN) > 1 ? LANE_PATIENCE : 0;
	lane->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (lane->epoll_fd >= 0)
		lane->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (lane->wake_fd < 0 ||
		epoll_ctl(lane->epoll_fd, EPOLL_CTL_ADD, lane->wake_fd, &event) < 0)
		rc = -errno;
	else
		rc = start_thread(lane, name);
	if (rc < 0)
		virtio_lane_finish(lane);
	return rc;
}

void virtio_lane_finish(struct virtio_lane *lane)
{
	if (!lane->ops)
		return;
	if (lane->started) {
		atomic_store(&lane->ending, true);
		virtio_lane_wake(lane);
		pthread_join(lane->thread, NULL);
	}
	if (lane->wake_fd >= 0)
		close(lane->wake_fd);
	if (lane->epoll_fd >= 0)
		close(lane->epoll_fd);
	pthread_mutex_destroy(&lane->lock);
	memset(lane, 0, sizeof(*lane));
}

int virtio_lane_watch(struct virtio_lane *lane, struct virtio_watch *watch)
{
	/* That the other end is gone is told in any case. */
	struct epoll_event event = { .events = watch->for_hang_up   ? 0
					       : watch->for_writing ? EPOLLOUT
					       : watch->is_signal   ? EPOLLIN | EPOLLET
								    : EPOLLIN,
		.data.ptr = watch };

	if (epoll_ctl(lane->epoll_fd, EPOLL_CTL_ADD, watch->fd, &event) < 0)
		return -errno;
	watch->next = lane->watches;
	lane->watches = watch;
	return 0;
}

int virtio_lane_share(struct virtio_lane *lane, struct virtio_watch *watch)
{
	lane->shared = watch;
	return virtio_lane_watch(lane, watch);
}

void virtio_lane_unwatch(struct virtio_lane *lane, struct virtio_watch *watch)
{
	struct virtio_watch **at = &lane->watches;

	epoll_ctl(lane->epoll_fd, EPOLL_CTL_DEL, watch->fd, NULL);
	while (*at && *at != watch)
		at = &(*at)->next;
	if (*at)
		*at = watch->next;
}
