/*
 * Crashes: a workload's writes, resizes and flushes are recorded, and the image is put together as
 * a crash may leave it: all that came before a flush is there; of what came after it, each 512-byte
 * sector is or is not. Every such image must open, show no corruption beyond leaks, and hold what
 * the guest had flushed.
 *
 * With ATOLL_CRASH_DIR set, some of the images are left there for other programs to check.
 */
#include "block/qcow2.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#define SECTOR        512
#define DISK_SECTORS  512
#define MAX_IMAGE     (8u << 20)
#define NR_OPERATIONS 200
#define STATES_EACH   4  /* crash states for each recorded event */
#define NR_DUMPS      12 /* for each variant */
#define MIN_STATES    5000

enum event_kind { EVENT_WRITE, EVENT_ZERO, EVENT_RESIZE, EVENT_FLUSH };

struct event {
	enum event_kind kind;
	uint64_t offset, bytes;
	uint8_t *data;
};

/* One value a sector had; every sector is filled with one number. */
struct version {
	uint32_t value;
	bool discarded; /* from then on: this value, an older one, or zeros */
	size_t started; /* events recorded before */
};

struct history {
	struct version *versions;
	size_t nr_versions;
};

/* A flush that the guest saw complete: what was written before it was submitted must survive. */
struct guest_flush {
	size_t completed; /* events recorded before its completion */
	size_t nr_versions[DISK_SECTORS];
};

struct recording {
	struct event *events;
	size_t nr_events;
	struct history sectors[DISK_SECTORS];
	struct version saved[DISK_SECTORS]; /* by the snapshot */
	struct guest_flush *flushes;
	size_t nr_flushes;
	uint32_t random, next_value;
};

static uint32_t draw(struct recording *recording, uint32_t below)
{
	recording->random = recording->random * 1664525 + 1013904223;
	return (uint32_t)((uint64_t)(recording->random >> 4) * below >> 28);
}

static struct event *append(struct recording *recording, enum event_kind kind)
{
	struct event *event;

	if ((recording->nr_events & (recording->nr_events - 1)) == 0)
		recording->events = realloc(recording->events,
			(recording->nr_events ? 2 * recording->nr_events : 1) * sizeof(*event));
	event = &recording->events[recording->nr_events++];
	*event = (struct event){ .kind = kind };
	return event;
}

static void on_written(void *context, uint64_t offset, struct buffer buffer, uint64_t bytes)
{
	struct event *event = append(context, EVENT_WRITE);

	event->offset = offset;
	event->bytes = bytes;
	event->data = malloc(bytes);
	buffer_load(buffer, event->data, bytes);
}

static void on_zeroed(void *context, uint64_t offset, uint64_t bytes)
{
	struct event *event = append(context, EVENT_ZERO);

	event->offset = offset;
	event->bytes = bytes;
}

static void on_resized(void *context, uint64_t bytes)
{
	append(context, EVENT_RESIZE)->bytes = bytes;
}

static void on_flushed(void *context)
{
	append(context, EVENT_FLUSH);
}

static void note(
	struct recording *recording, uint32_t first, uint32_t count, uint32_t value, bool discarded)
{
	for (uint32_t i = first; i < first + count; i++) {
		struct history *history = &recording->sectors[i];

		history->versions = realloc(
			history->versions, (history->nr_versions + 1) * sizeof(*history->versions));
		history->versions[history->nr_versions++] =
			(struct version){ value, discarded, recording->nr_events };
	}
}

static void note_flush(struct recording *recording, const size_t *nr_versions)
{
	struct guest_flush *flush;

	recording->flushes = realloc(
		recording->flushes, (recording->nr_flushes + 1) * sizeof(*recording->flushes));
	flush = &recording->flushes[recording->nr_flushes++];
	flush->completed = recording->nr_events;
	memcpy(flush->nr_versions, nr_versions, sizeof(flush->nr_versions));
}

static void flush_image(struct recording *recording, struct image *image)
{
	size_t nr_versions[DISK_SECTORS];

	for (unsigned i = 0; i < DISK_SECTORS; i++)
		nr_versions[i] = recording->sectors[i].nr_versions;
	assert_int_equal(image_flush(image), 0);
	note_flush(recording, nr_versions);
}

static void write_some(struct recording *recording, struct image *image)
{
	uint32_t data[40 * SECTOR / 4];
	uint32_t first = draw(recording, DISK_SECTORS);
	uint32_t count = 1 + draw(recording, DISK_SECTORS - first < 40 ? DISK_SECTORS - first : 40);
	uint32_t value = ++recording->next_value;

	for (uint32_t i = 0; i < count * SECTOR / 4; i++)
		data[i] = value;
	note(recording, first, count, value, false);
	assert_int_equal(image_pwrite(image, first * SECTOR, data, count * SECTOR), 0);
}

