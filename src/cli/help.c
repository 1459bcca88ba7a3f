/*
 * What is made from the option tables for people and shells: --help, man pages, bash completion.
 */
#include "cli/option.h"

#include <string.h>

#define HELP_COLUMN 30
#define HELP_WIDTH  100

static const struct exit_code_row exit_codes[] = {
	{ EXIT_CODE_OK, "the guest powered off, or the command did what it was asked to" },
	{ EXIT_CODE_USAGE, "the command line cannot be understood" },
	{ EXIT_CODE_BAD_FILE, "a file is there, but is not what it should be" },
	{ EXIT_CODE_NO_FILE, "a file is not there or cannot be read" },
	{ EXIT_CODE_UNAVAILABLE, "the host lacks what was asked for" },
	{ EXIT_CODE_INTERNAL, "a bug in atoll; please report it" },
	{ EXIT_CODE_HOST, "the host refused a resource" },
	{ EXIT_CODE_CANNOT_WRITE, "an output cannot be created" },
	{ EXIT_CODE_PERMISSION, "the host has it, but not for this user" },
	{ EXIT_CODE_CONFIG, "the options do not fit together, or the guest does not fit" },
	{ EXIT_CODE_TRIPLE_FAULT, "the guest triple-faulted, under --no-reboot" },
	{ EXIT_CODE_KILLED, "ended by 'atoll kill'" },
	{ 143, "ended by a second SIGTERM (128 + the signal's number)" },
};

#define NR_EXIT_CODES (sizeof(exit_codes) / sizeof(exit_codes[0]))

/* Prints `text` from column HELP_COLUMN, wrapped at HELP_WIDTH; `column` is where we are. */
static void print_wrapped(FILE *out, const char *text, int column)
{
	if (column >= HELP_COLUMN - 1) {
		fputc('\n', out);
		column = 0;
	}
	fprintf(out, "%*s", HELP_COLUMN - column, "");
	column = HELP_COLUMN;
	while (*text) {
		int word = (int)strcspn(text, " ");

		if (column > HELP_COLUMN && column + 1 + word > HELP_WIDTH) {
			fprintf(out, "\n%*s", HELP_COLUMN, "");
			column = HELP_COLUMN;
		} else if (column > HELP_COLUMN) {
			fputc(' ', out);
			column++;
		}
		fprintf(out, "%.*s", word, text);
		column += word;
		text += word;
		while (*text == ' ')
			text++;
	}
	fputc('\n', out);
}

static void print_option(FILE *out, const struct option_spec *option)
{
	char text[512];
	int column = option->letter ? fprintf(out, "  -%c, ", option->letter) : fprintf(out, "  ");

	column += fprintf(out, "--%s%s%s", option->name, option_needs_value(option) ? " " : "",
		option->argument ? option->argument : "");

	if (option->initial)
		snprintf(text, sizeof(text), "%s (default: %s)", option->help, option->initial);
	else
		snprintf(text, sizeof(text), "%s", option->help);
	print_wrapped(out, text, column);
}

void command_print_help(FILE *out, const struct command *command)
{
	fprintf(out, "usage: atoll %s%s%s%s\n\n%s\n", command->name,
		command->options->name ? " [OPTION...]" : "", *command->operands ? " " : "",
		command->operands, command->description);
	if (!command->options->name)
		return;
	fprintf(out, "\noptions:\n");
	for (const struct option_spec *option = command->options; option->name; option++)
		print_option(out, option);
}

void program_print_help(FILE *out)
{
	fprintf(out, "usage: atoll COMMAND [OPTION...]\n\n"
		     "Creates and runs virtual machines, with KVM or with a software engine of its "
		     "own.\n\ncommands:\n");
	for (const struct command *command = commands; command->name; command++) {
		int column = fprintf(out, "  %s", command->name);

		print_wrapped(out, command->summary, column);
	}
	fprintf(out, "\nexit codes:\n");
	for (size_t i = 0; i < NR_EXIT_CODES; i++) {
		int column = fprintf(out, "  %d", exit_codes[i].code);

		print_wrapped(out, exit_codes[i].meaning, column);
	}
	fprintf(out, "\n'atoll COMMAND --help' tells more.\n");
}

/* Text for roff: backslashes, dashes and leading dots are markup there. */
static void print_roff(FILE *out, const char *text)
{
	if (*text == '.' || *text == '\'')
		fputs("\\&", out);
	for (; *text; text++) {
		if (*text == '\\')
			fputs("\\e", out);
		else if (*text == '-')
			fputs("\\-", out);
		else
			fputc(*text, out);
	}
	fputc('\n', out);
}

static void print_man_exit_codes(FILE *out)
{
	fprintf(out, ".SH EXIT STATUS\n");
	for (size_t i = 0; i < NR_EXIT_CODES; i++) {
		fprintf(out, ".TP\n.B %d\n", exit_codes[i].code);
		print_roff(out, exit_codes[i].meaning);
	}
	fprintf(out, ".PP\nA guest that writes V to the port of \\-\\-debug\\-exit ends atoll with "
		     "(V << 1) | 1, truncated to eight bits.\n");
}

