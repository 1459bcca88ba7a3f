#include "cli/catalogue.h"

#include "base/log.h"
#include "cli/command.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* What the image for firmware is called behind the system's name. Images are built once: another
 * number is another image. */
#define FIRMWARE_IMAGE "-firmware-2"

/* A path in memory of its own, or NULL with `err` filled. */
static char *path_of(struct error *err, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static char *path_of(struct error *err, const char *format, ...)
{
	va_list args;
	char *path;
	int length;

	va_start(args, format);
	length = vasprintf(&path, format, args);
	va_end(args);
	if (length >= 0)
		return path;
	error_set(err, EXIT_CODE_HOST, "out of memory");
	return NULL;
}

/* Where the catalogue's programs are: installed, or in the source tree of this build. */
static const char *catalogue_directory(void)
{
	const char *directory = getenv("ATOLL_CATALOGUE");

	if (directory && *directory)
		return directory;
	return access(ATOLL_CATALOGUE_INSTALLED, F_OK) == 0 ? ATOLL_CATALOGUE_INSTALLED
							    : ATOLL_CATALOGUE_SOURCE;
}

bool catalogue_has(const char *system, struct error *err)
{
	char *path = path_of(err, "%s/%s", catalogue_directory(), system), names[512] = "";
	bool found = path && bundle_check_name(system, NULL) == 0 && access(path, X_OK) == 0;
	DIR *directory = found ? NULL : opendir(catalogue_directory());
	const struct dirent *entry;

	free(path);
	while (directory && (entry = readdir(directory)))
		if (entry->d_name[0] != '.') {
			size_t used = strlen(names);

			if (used < 200)
				snprintf(names + used, sizeof(names) - used, " %s", entry->d_name);
		}
	if (directory)
		closedir(directory);
	if (!found)
		error_set(err, EXIT_CODE_USAGE,
			"'%s' is neither an option nor a system of the catalogue (which has:%s); a "
			"kernel is given as --kernel %s",
			system, *names ? names : " nothing", system);
	return found;
}

/* Runs a program to its end, with this terminal for its messages, which tell its mistakes. */
static int run_program(const char *const *argv, struct error *err)
{
	int status;
	pid_t child = fork();

	if (child == 0) {
		dup2(STDERR_FILENO, STDOUT_FILENO);
		execvp(argv[0], (char *const *)argv);
		fprintf(stderr, "atoll: cannot run %s: %s\n", argv[0], strerror(errno));
		_exit(EXIT_CODE_UNAVAILABLE);
	}
	if (child < 0)
		return error_set_errno(err, EXIT_CODE_HOST, errno, "cannot start a process");
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	return error_set(err,
		WIFEXITED(status) ? (enum exit_code)WEXITSTATUS(status) : EXIT_CODE_INTERNAL,
		"%s %s did not succeed; its messages above tell why", argv[0],
		argv[1] ? argv[1] : "");
}

static char *cache_directory(struct error *err)
{
	const char *cache = getenv("ATOLL_CACHE"), *home;

	if (cache && *cache)
		return path_of(err, "%s/images", cache);
	if ((cache = getenv("XDG_CACHE_HOME")) && *cache == '/')
		return path_of(err, "%s/atoll/images", cache);
	if ((home = getenv("HOME")) && *home)
		return path_of(err, "%s/.cache/atoll/images", home);
	error_set(err, EXIT_CODE_CONFIG,
		"there is no place for images; set HOME, or ATOLL_CACHE to a directory");
	return NULL;
}

static void make_directories(char *path)
{
	for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		mkdir(path, 0755);
		*slash = '/';
	}
	mkdir(path, 0755);
}

/* Builds into a directory beside it, so that what has the name is whole. */
static int image_build(const char *program, const char *image, bool for_firmware, struct error *err)
{
	char *building = path_of(err, "%s.new", image);
	const char *const clear[] = { "rm", "-rf", building, NULL };
	const char *const build[] = { program, for_firmware ? "build-firmware" : "build", building,
		NULL };
	int result = building ? run_program(clear, err) : -ENOMEM;

	if (!result)
		result = run_program(build, err);
	if (!result && rename(building, image) < 0)
		result = error_set_errno(
			err, EXIT_CODE_CANNOT_WRITE, errno, "cannot name %s", image);
	if (result && building)
		run_program(clear, NULL);
	free(building);
	return result;
}

/* The image's directory, to be freed, which another process may be building: then this waits. */
static char *image_ready(
	const char *program, const char *system, bool for_firmware, struct error *err)
{
	char *cache = cache_directory(err), *image = NULL, *lock = NULL;
	int lock_fd = -1;

	if (!cache)
		return NULL;
	make_directories(cache);
	image = path_of(err, "%s/%s%s", cache, system, for_firmware ? FIRMWARE_IMAGE : "");
	lock = path_of(err, "%s/%s%s.lock", cache, system, for_firmware ? FIRMWARE_IMAGE : "");
	if (image && lock) {
		lock_fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
		if (lock_fd < 0)
			error_set_errno(err, EXIT_CODE_CANNOT_WRITE, errno,
				"cannot write %s; ATOLL_CACHE chooses another place", lock);
		else if (flock(lock_fd, LOCK_EX) == 0 && access(image, F_OK) < 0) {
			log_info("the image of '%s' is built, once, in %s", system, image);
			image_build(program, image, for_firmware, err);
		}
	}
	if (lock_fd >= 0)
		close(lock_fd);
	free(cache);
	free(lock);
	if (!err->exit_code)
		return image;
	free(image);
	return NULL;
}