static void drop_some(struct recording *recording, struct image *image, bool discard)
{
	uint32_t first = draw(recording, DISK_SECTORS);
	uint32_t count = 1 + draw(recording, DISK_SECTORS - first < 90 ? DISK_SECTORS - first : 90);

	note(recording, first, count, 0, discard);
	if (discard)
		assert_int_equal(image_discard(image, first * SECTOR, count * SECTOR), 0);
	else
		assert_int_equal(
			image_zero(image, first * SECTOR, count * SECTOR, draw(recording, 2)), 0);
}

/* What the sectors hold now becomes what the snapshot holds. */
static void save_versions(struct recording *recording)
{
	for (unsigned i = 0; i < DISK_SECTORS; i++) {
		const struct history *history = &recording->sectors[i];

		recording->saved[i] = history->versions[history->nr_versions - 1];
	}
}

static void do_snapshot(struct recording *recording, struct image *image)
{
	struct error err = { 0 };
	int result;

	if (qcow2_of(image)->nr_snapshots == 0) {
		save_versions(recording);
		result = qcow2_snapshot_create(image, "s", &err);
	} else if (draw(recording, 2)) {
		for (unsigned i = 0; i < DISK_SECTORS; i++)
			note(recording, i, 1, recording->saved[i].value,
				recording->saved[i].discarded);
		result = qcow2_snapshot_apply(image, "s", &err);
	} else {
		result = qcow2_snapshot_delete(image, "s", &err);
	}
	if (result)
		fail_msg("%s", err.text);
}

static void record(struct recording *recording, const struct qcow2_create_options *variant,
	const char *path, bool with_snapshots)
{
	const struct host_file_observer observer = { on_written, on_zeroed, on_resized, on_flushed,
		recording };
	struct qcow2_create_options create = *variant;
	struct image_options options = { .path = path,
		.format = "qcow2",
		.ignore_flush = true,
		.check_owners = true,
		.observer = &observer };
	struct error err = { 0 };
	struct image *image;

	create.path = path;
	create.size = DISK_SECTORS * SECTOR;
	create.ignore_flush = true;
	create.observer = &observer;
	if (qcow2_create(&create, &err))
		fail_msg("%s", err.text);
	/* A crash while the image is made may leave no image. */
	note(recording, 0, DISK_SECTORS, 0, false);
	if (image_open(&image, &options, &err))
		fail_msg("%s", err.text);
	flush_image(recording, image);
	for (unsigned i = 0; i < NR_OPERATIONS; i++) {
		uint32_t dice = draw(recording, 16);

		if (dice < 9)
			write_some(recording, image);
		else if (dice < 11)
			drop_some(recording, image, false);
		else if (dice < 13)
			drop_some(recording, image, true);
		else if (dice < 15 && with_snapshots)
			do_snapshot(recording, image);
		else
			flush_image(recording, image);
	}
	assert_int_equal(image_close(image), 0);
}

struct medium {
	uint8_t *bytes;
	uint64_t size;
};

/* With a recording, each sector of the event is a toss. */
static void apply(struct medium *medium, const struct event *event, struct recording *toss)
{
	if (event->kind == EVENT_RESIZE && (!toss || draw(toss, 2))) {
		if (event->bytes < medium->size)
			memset(medium->bytes + event->bytes, 0, medium->size - event->bytes);
		medium->size = event->bytes;
	}
	if (event->kind != EVENT_WRITE && event->kind != EVENT_ZERO)
		return;
	for (uint64_t at = 0; at < event->bytes;) {
		uint64_t offset = event->offset + at;
		uint64_t part = SECTOR - offset % SECTOR;

		if (part > event->bytes - at)
			part = event->bytes - at;
		assert_true(offset + part <= MAX_IMAGE);
		if (!toss || draw(toss, 2)) {
			if (event->kind == EVENT_WRITE)
				memcpy(medium->bytes + offset, event->data + at, part);
			else if (offset + part <= medium->size)
				memset(medium->bytes + offset, 0, part);
			if (event->kind == EVENT_WRITE && offset + part > medium->size)
				medium->size = offset + part;
		}
		at += part;
	}
}

static bool is_allowed(
	const struct recording *recording, unsigned sector, size_t crash, uint32_t value)
{
	const struct history *history = &recording->sectors[sector];
	size_t base = 0;

	for (size_t i = 0; i < recording->nr_flushes; i++) {
		if (recording->flushes[i].completed <= crash)
			base = recording->flushes[i].nr_versions[sector] - 1;
	}
	for (size_t i = base; i < history->nr_versions; i++) {
		const struct version *version = &history->versions[i];

		if (version->started > crash)
			break;
		if (version->value == value)
			return true;
		/* Undefined content is still never another's. */
		for (size_t j = 0; version->discarded && j < i; j++) {
			if (history->versions[j].value == value)
				return true;
		}
	}
	return false;
}

