#include "bundle/bundle.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define LOCK_FILE "lock"
#define EXIT_FILE "exit"

int bundle_check_name(const char *name, struct error *err)
{
	size_t length = strlen(name);

	if (length == 0 || length > BUNDLE_NAME_MAX || !isalnum((unsigned char)name[0]))
		goto bad;
	for (size_t i = 0; i < length; i++)
		if (!isascii(name[i]) ||
			(!isalnum((unsigned char)name[i]) && !strchr("._-", name[i])))
			goto bad;
	return 0;
bad:
	return error_set(err, EXIT_CODE_USAGE,
		"'%.80s' cannot be a VM's name; use up to %d letters, digits, '.', '_' and '-', "
		"the first a letter or digit",
		name, BUNDLE_NAME_MAX);
}

/* The directory of all bundles, to be freed; NULL if there is no home. */
static char *vms_path(void)
{
	const char *home = getenv("ATOLL_HOME"), *data = getenv("XDG_DATA_HOME");
	char *path = NULL;
	int length;

	if (home && *home)
		length = asprintf(&path, "%s/vms", home);
	else if (data && *data == '/')
		length = asprintf(&path, "%s/atoll/vms", data);
	else if ((home = getenv("HOME")) && *home)
		length = asprintf(&path, "%s/.local/share/atoll/vms", home);
	else
		return NULL;
	return length < 0 ? NULL : path;
}

/* mkdir -p. Returns 0 or -errno. */
static int make_directories(const char *path)
{
	char *copy = strdup(path);
	int error = 0;

	if (!copy)
		return -ENOMEM;
	for (char *slash = copy + 1; !error; slash++) {
		slash += strcspn(slash, "/");
		char end = *slash;

		*slash = '\0';
		if (mkdir(copy, 0700) < 0 && errno != EEXIST)
			error = -errno;
		*slash = end;
		if (!end)
			break;
	}
	free(copy);
	return error;
}

/* Fills name and path; nothing is open yet. */
static int bundle_init(struct bundle *bundle, const char *name, struct error *err)
{
	char *vms, *absolute;
	int length;

	*bundle = (struct bundle){ .dir_fd = -1, .lock_fd = -1 };
	if (bundle_check_name(name, err))
		return -EINVAL;
	strcpy(bundle->name, name);
	vms = vms_path();
	if (!vms)
		return error_set(err, EXIT_CODE_CONFIG,
			"there is no place for VMs; set HOME, or ATOLL_HOME to a directory");
	absolute = *vms == '/' ? strdup("") : getcwd(NULL, 0);
	length = absolute ? asprintf(&bundle->path, "%s%s%s/%s", absolute, *absolute ? "/" : "",
				    vms, name)
			  : -1;
	free(absolute);
	free(vms);
	if (length < 0) {
		bundle->path = NULL;
		return error_set(err, EXIT_CODE_HOST, "out of memory");
	}
	return 0;
}

