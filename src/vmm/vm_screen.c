/*
 * The screen, the keyboard and the pointer, through the control socket (docs/control-protocol.md).
 * On the event loop's thread.
 */
#include "display/key.h"
#include "display/png.h"
#include "vmm/screen.h"
#include "vmm/vm_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Members beyond those of the format are a mistake, as everywhere. */
static int bad_arguments(const json_error_t *why, struct error *err)
{
	return error_set(
		err, EXIT_CODE_USAGE, "the arguments are not those of this command: %s", why->text);
}

static int save(const struct surface *surface, const char *path, struct error *err)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0666);
	FILE *file = fd < 0 ? NULL : fdopen(fd, "wb");
	int rc;

	if (!file) {
		rc = -errno;
		if (fd >= 0)
			close(fd);
		return error_set_errno(
			err, EXIT_CODE_CANNOT_WRITE, -rc, "cannot write the picture '%s'", path);
	}
	rc = png_write(file, surface);
	if (fclose(file) && rc == 0)
		rc = -errno;
	if (rc < 0)
		return error_set_errno(
			err, EXIT_CODE_CANNOT_WRITE, -rc, "cannot write the picture '%s'", path);
	return 0;
}

int vm_run_screenshot(void *context, const json_t *arguments, json_t **result, struct error *err)
{
	struct vm *vm = context;
	struct surface surface = { 0 };
	json_error_t why;
	const char *path;
	int rc;

	if (json_unpack_ex((json_t *)arguments, &why, JSON_STRICT, "{s:s}", "path", &path))
		return bad_arguments(&why, err);
	if (*path != '/')
		return error_set(err, EXIT_CODE_USAGE, "the path '%.200s' is not absolute", path);
	rc = screen_draw(&vm->devices, &surface, err);
	if (rc == 0)
		rc = save(&surface, path, err);
	if (rc == 0)
		*result = json_pack(
			"{s:i, s:i}", "width", (int)surface.width, "height", (int)surface.height);
	surface_finish(&surface);
	return rc;
}

static json_t *pack_rows(const struct text_screen *text)
{
	char row[TEXT_SCREEN_ROW_BYTES];
	json_t *rows = json_array();

	for (unsigned i = 0; i < text->rows; i++) {
		text_screen_row(text, i, row);
		json_array_append_new(rows, json_string(row));
	}
	return rows;
}

int vm_run_screen_text(void *context, const json_t *arguments, json_t **result, struct error *err)
{
	struct vm *vm = context;
	struct text_screen *text;

	if (arguments && json_object_size(arguments) > 0)
		return error_set(err, EXIT_CODE_USAGE, "this command has no arguments");
	text = malloc(sizeof(*text));
	if (!text)
		return error_set(err, EXIT_CODE_HOST, "out of memory");
	if (screen_read_text(&vm->devices, text))
		*result = json_pack(
			"{s:i, s:o}", "columns", (int)text->columns, "rows", pack_rows(text));
	free(text);
	if (!*result)
		return error_set(err, EXIT_CODE_UNAVAILABLE,
			"the machine's screen shows no text now; take a picture with 'atoll "
			"screenshot'");
	return 0;
}

static int check_keyboard(const struct vm *vm, struct error *err)
{
	if (input_has_keyboard(&vm->input))
		return 0;
	return error_set(err, EXIT_CODE_CONFIG,
		"this machine has no keyboard; give it one with --keyboard virtio, or with a board "
		"that has PS/2");
}

int vm_run_type(void *context, const json_t *arguments, json_t **result, struct error *err)
{
	const char *text, *layout = NULL;
	struct vm *vm = context;
	json_error_t why;

	(void)result;
	if (json_unpack_ex((json_t *)arguments, &why, JSON_STRICT, "{s:s, s?s}", "text", &text,
		    "layout", &layout))
		return bad_arguments(&why, err);
	if (check_keyboard(vm, err))
		return -1;
	return input_type(&vm->input, layout, text, err);
}

/* Chords between spaces. */
int vm_run_keys(void *context, const json_t *arguments, json_t **result, struct error *err)
{
	unsigned keys[KEY_MAX_CHORD];
	struct vm *vm = context;
	char *copy, *rest, *word;
	json_error_t why;
	const char *text;
	int count = 0;

	(void)result;
	if (json_unpack_ex((json_t *)arguments, &why, JSON_STRICT, "{s:s}", "keys", &text))
		return bad_arguments(&why, err);
	if (check_keyboard(vm, err))
		return -1;
	copy = strdup(text);
	if (!copy)
		return error_set(err, EXIT_CODE_HOST, "out of memory");
	for (word = strtok_r(copy, " ", &rest); word && count >= 0;
		word = strtok_r(NULL, " ", &rest)) {
		count = key_parse_chord(word, keys, err);
		if (count > 0 && !input_chord(&vm->input, keys, (unsigned)count))
			count = error_set(err, EXIT_CODE_UNAVAILABLE,
				"the guest has not taken yet what was typed before; try later");
	}
	free(copy);
	return count < 0 ? -1 : 0;
}

/* A position in a picture, or a motion. */
struct mouse_arguments {
	int x, y, width, height;
	int right, down, wheel, buttons;
};

#define MAX_MOTION 32767

static bool is_sane(int value)
{
	return value >= -MAX_MOTION && value <= MAX_MOTION;
}

int vm_run_mouse(void *context, const json_t *arguments, json_t **result, struct error *err)
{
	struct vm *vm = context;
	struct mouse_arguments a = { .x = -1, .y = -1, .width = 0 };
	struct surface surface = { 0 };
	json_error_t why;

	(void)result;
	a.buttons = (int)vm->input.buttons;
	if (json_unpack_ex((json_t *)arguments, &why, JSON_STRICT, "{s?i, s?i, s?i, s?i, s?i, s?i}",
		    "x", &a.x, "y", &a.y, "right", &a.right, "down", &a.down, "wheel", &a.wheel,
		    "buttons", &a.buttons))
		return bad_arguments(&why, err);
	if (!is_sane(a.x) || !is_sane(a.y) || !is_sane(a.right) || !is_sane(a.down) ||
		!is_sane(a.wheel) || a.buttons < 0 || a.buttons > 31)
		return error_set(err, EXIT_CODE_USAGE,
			"a motion is at most %d, and the sum of buttons 31", MAX_MOTION);
	if (a.x < 0 && a.y < 0 && input_has_mouse(&vm->input) && !input_has_tablet(&vm->input)) {
		input_move(&vm->input, a.right, a.down, a.wheel, (unsigned)a.buttons);
		return 0;
	}
	if (!input_has_tablet(&vm->input))
		return error_set(err, EXIT_CODE_CONFIG,
			"this machine has no pointer that can be put somewhere; give it one with "
			"--tablet%s",
			input_has_mouse(&vm->input) ? ", or move its mouse by a distance" : "");
	if (screen_draw(&vm->devices, &surface, err))
		return -1;
	a.width = (int)surface.width;
	a.height = (int)surface.height;
	surface_finish(&surface);
	if (a.x < 0 && a.y < 0) {
		a.x = vm->input.x + a.right;
		a.y = vm->input.y + a.down;
	}
	input_point(&vm->input, a.x, a.y, a.width, a.height, a.wheel, (unsigned)a.buttons);
	return 0;
}
