/*
 * Block queues. A read or write that the format can pin to one host range goes to io_uring (or, if
 * the host has none, to a worker); everything else runs on a worker thread, where it may wait.
 *
 * A write into the page cache of a local file system is a copy, but many file systems (ext4) let
 * io_uring do it on a thread of the kernel's only, which costs twenty times as much:
 * block_queue_run copies itself. It stops doing so where the host holds writers back.
 *
 * The queue thread owns all but `returned`, which the workers fill under `lock`, and the
 * descriptor.
 */
#include "block/block_device.h"
#include "base/bits.h"

#include <assert.h>
#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define MIN_DEPTH 8
#define MAX_DEPTH 256

/*
 * Of writes that block_queue_run does itself: how large; how long all of a run's may take; for how
 * long it is watched, after one that took longer, whether the host holds writers back or merely has
 * more threads than processors; and for how long there are none once it does.
 */
#define HERE_MAX_BYTES (256u << 10)
#define HERE_MAX_NS    (2 * NS_PER_MS)
#define HERE_WATCH_NS  NS_PER_S
#define HERE_PAUSE_NS  (100 * NS_PER_MS)

struct request_list {
	struct block_request *first, **last;
};

struct block_queue {
	struct block_device *device;
	struct block_queue *next; /* device lock */
	struct io_uring ring;
	bool has_ring;
	unsigned depth;
	int epoll_fd; /* of the two below: what block_queue_fd returns */
	int event_fd;
	int timer_fd;                 /* the next held-back request may pass */
	struct request_list waiting;  /* submitted, not begun */
	struct request_list rejected; /* complete at once, with the result in private_[0] */
	struct request_list held;     /* by a rate limit */
	struct request_list kept;     /* after a failure */
	unsigned nr_running;          /* on the ring or with a worker */
	unsigned nr_on_ring;
	bool unsubmitted; /* the ring has entries the kernel has not seen */
	bool draining;
	bool timer_set;
	struct request_list written; /* by block_queue_run itself */
	bool here;                   /* block_queue_run completes what it starts */
	ns_t here_until_ns;          /* until then this run may write itself */
	ns_t here_watched_ns;        /* until then waiting is looked for... */
	ns_t here_after_ns;          /* ...and there are none before this */
	unsigned resumes;            /* the device's count when last looked at */

	pthread_mutex_t lock;
	struct request_list returned;
};

_Static_assert(sizeof(struct image_pin) <= sizeof(((struct block_request *)0)->private_),
	"a request has room for its pin");

static struct image_pin *request_pin(struct block_request *request)
{
	return (struct image_pin *)request->private_;
}

static void list_init(struct request_list *list)
{
	list->first = NULL;
	list->last = &list->first;
}

static void list_append(struct request_list *list, struct block_request *request)
{
	request->next_ = NULL;
	*list->last = request;
	list->last = &request->next_;
}

static struct block_request *list_take(struct request_list *list)
{
	struct block_request *request = list->first;

	if (request) {
		list->first = request->next_;
		if (!list->first)
			list->last = &list->first;
		request->next_ = NULL;
	}
	return request;
}

static void list_move(struct request_list *to, struct request_list *from)
{
	if (!from->first)
		return;
	*to->last = from->first;
	to->last = from->last;
	list_init(from);
}

static ns_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * NS_PER_S + now.tv_nsec;
}

static int watch(int epoll_fd, int fd)
{
	struct epoll_event event = { .events = EPOLLIN };

	return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) ? -errno : 0;
}

static int open_descriptors(struct block_queue *queue)
{
	int result;

	queue->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	queue->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	queue->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (queue->event_fd < 0 || queue->timer_fd < 0 || queue->epoll_fd < 0)
		return -errno;
	result = watch(queue->epoll_fd, queue->event_fd);
	return result ? result : watch(queue->epoll_fd, queue->timer_fd);
}

