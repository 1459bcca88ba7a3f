/*
 * virtio-balloon (virtio_balloon.h).
 *
 * Reports and the balloon itself are promises: what is named there is discarded. Hints are not. A
 * driver may use a page again before its hint is read, and a device may touch a hinted page only
 * if the guest has not written to it since the command was issued (5.5.6.6.1, 5.5.6.6.2). Linux's
 * shrinker does so. Nobody here keeps a record of what was written, so hints are counted, and
 * nothing is discarded for them.
 *
 * A page that the driver names is discarded whatever it holds: the guest can only harm itself. If
 * it fills free pages with a pattern of its own (PAGE_POISON), those that it reports are left
 * alone, since they would come back as zeros.
 *
 * Statistics are a request that stays here until new ones are asked for.
 */
#include "virtio/virtio_balloon.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define QUEUE_SIZE      128
#define PCI_CLASS_OTHER 0x00ff00
#define PAGE_SHIFT      12 /* of the balloon's page numbers, whatever the guest's pages are */
#define PFNS_AT_A_TIME  256
#define MAX_STATISTICS  64          /* tags of one report that are looked at */
#define MAX_PFNS        (64 * 1024) /* of one request; Linux puts 256 into one */

/* Feature bits (5.5.3). */
#define BALLOON_F_TELL_HOST      BIT(0)
#define BALLOON_F_STATS_VQ       BIT(1)
#define BALLOON_F_DEFLATE_ON_OOM BIT(2)
#define BALLOON_F_FREE_PAGE_HINT BIT(3)
#define BALLOON_F_PAGE_POISON    BIT(4)
#define BALLOON_F_REPORTING      BIT(5)

/* Commands in hint_cmd; others begin a round of hints (5.5.6.6). */
#define COMMAND_STOP  0
#define COMMAND_DONE  1
#define COMMAND_FIRST 2

/* 5.5.4 */
struct balloon_registers {
	uint32_t nr_pages; /* that the balloon is to have */
	uint32_t actual;   /* that it has: the driver's */
	uint32_t hint_cmd; /* COMMAND_... */
	uint32_t poison;   /* what free pages are filled with: the driver's */
};

enum balloon_queue {
	QUEUE_INFLATE,
	QUEUE_DEFLATE,
	QUEUE_STATISTICS,
	QUEUE_HINTS,
	QUEUE_REPORTING,
	NR_QUEUES
};

struct statistic {
	uint16_t tag;
	uint64_t value;
} __attribute__((packed));

/* A round of hints. */
struct hints {
	uint32_t command; /* that was issued for it */
	bool wanted;      /* issued, and the driver has not ended it */
	bool taken;       /* what comes now belongs to it */
	uint64_t bytes;
};

struct virtio_balloon {
	struct virtio_device device;

	/* Machine lock. */
	struct balloon_registers registers;
	uint32_t last_command;

	_Atomic bool poisoned; /* any thread: free pages are not zeros */

	/* Lane. */
	struct virtq_request *report; /* the driver's buffer for statistics */
	struct virtio_balloon_statistics statistics;
	bool asked;
	struct hints hints;
};

static struct virtio_balloon *balloon_of(struct virtio_device *device)
{
	return (struct virtio_balloon *)device;
}

static void discard_pages(struct virtio_balloon *balloon, uint64_t first, uint64_t count)
{
	const struct guest_memory *memory = &balloon->device.machine->memory;
	uint64_t bytes = count << PAGE_SHIFT;
	void *host = guest_memory_host(memory, first << PAGE_SHIFT, bytes);

	if (host) {
		guest_memory_discard(memory, host, bytes);
		return;
	}
	/* A run that leaves a region: page by page, and what is not RAM is nobody's. */
	for (uint64_t page = first; count > 1 && page < first + count; page++)
		discard_pages(balloon, page, 1);
}

/* Runs of neighbouring pages, upward or downward, are discarded in one call. */
static void discard_list(struct virtio_balloon *balloon, const uint32_t *pfns, size_t count)
{
	uint64_t first = 0, pages = 0;

	for (size_t i = 0; i < count; i++) {
		if (pages && pfns[i] == first + pages) {
			pages++;
		} else if (pages && (uint64_t)pfns[i] + 1 == first) {
			first--;
			pages++;
		} else {
			if (pages)
				discard_pages(balloon, first, pages);
			first = pfns[i];
			pages = 1;
		}
	}
	if (pages)
		discard_pages(balloon, first, pages);
}

