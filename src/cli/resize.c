/*
 * atoll resize: more room for a disk of a VM that runs.
 */
#include "base/log.h"
#include "base/properties.h"
#include "bundle/control_client.h"
#include "cli/command.h"

static void resize(const char *name, const char *disk, const char *size, struct error *err)
{
	struct control_client client = { .fd = -1 };
	struct bundle bundle = { 0 };
	uint64_t bytes;

	if (size_parse(size, 1, &bytes) || bytes > INT64_MAX)
		error_set(err, EXIT_CODE_USAGE,
			"'%s' is no size; give a number and K, M, G or T, such as 20G", size);
	else if (bundle_open(&bundle, name, err) == 0 &&
		 control_connect(&client, &bundle, CONTROL_PATIENCE_NS, err) == 0)
		control_call(&client, "disk-resize",
			json_pack("{s:s, s:I}", "id", disk, "size", (json_int_t)bytes), NULL, err);
	control_disconnect(&client);
	bundle_close(&bundle);
}

int resize_main(const struct command *command, int argc, char **argv)
{
	struct error err = { 0 };
	bool help;

	if (options_parse(command, argc, argv, NULL, &argc, &help, &err) == 0) {
		if (help) {
			command_print_help(stdout, command);
			return EXIT_CODE_OK;
		}
		if (argc != 3)
			error_set(&err, EXIT_CODE_USAGE,
				"give a VM, a disk and its size: atoll resize %s; 'atoll devices' "
				"lists the disks",
				command->operands);
		else
			resize(argv[0], argv[1], argv[2], &err);
	}
	if (err.exit_code)
		log_error("%s", err.text);
	return err.exit_code;
}
