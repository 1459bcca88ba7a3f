#include "block/qcow2.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#define MAX_DISK      (3u << 20)
#define NR_OPERATIONS 400
#define MAX_SNAPSHOTS 3

/* A disk as it should be. A discard leaves undefined what it covers: `defined` says what to
 * compare. */
struct model {
	uint64_t size;
	uint8_t *bytes;
	bool *defined; /* for each 512-byte sector */
};

struct bench {
	struct qcow2_create_options options;
	char path[64], backing_path[64];
	struct image *image;
	struct model disk;
	struct model snapshots[MAX_SNAPSHOTS];
	char names[MAX_SNAPSHOTS][16];
	unsigned nr_snapshots, next_name;
	uint32_t random;
};

static uint32_t draw(struct bench *bench, uint32_t below)
{
	bench->random = bench->random * 1664525 + 1013904223;
	return (uint32_t)((uint64_t)(bench->random >> 4) * below >> 28);
}

static void model_init(struct model *model)
{
	model->bytes = calloc(1, MAX_DISK);
	model->defined = malloc(MAX_DISK / 512);
	memset(model->defined, 1, MAX_DISK / 512);
}

static void model_finish(struct model *model)
{
	free(model->bytes);
	free(model->defined);
}

static void model_copy(struct model *to, const struct model *from)
{
	to->size = from->size;
	memcpy(to->bytes, from->bytes, MAX_DISK);
	memcpy(to->defined, from->defined, MAX_DISK / 512);
}

static void open_image(struct bench *bench)
{
	const struct image_options options = {
		.path = bench->path, .format = "qcow2", .check_owners = true, .ignore_flush = true
	};
	struct error err = { 0 };

	if (image_open(&bench->image, &options, &err))
		fail_msg("%s", err.text);
	assert_int_equal(bench->image->size, bench->disk.size);
}

static void print_finding(void *context, const char *sentence)
{
	(void)context;
	fprintf(stderr, "check: %s\n", sentence);
}

static void check_image(struct bench *bench, bool leaks_allowed)
{
	struct qcow2_check check = { .report = print_finding };
	struct error err = { 0 };

	if (qcow2_check(bench->image, &check, &err))
		fail_msg("%s", err.text);
	assert_int_equal(check.corruptions, 0);
	if (!leaks_allowed)
		assert_int_equal(check.leaks, 0);
	assert_int_equal(check.stale_flags, 0);
}

static void compare(struct bench *bench)
{
	uint8_t *read = malloc(bench->disk.size);

	assert_int_equal(image_pread(bench->image, 0, read, bench->disk.size), 0);
	for (uint64_t sector = 0; sector < bench->disk.size / 512; sector++) {
		if (!bench->disk.defined[sector]) {
			memcpy(bench->disk.bytes + 512 * sector, read + 512 * sector, 512);
			bench->disk.defined[sector] = true;
			continue;
		}
		if (memcmp(read + 512 * sector, bench->disk.bytes + 512 * sector, 512) != 0)
			fail_msg("sector %llu differs", (unsigned long long)sector);
	}
	free(read);
}

static void reopen(struct bench *bench)
{
	assert_int_equal(image_close(bench->image), 0);
	open_image(bench);
	check_image(bench, false);
	compare(bench);
}

static void pick_range(struct bench *bench, uint64_t *offset, uint64_t *bytes)
{
	uint32_t sectors = (uint32_t)(bench->disk.size / 512);
	uint32_t first = draw(bench, sectors);
	uint32_t most = draw(bench, 4) == 0 ? 600 : 40;
	uint32_t count = 1 + draw(bench, sectors - first < most ? sectors - first : most);

	if (draw(bench, 4) == 0) {
		first &= ~127u;
		count = sectors - first < 128 ? sectors - first : 128;
	}
	*offset = 512ull * first;
	*bytes = 512ull * count;
}

static void write_some(struct bench *bench)
{
	uint64_t offset, bytes;

	pick_range(bench, &offset, &bytes);
	for (uint64_t i = 0; i < bytes; i += 4) {
		uint32_t value = draw(bench, ~0u) | 1;

		memcpy(bench->disk.bytes + offset + i, &value, 4);
	}
	memset(bench->disk.defined + offset / 512, 1, bytes / 512);
	assert_int_equal(image_pwrite(bench->image, offset, bench->disk.bytes + offset, bytes), 0);
}

static void zero_some(struct bench *bench)
{
	uint64_t offset, bytes;

	pick_range(bench, &offset, &bytes);
	memset(bench->disk.bytes + offset, 0, bytes);
	memset(bench->disk.defined + offset / 512, 1, bytes / 512);
	assert_int_equal(image_zero(bench->image, offset, bytes, draw(bench, 2)), 0);
}

