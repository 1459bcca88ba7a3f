#include "block/block_device.h"
#include "block/qcow2.h"
#include "base/bits.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#define DISK_BYTES (1u << 20)
#define BLOCK      4096u
#define NR_BLOCKS  (DISK_BYTES / BLOCK)

struct fixture {
	char path[64];
	const char *format;
	struct block_device *device;
	struct block_queue *queue;
	char error_text[512];
	unsigned stops, resizes;
};

static void on_stopped(void *context, const struct error *why)
{
	struct fixture *fixture = context;

	fixture->stops++;
	strcpy(fixture->error_text, why->text);
}

static void on_resized(void *context, uint64_t bytes)
{
	struct fixture *fixture = context;

	(void)bytes;
	fixture->resizes++;
}

static void open_with(struct fixture *fixture, struct block_options options)
{
	const struct block_events events = { on_resized, on_stopped, fixture };
	struct error err = { 0 };

	options.path = fixture->path;
	options.format = fixture->format;
	if (block_device_open(&fixture->device, &options, &events, &err))
		fail_msg("%s", err.text);
	assert_int_equal(block_queue_open(&fixture->queue, fixture->device, 32, &err), 0);
}

static void close_all(struct fixture *fixture)
{
	block_queue_drain(fixture->queue, true);
	block_queue_close(fixture->queue);
	block_device_close(fixture->device);
}

static int setup(void **state)
{
	static struct fixture fixture;
	int fd;

	memset(&fixture, 0, sizeof(fixture));
	fixture.format = "raw";
	strcpy(fixture.path, "/tmp/atoll-block-XXXXXX");
	fd = mkstemp(fixture.path);
	if (fd < 0 || ftruncate(fd, DISK_BYTES))
		return -1;
	close(fd);
	*state = &fixture;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;

	unlink(fixture->path);
	return 0;
}

static void note_done(struct block_request *request, int result)
{
	*(int *)request->context = result;
}

/* Runs one request to its end and returns its result. */
static int run(struct fixture *fixture, enum block_operation operation, uint64_t offset,
	void *buffer, uint64_t bytes, unsigned flags)
{
	struct iovec iov = { buffer, buffer ? bytes : 0 };
	int result = 1;
	struct block_request request = { .operation = operation,
		.flags = flags,
		.offset = offset,
		.bytes = bytes,
		.iov = &iov,
		.nr_iov = 1,
		.done = note_done,
		.context = &result };

	block_queue_submit(fixture->queue, &request);
	assert_int_equal(result, 1);
	block_queue_drain(fixture->queue, false);
	return result;
}

static void check_round_trip(struct fixture *fixture)
{
	static char out[BLOCK * 2], in[BLOCK * 2];

	memset(out, 0x5a, sizeof(out));
	assert_int_equal(run(fixture, BLOCK_WRITE, BLOCK, out, sizeof(out), 0), 0);
	assert_int_equal(run(fixture, BLOCK_FLUSH, 0, NULL, 0, 0), 0);
	assert_int_equal(run(fixture, BLOCK_READ, BLOCK, in, sizeof(in), 0), 0);
	assert_memory_equal(out, in, sizeof(in));
	assert_int_equal(run(fixture, BLOCK_WRITE_ZEROES, BLOCK, NULL, BLOCK, BLOCK_UNMAP), 0);
	assert_int_equal(run(fixture, BLOCK_READ, 0, in, sizeof(in), 0), 0);
	assert_true(bytes_are_zero(in, sizeof(in)));
	assert_int_equal(run(fixture, BLOCK_WRITE, 0, out, BLOCK, BLOCK_FUA), 0);
	assert_int_equal(run(fixture, BLOCK_DISCARD, 0, NULL, BLOCK, 0), 0);
}

static void every_way_of_io_reads_what_was_written(void **state)
{
	static const struct block_options ways[] = {
		{ .aio = BLOCK_AIO_AUTO },
		{ .aio = BLOCK_AIO_THREADS },
		{ .aio = BLOCK_AIO_AUTO, .cache = BLOCK_CACHE_NONE },
		{ .aio = BLOCK_AIO_THREADS, .cache = BLOCK_CACHE_DIRECTSYNC },
		{ .aio = BLOCK_AIO_AUTO, .cache = BLOCK_CACHE_WRITETHROUGH },
		{ .aio = BLOCK_AIO_AUTO, .cache = BLOCK_CACHE_UNSAFE },
	};
	struct fixture *fixture = *state;

	for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
		open_with(fixture, ways[i]);
		assert_int_equal(block_device_size(fixture->device), DISK_BYTES);
		assert_int_equal(block_device_geometry(fixture->device)->write_cache,
			ways[i].cache != BLOCK_CACHE_WRITETHROUGH &&
				ways[i].cache != BLOCK_CACHE_DIRECTSYNC);
		check_round_trip(fixture);
		close_all(fixture);
	}
}

