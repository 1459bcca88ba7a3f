/*
 * `--firmware bios|uefi|FILE`: the host's packages have the files. A file is what it says: its
 * bytes end at 4 GiB, and the processors start in its last 16.
 *
 * UEFI keeps its variables in flash memory of the size of a template. A VM with a directory has a
 * file there, which is a copy of the template at first and is mapped shared: what the guest has
 * written is in it whatever ends the process. It must not be made shorter meanwhile. Without a
 * directory the copy is the process's. Machines with Secure Boot have a file of their own.
 */
#include "vmm/firmware.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define BIOS_FILE     "/usr/share/seabios/bios-256k.bin"
#define VGA_BIOS_FILE "/usr/share/seabios/vgabios-stdvga.bin"
/* Builds without SMM, in which nothing but the guest's kernel protects the variables: docs/pc.md.
 */
#define UEFI_FILE      "/usr/share/OVMF/OVMF_CODE_4M.fd"
#define UEFI_VARS_FILE "/usr/share/OVMF/OVMF_VARS_4M.fd"
/* Built for SMM, and variables with the distribution's and Microsoft's keys: docs/smm.md. */
#define SECURE_FILE      "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd"
#define SECURE_VARS_FILE "/usr/share/OVMF/OVMF_VARS_4M.ms.fd"

/* Sizes that a file may have. */
struct limits {
	uint32_t min, max, multiple_of; /* bytes */
};

static const struct limits code_limits = { 64u << 10, 8u << 20, 4096 };
static const struct limits variables_limits = { 8u << 10, 4u << 20, 4096 };
/* An option ROM counts its size in 512 bytes (PCI Firmware 3.2, 5.2). */
static const struct limits rom_limits = { 512, 64u << 10, 512 };

bool firmware_is_wanted(const struct vm_config *config)
{
	return config->firmware || !config->kernel;
}

int firmware_option_parse(struct firmware_option *option, const char *value, struct error *err)
{
	memset(option, 0, sizeof(*option));
	if (properties_parse(&option->properties, "firmware", value ? value : "bios", err))
		return -EINVAL;
	option->name = option->properties.word;
	if (!option->name)
		return error_set(err, EXIT_CODE_USAGE,
			"--firmware needs a name before '%s'; use bios, uefi, or a file", value);
	if (properties_take_bool(&option->properties, "secure", &option->secure, err) ||
		properties_check(&option->properties, "secure", err))
		return -EINVAL;
	if (option->secure && strcmp(option->name, "bios") == 0)
		return error_set(err, EXIT_CODE_USAGE,
			"SeaBIOS has no Secure Boot; use --firmware uefi,secure=on");
	return 0;
}

void firmware_option_finish(struct firmware_option *option)
{
	properties_finish(&option->properties);
}

/* What a name of `--firmware` stands for. */
struct files {
	const char *code, *variables; /* the template; NULL: none */
	const char *package;
	const char *kept; /* the file of the VM's directory for the variables */
};

static struct files files_of(const struct vm_config *config, const struct firmware_option *option)
{
	struct files files = { .code = option->name, .package = "seabios" };

