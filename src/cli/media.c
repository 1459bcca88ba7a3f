/*
 * atoll media: what is in the optical drives of a VM that runs.
 */
#include "base/log.h"
#include "bundle/control_client.h"
#include "cli/command.h"
#include "cli/vm_spec.h"

#include <stdlib.h>
#include <string.h>

struct media_options {
	bool force;
};

static int set_force(void *target, const char *value, struct error *err)
{
	struct media_options *options = target;

	(void)value;
	(void)err;
	options->force = true;
	return 0;
}

const struct option_spec media_option_table[] = {
	{ "force", NULL, "Do it even if the guest has locked the drive's door.", NULL,
		COMPLETE_NOTHING, NULL, set_force },
	{ 0 },
};

static void change(
	const char *name, const char *drive, const char *medium, bool force, struct error *err)
{
	static const struct option_spec file = { .name = "cdrom", .completion = COMPLETE_FILE };
	struct control_client client = { .fd = -1 };
	struct bundle bundle = { 0 };
	char *value = NULL;
	json_t *arguments;

	if (bundle_open(&bundle, name, err) ||
		control_connect(&client, &bundle, CONTROL_PATIENCE_NS, err))
		goto out;
	arguments = json_pack("{s:s, s:b}", "id", drive, "force", force);
	if (strcmp(medium, "eject") != 0) {
		value = vm_spec_absolute(&file, medium);
		json_object_set_new(arguments, "medium", json_string(value ? value : medium));
	}
	control_call(&client, "media", arguments, NULL, err);
out:
	free(value);
	control_disconnect(&client);
	bundle_close(&bundle);
}

int media_main(const struct command *command, int argc, char **argv)
{
	struct media_options options = { 0 };
	struct error err = { 0 };
	bool help;

	if (options_parse(command, argc, argv, &options, &argc, &help, &err) == 0) {
		if (help) {
			command_print_help(stdout, command);
			return EXIT_CODE_OK;
		}
		if (argc != 3)
			error_set(&err, EXIT_CODE_USAGE,
				"give a VM, a drive and a medium: atoll media %s; 'atoll devices' "
				"lists the drives",
				command->operands);
		else
			change(argv[0], argv[1], argv[2], options.force, &err);
	}
	if (err.exit_code)
		log_error("%s", err.text);
	return err.exit_code;
}