static void serve_inflate(struct virtio_balloon *balloon)
{
	struct virtq *queue = virtio_queue(&balloon->device, QUEUE_INFLATE);
	struct virtq_request *request;

	while ((request = virtq_pop(queue)) != NULL) {
		uint32_t pfns[PFNS_AT_A_TIME];
		size_t bytes;

		if (request->readable_bytes > MAX_PFNS * sizeof(pfns[0])) {
			virtq_break(queue, "more pages than a request may name");
			virtq_push(queue, request, 0);
			return;
		}
		while ((bytes = virtq_read(request, pfns, sizeof(pfns))) >= sizeof(pfns[0]))
			discard_list(balloon, pfns, bytes / sizeof(pfns[0]));
		virtq_push(queue, request, 0);
	}
}

/* Pages come back by being used. */
static void serve_deflate(struct virtio_balloon *balloon)
{
	struct virtq *queue = virtio_queue(&balloon->device, QUEUE_DEFLATE);
	struct virtq_request *request;

	while ((request = virtq_pop(queue)) != NULL)
		virtq_push(queue, request, 0);
}

static void serve_reporting(struct virtio_balloon *balloon, unsigned index)
{
	const struct guest_memory *memory = &balloon->device.machine->memory;
	struct virtq *queue = virtio_queue(&balloon->device, index);
	bool poisoned = atomic_load(&balloon->poisoned);
	struct virtq_request *request;

	while ((request = virtq_pop(queue)) != NULL) {
		for (unsigned i = 0; i < request->nr_writable && !poisoned; i++)
			guest_memory_discard(memory, request->writable[i].iov_base,
				request->writable[i].iov_len);
		virtq_push(queue, request, 0);
	}
}

/* The driver's command: what follows belongs to it. */
static void take_command(struct virtio_balloon *balloon, struct virtq_request *request)
{
	struct hints *hints = &balloon->hints;
	uint32_t command;

	/* Of another size it is none (5.5.6.6.1). */
	if (request->readable_bytes != sizeof(command) ||
		virtq_read(request, &command, sizeof(command)) != sizeof(command))
		command = COMMAND_STOP;
	if (command == COMMAND_STOP && hints->taken) {
		hints->wanted = false;
		virtio_call_outside(&balloon->device, 0);
	}
	hints->taken = hints->wanted && command == hints->command;
}

static void serve_hints(struct virtio_balloon *balloon, unsigned index)
{
	uint64_t all = guest_memory_size(&balloon->device.machine->memory);
	struct virtq *queue = virtio_queue(&balloon->device, index);
	struct hints *hints = &balloon->hints;
	struct virtq_request *request;

	while ((request = virtq_pop(queue)) != NULL) {
		if (request->nr_readable > 0)
			take_command(balloon, request);
		/* Those of another command are ignored (5.5.6.6.2). */
		if (hints->taken)
			hints->bytes += request->writable_bytes;
		if (hints->bytes > all)
			hints->bytes = all;
		virtq_push(queue, request, 0);
	}
}

/* The driver has ended its round: the pages that it kept back for it are its own again. */
static void balloon_outside(struct virtio_device *device, unsigned lane)
{
	static const uint32_t done = COMMAND_DONE;
	struct virtio_balloon *balloon = balloon_of(device);
	bool ended;

	machine_lock(device->machine);
	virtio_lane_enter(&device->lanes[lane]);
	ended = !balloon->hints.wanted && balloon->registers.hint_cmd >= COMMAND_FIRST;
	virtio_lane_leave(&device->lanes[lane]);
	if (ended)
		virtio_config_change(
			device, offsetof(struct balloon_registers, hint_cmd), &done, sizeof(done));
	machine_unlock(device->machine);
}

static void forget_statistics(struct virtio_balloon *balloon)
{
	memset(&balloon->statistics, 0xff, sizeof(balloon->statistics));
}

static void note_statistic(
	struct virtio_balloon_statistics *statistics, const struct statistic *statistic)
{
	uint64_t *const places[] = { &statistics->swapped_in, &statistics->swapped_out,
		&statistics->major_faults, &statistics->minor_faults, &statistics->free,
		&statistics->total, &statistics->available, &statistics->disk_caches,
		&statistics->hugetlb_allocations, &statistics->hugetlb_failures };

	if (statistic->tag < ARRAY_SIZE(places))
		*places[statistic->tag] = statistic->value;
}

static void return_report(struct virtio_balloon *balloon)
{
	if (!balloon->report)
		return;
	virtq_push(virtio_queue(&balloon->device, QUEUE_STATISTICS), balloon->report, 0);
	balloon->report = NULL;
}

