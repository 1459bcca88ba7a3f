/*
 * atoll create, atoll start, and atoll run --name: VMs that have a directory.
 *
 * 'start' runs the VM in a process of its own session, started through two forks so that it is
 * nobody's child and cannot get a terminal. Until the guest runs, that process keeps the terminal's
 * stderr, so that its mistakes are printed where they are expected; it reports through a pipe.
 */
#include "base/log.h"
#include "cli/attach.h"
#include "cli/command.h"
#include "cli/vm_spec.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define READY 255 /* instead of an exit code: the guest runs */

/* Makes the directory and vm.yaml of a new VM. */
static int create_bundle(
	struct bundle *bundle, const char *name, const struct spec *spec, struct error *err)
{
	if (bundle_create(bundle, name, err))
		return -1;
	if (spec_write(spec, bundle->dir_fd, BUNDLE_SPEC, err) == 0)
		return 0;
	if (bundle_lock(bundle, NULL) == 0)
		bundle_remove(bundle, NULL);
	bundle_close(bundle);
	return -1;
}

int create_main(const struct command *command, int argc, char **argv)
{
	struct run_options options;
	struct bundle bundle = { 0 };
	struct spec spec = { 0 };
	struct error err = { 0 };
	const char *name;
	int nr_operands;
	bool help = false;

	run_options_init(&options);
	if (options_parse_recorded(command, argc, argv, &options, &nr_operands, &help,
		    vm_spec_record, &spec, &err) ||
		help)
		goto done;
	name = options.name ? options.name : argv[0];
	if (nr_operands + (options.name != NULL) != 1)
		error_set(&err, EXIT_CODE_USAGE,
			"a new VM needs one name: atoll create NAME [OPTION...]");
	else if (run_options_check(&options, &err) == 0 &&
		 create_bundle(&bundle, name, &spec, &err) == 0)
		log_info("made the VM '%s' in %s; 'atoll start %s' starts it", name, bundle.path,
			name);
done:
	if (help)
		command_print_help(stdout, command);
	if (err.exit_code)
		log_error("%s", err.text);
	bundle_close(&bundle);
	spec_finish(&spec);
	return err.exit_code;
}

/* Paths in vm.yaml are relative to the VM's directory. */
static int enter_bundle(struct bundle *bundle, struct error *err)
{
	if (fchdir(bundle->dir_fd) < 0)
		return error_set_errno(err, EXIT_CODE_PERMISSION, errno,
			"cannot enter the VM's directory %s", bundle->path);
	return bundle_claim(bundle, err);
}

int vm_run_named(struct run_options *options, const struct spec *spec, struct error *err)
{
	struct run_options kept;
	struct bundle bundle = { 0 };
	int exit_code;

	if (create_bundle(&bundle, options->name, spec, err))
		return err->exit_code;
	/* As it will be when it is started again. */
	run_options_init(&kept);
	kept.vm.started_ns = options->vm.started_ns;
	kept.vm.bundle = &bundle;
	if (bundle_lock(&bundle, err) || vm_spec_apply(spec, BUNDLE_SPEC, &kept, err) ||
		enter_bundle(&bundle, err))
		exit_code = err->exit_code;
	else
		exit_code = run_options_run(&kept, err);
	bundle_write_exit(&bundle, exit_code);
	bundle_close(&bundle);
	return exit_code;
}

struct background {
	struct bundle *bundle;
	int report_fd;
};

static void report(int report_fd, int code)
{
	unsigned char byte = (unsigned char)code;

	(void)!write(report_fd, &byte, 1);
	close(report_fd);
}

/* The guest runs: what atoll says goes into the log from now on. */
static void background_ready(void *context)
{
	struct background *background = context;

	log_to_file(background->bundle->dir_fd, BUNDLE_LOG);
	report(background->report_fd, READY);
	background->report_fd = -1;
}

