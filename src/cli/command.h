/*
 * The commands, each in a file of its own; commands[] in main.c is their list.
 */
#ifndef CLI_COMMAND_H
#define CLI_COMMAND_H

#include "cli/option.h"

extern const struct option_spec run_option_table[];
int run_main(const struct command *command, int argc, char **argv);

int switch_main(const struct command *command, int argc, char **argv);

#endif
