/*
 * vm.yaml, the options of a VM: one mapping, whose keys are the options of 'atoll run' and whose
 * values are a text, a number, true or false for a flag, or a list of texts for an option that can
 * be given several times.
 *
 * It is a strict subset of YAML 1.1: no anchors, aliases, tags, nested values or second documents,
 * no key twice, 64 KiB at most. Every mistake is one sentence that begins with FILE:LINE:COLUMN.
 * What the keys are and what their values mean is the command line's to know (cli/run_options.h).
 */
#ifndef BUNDLE_SPEC_H
#define BUNDLE_SPEC_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>

#define SPEC_MAX_BYTES   65536
#define SPEC_MAX_ENTRIES 256

struct spec_entry {
	char *key;
	char *value;           /* as it stands there, without quotes */
	bool quoted;           /* so true is a text */
	unsigned line, column; /* of the value, from 1 */
};

struct spec {
	struct spec_entry *entries; /* a list gives one entry for each of its items */
	unsigned nr_entries;
};

/* `name` is what mistakes call the file. Fills `spec`, or `err`. */
int spec_parse(
	struct spec *spec, const char *text, size_t size, const char *name, struct error *err);
int spec_read(struct spec *spec, int dir_fd, const char *name, struct error *err);
void spec_finish(struct spec *spec);

/* Adds an entry at the end; a key that is there becomes a list. */
int spec_add(struct spec *spec, const char *key, const char *value, bool quoted, struct error *err);
/* Replaces the file at once or not at all. */
int spec_write(const struct spec *spec, int dir_fd, const char *name, struct error *err);

#endif