/* In the VM's process. */
static _Noreturn void background_main(
	struct bundle *bundle, struct run_options *options, int report_fd)
{
	struct background background = { bundle, report_fd };
	struct error err = { 0 };
	int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC), exit_code;

	if (null_fd >= 0) {
		dup2(null_fd, STDIN_FILENO);
		dup2(null_fd, STDOUT_FILENO);
		close(null_fd);
	}
	options->vm.bundle = bundle;
	options->vm.ready = background_ready;
	options->vm.ready_context = &background;
	if (enter_bundle(bundle, &err))
		exit_code = err.exit_code;
	else
		exit_code = run_options_run(options, &err);
	if (err.exit_code)
		log_error("%s", err.text);
	bundle_write_exit(bundle, exit_code);
	if (background.report_fd >= 0)
		report(background.report_fd, exit_code);
	_exit(exit_code);
}

/* Returns 0 when the guest runs, else the exit code that its process ended with, having printed
 * why. */
static int start_in_background(struct bundle *bundle, struct run_options *options)
{
	unsigned char byte;
	ssize_t count;
	int ends[2];
	pid_t child;

	if (pipe2(ends, O_CLOEXEC) < 0 || (child = fork()) < 0) {
		log_error("cannot start a process: %s", strerror(errno));
		return EXIT_CODE_HOST;
	}
	if (child == 0) {
		close(ends[0]);
		setsid();
		child = fork();
		if (child == 0)
			background_main(bundle, options, ends[1]);
		_exit(child < 0);
	}
	close(ends[1]);
	while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
		;
	while ((count = read(ends[0], &byte, 1)) < 0 && errno == EINTR)
		;
	close(ends[0]);
	if (count == 1)
		return byte == READY ? EXIT_CODE_OK : byte;
	log_error("the process of the VM '%s' died while it started; %s/" BUNDLE_LOG
		  " may tell why",
		bundle->name, bundle->path);
	return EXIT_CODE_INTERNAL;
}

struct start_options {
	bool attach;
};

static int set_attach(void *target, const char *value, struct error *err)
{
	struct start_options *options = target;

	(void)value;
	(void)err;
	options->attach = true;
	return 0;
}

const struct option_spec start_option_table[] = {
	{ "attach", NULL,
		"Stay with its console; Ctrl-A d leaves it running. If it ends before, so does "
		"atoll, with its exit code.",
		NULL, COMPLETE_NOTHING, NULL, set_attach },
	{ 0 },
};

int vm_start_named(const char *name, bool attach)
{
	struct run_options options;
	struct bundle bundle = { 0 };
	struct spec spec = { 0 };
	struct error err = { 0 };
	int exit_code;

	/* The VM's process outlives who called: it must not hold a pipe or a lock of theirs. */
	close_range(STDERR_FILENO + 1, ~0u, 0);
	run_options_init(&options);
	options.vm.serial = "console";
	if (bundle_open(&bundle, name, &err) == 0 &&
		spec_read(&spec, bundle.dir_fd, BUNDLE_SPEC, &err) == 0 &&
		vm_spec_apply(&spec, BUNDLE_SPEC, &options, &err) == 0 &&
		run_options_check(&options, &err) == 0 &&
		(strcmp(options.vm.serial, "stdio") != 0 ||
			error_set(&err, EXIT_CODE_CONFIG,
				"the VM '%s' has 'serial: stdio', and no terminal in the "
				"background; use 'serial: console'",
				name) == 0))
		bundle_lock(&bundle, &err);
	if (err.exit_code) {
		log_error("%s", err.text);
		exit_code = err.exit_code;
	} else {
		exit_code = start_in_background(&bundle, &options);
		close(bundle.lock_fd);
		bundle.lock_fd = -1;
		if (exit_code == EXIT_CODE_OK && attach)
			exit_code = attach_to_console(&bundle, ATTACH_SERIAL, true);
	}
	bundle_close(&bundle);
	spec_finish(&spec);
	return exit_code;
}

int start_main(const struct command *command, int argc, char **argv)
{
	struct start_options options = { 0 };
	struct error err = { 0 };
	int nr_operands;
	bool help;

	if (options_parse(command, argc, argv, &options, &nr_operands, &help, &err) == 0) {
		if (help) {
			command_print_help(stdout, command);
			return EXIT_CODE_OK;
		}
		if (nr_operands == 1)
			return vm_start_named(argv[0], options.attach);
		error_set(&err, EXIT_CODE_USAGE,
			"one VM has to be named: atoll start NAME; 'atoll ls' lists them");
	}
	log_error("%s", err.text);
	return err.exit_code;
}
