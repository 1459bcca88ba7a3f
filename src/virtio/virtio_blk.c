#include "virtio/virtio_blk.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define BLK_QUEUE_SIZE 256
#define SECTOR_BYTES   512
/* Ranges in one discard or write zeroes, and how long each may be. */
#define BLK_MAX_RANGES        16
#define BLK_MAX_RANGE_SECTORS (1u << 22)

/* 5.2.3 */
#define BLK_F_SEG_MAX      BIT(2)
#define BLK_F_RO           BIT(5)
#define BLK_F_BLK_SIZE     BIT(6)
#define BLK_F_FLUSH        BIT(9)
#define BLK_F_TOPOLOGY     BIT(10)
#define BLK_F_CONFIG_WCE   BIT(11)
#define BLK_F_MQ           BIT(12)
#define BLK_F_DISCARD      BIT(13)
#define BLK_F_WRITE_ZEROES BIT(14)
#define BLK_F_ALL                                                                                  \
	(BLK_F_SEG_MAX | BLK_F_RO | BLK_F_BLK_SIZE | BLK_F_FLUSH | BLK_F_TOPOLOGY |                \
		BLK_F_CONFIG_WCE | BLK_F_MQ | BLK_F_DISCARD | BLK_F_WRITE_ZEROES)

/* 5.2.6 */
enum blk_request_type {
	BLK_T_IN = 0,
	BLK_T_OUT = 1,
	BLK_T_FLUSH = 4,
	BLK_T_GET_ID = 8,
	BLK_T_DISCARD = 11,
	BLK_T_WRITE_ZEROES = 13,
};
enum blk_status { BLK_S_OK = 0, BLK_S_IOERR = 1, BLK_S_UNSUPP = 2 };
#define BLK_RANGE_UNMAP 1u

struct blk_header {
	uint32_t type;
	uint32_t reserved; /* a priority, before 1.0 */
	uint64_t sector;
};

struct blk_range {
	uint64_t sector;
	uint32_t nr_sectors;
	uint32_t flags;
};

/* 5.2.4 */
struct blk_config {
	uint64_t capacity; /* sectors */
	uint32_t size_max, seg_max;
	uint16_t cylinders;
	uint8_t heads, sectors;
	uint32_t blk_size;
	uint8_t physical_block_exp, alignment_offset;
	uint16_t min_io_size;
	uint32_t opt_io_size;
	uint8_t writeback;
	uint8_t unused;
	uint16_t num_queues;
	uint32_t max_discard_sectors, max_discard_seg, discard_sector_alignment;
	uint32_t max_write_zeroes_sectors, max_write_zeroes_seg;
	uint8_t write_zeroes_may_unmap;
	uint8_t unused1[3];
};

struct blk_queue {
	struct block_queue *block;
	struct virtio_watch watch;
	bool watched;
};

struct blk {
	struct virtio_device device;
	struct block_device *image;
	struct blk_config config; /* machine lock */
	_Atomic bool write_through;
	char id[VIRTIO_BLK_ID_BYTES];
	unsigned nr_queues;
	struct blk_queue queues[VIRTIO_BLK_MAX_QUEUES]; /* each its lane's */
};

struct blk_request {
	struct virtq_request virtq;
	struct block_request block;
	struct blk *blk;
	uint8_t *status;
	uint64_t written; /* bytes, for the used ring */
	uint32_t type;
	struct blk_range ranges[BLK_MAX_RANGES];
	unsigned nr_ranges, next_range;
};

static void finish(struct blk_request *request, enum blk_status status)
{
	*request->status = status;
	virtq_push(request->virtq.queue, request, request->written + 1);
}

static struct blk_queue *queue_of(const struct blk_request *request)
{
	struct blk *blk = request->blk;

	for (unsigned i = 0; i < blk->nr_queues; i++) {
		if (virtio_queue(&blk->device, i) == request->virtq.queue)
			return &blk->queues[i];
	}
	assert(!"a request belongs to a queue");
	return NULL;
}

/* Reads and writes. */

static void transfer_done(struct block_request *block, int result)
{
	finish(container_of(block, struct blk_request, block), result ? BLK_S_IOERR : BLK_S_OK);
}