struct flood {
	unsigned done, failed;
	struct block_request requests[NR_BLOCKS];
	struct iovec iov[NR_BLOCKS][2];
	char data[NR_BLOCKS][BLOCK];
};

static void note_flood(struct block_request *request, int result)
{
	struct flood *flood = request->context;

	flood->done++;
	flood->failed += result != 0;
}

static void prepare_flood(
	struct fixture *fixture, struct flood *flood, enum block_operation operation)
{
	flood->done = 0;
	for (unsigned i = 0; i < NR_BLOCKS; i++) {
		flood->iov[i][0] = (struct iovec){ flood->data[i], 100 };
		flood->iov[i][1] = (struct iovec){ flood->data[i] + 100, BLOCK - 100 };
		flood->requests[i] = (struct block_request){ .operation = operation,
			.offset = i * BLOCK,
			.bytes = BLOCK,
			.iov = flood->iov[i],
			.nr_iov = 2,
			.done = note_flood,
			.context = flood };
		block_queue_submit(fixture->queue, &flood->requests[i]);
	}
}

static void submit_flood(
	struct fixture *fixture, struct flood *flood, enum block_operation operation)
{
	prepare_flood(fixture, flood, operation);
	block_queue_kick(fixture->queue);
}

static void complete_flood(struct fixture *fixture, struct flood *flood)
{
	struct pollfd poll_fd = { .fd = block_queue_fd(fixture->queue), .events = POLLIN };

	while (flood->done < NR_BLOCKS) {
		assert_int_equal(poll(&poll_fd, 1, 10000), 1);
		block_queue_complete(fixture->queue);
	}
}

/* More than the queue's depth at once, completed as an event loop would. */
static void a_flood_completes_through_the_descriptor(void **state)
{
	struct fixture *fixture = *state;
	struct flood *flood = calloc(1, sizeof(*flood));

	open_with(fixture, (struct block_options){ 0 });
	for (unsigned i = 0; i < NR_BLOCKS; i++)
		memset(flood->data[i], (int)i, BLOCK);
	for (unsigned round = 0; round < 2; round++) {
		submit_flood(fixture, flood, round ? BLOCK_READ : BLOCK_WRITE);
		complete_flood(fixture, flood);
		if (round == 0)
			memset(flood->data, 0xee, sizeof(flood->data));
	}
	assert_int_equal(flood->failed, 0);
	for (unsigned i = 0; i < NR_BLOCKS; i++) {
		assert_int_equal((unsigned char)flood->data[i][0], i & 0xff);
		assert_memory_equal(flood->data[i], flood->data[i] + 1, BLOCK - 1);
	}
	close_all(fixture);
	free(flood);
}

/* More than a run may take, while another thread flushes. What it does not complete is told. */
static void a_run_completes_what_is_done_at_once(void **state)
{
	struct fixture *fixture = *state;
	struct flood *flood = calloc(1, sizeof(*flood));
	static struct flood flushed;
	static struct block_request flushes[8];
	struct block_statistics statistics;

	open_with(fixture, (struct block_options){ 0 });
	for (unsigned round = 0; round < ARRAY_SIZE(flushes); round++) {
		unsigned first;

		for (unsigned i = 0; i < NR_BLOCKS; i++)
			memset(flood->data[i], (int)(i + round), BLOCK);
		prepare_flood(fixture, flood, BLOCK_WRITE);
		first = block_queue_run(fixture->queue);
		assert_int_equal(first, flood->done);
		complete_flood(fixture, flood);
		memset(flood->data, 0xee, sizeof(flood->data));
		prepare_flood(fixture, flood, BLOCK_READ);
		first = block_queue_run(fixture->queue);
		assert_int_equal(first, flood->done);
		complete_flood(fixture, flood);
		for (unsigned i = 0; i < NR_BLOCKS; i++) {
			assert_int_equal((uint8_t)flood->data[i][0], (uint8_t)(i + round));
			assert_memory_equal(flood->data[i], flood->data[i] + 1, BLOCK - 1);
		}
		flushes[round] = (struct block_request){
			.operation = BLOCK_FLUSH, .done = note_flood, .context = &flushed
		};
		block_queue_submit(fixture->queue, &flushes[round]);
		block_queue_run(fixture->queue);
	}
	block_queue_drain(fixture->queue, false);
	assert_int_equal(flood->failed + flushed.failed, 0);
	block_device_statistics(fixture->device, &statistics);
	assert_int_equal(statistics.writes, ARRAY_SIZE(flushes) * NR_BLOCKS);
	assert_int_equal(statistics.reads, ARRAY_SIZE(flushes) * NR_BLOCKS);
	assert_int_equal(statistics.flushes, ARRAY_SIZE(flushes));
	close_all(fixture);
	free(flood);
}

