/*
 * atoll memory, balloon: how much memory a VM that runs has, and is to have.
 */
#include "base/log.h"
#include "base/properties.h"
#include "bundle/control_client.h"
#include "cli/command.h"

#include <stdio.h>
#include <string.h>

static void print_member(const char *key, const json_t *value)
{
	json_int_t number = json_integer_value(value);
	size_t length = strlen(key);

	if (length > 6 && strcmp(key + length - 6, "_bytes") == 0)
		printf("%.*s: %lld MiB\n", (int)length - 6, key, (long long)number >> 20);
	else
		printf("%s: %lld\n", key, (long long)number);
}

static void print_members(const json_t *object)
{
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)object, key, value)
	{
		if (json_is_object(value))
			print_members(value);
		else
			print_member(key, value);
	}
}

static int ask(const struct command *command, const struct bundle *bundle, const char *size,
	struct error *err)
{
	struct control_client client;
	json_t *result = NULL;
	uint64_t bytes;
	int rc;

	if (size && size_parse(size, 1 << 20, &bytes))
		return error_set(err, EXIT_CODE_USAGE,
			"'%s' is no size; give a number and K, M, G or T, such as 512M", size);
	if (control_connect(&client, bundle, CONTROL_PATIENCE_NS, err))
		return -1;
	rc = control_call(&client, command->name,
		size ? json_pack("{s:I}", "size", (json_int_t)bytes) : NULL, &result, err);
	control_disconnect(&client);
	if (rc == 0)
		print_members(result);
	json_decref(result);
	return rc;
}

int memory_main(const struct command *command, int argc, char **argv)
{
	struct bundle bundle = { 0 };
	struct error err = { 0 };
	int nr_operands;
	bool help;

	if (options_parse(command, argc, argv, NULL, &nr_operands, &help, &err) == 0) {
		if (help) {
			command_print_help(stdout, command);
			return EXIT_CODE_OK;
		}
		if (nr_operands < 1 || nr_operands > 2)
			error_set(&err, EXIT_CODE_USAGE,
				"one VM has to be named, and perhaps a size: atoll %s NAME [SIZE]",
				command->name);
		else if (bundle_open(&bundle, argv[0], &err) == 0) {
			ask(command, &bundle, nr_operands > 1 ? argv[1] : NULL, &err);
			bundle_close(&bundle);
		}
	}
	if (err.exit_code)
		log_error("%s", err.text);
	return err.exit_code;
}
