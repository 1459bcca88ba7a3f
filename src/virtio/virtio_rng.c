#include "virtio/virtio_rng.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define RNG_QUEUE_SIZE 64
/* The most for one request; a driver asks again. getrandom gives as much at once. */
#define RNG_CHUNK 256
/* How often a guest that used up its rate gets more. */
#define RNG_PERIOD_NS (10 * NS_PER_MS)

struct rng {
	struct virtio_device device;
	uint64_t bytes_per_period; /* immutable; 0: no limit */

	/* Lane. */
	struct virtio_watch timer; /* its fd: a timerfd, or -1 */
	uint64_t left;             /* bytes of this period */
	bool waiting;              /* the timer is armed */
};

static void arm(struct rng *rng)
{
	struct itimerspec when = { .it_value.tv_nsec = RNG_PERIOD_NS };

	if (timerfd_settime(rng->timer.fd, 0, &when, NULL) == 0)
		rng->waiting = true;
}

static void period_ended(void *context)
{
	struct rng *rng = context;
	uint64_t count;

	if (read(rng->timer.fd, &count, sizeof(count)) < 0)
		return;
	rng->waiting = false;
	rng->left = rng->bytes_per_period;
	virtio_serve_again(&rng->device, 0);
}

static bool rng_serve(struct virtio_device *device, unsigned index)
{
	struct rng *rng = (struct rng *)device;
	struct virtq *queue = virtio_queue(device, index);
	struct virtq_request *request;
	uint8_t bytes[RNG_CHUNK];

	while ((request = virtq_pop(queue))) {
		size_t size = sizeof(bytes);
		ssize_t got;

		/* A request is filled or waits: Linux 6.1's driver loses its place in a short one.
		 */
		if (rng->bytes_per_period) {
			if (!rng->waiting)
				arm(rng);
			if (rng->left == 0) {
				virtq_unpop(queue, request);
				return false;
			}
		}
		if (size > request->writable_bytes)
			size = request->writable_bytes;
		got = getrandom(bytes, size, 0);
		if (got > 0)
			virtq_write(request, bytes, (size_t)got);
		if (rng->bytes_per_period && got > 0)
			rng->left -= (uint64_t)got < rng->left ? (uint64_t)got : rng->left;
		virtq_push(queue, request, 0);
	}
	return true;
}

static const struct virtio_device_type rng_type = {
	.name = "virtio-rng",
	.id = VIRTIO_ID_ENTROPY,
	.pci_class = 0xff0000,
	.is_transitional = true,
	.serve = rng_serve,
};

static int start_timer(struct rng *rng)
{
	struct virtio_lane *lane = virtio_queue_lane(&rng->device, 0);
	int rc;

	rng->timer.fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (rng->timer.fd < 0)
		return -errno;
	virtio_lane_enter(lane);
	rc = virtio_lane_watch(lane, &rng->timer);
	virtio_lane_leave(lane);
	return rc;
}

int virtio_rng_create(struct virtio_device **device, const char *name, struct machine *machine,
	uint64_t bytes_per_s, struct error *err)
{
	static const struct virtio_queue_config queue = { .size = RNG_QUEUE_SIZE };
	const struct virtio_device_config config = {
		.name = name,
		.machine = machine,
		.queues = &queue,
		.nr_queues = 1,
		.nr_lanes = 1,
	};
	struct rng *rng = calloc(1, sizeof(*rng));
	int rc;

	*device = NULL;
	if (!rng)
		return error_set_errno(
			err, EXIT_CODE_HOST, ENOMEM, "cannot create the device %s", name);
	rng->timer = (struct virtio_watch){ .fd = -1, .ready = period_ended, .context = rng };
	rc = virtio_device_init(&rng->device, &rng_type, &config, err);
	if (rc == 0 && bytes_per_s > 0) {
		rng->bytes_per_period = (bytes_per_s + 99) / (NS_PER_S / RNG_PERIOD_NS);
		rng->left = rng->bytes_per_period;
		rc = start_timer(rng);
		if (rc < 0)
			error_set_errno(
				err, EXIT_CODE_HOST, -rc, "cannot create the device %s", name);
	}
	if (rc < 0) {
		virtio_rng_destroy(&rng->device);
		return rc;
	}
	*device = &rng->device;
	return 0;
}

void virtio_rng_destroy(struct virtio_device *device)
{
	struct rng *rng = (struct rng *)device;

	if (!rng)
		return;
	virtio_device_finish(device);
	if (rng->timer.fd >= 0)
		close(rng->timer.fd);
	free(rng);
}