static void transfer(struct blk_request *request, uint64_t sector)
{
	struct virtq_request *virtq = &request->virtq;
	struct block_request *block = &request->block;
	bool is_read = request->type == BLK_T_IN;

	block->operation = is_read ? BLOCK_READ : BLOCK_WRITE;
	block->iov = is_read ? virtq->writable : virtq->readable;
	block->nr_iov = is_read ? virtq->nr_writable : virtq->nr_readable;
	block->bytes = is_read ? virtq->writable_bytes : virtq->readable_bytes;
	block->done = transfer_done;
	if (is_read)
		request->written = block->bytes;
	else if (atomic_load_explicit(&request->blk->write_through, memory_order_relaxed))
		block->flags = BLOCK_FUA;
	if (sector > UINT64_MAX / SECTOR_BYTES || block->nr_iov > IOV_MAX) {
		finish(request, BLK_S_IOERR);
		return;
	}
	block->offset = sector * SECTOR_BYTES;
	block_queue_submit(queue_of(request)->block, block);
}

static void flush(struct blk_request *request)
{
	request->block.operation = BLOCK_FLUSH;
	request->block.done = transfer_done;
	block_queue_submit(queue_of(request)->block, &request->block);
}

static void get_id(struct blk_request *request)
{
	const char *id = request->blk->id;

	finish(request, virtq_write(request, id, VIRTIO_BLK_ID_BYTES) ? BLK_S_OK : BLK_S_IOERR);
}

/* Discards and zeroes: one range after the other. */

static void submit_range(struct blk_request *request)
{
	const struct blk_range *range = &request->ranges[request->next_range++];
	struct block_request *block = &request->block;

	memset(block, 0, sizeof(*block));
	block->operation = request->type == BLK_T_DISCARD ? BLOCK_DISCARD : BLOCK_WRITE_ZEROES;
	if (request->type == BLK_T_WRITE_ZEROES) {
		if (range->flags & BLK_RANGE_UNMAP)
			block->flags |= BLOCK_UNMAP;
		if (atomic_load_explicit(&request->blk->write_through, memory_order_relaxed))
			block->flags |= BLOCK_FUA;
	}
	block->offset = range->sector * SECTOR_BYTES;
	block->bytes = (uint64_t)range->nr_sectors * SECTOR_BYTES;
	block->done = transfer_done;
}

static void range_done(struct block_request *block, int result)
{
	struct blk_request *request = container_of(block, struct blk_request, block);

	if (result || request->next_range == request->nr_ranges) {
		finish(request, result ? BLK_S_IOERR : BLK_S_OK);
		return;
	}
	submit_range(request);
	block->done = range_done;
	block_queue_submit(queue_of(request)->block, block);
}

/* Every range is checked before the first is touched (5.2.6.2). */
static enum blk_status check_ranges(const struct blk_request *request)
{
	uint32_t allowed = request->type == BLK_T_WRITE_ZEROES ? BLK_RANGE_UNMAP : 0;

	for (unsigned i = 0; i < request->nr_ranges; i++) {
		const struct blk_range *range = &request->ranges[i];

		if (range->flags & ~allowed)
			return BLK_S_UNSUPP;
		if (range->nr_sectors > BLK_MAX_RANGE_SECTORS ||
			range->sector > UINT64_MAX / SECTOR_BYTES)
			return BLK_S_IOERR;
	}
	return BLK_S_OK;
}

static void erase(struct blk_request *request)
{
	uint64_t bytes = request->virtq.readable_bytes;
	enum blk_status status;

	if (bytes == 0 || bytes % sizeof(struct blk_range) || bytes > sizeof(request->ranges)) {
		finish(request, BLK_S_IOERR);
		return;
	}
	virtq_read(request, request->ranges, bytes);
	request->nr_ranges = (unsigned)(bytes / sizeof(struct blk_range));
	status = check_ranges(request);
	if (status != BLK_S_OK) {
		finish(request, status);
		return;
	}
	submit_range(request);
	request->block.done = range_done;
	block_queue_submit(queue_of(request)->block, &request->block);
}

