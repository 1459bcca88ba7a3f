/*
 * atoll: finds the command and runs it.
 */
#include "base/log.h"
#include "cli/command.h"
#include "share/share_server.h"

#include <string.h>

struct help_options {
	const char *format;
};

static int set_format(void *target, const char *value, struct error *err)
{
	struct help_options *options = target;

	if (strcmp(value, "text") != 0 && strcmp(value, "man") != 0 && strcmp(value, "bash") != 0)
		return error_set(err, EXIT_CODE_USAGE,
			"--format does not know '%s'; use text, man or bash", value);
	options->format = value;
	return 0;
}

static const struct option_spec help_option_table[] = {
	{ "format", "text|man|bash",
		"text for reading here, man for a manual page, bash for completion of all "
		"commands.",
		"text", COMPLETE_WORDS, "text man bash", set_format },
	{ 0 },
};

static int help_main(const struct command *self, int argc, char **argv)
{
	struct help_options options = { .format = "text" };
	const struct command *command = NULL;
	struct error err = { 0 };
	int nr_operands;
	bool help;

	if (options_parse(self, argc, argv, &options, &nr_operands, &help, &err)) {
		log_error("%s", err.text);
		return err.exit_code;
	}
	if (help) {
		command_print_help(stdout, self);
		return EXIT_CODE_OK;
	}
	if (nr_operands > 0) {
		command = command_find(argv[0]);
		if (!command) {
			log_error("there is no command '%s'; 'atoll help' lists them", argv[0]);
			return EXIT_CODE_USAGE;
		}
	}
	if (strcmp(options.format, "bash") == 0)
		program_print_bash_completion(stdout);
	else if (strcmp(options.format, "man") == 0)
		command_print_man(stdout, command);
	else if (command)
		command_print_help(stdout, command);
	else
		program_print_help(stdout);
	return EXIT_CODE_OK;
}

static const struct option_spec no_options[] = { { 0 } };

static int version_main(const struct command *self, int argc, char **argv)
{
	(void)self;
	(void)argc;
	(void)argv;
	puts("atoll " ATOLL_VERSION);
	return EXIT_CODE_OK;
}

