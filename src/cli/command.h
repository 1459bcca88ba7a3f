/*
 * The commands, each in a file of its own; commands[] in main.c is their list.
 */
#ifndef CLI_COMMAND_H
#define CLI_COMMAND_H

#include "cli/option.h"

extern const struct option_spec run_option_table[], start_option_table[], stop_option_table[],
	format_option_table[], logs_option_table[], plug_option_table[], unplug_option_table[],
	media_option_table[], exec_option_table[], ssh_option_table[], type_option_table[],
	screenshot_option_table[], console_option_table[], balloon_option_table[];
/* What format_option_table fills. */
struct format_options {
	bool json;
};

int run_main(const struct command *command, int argc, char **argv);
int create_main(const struct command *command, int argc, char **argv);
int start_main(const struct command *command, int argc, char **argv);
int stop_main(const struct command *command, int argc, char **argv);
int kill_main(const struct command *command, int argc, char **argv);
int pause_main(const struct command *command, int argc, char **argv);
int resume_main(const struct command *command, int argc, char **argv);
int reset_main(const struct command *command, int argc, char **argv);
int rm_main(const struct command *command, int argc, char **argv);
int ls_main(const struct command *command, int argc, char **argv);
int info_main(const struct command *command, int argc, char **argv);
int console_main(const struct command *command, int argc, char **argv);
int plug_main(const struct command *command, int argc, char **argv);
int unplug_main(const struct command *command, int argc, char **argv);
int media_main(const struct command *command, int argc, char **argv);
int devices_main(const struct command *command, int argc, char **argv);
int screenshot_main(const struct command *command, int argc, char **argv);
int type_main(const struct command *command, int argc, char **argv);
int keys_main(const struct command *command, int argc, char **argv);
int mouse_main(const struct command *command, int argc, char **argv);
int resize_main(const struct command *command, int argc, char **argv);
int memory_main(const struct command *command, int argc, char **argv);
int logs_main(const struct command *command, int argc, char **argv);
int exec_main(const struct command *command, int argc, char **argv);
int cp_main(const struct command *command, int argc, char **argv);
int agent_main(const struct command *command, int argc, char **argv);
int ssh_main(const struct command *command, int argc, char **argv);
int switch_main(const struct command *command, int argc, char **argv);

extern const struct option_spec disk_option_table[];
int disk_main(const struct command *command, int argc, char **argv);

#endif
