/*
 * atoll exec, cp and ssh: into a guest, through its agent or through its ssh server.
 */
#include "base/log.h"
#include "cli/command.h"
#include "cli/guest.h"
#include "cli/vm_spec.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_INPUT_BYTES (1 << 20) /* in one message to the agent */

int guest_open_agent(struct agent *agent, const struct bundle *bundle, struct error *err)
{
	int fd;

	if (!bundle_is_running(bundle, NULL))
		return error_set(err, EXIT_CODE_CONFIG,
			"the VM '%s' is not running; 'atoll start %s' starts it", bundle->name,
			bundle->name);
	fd = bundle_connect(bundle, BUNDLE_AGENT);
	if (fd == -ENOENT)
		return error_set(err, EXIT_CODE_CONFIG,
			"the VM '%s' has no line to a guest agent; give it one with 'agent: true' "
			"in "
			"its " BUNDLE_SPEC,
			bundle->name);
	if (fd < 0)
		return error_set_errno(err, EXIT_CODE_UNAVAILABLE, -fd,
			"the guest agent of the VM '%s' cannot be reached", bundle->name);
	return agent_open(agent, fd, bundle->name, err);
}

struct exec_options {
	bool input;
	ns_t limit_ns; /* 0: none */
};

static int set_input(void *target, const char *value, struct error *err)
{
	struct exec_options *options = target;

	(void)value;
	(void)err;
	options->input = true;
	return 0;
}

static int set_timeout(void *target, const char *value, struct error *err)
{
	struct exec_options *options = target;
	char *end;
	unsigned long seconds = strtoul(value, &end, 10);

	if (!isdigit((unsigned char)*value) || *end || seconds > 86400)
		return error_set(err, EXIT_CODE_USAGE,
			"--timeout cannot read '%s'; give seconds, such as 30", value);
	options->limit_ns = (ns_t)seconds * NS_PER_S;
	return 0;
}

const struct option_spec exec_option_table[] = {
	{ "input", NULL, "Give the command what stands on standard input, 1 MiB at most.", NULL,
		COMPLETE_NOTHING, NULL, set_input },
	{ "timeout", "SECONDS", "Wait no longer than this; the command goes on in the guest.",
		"no limit", COMPLETE_NOTHING, NULL, set_timeout },
	{ 0 },
};

static int read_input(uint8_t **bytes, size_t *size, struct error *err)
{
	ssize_t count;

	*size = 0;
	*bytes = malloc(MAX_INPUT_BYTES + 1);
	if (!*bytes)
		return error_set(err, EXIT_CODE_HOST, "out of memory");
	while (*size <= MAX_INPUT_BYTES &&
		(count = read(STDIN_FILENO, *bytes + *size, MAX_INPUT_BYTES + 1 - *size)) > 0)
		*size += (size_t)count;
	if (*size <= MAX_INPUT_BYTES)
		return 0;
	return error_set(err, EXIT_CODE_USAGE,
		"standard input is larger than 1 MiB; copy it with 'atoll cp' first");
}

static int exec_in(const struct bundle *bundle, char *const *argv,
	const struct exec_options *options, struct error *err)
{
	struct agent_result result;
	struct agent agent;
	uint8_t *input = NULL;
	size_t input_size = 0;

	if (options->input && read_input(&input, &input_size, err))
		goto done;
	if (guest_open_agent(&agent, bundle, err))
		goto done;
	if (agent_exec(&agent, argv, input, input_size, options->limit_ns, &result, err) == 0) {
		fwrite(result.out.bytes, 1, result.out.size, stdout);
		fwrite(result.err.bytes, 1, result.err.size, stderr);
		if (result.out.truncated || result.err.truncated)
			log_warning("the output is cut off: the guest agent keeps no more");
	} else {
		result.exit_code = err->exit_code;
	}
	agent_close(&agent);
	free(input);
	agent_result_finish(&result);
	return result.exit_code;
done:
	free(input);
	return err->exit_code;
}

