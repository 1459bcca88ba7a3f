/*
 * `--firmware bios|uefi|FILE`: the host's packages have the files. A file is what it says: its
 * bytes end at 4 GiB, and the processors start in its last 16.
 */
#include "vmm/firmware.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define BIOS_FILE "/usr/share/seabios/bios-256k.bin"
#define ALIGNMENT 4096
#define MIN_BYTES (64u << 10)
#define MAX_BYTES (16u << 20)

bool firmware_is_wanted(const struct vm_config *config)
{
	return config->firmware || !config->kernel;
}

static const char *file_of(const char *name)
{
	return !name || strcmp(name, "bios") == 0 ? BIOS_FILE : name;
}

static int read_file(struct firmware *firmware, const char *path, FILE *file, struct error *err)
{
	struct stat info;

	if (fstat(fileno(file), &info) < 0)
		return error_set_errno(
			err, EXIT_CODE_BAD_FILE, errno, "cannot read the firmware '%s'", path);
	if (!S_ISREG(info.st_mode) || info.st_size < MIN_BYTES || info.st_size > MAX_BYTES ||
		info.st_size % ALIGNMENT)
		return error_set(err, EXIT_CODE_BAD_FILE,
			"'%s' is no firmware: it must be a file of 64K to 16M, in whole pages of "
			"4K; give --firmware bios, or such a file",
			path);
	firmware->code_size = (size_t)info.st_size;
	firmware->code = malloc(firmware->code_size);
	if (!firmware->code)
		return error_set_errno(err, EXIT_CODE_HOST, ENOMEM, "no memory for '%s'", path);
	if (fread(firmware->code, 1, firmware->code_size, file) != firmware->code_size)
		return error_set(err, EXIT_CODE_BAD_FILE, "cannot read the firmware '%s'", path);
	return 0;
}

static int read_code(struct firmware *firmware, const char *path, struct error *err)
{
	FILE *file = fopen(path, "re");
	int rc;

	if (!file)
		return error_set_errno(err, EXIT_CODE_BAD_FILE, errno,
			"cannot read the firmware '%s'; install the package seabios, or give "
			"--firmware FILE, or a kernel with --kernel",
			path);
	rc = read_file(firmware, path, file, err);
	fclose(file);
	return rc;
}

int firmware_open(struct firmware *firmware, const struct vm_config *config, struct error *err)
{
	memset(firmware, 0, sizeof(*firmware));
	if (config->firmware_log) {
		firmware->log = fopen(config->firmware_log, "we");
		if (!firmware->log)
			return error_set_errno(err, EXIT_CODE_CANNOT_WRITE, errno,
				"cannot write the firmware's log '%s'", config->firmware_log);
		setvbuf(firmware->log, NULL, _IOLBF, 0);
	}
	if (!firmware_is_wanted(config))
		return 0;
	return read_code(firmware, file_of(config->firmware), err);
}

void firmware_close(struct firmware *firmware)
{
	free(firmware->code);
	firmware->code = NULL;
	if (firmware->log)
		fclose(firmware->log);
	firmware->log = NULL;
}

static void log_line(void *context, const char *line)
{
	fprintf(context, "%s\n", line);
}

void firmware_describe(struct firmware *firmware, struct board_config *board)
{
	board->firmware.code = firmware->code;
	board->firmware.code_size = firmware->code_size;
	if (!firmware->log)
		return;
	board->firmware_line = log_line;
	board->firmware_line_context = firmware->log;
}