	if (strcmp(option->name, "bios") == 0)
		files.code = BIOS_FILE;
	if (strcmp(option->name, "uefi") == 0) {
		files.package = "ovmf";
		files.code = option->secure ? SECURE_FILE : UEFI_FILE;
		files.variables = option->secure ? SECURE_VARS_FILE : UEFI_VARS_FILE;
	}
	if (config->firmware_vars)
		files.variables = config->firmware_vars;
	/* Those of a machine without Secure Boot would switch it off. */
	files.kept = option->secure ? BUNDLE_SECURE_VARIABLES : BUNDLE_VARIABLES;
	return files;
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

static int read_path(struct content *content, const char *path, const char *package,
	const struct limits *limits, struct error *err)
{
	FILE *file = fopen(path, "re");
	int rc;

	if (!file)
		return error_set_errno(err, EXIT_CODE_BAD_FILE, errno,
			"cannot read the firmware '%s'; install the package %s, or give "
			"--firmware FILE, or a kernel with --kernel",
			path, package);
	rc = read_file(content, path, file, limits, err);
	fclose(file);
	return rc;
}

/* A new file of the VM's directory, whole or not at all. */
static int create_variables(const struct bundle *bundle, const char *name,
	const struct content *template, struct error *err)
{
	static const char unfinished[] = BUNDLE_VARIABLES ".new";
	int fd = openat(bundle->dir_fd, unfinished, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	bool done = fd >= 0 &&
		    write(fd, template->bytes, template->size) == (ssize_t) template->size &&
		    fsync(fd) == 0;
	int saved = errno;

	if (fd >= 0)
		close(fd);
	if (done && renameat(bundle->dir_fd, unfinished, bundle->dir_fd, name) == 0)
		return 0;
	return error_set_errno(err, EXIT_CODE_CANNOT_WRITE, done ? errno : saved,
		"cannot write %s/%s", bundle->path, name);
}

/* Maps the VM's file, which it makes if there is none. */
static int map_variables(struct firmware *firmware, const struct bundle *bundle, const char *name,
	const struct content *template, struct error *err)
{
	static const int flags = O_RDWR | O_CLOEXEC | O_NOFOLLOW;
	int fd = openat(bundle->dir_fd, name, flags);
	struct stat info;
	void *bytes;

	if (fd < 0 && errno == ENOENT) {
		if (create_variables(bundle, name, template, err))
			return -1;
		fd = openat(bundle->dir_fd, name, flags);
	}
	if (fd < 0 || fstat(fd, &info) < 0) {
		error_set_errno(
			err, EXIT_CODE_BAD_FILE, errno, "cannot open %s/%s", bundle->path, name);
		goto fail;
	}
	if ((uint64_t)info.st_size != template->size) {
		error_set(err, EXIT_CODE_BAD_FILE,
			"%s/%s has %lld bytes, and this firmware keeps its variables in %zu; use "
			"the firmware that it was made with, or remove it",
			bundle->path, name, (long long)info.st_size, template->size);
		goto fail;
	}
	/* Writing to a hole that the host has no room for would end the process. */
	posix_fallocate(fd, 0, info.st_size);
	bytes = mmap(NULL, template->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (bytes == MAP_FAILED) {
		error_set_errno(err, EXIT_CODE_HOST, errno, "cannot map %s/%s", bundle->path, name);
		goto fail;
	}
	close(fd);
	firmware->variables = bytes;
	return 0;
fail:
	if (fd >= 0)
		close(fd);
	return -1;
}

static int copy_variables(
	struct firmware *firmware, const struct content *template, struct error *err)
{
	void *bytes = mmap(
		NULL, template->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (bytes == MAP_FAILED)
		return error_set_errno(
			err, EXIT_CODE_HOST, errno, "no memory for the firmware's variables");
	memcpy(bytes, template->bytes, template->size);
	firmware->variables = bytes;
	return 0;
}

static int open_variables(struct firmware *firmware, const struct files *files,
	const struct vm_config *config, struct error *err)
{
	struct content template = { 0 };
	int rc = read_path(&template, files->variables, files->package, &variables_limits, err);

	if (rc == 0)
		rc = config->bundle
			     ? map_variables(firmware, config->bundle, files->kept, &template, err)
			     : copy_variables(firmware, &template, err);
	firmware->variables_size = template.size;
	free(template.bytes);
	return rc;
}

static int read_files(struct firmware *firmware, const struct vm_config *config,
	const struct firmware_option *option, struct error *err)
{
	struct files files = files_of(config, option);
	struct content code = { 0 }, rom = { 0 };
	int rc;

	if (option->secure && !files.variables)
		return error_set(err, EXIT_CODE_CONFIG,
			"Secure Boot needs variables with keys; add --firmware-vars FILE, or use "
			"--firmware uefi,secure=on");
	rc = read_path(&code, files.code, files.package, &code_limits, err);

	if (rc == 0)
		rc = read_path(&rom, VGA_BIOS_FILE, "seabios", &rom_limits, err);
	firmware->code = code.bytes;
	firmware->code_size = code.size;
	firmware->vga_bios = rom.bytes;
	firmware->vga_bios_size = rom.size;
	if (rc == 0 && files.variables)
		rc = open_variables(firmware, &files, config, err);
	return rc;
}

int firmware_open(struct firmware *firmware, const struct vm_config *config, struct error *err)
{
	struct firmware_option option;
	int rc = -EINVAL;

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
	if (firmware_option_parse(&option, config->firmware, err) == 0) {
		firmware->secure = option.secure;
		rc = read_files(firmware, config, &option, err);
	}
	firmware_option_finish(&option);
	return rc;
}

void firmware_close(struct firmware *firmware)
{
	free(firmware->code);
	free(firmware->vga_bios);
	firmware->code = firmware->vga_bios = NULL;
	if (firmware->variables)
		munmap(firmware->variables, firmware->variables_size);
	firmware->variables = NULL;
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
	board->firmware.variables = firmware->variables;
	board->firmware.variables_size = firmware->variables_size;
	board->firmware.smm = firmware->secure;
	board->firmware.vga_bios = firmware->vga_bios;
	board->firmware.vga_bios_size = firmware->vga_bios_size;
	if (!firmware->log)
		return;
	board->firmware_line = log_line;
	board->firmware_line_context = firmware->log;
}
