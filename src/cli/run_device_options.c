/*
 * How the options of a machine's smaller devices are read: screen, keyboard and pointer, lines,
 * USB, and what it says of itself.
 */
#include "cli/run_options.h"
#include "cli/run_setters.h"
#include "vmm/identity.h"
#include "vmm/lines.h"
#include "vmm/sound.h"
#include "vmm/viewer.h"
#include "vmm/watchdog.h"

#include <errno.h>
#include <string.h>

int run_set_word(const char **target, const char *option, const char *value, const char *words,
	struct error *err)
{
	size_t length = strlen(value);

	for (const char *at = words; *at;) {
		size_t word = strcspn(at, " ");

		if (word == length && strncmp(at, value, word) == 0) {
			*target = value;
			return 0;
		}
		at += word;
		at += strspn(at, " ");
	}
	return error_set(err, EXIT_CODE_USAGE, "--%s does not know '%s'; use one of: %s", option,
		value, words);
}

static int set_line(struct run_options *options, enum board_line line, const char *name,
	const char *value, struct error *err)
{
	options->vm.lines[line] = value;
	return lines_parse(name, value, err);
}

int run_set_com2(void *target, const char *value, struct error *err)
{
	return set_line(target, BOARD_COM2, "com2", value, err);
}

int run_set_com3(void *target, const char *value, struct error *err)
{
	return set_line(target, BOARD_COM3, "com3", value, err);
}

int run_set_com4(void *target, const char *value, struct error *err)
{
	return set_line(target, BOARD_COM4, "com4", value, err);
}

int run_set_parallel(void *target, const char *value, struct error *err)
{
	return set_line(target, BOARD_PARALLEL, "parallel", value, err);
}

int run_set_smbios(void *target, const char *value, struct error *err)
{
	struct run_options *options = target;
	struct identity identity;
	int rc = identity_init(&identity, value, NULL, NULL, err);

	identity_finish(&identity);
	options->vm.smbios = value;
	return rc;
}

int run_set_watchdog(void *target, const char *value, struct error *err)
{
	struct run_options *options = target;

	return run_set_word(&options->vm.watchdog, "watchdog", value, WATCHDOG_ACTIONS, err);
}

int run_set_panic(void *target, const char *value, struct error *err)
{
	struct run_options *options = target;

	return run_set_word(&options->vm.panic, "panic", value, WATCHDOG_ACTIONS, err);
}

int run_set_generation_id(void *target, const char *value, struct error *err)
{
	struct run_options *options = target;

	(void)value;
	(void)err;
	options->vm.generation_id = true;
	return 0;
}

int run_set_display_device(void *target, const char *value, struct error *err)
{
	struct run_options *options = target;

	return run_set_word(
		&options->vm.display_device, "display-device", value, "vga virtio-gpu none", err);
}

int run_set_display(void *target, const char *value, struct error *err)
{
	struct run_options *options = target;
	const char *address;

	options->vm.display = value;
	return viewer_parse(value, &address, err);
}

int run_set_keyboard(void *target, const char *value, struct error *err)
{
	struct run_options *options = target;
	const char *kind;

	if (run_set_word(&kind, "keyboard", value, "ps2 virtio usb", err))
		return -EINVAL;
	options->vm.usb_keyboard = strcmp(kind, "usb") == 0;
	options->vm.virtio_keyboard = strcmp(kind, "virtio") == 0;
	return 0;
}

int run_set_tablet(void *target, const char *value, struct error *err)
{
	struct run_options *options = target;
	const char *kind;

	if (run_set_word(&kind, "tablet", value ? value : "virtio", "virtio usb", err))
		return -EINVAL;
	options->vm.tablet = strcmp(kind, "virtio") == 0;
	options->vm.usb_tablet = !options->vm.tablet;
	return 0;
}

int run_set_usb(void *target, const char *value, struct error *err)
{
	struct run_options *options = target;

	(void)value;
	(void)err;
	options->vm.usb = true;
	return 0;
}

int run_set_sound(void *target, const char *value, struct error *err)
{
	struct run_options *options = target;
	const char *path;

	options->vm.sound = value;
	return sound_parse(value, &path, err);
}

int run_set_tpm(void *target, const char *value, struct error *err)
{
	struct run_options *options = target;

	(void)err;
	options->vm.tpm = value ? value : "";
	return 0;
}