static void discard_some(struct bench *bench)
{
	uint64_t offset, bytes;

	pick_range(bench, &offset, &bytes);
	memset(bench->disk.defined + offset / 512, 0, bytes / 512);
	assert_int_equal(image_discard(bench->image, offset, bytes), 0);
}

static void resize_some(struct bench *bench)
{
	uint64_t size = 512ull * (1024 + draw(bench, MAX_DISK / 512 - 1024));
	struct error err = { 0 };

	if (image_resize(bench->image, size, &err))
		fail_msg("%s", err.text);
	/* What comes back after a shrink reads as zeros. */
	if (size < bench->disk.size) {
		memset(bench->disk.bytes + size, 0, MAX_DISK - size);
		memset(bench->disk.defined + size / 512, 1, (MAX_DISK - size) / 512);
	}
	bench->disk.size = size;
}

/* Narrow refcounts cannot count every snapshot: nothing must have changed. */
static void must_be_full(struct bench *bench, const struct error *err)
{
	if (bench->options.refcount_bits > 4 || !strstr(err->text, "cannot count another"))
		fail_msg("%s", err->text);
	compare(bench);
}

static void snapshot_some(struct bench *bench)
{
	struct error err = { 0 };
	unsigned i;

	if (bench->nr_snapshots < MAX_SNAPSHOTS) {
		i = bench->nr_snapshots++;
		compare(bench);
		snprintf(bench->names[i], sizeof(bench->names[i]), "s%u", bench->next_name++);
		model_copy(&bench->snapshots[i], &bench->disk);
		if (qcow2_snapshot_create(bench->image, bench->names[i], &err)) {
			must_be_full(bench, &err);
			bench->nr_snapshots--;
		}
		check_image(bench, false);
		return;
	}
	i = draw(bench, bench->nr_snapshots);
	if (draw(bench, 2)) {
		if (qcow2_snapshot_apply(bench->image, bench->names[i], &err))
			must_be_full(bench, &err);
		else
			model_copy(&bench->disk, &bench->snapshots[i]);
		compare(bench);
	} else {
		struct model model = bench->snapshots[i];
		unsigned last = --bench->nr_snapshots;

		if (qcow2_snapshot_delete(bench->image, bench->names[i], &err))
			fail_msg("%s", err.text);
		bench->snapshots[i] = bench->snapshots[last];
		bench->snapshots[last] = model;
		memmove(bench->names[i], bench->names[last], sizeof(bench->names[i]));
	}
	check_image(bench, false);
}

static void compress_some(struct bench *bench)
{
	uint32_t cluster = bench->image->cluster_bytes;
	uint64_t offset =
		align_down(512ull * draw(bench, (uint32_t)(bench->disk.size / 512)), cluster);
	uint64_t bytes = bench->disk.size - offset < cluster ? bench->disk.size - offset : cluster;

	memset(bench->disk.bytes + offset, 0x40 + (int)draw(bench, 64), bytes);
	memset(bench->disk.defined + offset / 512, 1, bytes / 512);
	assert_int_equal(
		qcow2_write_compressed(bench->image, offset, bench->disk.bytes + offset, bytes), 0);
}

static void run(struct bench *bench, bool may_resize, bool may_snapshot)
{
	for (unsigned i = 0; i < NR_OPERATIONS; i++) {
		switch (draw(bench, 32)) {
		case 0: reopen(bench); break;
		case 1: assert_int_equal(image_flush(bench->image), 0); break;
		case 2:
			if (may_resize)
				resize_some(bench);
			break;
		case 3:
			if (may_snapshot)
				snapshot_some(bench);
			break;
		case 4 ... 8: zero_some(bench); break;
		case 9 ... 12: discard_some(bench); break;
		case 13 ... 15: compress_some(bench); break;
		case 16: compare(bench); break;
		default: write_some(bench); break;
		}
	}
	reopen(bench);
}

static void make_path(char *path)
{
	int fd;

	strcpy(path, "/tmp/atoll-qcow2-XXXXXX");
	fd = mkstemp(path);
	assert_true(fd >= 0);
	close(fd);
}

static void make_backing(struct bench *bench, uint64_t size)
{
	FILE *file;

	make_path(bench->backing_path);
	file = fopen(bench->backing_path, "w");
	for (uint64_t i = 0; i < size; i += 4) {
		uint32_t value = draw(bench, ~0u) | 1;

		fwrite(&value, 4, 1, file);
		memcpy(bench->disk.bytes + i, &value, 4);
	}
	fclose(file);
	bench->options.backing_name = bench->backing_path;
	bench->options.backing_format = "raw";
}