static void what_a_guest_gets_wrong_is_refused(void **state)
{
	struct fixture *fixture = *state;
	static char data[BLOCK];
	struct iovec iov = { data, 100 };
	int result = 1;
	struct block_request request = { .operation = BLOCK_READ,
		.bytes = 512,
		.iov = &iov,
		.nr_iov = 1,
		.done = note_done,
		.context = &result };

	open_with(fixture, (struct block_options){ 0 });
	assert_int_equal(run(fixture, BLOCK_READ, 1, data, 512, 0), -EINVAL);
	assert_int_equal(run(fixture, BLOCK_READ, 0, data, 511, 0), -EINVAL);
	assert_int_equal(run(fixture, BLOCK_WRITE, DISK_BYTES, data, 512, 0), -EINVAL);
	assert_int_equal(run(fixture, BLOCK_WRITE, DISK_BYTES - 512, data, 1024, 0), -EINVAL);
	assert_int_equal(run(fixture, BLOCK_DISCARD, ~UINT64_C(511), NULL, 1024, 0), -EINVAL);
	block_queue_submit(fixture->queue, &request);
	block_queue_drain(fixture->queue, false);
	assert_int_equal(result, -EINVAL);
	close_all(fixture);
	open_with(fixture, (struct block_options){ .read_only = true });
	assert_int_equal(run(fixture, BLOCK_WRITE, 0, data, 512, 0), -EROFS);
	assert_int_equal(run(fixture, BLOCK_READ, 0, data, 512, 0), 0);
	close_all(fixture);
}

/* The image is replaced by a device that has no room. */
static void a_full_host_stops_and_resumes(void **state)
{
	struct fixture *fixture = *state;
	static char data[BLOCK];
	struct iovec iov = { data, BLOCK };
	int result = 1, good, full;
	struct block_request request = { .operation = BLOCK_WRITE,
		.bytes = BLOCK,
		.iov = &iov,
		.nr_iov = 1,
		.done = note_done,
		.context = &result };

	for (unsigned threads = 0; threads < 2; threads++) {
		open_with(fixture, (struct block_options){ .on_write_error = BLOCK_ON_ERROR_ENOSPC,
					   .aio = threads ? BLOCK_AIO_THREADS : BLOCK_AIO_AUTO });
		fixture->stops = 0;
		result = 1;
		good = dup(fixture->device->image->file->fd);
		full = open("/dev/full", O_RDWR);
		assert_true(full >= 0);
		dup2(full, fixture->device->image->file->fd);
		block_queue_submit(fixture->queue, &request);
		block_queue_drain(fixture->queue, false);
		assert_int_equal(result, 1);
		assert_int_equal(fixture->stops, 1);
		assert_true(block_device_is_stopped(fixture->device));
		assert_non_null(strstr(fixture->error_text, fixture->path));
		assert_non_null(strstr(fixture->error_text, "no room"));
		dup2(good, fixture->device->image->file->fd);
		block_device_resume(fixture->device);
		block_queue_drain(fixture->queue, false);
		assert_int_equal(result, 0);
		assert_false(block_device_is_stopped(fixture->device));
		close(good);
		close(full);
		close_all(fixture);
	}
}

