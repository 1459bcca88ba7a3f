/*
 * atoll disk: its options, and what its subcommands share.
 */
#ifndef CLI_DISK_OPTIONS_H
#define CLI_DISK_OPTIONS_H

#include "block/qcow2.h"
#include "cli/command.h"

struct disk_options {
	const char *format;        /* of the image, or of what is made */
	const char *source_format; /* convert */
	const char *backing, *backing_format;
	const char *compression; /* "zlib" or "zstd" */
	uint64_t cluster_bytes;  /* 0: the default */
	uint64_t refcount_bits;
	uint64_t version;
	bool lazy_refcounts, extended_l2, compress, repair, unsafe, shrink, force, json, quiet;
};

/* What a subcommand works on. */
struct disk_call {
	const struct disk_options *options;
	int nr_operands;
	char **operands;
};

/* One of the disk's subcommands. Returns 0, or fills `err`, whose exit code the program ends with.
 */
struct disk_verb {
	const char *name;
	int min_operands, max_operands;
	int (*run)(const struct disk_call *call, struct error *err);
};

int disk_verb_create(const struct disk_call *call, struct error *err);
int disk_verb_info(const struct disk_call *call, struct error *err);
int disk_verb_check(const struct disk_call *call, struct error *err);
int disk_verb_convert(const struct disk_call *call, struct error *err);
int disk_verb_resize(const struct disk_call *call, struct error *err);
int disk_verb_snapshot(const struct disk_call *call, struct error *err);
int disk_verb_commit(const struct disk_call *call, struct error *err);
int disk_verb_rebase(const struct disk_call *call, struct error *err);

/* "10G": bytes, with a suffix of K, M, G, T or P for powers of 1024. */
int disk_verb_parse_size(const char *text, uint64_t *bytes, struct error *err);
/* "1.5 GiB" */
void disk_verb_format_size(uint64_t bytes, char *text, size_t size);
/* Opens the image of the given format. */
int disk_verb_open(struct image **image, const char *path, const char *format, bool read_only,
	const struct image_options *more, struct error *err);
/* The qcow2 options of an image to be made. */
int disk_verb_fill_create_options(const struct disk_options *options, const char *path,
	uint64_t size, struct qcow2_create_options *create, struct error *err);
/* Makes an image of either format; one that is there stays unless --force is given. */
int disk_verb_make(
	const struct disk_options *options, const char *path, uint64_t size, struct error *err);
/* Says on a terminal how far a long work is; every call may print. */
void disk_verb_progress(
	const struct disk_options *options, const char *what, uint64_t done, uint64_t total);

#endif