static void begin(struct blk *blk, struct blk_request *request)
{
	struct blk_header header;

	request->blk = blk;
	request->status = virtq_take_last_byte(request);
	if (!request->status || virtq_read(request, &header, sizeof(header)) < sizeof(header)) {
		virtq_break(request->virtq.queue, "a disk request lacks its header or its status");
		virtq_push(request->virtq.queue, request, 0);
		return;
	}
	request->type = header.type;
	switch (header.type) {
	case BLK_T_IN:
	case BLK_T_OUT: transfer(request, header.sector); break;
	case BLK_T_FLUSH: flush(request); break;
	case BLK_T_GET_ID: get_id(request); break;
	case BLK_T_DISCARD:
	case BLK_T_WRITE_ZEROES: erase(request); break;
	default: finish(request, BLK_S_UNSUPP);
	}
}

static bool blk_serve(struct virtio_device *device, unsigned index)
{
	struct blk *blk = (struct blk *)device;
	struct virtq *queue = virtio_queue(device, index);
	struct blk_request *request;

	while ((request = virtq_pop(queue)))
		begin(blk, request);
	block_queue_run(blk->queues[index].block);
	return true;
}

static void blk_ready(void *context)
{
	block_queue_complete(((struct blk_queue *)context)->block);
}

static void blk_drain(struct virtio_device *device, unsigned index, bool cancel)
{
	block_queue_drain(((struct blk *)device)->queues[index].block, cancel);
}

/* Configuration space. */

static void choose_write_through(struct blk *blk)
{
	/* 5.2.6.2: who cannot flush expects that writes are on the medium. */
	bool writeback = virtio_has_feature(&blk->device, BLK_F_CONFIG_WCE)
				 ? blk->config.writeback
				 : virtio_has_feature(&blk->device, BLK_F_FLUSH);

	atomic_store(&blk->write_through, !writeback);
}

static void blk_started(struct virtio_device *device)
{
	choose_write_through((struct blk *)device);
}

static void blk_config_written(struct virtio_device *device, unsigned offset, unsigned size)
{
	struct blk *blk = (struct blk *)device;

	(void)offset;
	(void)size;
	blk->config.writeback = blk->config.writeback != 0;
	choose_write_through(blk);
}

static void blk_reset(struct virtio_device *device)
{
	struct blk *blk = (struct blk *)device;

	blk->config.writeback = block_device_geometry(blk->image)->write_cache;
	choose_write_through(blk);
}

static const struct virtio_device_type blk_type = {
	.name = "virtio-blk",
	.id = VIRTIO_ID_BLOCK,
	.pci_class = 0x010000,
	.is_transitional = true,
	.legacy_features = BLK_F_ALL,
	.request_size = sizeof(struct blk_request),
	.serve = blk_serve,
	.drain = blk_drain,
	.started = blk_started,
	.reset = blk_reset,
	.config_written = blk_config_written,
};

void virtio_blk_resized(struct virtio_device *device, uint64_t bytes)
{
	uint64_t capacity = bytes / SECTOR_BYTES;

	virtio_config_change(
		device, offsetof(struct blk_config, capacity), &capacity, sizeof(capacity));
}

static void fill_config(struct blk *blk)
{
	const struct block_geometry *geometry = block_device_geometry(blk->image);
	uint32_t block = geometry->logical_block_bytes;
	unsigned physical = 0;

	while (physical < 7 && block << physical < geometry->physical_block_bytes)
		physical++;
	blk->config = (struct blk_config){
		.capacity = block_device_size(blk->image) / SECTOR_BYTES,
		.seg_max = BLK_QUEUE_SIZE - 2,
		.blk_size = block,
		.physical_block_exp = (uint8_t)physical,
		.min_io_size = (uint16_t)(1u << physical),
		.opt_io_size = geometry->optimal_io_bytes / block,
		.writeback = geometry->write_cache,
		.num_queues = (uint16_t)blk->nr_queues,
		.max_discard_sectors = BLK_MAX_RANGE_SECTORS,
		.max_discard_seg = BLK_MAX_RANGES,
		.discard_sector_alignment = (geometry->discard_granularity_bytes > block
							    ? geometry->discard_granularity_bytes
							    : block) /
					    SECTOR_BYTES,
		.max_write_zeroes_sectors = BLK_MAX_RANGE_SECTORS,
		.max_write_zeroes_seg = BLK_MAX_RANGES,
		.write_zeroes_may_unmap = 1,
	};
}

