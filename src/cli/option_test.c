/*
 * Parsing of options, and the texts that are made from their tables.
 */
#include "cli/option.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct target {
	const char *name;
	unsigned flags;
};

static int set_name(void *target, const char *value, struct error *err)
{
	if (!*value)
		return error_set(err, EXIT_CODE_USAGE, "--name is empty");
	((struct target *)target)->name = value;
	return 0;
}

static int set_flag(void *target, const char *value, struct error *err)
{
	(void)err;
	assert_null(value);
	((struct target *)target)->flags++;
	return 0;
}

static int set_stats(void *target, const char *value, struct error *err)
{
	(void)err;
	((struct target *)target)->name = value ? value : "plain";
	return 0;
}

static const struct option_spec options[] = {
	{ "name", "NAME", "What it is called.", "none", COMPLETE_WORDS, "a b", set_name },
	{ "flag", NULL, "Turns it on.", NULL, COMPLETE_NOTHING, NULL, set_flag },
	{ "stats", "[=WORD]", "May have a value.", NULL, COMPLETE_NOTHING, NULL, set_stats },
	{ 0 },
};

const struct command commands[] = {
	{ "test", "[FILE]", "tests it", "Tests it.", options, NULL },
	{ 0 },
};

struct parsed {
	struct target target;
	struct error err;
	int result, nr_operands;
	bool help;
};

/* Parses up to seven words, ended by NULL. */
static struct parsed parse(char **words)
{
	struct parsed parsed = { 0 };
	int count = 0;

	while (words[count])
		count++;
	parsed.result = options_parse(&commands[0], count, words, &parsed.target,
		&parsed.nr_operands, &parsed.help, &parsed.err);
	return parsed;
}

#define PARSE(...) parse((char *[]){ __VA_ARGS__, NULL })

static void test_values(void **state)
{
	struct parsed parsed = PARSE((char *)"--name", (char *)"x", (char *)"--flag");

	(void)state;
	assert_int_equal(parsed.result, 0);
	assert_string_equal(parsed.target.name, "x");
	assert_int_equal(parsed.target.flags, 1);
	parsed = PARSE((char *)"--name=a=b");
	assert_string_equal(parsed.target.name, "a=b");
}

static void test_operands_move_to_the_front(void **state)
{
	char *words[] = { (char *)"one", (char *)"--flag", (char *)"two", (char *)"--",
		(char *)"--flag", NULL };
	struct parsed parsed = parse(words);

	(void)state;
	assert_int_equal(parsed.nr_operands, 3);
	assert_string_equal(words[0], "one");
	assert_string_equal(words[1], "two");
	assert_string_equal(words[2], "--flag");
	assert_int_equal(parsed.target.flags, 1);
}

static void test_values_that_may_be_left_out(void **state)
{
	struct parsed parsed = PARSE((char *)"--stats", (char *)"operand");

	(void)state;
	assert_string_equal(parsed.target.name, "plain");
	assert_int_equal(parsed.nr_operands, 1);
	parsed = PARSE((char *)"--stats=json");
	assert_string_equal(parsed.target.name, "json");
}

static void assert_mistake(struct parsed parsed, const char *part)
{
	assert_int_not_equal(parsed.result, 0);
	assert_int_equal(parsed.err.exit_code, EXIT_CODE_USAGE);
	assert_non_null(strstr(parsed.err.text, part));
}

static void test_mistakes(void **state)
{
	(void)state;
	assert_mistake(PARSE((char *)"--nmae", (char *)"x"), "did you mean --name");
	assert_mistake(PARSE((char *)"--entirely-different-thing-that-is-very-long"), "--help");
	assert_mistake(PARSE((char *)"--name"), "needs a value");
	assert_mistake(PARSE((char *)"--flag=1"), "takes no value");
	assert_mistake(PARSE((char *)"--name="), "is empty");
	assert_mistake(PARSE((char *)"-n"), "two dashes");
}

static void test_help_stops_parsing(void **state)
{
	struct parsed parsed = PARSE((char *)"--help", (char *)"--nonsense");

	(void)state;
	assert_int_equal(parsed.result, 0);
	assert_true(parsed.help);
}

/* Every option appears in each text made from the table. */
static void test_texts(void **state)
{
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);

	(void)state;
	command_print_help(out, &commands[0]);
	command_print_man(out, &commands[0]);
	program_print_bash_completion(out);
	program_print_help(out);
	fclose(out);
	assert_non_null(strstr(text, "  --name NAME"));
	assert_non_null(strstr(text, "(default: none)"));
	assert_non_null(strstr(text, ".BI \\-\\-name \" NAME\""));
	assert_non_null(strstr(text, "--name --flag --stats --help"));
	assert_non_null(strstr(text, "compgen -W \"a b\""));
	assert_non_null(strstr(text, "exit codes:"));
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_operands_move_to_the_front),
		cmocka_unit_test(test_values_that_may_be_left_out),
		cmocka_unit_test(test_mistakes),
		cmocka_unit_test(test_help_stops_parsing),
		cmocka_unit_test(test_texts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
