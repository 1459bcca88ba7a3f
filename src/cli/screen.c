/*
 * atoll screenshot, type, keys, mouse: a person at the screen, keyboard and pointer of a VM that
 * runs.
 */
#include "base/bits.h"
#include "base/host_time.h"
#include "base/log.h"
#include "bundle/control_client.h"
#include "cli/command.h"
#include "cli/vm_spec.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct screen_options {
	const char *layout;
	bool text;
};

static int set_layout(void *target, const char *value, struct error *err)
{
	struct screen_options *options = target;

	(void)err;
	options->layout = value;
	return 0;
}

static int set_text(void *target, const char *value, struct error *err)
{
	struct screen_options *options = target;

	(void)value;
	(void)err;
	options->text = true;
	return 0;
}

const struct option_spec type_option_table[] = {
	{ "layout", "us|de", "The keyboard's layout, as the guest is set to it.", "us",
		COMPLETE_WORDS, "us de", set_layout },
	{ 0 },
};

const struct option_spec screenshot_option_table[] = {
	{ "text", NULL, "Print the characters of a text screen instead of taking a picture.", NULL,
		COMPLETE_NOTHING, NULL, set_text },
	{ 0 },
};

/* A command with the VM it is for, and what it does with the rest of its operands. */
struct session {
	const struct command *command;
	struct screen_options options;
	struct control_client client;
	int argc;
	char **argv; /* without the VM */
	struct error err;
};

static int run(const struct command *command, int argc, char **argv, int fewest, int most,
	void (*act)(struct session *session))
{
	struct session session = { .command = command, .client.fd = -1 };
	struct bundle bundle = { 0 };
	struct error *err = &session.err;
	bool help;

	if (options_parse(command, argc, argv, &session.options, &argc, &help, err) == 0) {
		if (help) {
			command_print_help(stdout, command);
			return EXIT_CODE_OK;
		}
		if (argc - 1 < fewest || argc - 1 > most) {
			error_set(err, EXIT_CODE_USAGE, "use it as: atoll %s %s", command->name,
				command->operands);
		} else if (bundle_open(&bundle, argv[0], err) == 0 &&
			   control_connect(&session.client, &bundle, CONTROL_PATIENCE_NS, err) ==
				   0) {
			session.argc = argc - 1;
			session.argv = argv + 1;
			act(&session);
			control_disconnect(&session.client);
		}
	}
	bundle_close(&bundle);
	if (err->exit_code)
		log_error("%s", err->text);
	return err->exit_code;
}

static void print_text(struct session *session)
{
	json_t *result = NULL;
	const json_t *rows;

	if (control_call(&session->client, "screen-text", NULL, &result, &session->err))
		return;
	rows = json_object_get(result, "rows");
	for (size_t i = 0; i < json_array_size(rows); i++)
		puts(json_string_value(json_array_get(rows, i)));
	json_decref(result);
}

static char *absolute(const char *path)
{
	char *directory, *result = NULL;

	if (*path == '/')
		return strdup(path);
	directory = getcwd(NULL, 0);
	if (directory && asprintf(&result, "%s/%s", directory, path) < 0)
		result = NULL;
	free(directory);
	return result;
}

static void take_picture(struct session *session)
{
	char *path;

	if (session->options.text != (session->argc == 0)) {
		error_set(&session->err, EXIT_CODE_USAGE,
			"give a file for the picture, such as screen.png, or --text without one");
		return;
	}
	if (session->options.text) {
		print_text(session);
		return;
	}
	path = absolute(session->argv[0]);
	control_call(&session->client, "screenshot", json_pack("{s:s}", "path", path ? path : ""),
		NULL, &session->err);
	free(path);
}

/* Text of any length, in pieces that the VM takes when it has typed enough of the ones before. */
#define PIECE    512
#define PAUSE_NS (100 * NS_PER_MS)
#define PATIENCE (600 * NS_PER_S)

static size_t piece_length(const char *text)
{
	size_t length = strnlen(text, PIECE);

	/* Not in the middle of a character. */
	while (length > 1 && ((unsigned char)text[length] & 0xc0) == 0x80)
		length--;
	return length;
}