static void an_image_in_use_is_refused_and_its_holder_named(void **state)
{
	struct fixture *fixture = *state;
	struct block_options options = { .path = fixture->path, .format = "raw" };
	struct block_device *second, *third;
	struct error err = { 0 };
	char pid[32];

	open_with(fixture, (struct block_options){ 0 });
	assert_int_equal(block_device_open(&second, &options, NULL, &err), -EAGAIN);
	snprintf(pid, sizeof(pid), "process %d (", getpid());
	assert_non_null(strstr(err.text, pid));
	assert_non_null(strstr(err.text, fixture->path));
	close_all(fixture);
	options.read_only = true;
	assert_int_equal(block_device_open(&second, &options, NULL, NULL), 0);
	assert_int_equal(block_device_open(&third, &options, NULL, NULL), 0);
	options.read_only = false;
	err.exit_code = 0;
	assert_int_equal(block_device_open(&fixture->device, &options, NULL, &err), -EAGAIN);
	block_device_close(second);
	block_device_close(third);
}

static void a_format_is_never_guessed(void **state)
{
	struct fixture *fixture = *state;
	struct block_options options = { .path = fixture->path };
	struct block_device *device;
	struct error err = { 0 };

	assert_int_equal(block_device_open(&device, &options, NULL, &err), -EINVAL);
	assert_non_null(strstr(err.text, "never guessed"));
}

static void limits_hold_requests_back_and_draining_lets_them_go(void **state)
{
	struct fixture *fixture = *state;
	struct flood *flood = calloc(1, sizeof(*flood));

	/* One request an hour after the first. */
	open_with(fixture, (struct block_options){ .limits.bytes = { .per_s = 1, .burst = 1 } });
	submit_flood(fixture, flood, BLOCK_READ);
	usleep(20000);
	block_queue_complete(fixture->queue);
	assert_in_range(flood->done, 0, 1);
	block_queue_drain(fixture->queue, false);
	assert_int_equal(flood->done, NR_BLOCKS);
	submit_flood(fixture, flood, BLOCK_READ);
	block_device_set_limits(fixture->device, &(struct block_limits){ 0 });
	while (flood->done < NR_BLOCKS) {
		struct pollfd poll_fd = { .fd = block_queue_fd(fixture->queue), .events = POLLIN };

		assert_int_equal(poll(&poll_fd, 1, 10000), 1);
		block_queue_complete(fixture->queue);
	}
	close_all(fixture);
	free(flood);
}

static void a_resize_is_told(void **state)
{
	struct fixture *fixture = *state;
	static char data[512];
	struct error err = { 0 };

	open_with(fixture, (struct block_options){ 0 });
	assert_int_equal(block_device_resize(fixture->device, 100, &err), -EINVAL);
	assert_int_equal(block_device_resize(fixture->device, 2 * DISK_BYTES, NULL), 0);
	assert_int_equal(fixture->resizes, 1);
	assert_int_equal(block_device_size(fixture->device), 2 * DISK_BYTES);
	assert_int_equal(run(fixture, BLOCK_WRITE, 2 * DISK_BYTES - 512, data, 512, 0), 0);
	close_all(fixture);
}

/* --- the same over qcow2 --- */

static void make_qcow2(struct fixture *fixture)
{
	struct qcow2_create_options create = qcow2_create_defaults;
	struct error err = { 0 };

	create.path = fixture->path;
	create.size = DISK_BYTES;
	create.cluster_bits = 13;
	if (qcow2_create(&create, &err))
		fail_msg("%s", err.text);
	fixture->format = "qcow2";
}

static void check_qcow2(struct fixture *fixture)
{
	const struct image_options options = { .path = fixture->path, .format = "qcow2" };
	struct qcow2_check check = { 0 };
	struct image *image;

	assert_int_equal(image_open(&image, &options, NULL), 0);
	assert_int_equal(qcow2_check(image, &check, NULL), 0);
	assert_int_equal(check.corruptions, 0);
	assert_int_equal(check.leaks, 0);
	image_close(image);
}

/* Random requests in flight together, each on blocks of its own; the image holds what was written.
 */