/* Without io_uring (old kernels, sysctl, seccomp) the workers do it all. */
static int open_ring(struct block_queue *queue, struct error *err)
{
	struct io_uring_params params = { .flags = IORING_SETUP_CLAMP };
	int result;

	if (queue->device->aio == BLOCK_AIO_THREADS)
		return 0;
	result = io_uring_queue_init_params(queue->depth, &queue->ring, &params);
	if (result == 0) {
		result = io_uring_register_eventfd(&queue->ring, queue->event_fd);
		if (result == 0)
			queue->has_ring = true;
		else
			io_uring_queue_exit(&queue->ring);
	}
	if (result && queue->device->aio == BLOCK_AIO_IO_URING)
		return error_set_errno(err, EXIT_CODE_UNAVAILABLE, -result,
			"this host does not let atoll use io_uring; use aio threads for '%s'",
			queue->device->image->path);
	return 0;
}

int block_queue_open(
	struct block_queue **opened, struct block_device *device, unsigned depth, struct error *err)
{
	struct block_queue *queue = calloc(1, sizeof(*queue));
	int result;

	*opened = NULL;
	if (!queue)
		return -ENOMEM;
	queue->device = device;
	queue->event_fd = queue->timer_fd = queue->epoll_fd = -1;
	queue->depth = depth < MIN_DEPTH ? MIN_DEPTH : depth > MAX_DEPTH ? MAX_DEPTH : depth;
	queue->resumes = device->resumes;
	pthread_mutex_init(&queue->lock, NULL);
	list_init(&queue->waiting);
	list_init(&queue->rejected);
	list_init(&queue->held);
	list_init(&queue->kept);
	list_init(&queue->written);
	list_init(&queue->returned);
	result = open_descriptors(queue);
	if (result)
		error_set_errno(err, EXIT_CODE_HOST, -result, "cannot serve the disk '%s'",
			device->image->path);
	else
		result = open_ring(queue, err);
	if (result) {
		block_queue_close(queue);
		return result;
	}
	pthread_mutex_lock(&device->lock);
	queue->next = device->queues;
	device->queues = queue;
	pthread_mutex_unlock(&device->lock);
	*opened = queue;
	return 0;
}

static void forget_queue(struct block_queue *queue)
{
	struct block_device *device = queue->device;

	pthread_mutex_lock(&device->lock);
	for (struct block_queue **at = &device->queues; *at; at = &(*at)->next) {
		if (*at == queue) {
			*at = queue->next;
			break;
		}
	}
	pthread_mutex_unlock(&device->lock);
}

void block_queue_close(struct block_queue *queue)
{
	if (!queue)
		return;
	assert(queue->nr_running == 0);
	forget_queue(queue);
	if (queue->has_ring)
		io_uring_queue_exit(&queue->ring);
	if (queue->event_fd >= 0)
		close(queue->event_fd);
	if (queue->timer_fd >= 0)
		close(queue->timer_fd);
	if (queue->epoll_fd >= 0)
		close(queue->epoll_fd);
	pthread_mutex_destroy(&queue->lock);
	free(queue);
}

int block_queue_fd(const struct block_queue *queue)
{
	return queue->epoll_fd;
}

struct block_queue *block_queue_next(struct block_queue *queue)
{
	return queue->next;
}

void block_queue_wake(struct block_queue *queue)
{
	uint64_t one = 1;
	ssize_t ignored = write(queue->event_fd, &one, sizeof(one));

	/* Full means that it is readable already. */
	(void)ignored;
}

/* A worker's request has no pin: private_[0] carries its result. */
void block_queue_return(struct block_request *request, int result)
{
	struct block_queue *queue = request->queue_;
	bool was_empty;

	request->private_[0] = (uint64_t)(int64_t)result;
	pthread_mutex_lock(&queue->lock);
	was_empty = queue->returned.first == NULL;
	list_append(&queue->returned, request);
	/* Under the lock: once it is taken off the list, the queue may close. */
	if (was_empty)
		block_queue_wake(queue);
	pthread_mutex_unlock(&queue->lock);
}

static int check_request(const struct block_device *device, const struct block_request *request)
{
	uint64_t size = device->image->size;
	uint32_t block = device->geometry.logical_block_bytes;

	if (block_operation_writes(request->operation) && device->geometry.read_only)
		return -EROFS;
	if (request->operation == BLOCK_FLUSH)
		return 0;
	if ((request->offset | request->bytes) % block != 0 || request->offset > size ||
		request->bytes > size - request->offset)
		return -EINVAL;
	if (request->operation != BLOCK_READ && request->operation != BLOCK_WRITE)
		return 0;
	return buffer_bytes((struct buffer){ .iov = request->iov, .nr_iov = request->nr_iov }) ==
			       request->bytes
		       ? 0
		       : -EINVAL;
}