int bundle_open(struct bundle *bundle, const char *name, struct error *err)
{
	if (bundle_init(bundle, name, err))
		goto fail;
	bundle->dir_fd = open(bundle->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (bundle->dir_fd >= 0)
		return 0;
	if (errno == ENOENT)
		error_set(err, EXIT_CODE_NO_FILE,
			"there is no VM '%s'; 'atoll ls' lists them, 'atoll create %s' makes one",
			name, name);
	else
		error_set_errno(err, EXIT_CODE_PERMISSION, errno,
			"cannot open the VM's directory %s", bundle->path);
fail:
	bundle_close(bundle);
	return -EINVAL;
}

int bundle_create(struct bundle *bundle, const char *name, struct error *err)
{
	char *slash;
	int error;

	if (bundle_init(bundle, name, err))
		goto fail;
	slash = strrchr(bundle->path, '/');
	*slash = '\0';
	error = make_directories(bundle->path);
	*slash = '/';
	if (!error && mkdir(bundle->path, 0700) < 0)
		error = -errno;
	if (error == -EEXIST) {
		error_set(err, EXIT_CODE_CANNOT_WRITE,
			"there is a VM '%s' already; 'atoll start %s' starts it, 'atoll rm %s' "
			"removes it",
			name, name, name);
		goto fail;
	}
	if (!error) {
		bundle->dir_fd = open(bundle->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (bundle->dir_fd >= 0)
			return 0;
		error = -errno;
	}
	error_set_errno(err, EXIT_CODE_CANNOT_WRITE, -error,
		"cannot make the VM's directory %s; ATOLL_HOME chooses another place",
		bundle->path);
fail:
	bundle_close(bundle);
	return -EINVAL;
}

void bundle_close(struct bundle *bundle)
{
	if (!bundle->path)
		return;
	if (bundle->dir_fd >= 0)
		close(bundle->dir_fd);
	if (bundle->lock_fd >= 0)
		close(bundle->lock_fd);
	free(bundle->path);
	*bundle = (struct bundle){ .dir_fd = -1, .lock_fd = -1 };
}

static pid_t read_number(int fd)
{
	char text[32] = "";
	ssize_t count = pread(fd, text, sizeof(text) - 1, 0);

	return count > 0 ? (pid_t)strtol(text, NULL, 10) : 0;
}

static struct flock whole_file(void)
{
	return (struct flock){ .l_type = F_WRLCK, .l_whence = SEEK_SET };
}

int bundle_lock(struct bundle *bundle, struct error *err)
{
	struct flock lock = whole_file();
	int fd = openat(bundle->dir_fd, LOCK_FILE, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0)
		return error_set_errno(err, EXIT_CODE_CANNOT_WRITE, errno,
			"cannot write %s/" LOCK_FILE, bundle->path);
	if (fcntl(fd, F_OFD_SETLK, &lock) < 0) {
		int error = errno;
		pid_t pid = read_number(fd);

		close(fd);
		if (error == EAGAIN || error == EACCES)
			return error_set(err, EXIT_CODE_CONFIG,
				"the VM '%s' is running (process %d); 'atoll stop %s' asks it to "
				"power off",
				bundle->name, (int)pid, bundle->name);
		return error_set_errno(
			err, EXIT_CODE_HOST, error, "cannot lock %s/" LOCK_FILE, bundle->path);
	}
	(void)!ftruncate(fd, 0);
	bundle->lock_fd = fd;
	return 0;
}

int bundle_claim(struct bundle *bundle, struct error *err)
{
	if (ftruncate(bundle->lock_fd, 0) < 0 || lseek(bundle->lock_fd, 0, SEEK_SET) < 0 ||
		dprintf(bundle->lock_fd, "%d\n", (int)getpid()) < 0)
		return error_set_errno(err, EXIT_CODE_CANNOT_WRITE, errno,
			"cannot write %s/" LOCK_FILE, bundle->path);
	return 0;
}

bool bundle_is_running(const struct bundle *bundle, pid_t *pid)
{
	struct flock lock = whole_file();
	bool running;
	int fd;

	if (pid)
		*pid = 0;
	/* Asking for a write lock needs a descriptor that could write. */
	fd = openat(bundle->dir_fd, LOCK_FILE, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return false;
	running = fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
	if (running && pid)
		*pid = read_number(fd);
	close(fd);
	return running;
}

int bundle_last_exit(const struct bundle *bundle)
{
	int fd = openat(bundle->dir_fd, EXIT_FILE, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	char text[16] = "";
	ssize_t count;

	if (fd < 0)
		return -1;
	count = read(fd, text, sizeof(text) - 1);
	close(fd);
	return count > 0 && isdigit((unsigned char)text[0]) ? (int)strtol(text, NULL, 10) & 0xff
							    : -1;
}

void bundle_write_exit(const struct bundle *bundle, int exit_code)
{
	int fd = openat(bundle->dir_fd, EXIT_FILE,
		O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0)
		return;
	dprintf(fd, "%d\n", exit_code);
	close(fd);
}

/* Empties the directory behind `dir_fd`, which it closes. Returns 0 or -errno. */
static int remove_entries(int dir_fd, unsigned depth)
{
	DIR *directory = fdopendir(dir_fd);
	struct dirent *entry;
	int error = 0;

	if (!directory) {
		error = -errno;
		close(dir_fd);
		return error;
	}
	while (!error && (entry = readdir(directory))) {
		int below;

		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		if (unlinkat(dirfd(directory), entry->d_name, 0) == 0)
			continue;
		if (errno != EISDIR || depth == 0) {
			error = -errno;
			break;
		}
		below = openat(dirfd(directory), entry->d_name,
			O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
		error = below < 0 ? -errno : remove_entries(below, depth - 1);
		if (!error && unlinkat(dirfd(directory), entry->d_name, AT_REMOVEDIR) < 0)
			error = -errno;
	}
	closedir(directory);
	return error;
}

int bundle_remove(struct bundle *bundle, struct error *err)
{
	int dir_fd = openat(bundle->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int error = dir_fd < 0 ? -errno : remove_entries(dir_fd, 16);

	if (!error && rmdir(bundle->path) < 0)
		error = -errno;
	if (error)
		return error_set_errno(err, EXIT_CODE_CANNOT_WRITE, -error,
			"cannot remove all of %s", bundle->path);
	return 0;
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

int bundle_names(char ***names, struct error *err)
{
	char *path = vms_path();
	DIR *directory = path ? opendir(path) : NULL;
	size_t count = 0, room = 16;
	struct dirent *entry;

	free(path);
	*names = calloc(room, sizeof(**names));
	while (*names && directory && (entry = readdir(directory))) {
		char *name, **grown;

		if (bundle_check_name(entry->d_name, NULL))
			continue;
		if (count + 1 == room) {
			grown = realloc(*names, 2 * room * sizeof(*grown));
			if (!grown)
				goto fail;
			*names = grown;
			room *= 2;
		}
		name = strdup(entry->d_name);
		if (!name)
			goto fail;
		(*names)[count++] = name;
		(*names)[count] = NULL;
	}
	if (directory)
		closedir(directory);
	if (!*names)
		return error_set(err, EXIT_CODE_HOST, "out of memory");
	qsort(*names, count, sizeof(**names), compare_names);
	return 0;
fail:
	closedir(directory);
	bundle_free_names(*names);
	*names = NULL;
	return error_set(err, EXIT_CODE_HOST, "out of memory");
}

void bundle_free_names(char **names)
{
	for (char **name = names; name && *name; name++)
		free(*name);
	free(names);
}

/* sun_path holds 107 bytes; a descriptor of the directory makes any path short. */
static struct sockaddr_un socket_address(const struct bundle *bundle, const char *socket_name)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/%s", bundle->dir_fd,
		socket_name);
	return address;
}

int bundle_listen(const struct bundle *bundle, const char *socket_name)
{
	struct sockaddr_un address = socket_address(bundle, socket_name);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -errno;
	/* Left by a process that was killed; the lock says that it is gone. */
	unlinkat(bundle->dir_fd, socket_name, 0);
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 8) < 0) {
		int error = errno;

		close(fd);
		return -error;
	}
	return fd;
}

int bundle_accept(int listen_fd)
{
	int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct ucred peer;
	socklen_t size = sizeof(peer);

	if (fd < 0)
		return -errno;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 &&
		(peer.uid == geteuid() || peer.uid == 0))
		return fd;
	close(fd);
	return -EPERM;
}

int bundle_connect(const struct bundle *bundle, const char *socket_name)
{
	struct sockaddr_un address = socket_address(bundle, socket_name);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		int error = errno;

		close(fd);
		return -error;
	}
	return fd;
}