static void check_content(struct recording *recording, struct image *image, size_t crash)
{
	static uint32_t data[DISK_SECTORS][SECTOR / 4];

	assert_int_equal(image_pread(image, 0, data, sizeof(data)), 0);
	for (unsigned sector = 0; sector < DISK_SECTORS; sector++) {
		if (memcmp(data[sector], data[sector] + 1, SECTOR - 4) != 0 ||
			!is_allowed(recording, sector, crash, data[sector][0]))
			fail_msg("after event %zu of %zu, sector %u holds %u", crash,
				recording->nr_events, sector, data[sector][0]);
	}
}

static unsigned nr_states;

static void check_state(
	struct recording *recording, const struct medium *medium, size_t crash, int fd)
{
	struct qcow2_check check = { 0 };
	struct image_options options = { .format = "qcow2", .ignore_flush = true };
	struct error err = { 0 };
	struct image *image;
	char path[64];

	assert_int_equal(ftruncate(fd, 0), 0);
	assert_int_equal(pwrite(fd, medium->bytes, medium->size, 0), medium->size);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	options.path = path;
	if (image_open(&image, &options, &err))
		fail_msg("after event %zu: %s", crash, err.text);
	assert_int_equal(qcow2_check(image, &check, NULL), 0);
	if (check.corruptions)
		fail_msg("after event %zu: %llu corruptions", crash,
			(unsigned long long)check.corruptions);
	check_content(recording, image, crash);
	nr_states++;
	image_close(image);
}

static void dump_state(const struct medium *medium, unsigned variant, unsigned number)
{
	const char *directory = getenv("ATOLL_CRASH_DIR");
	char path[4096];
	FILE *file;

	if (!directory)
		return;
	snprintf(path, sizeof(path), "%s/crash-%u-%u.qcow2", directory, variant, number);
	file = fopen(path, "w");
	assert_non_null(file);
	assert_int_equal(fwrite(medium->bytes, 1, medium->size, file), medium->size);
	fclose(file);
}

static void replay(struct recording *recording, unsigned variant, bool dump)
{
	struct medium durable = { calloc(1, MAX_IMAGE), 0 }, state = { calloc(1, MAX_IMAGE), 0 };
	int fd = memfd_create("crash", MFD_CLOEXEC);
	size_t flushed = 0, first = recording->flushes[0].completed;
	unsigned nr_dumps = 0;

	assert_true(fd >= 0);
	for (size_t crash = 0; crash <= recording->nr_events; crash++) {
		if (crash > 0 && recording->events[crash - 1].kind == EVENT_FLUSH) {
			for (; flushed < crash; flushed++)
				apply(&durable, &recording->events[flushed], NULL);
		}
		for (unsigned i = 0; crash >= first && i < STATES_EACH; i++) {
			memset(state.bytes, 0, state.size);
			memcpy(state.bytes, durable.bytes, durable.size);
			state.size = durable.size;
			/* The first is the plain prefix. */
			for (size_t at = flushed; at < crash; at++)
				apply(&state, &recording->events[at], i ? recording : NULL);
			check_state(recording, &state, crash, fd);
			if (dump && nr_dumps < NR_DUMPS && draw(recording, 40) == 0)
				dump_state(&state, variant, nr_dumps++);
		}
	}
	close(fd);
	free(durable.bytes);
	free(state.bytes);
}

static void forget(struct recording *recording)
{
	for (size_t i = 0; i < recording->nr_events; i++)
		free(recording->events[i].data);
	for (unsigned i = 0; i < DISK_SECTORS; i++)
		free(recording->sectors[i].versions);
	free(recording->events);
	free(recording->flushes);
}

static void a_crash_loses_nothing_that_was_flushed(void **state)
{
	static const struct {
		struct qcow2_create_options options;
		bool snapshots;
	} variants[] = {
		{ { .version = 3, .cluster_bits = 12, .refcount_bits = 16 }, false },
		{ { .version = 3, .cluster_bits = 9, .refcount_bits = 64 }, false },
		{ { .version = 2, .cluster_bits = 10, .refcount_bits = 16 }, false },
		{ { .version = 3, .cluster_bits = 14, .refcount_bits = 16, .extended_l2 = true },
			false },
		{ { .version = 3, .cluster_bits = 11, .refcount_bits = 8, .lazy_refcounts = true },
			false },
		{ { .version = 3, .cluster_bits = 10, .refcount_bits = 16 }, true },
		{ { .version = 2, .cluster_bits = 12, .refcount_bits = 16 }, true },
	};
	char path[] = "/tmp/atoll-crash-XXXXXX";
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	close(fd);
	for (unsigned i = 0; i < ARRAY_SIZE(variants); i++) {
		struct recording recording = { .random = i + 1 };

		record(&recording, &variants[i].options, path, variants[i].snapshots);
		replay(&recording, i,
			!variants[i].snapshots && !variants[i].options.lazy_refcounts);
		forget(&recording);
	}
	unlink(path);
	assert_true(nr_states >= MIN_STATES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_crash_loses_nothing_that_was_flushed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
