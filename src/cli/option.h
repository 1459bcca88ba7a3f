/*
 * The one table of a command's options: parsing, --help, the man page and shell completion are all
 * made from it.
 */
#ifndef CLI_OPTION_H
#define CLI_OPTION_H

#include "base/error.h"

#include <stdbool.h>
#include <stdio.h>

/* What a shell can offer for an option's argument. */
enum option_completion { COMPLETE_NOTHING, COMPLETE_FILE, COMPLETE_WORDS };

struct option_spec {
	const char *name;     /* "memory": given as --memory X or --memory=X */
	const char *argument; /* "SIZE"; NULL for a flag; "[=WORD]" if it may be left out */
	const char *help;     /* one sentence or two */
	const char *initial;  /* what holds if it is not given, for help texts; may be NULL */
	enum option_completion completion;
	const char *words; /* COMPLETE_WORDS: space-separated */
	/* Stores the value (NULL: none was given); returns 0 or fills `err`. */
	int (*set)(void *target, const char *value, struct error *err);
	char letter; /* 'o': also given as -o X; 0: none */
};

/* A value may follow as the next word, and must if none is attached with "=". */
static inline bool option_needs_value(const struct option_spec *option)
{
	return option->argument && option->argument[0] != '[';
}

struct exit_code_row {
	int code;
	const char *meaning;
};

struct command {
	const char *name;
	const char *operands; /* "" or "[COMMAND]" */
	const char *summary;  /* one line */
	const char *description;
	const struct option_spec *options; /* ends with a NULL name */
	/* `argc`, `argv`: without the command's name. Returns the exit code. */
	int (*main)(const struct command *command, int argc, char **argv);
};

extern const struct command commands[]; /* ends with a NULL name */
const struct command *command_find(const char *name);

/*
 * Parses options into `target`. Operands are moved to the front of argv and counted in
 * `*nr_operands`. `--help` sets `*help` and ends parsing. Returns 0, or fills `err`.
 */
int options_parse(const struct command *command, int argc, char **argv, void *target,
	int *nr_operands, bool *help, struct error *err);

/* The same, and calls `record` (may be NULL) with each option that was set. */
int options_parse_recorded(const struct command *command, int argc, char **argv, void *target,
	int *nr_operands, bool *help,
	int (*record)(void *context, const struct option_spec *option, const char *value,
		struct error *err),
	void *context, struct error *err);

/* The option of that name, or NULL; `nearest` (may be NULL) is what may have been meant. */
const struct option_spec *option_named(
	const struct option_spec *options, const char *name, const struct option_spec **nearest);

void command_print_help(FILE *out, const struct command *command);
/* All commands, the exit codes and where to read on. */
void program_print_help(FILE *out);
/* roff (man macros) of atoll(1) if `command` is NULL, else of atoll-COMMAND(1). */
void command_print_man(FILE *out, const struct command *command);
void program_print_bash_completion(FILE *out);

#endif