static uint64_t offered_features(const struct blk *blk)
{
	const struct block_geometry *geometry = block_device_geometry(blk->image);
	uint64_t features =
		BLK_F_SEG_MAX | BLK_F_BLK_SIZE | BLK_F_TOPOLOGY | BLK_F_FLUSH | BLK_F_CONFIG_WCE;

	if (blk->nr_queues > 1)
		features |= BLK_F_MQ;
	if (geometry->read_only)
		return features | BLK_F_RO;
	if (geometry->discard_granularity_bytes)
		features |= BLK_F_DISCARD;
	return features | BLK_F_WRITE_ZEROES;
}

static int open_queues(struct blk *blk, struct error *err)
{
	for (unsigned i = 0; i < blk->nr_queues; i++) {
		struct blk_queue *queue = &blk->queues[i];
		struct virtio_lane *lane = virtio_queue_lane(&blk->device, i);
		int rc = block_queue_open(&queue->block, blk->image, BLK_QUEUE_SIZE, err);

		if (rc < 0)
			return rc;
		queue->watch = (struct virtio_watch){
			.fd = block_queue_fd(queue->block), .ready = blk_ready, .context = queue
		};
		virtio_lane_enter(lane);
		rc = virtio_lane_watch(lane, &queue->watch);
		virtio_lane_leave(lane);
		if (rc < 0)
			return rc;
		queue->watched = true;
	}
	return 0;
}

int virtio_blk_create(
	struct virtio_device **device, const struct virtio_blk_config *wanted, struct error *err)
{
	static const uint8_t writable[sizeof(struct blk_config)] = {
		[offsetof(struct blk_config, writeback)] = 0xff
	};
	struct virtio_queue_config queues[VIRTIO_BLK_MAX_QUEUES];
	struct virtio_device_config config = { .name = wanted->name,
		.machine = wanted->machine,
		.config_size = sizeof(struct blk_config),
		.config_writable = writable,
		.queues = queues,
		.nr_queues = wanted->nr_queues,
		.nr_lanes = wanted->nr_queues };
	struct blk *blk = calloc(1, sizeof(*blk));
	int rc;

	*device = NULL;
	if (!blk)
		return error_set_errno(
			err, EXIT_CODE_HOST, ENOMEM, "cannot create the disk %s", wanted->name);
	assert(wanted->nr_queues >= 1 && wanted->nr_queues <= VIRTIO_BLK_MAX_QUEUES);
	for (unsigned i = 0; i < wanted->nr_queues; i++)
		queues[i] =
			(struct virtio_queue_config){ .size = BLK_QUEUE_SIZE, .lane = (uint8_t)i };
	blk->image = wanted->image;
	blk->nr_queues = wanted->nr_queues;
	/* 5.2.6.3: padded with zeros, not ended by one. */
	if (wanted->serial)
		memcpy(blk->id, wanted->serial, strnlen(wanted->serial, sizeof(blk->id)));
	fill_config(blk);
	config.config = &blk->config;
	config.features = offered_features(blk);
	rc = virtio_device_init(&blk->device, &blk_type, &config, err);
	if (rc == 0)
		rc = open_queues(blk, err);
	if (rc < 0) {
		virtio_blk_destroy(&blk->device);
		return error_set_errno(
			err, EXIT_CODE_HOST, -rc, "cannot create the disk %s", wanted->name);
	}
	*device = &blk->device;
	return 0;
}

void virtio_blk_destroy(struct virtio_device *device)
{
	struct blk *blk = (struct blk *)device;

	if (!blk)
		return;
	virtio_device_finish(device);
	for (unsigned i = 0; i < blk->nr_queues; i++) {
		if (blk->queues[i].block)
			block_queue_close(blk->queues[i].block);
	}
	free(blk);
}
