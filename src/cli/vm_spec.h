/*
 * Options and vm.yaml: each option of 'atoll run' is a key, written the same way.
 */
#ifndef CLI_VM_SPEC_H
#define CLI_VM_SPEC_H

#include "bundle/bundle.h"
#include "bundle/spec.h"
#include "cli/option.h"
#include "cli/run_options.h"

/*
 * Adds an option that was given on a command line to the struct spec `context`; a relative path in
 * it becomes absolute. For options_parse_recorded.
 */
int vm_spec_record(
	void *context, const struct option_spec *option, const char *value, struct error *err);

/* An option's value with its path made absolute, to be freed; NULL if memory ran out. */
char *vm_spec_absolute(const struct option_spec *option, const char *value);

/* Sets the options; they point into `spec`. `file` is what mistakes call it. */
int vm_spec_apply(
	const struct spec *spec, const char *file, struct run_options *options, struct error *err);

/* Makes the VM `options->name` and runs it in this process, with this terminal. */
int vm_run_named(struct run_options *options, const struct spec *spec, struct error *err);

/* Starts a VM in the background, and stays with its console if `attach`; prints mistakes. Returns
 * the exit code of the command. */
int vm_start_named(const char *name, bool attach);

#endif
