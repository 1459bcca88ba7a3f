#include "cli/option.h"

#include <string.h>

const struct command *command_find(const char *name)
{
	for (const struct command *command = commands; command->name; command++)
		if (strcmp(command->name, name) == 0)
			return command;
	return NULL;
}

/* The option named by `text` up to `length` bytes, or NULL. */
static const struct option_spec *option_find(
	const struct command *command, const char *text, size_t length)
{
	for (const struct option_spec *option = command->options; option->name; option++)
		if (strlen(option->name) == length && strncmp(option->name, text, length) == 0)
			return option;
	return NULL;
}

/* How many letters have to change, at most `limit`: to find what was meant by a mistyped option. */
static unsigned edit_distance(const char *a, const char *b, unsigned limit)
{
	size_t length_a = strlen(a), length_b = strlen(b);
	unsigned row[32];

	if (length_a > 30 || length_b > 30)
		return limit;
	for (size_t j = 0; j <= length_b; j++)
		row[j] = (unsigned)j;
	for (size_t i = 1; i <= length_a; i++) {
		unsigned diagonal = row[0];

		row[0] = (unsigned)i;
		for (size_t j = 1; j <= length_b; j++) {
			unsigned change = diagonal + (a[i - 1] != b[j - 1]);
			unsigned best = row[j] < row[j - 1] ? row[j] + 1 : row[j - 1] + 1;

			diagonal = row[j];
			row[j] = change < best ? change : best;
		}
	}
	return row[length_b] < limit ? row[length_b] : limit;
}

static int unknown_option(
	const struct command *command, const char *text, size_t length, struct error *err)
{
	const struct option_spec *nearest = NULL;
	unsigned nearest_distance = 4;
	char name[31] = "";

	if (length < sizeof(name))
		memcpy(name, text, length);
	for (const struct option_spec *option = command->options; option->name; option++) {
		unsigned distance = edit_distance(name, option->name, nearest_distance);

		if (distance < nearest_distance) {
			nearest = option;
			nearest_distance = distance;
		}
	}
	if (nearest)
		return error_set(err, EXIT_CODE_USAGE, "unknown option --%.*s; did you mean --%s?",
			(int)length, text, nearest->name);
	return error_set(err, EXIT_CODE_USAGE,
		"unknown option --%.*s; 'atoll %s --help' lists the options", (int)length, text,
		command->name);
}

/* Parses argv[*at], and the value after it; advances *at past what it used. */
static int option_parse(const struct command *command, int argc, char **argv, int *at, void *target,
	struct error *err)
{
	const char *text = argv[*at] + 2;
	const char *equals = strchr(text, '=');
	size_t length = equals ? (size_t)(equals - text) : strlen(text);
	const struct option_spec *option = option_find(command, text, length);
	const char *value = equals ? equals + 1 : NULL;

	++*at;
	if (!option)
		return unknown_option(command, text, length, err);
	if (!option->argument && value)
		return error_set(err, EXIT_CODE_USAGE, "--%s takes no value; leave '=%s' out",
			option->name, value);
	if (option_needs_value(option) && !value) {
		if (*at == argc)
			return error_set(err, EXIT_CODE_USAGE, "--%s needs a value: --%s %s",
				option->name, option->name, option->argument);
		value = argv[(*at)++];
	}
	return option->set(target, value, err);
}

int options_parse(const struct command *command, int argc, char **argv, void *target,
	int *nr_operands, bool *help, struct error *err)
{
	int at = 0;

	*nr_operands = 0;
	*help = false;
	while (at < argc) {
		int result;

		if (strcmp(argv[at], "--help") == 0 || strcmp(argv[at], "-h") == 0) {
			*help = true;
			return 0;
		}
		if (strcmp(argv[at], "--") == 0) {
			while (++at < argc)
				argv[(*nr_operands)++] = argv[at];
			return 0;
		}
		if (argv[at][0] == '-' && argv[at][1] && argv[at][1] != '-')
			return error_set(err, EXIT_CODE_USAGE,
				"unknown option %s; options begin with two dashes, "
				"'atoll %s --help' lists them",
				argv[at], command->name);
		if (argv[at][0] != '-') {
			argv[(*nr_operands)++] = argv[at++];
			continue;
		}
		result = option_parse(command, argc, argv, &at, target, err);
		if (result)
			return result;
	}
	return 0;
}