static void serve_statistics(struct virtio_balloon *balloon)
{
	struct virtq *queue = virtio_queue(&balloon->device, QUEUE_STATISTICS);
	struct virtq_request *request;

	if (balloon->asked) {
		balloon->asked = false;
		return_report(balloon);
	}
	while ((request = virtq_pop(queue)) != NULL) {
		struct statistic statistic;

		/* There is one buffer (5.5.6.3); a second one replaces it. */
		return_report(balloon);
		for (unsigned i = 0;
			i < MAX_STATISTICS &&
			virtq_read(request, &statistic, sizeof(statistic)) == sizeof(statistic);
			i++)
			note_statistic(&balloon->statistics, &statistic);
		balloon->report = request;
	}
}

/* Queues whose feature was not accepted are left out, not empty: that is how drivers count. */
static enum balloon_queue queue_kind(const struct virtio_device *device, unsigned index)
{
	if (index >= QUEUE_STATISTICS && !virtio_has_feature(device, BALLOON_F_STATS_VQ))
		index++;
	if (index >= QUEUE_HINTS && !virtio_has_feature(device, BALLOON_F_FREE_PAGE_HINT))
		index++;
	return index < NR_QUEUES ? (enum balloon_queue)index : QUEUE_DEFLATE;
}

static bool balloon_serve(struct virtio_device *device, unsigned index)
{
	struct virtio_balloon *balloon = balloon_of(device);

	switch (queue_kind(device, index)) {
	case QUEUE_INFLATE: serve_inflate(balloon); break;
	case QUEUE_STATISTICS: serve_statistics(balloon); break;
	case QUEUE_HINTS: serve_hints(balloon, index); break;
	case QUEUE_REPORTING: serve_reporting(balloon, index); break;
	default: serve_deflate(balloon);
	}
	return true;
}

static void balloon_drain(struct virtio_device *device, unsigned index, bool cancel)
{
	struct virtio_balloon *balloon = balloon_of(device);

	(void)cancel;
	if (!balloon->report || balloon->report->queue != virtio_queue(device, index))
		return;
	virtq_drop(balloon->report->queue, balloon->report);
	balloon->report = NULL;
}

static void balloon_reset(struct virtio_device *device)
{
	struct virtio_balloon *balloon = balloon_of(device);
	struct virtio_lane *lane = virtio_queue_lane(device, 0);

	/* A guest that starts again has all its memory until it is asked again. */
	balloon->registers = (struct balloon_registers){ 0 };
	atomic_store(&balloon->poisoned, false);
	virtio_lane_enter(lane);
	balloon->asked = false;
	balloon->hints = (struct hints){ 0 };
	forget_statistics(balloon);
	virtio_lane_leave(lane);
}

static void balloon_config_written(struct virtio_device *device, unsigned offset, unsigned size)
{
	struct virtio_balloon *balloon = balloon_of(device);

	(void)offset;
	(void)size;
	atomic_store(&balloon->poisoned, balloon->registers.poison != 0);
}

static const struct virtio_device_type virtio_balloon_type = {
	.name = "virtio-balloon",
	.id = VIRTIO_ID_BALLOON,
	.pci_class = PCI_CLASS_OTHER,
	.serve = balloon_serve,
	.drain = balloon_drain,
	.reset = balloon_reset,
	.config_written = balloon_config_written,
	.outside = balloon_outside,
};

int virtio_balloon_create(struct virtio_balloon **result,
	const struct virtio_balloon_config *config, struct error *err)
{
	static const uint8_t writable[sizeof(struct balloon_registers)] = {
		[offsetof(struct balloon_registers, actual)] = 0xff,
		0xff,
		0xff,
		0xff,
		[offsetof(struct balloon_registers, poison)] = 0xff,
		0xff,
		0xff,
		0xff
	};
	static const struct virtio_queue_config queues[NR_QUEUES] = {
		{ .size = QUEUE_SIZE },
		{ .size = QUEUE_SIZE },
		{ .size = QUEUE_SIZE },
		{ .size = QUEUE_SIZE },
		{ .size = QUEUE_SIZE },
	};
	struct virtio_balloon *balloon = calloc(1, sizeof(*balloon));
	struct virtio_device_config device = {
		.name = config->name,
		.machine = config->machine,
		.features = BALLOON_F_STATS_VQ | BALLOON_F_DEFLATE_ON_OOM |
			    BALLOON_F_FREE_PAGE_HINT | BALLOON_F_PAGE_POISON | BALLOON_F_REPORTING,
		.config_writable = writable,
		.config_size = sizeof(balloon->registers),
		.queues = queues,
		.nr_queues = NR_QUEUES,
		.nr_lanes = 1,
	};

	if (!balloon)
		return error_set_errno(
			err, EXIT_CODE_HOST, ENOMEM, "cannot make the balloon '%s'", config->name);
	forget_statistics(balloon);
	device.config = &balloon->registers;
	if (virtio_device_init(&balloon->device, &virtio_balloon_type, &device, err)) {
		virtio_balloon_destroy(&balloon->device);
		return -EINVAL;
	}
	*result = balloon;
	return 0;
}

