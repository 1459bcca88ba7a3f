#include "storage/drive.h"

#include "base/bits.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* The thread calls the block layer, which keeps no large frames. */
#define STACK_BYTES (256 << 10)

static void machine_enter(void *context)
{
	machine_lock(context);
}

static void machine_leave(void *context)
{
	machine_unlock(context);
}

struct drive_lock drive_machine_lock(struct machine *machine)
{
	return (struct drive_lock){ machine_enter, machine_leave, machine };
}

static void wake(struct drive *drive)
{
	uint64_t one = 1;

	/* It fails only if a wake-up is pending already. */
	if (write(drive->wake_fd, &one, sizeof(one)) < 0)
		return;
}

static void *drive_main(void *context)
{
	struct drive *drive = context;
	struct epoll_event event;

	while (!atomic_load(&drive->ending)) {
		if (epoll_wait(drive->epoll_fd, &event, 1, -1) != 1)
			continue;
		if (event.data.u32 == 0)
			continue; /* `ending` */
		drive->lock.enter(drive->lock.context);
		if (drive->queue)
			block_queue_complete(drive->queue);
		drive->lock.leave(drive->lock.context);
	}
	return NULL;
}

static int start_thread(struct drive *drive)
{
	pthread_attr_t attributes;
	sigset_t all, before;
	char title[16];
	int rc = pthread_attr_init(&attributes);

	if (rc)
		return -rc;
	pthread_attr_setstacksize(&attributes, STACK_BYTES);
	/* Signals are the main thread's and the vCPUs'. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	rc = pthread_create(&drive->thread, &attributes, drive_main, drive);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attributes);
	if (rc)
		return -rc;
	drive->started = true;
	snprintf(title, sizeof(title), "io/%s", drive->name);
	pthread_setname_np(drive->thread, title);
	return 0;
}

int drive_init(
	struct drive *drive, const char *name, const struct drive_lock *lock, struct error *err)
{
	struct epoll_event event = { .events = EPOLLIN };
	int rc = 0;

	memset(drive, 0, sizeof(*drive));
	drive->name = name;
	drive->lock = *lock;
	drive->wake_fd = -1;
	drive->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (drive->epoll_fd >= 0)
		drive->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (drive->wake_fd < 0 ||
		epoll_ctl(drive->epoll_fd, EPOLL_CTL_ADD, drive->wake_fd, &event) < 0)
		rc = -errno;
	if (rc == 0)
		rc = start_thread(drive);
	if (rc == 0)
		return 0;
	drive_finish(drive);
	return error_set_errno(err, EXIT_CODE_HOST, -rc, "cannot create the drive %s", name);
}

void drive_finish(struct drive *drive)
{
	if (!drive->name)
		return;
	if (drive->started) {
		atomic_store(&drive->ending, true);
		wake(drive);
		pthread_join(drive->thread, NULL);
	}
	/* Nobody else is left. */
	drive_remove(drive);
	if (drive->wake_fd >= 0)
		close(drive->wake_fd);
	if (drive->epoll_fd >= 0)
		close(drive->epoll_fd);
	memset(drive, 0, sizeof(*drive));
}

int drive_insert(struct drive *drive, struct block_device *image, unsigned depth, struct error *err)
{
	struct epoll_event event = { .events = EPOLLIN, .data.u32 = 1 };
	int rc;

	assert(!drive->queue);
	rc = block_queue_open(&drive->queue, image, depth, err);
	if (rc == 0 && epoll_ctl(drive->epoll_fd, EPOLL_CTL_ADD, block_queue_fd(drive->queue),
			       &event) < 0) {
		rc = -errno;
		block_queue_close(drive->queue);
	}
	if (rc < 0) {
		drive->queue = NULL;
		return error_set_errno(
			err, EXIT_CODE_HOST, -rc, "cannot serve the drive %s", drive->name);
	}
	drive->image = image;
	drive->generation++;
	return 0;
}