static void start(
	struct bench *bench, const struct qcow2_create_options *options, uint64_t backing_bytes)
{
	struct error err = { 0 };

	*bench = (struct bench){ .options = *options, .random = options->cluster_bits };
	model_init(&bench->disk);
	for (unsigned i = 0; i < MAX_SNAPSHOTS; i++)
		model_init(&bench->snapshots[i]);
	make_path(bench->path);
	bench->disk.size = bench->options.size = (2u << 20) + 512 * 33;
	bench->options.path = bench->path;
	bench->options.ignore_flush = true;
	if (backing_bytes)
		make_backing(bench, backing_bytes);
	if (qcow2_create(&bench->options, &err))
		fail_msg("%s", err.text);
	open_image(bench);
	compare(bench);
	check_image(bench, false);
}

static void stop(struct bench *bench)
{
	assert_int_equal(image_close(bench->image), 0);
	unlink(bench->path);
	if (bench->backing_path[0])
		unlink(bench->backing_path);
	model_finish(&bench->disk);
	for (unsigned i = 0; i < MAX_SNAPSHOTS; i++)
		model_finish(&bench->snapshots[i]);
}

static void random_operations_match_a_model(void **state)
{
	static const struct qcow2_create_options variants[] = {
		{ .version = 3, .cluster_bits = 16, .refcount_bits = 16 },
		{ .version = 3, .cluster_bits = 12, .refcount_bits = 16 },
		{ .version = 3, .cluster_bits = 9, .refcount_bits = 64 },
		{ .version = 3, .cluster_bits = 9, .refcount_bits = 2 },
		{ .version = 3, .cluster_bits = 13, .refcount_bits = 4, .lazy_refcounts = true },
		{ .version = 3, .cluster_bits = 14, .refcount_bits = 16, .extended_l2 = true },
		{ .version = 3,
			.cluster_bits = 17,
			.refcount_bits = 32,
			.extended_l2 = true,
			.compression_type = QCOW2_COMPRESSION_ZSTD },
		{ .version = 3, .cluster_bits = 21, .refcount_bits = 8 },
		{ .version = 2, .cluster_bits = 16, .refcount_bits = 16 },
		{ .version = 2, .cluster_bits = 9, .refcount_bits = 16 },
	};
	struct bench bench;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(variants); i++) {
		start(&bench, &variants[i], 0);
		run(&bench, true, true);
		stop(&bench);
		/* A backing file in the middle of a cluster, smaller than the disk. */
		start(&bench, &variants[i], (1u << 20) + 512 * 5);
		run(&bench, true, true);
		stop(&bench);
	}
}

static void one_bit_refcounts_cannot_share(void **state)
{
	const struct qcow2_create_options options = {
		.version = 3, .cluster_bits = 12, .refcount_bits = 1
	};
	struct error err = { 0 };
	struct bench bench;

	(void)state;
	start(&bench, &options, 0);
	run(&bench, true, false);
	write_some(&bench);
	assert_int_not_equal(qcow2_snapshot_create(bench.image, "s", &err), 0);
	assert_non_null(strstr(err.text, "1-bit refcounts"));
	compare(&bench);
	check_image(&bench, true);
	stop(&bench);
}

#define NR_THREADS 4

struct writer {
	struct image *image;
	unsigned number;
};

/* Each thread has sectors of its own, in clusters that all share. */
static const char *failed = "failed";

static void *write_mine(void *context)
{
	struct writer *writer = context;
	uint8_t data[512], read[512];

	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = writer->number; i < 2048; i += NR_THREADS) {
			memset(data, (int)(i * 7 + round + 1), sizeof(data));
			if (round == 1 && i % 3 == 0)
				image_discard(writer->image, 65536ull * (32 + i % 16), 65536);
			if (image_pwrite(writer->image, 512ull * i, data, 512) ||
				(i % 64 == 0 && image_flush(writer->image)) ||
				image_pread(writer->image, 512ull * i, read, 512) ||
				memcmp(data, read, 512) != 0)
				return (void *)failed;
		}
	}
	return NULL;
}

static void threads_do_not_harm_each_other(void **state)
{
	static const struct qcow2_create_options variants[] = {
		{ .version = 3, .cluster_bits = 16, .refcount_bits = 16 },
		{ .version = 3, .cluster_bits = 14, .refcount_bits = 16, .extended_l2 = true },
	};
	pthread_t threads[NR_THREADS];
	struct writer writers[NR_THREADS];
	struct bench bench;
	void *result;

	(void)state;
	for (size_t v = 0; v < ARRAY_SIZE(variants); v++) {
		start(&bench, &variants[v], 0);
		for (unsigned i = 0; i < NR_THREADS; i++) {
			writers[i] = (struct writer){ bench.image, i };
			pthread_create(&threads[i], NULL, write_mine, &writers[i]);
		}
		for (unsigned i = 0; i < NR_THREADS; i++) {
			pthread_join(threads[i], &result);
			assert_null(result);
		}
		for (unsigned i = 0; i < 2048; i++)
			memset(bench.disk.bytes + 512 * i, (int)(i * 7 + 3), 512);
		reopen(&bench);
		stop(&bench);
	}
}