void virtio_balloon_destroy(struct virtio_device *device)
{
	struct virtio_balloon *balloon = balloon_of(device);

	if (!device)
		return;
	virtio_device_finish(&balloon->device);
	free(balloon);
}

struct virtio_device *virtio_balloon_device(struct virtio_balloon *balloon)
{
	return &balloon->device;
}

void virtio_balloon_set_target(struct virtio_balloon *balloon, uint64_t bytes)
{
	uint64_t all = guest_memory_size(&balloon->device.machine->memory);
	uint64_t pages = bytes < all ? (all - bytes) >> PAGE_SHIFT : 0;
	uint32_t nr_pages = pages < UINT32_MAX ? (uint32_t)pages : UINT32_MAX;

	virtio_config_change(&balloon->device, offsetof(struct balloon_registers, nr_pages),
		&nr_pages, sizeof(nr_pages));
}

uint64_t virtio_balloon_target(const struct virtio_balloon *balloon)
{
	return (uint64_t)balloon->registers.nr_pages << PAGE_SHIFT;
}

uint64_t virtio_balloon_inflated(const struct virtio_balloon *balloon)
{
	return (uint64_t)balloon->registers.actual << PAGE_SHIFT;
}

void virtio_balloon_ask(struct virtio_balloon *balloon)
{
	struct virtio_lane *lane = &balloon->device.lanes[0];

	if (!virtio_has_feature(&balloon->device, BALLOON_F_STATS_VQ))
		return;
	virtio_lane_enter(lane);
	balloon->asked = true;
	virtio_serve_again(&balloon->device, QUEUE_STATISTICS);
	virtio_lane_leave(lane);
}

void virtio_balloon_get_statistics(
	struct virtio_balloon *balloon, struct virtio_balloon_statistics *statistics)
{
	struct virtio_lane *lane = &balloon->device.lanes[0];

	virtio_lane_enter(lane);
	*statistics = balloon->statistics;
	virtio_lane_leave(lane);
}

int virtio_balloon_hint(struct virtio_balloon *balloon)
{
	struct virtio_device *device = &balloon->device;
	uint32_t command;

	if (!virtio_has_feature(device, BALLOON_F_FREE_PAGE_HINT) ||
		!(device->state.status & VIRTIO_STATUS_DRIVER_OK))
		return -ENOTSUP;
	if (balloon->registers.hint_cmd >= COMMAND_FIRST)
		return -EBUSY;
	command = balloon->last_command < COMMAND_FIRST || balloon->last_command == UINT32_MAX
			  ? COMMAND_FIRST
			  : balloon->last_command + 1;
	balloon->last_command = command;
	virtio_lane_enter(&device->lanes[0]);
	balloon->hints = (struct hints){ .command = command, .wanted = true };
	virtio_lane_leave(&device->lanes[0]);
	virtio_config_change(
		device, offsetof(struct balloon_registers, hint_cmd), &command, sizeof(command));
	return 0;
}

void virtio_balloon_end_hints(struct virtio_balloon *balloon)
{
	static const uint32_t done = COMMAND_DONE;
	struct virtio_device *device = &balloon->device;

	if (balloon->registers.hint_cmd < COMMAND_FIRST)
		return;
	virtio_lane_enter(&device->lanes[0]);
	balloon->hints.wanted = balloon->hints.taken = false;
	virtio_lane_leave(&device->lanes[0]);
	virtio_config_change(
		device, offsetof(struct balloon_registers, hint_cmd), &done, sizeof(done));
}

bool virtio_balloon_hinted(struct virtio_balloon *balloon, uint64_t *bytes)
{
	struct virtio_lane *lane = &balloon->device.lanes[0];

	virtio_lane_enter(lane);
	*bytes = balloon->hints.bytes;
	virtio_lane_leave(lane);
	return balloon->registers.hint_cmd >= COMMAND_FIRST;
}
