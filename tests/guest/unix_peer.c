/*
 * The other end of a unix socket of a VM, for tests in places without Python:
 *
 *	unix_peer PATH BYTES [LINE]
 *
 * Connects, waiting for the socket to be there; sends LINE and drops the line that answers it; then
 * sends all of standard input, and copies what comes to standard output, until that are BYTES
 *bytes.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define TRIES       600
#define BETWEEN_US  100000
#define PIECE       65536
#define PATIENCE_MS 60000

static int reach(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	for (int i = 0; i < TRIES; i++) {
		int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

		if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
			return fd;
		close(fd);
		usleep(BETWEEN_US);
	}
	return -1;
}

static int put(int fd, const char *bytes, size_t size)
{
	while (size) {
		ssize_t sent = write(fd, bytes, size);

		if (sent < 0)
			return -1;
		bytes += sent;
		size -= (size_t)sent;
	}
	return 0;
}

/* What is read next is not read before what was read has gone: both ways at once, so that neither
 * end waits for the other. */
static int relay(int fd, size_t expected)
{
	static char piece[PIECE], answer[PIECE];
	size_t held = 0, gone = 0;
	int input = STDIN_FILENO;

	while (expected || input >= 0 || held > gone) {
		struct pollfd waits[] = {
			{ .fd = held > gone ? -1 : input, .events = POLLIN },
			{ .fd = fd,
				.events = (short)((expected ? POLLIN : 0) |
						  (held > gone ? POLLOUT : 0)) },
		};

		if (poll(waits, 2, PATIENCE_MS) <= 0)
			return -1;
		if (waits[0].revents) {
			ssize_t size = read(input, piece, sizeof(piece));

			held = size > 0 ? (size_t)size : 0;
			gone = 0;
			if (size <= 0)
				input = -1;
		}
		if (waits[1].revents & POLLOUT) {
			ssize_t size =
				send(fd, piece + gone, held - gone, MSG_DONTWAIT | MSG_NOSIGNAL);

			if (size < 0 && errno != EAGAIN)
				return -1;
			gone += size > 0 ? (size_t)size : 0;
		}
		if (expected && waits[1].revents & (POLLIN | POLLHUP | POLLERR)) {
			ssize_t size = read(fd, answer, expected < PIECE ? expected : PIECE);

			if (size <= 0 || put(STDOUT_FILENO, answer, (size_t)size))
				return -1;
			expected -= (size_t)size;
		}
	}
	return 0;
}

static int greet(int fd, const char *line)
{
	char byte = 0;

	if (put(fd, line, strlen(line)) || put(fd, "\n", 1))
		return -1;
	while (byte != '\n') {
		if (read(fd, &byte, 1) != 1)
			return -1;
	}
	return 0;
}

int main(int argc, char **argv)
{
	int fd = argc > 2 ? reach(argv[1]) : -1;

	if (fd < 0 || (argc > 3 && greet(fd, argv[3])) || relay(fd, strtoul(argv[2], NULL, 0))) {
		fprintf(stderr, "unix_peer: %s\n",
			fd < 0 ? "nobody is there" : "lost the other end");
		return 1;
	}
	return 0;
}