void block_queue_submit(struct block_queue *queue, struct block_request *request)
{
	int result = check_request(queue->device, request);

	request->queue_ = queue;
	request->private_[0] = (uint64_t)(int64_t)result;
	if (result || (request->operation == BLOCK_DISCARD && queue->device->ignore_discard)) {
		list_append(&queue->rejected, request);
		block_queue_wake(queue);
	} else {
		list_append(&queue->waiting, request);
	}
}

/* Returns false if a rate limit holds the request back, and sets the timer. */
static bool may_pass(struct block_queue *queue, const struct block_request *request)
{
	struct block_device *device = queue->device;
	ns_t wait_ns;

	if (!device->limited || queue->draining || request->operation == BLOCK_FLUSH)
		return true;
	pthread_mutex_lock(&device->lock);
	wait_ns = rate_limit_take(&device->limit, block_operation_writes(request->operation),
		request->bytes, now_ns());
	pthread_mutex_unlock(&device->lock);
	if (wait_ns > 0) {
		struct itimerspec when = { .it_value = { .tv_sec = wait_ns / NS_PER_S,
						   .tv_nsec = wait_ns % NS_PER_S } };

		timerfd_settime(queue->timer_fd, 0, &when, NULL);
		queue->timer_set = true;
	}
	return wait_ns == 0;
}

static bool suits_ring(const struct block_queue *queue, const struct block_request *request)
{
	const struct host_file *file = queue->device->image->file;

	if (!queue->has_ring || request->bytes == 0 ||
		(request->operation != BLOCK_READ && request->operation != BLOCK_WRITE))
		return false;
	if (request->operation == BLOCK_WRITE &&
		((request->flags & BLOCK_FUA) || queue->device->flush_each_write))
		return false;
	return !file->direct ||
	       buffer_is_aligned((struct buffer){ .iov = request->iov, .nr_iov = request->nr_iov },
		       request->bytes, file->alignment);
}

static bool start_on_ring(struct block_queue *queue, struct block_request *request)
{
	struct image *image = queue->device->image;
	struct image_pin *pin = request_pin(request);
	struct io_uring_sqe *sqe;

	if (!suits_ring(queue, request))
		return false;
	sqe = io_uring_get_sqe(&queue->ring);
	if (!sqe)
		return false;
	if (!image->format->pin(image, request->offset, request->bytes,
		    request->operation == BLOCK_WRITE, pin)) {
		/* An entry that was taken cannot be given back. */
		io_uring_prep_nop(sqe);
		io_uring_sqe_set_data(sqe, NULL);
		queue->unsubmitted = true;
		return false;
	}
	if (request->operation == BLOCK_READ)
		io_uring_prep_readv(
			sqe, pin->file->fd, request->iov, request->nr_iov, pin->host_offset);
	else
		io_uring_prep_writev(
			sqe, pin->file->fd, request->iov, request->nr_iov, pin->host_offset);
	io_uring_sqe_set_data(sqe, request);
	queue->unsubmitted = true;
	queue->nr_on_ring++;
	return true;
}

static bool suits_here(const struct block_queue *queue, const struct block_request *request)
{
	const struct block_device *device = queue->device;
	const struct host_file *file = device->image->file;

	return queue->here && request->operation == BLOCK_WRITE &&
	       request->bytes - 1 < HERE_MAX_BYTES && !(request->flags & BLOCK_FUA) &&
	       !device->flush_each_write && !file->direct && file->is_local &&
	       /* A file system makes writers wait for a flush. */
	       atomic_load_explicit(&device->nr_flushing, memory_order_relaxed) == 0;
}

/* How often this thread has waited, for whatever it was. */
static long nr_waits(void)
{
	struct rusage usage;

	return getrusage(RUSAGE_THREAD, &usage) ? 0 : usage.ru_nvcsw;
}

