/*
 * atoll ls, atoll info and atoll logs: what there is to know of named VMs.
 */
#include "base/host_time.h"
#include "base/log.h"
#include "bundle/control_client.h"
#include "bundle/spec.h"
#include "cli/command.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int set_output(void *target, const char *value, struct error *err)
{
	struct format_options *options = target;

	options->json = strcmp(value, "json") == 0;
	if (options->json || strcmp(value, "text") == 0)
		return 0;
	return error_set(
		err, EXIT_CODE_USAGE, "--output does not know '%s'; use one of: text json", value);
}

const struct option_spec format_option_table[] = {
	{ "output", "text|json", "text for people, json for programs.", "text", COMPLETE_WORDS,
		"text json", set_output, 'o' },
	{ 0 },
};

/* What the VM's process says of itself; NULL if there is none or it does not answer. */
static json_t *running_status(const struct bundle *bundle)
{
	struct control_client client;
	json_t *status = NULL;

	if (control_connect(&client, bundle, 2 * NS_PER_S, NULL))
		return NULL;
	control_call(&client, "status", NULL, &status, NULL);
	control_disconnect(&client);
	return status;
}

/* What is known of a VM, running or not. */
static json_t *vm_status(const struct bundle *bundle)
{
	pid_t pid;
	bool running = bundle_is_running(bundle, &pid);
	json_t *status = running ? running_status(bundle) : NULL;
	int last_exit = bundle_last_exit(bundle);

	if (!status)
		status = json_pack("{s:s, s:s}", "name", bundle->name, "state",
			running ? "not answering" : "stopped");
	if (running && pid)
		json_object_set_new(status, "pid", json_integer(pid));
	if (!running && last_exit >= 0)
		json_object_set_new(status, "exit_code", json_integer(last_exit));
	json_object_set_new(status, "directory", json_string(bundle->path));
	return status;
}

static const char *text_of(const json_t *status, const char *key)
{
	const char *text = json_string_value(json_object_get(status, key));

	return text ? text : "-";
}

/* "3 d 4 h", "5 min 6 s": two units. */
static void format_duration(char *out, size_t size, json_int_t seconds)
{
	if (seconds >= 86400)
		snprintf(
			out, size, "%d d %d h", (int)(seconds / 86400), (int)(seconds / 3600 % 24));
	else if (seconds >= 3600)
		snprintf(out, size, "%d h %d min", (int)(seconds / 3600), (int)(seconds / 60 % 60));
	else if (seconds >= 60)
		snprintf(out, size, "%d min %d s", (int)(seconds / 60), (int)(seconds % 60));
	else
		snprintf(out, size, "%d s", (int)seconds);
}

static void print_row(const json_t *status)
{
	json_int_t cpus = json_integer_value(json_object_get(status, "cpus"));
	json_int_t memory = json_integer_value(json_object_get(status, "memory_bytes")) >> 20;
	json_int_t uptime_ms = json_integer_value(json_object_get(status, "uptime_ms"));
	const json_t *pid = json_object_get(status, "pid");
	const json_t *exit_code = json_object_get(status, "exit_code");
	char state[32], uptime[32] = "-", process[16] = "-";

	snprintf(state, sizeof(state), "%s", text_of(status, "state"));
	if (exit_code)
		snprintf(state, sizeof(state), "stopped (%d)", (int)json_integer_value(exit_code));
	if (pid)
		snprintf(process, sizeof(process), "%d", (int)json_integer_value(pid));
	if (cpus)
		format_duration(uptime, sizeof(uptime), uptime_ms / 1000);
	printf("%-24s %-14s %8s %-6s %4d %6d MiB  %s\n", text_of(status, "name"), state, process,
		text_of(status, "engine"), (int)cpus, (int)memory, uptime);
}

static void print_table(const json_t *all)
{
	const json_t *status;
	size_t index;

	printf("%-24s %-14s %8s %-6s %4s %10s  %s\n", "NAME", "STATE", "PROCESS", "ENGINE", "CPUS",
		"MEMORY", "UP");
	json_array_foreach(all, index, status) print_row(status);
}

static void print_json(const json_t *value)
{
	json_dumpf(value, stdout, JSON_INDENT(2));
	putchar('\n');
}

int ls_main(const struct command *command, int argc, char **argv)
{
	struct format_options options = { 0 };
	struct error err = { 0 };
	char **names = NULL;
	json_t *all = NULL;
	int nr_operands;
	bool help;

	if (options_parse(command, argc, argv, &options, &nr_operands, &help, &err))
		goto mistake;
	if (help) {
		command_print_help(stdout, command);
		return EXIT_CODE_OK;
	}
	if (nr_operands > 0)
		error_set(&err, EXIT_CODE_USAGE,
			"'atoll ls' lists every VM; 'atoll info %s' tells about one", argv[0]);
	if (err.exit_code || bundle_names(&names, &err))
		goto mistake;
	all = json_array();
	for (char **name = names; *name; name++) {
		struct bundle bundle;

		/* One that was removed just now is not there. */
		if (bundle_open(&bundle, *name, NULL))
			continue;
		json_array_append_new(all, vm_status(&bundle));
		bundle_close(&bundle);
	}
	if (options.json)
		print_json(all);
	else
		print_table(all);
	json_decref(all);
	bundle_free_names(names);
	return EXIT_CODE_OK;
mistake:
	log_error("%s", err.text);
	return err.exit_code;
}

