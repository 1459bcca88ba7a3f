#include "cli/option.h"

#include <errno.h>
#include <string.h>

const struct command *command_find(const char *name)
{
	for (const struct command *command = commands; command->name; command++)
		if (strcmp(command->name, name) == 0)
			return command;
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

const struct option_spec *option_named(
	const struct option_spec *options, const char *name, const struct option_spec **nearest)
{
	unsigned nearest_distance = 4;

	if (nearest)
		*nearest = NULL;
	for (const struct option_spec *option = options; option->name; option++) {
		unsigned distance;

		if (strcmp(option->name, name) == 0)
			return option;
		distance = edit_distance(name, option->name, nearest_distance);
		if (nearest && distance < nearest_distance) {
			*nearest = option;
			nearest_distance = distance;
		}
	}
	return NULL;
}

/* The option that `word` names, as "--name", "--name=value", "-o" or "-ovalue". */
static const struct option_spec *option_find(
	const struct command *command, const char *word, const char **value, struct error *err)
{
	const struct option_spec *option, *nearest;
	const char *text = word + 2, *equals = strchr(text, '=');
	size_t length = equals ? (size_t)(equals - text) : strlen(text);
	char name[64] = "";

	if (word[1] != '-') {
		for (option = command->options; option->name; option++)
			if (option->letter && option->letter == word[1]) {
				*value = word[2] ? word + 2 : NULL;
				return option;
			}
		error_set(err, EXIT_CODE_USAGE,
			"unknown option %s; options begin with two dashes, 'atoll %s --help' lists "
			"them",
			word, command->name);
		return NULL;
	}
	*value = equals ? equals + 1 : NULL;
	if (length < sizeof(name))
		memcpy(name, text, length);
	option = option_named(command->options, name, &nearest);
	if (option)
		return option;
	if (nearest)
		error_set(err, EXIT_CODE_USAGE, "unknown option --%.*s; did you mean --%s?",
			(int)length, text, nearest->name);
	else
		error_set(err, EXIT_CODE_USAGE,
			"unknown option --%.*s; 'atoll %s --help' lists the options", (int)length,
			text, command->name);
	return NULL;
}

struct option_recorder {
	int (*record)(void *context, const struct option_spec *option, const char *value,
		struct error *err);
	void *context;
};

/* Parses argv[*at], and the value after it; advances *at past what it used. */
static int option_parse(const struct command *command, int argc, char **argv, int *at, void *target,
	const struct option_recorder *recorder, struct error *err)
{
	const char *value;
	const struct option_spec *option = option_find(command, argv[*at], &value, err);
	int result;

	++*at;
	if (!option)
		return -EINVAL;
	if (!option->argument && value)
		return error_set(err, EXIT_CODE_USAGE, "--%s takes no value; leave '=%s' out",
			option->name, value);
	if (option_needs_value(option) && !value) {
		if (*at == argc)
			return error_set(err, EXIT_CODE_USAGE, "--%s needs a value: --%s %s",
				option->name, option->name, option->argument);
		value = argv[(*at)++];
	}
	result = option->set(target, value, err);
	if (result || !recorder->record)
		return result;
	return recorder->record(recorder->context, option, value, err);
}

int options_parse(const struct command *command, int argc, char **argv, void *target,
	int *nr_operands, bool *help, struct error *err)
{
	return options_parse_recorded(
		command, argc, argv, target, nr_operands, help, NULL, NULL, err);
}

int options_parse_recorded(const struct command *command, int argc, char **argv, void *target,
	int *nr_operands, bool *help,
	int (*record)(void *context, const struct option_spec *option, const char *value,
		struct error *err),
	void *context, struct error *err)
{
	const struct option_recorder recorder = { record, context };
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
		if (argv[at][0] != '-' || !argv[at][1]) {
			argv[(*nr_operands)++] = argv[at++];
			continue;
		}
		result = option_parse(command, argc, argv, &at, target, &recorder, err);
		if (result)
			return result;
	}
	return 0;
}