/* Writes on this thread. False if that is not to be done, or did not succeed at once. */
static bool write_here(struct block_queue *queue, struct block_request *request)
{
	struct image *image = queue->device->image;
	struct image_pin *pin = request_pin(request);
	ns_t start_ns, end_ns;
	long waits_before = 0;
	ssize_t written;

	if (!suits_here(queue, request))
		return false;
	start_ns = now_ns();
	if (start_ns >= queue->here_until_ns || start_ns < queue->here_after_ns)
		return false;
	if (!image->format->pin(image, request->offset, request->bytes, true, pin))
		return false;
	if (start_ns < queue->here_watched_ns)
		waits_before = nr_waits();
	written =
		pwritev(pin->file->fd, request->iov, (int)request->nr_iov, (off_t)pin->host_offset);
	end_ns = now_ns();
	if (end_ns - start_ns > HERE_MAX_NS) {
		if (start_ns < queue->here_watched_ns && nr_waits() > waits_before)
			queue->here_after_ns = end_ns + HERE_PAUSE_NS;
		queue->here_watched_ns = end_ns + HERE_WATCH_NS;
	}
	image->format->unpin(image, pin);
	if (written < 0 || (uint64_t)written < request->bytes)
		return false;
	list_append(&queue->written, request);
	return true;
}

static void submit_ring(struct block_queue *queue)
{
	if (!queue->unsubmitted)
		return;
	/* On failure (no memory) the entries stay, and the next kick or completion tries again. */
	if (io_uring_submit(&queue->ring) >= 0)
		queue->unsubmitted = io_uring_sq_ready(&queue->ring) > 0;
	if (queue->unsubmitted)
		block_queue_wake(queue);
}

static void start_waiting(struct block_queue *queue)
{
	struct block_request *request;

	list_move(&queue->held, &queue->waiting);
	while ((request = queue->held.first) && queue->nr_on_ring < queue->depth) {
		if (!may_pass(queue, request))
			break;
		list_take(&queue->held);
		queue->nr_running++;
		if (!write_here(queue, request) && !start_on_ring(queue, request))
			block_workers_run(&queue->device->workers, request);
	}
}

void block_queue_kick(struct block_queue *queue)
{
	start_waiting(queue);
	if (queue->has_ring)
		submit_ring(queue);
}

static void count(struct block_device *device, const struct block_request *request)
{
	switch (request->operation) {
	case BLOCK_READ:
		device->reads++;
		device->read_bytes += request->bytes;
		break;
	case BLOCK_WRITE:
		device->writes++;
		device->written_bytes += request->bytes;
		break;
	case BLOCK_FLUSH: device->flushes++; break;
	case BLOCK_DISCARD: device->discards++; break;
	case BLOCK_WRITE_ZEROES: device->zeroes++; break;
	}
}

static bool is_ignored(struct block_device *device, struct block_request *request)
{
	bool is_read = request->operation == BLOCK_READ;

	if ((is_read ? device->on_read_error : device->on_write_error) != BLOCK_ON_ERROR_IGNORE)
		return false;
	if (is_read)
		buffer_clear((struct buffer){ .iov = request->iov, .nr_iov = request->nr_iov },
			request->bytes);
	return true;
}

/* Returns 1 if `done` was called, 0 if the request is kept. */
static unsigned finish(struct block_queue *queue, struct block_request *request, int result)
{
	struct block_device *device = queue->device;

	if (result) {
		device->failures++;
		if (block_device_keeps(device, request, result)) {
			list_append(&queue->kept, request);
			return 0;
		}
		if (is_ignored(device, request))
			result = 0;
	} else {
		count(device, request);
	}
	memset(request->private_, 0, sizeof(request->private_));
	request->queue_ = NULL;
	request->done(request, result);
	return 1;
}

