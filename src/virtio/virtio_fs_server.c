#include "virtio/virtio_fs_server.h"

#include "share/share_server.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define LISTEN_FD 3 /* of the socket in virtiofsd */
#define ARGUMENTS 7

extern char **environ;

/* Debian has it outside PATH: 12 in the first place, later ones in the second. */
static const char *const places[] = { "/usr/lib/qemu/virtiofsd", "/usr/libexec/virtiofsd" };

/*
 * A socket that listens and one that is connected to it. virtiofsd takes only the first kind; its
 * name is gone before anybody else can use it.
 */
static int socket_pair(int *listening, int *connected)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	const struct sockaddr *name = (const struct sockaddr *)&address;
	char directory[] = "/tmp/atoll-share-XXXXXX"; /* made with mode 0700 */
	int rc = 0;

	if (!mkdtemp(directory))
		return -errno;
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/socket", directory);
	*listening = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	*connected = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (*listening < 0 || *connected < 0 || bind(*listening, name, sizeof(address)) < 0 ||
		listen(*listening, 1) < 0 || connect(*connected, name, sizeof(address)) < 0)
		rc = -errno;
	unlink(address.sun_path);
	rmdir(directory);
	if (rc < 0) {
		close(*listening);
		close(*connected);
	}
	return rc;
}

/* Starts a program with descriptors 3 and, if there is one, 4. */
static int spawn(struct virtio_fs_server *server, const char *program, const char *const *argv,
	int third, int fourth)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t none;
	int rc;

	sigemptyset(&none);
	posix_spawnattr_init(&attributes);
	posix_spawnattr_setsigmask(&attributes, &none);
	/* A terminal's Ctrl-C is the guest's. */
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDWR, 0);
	posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_RDWR, 0);
	posix_spawn_file_actions_adddup2(&actions, fileno(server->messages), STDERR_FILENO);
	posix_spawn_file_actions_adddup2(&actions, third, 3);
	if (fourth >= 0)
		posix_spawn_file_actions_adddup2(&actions, fourth, 4);
	rc = -posix_spawn(
		&server->pid, program, &actions, &attributes, (char *const *)argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attributes);
	if (rc < 0)
		server->pid = -1;
	return rc;
}

static int start_virtiofsd(
	struct virtio_fs_server *server, const struct virtio_fs_server_config *config)
{
	/* Without caching: what the host changes, the guest sees. */
	const char *options = config->caches ? "cache=auto,no_posix_lock,no_flock"
					     : "cache=none,no_posix_lock,no_flock";
	int listening = -1, connected = -1, rc;
	char *source;

	if (asprintf(&source, "source=%s", config->directory) < 0)
		return -ENOMEM;
	rc = socket_pair(&listening, &connected);
	if (rc == 0) {
		const char *argv[ARGUMENTS + 1] = { "virtiofsd", "--fd=3", "-o", source, "-o",
			options, "-f" };

		rc = -ENOENT;
		for (unsigned i = 0; rc == -ENOENT && i < sizeof(places) / sizeof(places[0]); i++)
			rc = spawn(server, places[i], argv, listening, -1);
		close(listening);
		if (rc < 0)
			close(connected);
	}
	free(source);
	return rc < 0 ? rc : connected;
}

static int start_builtin(
	struct virtio_fs_server *server, const struct virtio_fs_server_config *config)
{
	const char *argv[5] = { "atoll", SHARE_SERVER_COMMAND };
	unsigned argc = 2;
	int sockets[2], first, directory, rc;

	if (config->read_only)
		argv[argc++] = SHARE_SERVER_READ_ONLY;
	if (!config->caches)
		argv[argc++] = SHARE_SERVER_NO_CACHE;
	directory = open(config->directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (directory < 0)
		return -errno;
	/* Out of the way of the descriptors that the server gets. */
	first = fcntl(directory, F_DUPFD_CLOEXEC, 10);
	close(directory);
	if (first < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) < 0) {
		rc = -errno;
		if (first >= 0)
			close(first);
		return rc;
	}
	rc = fcntl(sockets[1], F_DUPFD_CLOEXEC, 10);
	close(sockets[1]);
	sockets[1] = rc;
	rc = rc < 0 ? -errno : spawn(server, "/proc/self/exe", argv, sockets[1], first);
	close(first);
	if (sockets[1] >= 0)
		close(sockets[1]);
	if (rc < 0)
		close(sockets[0]);
	return rc < 0 ? rc : sockets[0];
}

int virtio_fs_server_start(
	struct virtio_fs_server *server, const struct virtio_fs_server_config *config)
{
	virtio_fs_server_finish(server);
	server->messages = tmpfile();
	if (!server->messages)
		return -errno;
	fcntl(fileno(server->messages), F_SETFD, FD_CLOEXEC);
	return config->kind == VIRTIO_FS_BUILTIN ? start_builtin(server, config)
						 : start_virtiofsd(server, config);
}

void virtio_fs_server_end(struct virtio_fs_server *server)
{
	int status;

	if (server->pid <= 0)
		return;
	/* It is a process that waits for the one that serves, which ends with it. */
	kill(server->pid, SIGKILL);
	while (waitpid(server->pid, &status, 0) < 0 && errno == EINTR)
		;
	server->pid = -1;
}

void virtio_fs_server_last_message(
	const struct virtio_fs_server *server, char text[static VIRTIO_FS_MESSAGE_BYTES])
{
	char line[VIRTIO_FS_MESSAGE_BYTES];

	snprintf(text, VIRTIO_FS_MESSAGE_BYTES, "it said nothing");
	if (!server->messages)
		return;
	rewind(server->messages);
	while (fgets(line, sizeof(line), server->messages)) {
		line[strcspn(line, "\n")] = '\0';
		if (*line)
			snprintf(text, VIRTIO_FS_MESSAGE_BYTES, "%s", line);
	}
}

void virtio_fs_server_finish(struct virtio_fs_server *server)
{
	virtio_fs_server_end(server);
	if (server->messages)
		fclose(server->messages);
	server->messages = NULL;
}
