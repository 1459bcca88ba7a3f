/*
 * swtpm's control channel: big-endian commands and results (swtpm_ioctls(3)). The data channel
 * carries TPM commands and responses, each with its size in its header.
 */
#include "vmm/tpm.h"

#include "base/log.h"
#include "board/board.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum swtpm_command { SWTPM_INIT = 2, SWTPM_SHUTDOWN = 3, SWTPM_STOP = 14, SWTPM_SET_DATA_FD = 16 };

#define CONTROL_FD 3 /* of swtpm's process */
#define TIMEOUT_S  10
#define HEADER     10 /* of a response: tag, size, code */

extern char **environ;

static int fail(struct error *err)
{
	return error_set(err, EXIT_CODE_UNAVAILABLE,
		"swtpm does not answer; is the package swtpm installed, and can its state be "
		"written?");
}

/* Sends a command, perhaps with an argument or a descriptor, and waits for its result. */
static int control(
	struct tpm *tpm, uint32_t command, const uint32_t *argument, int fd, struct error *err)
{
	uint32_t words[2] = { htonl(command), argument ? htonl(*argument) : 0 }, result;
	char room[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec iov = { words, argument ? 8 : 4 };
	struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (fd >= 0) {
		struct cmsghdr *header;

		message.msg_control = room;
		message.msg_controllen = sizeof(room);
		header = CMSG_FIRSTHDR(&message);
		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(header), &fd, sizeof(fd));
	}
	if (sendmsg(tpm->control_fd, &message, MSG_NOSIGNAL) != (ssize_t)iov.iov_len ||
		recv(tpm->control_fd, &result, sizeof(result), MSG_WAITALL) != sizeof(result))
		return fail(err);
	result = ntohl(result);
	if (result)
		return error_set(err, EXIT_CODE_UNAVAILABLE,
			"swtpm cannot do what it is asked (command %u, error 0x%x); is its state "
			"damaged?",
			command, result);
	return 0;
}

static int spawn(struct tpm *tpm, const char *directory, int fd)
{
	char state[4096 + sizeof("dir=")];
	char *argv[] = { (char *)"swtpm", (char *)"socket", (char *)"--tpm2", (char *)"--tpmstate",
		state, (char *)"--ctrl", (char *)"type=unixio,clientfd=3", (char *)"--terminate",
		NULL };
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t none;
	int rc;

	snprintf(state, sizeof(state), "dir=%s", directory);
	sigemptyset(&none);
	posix_spawnattr_init(&attributes);
	posix_spawnattr_setsigmask(&attributes, &none);
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
	posix_spawn_file_actions_init(&actions);
	for (int standard = STDIN_FILENO; standard <= STDERR_FILENO; standard++)
		posix_spawn_file_actions_addopen(&actions, standard, "/dev/null", O_RDWR, 0);
	posix_spawn_file_actions_adddup2(&actions, fd, CONTROL_FD);
	rc = -posix_spawnp(&tpm->pid, "swtpm", &actions, &attributes, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attributes);
	return rc;
}

/* A pair of sockets, the second for the other process, where no standard descriptor is. */
static int make_pair(int *own, int *other)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	*own = pair[0];
	*other = fcntl(pair[1], F_DUPFD_CLOEXEC, 16);
	close(pair[1]);
	return *other < 0 ? -errno : 0;
}

