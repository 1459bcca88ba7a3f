/*
 * atoll disk: making, examining and changing disk images. This file has the options and the
 * subcommands' table; disk_info.c tells of images, disk_change.c changes them, disk_copy.c moves
 * data between them.
 */
#include "cli/disk_options.h"
#include "base/log.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int disk_verb_parse_size(const char *text, uint64_t *bytes, struct error *err)
{
	static const char suffixes[] = "KMGTP";
	char *end;
	unsigned shift = 0;

	errno = 0;
	*bytes = strtoull(text, &end, 10);
	if (*end) {
		const char *suffix = strchr(suffixes, toupper((unsigned char)*end));

		shift = suffix ? 10 * (unsigned)(suffix - suffixes + 1) : 0;
		if (suffix)
			end++;
		if (shift && strcmp(end, "iB") == 0)
			end += 2;
	}
	if (!isdigit((unsigned char)text[0]) || *end || errno ||
		*bytes > (uint64_t)INT64_MAX >> shift)
		return error_set(err, EXIT_CODE_USAGE,
			"'%s' is not a size; use bytes, or a number with K, M, G, T or P, such as "
			"10G",
			text);
	*bytes <<= shift;
	return 0;
}

void disk_verb_format_size(uint64_t bytes, char *text, size_t size)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	double value = (double)bytes;
	unsigned unit = 0;

	while (value >= 1024 && unit < ARRAY_SIZE(units) - 1) {
		value /= 1024;
		unit++;
	}
	snprintf(text, size, value < 10 && unit > 0 ? "%.2f %s" : "%.4g %s", value, units[unit]);
}

#define STRING_OPTION(function, field)                                                             \
	static int function(void *target, const char *value, struct error *err)                    \
	{                                                                                          \
		(void)err;                                                                         \
		((struct disk_options *)target)->field = value;                                    \
		return 0;                                                                          \
	}
#define FLAG_OPTION(function, field)                                                               \
	static int function(void *target, const char *value, struct error *err)                    \
	{                                                                                          \
		(void)value;                                                                       \
		(void)err;                                                                         \
		((struct disk_options *)target)->field = true;                                     \
		return 0;                                                                          \
	}
#define SIZE_OPTION(function, field)                                                               \
	static int function(void *target, const char *value, struct error *err)                    \
	{                                                                                          \
		return disk_verb_parse_size(value, &((struct disk_options *)target)->field, err);  \
	}

STRING_OPTION(set_format, format)
STRING_OPTION(set_source_format, source_format)
STRING_OPTION(set_backing, backing)
STRING_OPTION(set_backing_format, backing_format)
STRING_OPTION(set_compression, compression)
SIZE_OPTION(set_cluster_size, cluster_bytes)
SIZE_OPTION(set_refcount_bits, refcount_bits)
SIZE_OPTION(set_version, version)
FLAG_OPTION(set_lazy_refcounts, lazy_refcounts)
FLAG_OPTION(set_extended_l2, extended_l2)
FLAG_OPTION(set_compress, compress)
FLAG_OPTION(set_repair, repair)
FLAG_OPTION(set_unsafe, unsafe)
FLAG_OPTION(set_shrink, shrink)
FLAG_OPTION(set_force, force)
FLAG_OPTION(set_quiet, quiet)

static int set_output(void *target, const char *value, struct error *err)
{
	struct disk_options *options = target;

	options->json = strcmp(value, "json") == 0;
	if (options->json || strcmp(value, "text") == 0)
		return 0;
	return error_set(
		err, EXIT_CODE_USAGE, "--output does not know '%s'; use one of: text json", value);
}

