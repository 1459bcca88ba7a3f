/*
 * block-bench IMAGE FORMAT read|write random|sequential BYTES COUNT: keeps 32 requests in flight
 * through one block queue, and prints requests and CPU time as JSON. The peer of "qemu-img bench".
 */
#include "base/bits.h"
#include "block/block.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define DEPTH 32

struct run {
	struct block_queue *queue;
	uint64_t disk_bytes;
	uint64_t next; /* request number */
	uint64_t count, submitted, done;
	uint64_t bytes;
	bool is_random, failed;
	struct block_request requests[DEPTH];
	struct iovec iov[DEPTH];
};

static uint64_t next_offset(struct run *run)
{
	uint64_t places = run->disk_bytes / run->bytes;
	uint64_t number = run->next++;

	/* An odd multiplier visits places in no order a disk could guess. */
	if (run->is_random)
		number = number * UINT64_C(0x9e3779b97f4a7c15) >> 16;
	return number % places * run->bytes;
}

static void submit(struct run *run, struct block_request *request)
{
	if (run->submitted == run->count)
		return;
	run->submitted++;
	request->offset = next_offset(run);
	block_queue_submit(run->queue, request);
}

static void on_done(struct block_request *request, int result)
{
	struct run *run = request->context;

	run->failed |= result != 0;
	run->done++;
	submit(run, request);
}

static double seconds(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void go(struct run *run, enum block_operation operation)
{
	struct pollfd poll_fd = { .fd = block_queue_fd(run->queue), .events = POLLIN };

	for (unsigned i = 0; i < DEPTH; i++) {
		run->iov[i].iov_base = aligned_alloc(4096, run->bytes);
		run->iov[i].iov_len = run->bytes;
		if (!run->iov[i].iov_base)
			exit(EXIT_FAILURE);
		memset(run->iov[i].iov_base, (int)i + 1, run->bytes);
		run->requests[i] = (struct block_request){ .operation = operation,
			.bytes = run->bytes,
			.iov = &run->iov[i],
			.nr_iov = 1,
			.done = on_done,
			.context = run };
		submit(run, &run->requests[i]);
	}
	block_queue_kick(run->queue);
	while (run->done < run->submitted) {
		poll(&poll_fd, 1, -1);
		block_queue_complete(run->queue);
	}
}

int main(int argc, char **argv)
{
	struct block_options options = { 0 };
	struct block_device *device;
	struct error err = { 0 };
	static struct run run;
	double start, cpu, taken;

	if (argc != 7) {
		fprintf(stderr,
			"usage: block-bench IMAGE FORMAT read|write random|sequential BYTES "
			"COUNT\n");
		return EXIT_CODE_USAGE;
	}
	options.path = argv[1];
	options.format = argv[2];
	run.is_random = strcmp(argv[4], "random") == 0;
	run.bytes = align_up(strtoull(argv[5], NULL, 10), 4096);
	run.count = strtoull(argv[6], NULL, 10);
	if (block_device_open(&device, &options, NULL, &err) ||
		block_queue_open(&run.queue, device, 2 * DEPTH, &err)) {
		fprintf(stderr, "block-bench: %s\n", err.text);
		return err.exit_code;
	}
	run.disk_bytes = block_device_size(device);
	start = seconds(CLOCK_MONOTONIC);
	cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
	go(&run, strcmp(argv[3], "write") == 0 ? BLOCK_WRITE : BLOCK_READ);
	taken = seconds(CLOCK_MONOTONIC) - start;
	cpu = seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
	printf("{\"seconds\": %.6f, \"cpu_us\": %.3f}\n", taken, 1e6 * cpu / (double)run.count);
	block_queue_close(run.queue);
	block_device_close(device);
	return run.failed ? EXIT_CODE_HOST : EXIT_CODE_OK;
}