static int start(struct tpm *tpm, const char *directory, struct error *err)
{
	struct timeval limit = { .tv_sec = TIMEOUT_S };
	int control_other = -1, data_other = -1;
	int rc = make_pair(&tpm->control_fd, &control_other);

	if (rc == 0)
		rc = make_pair(&tpm->data_fd, &data_other);
	if (rc == 0)
		rc = spawn(tpm, directory, control_other);
	if (control_other >= 0)
		close(control_other);
	if (rc < 0) {
		error_set_errno(err, EXIT_CODE_UNAVAILABLE, -rc,
			"cannot start swtpm; install the package swtpm, or leave --tpm out");
	} else {
		setsockopt(tpm->control_fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
		setsockopt(tpm->control_fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
		rc = control(tpm, SWTPM_SET_DATA_FD, NULL, data_other, err);
	}
	if (data_other >= 0)
		close(data_other);
	if (rc == 0 && fcntl(tpm->data_fd, F_SETFL, O_NONBLOCK) < 0)
		rc = error_set_errno(err, EXIT_CODE_HOST, errno, "cannot talk to swtpm");
	return rc;
}

int tpm_open(struct tpm *tpm, const char *directory, const struct bundle *bundle, struct loop *loop,
	struct error *err)
{
	char path[4096];

	tpm->loop = loop;
	tpm->control_fd = tpm->data_fd = -1;
	if (!*directory && !bundle)
		return error_set(err, EXIT_CODE_CONFIG,
			"a TPM keeps its state somewhere: give it a directory with "
			"--tpm=DIRECTORY, or "
			"the VM a name with --name NAME");
	if (*directory)
		snprintf(path, sizeof(path), "%s", directory);
	else
		snprintf(path, sizeof(path), "%s/tpm", bundle->path);
	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return error_set_errno(err, EXIT_CODE_CANNOT_WRITE, errno,
			"cannot make the directory of the TPM's state, %s", path);
	return start(tpm, path, err);
}

/* A vCPU's thread, under the machine lock. A command is small; the socket has room for it. */
static bool send_command(void *context, const uint8_t *command, size_t size)
{
	struct tpm *tpm = context;

	return tpm->data_fd >= 0 &&
	       send(tpm->data_fd, command, size, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)size;
}

struct tpm_backend tpm_backend(struct tpm *tpm)
{
	return (struct tpm_backend){ send_command, tpm };
}

static void respond(struct tpm *tpm, size_t size)
{
	machine_lock(tpm->board->machine);
	board_tpm_respond(tpm->board, tpm->response, size);
	machine_unlock(tpm->board->machine);
	tpm->received = 0;
}

static void give_up(struct tpm *tpm)
{
	log_warning("the TPM (swtpm) has failed; the guest goes on without it");
	loop_remove(tpm->loop, tpm->data_fd);
	machine_lock(tpm->board->machine);
	close(tpm->data_fd);
	tpm->data_fd = -1;
	machine_unlock(tpm->board->machine);
	respond(tpm, 0);
}

static void on_response(void *context, unsigned events)
{
	struct tpm *tpm = context;
	ssize_t got = recv(tpm->data_fd, tpm->response + tpm->received,
		sizeof(tpm->response) - tpm->received, MSG_DONTWAIT);
	uint32_t size;

	(void)events;
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got <= 0) {
		give_up(tpm);
		return;
	}
	tpm->received += (size_t)got;
	if (tpm->received < HEADER)
		return;
	memcpy(&size, tpm->response + 2, sizeof(size));
	size = ntohl(size);
	if (size < HEADER || size > sizeof(tpm->response) || tpm->received > size)
		give_up(tpm);
	else if (tpm->received == size)
		respond(tpm, size);
}

int tpm_attach(struct tpm *tpm, struct board *board, struct error *err)
{
	int rc;

	tpm->board = board;
	rc = loop_add(tpm->loop, tpm->data_fd, LOOP_READ, on_response, tpm);
	if (rc < 0)
		return error_set_errno(err, EXIT_CODE_HOST, -rc, "cannot watch swtpm");
	return 0;
}

int tpm_power(struct tpm *tpm, struct error *err)
{
	static const uint32_t flags = 0;
	uint8_t old[512];

	if (!tpm->loop || tpm->data_fd < 0)
		return 0;
	if (control(tpm, SWTPM_STOP, NULL, -1, err) || control(tpm, SWTPM_INIT, &flags, -1, err))
		return -1;
	/* What it answered before is nobody's. */
	while (recv(tpm->data_fd, old, sizeof(old), MSG_DONTWAIT) > 0)
		;
	tpm->received = 0;
	return 0;
}

void tpm_close(struct tpm *tpm)
{
	if (!tpm->loop)
		return;
	if (tpm->control_fd >= 0) {
		control(tpm, SWTPM_SHUTDOWN, NULL, -1, &(struct error){ 0 });
		close(tpm->control_fd);
	}
	if (tpm->data_fd >= 0) {
		if (tpm->board)
			loop_remove(tpm->loop, tpm->data_fd);
		close(tpm->data_fd);
	}
	if (tpm->pid > 0) {
		kill(tpm->pid, SIGTERM);
		while (waitpid(tpm->pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	*tpm = (struct tpm){ NULL };
}
