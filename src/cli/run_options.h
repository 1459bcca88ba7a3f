/*
 * The options of a virtual machine: of 'atoll run' and 'atoll create', and the keys of vm.yaml.
 */
#ifndef CLI_RUN_OPTIONS_H
#define CLI_RUN_OPTIONS_H

#include "vmm/vm.h"

struct run_options {
	struct vm_config vm;
	const char *trace; /* NULL: off */
	const char *name;  /* NULL: none */
};

/* What holds for what is not given. */
void run_options_init(struct run_options *options);
/* Do they make a machine? Returns 0 or fills `err`. */
int run_options_check(const struct run_options *options, struct error *err);
/* Runs it to its end. Returns the exit code; a mistake fills `err` as well. */
int run_options_run(struct run_options *options, struct error *err);

#endif