static unsigned complete_ring(struct block_queue *queue)
{
	struct image *image = queue->device->image;
	struct io_uring_cqe *cqe;
	unsigned completed = 0;

	while (io_uring_peek_cqe(&queue->ring, &cqe) == 0) {
		struct block_request *request = io_uring_cqe_get_data(cqe);
		int result = cqe->res;

		io_uring_cqe_seen(&queue->ring, cqe);
		if (!request)
			continue;
		image->format->unpin(image, request_pin(request));
		queue->nr_on_ring--;
		/* A short transfer, or one to be tried again, takes the road that loops. */
		if (result == -EAGAIN || result == -EINTR || result == -EINVAL ||
			(result >= 0 && (uint64_t)result < request->bytes)) {
			block_workers_run(&queue->device->workers, request);
			continue;
		}
		queue->nr_running--;
		completed += finish(queue, request, result < 0 ? result : 0);
	}
	return completed;
}

static unsigned complete_written(struct block_queue *queue)
{
	struct block_request *request;
	unsigned completed = 0;

	while ((request = list_take(&queue->written))) {
		queue->nr_running--;
		completed += finish(queue, request, 0);
	}
	return completed;
}

static unsigned complete_returned(struct block_queue *queue)
{
	struct request_list returned;
	struct block_request *request;
	unsigned completed = 0;

	list_init(&returned);
	pthread_mutex_lock(&queue->lock);
	list_move(&returned, &queue->returned);
	pthread_mutex_unlock(&queue->lock);
	while ((request = list_take(&returned))) {
		queue->nr_running--;
		completed += finish(queue, request, (int)(int64_t)request->private_[0]);
	}
	return completed;
}

static unsigned complete_rejected(struct block_queue *queue)
{
	struct request_list rejected;
	struct block_request *request;
	unsigned completed = 0;

	list_init(&rejected);
	list_move(&rejected, &queue->rejected);
	while ((request = list_take(&rejected))) {
		int result = (int)(int64_t)request->private_[0];

		memset(request->private_, 0, sizeof(request->private_));
		request->done(request, result);
		completed++;
	}
	return completed;
}

/* Returns whether the descriptor was readable. */
static bool acknowledge(int fd)
{
	uint64_t count;

	return read(fd, &count, sizeof(count)) == sizeof(count);
}

unsigned block_queue_complete(struct block_queue *queue)
{
	unsigned completed;

	acknowledge(queue->event_fd);
	/* It stays set until it has fired, or the descriptor would stay readable. */
	if (queue->timer_set && acknowledge(queue->timer_fd))
		queue->timer_set = false;
	completed = complete_rejected(queue);
	if (queue->has_ring)
		completed += complete_ring(queue);
	completed += complete_returned(queue);
	if (queue->resumes != queue->device->resumes) {
		queue->resumes = queue->device->resumes;
		list_move(&queue->waiting, &queue->kept);
	}
	block_queue_kick(queue);
	return completed;
}

unsigned block_queue_run(struct block_queue *queue)
{
	unsigned completed = 0;

	queue->here = true;
	queue->here_until_ns = now_ns() + HERE_MAX_NS;
	/* Who would be told by the descriptor is here. */
	if (queue->has_ring)
		io_uring_cq_eventfd_toggle(&queue->ring, false);
	block_queue_kick(queue);
	queue->here = false;
	if (queue->has_ring) {
		io_uring_cq_eventfd_toggle(&queue->ring, true);
		/* Between asking to be told and looking. */
		atomic_thread_fence(memory_order_seq_cst);
		completed = complete_ring(queue);
	}
	completed += complete_written(queue) + complete_rejected(queue);
	/* What `done` submitted, and what there was no room for. */
	if (queue->waiting.first || queue->held.first)
		block_queue_kick(queue);
	return completed;
}

static void cancel_kept(struct block_queue *queue)
{
	struct block_request *request;

	while ((request = list_take(&queue->kept))) {
		memset(request->private_, 0, sizeof(request->private_));
		request->done(request, -ECANCELED);
	}
}

void block_queue_drain(struct block_queue *queue, bool cancel)
{
	struct pollfd poll_fd = { .fd = queue->epoll_fd, .events = POLLIN };

	queue->draining = true;
	block_queue_complete(queue);
	while (queue->nr_running > 0 || queue->waiting.first || queue->held.first ||
		queue->rejected.first) {
		poll(&poll_fd, 1, -1);
		block_queue_complete(queue);
	}
	if (cancel)
		cancel_kept(queue);
	queue->draining = false;
}
