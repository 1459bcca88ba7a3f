#include "cli/vm_spec.h"

#include "cli/command.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Where in an option's value a path begins; NULL if it holds none. */
static const char *path_in(const struct option_spec *option, const char *value)
{
	const char *rom = strstr(value, ",romfile=");

	/* A drive without a medium. */
	if ((strcmp(option->name, "cdrom") == 0 || strcmp(option->name, "floppy") == 0) &&
		strncmp(value, "none", 4) == 0 && (!value[4] || value[4] == ','))
		return NULL;
	if (strcmp(option->name, "firmware") == 0 &&
		(strcmp(value, "bios") == 0 || strcmp(value, "uefi") == 0 ||
			strncmp(value, "bios,", 5) == 0 || strncmp(value, "uefi,", 5) == 0))
		return NULL;
	if (option->completion == COMPLETE_FILE)
		return value;
	if (strncmp(value, "vnc=unix:", 9) == 0)
		return value + 9;
	if (rom && strcmp(rom, ",romfile=none") != 0 && strncmp(rom, ",romfile=none,", 14) != 0)
		return rom + strlen(",romfile=");
	if (strncmp(value, "file:", 5) == 0 || strncmp(value, "unix:", 5) == 0)
		return value + 5;
	return NULL;
}

char *vm_spec_absolute(const struct option_spec *option, const char *value)
{
	const char *path = path_in(option, value);
	char *directory, *absolute = NULL;

	if (!path || *path == '/' || !*path)
		return strdup(value);
	directory = getcwd(NULL, 0);
	if (directory &&
		asprintf(&absolute, "%.*s%s/%s", (int)(path - value), value, directory, path) < 0)
		absolute = NULL;
	free(directory);
	return absolute;
}

int vm_spec_record(
	void *context, const struct option_spec *option, const char *value, struct error *err)
{
	struct spec *spec = context;
	char *kept;
	int result;

	/* The name is the directory's. */
	if (strcmp(option->name, "name") == 0)
		return 0;
	if (!value)
		return spec_add(spec, option->name, "true", false, err);
	kept = vm_spec_absolute(option, value);
	if (!kept)
		return error_set(err, EXIT_CODE_HOST, "out of memory");
	result = spec_add(spec, option->name, kept, true, err);
	free(kept);
	return result;
}

/* A flag is true or false; an option whose value may be left out is true without one. */
static int vm_spec_value(const struct spec_entry *entry, const struct option_spec *option,
	const char **value, bool *given, struct error *err)
{
	bool is_true = !entry->quoted && strcmp(entry->value, "true") == 0;
	bool is_false = !entry->quoted && strcmp(entry->value, "false") == 0;

	*given = true;
	*value = entry->value;
	if (option_needs_value(option))
		return 0;
	if (is_true || is_false) {
		*given = is_true;
		*value = NULL;
		return 0;
	}
	if (option->argument)
		return 0;
	return error_set(
		err, EXIT_CODE_BAD_FILE, "'%s' is a flag; write true or false", entry->key);
}

static int vm_spec_apply_entry(
	const struct spec_entry *entry, struct run_options *options, struct error *err)
{
	const struct option_spec *nearest;
	const struct option_spec *option = option_named(run_option_table, entry->key, &nearest);
	const char *value;
	bool given;

	if (option && strcmp(option->name, "name") == 0)
		return error_set(err, EXIT_CODE_BAD_FILE,
			"there is no key 'name': a VM's name is that of its directory");
	if (!option && nearest)
		return error_set(err, EXIT_CODE_BAD_FILE,
			"there is no key '%s'; did you mean '%s'?", entry->key, nearest->name);
	if (!option)
		return error_set(err, EXIT_CODE_BAD_FILE,
			"there is no key '%s'; the keys are the options that 'atoll run --help' "
			"lists",
			entry->key);
	if (vm_spec_value(entry, option, &value, &given, err))
		return -1;
	return given ? option->set(options, value, err) : 0;
}

int vm_spec_apply(
	const struct spec *spec, const char *file, struct run_options *options, struct error *err)
{
	for (unsigned i = 0; i < spec->nr_entries; i++) {
		const struct spec_entry *entry = &spec->entries[i];
		struct error mistake = { 0 };

		if (vm_spec_apply_entry(entry, options, &mistake))
			return error_set(err, mistake.exit_code, "%s:%u:%u: %s", file, entry->line,
				entry->column, mistake.text);
	}
	return 0;
}
