/*
 * atoll plug, unplug, devices: what is on the PCI bus of a VM that runs.
 */
#include "base/bits.h"
#include "base/host_time.h"
#include "base/log.h"
#include "bundle/control_client.h"
#include "cli/command.h"
#include "cli/vm_spec.h"

#include <stdlib.h>
#include <string.h>

#define MAX_PLUGGED 16

struct plug_options {
	struct {
		const char *kind;
		const char *options;
	} devices[MAX_PLUGGED];
	unsigned count;
};

static int add(struct plug_options *options, const char *kind, const char *value, struct error *err)
{
	if (options->count == MAX_PLUGGED)
		return error_set(err, EXIT_CODE_USAGE,
			"one command plugs %u devices at most; use a second one", MAX_PLUGGED);
	options->devices[options->count].kind = kind;
	options->devices[options->count++].options = value;
	return 0;
}

static int set_disk(void *target, const char *value, struct error *err)
{
	return add(target, "disk", value, err);
}

static int set_net(void *target, const char *value, struct error *err)
{
	return add(target, "net", value, err);
}

const struct option_spec plug_option_table[] = {
	{ "disk", "FILE,format=raw|qcow2[,...]", "A disk, described as for 'atoll run'.", NULL,
		COMPLETE_FILE, NULL, set_disk },
	{ "net", "BACKEND[,...]", "A network card, described as for 'atoll run'.", NULL,
		COMPLETE_NOTHING, NULL, set_net },
	{ 0 },
};

struct unplug_options {
	ns_t timeout_ns;
	bool by_force;
};

static int set_timeout(void *target, const char *value, struct error *err)
{
	struct unplug_options *options = target;
	char *end;
	unsigned long seconds = strtoul(value, &end, 10);

	if (*value < '0' || *value > '9' || *end || seconds > 86400)
		return error_set(err, EXIT_CODE_USAGE,
			"--timeout cannot read '%s'; give seconds, such as 30", value);
	options->timeout_ns = (ns_t)seconds * NS_PER_S;
	return 0;
}

static int set_force(void *target, const char *value, struct error *err)
{
	struct unplug_options *options = target;

	(void)value;
	(void)err;
	options->by_force = true;
	return 0;
}

const struct option_spec unplug_option_table[] = {
	{ "timeout", "SECONDS", "How long the guest may take to give the devices up.", "10",
		COMPLETE_NOTHING, NULL, set_timeout },
	{ "force", NULL,
		"Do not ask the guest: the devices are pulled out, and what it had not written is "
		"lost.",
		NULL, COMPLETE_NOTHING, NULL, set_force },
	{ 0 },
};

static int plug_all(
	struct control_client *client, const struct plug_options *options, struct error *err)
{
	for (unsigned i = 0; i < options->count; i++) {
		const struct option_spec *spec = plug_option_table;
		json_t *result = NULL;
		const char *id = "";
		char *value;

		while (strcmp(spec->name, options->devices[i].kind) != 0)
			spec++;
		value = vm_spec_absolute(spec, options->devices[i].options);
		if (!value)
			return error_set(err, EXIT_CODE_HOST, "out of memory");
		control_call(client, "device-add",
			json_pack("{s:s, s:s}", "kind", spec->name, "options", value), &result,
			err);
		free(value);
		if (err->exit_code)
			return -1;
		json_unpack(result, "{s:s}", "id", &id);
		puts(id);
		json_decref(result);
	}
	return 0;
}

/* True once the device has gone. */
static bool wait_until_removed(struct control_client *client, const char *id, ns_t limit_ns)
{
	while (host_now() < limit_ns) {
		const char *event = "", *removed = "";
		json_t *message = NULL;
		bool gone;

		if (control_wait_event(client, limit_ns - host_now(), &message) <= 0)
			return false;
		json_unpack(message, "{s:s, s:{s?s}}", "event", &event, "data", "id", &removed);
		gone = strcmp(event, "device-removed") == 0 && strcmp(removed, id) == 0;
		json_decref(message);
		if (gone)
			return true;
	}
	return false;
}