const struct command commands[] = {
	{ "run", "[SYSTEM]", "boot a virtual machine and stay with it until it ends",
		"Boots a kernel in a new virtual machine, with its serial console on this "
		"terminal. "
		"A guest that powers off ends with exit code 0. SIGTERM asks the guest to power "
		"off; "
		"a second one ends it.",
		run_option_table, run_main },
	{ "create", "NAME", "make a virtual machine that has a name",
		"Makes the directory of a virtual machine and writes the options, which are those "
		"of 'atoll run', into its vm.yaml. It does not run yet.",
		run_option_table, create_main },
	{ "start", "NAME", "start a virtual machine in the background",
		"Starts a virtual machine that was made by 'atoll create' or 'atoll run --name', "
		"and returns when its guest runs. Its console is a socket: 'atoll console' "
		"attaches to it.",
		start_option_table, start_main },
	{ "ls", "", "list the virtual machines that have a name",
		"Lists the virtual machines that have a name, running or not.", format_option_table,
		ls_main },
	{ "info", "NAME", "tell about a virtual machine",
		"Tells about a virtual machine: its state, its directory and its options.",
		format_option_table, info_main },
	{ "console", "NAME", "attach this terminal to a virtual machine's console",
		"Attaches this terminal to the console of a virtual machine that runs in the "
		"background. Ctrl-A d leaves it. Several may be attached: all see the output, who "
		"came last has the keyboard.",
		console_option_table, console_main },
	{ "logs", "NAME", "print what a guest printed on its console",
		"Prints what the guest printed on its console: the last one to two megabytes.",
		logs_option_table, logs_main },
	{ "exec", "NAME -- COMMAND...", "run a command in a virtual machine",
		"Runs a command in a virtual machine through its guest agent, and prints what it "
		"printed when it has ended. Ends with its exit code.",
		exec_option_table, exec_main },
	{ "cp", "FILE NAME:PATH | NAME:PATH FILE", "copy a file into or out of a virtual machine",
		"Copies a file through the guest agent, between the host and a virtual machine. A "
		"FILE of '-' is standard input or output.",
		no_options, cp_main },
	{ "freeze", "NAME", "hold a guest's file systems still, as for a copy of its disks",
		"Has the guest's agent write what the file systems have in memory, and holds all "
		"writes to them back until 'atoll thaw'. Programs that write wait meanwhile.",
		no_options, agent_main },
	{ "thaw", "NAME", "let a guest's file systems go on",
		"Lets file systems go on that 'atoll freeze' holds still.", no_options,
		agent_main },
	{ "addresses", "NAME", "tell a guest's network addresses",
		"Tells what the guest's agent says of its network: a line for each interface and "
		"address, with the address of its hardware.",
		format_option_table, agent_main },
	{ "ssh", "NAME [-- COMMAND...]", "log in to a virtual machine",
		"Runs ssh to the port of this host that leads to the virtual machine's ssh server, "
		"with the key of its directory.",
		ssh_option_table, ssh_main },
	{ "stop", "NAME...", "ask virtual machines to power off",
		"Presses the power button and waits until the guest has powered off. One that "
		"does "
		"not is ended.",
		stop_option_table, stop_main },
	{ "kill", "NAME...", "end virtual machines at once",
		"Ends the processes of virtual machines. The guests are not asked: it is as if "
		"the "
		"power failed.",
		no_options, kill_main },
	{ "pause", "NAME...", "stop the processors and the clock of virtual machines",
		"Stops the processors and the clock of virtual machines until 'atoll resume'.",
		no_options, pause_main },
	{ "resume", "NAME...", "let paused virtual machines go on",
		"Lets virtual machines go on that 'atoll pause' stopped.", no_options,
		resume_main },
	{ "reset", "NAME...", "press the reset button of virtual machines",
		"Resets virtual machines: they start anew, without being asked.", no_options,
		reset_main },
	{ "plug", "NAME", "plug devices into a virtual machine that runs",
		"Plugs disks and network cards into a virtual machine while it runs, and prints "
		"the name of each. The machine needs a PCI bus: one with a disk or a network card "
		"has it, others with --pci.",
		plug_option_table, plug_main },
	{ "unplug", "NAME DEVICE...", "take devices from a virtual machine that runs",
		"Asks the guest to give devices up, and waits until it has.", unplug_option_table,
		unplug_main },
	{ "devices", "NAME", "list the devices of a virtual machine that runs",
		"Lists the devices on the PCI bus of a virtual machine that runs, and their "
		"slots.",
		no_options, devices_main },
	{ "screenshot", "NAME [FILE.png]", "take a picture of a virtual machine's screen",
		"Writes what the screen of a virtual machine shows to a PNG file, or prints a text "
		"screen's characters.",
		screenshot_option_table, screenshot_main },
	{ "type", "NAME TEXT", "type text on a virtual machine's keyboard",
		"Types text on the keyboard of a virtual machine, no faster than the guest takes "
		"it. "
		"A new line is Enter, a tab Tab.",
		type_option_table, type_main },
	{ "keys", "NAME KEYS...", "press keys of a virtual machine's keyboard",
		"Presses keys of a virtual machine's keyboard one after the other. Those joined by "
		"a "
		"minus are held together, as in ctrl-alt-del.",
		no_options, keys_main },
	{ "mouse", "NAME to X Y|by X Y|click [BUTTON]|press [BUTTON]|release|wheel N",
		"move a virtual machine's pointer",
		"Moves the pointer of a virtual machine to a pixel of its screen, which takes a "
		"tablet, or by a distance, presses its buttons (left, right, middle, side, extra), "
		"and turns its wheel. A distance may be negative after a --.",
		no_options, mouse_main },
	{ "media", "NAME DRIVE FILE|eject",
		"change the medium of a virtual machine's optical or floppy drive",
		"Puts another disc into an optical drive of a virtual machine that runs, or "
		"another "
		"disk into a floppy drive (floppy0), or takes "
		"it out. FILE is what --cdrom or --floppy takes, with format= if it is not raw. A "
		"guest that "
		"has "
		"locked the door is asked to open it.",
		media_option_table, media_main },
	{ "resize", "NAME DISK SIZE", "give a virtual machine's disk more room while it runs",
		"Makes the image of a disk larger, and tells the guest, which then may make its "
		"partition and file system larger. DISK is its name among 'atoll devices', such as "
		"disk0. Disks that no machine uses: atoll disk resize.",
		no_options, resize_main },
	{ "memory", "NAME [SIZE]", "tell and change how much memory a virtual machine has",
		"Tells how much memory a virtual machine that runs has, and with SIZE how much it "
		"is to have, between what it started with and the max of its option memory. The "
		"guest follows as it can.",
		no_options, memory_main },
	{ "balloon", "NAME [SIZE]", "tell and change how much memory a guest may keep",
		"Tells what the guest says of its memory, and with SIZE how much it is to keep of "
		"what it started with. The rest is the host's. The machine needs the option "
		"balloon.",
		balloon_option_table, memory_main },
	{ "rm", "NAME...", "remove virtual machines with everything in their directories",
		"Removes virtual machines that do not run, with everything in their directories.",
		no_options, rm_main },
	{ "switch", "SOCKET", "connect virtual machines to each other",
		"Runs an Ethernet switch at a unix socket until it is ended. Machines are plugged "
		"in "
		"with --net switch,path=SOCKET. It learns which addresses are behind which port, "
		"forgets them after five minutes, and has 256 ports.",
		no_options, switch_main },
	{ "disk", "create|info|check|convert|resize|snapshot|commit|rebase IMAGE [ARGUMENT...]",
		"make, examine and change disk images",
		"Works on disk images that no running machine uses. create IMAGE SIZE makes one "
		"(SIZE may be left out with --backing). info tells about one, check looks for "
		"damage, "
		"and mends it with --repair. convert SOURCE TARGET copies one to another format. "
		"resize IMAGE SIZE takes a size, or +SIZE or -SIZE. snapshot list IMAGE, and "
		"snapshot "
		"create, apply or delete IMAGE NAME, work on snapshots inside a qcow2 image. "
		"commit "
		"writes what an overlay holds to its backing file. rebase gives an image another "
		"backing file, and the same content.",
		disk_option_table, disk_main },
	{ "help", "[COMMAND]", "tell about atoll or a command", "Tells about atoll or a command.",
		help_option_table, help_main },
	{ "version", "", "print the version", "Prints the version.", no_options, version_main },
	{ 0 },
};

int main(int argc, char **argv)
{
	const struct command *command;

	if (argc < 2) {
		program_print_help(stderr);
		return EXIT_CODE_USAGE;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
		program_print_help(stdout);
		return EXIT_CODE_OK;
	}
	if (strcmp(argv[1], "--version") == 0) {
		puts("atoll " ATOLL_VERSION);
		return EXIT_CODE_OK;
	}
	/* Not for people: how --share starts its server. */
	if (strcmp(argv[1], SHARE_SERVER_COMMAND) == 0)
		return share_server_main(argc - 2, argv + 2);
	command = command_find(argv[1]);
	if (!command) {
		log_error("there is no command '%s'; 'atoll help' lists them", argv[1]);
		return EXIT_CODE_USAGE;
	}
	return command->main(command, argc - 2, argv + 2);
}