int exec_main(const struct command *command, int argc, char **argv)
{
	struct exec_options options = { 0 };
	struct bundle bundle = { 0 };
	struct error err = { 0 };
	int nr_operands, exit_code = EXIT_CODE_OK;
	bool help;

	if (options_parse(command, argc, argv, &options, &nr_operands, &help, &err) == 0) {
		if (help) {
			command_print_help(stdout, command);
			return EXIT_CODE_OK;
		}
		if (nr_operands < 2) {
			error_set(&err, EXIT_CODE_USAGE,
				"a VM and a command are needed: atoll exec NAME -- COMMAND "
				"[ARGUMENT...]");
		} else if (bundle_open(&bundle, argv[0], &err) == 0) {
			/* argv ends with a NULL, but perhaps not right after the operands. */
			char **words = calloc((size_t)nr_operands, sizeof(*words));

			if (words) {
				memcpy(words, argv + 1, (size_t)(nr_operands - 1) * sizeof(*words));
				exit_code = exec_in(&bundle, words, &options, &err);
			}
			free(words);
		}
	}
	bundle_close(&bundle);
	if (err.exit_code)
		log_error("%s", err.text);
	return err.exit_code ? (int)err.exit_code : exit_code;
}

/* "NAME:PATH": the path, and the name in `name`; NULL if `text` is a path of the host. */
static const char *guest_path(const char *text, char *name)
{
	const char *colon = strchr(text, ':');
	size_t length = colon ? (size_t)(colon - text) : 0;

	if (!colon || length == 0 || length > BUNDLE_NAME_MAX || memchr(text, '/', length))
		return NULL;
	memcpy(name, text, length);
	name[length] = '\0';
	return colon + 1;
}