/* A key of the VM's own, and with it the user's own keys, in `keys`. */
static int make_keys(const struct bundle *bundle, const char *keys, struct error *err)
{
	static const char script[] =
		"ssh-keygen -q -t ed25519 -N '' -C \"atoll $1\" -f \"$2/" BUNDLE_SSH_KEY "\" "
		"</dev/null && cat \"$2/" BUNDLE_SSH_KEY ".pub\" >\"$3\" && "
		"for key in \"$HOME\"/.ssh/id_*.pub; do [ ! -f \"$key\" ] || cat \"$key\"; done "
		">>\"$3\"";
	const char *const argv[] = { "sh", "-c", script, "sh", bundle->name, bundle->path, keys,
		NULL };

	return run_program(argv, err);
}

/* A port that nobody has now. */
static unsigned free_port(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t size = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	unsigned port = 0;

	if (fd >= 0 && bind(fd, (struct sockaddr *)&address, size) == 0 &&
		getsockname(fd, (struct sockaddr *)&address, &size) == 0)
		port = ntohs(address.sin_port);
	if (fd >= 0)
		close(fd);
	return port;
}

static bool spec_has(const struct spec *spec, const char *key)
{
	for (unsigned i = 0; i < spec->nr_entries; i++)
		if (strcmp(spec->entries[i].key, key) == 0)
			return true;
	return false;
}

struct catalogue_option {
	const char *key, *value;
	bool quoted;
	bool joins;  /* what is given comes after it, not instead */
	bool direct; /* only for a VM without firmware */
};

/* The options of a VM of the catalogue, and after them those that were given. */
static int make_spec(struct spec *spec, const struct spec *given, struct error *err)
{
	char net[64];
	const struct catalogue_option options[] = {
		{ "kernel", "vmlinuz", true, false, true },
		{ "initrd", "initrd.img", true, false, true },
		{ "append", "root=/dev/vda rw console=ttyS0 quiet", true, false, true },
		{ "memory", "1G", true },
		{ "disk", "root.qcow2,format=qcow2", true, true },
		{ "disk", "seed.img,format=raw,readonly=on", true, true },
		{ "rng", "true", false },
		{ "agent", "true", false },
		{ "net", net, true },
	};
	const bool for_firmware = spec_has(given, "firmware");

	snprintf(net, sizeof(net), "user,forward=tcp:%u:22", free_port());
	for (unsigned i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
		const struct catalogue_option *option = &options[i];

		/* What this build has no option for is left out. */
		if (!option_named(run_option_table, option->key, NULL))
			continue;
		if (option->direct && for_firmware)
			continue;
		if (!option->joins && spec_has(given, option->key))
			continue;
		if (spec_add(spec, option->key, option->value, option->quoted, err))
			return -EINVAL;
	}
	for (unsigned i = 0; i < given->nr_entries; i++)
		if (spec_add(spec, given->entries[i].key, given->entries[i].value,
			    given->entries[i].quoted, err))
			return -EINVAL;
	return 0;
}

/* The files of the VM: an overlay over the image, keys, seed, and a kernel if no firmware starts
 * the disk. */
static int fill_bundle(const struct bundle *bundle, const char *program, const char *image,
	bool for_firmware, struct error *err)
{
	char *keys = path_of(err, "%s/authorized_keys", bundle->path);
	char *seed = path_of(err, "%s/seed.img", bundle->path);
	char *overlay = path_of(err, "%s/root.qcow2", bundle->path);
	char *base = path_of(err, "%s/root.img", image);
	char *kernel = path_of(err, "%s/vmlinuz", image);
	char *initrd = path_of(err, "%s/initrd.img", image);
	const char *const copy[] = { "cp", kernel, initrd, bundle->path, NULL };
	const char *const make_seed[] = { program, "seed", seed, bundle->name, keys, NULL };
	const char *const make_overlay[] = { "/proc/self/exe", "disk", "create", "--quiet",
		"--backing", base, "--backing-format", "raw", overlay, NULL };
	int result = -ENOMEM;

	if (keys && seed && overlay && base && kernel && initrd)
		result = (!for_firmware && run_program(copy, err)) ||
					 make_keys(bundle, keys, err) ||
					 run_program(make_seed, err) ||
					 run_program(make_overlay, err)
				 ? -EINVAL
				 : 0;
	free(keys);
	free(seed);
	free(overlay);
	free(base);
	free(kernel);
	free(initrd);
	return result;
}

int catalogue_create(
	const char *system, const char *name, const struct spec *given, struct error *err)
{
	char *program = path_of(err, "%s/%s", catalogue_directory(), system);
	const bool for_firmware = spec_has(given, "firmware");
	char *image = program ? image_ready(program, system, for_firmware, err) : NULL;
	struct bundle bundle = { 0 };
	struct spec spec = { 0 };

	if (image && bundle_create(&bundle, name, err) == 0) {
		if (fill_bundle(&bundle, program, image, for_firmware, err) ||
			make_spec(&spec, given, err) ||
			spec_write(&spec, bundle.dir_fd, BUNDLE_SPEC, err)) {
			if (bundle_lock(&bundle, NULL) == 0)
				bundle_remove(&bundle, NULL);
		} else {
			log_info("made the VM '%s' in %s", name, bundle.path);
		}
	}
	bundle_close(&bundle);
	spec_finish(&spec);
	free(image);
	free(program);
	return err->exit_code ? -EINVAL : 0;
}