static int unplug_one(struct control_client *client, const struct unplug_options *options,
	const char *id, struct error *err)
{
	ns_t limit_ns = host_now() + options->timeout_ns;
	json_t *arguments = json_pack("{s:s, s:b}", "id", id, "force", options->by_force);

	if (control_call(client, "device-remove", arguments, NULL, err))
		return -1;
	if (options->by_force || wait_until_removed(client, id, limit_ns))
		return 0;
	return error_set(err, EXIT_CODE_UNAVAILABLE,
		"the guest did not give up %s in %lld s; it may still do so, or pull it out with "
		"--force",
		id, (long long)(options->timeout_ns / NS_PER_S));
}

static void print_devices(const json_t *result)
{
	const json_t *list = json_object_get(result, "devices");

	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *id = "";
		int slot = -1;

		json_unpack(json_array_get(list, i), "{s:s, s?i}", "id", &id, "slot", &slot);
		if (slot >= 0)
			printf("%-16s slot %d\n", id, slot);
		else
			printf("%s\n", id);
	}
}

/* Parses, and connects to the VM that the first operand names; false: *exit_code says how to end.
 */
static bool begin(const struct command *command, int *argc, char **argv, void *options,
	struct bundle *bundle, struct control_client *client, int *exit_code)
{
	struct error err = { 0 };
	bool help;

	client->fd = -1;
	*exit_code = EXIT_CODE_OK;
	if (options_parse(command, *argc, argv, options, argc, &help, &err) == 0) {
		if (help) {
			command_print_help(stdout, command);
			return false;
		}
		if (*argc == 0)
			error_set(&err, EXIT_CODE_USAGE,
				"a VM has to be named: atoll %s %s; 'atoll ls' lists them",
				command->name, command->operands);
		else if (bundle_open(bundle, argv[0], &err) == 0 &&
			 control_connect(client, bundle, CONTROL_PATIENCE_NS, &err) == 0)
			return true;
	}
	bundle_close(bundle);
	log_error("%s", err.text);
	*exit_code = err.exit_code;
	return false;
}

static int end(struct bundle *bundle, struct control_client *client, const struct error *err)
{
	control_disconnect(client);
	bundle_close(bundle);
	if (err->exit_code)
		log_error("%s", err->text);
	return err->exit_code;
}

int plug_main(const struct command *command, int argc, char **argv)
{
	struct plug_options options = { .count = 0 };
	struct control_client client;
	struct bundle bundle = { 0 };
	struct error err = { 0 };
	int exit_code;

	if (!begin(command, &argc, argv, &options, &bundle, &client, &exit_code))
		return exit_code;
	if (argc != 1 || options.count == 0)
		error_set(&err, EXIT_CODE_USAGE,
			"nothing to plug; name one VM and give a device, such as --disk "
			"FILE,format=raw");
	else
		plug_all(&client, &options, &err);
	return end(&bundle, &client, &err);
}

int unplug_main(const struct command *command, int argc, char **argv)
{
	struct unplug_options options = { .timeout_ns = 10 * NS_PER_S };
	struct control_client client;
	struct bundle bundle = { 0 };
	struct error err = { 0 };
	int exit_code;

	if (!begin(command, &argc, argv, &options, &bundle, &client, &exit_code))
		return exit_code;
	if (argc < 2)
		error_set(&err, EXIT_CODE_USAGE,
			"nothing to unplug; name the devices after the VM, 'atoll devices %s' "
			"lists them",
			argv[0]);
	else if (control_call(&client, "subscribe", NULL, NULL, &err) == 0)
		for (int i = 1; i < argc && !err.exit_code; i++)
			unplug_one(&client, &options, argv[i], &err);
	return end(&bundle, &client, &err);
}

int devices_main(const struct command *command, int argc, char **argv)
{
	struct control_client client;
	struct bundle bundle = { 0 };
	struct error err = { 0 };
	json_t *result = NULL;
	int exit_code;

	if (!begin(command, &argc, argv, NULL, &bundle, &client, &exit_code))
		return exit_code;
	if (argc != 1)
		error_set(&err, EXIT_CODE_USAGE, "one VM has to be named: atoll devices NAME");
	else if (control_call(&client, "devices", NULL, &result, &err) == 0)
		print_devices(result);
	json_decref(result);
	return end(&bundle, &client, &err);
}
