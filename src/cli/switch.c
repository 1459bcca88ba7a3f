/*
 * atoll switch: an Ethernet switch between virtual machines, until it is ended.
 */
#include "base/log.h"
#include "cli/command.h"
#include "net/switch.h"

#include <signal.h>
#include <string.h>

/* For the signal handler. */
static struct net_switch *running;

static void stop(int number)
{
	(void)number;
	switch_stop(running);
}

int switch_main(const struct command *self, int argc, char **argv)
{
	struct sigaction action = { .sa_handler = stop };
	struct error err = { 0 };
	int nr_operands, ret;
	bool help;

	if (options_parse(self, argc, argv, NULL, &nr_operands, &help, &err))
		goto mistake;
	if (help) {
		command_print_help(stdout, self);
		return EXIT_CODE_OK;
	}
	if (nr_operands != 1) {
		error_set(&err, EXIT_CODE_USAGE,
			"atoll switch needs the path of its socket, such as: atoll switch "
			"lan.sock");
		goto mistake;
	}
	if (switch_open(&running, argv[0], &err))
		goto mistake;
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	log_info("the switch listens at '%s'; plug machines in with --net switch,path=%s", argv[0],
		argv[0]);
	ret = switch_run(running);
	if (ret < 0)
		error_set_errno(&err, EXIT_CODE_HOST, -ret, "the switch failed");
	switch_close(running);
	if (!ret)
		return EXIT_CODE_OK;
mistake:
	log_error("%s", err.text);
	return err.exit_code;
}