static void print_man_options(FILE *out, const struct command *command)
{
	if (!command->options->name)
		return;
	fprintf(out, ".SH OPTIONS\n");
	for (const struct option_spec *option = command->options; option->name; option++) {
		fprintf(out, ".TP\n");
		if (option->argument)
			fprintf(out, ".BI \\-\\-%s \"%s%s\"\n", option->name,
				option_needs_value(option) ? " " : "", option->argument);
		else
			fprintf(out, ".B \\-\\-%s\n", option->name);
		print_roff(out, option->help);
		if (option->initial)
			fprintf(out, "Default: %s.\n", option->initial);
	}
}

static void print_man_keys(FILE *out)
{
	static const char *const keys[][2] = {
		{ "Ctrl\\-A x", "end the virtual machine" },
		{ "Ctrl\\-A p", "press the power button" },
		{ "Ctrl\\-A r", "press the reset button" },
		{ "Ctrl\\-A h", "list these keys" },
		{ "Ctrl\\-A Ctrl\\-A", "send Ctrl\\-A to the guest" },
	};

	fprintf(out, ".SH KEYS\nOn a terminal, with \\-\\-serial stdio:\n");
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		fprintf(out, ".TP\n.B %s\n%s\n", keys[i][0], keys[i][1]);
}

void command_print_man(FILE *out, const struct command *command)
{
	if (!command) {
		fprintf(out, ".TH ATOLL 1\n.SH NAME\natoll \\- virtual machines\n.SH SYNOPSIS\n"
			     ".B atoll\n.I COMMAND\n[OPTION...]\n.SH COMMANDS\n");
		for (command = commands; command->name; command++)
			fprintf(out, ".TP\n.BR atoll\\-%s (1)\n%s\n", command->name,
				command->summary);
		print_man_exit_codes(out);
		return;
	}
	fprintf(out,
		".TH ATOLL\\-%s 1\n.SH NAME\natoll\\-%s \\- %s\n.SH SYNOPSIS\n"
		".B atoll %s\n[OPTION...] %s\n.SH DESCRIPTION\n",
		command->name, command->name, command->summary, command->name, command->operands);
	print_roff(out, command->description);
	print_man_options(out, command);
	if (strcmp(command->name, "run") == 0)
		print_man_keys(out);
	print_man_exit_codes(out);
}

/* Commands that take VMs offer those that are there. */
static void print_name_completion(FILE *out)
{
	fprintf(out, "\tlocal vms=${ATOLL_HOME:-${XDG_DATA_HOME:-$HOME/.local/share}/atoll}/vms\n"
		     "\t[[ $word == -* ]] && return\n\tcase \"$command\" in\n\t");
	for (const struct command *command = commands; command->name; command++)
		if (strstr(command->operands, "NAME") && strcmp(command->name, "create") != 0)
			fprintf(out, "%s|", command->name);
	fprintf(out, "-) COMPREPLY+=($(compgen -W \"$(command ls \"$vms\" 2>/dev/null)\" -- "
		     "\"$word\")) ;;\n\tesac\n");
}

void program_print_bash_completion(FILE *out)
{
	fprintf(out, "# bash completion for atoll, made by: atoll help --format bash\n_atoll()\n{\n"
		     "\tlocal word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}\n"
		     "\tlocal command=${COMP_WORDS[1]}\n\tCOMPREPLY=()\n"
		     "\tif [[ $COMP_CWORD -eq 1 ]]; then\n\t\tCOMPREPLY=($(compgen -W \"");
	for (const struct command *command = commands; command->name; command++)
		fprintf(out, "%s%s", command == commands ? "" : " ", command->name);
	fprintf(out, "\" -- \"$word\"))\n\t\treturn\n\tfi\n\tcase \"$command $before\" in\n");
	for (const struct command *command = commands; command->name; command++)
		for (const struct option_spec *option = command->options; option->name; option++) {
			if (option->completion == COMPLETE_FILE)
				fprintf(out,
					"\t\"%s --%s\") COMPREPLY=($(compgen -f -- \"$word\")); "
					"return ;;\n",
					command->name, option->name);
			else if (option->completion == COMPLETE_WORDS)
				fprintf(out,
					"\t\"%s --%s\") COMPREPLY=($(compgen -W \"%s\" -- "
					"\"$word\")); return ;;\n",
					command->name, option->name, option->words);
			else if (option_needs_value(option))
				fprintf(out, "\t\"%s --%s\") return ;;\n", command->name,
					option->name);
		}
	fprintf(out, "\tesac\n\tcase \"$command\" in\n");
	for (const struct command *command = commands; command->name; command++) {
		fprintf(out, "\t%s) COMPREPLY=($(compgen -W \"", command->name);
		for (const struct option_spec *option = command->options; option->name; option++)
			fprintf(out, "--%s ", option->name);
		fprintf(out, "--help\" -- \"$word\")) ;;\n");
	}
	fprintf(out, "\tesac\n");
	print_name_completion(out);
	fprintf(out, "}\ncomplete -F _atoll atoll\n");
}