const struct option_spec disk_option_table[] = {
	{ "format", "raw|qcow2",
		"the format of the image, or of the one that is made. The format of an image that "
		"is "
		"there is never guessed.",
		"qcow2", COMPLETE_WORDS, "raw qcow2", set_format, 'f' },
	{ "source-format", "raw|qcow2", "convert: the format of the source.", "qcow2",
		COMPLETE_WORDS, "raw qcow2", set_source_format },
	{ "backing", "FILE",
		"create, rebase: the image that is read where this one holds nothing. As seen from "
		"the "
		"directory of the image. An empty name: none.",
		NULL, COMPLETE_FILE, NULL, set_backing },
	{ "backing-format", "raw|qcow2", "the format of --backing.", NULL, COMPLETE_WORDS,
		"raw qcow2", set_backing_format },
	{ "cluster-size", "SIZE", "create, convert: 512 to 2M.", "64K", COMPLETE_NOTHING, NULL,
		set_cluster_size },
	{ "refcount-bits", "BITS", "create, convert: the width of refcounts: 1 to 64.", "16",
		COMPLETE_NOTHING, NULL, set_refcount_bits },
	{ "qcow2-version", "2|3", "create, convert: 2 for programs older than 2012.", "3",
		COMPLETE_WORDS, "2 3", set_version },
	{ "compression", "zlib|zstd", "create, convert: how compressed clusters are compressed.",
		"zlib", COMPLETE_WORDS, "zlib zstd", set_compression },
	{ "lazy-refcounts", NULL,
		"create, convert: write refcounts late. Faster; an image that was not closed is "
		"repaired "
		"when it is next opened.",
		NULL, COMPLETE_NOTHING, NULL, set_lazy_refcounts },
	{ "extended-l2", NULL,
		"create, convert: allocate by thirty-seconds of a cluster. For large clusters.",
		NULL, COMPLETE_NOTHING, NULL, set_extended_l2 },
	{ "compress", NULL, "convert: compress.", NULL, COMPLETE_NOTHING, NULL, set_compress },
	{ "repair", NULL, "check: mend what is wrong.", NULL, COMPLETE_NOTHING, NULL, set_repair },
	{ "shrink", NULL, "resize: allow a smaller size, which loses what lies beyond it.", NULL,
		COMPLETE_NOTHING, NULL, set_shrink },
	{ "unsafe", NULL,
		"rebase: change only the name of the backing file. For one that moved, or that has "
		"the "
		"same content.",
		NULL, COMPLETE_NOTHING, NULL, set_unsafe, 'u' },
	{ "force", NULL, "create, convert: replace an image that is there.", NULL, COMPLETE_NOTHING,
		NULL, set_force },
	{ "quiet", NULL, "do not show progress.", NULL, COMPLETE_NOTHING, NULL, set_quiet, 'q' },
	{ "output", "text|json", "info, check, snapshot list: text for people, json for programs.",
		"text", COMPLETE_WORDS, "text json", set_output, 'o' },
	{ 0 },
};

static const struct disk_verb verbs[] = {
	{ "create", 1, 2, disk_verb_create },
	{ "info", 1, 1, disk_verb_info },
	{ "check", 1, 1, disk_verb_check },
	{ "convert", 2, 2, disk_verb_convert },
	{ "resize", 2, 2, disk_verb_resize },
	{ "snapshot", 2, 3, disk_verb_snapshot },
	{ "commit", 1, 1, disk_verb_commit },
	{ "rebase", 1, 1, disk_verb_rebase },
};

int disk_verb_open(struct image **image, const char *path, const char *format, bool read_only,
	const struct image_options *more, struct error *err)
{
	struct image_options options = more ? *more : (struct image_options){ 0 };

	options.path = path;
	options.format = format;
	options.read_only = read_only;
	return image_open(image, &options, err);
}

int disk_verb_fill_create_options(const struct disk_options *options, const char *path,
	uint64_t size, struct qcow2_create_options *create, struct error *err)
{
	*create = qcow2_create_defaults;
	create->path = path;
	create->size = size;
	create->lazy_refcounts = options->lazy_refcounts;
	create->extended_l2 = options->extended_l2;
	create->backing_name = options->backing;
	create->backing_format = options->backing_format;
	if (options->version)
		create->version = options->version > 3 ? 0 : (uint32_t)options->version;
	if (options->refcount_bits)
		create->refcount_bits =
			options->refcount_bits > 64 ? 0 : (uint32_t)options->refcount_bits;
	if (options->cluster_bytes & (options->cluster_bytes - 1))
		create->cluster_bits = 0;
	else if (options->cluster_bytes)
		create->cluster_bits = (uint32_t)__builtin_ctzll(options->cluster_bytes);
	if (!options->compression || strcmp(options->compression, "zlib") == 0)
		return 0;
	if (strcmp(options->compression, "zstd") != 0)
		return error_set(err, EXIT_CODE_USAGE,
			"there is no compression '%s'; use zlib or zstd", options->compression);
	create->compression_type = QCOW2_COMPRESSION_ZSTD;
	return 0;
}

