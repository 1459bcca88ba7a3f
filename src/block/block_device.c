/*
 * Block devices: opening an image for a machine, executing one request, and the error policy.
 */
#include "block/block_device.h"
#include "base/bits.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void fill_geometry(struct block_device *device, const struct block_options *options)
{
	const struct image *image = device->image;
	struct block_geometry *geometry = &device->geometry;

	geometry->logical_block_bytes = image->file->alignment > 512 ? image->file->alignment : 512;
	geometry->physical_block_bytes = image->file->physical_block_bytes;
	if (geometry->physical_block_bytes < geometry->logical_block_bytes)
		geometry->physical_block_bytes = geometry->logical_block_bytes;
	geometry->optimal_io_bytes = image->cluster_bytes;
	geometry->discard_granularity_bytes =
		options->ignore_discard ? 0 : image->discard_granularity;
	if (geometry->discard_granularity_bytes &&
		geometry->discard_granularity_bytes < geometry->logical_block_bytes)
		geometry->discard_granularity_bytes = geometry->logical_block_bytes;
	geometry->read_only = options->read_only;
	geometry->write_cache = !device->flush_each_write;
}

static ns_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * NS_PER_S + now.tv_nsec;
}

int block_device_open(struct block_device **opened, const struct block_options *options,
	const struct block_events *events, struct error *err)
{
	const bool direct =
		options->cache == BLOCK_CACHE_NONE || options->cache == BLOCK_CACHE_DIRECTSYNC;
	const struct image_options image_options = {
		.path = options->path,
		.format = options->format,
		.read_only = options->read_only,
		.direct = direct,
		.ignore_flush = options->cache == BLOCK_CACHE_UNSAFE,
		.keep_discarded = options->ignore_discard,
	};
	struct block_device *device = calloc(1, sizeof(*device));
	int result = -ENOMEM;

	*opened = NULL;
	if (!device)
		return -ENOMEM;
	pthread_mutex_init(&device->lock, NULL);
	block_workers_init(&device->workers);
	if (events)
		device->events = *events;
	device->aio = options->aio;
	device->on_read_error = options->on_read_error;
	device->on_write_error = options->on_write_error;
	device->ignore_discard = options->ignore_discard;
	device->flush_each_write = options->cache == BLOCK_CACHE_WRITETHROUGH ||
				   options->cache == BLOCK_CACHE_DIRECTSYNC;
	block_device_set_limits(device, &options->limits);
	result = image_open(&device->image, &image_options, err);
	if (result)
		goto fail;
	fill_geometry(device, options);
	if (device->image->size % device->geometry.logical_block_bytes != 0) {
		result = error_set(err, EXIT_CODE_CONFIG,
			"the size of '%s' is not a multiple of the host's %u-byte blocks, which "
			"direct access needs; use another cache mode, such as writeback",
			options->path, device->geometry.logical_block_bytes);
		goto fail;
	}
	*opened = device;
	return 0;
fail:
	block_device_close(device);
	return result;
}

void block_device_close(struct block_device *device)
{
	if (!device)
		return;
	block_workers_finish(&device->workers);
	image_close(device->image);
	pthread_mutex_destroy(&device->lock);
	free(device);
}

uint64_t block_device_size(const struct block_device *device)
{
	return device->image->size;
}

const struct block_geometry *block_device_geometry(const struct block_device *device)
{
	return &device->geometry;
}

const char *block_device_path(const struct block_device *device)
{
	return device->image->path;
}

int block_device_resize(struct block_device *device, uint64_t bytes, struct error *err)
{
	int result;

	if (bytes % device->geometry.logical_block_bytes != 0)
		return error_set(err, EXIT_CODE_USAGE,
			"the size of a disk is a multiple of %u bytes, which %llu is not",
			device->geometry.logical_block_bytes, (unsigned long long)bytes);
	result = image_resize(device->image, bytes, err);
	if (result == 0 && device->events.resized)
		device->events.resized(device->events.context, bytes);
	return result;
}

