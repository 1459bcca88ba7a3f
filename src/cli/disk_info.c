/*
 * atoll disk info, check and snapshot list: what there is to know of an image.
 */
#include "cli/disk_options.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static void print_json(json_t *object)
{
	json_dumpf(object, stdout, JSON_INDENT(2));
	putchar('\n');
	json_decref(object);
}

static json_t *text(const char *value)
{
	/* What an image says need not be UTF-8. */
	json_t *string = json_string(value);

	return string ? string : json_string("?");
}

static json_t *snapshots_json(const struct qcow2 *q)
{
	json_t *array = json_array();

	for (uint32_t i = 0; i < q->nr_snapshots; i++) {
		const struct qcow2_snapshot *snapshot = &q->snapshots[i];

		json_array_append_new(
			array, json_pack("{so so si sI sI}", "id", text(snapshot->id), "name",
				       text(snapshot->name), "date", (int)snapshot->seconds, "size",
				       (json_int_t)snapshot->size, "vm_state_bytes",
				       (json_int_t)snapshot->vm_state_bytes));
	}
	return array;
}

static void add_qcow2_json(json_t *object, const struct qcow2 *q)
{
	json_object_set_new(object, "cluster_bytes", json_integer((json_int_t)q->cluster_bytes));
	json_object_set_new(object, "qcow2_version", json_integer(q->header.version));
	json_object_set_new(object, "refcount_bits", json_integer(q->refcount_bits));
	json_object_set_new(object, "extended_l2", json_boolean(q->nr_subclusters > 1));
	json_object_set_new(object, "lazy_refcounts",
		json_boolean(q->header.compatible & QCOW2_COMPATIBLE_LAZY));
	json_object_set_new(
		object, "compression", text(q->header.compression_type ? "zstd" : "zlib"));
	json_object_set_new(
		object, "dirty", json_boolean(q->header.incompatible & QCOW2_INCOMPATIBLE_DIRTY));
	json_object_set_new(object, "corrupt",
		json_boolean(q->header.incompatible & QCOW2_INCOMPATIBLE_CORRUPT));
	json_object_set_new(
		object, "backing", q->backing_name ? text(q->backing_name) : json_null());
	json_object_set_new(object, "backing_format",
		q->backing_format ? text(q->backing_format) : json_null());
	json_object_set_new(object, "snapshots", snapshots_json(q));
}

static void print_info_json(struct image *image)
{
	json_t *object = json_pack("{so ss sI sI}", "path", text(image->path), "format",
		image->format->name, "size", (json_int_t)image->size, "host_bytes",
		(json_int_t)host_file_allocated(image->file));
	struct qcow2 *q = qcow2_of(image);

	if (q)
		add_qcow2_json(object, q);
	print_json(object);
}

static void print_snapshots(const struct qcow2 *q)
{
	for (uint32_t i = 0; i < q->nr_snapshots; i++) {
		const struct qcow2_snapshot *snapshot = &q->snapshots[i];
		time_t seconds = snapshot->seconds;
		char date[32], size[32];
		struct tm calendar;

		localtime_r(&seconds, &calendar);
		strftime(date, sizeof(date), "%Y-%m-%d %H:%M:%S", &calendar);
		disk_verb_format_size(snapshot->size, size, sizeof(size));
		printf("%-4s %-24s %s %s\n", snapshot->id, snapshot->name, date, size);
	}
}

static void print_qcow2(const struct qcow2 *q)
{
	char size[32];

	disk_verb_format_size(q->cluster_bytes, size, sizeof(size));
	printf("clusters:    %s%s\n", size, q->nr_subclusters > 1 ? ", extended L2" : "");
	printf("version:     %u, %u-bit refcounts%s, %s\n", q->header.version, q->refcount_bits,
		q->header.compatible & QCOW2_COMPATIBLE_LAZY ? " (lazy)" : "",
		q->header.compression_type ? "zstd" : "zlib");
	if (q->backing_name)
		printf("backing:     %s (%s)\n", q->backing_name,
			q->backing_format ? q->backing_format : "format not given");
	if (q->header.incompatible & QCOW2_INCOMPATIBLE_DIRTY)
		printf("state:       not closed; repaired when it is next opened for writing\n");
	if (q->header.incompatible & QCOW2_INCOMPATIBLE_CORRUPT)
		printf("state:       corrupt; see 'atoll disk check --repair'\n");
	if (q->nr_snapshots)
		printf("snapshots:\n");
	print_snapshots(q);
}

