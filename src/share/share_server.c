#include "share/share_server.h"

#include "base/error.h"
#include "share/share_backend.h"
#include "share/share_sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define RESERVED_FDS 64
#define MAX_FDS      (1u << 20)

/* As many descriptors as the host lets us have. */
static unsigned raise_fd_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return RESERVED_FDS;
	limit.rlim_cur = limit.rlim_max < MAX_FDS ? limit.rlim_max : MAX_FDS;
	if (setrlimit(RLIMIT_NOFILE, &limit) < 0 && getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return RESERVED_FDS;
	return limit.rlim_cur > 2 * RESERVED_FDS ? (unsigned)limit.rlim_cur - RESERVED_FDS
						 : RESERVED_FDS;
}

static void serve(struct share_backend *backend)
{
	struct pollfd fds[1 + SHARE_MAX_QUEUES];
	uint64_t count;

	for (;;) {
		fds[0] = (struct pollfd){ .fd = backend->socket, .events = POLLIN };
		for (unsigned i = 0; i < SHARE_MAX_QUEUES; i++)
			fds[1 + i] = (struct pollfd){ .fd = backend->queues[i].kick_fd,
				.events = POLLIN };
		if (poll(fds, 1 + SHARE_MAX_QUEUES, -1) < 0 && errno != EINTR)
			return;
		if (fds[0].revents && share_backend_receive(backend) < 0)
			return;
		for (unsigned i = 0; i < SHARE_MAX_QUEUES; i++) {
			if (fds[1 + i].revents &&
				read(fds[1 + i].fd, &count, sizeof(count)) == sizeof(count))
				share_backend_serve(backend, &backend->queues[i]);
		}
	}
}

static int start(struct share *share, bool read_only, bool caches)
{
	int root = openat(SHARE_SERVER_DIRECTORY, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	int fds = open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);
	unsigned max_open = raise_fd_limit();
	int rc;

	if (root < 0 || fds < 0)
		return -errno;
	close(SHARE_SERVER_DIRECTORY);
	rc = share_sandbox_enter(&root, read_only);
	if (rc == 0)
		rc = share_init(share, root, fds, max_open);
	share->read_only = read_only;
	share->caches = caches;
	return rc;
}

int share_server_main(int argc, char **argv)
{
	struct share_backend *backend = malloc(sizeof(*backend));
	bool read_only = false, caches = true;
	struct share share = { 0 };
	int rc;

	for (int i = 0; i < argc; i++) {
		read_only |= strcmp(argv[i], SHARE_SERVER_READ_ONLY) == 0;
		caches &= strcmp(argv[i], SHARE_SERVER_NO_CACHE) != 0;
	}
	signal(SIGPIPE, SIG_IGN);
	/* A file that is too large for the host is the guest's error. */
	signal(SIGXFSZ, SIG_IGN);
	rc = backend ? start(&share, read_only, caches) : -ENOMEM;
	if (rc < 0) {
		fprintf(stderr, "cannot serve the directory: %s\n", strerror(-rc));
		free(backend);
		return EXIT_CODE_HOST;
	}
	share_backend_init(backend, &share, SHARE_SERVER_SOCKET);
	serve(backend);
	share_backend_finish(backend);
	share_finish(&share);
	free(backend);
	return EXIT_CODE_OK;
}