static void type_text(struct session *session)
{
	const struct timespec pause = { .tv_nsec = PAUSE_NS };
	const char *text = session->argv[0];
	ns_t limit_ns = host_now() + PATIENCE;

	while (*text && !session->err.exit_code) {
		size_t length = piece_length(text);
		json_t *arguments = json_pack("{s:s%}", "text", text, length);

		if (session->options.layout)
			json_object_set_new(
				arguments, "layout", json_string(session->options.layout));
		if (!arguments) {
			error_set(&session->err, EXIT_CODE_USAGE, "the text is no UTF-8");
			return;
		}
		control_call(&session->client, "type", arguments, NULL, &session->err);
		if (session->err.exit_code == EXIT_CODE_UNAVAILABLE && host_now() < limit_ns) {
			session->err = (struct error){ 0 };
			nanosleep(&pause, NULL);
			continue;
		}
		text += length;
	}
}

static void press_keys(struct session *session)
{
	for (int i = 0; i < session->argc && !session->err.exit_code; i++)
		control_call(&session->client, "keys", json_pack("{s:s}", "keys", session->argv[i]),
			NULL, &session->err);
}

static bool read_number(const char *text, int *value)
{
	char *end;
	long number = strtol(text, &end, 10);

	*value = (int)number;
	return *text && !*end && number >= -32767 && number <= 32767;
}

/* A button's bit in the protocol; 0: there is no such button. */
static int button_named(const char *name)
{
	static const char *const names[] = { "left", "right", "middle", "side", "extra" };

	for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
		if (strcmp(names[i], name) == 0)
			return 1 << i;
	}
	return 0;
}

static void call_mouse(struct session *session, json_t *arguments)
{
	control_call(&session->client, "mouse", arguments, NULL, &session->err);
}

static void use_mouse(struct session *session)
{
	const char *verb = session->argv[0];
	int x, y, button = session->argc == 2 ? button_named(session->argv[1]) : 1;

	if (session->argc == 3 && read_number(session->argv[1], &x) &&
		read_number(session->argv[2], &y)) {
		if (strcmp(verb, "to") == 0 && x >= 0 && y >= 0) {
			call_mouse(session, json_pack("{s:i, s:i}", "x", x, "y", y));
			return;
		}
		if (strcmp(verb, "by") == 0) {
			call_mouse(session, json_pack("{s:i, s:i}", "right", x, "down", y));
			return;
		}
	}
	if (session->argc == 2 && strcmp(verb, "wheel") == 0 && read_number(session->argv[1], &x)) {
		call_mouse(session, json_pack("{s:i}", "wheel", x));
		return;
	}
	if (session->argc <= 2 && button && strcmp(verb, "press") == 0) {
		call_mouse(session, json_pack("{s:i}", "buttons", button));
		return;
	}
	if (session->argc == 1 && strcmp(verb, "release") == 0) {
		call_mouse(session, json_pack("{s:i}", "buttons", 0));
		return;
	}
	if (session->argc <= 2 && button && strcmp(verb, "click") == 0) {
		const struct timespec pause = { .tv_nsec = PAUSE_NS };

		call_mouse(session, json_pack("{s:i}", "buttons", button));
		nanosleep(&pause, NULL);
		if (!session->err.exit_code)
			call_mouse(session, json_pack("{s:i}", "buttons", 0));
		return;
	}
	error_set(&session->err, EXIT_CODE_USAGE,
		"the pointer is told: to X Y, by X Y, click [left|right|middle], press [BUTTON], "
		"release, wheel N");
}

int screenshot_main(const struct command *command, int argc, char **argv)
{
	return run(command, argc, argv, 0, 1, take_picture);
}

int type_main(const struct command *command, int argc, char **argv)
{
	return run(command, argc, argv, 1, 1, type_text);
}

int keys_main(const struct command *command, int argc, char **argv)
{
	return run(command, argc, argv, 1, 64, press_keys);
}

int mouse_main(const struct command *command, int argc, char **argv)
{
	return run(command, argc, argv, 1, 3, use_mouse);
}