int disk_verb_info(const struct disk_call *call, struct error *err)
{
	const struct image_options more = { .unlocked = true, .no_backing = true };
	char size[32], allocated[32];
	struct image *image;
	int result =
		disk_verb_open(&image, call->operands[0], call->options->format, true, &more, err);

	if (result)
		return result;
	if (call->options->json) {
		print_info_json(image);
	} else {
		disk_verb_format_size(image->size, size, sizeof(size));
		disk_verb_format_size(
			host_file_allocated(image->file), allocated, sizeof(allocated));
		printf("image:       %s\nformat:      %s\nsize:        %s (%llu bytes)\n"
		       "on the host: %s\n",
			image->path, image->format->name, size, (unsigned long long)image->size,
			allocated);
		if (qcow2_of(image))
			print_qcow2(qcow2_of(image));
	}
	return image_close(image);
}

static void print_finding(void *context, const char *sentence)
{
	(void)context;
	fprintf(stderr, "%s\n", sentence);
}

static void print_check_json(const struct qcow2_check *check, bool repaired)
{
	print_json(json_pack("{sI sI sI sI sI sI sI sb sb sb}", "corruptions",
		(json_int_t)check->corruptions, "leaks", (json_int_t)check->leaks, "stale_flags",
		(json_int_t)check->stale_flags, "total_clusters", (json_int_t)check->total_clusters,
		"allocated_clusters", (json_int_t)check->allocated_clusters, "compressed_clusters",
		(json_int_t)check->compressed_clusters, "end_offset", (json_int_t)check->end_offset,
		"dirty", (int)check->dirty, "corrupt", (int)check->marked_corrupt, "repaired",
		(int)repaired));
}

static void print_check(const struct qcow2_check *check, bool repaired)
{
	printf("%llu of %llu clusters allocated, %llu of them compressed\n",
		(unsigned long long)check->allocated_clusters,
		(unsigned long long)check->total_clusters,
		(unsigned long long)check->compressed_clusters);
	if (check->corruptions == 0 && check->leaks == 0 && !check->dirty && !check->marked_corrupt)
		printf("the image is sound\n");
	else
		printf("%llu corruptions, %llu leaked clusters%s\n",
			(unsigned long long)check->corruptions, (unsigned long long)check->leaks,
			repaired ? ": repaired" : "");
}

int disk_verb_check(const struct disk_call *call, struct error *err)
{
	const struct disk_options *options = call->options;
	const struct image_options more = { .no_backing = true, .allow_damaged = true };
	struct qcow2_check check = { .report = options->json ? NULL : print_finding };
	struct image *image;
	int result;

	if (strcmp(options->format, "qcow2") != 0)
		return error_set(err, EXIT_CODE_USAGE,
			"a raw image has nothing to check; use --format qcow2 if it is one");
	result = disk_verb_open(&image, call->operands[0], "qcow2", !options->repair, &more, err);
	if (result)
		return result;
	result = options->repair ? qcow2_repair(image, &check, err)
				 : qcow2_check(image, &check, err);
	if (result == 0 && options->json)
		print_check_json(&check, options->repair);
	else if (result == 0)
		print_check(&check, options->repair);
	image_close(image);
	if (result == 0 && check.corruptions + check.leaks > 0 && !options->repair)
		return error_set(err, EXIT_CODE_BAD_FILE,
			"'%s' has %llu corruptions and %llu leaked clusters; 'atoll disk check "
			"--repair' "
			"mends what can be",
			call->operands[0], (unsigned long long)check.corruptions,
			(unsigned long long)check.leaks);
	return result;
}

static int list_snapshots(const struct disk_call *call, struct error *err)
{
	const struct image_options more = { .unlocked = true, .no_backing = true };
	struct image *image;
	int result = disk_verb_open(&image, call->operands[1], "qcow2", true, &more, err);

	if (result)
		return result;
	if (call->options->json)
		print_json(snapshots_json(qcow2_of(image)));
	else
		print_snapshots(qcow2_of(image));
	return image_close(image);
}

int disk_verb_snapshot(const struct disk_call *call, struct error *err)
{
	static const struct {
		const char *name;
		int (*run)(struct image *image, const char *name, struct error *err);
	} actions[] = {
		{ "create", qcow2_snapshot_create },
		{ "apply", qcow2_snapshot_apply },
		{ "delete", qcow2_snapshot_delete },
	};
	const char *action = call->operands[0];
	struct image *image;
	int result, closed;

	if (strcmp(action, "list") == 0 && call->nr_operands == 2)
		return list_snapshots(call, err);
	for (size_t i = 0; i < ARRAY_SIZE(actions); i++) {
		if (strcmp(action, actions[i].name) != 0 || call->nr_operands != 3)
			continue;
		result = disk_verb_open(&image, call->operands[1], "qcow2", false, NULL, err);
		if (result)
			return result;
		result = actions[i].run(image, call->operands[2], err);
		closed = image_close(image);
		return result ? result : closed;
	}
	return error_set(err, EXIT_CODE_USAGE,
		"use 'atoll disk snapshot list IMAGE', or create, apply or delete with IMAGE and "
		"NAME");
}