static void qcow2_serves_many_requests_at_once(void **state)
{
	struct fixture *fixture = *state;
	struct flood *flood = calloc(1, sizeof(*flood));
	uint8_t expected[NR_BLOCKS] = { 0 }, read[BLOCK];

	make_qcow2(fixture);
	for (unsigned round = 0; round < 40; round++) {
		open_with(fixture,
			(struct block_options){ .cache = BLOCK_CACHE_UNSAFE,
				.aio = round % 4 == 3 ? BLOCK_AIO_THREADS : BLOCK_AIO_AUTO });
		flood->done = flood->failed = 0;
		for (unsigned i = 0; i < NR_BLOCKS; i++) {
			struct block_request *request = &flood->requests[i];
			unsigned dice = (unsigned)random() % 8;

			*request = (struct block_request){ .operation = BLOCK_READ,
				.offset = i * BLOCK,
				.bytes = BLOCK,
				.iov = flood->iov[i],
				.nr_iov = 1,
				.done = note_flood,
				.context = flood };
			flood->iov[i][0] = (struct iovec){ flood->data[i], BLOCK };
			if (dice < 4) {
				request->operation = BLOCK_WRITE;
				expected[i] = (uint8_t)(1 + random() % 255);
				memset(flood->data[i], expected[i], BLOCK);
			} else if (dice < 5) {
				request->operation = BLOCK_WRITE_ZEROES;
				request->flags = round & 1 ? BLOCK_UNMAP : 0;
				expected[i] = 0;
			} else if (dice < 6) {
				request->operation = BLOCK_FLUSH;
			}
			block_queue_submit(fixture->queue, request);
			if (i % 32 == 0)
				block_queue_kick(fixture->queue);
		}
		block_queue_drain(fixture->queue, false);
		assert_int_equal(flood->done, NR_BLOCKS);
		assert_int_equal(flood->failed, 0);
		for (unsigned i = 0; i < NR_BLOCKS; i++) {
			assert_int_equal(
				block_device_read(fixture->device, i * BLOCK, read, BLOCK), 0);
			assert_int_equal(read[0], expected[i]);
			assert_memory_equal(read, read + 1, BLOCK - 1);
		}
		close_all(fixture);
	}
	check_qcow2(fixture);
	free(flood);
}

static void a_full_host_does_not_harm_qcow2(void **state)
{
	struct fixture *fixture = *state;
	struct flood *flood = calloc(1, sizeof(*flood));
	struct host_file *file;
	int good, full;

	make_qcow2(fixture);
	open_with(fixture, (struct block_options){ .on_write_error = BLOCK_ON_ERROR_ENOSPC });
	/* The tables are cached from here on: /dev/full reads as zeros. */
	assert_int_equal(run(fixture, BLOCK_WRITE, 0, flood->data, BLOCK, 0), 0);
	file = fixture->device->image->file;
	good = dup(file->fd);
	full = open("/dev/full", O_RDWR);
	assert_true(full >= 0);
	dup2(full, file->fd);
	memset(flood->data, 7, sizeof(flood->data));
	submit_flood(fixture, flood, BLOCK_WRITE);
	block_queue_drain(fixture->queue, false);
	assert_int_equal(flood->done, 0);
	assert_int_equal(fixture->stops, 1);
	dup2(good, file->fd);
	block_device_resume(fixture->device);
	block_queue_drain(fixture->queue, false);
	assert_int_equal(flood->done, NR_BLOCKS);
	assert_int_equal(flood->failed, 0);
	submit_flood(fixture, flood, BLOCK_READ);
	block_queue_drain(fixture->queue, false);
	assert_int_equal(flood->data[NR_BLOCKS - 1][BLOCK - 1], 7);
	close(good);
	close(full);
	close_all(fixture);
	check_qcow2(fixture);
	free(flood);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			every_way_of_io_reads_what_was_written, setup, teardown),
		cmocka_unit_test_setup_teardown(
			a_flood_completes_through_the_descriptor, setup, teardown),
		cmocka_unit_test_setup_teardown(
			a_run_completes_what_is_done_at_once, setup, teardown),
		cmocka_unit_test_setup_teardown(
			what_a_guest_gets_wrong_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(a_full_host_stops_and_resumes, setup, teardown),
		cmocka_unit_test_setup_teardown(
			an_image_in_use_is_refused_and_its_holder_named, setup, teardown),
		cmocka_unit_test_setup_teardown(a_format_is_never_guessed, setup, teardown),
		cmocka_unit_test_setup_teardown(
			limits_hold_requests_back_and_draining_lets_them_go, setup, teardown),
		cmocka_unit_test_setup_teardown(a_resize_is_told, setup, teardown),
		cmocka_unit_test_setup_teardown(
			qcow2_serves_many_requests_at_once, setup, teardown),
		cmocka_unit_test_setup_teardown(a_full_host_does_not_harm_qcow2, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
