/*
 * Commands that tell named VMs something: stop, kill, pause, resume, reset; and rm.
 */
#include "base/bits.h"
#include "base/host_time.h"
#include "base/log.h"
#include "bundle/control_client.h"
#include "cli/command.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

struct stop_options {
	ns_t timeout_ns;
};

static int set_timeout(void *target, const char *value, struct error *err)
{
	struct stop_options *options = target;
	char *end;
	unsigned long seconds = strtoul(value, &end, 10);

	if (*value < '0' || *value > '9' || *end || seconds > 86400)
		return error_set(err, EXIT_CODE_USAGE,
			"--timeout cannot read '%s'; give seconds, such as 30", value);
	options->timeout_ns = (ns_t)seconds * NS_PER_S;
	return 0;
}

const struct option_spec stop_option_table[] = {
	{ "timeout", "SECONDS",
		"How long the guest may take to power off before its process is ended.", "60",
		COMPLETE_NOTHING, NULL, set_timeout },
	{ 0 },
};

/* True when no process has the VM any more. */
static bool wait_until_gone(const struct bundle *bundle, ns_t limit_ns)
{
	const struct timespec pause = { .tv_nsec = 5 * NS_PER_MS };

	while (bundle_is_running(bundle, NULL)) {
		if (host_now() > limit_ns)
			return false;
		nanosleep(&pause, NULL);
	}
	return true;
}

/* Sends one command without arguments. */
static int tell(const struct bundle *bundle, const char *command, struct error *err)
{
	struct control_client client;
	int result = control_connect(&client, bundle, CONTROL_PATIENCE_NS, err);

	if (result)
		return result;
	result = control_call(&client, command, NULL, NULL, err);
	control_disconnect(&client);
	return result;
}

/* Ends the VM's process, politely if it listens. */
static int end_process(const struct bundle *bundle, struct error *err)
{
	struct control_client client;
	pid_t pid;

	if (!bundle_is_running(bundle, &pid))
		return error_set(err, EXIT_CODE_CONFIG,
			"the VM '%s' is not running; 'atoll start %s' starts it", bundle->name,
			bundle->name);
	if (control_connect(&client, bundle, 2 * NS_PER_S, NULL) == 0) {
		control_call(&client, "kill", NULL, NULL, NULL);
		control_disconnect(&client);
		if (wait_until_gone(bundle, host_now() + 5 * NS_PER_S))
			return 0;
	}
	/* The number is read while the lock is held, so it is that of the VM's process. */
	if (bundle_is_running(bundle, &pid) && pid > 0 && kill(pid, SIGKILL) < 0 && errno != ESRCH)
		return error_set_errno(err, EXIT_CODE_PERMISSION, errno,
			"cannot end process %d of the VM '%s'", (int)pid, bundle->name);
	if (wait_until_gone(bundle, host_now() + 10 * NS_PER_S))
		return 0;
	return error_set(err, EXIT_CODE_HOST,
		"process %d of the VM '%s' does not end, though it was killed", (int)pid,
		bundle->name);
}

static int stop_one(struct bundle *bundle, const void *context, struct error *err)
{
	const struct stop_options *options = context;
	ns_t limit_ns = host_now() + options->timeout_ns;

	if (tell(bundle, "stop", err))
		return -1;
	if (wait_until_gone(bundle, limit_ns))
		return 0;
	log_warning("the VM '%s' did not power off in %lld s; its process is ended", bundle->name,
		(long long)(options->timeout_ns / NS_PER_S));
	return end_process(bundle, err);
}

static int kill_one(struct bundle *bundle, const void *context, struct error *err)
{
	(void)context;
	return end_process(bundle, err);
}

static int tell_one(struct bundle *bundle, const void *context, struct error *err)
{
	return tell(bundle, context, err);
}

static int rm_one(struct bundle *bundle, const void *context, struct error *err)
{
	(void)context;
	return bundle_lock(bundle, err) || bundle_remove(bundle, err) ? -1 : 0;
}

/* Does it to each VM that is named, whatever became of the one before; the first mistake's code. */
static int each_vm(const struct command *command, int argc, char **argv, void *target,
	int (*act)(struct bundle *bundle, const void *context, struct error *err),
	const void *context)
{
	struct error err = { 0 };
	int nr_operands, exit_code = EXIT_CODE_OK;
	bool help;

	if (options_parse(command, argc, argv, target, &nr_operands, &help, &err) == 0) {
		if (help) {
			command_print_help(stdout, command);
			return EXIT_CODE_OK;
		}
		if (nr_operands == 0)
			error_set(&err, EXIT_CODE_USAGE,
				"at least one VM has to be named: atoll %s NAME...; 'atoll ls' "
				"lists them",
				command->name);
	}
	if (err.exit_code) {
		log_error("%s", err.text);
		return err.exit_code;
	}
	for (int i = 0; i < nr_operands; i++) {
		struct bundle bundle = { 0 };

		err = (struct error){ 0 };
		if (bundle_open(&bundle, argv[i], &err) == 0)
			act(&bundle, context, &err);
		bundle_close(&bundle);
		if (err.exit_code)
			log_error("%s", err.text);
		if (exit_code == EXIT_CODE_OK)
			exit_code = err.exit_code;
	}
	return exit_code;
}

int stop_main(const struct command *command, int argc, char **argv)
{
	struct stop_options options = { .timeout_ns = 60 * NS_PER_S };

	return each_vm(command, argc, argv, &options, stop_one, &options);
}

int kill_main(const struct command *command, int argc, char **argv)
{
	return each_vm(command, argc, argv, NULL, kill_one, NULL);
}

int pause_main(const struct command *command, int argc, char **argv)
{
	return each_vm(command, argc, argv, NULL, tell_one, "pause");
}

int resume_main(const struct command *command, int argc, char **argv)
{
	return each_vm(command, argc, argv, NULL, tell_one, "resume");
}

int reset_main(const struct command *command, int argc, char **argv)
{
	return each_vm(command, argc, argv, NULL, tell_one, "reset");
}

int rm_main(const struct command *command, int argc, char **argv)
{
	return each_vm(command, argc, argv, NULL, rm_one, NULL);
}