static int copy(
	const char *name, const char *from, const char *to, bool to_guest, struct error *err)
{
	const char *here = to_guest ? from : to;
	struct bundle bundle = { 0 };
	struct agent agent;
	int fd, result;

	if (bundle_open(&bundle, name, err))
		return -EINVAL;
	if (strcmp(here, "-") == 0)
		fd = fcntl(to_guest ? STDIN_FILENO : STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
	else if (to_guest)
		fd = open(here, O_RDONLY | O_CLOEXEC);
	else
		fd = open(here, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (fd < 0) {
		result = error_set_errno(err, to_guest ? EXIT_CODE_NO_FILE : EXIT_CODE_CANNOT_WRITE,
			errno, "cannot open %s", here);
	} else if ((result = guest_open_agent(&agent, &bundle, err)) == 0) {
		result = to_guest ? agent_file_put(&agent, fd, to, err)
				  : agent_file_get(&agent, from, fd, err);
		agent_close(&agent);
	}
	if (fd >= 0)
		close(fd);
	bundle_close(&bundle);
	return result;
}

int cp_main(const struct command *command, int argc, char **argv)
{
	char name[BUNDLE_NAME_MAX + 1];
	struct error err = { 0 };
	const char *path;
	int nr_operands;
	bool help;

	if (options_parse(command, argc, argv, NULL, &nr_operands, &help, &err) == 0) {
		if (help) {
			command_print_help(stdout, command);
			return EXIT_CODE_OK;
		}
		if (nr_operands == 2 && (path = guest_path(argv[0], name)) &&
			(strchr(argv[1], ':') == NULL || *argv[1] == '/'))
			copy(name, path, argv[1], false, &err);
		else if (nr_operands == 2 && (path = guest_path(argv[1], name)))
			copy(name, argv[0], path, true, &err);
		else
			error_set(&err, EXIT_CODE_USAGE,
				"one file is copied between the host and a VM: atoll cp FILE "
				"NAME:PATH, or atoll cp NAME:PATH FILE");
	}
	if (err.exit_code)
		log_error("%s", err.text);
	return err.exit_code;
}

struct ssh_options {
	const char *user;
};

static int set_user(void *target, const char *value, struct error *err)
{
	struct ssh_options *options = target;

	options->user = value;
	if (!*value || *value == '-')
		return error_set(err, EXIT_CODE_USAGE, "--user cannot be '%s'", value);
	return 0;
}

const struct option_spec ssh_option_table[] = {
	{ "user", "USER", "Who to be in the guest.", "debian", COMPLETE_NOTHING, NULL, set_user },
	{ 0 },
};

/* The port of this host that leads to the guest's port 22, from vm.yaml; 0: none. */
static unsigned forwarded_ssh_port(const struct spec *spec)
{
	for (unsigned i = 0; i < spec->nr_entries; i++) {
		const char *at = spec->entries[i].value;

		if (strcmp(spec->entries[i].key, "net") != 0)
			continue;
		while ((at = strstr(at, "tcp:"))) {
			unsigned host, guest;

			if (sscanf(at, "tcp:%5u:%5u", &host, &guest) == 2 && guest == 22 &&
				host > 0 && host < 65536)
				return host;
			at += 4;
		}
	}
	return 0;
}

/* Becomes ssh. */
static int run_ssh(const struct bundle *bundle, unsigned port, const char *user, char **words,
	int nr_words, struct error *err)
{
	char **argv = calloc((size_t)nr_words + 16, sizeof(*argv));
	char port_text[8], *known_hosts = NULL, *key = NULL, *target = NULL;
	int count = 0;

	snprintf(port_text, sizeof(port_text), "%u", port);
	if (!argv ||
		asprintf(&known_hosts, "UserKnownHostsFile=%s/known_hosts", bundle->path) < 0 ||
		asprintf(&key, "%s/" BUNDLE_SSH_KEY, bundle->path) < 0 ||
		asprintf(&target, "%s@127.0.0.1", user) < 0) {
		free(argv);
		return error_set(err, EXIT_CODE_HOST, "out of memory");
	}
	argv[count++] = (char *)"ssh";
	argv[count++] = (char *)"-p";
	argv[count++] = port_text;
	argv[count++] = (char *)"-o";
	argv[count++] = known_hosts;
	/* The VM's key is new to us, and nobody is between us and the port. */
	argv[count++] = (char *)"-o";
	argv[count++] = (char *)"StrictHostKeyChecking=accept-new";
	argv[count++] = (char *)"-o";
	argv[count++] = (char *)"LogLevel=ERROR";
	if (faccessat(bundle->dir_fd, BUNDLE_SSH_KEY, R_OK, 0) == 0) {
		argv[count++] = (char *)"-i";
		argv[count++] = key;
	}
	argv[count++] = target;
	for (int i = 0; i < nr_words; i++)
		argv[count++] = words[i];
	execvp("ssh", argv);
	free(argv);
	free(known_hosts);
	free(key);
	free(target);
	return error_set_errno(err, EXIT_CODE_UNAVAILABLE, errno,
		"cannot run ssh; install the package openssh-client");
}

int ssh_main(const struct command *command, int argc, char **argv)
{
	struct ssh_options options = { .user = "debian" };
	struct bundle bundle = { 0 };
	struct spec spec = { 0 };
	struct error err = { 0 };
	int nr_operands;
	unsigned port;
	bool help;

	if (options_parse(command, argc, argv, &options, &nr_operands, &help, &err) == 0) {
		if (help) {
			command_print_help(stdout, command);
			return EXIT_CODE_OK;
		}
		if (nr_operands < 1)
			error_set(&err, EXIT_CODE_USAGE,
				"a VM has to be named: atoll ssh NAME [-- COMMAND...]");
	}
	if (!err.exit_code && bundle_open(&bundle, argv[0], &err) == 0 &&
		spec_read(&spec, bundle.dir_fd, BUNDLE_SPEC, &err) == 0) {
		port = forwarded_ssh_port(&spec);
		if (!bundle_is_running(&bundle, NULL))
			error_set(&err, EXIT_CODE_CONFIG,
				"the VM '%s' is not running; 'atoll start %s' starts it", argv[0],
				argv[0]);
		else if (port == 0)
			error_set(&err, EXIT_CODE_CONFIG,
				"no port of this host leads to the ssh server of the VM '%s'; give "
				"it 'net: user,forward=tcp:2222:22' in its " BUNDLE_SPEC,
				argv[0]);
		else
			run_ssh(&bundle, port, options.user, argv + 1, nr_operands - 1, &err);
	}
	log_error("%s", err.text);
	spec_finish(&spec);
	bundle_close(&bundle);
	return err.exit_code;
}
