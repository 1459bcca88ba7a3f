/*
 * `--firmware bios|uefi|FILE`: the host's packages have the files. A file is what it says: its
 * bytes end at 4 GiB, and the processors start in its last 16.
 */
#include "vmm/firmware.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define BIOS_FILE     "/usr/share/seabios/bios-256k.bin"
#define VGA_BIOS_FILE "/usr/share/seabios/vgabios-stdvga.bin"

/* Sizes that a file may have. */
struct limits {
	uint32_t min, max, multiple_of; /* bytes */
};

static const struct limits code_limits = { 64u << 10, 16u << 20, 4096 };
/* An option ROM counts its size in 512 bytes (PCI Firmware 3.2, 5.2). */
static const struct limits rom_limits = { 512, 64u << 10, 512 };

bool firmware_is_wanted(const struct vm_config *config)
{
	return config->firmware || !config->kernel;
}

static const char *file_of(const char *name)
{
	return !name || strcmp(name, "bios") == 0 ? BIOS_FILE : name;
}

struct content {
	void *bytes;
	size_t size;
};

static int read_file(struct content *content, const char *path, FILE *file,
	const struct limits *limits, struct error *err)
{
	struct stat info;

	if (fstat(fileno(file), &info) < 0)
		return error_set_errno(
			err, EXIT_CODE_BAD_FILE, errno, "cannot read the firmware '%s'", path);
	if (!S_ISREG(info.st_mode) || info.st_size < limits->min || info.st_size > limits->max ||
		info.st_size % limits->multiple_of)
		return error_set(err, EXIT_CODE_BAD_FILE,
			"'%s' is no firmware: it must be a file of %u to %u bytes, a multiple of "
			"%u; give --firmware bios, or such a file",
			path, limits->min, limits->max, limits->multiple_of);
	content->size = (size_t)info.st_size;
	content->bytes = malloc(content->size);
	if (!content->bytes)
		return error_set_errno(err, EXIT_CODE_HOST, ENOMEM, "no memory for '%s'", path);
	if (fread(content->bytes, 1, content->size, file) != content->size)
		return error_set(err, EXIT_CODE_BAD_FILE, "cannot read the firmware '%s'", path);
	return 0;
}

static int read_path(
	struct content *content, const char *path, const struct limits *limits, struct error *err)
{
	FILE *file = fopen(path, "re");
	int rc;

	if (!file)
		return error_set_errno(err, EXIT_CODE_BAD_FILE, errno,
			"cannot read the firmware '%s'; install the package seabios, or give "
			"--firmware FILE, or a kernel with --kernel",
			path);
	rc = read_file(content, path, file, limits, err);
	fclose(file);
	return rc;
}

static int read_files(struct firmware *firmware, const char *path, struct error *err)
{
	struct content code = { 0 }, rom = { 0 };
	int rc = read_path(&code, path, &code_limits, err);

	if (rc == 0)
		rc = read_path(&rom, VGA_BIOS_FILE, &rom_limits, err);
	firmware->code = code.bytes;
	firmware->code_size = code.size;
	firmware->vga_bios = rom.bytes;
	firmware->vga_bios_size = rom.size;
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
	return read_files(firmware, file_of(config->firmware), err);
}

void firmware_close(struct firmware *firmware)
{
	free(firmware->code);
	free(firmware->vga_bios);
	firmware->code = firmware->vga_bios = NULL;
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
	board->firmware.vga_bios = firmware->vga_bios;
	board->firmware.vga_bios_size = firmware->vga_bios_size;
	if (!firmware->log)
		return;
	board->firmware_line = log_line;
	board->firmware_line_context = firmware->log;
}