struct block_device *drive_remove(struct drive *drive)
{
	struct block_device *image = drive->image;

	if (!drive->queue)
		return NULL;
	block_queue_drain(drive->queue, true);
	epoll_ctl(drive->epoll_fd, EPOLL_CTL_DEL, block_queue_fd(drive->queue), NULL);
	block_queue_close(drive->queue);
	drive->queue = NULL;
	drive->image = NULL;
	return image;
}

uint64_t drive_bytes(const struct drive *drive)
{
	return drive->image ? block_device_size(drive->image) : 0;
}

bool drive_is_read_only(const struct drive *drive)
{
	return drive->image && block_device_geometry(drive->image)->read_only;
}

static void finish(struct drive_transfer *transfer, int result)
{
	free(transfer->pieces);
	transfer->pieces = NULL;
	if (transfer->operation == BLOCK_READ && transfer->scatter)
		scatter_announce(transfer->scatter, transfer->at);
	transfer->done(transfer, result);
}

static bool has_data(const struct drive_transfer *transfer)
{
	return transfer->operation == BLOCK_READ || transfer->operation == BLOCK_WRITE;
}

/* The next request's pieces; its bytes, or 0: there is no memory, or no whole block in as many
 * pieces as one request may have. */
static uint64_t cut(struct drive_transfer *transfer)
{
	const struct scatter *scatter = transfer->scatter;
	struct block_request *block = &transfer->block;
	struct buffer rest = buffer_after(scatter_buffer(scatter), transfer->at);
	uint32_t unit = block_device_geometry(transfer->drive->image)->logical_block_bytes;
	uint64_t covered;

	if (transfer->at == 0 && scatter->nr_iov <= IOV_MAX) {
		block->iov = scatter->iov;
		block->nr_iov = scatter->nr_iov;
		return transfer->bytes;
	}
	if (!transfer->pieces)
		transfer->pieces = calloc(IOV_MAX, sizeof(*transfer->pieces));
	if (!transfer->pieces)
		return 0;
	buffer_slice(rest, transfer->bytes - transfer->at, transfer->pieces, IOV_MAX, &covered);
	covered -= covered % unit;
	block->iov = transfer->pieces;
	block->nr_iov = buffer_slice(rest, covered, transfer->pieces, IOV_MAX, &covered);
	return covered;
}

static void request_done(struct block_request *block, int result);

static int submit(struct drive_transfer *transfer)
{
	struct block_request *block = &transfer->block;

	block->operation = transfer->operation;
	block->flags = transfer->flags;
	block->offset = transfer->offset + transfer->at;
	block->bytes = transfer->bytes;
	block->done = request_done;
	if (has_data(transfer) && transfer->bytes > 0) {
		block->bytes = cut(transfer);
		if (block->bytes == 0)
			return -ENOMEM;
	}
	block_queue_submit(transfer->drive->queue, block);
	return 0;
}

static void request_done(struct block_request *block, int result)
{
	struct drive_transfer *transfer = container_of(block, struct drive_transfer, block);

	if (result == 0) {
		transfer->at += block->bytes;
		if (transfer->at < transfer->bytes) {
			result = submit(transfer);
			if (result == 0)
				return;
		}
	}
	finish(transfer, result);
}

void drive_start(struct drive *drive, struct drive_transfer *transfer)
{
	int rc;

	transfer->drive = drive;
	transfer->at = 0;
	transfer->pieces = NULL;
	memset(&transfer->block, 0, sizeof(transfer->block));
	rc = drive->queue ? submit(transfer) : -ENOMEDIUM;
	if (rc < 0)
		finish(transfer, rc);
}

void drive_run(struct drive *drive)
{
	if (!drive->queue)
		return;
	block_queue_run(drive->queue);
}

void drive_drain(struct drive *drive, bool cancel)
{
	if (drive->queue)
		block_queue_drain(drive->queue, cancel);
}
