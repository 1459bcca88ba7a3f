/*
 * atoll freeze, thaw and addresses: what a guest's agent does to its file systems, and tells of its
 * network. What it tells is the guest's: nothing of it may steer a terminal.
 */
#include "base/log.h"
#include "cli/command.h"
#include "cli/guest.h"

#include <stdio.h>
#include <string.h>

static int freeze(const struct command *command, struct agent *agent, struct error *err)
{
	bool freezing = strcmp(command->name, "freeze") == 0;
	unsigned count;

	if (agent_freeze(agent, freezing, &count, err))
		return -1;
	printf("%u file system%s %s\n", count, count == 1 ? "" : "s",
		freezing ? "frozen" : "thawed");
	return 0;
}

static void print_word(const char *word)
{
	for (; word && *word; word++)
		putchar(*word > ' ' && *word < 0x7f ? *word : '?');
}

/* One line for each address: the interface, its hardware's address or -, address/prefix or -. */
static void print_interface(const json_t *interface)
{
	const json_t *addresses = json_object_get(interface, "ip-addresses"), *address;
	const char *hardware = json_string_value(json_object_get(interface, "hardware-address"));
	size_t index = 0, count = json_array_size(addresses);

	do {
		address = json_array_get(addresses, index);
		print_word(json_string_value(json_object_get(interface, "name")));
		putchar(' ');
		print_word(hardware ? hardware : "-");
		putchar(' ');
		if (address) {
			print_word(json_string_value(json_object_get(address, "ip-address")));
			printf("/%lld",
				(long long)json_integer_value(json_object_get(address, "prefix")));
		} else {
			putchar('-');
		}
		putchar('\n');
	} while (++index < count);
}

static int tell_addresses(struct agent *agent, bool as_json, struct error *err)
{
	json_t *interfaces;
	size_t index;

	if (agent_interfaces(agent, &interfaces, err))
		return -1;
	if (as_json) {
		json_dumpf(interfaces, stdout, JSON_INDENT(2) | JSON_ENSURE_ASCII);
		putchar('\n');
	} else {
		for (index = 0; index < json_array_size(interfaces); index++)
			print_interface(json_array_get(interfaces, index));
	}
	json_decref(interfaces);
	return 0;
}

/* freeze, thaw and addresses. */
int agent_main(const struct command *command, int argc, char **argv)
{
	struct format_options options = { 0 };
	struct bundle bundle = { 0 };
	struct error err = { 0 };
	struct agent agent;
	int nr_operands;
	bool help;

	if (options_parse(command, argc, argv, &options, &nr_operands, &help, &err) == 0) {
		if (help) {
			command_print_help(stdout, command);
			return EXIT_CODE_OK;
		}
		if (nr_operands != 1) {
			error_set(&err, EXIT_CODE_USAGE, "one VM has to be named: atoll %s NAME",
				command->name);
		} else if (bundle_open(&bundle, argv[0], &err) == 0 &&
			   guest_open_agent(&agent, &bundle, &err) == 0) {
			if (strcmp(command->name, "addresses") == 0)
				tell_addresses(&agent, options.json, &err);
			else
				freeze(command, &agent, &err);
			agent_close(&agent);
		}
	}
	bundle_close(&bundle);
	if (err.exit_code)
		log_error("%s", err.text);
	return err.exit_code;
}
