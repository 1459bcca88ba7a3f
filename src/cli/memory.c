/*
 * atoll memory, balloon: how much memory a VM that runs has, and is to have.
 */
#include "base/host_time.h"
#include "base/log.h"
#include "base/properties.h"
#include "bundle/control_client.h"
#include "cli/command.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define HINT_PATIENCE_NS (10 * NS_PER_S)

struct memory_options {
	bool hint;
};

static int set_hint(void *target, const char *value, struct error *err)
{
	struct memory_options *options = target;

	(void)value;
	(void)err;
	options->hint = true;
	return 0;
}

const struct option_spec balloon_option_table[] = {
	{ "hint", NULL,
		"Ask the guest which memory is free (free page hinting), and tell how much that "
		"is: what a balloon could take at once, in pieces of 4 MiB. Nothing is taken.",
		NULL, COMPLETE_NOTHING, NULL, set_hint },
	{ 0 },
};

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
		else if (json_is_integer(value))
			print_member(key, value);
	}
}

/* A round of the guest's hints; it ends it itself, or is told to. */
static int hint(struct control_client *client, json_t **result, struct error *err)
{
	const struct timespec pause = { .tv_nsec = 20 * NS_PER_MS };
	ns_t limit_ns = host_now() + HINT_PATIENCE_NS;
	int rc = control_call(client, "balloon", json_pack("{s:b}", "hint", 1), result, err);

	while (rc == 0 && json_is_true(json_object_get(*result, "hinting"))) {
		bool late = host_now() > limit_ns;

		json_decref(*result);
		*result = NULL;
		if (late) {
			control_call(client, "balloon", json_pack("{s:b}", "hint", 0), NULL, NULL);
			return error_set(err, EXIT_CODE_UNAVAILABLE,
				"the guest did not tell of its free memory within 10 s");
		}
		nanosleep(&pause, NULL);
		rc = control_call(client, "balloon", NULL, result, err);
	}
	return rc;
}

static int ask(const struct command *command, const struct bundle *bundle, const char *size,
	bool hints, struct error *err)
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
	if (hints)
		rc = hint(&client, &result, err);
	else
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
	struct memory_options options = { 0 };
	struct bundle bundle = { 0 };
	struct error err = { 0 };
	int nr_operands;
	bool help;

	if (options_parse(command, argc, argv, &options, &nr_operands, &help, &err) == 0) {
		if (help) {
			command_print_help(stdout, command);
			return EXIT_CODE_OK;
		}
		if (nr_operands < 1 || nr_operands > 2)
			error_set(&err, EXIT_CODE_USAGE,
				"one VM has to be named, and perhaps a size: atoll %s NAME [SIZE]",
				command->name);
		else if (options.hint && nr_operands > 1)
			error_set(&err, EXIT_CODE_USAGE, "--hint and a size exclude each other");
		else if (bundle_open(&bundle, argv[0], &err) == 0) {
			ask(command, &bundle, nr_operands > 1 ? argv[1] : NULL, options.hint, &err);
			bundle_close(&bundle);
		}
	}
	if (err.exit_code)
		log_error("%s", err.text);
	return err.exit_code;
}