/* vm.yaml as JSON: texts as they stand there, a list where a key has several. */
static json_t *spec_as_json(const struct spec *spec)
{
	json_t *options = json_object();

	for (unsigned i = 0; i < spec->nr_entries; i++) {
		const struct spec_entry *entry = &spec->entries[i];
		json_t *former = json_object_get(options, entry->key), *list;

		if (!former) {
			json_object_set_new(options, entry->key, json_string(entry->value));
			continue;
		}
		list = json_is_array(former) ? json_incref(former) : json_pack("[O]", former);
		json_array_append_new(list, json_string(entry->value));
		json_object_set_new(options, entry->key, list);
	}
	return options;
}

static void print_text(const json_t *status)
{
	const char *key;
	const json_t *value;

	json_object_foreach((json_t *)status, key, value)
	{
		char *text = json_is_string(value)
				     ? strdup(json_string_value(value))
				     : json_dumps(value, JSON_ENCODE_ANY | JSON_INDENT(2));

		printf("%s: %s\n", key, text ? text : "-");
		free(text);
	}
}

/* Opens the one VM that is named; false if there is nothing more to do, with `*exit_code`. */
static bool open_one(const struct command *command, int argc, char **argv, void *options,
	struct bundle *bundle, int *exit_code)
{
	struct error err = { 0 };
	int nr_operands;
	bool help;

	if (options_parse(command, argc, argv, options, &nr_operands, &help, &err) == 0) {
		if (help) {
			command_print_help(stdout, command);
			*exit_code = EXIT_CODE_OK;
			return false;
		}
		if (nr_operands != 1)
			error_set(&err, EXIT_CODE_USAGE,
				"one VM has to be named: atoll %s NAME; 'atoll ls' lists them",
				command->name);
		else if (bundle_open(bundle, argv[0], &err) == 0)
			return true;
	}
	log_error("%s", err.text);
	*exit_code = err.exit_code;
	return false;
}

int info_main(const struct command *command, int argc, char **argv)
{
	struct format_options options = { 0 };
	struct bundle bundle = { 0 };
	struct error err = { 0 };
	struct spec spec = { 0 };
	json_t *status;
	int exit_code;

	if (!open_one(command, argc, argv, &options, &bundle, &exit_code))
		return exit_code;
	status = vm_status(&bundle);
	if (spec_read(&spec, bundle.dir_fd, BUNDLE_SPEC, &err) == 0)
		json_object_set_new(status, "options", spec_as_json(&spec));
	else
		log_error("%s", err.text);
	if (options.json)
		print_json(status);
	else
		print_text(status);
	json_decref(status);
	spec_finish(&spec);
	bundle_close(&bundle);
	return err.exit_code;
}

struct logs_options {
	bool follow, atoll;
};

static int set_follow(void *target, const char *value, struct error *err)
{
	(void)value;
	(void)err;
	((struct logs_options *)target)->follow = true;
	return 0;
}

static int set_atoll(void *target, const char *value, struct error *err)
{
	(void)value;
	(void)err;
	((struct logs_options *)target)->atoll = true;
	return 0;
}

const struct option_spec logs_option_table[] = {
	{ "follow", NULL, "Go on with what is added, until the VM ends.", NULL, COMPLETE_NOTHING,
		NULL, set_follow },
	{ "atoll", NULL, "What atoll said of the VM, instead of what the guest printed.", NULL,
		COMPLETE_NOTHING, NULL, set_atoll },
	{ 0 },
};

/* Prints what is left of `fd`; false if nobody reads. */
static bool print_rest(int fd)
{
	char bytes[16384];
	ssize_t count;

	while ((count = read(fd, bytes, sizeof(bytes))) > 0)
		if (fwrite(bytes, 1, (size_t)count, stdout) != (size_t)count)
			return false;
	return fflush(stdout) == 0;
}

static int open_log(const struct bundle *bundle, const char *name)
{
	return openat(bundle->dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
}

/* Is it still the file of that name, or was it rotated away? */
static bool is_current(int fd, const struct bundle *bundle, const char *name)
{
	struct stat ours, current;

	return fstat(fd, &ours) == 0 &&
	       fstatat(bundle->dir_fd, name, &current, AT_SYMLINK_NOFOLLOW) == 0 &&
	       ours.st_ino == current.st_ino;
}

static void follow_log(int fd, const struct bundle *bundle, const char *name)
{
	const struct timespec pause = { .tv_nsec = 100 * NS_PER_MS };

	for (;;) {
		bool running = bundle_is_running(bundle, NULL);

		if (!print_rest(fd))
			break;
		if (!is_current(fd, bundle, name)) {
			int next = open_log(bundle, name);

			if (next >= 0) {
				close(fd);
				fd = next;
				continue;
			}
		}
		if (!running)
			break;
		nanosleep(&pause, NULL);
	}
	close(fd);
}

int logs_main(const struct command *command, int argc, char **argv)
{
	struct logs_options options = { 0 };
	struct bundle bundle = { 0 };
	char old[32];
	const char *name;
	int exit_code, fd;

	if (!open_one(command, argc, argv, &options, &bundle, &exit_code))
		return exit_code;
	name = options.atoll ? BUNDLE_LOG : BUNDLE_CONSOLE_LOG;
	snprintf(old, sizeof(old), "%s.1", name);
	fd = open_log(&bundle, old);
	if (fd >= 0) {
		print_rest(fd);
		close(fd);
	}
	fd = open_log(&bundle, name);
	if (fd >= 0 && options.follow) {
		follow_log(fd, &bundle, name);
	} else if (fd >= 0) {
		print_rest(fd);
		close(fd);
	} else if (!options.atoll) {
		log_error("the VM '%s' has printed nothing on its console yet", bundle.name);
		exit_code = EXIT_CODE_NO_FILE;
	}
	bundle_close(&bundle);
	return fd >= 0 || options.atoll ? EXIT_CODE_OK : exit_code;
}