static int make_raw(
	const struct disk_options *options, const char *path, uint64_t size, struct error *err)
{
	const struct host_file_options file_options = { .create = true };
	struct host_file *file;
	int result;

	if (options->backing || options->cluster_bytes || options->refcount_bits ||
		options->version || options->compression || options->lazy_refcounts ||
		options->extended_l2)
		return error_set(err, EXIT_CODE_USAGE,
			"raw images have no backing file, clusters or compression; leave those "
			"options "
			"out, or use --format qcow2");
	result = host_file_open(&file, path, &file_options, err);
	if (result)
		return result;
	result = host_file_resize(file, align_up(size, 512));
	if (result)
		error_set_errno(
			err, EXIT_CODE_CANNOT_WRITE, -result, "cannot create the image '%s'", path);
	host_file_close(file);
	return result;
}

int disk_verb_make(
	const struct disk_options *options, const char *path, uint64_t size, struct error *err)
{
	struct qcow2_create_options create;
	struct stat status;
	int result;

	if (!options->force && stat(path, &status) == 0 && S_ISREG(status.st_mode) &&
		status.st_size > 0)
		return error_set(err, EXIT_CODE_CANNOT_WRITE,
			"'%s' is there already; use another name, or --force to replace it", path);
	if (strcmp(options->format, "raw") == 0)
		return make_raw(options, path, size, err);
	result = disk_verb_fill_create_options(options, path, size, &create, err);
	return result ? result : qcow2_create(&create, err);
}

void disk_verb_progress(
	const struct disk_options *options, const char *what, uint64_t done, uint64_t total)
{
	static unsigned shown = ~0u;
	unsigned percent = total ? (unsigned)(100.0 * (double)done / (double)total) : 100;

	if (options->quiet || percent == shown || !isatty(STDERR_FILENO))
		return;
	shown = percent;
	fprintf(stderr, "\r%s: %u %%%s", what, percent, percent == 100 ? "\n" : "");
}

static int unknown_verb(const char *name, struct error *err)
{
	return error_set(err, EXIT_CODE_USAGE,
		"atoll disk %s%sis unknown; use create, info, check, convert, resize, snapshot, "
		"commit or "
		"rebase",
		name, *name ? " " : "");
}

static int run_verb(const struct disk_call *call, struct error *err)
{
	const char *name = call->nr_operands ? call->operands[0] : "";
	struct disk_call rest = *call;

	if (!image_format_find(call->options->format, err) ||
		!image_format_find(call->options->source_format, err))
		return -EINVAL;
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++) {
		if (strcmp(verbs[i].name, name) != 0)
			continue;
		rest.nr_operands--;
		rest.operands++;
		if (rest.nr_operands < verbs[i].min_operands ||
			rest.nr_operands > verbs[i].max_operands)
			return error_set(err, EXIT_CODE_USAGE,
				"atoll disk %s has %d operands, but takes %d%s; see 'atoll disk "
				"--help'",
				name, rest.nr_operands, verbs[i].min_operands,
				verbs[i].max_operands > verbs[i].min_operands ? " or one more"
									      : "");
		return verbs[i].run(&rest, err);
	}
	return unknown_verb(name, err);
}

int disk_main(const struct command *command, int argc, char **argv)
{
	struct disk_options options = { .format = "qcow2", .source_format = "qcow2" };
	struct disk_call call = { .options = &options, .operands = argv };
	struct error err = { 0 };
	bool help;
	int result = options_parse(command, argc, argv, &options, &call.nr_operands, &help, &err);

	if (result == 0 && help) {
		command_print_help(stdout, command);
		return EXIT_CODE_OK;
	}
	if (result == 0)
		result = run_verb(&call, &err);
	if (result == 0)
		return EXIT_CODE_OK;
	error_set_errno(
		&err, EXIT_CODE_HOST, result < 0 ? -result : EIO, "the disk cannot be worked on");
	log_error("%s", err.text);
	return err.exit_code;
}