/* An image that was not closed: refcounts on disk are behind. */
static void a_dirty_image_is_repaired_on_open(void **state)
{
	const struct qcow2_create_options options = {
		.version = 3, .cluster_bits = 12, .refcount_bits = 16, .lazy_refcounts = true
	};
	struct qcow2_check check = { 0 };
	struct bench bench;
	struct qcow2 *q;

	(void)state;
	start(&bench, &options, 0);
	for (unsigned i = 0; i < 50; i++)
		write_some(&bench);
	assert_int_equal(image_flush(bench.image), 0);
	q = qcow2_of(bench.image);
	assert_true(q->header.incompatible & QCOW2_INCOMPATIBLE_DIRTY);
	q->broken = true; /* closing writes nothing more */
	image_close(bench.image);
	open_image(&bench);
	assert_false(qcow2_of(bench.image)->header.incompatible & QCOW2_INCOMPATIBLE_DIRTY);
	compare(&bench);
	assert_int_equal(qcow2_check(bench.image, &check, NULL), 0);
	assert_int_equal(check.corruptions + check.leaks, 0);
	stop(&bench);
}

/* A guest cluster that a hostile image maps over its own metadata. */
static void metadata_is_never_written_over(void **state)
{
	const struct qcow2_create_options options = {
		.version = 3, .cluster_bits = 12, .refcount_bits = 16
	};
	static const uint64_t targets[] = { 0, 1, 2 }; /* header, refcount table and block */
	uint8_t before[4096], after[4096], data[512] = { 1 };
	struct bench bench;
	struct qcow2 *q;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(targets); i++) {
		struct qcow2_cluster cluster = { .owned = true, .alloc = 1 };
		struct error err = { 0 };

		start(&bench, &options, 0);
		q = qcow2_of(bench.image);
		cluster.host = targets[i] ? targets[i] << 12 : q->header.l1_offset;
		assert_int_equal(qcow2_cluster_set(q, 3, &cluster), 0);
		assert_int_equal(image_flush(bench.image), 0);
		host_file_pread(q->file, cluster.host, before, sizeof(before));
		assert_int_equal(image_pwrite(bench.image, 3 << 12, data, sizeof(data)), -EIO);
		host_file_pread(q->file, cluster.host, after, sizeof(after));
		assert_memory_equal(before, after, sizeof(before));
		image_close(bench.image);
		assert_int_not_equal(
			image_open(&bench.image,
				&(struct image_options){ .path = bench.path, .format = "qcow2" },
				&err),
			0);
		assert_non_null(strstr(err.text, "--repair"));
		bench.image = NULL;
		stop(&bench);
	}
}

static void repair_makes_an_image_sound(void **state)
{
	const struct qcow2_create_options options = {
		.version = 3, .cluster_bits = 12, .refcount_bits = 16
	};
	const struct image_options damaged = { .format = "qcow2", .allow_damaged = true };
	struct image_options open_options = damaged;
	struct qcow2_check check = { 0 };
	uint8_t zeros[2048] = { 0 };
	struct bench bench;
	struct qcow2 *q;

	(void)state;
	start(&bench, &options, 0);
	for (unsigned i = 0; i < 50; i++)
		write_some(&bench);
	snapshot_some(&bench);
	for (unsigned i = 0; i < 20; i++)
		write_some(&bench);
	assert_int_equal(image_flush(bench.image), 0);
	q = qcow2_of(bench.image);
	host_file_pwrite(q->file, q->reftable[0] + 100, zeros, sizeof(zeros));
	q->broken = true;
	image_close(bench.image);
	open_options.path = bench.path;
	assert_int_equal(image_open(&bench.image, &open_options, NULL), 0);
	assert_int_equal(qcow2_repair(bench.image, &check, NULL), 0);
	assert_true(check.corruptions > 0);
	image_close(bench.image);
	open_image(&bench);
	check_image(&bench, false);
	compare(&bench);
	stop(&bench);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_operations_match_a_model),
		cmocka_unit_test(one_bit_refcounts_cannot_share),
		cmocka_unit_test(threads_do_not_harm_each_other),
		cmocka_unit_test(a_dirty_image_is_repaired_on_open),
		cmocka_unit_test(metadata_is_never_written_over),
		cmocka_unit_test(repair_makes_an_image_sound),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