static void wake_queues(struct block_device *device)
{
	pthread_mutex_lock(&device->lock);
	for (struct block_queue *queue = device->queues; queue; queue = block_queue_next(queue))
		block_queue_wake(queue);
	pthread_mutex_unlock(&device->lock);
}

void block_device_set_limits(struct block_device *device, const struct block_limits *limits)
{
	pthread_mutex_lock(&device->lock);
	rate_limit_init(&device->limit, limits, now_ns());
	device->limited = rate_limit_is_set(&device->limit);
	pthread_mutex_unlock(&device->lock);
	wake_queues(device);
}

bool block_device_is_stopped(const struct block_device *device)
{
	return device->stopped;
}

void block_device_resume(struct block_device *device)
{
	device->stopped = false;
	device->resumes++;
	wake_queues(device);
}

void block_device_statistics(const struct block_device *device, struct block_statistics *statistics)
{
	*statistics = (struct block_statistics){
		.reads = device->reads,
		.writes = device->writes,
		.flushes = device->flushes,
		.discards = device->discards,
		.zeroes = device->zeroes,
		.read_bytes = device->read_bytes,
		.written_bytes = device->written_bytes,
		.failures = device->failures,
	};
}

static int flush(struct block_device *device)
{
	int result;

	device->nr_flushing++;
	result = image_flush(device->image);
	device->nr_flushing--;
	return result;
}

int block_device_execute(struct block_device *device, const struct block_request *request)
{
	struct buffer buffer = { .iov = request->iov, .nr_iov = request->nr_iov };
	struct image *image = device->image;
	int result = -EINVAL;

	switch (request->operation) {
	case BLOCK_READ: return image_read(image, request->offset, buffer, request->bytes);
	case BLOCK_FLUSH: return flush(device);
	case BLOCK_DISCARD: return image_discard(image, request->offset, request->bytes);
	case BLOCK_WRITE:
		result = image_write(image, request->offset, buffer, request->bytes);
		break;
	case BLOCK_WRITE_ZEROES:
		result = image_zero(image, request->offset, request->bytes,
			(request->flags & BLOCK_UNMAP) && !device->ignore_discard);
		break;
	}
	if (result == 0 && ((request->flags & BLOCK_FUA) || device->flush_each_write))
		result = flush(device);
	return result;
}

static bool is_out_of_room(int result)
{
	return result == -ENOSPC || result == -EDQUOT;
}

bool block_device_keeps(
	struct block_device *device, const struct block_request *request, int result)
{
	enum block_on_error policy =
		request->operation == BLOCK_READ ? device->on_read_error : device->on_write_error;
	struct error why = { 0 };

	if (policy != BLOCK_ON_ERROR_STOP &&
		!(policy == BLOCK_ON_ERROR_ENOSPC && is_out_of_room(result)))
		return false;
	if (atomic_exchange(&device->stopped, true) || !device->events.stopped)
		return true;
	if (is_out_of_room(result))
		error_set(&why, EXIT_CODE_HOST,
			"the host has no room left for the image '%s': make room",
			device->image->path);
	else
		error_set(&why, EXIT_CODE_HOST, "the host cannot %s the image '%s' (%s): mend it",
			request->operation == BLOCK_READ ? "read" : "write", device->image->path,
			strerror(-result));
	device->events.stopped(device->events.context, &why);
	return true;
}

int block_device_read(struct block_device *device, uint64_t offset, void *buffer, uint64_t bytes)
{
	return image_pread(device->image, offset, buffer, bytes);
}

int block_device_write(
	struct block_device *device, uint64_t offset, const void *buffer, uint64_t bytes)
{
	return image_pwrite(device->image, offset, buffer, bytes);
}

int block_device_flush(struct block_device *device)
{
	return image_flush(device->image);
}
