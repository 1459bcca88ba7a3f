/*
 * The guest's part of tools/bench-io: how fast a disk and a network are.
 *
 *	io disk DEVICE SECONDS	reads and writes it past the page cache; what is on it is lost
 *	io serve PORT	the peer of a guest, here or in another guest; never ends
 *	io net ADDRESS PORT SECONDS	talks to that peer
 *
 * Prints "begin NAME" and "row NAME RATE UNIT COUNT" lines: so many requests, pieces of 64 KiB, or
 * round trips lay between the two lines, so that who runs the guest can divide.
 */
#include "program.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/fs.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define MAX_DEPTH 64
#define PIECE     65536

static void begin(const char *name)
{
	printf("begin %s\n", name);
	fflush(stdout);
}

static void row(const char *name, double rate, const char *unit, uint64_t count)
{
	printf("row %s %.6g %s %llu\n", name, rate, unit, (unsigned long long)count);
	fflush(stdout);
}

/* Disks. */

struct pattern {
	const char *name;
	bool write, random;
	uint32_t bytes, depth;
};

static const struct pattern patterns[] = {
	{ "read_4k_1", false, true, 4096, 1 },
	{ "read_4k_32", false, true, 4096, 32 },
	{ "write_4k_1", true, true, 4096, 1 },
	{ "write_4k_32", true, true, 4096, 32 },
	{ "read_128k", false, false, 131072, 8 },
	{ "write_128k", true, false, 131072, 8 },
};

static uint64_t random_next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

struct disk {
	int fd;
	uint64_t size, at, random;
	aio_context_t aio;
	struct iocb control[MAX_DEPTH];
	uint8_t *buffers;
};

static void submit(struct disk *disk, const struct pattern *pattern, unsigned slot)
{
	struct iocb *one = &disk->control[slot];
	uint64_t blocks = disk->size / pattern->bytes;
	uint64_t block =
		pattern->random ? random_next(&disk->random) % blocks : disk->at++ % blocks;

	memset(one, 0, sizeof(*one));
	one->aio_data = slot;
	one->aio_lio_opcode = pattern->write ? IOCB_CMD_PWRITE : IOCB_CMD_PREAD;
	one->aio_fildes = (uint32_t)disk->fd;
	one->aio_buf = (uint64_t)(uintptr_t)(disk->buffers + (size_t)slot * pattern->bytes);
	one->aio_nbytes = pattern->bytes;
	one->aio_offset = (int64_t)(block * pattern->bytes);
}

/* A batch is what came back from the last one, as a program with much to do would have it. */
static void run(struct disk *disk, const struct pattern *pattern, double seconds)
{
	struct io_event events[MAX_DEPTH];
	struct iocb *batch[MAX_DEPTH];
	unsigned in_flight = 0, nr_batch = 0;
	uint64_t done = 0;
	double start, end;

	for (; nr_batch < pattern->depth; nr_batch++) {
		submit(disk, pattern, nr_batch);
		batch[nr_batch] = &disk->control[nr_batch];
	}
	begin(pattern->name);
	start = end = now();
	while (nr_batch || in_flight) {
		long got;

		if (nr_batch &&
			syscall(SYS_io_submit, disk->aio, (long)nr_batch, batch) != nr_batch)
			fail("io_submit");
		in_flight += nr_batch;
		nr_batch = 0;
		got = syscall(SYS_io_getevents, disk->aio, 1L, (long)MAX_DEPTH, events, NULL);
		if (got < 0 && errno != EINTR)
			fail("io_getevents");
		end = now();
		for (long i = 0; i < got; i++) {
			unsigned slot = (unsigned)events[i].data;

			if (events[i].res != pattern->bytes) {
				errno = (int)-events[i].res;
				fail("a transfer");
			}
			in_flight--;
			done++;
			if (end - start >= seconds)
				continue;
			submit(disk, pattern, slot);
			batch[nr_batch++] = &disk->control[slot];
		}
	}
	if (pattern->random)
		row(pattern->name, (double)done / (end - start), "requests/s", done);
	else
		row(pattern->name, (double)done * pattern->bytes / (end - start) / 1e6, "MB/s",
			done);
}

static void measure_disk(const char *path, double seconds)
{
	struct disk disk = { .random = 88172645463325252u };

	disk.fd = open(path, O_RDWR | O_DIRECT);
	if (disk.fd < 0 || ioctl(disk.fd, BLKGETSIZE64, &disk.size) < 0)
		fail(path);
	if (posix_memalign((void **)&disk.buffers, 4096, 8u << 20))
		fail("memory");
	memset(disk.buffers, 0x5a, 8u << 20);
	if (syscall(SYS_io_setup, MAX_DEPTH, &disk.aio) < 0)
		fail("io_setup");
	for (unsigned i = 0; i < sizeof(patterns) / sizeof(patterns[0]); i++)
		run(&disk, &patterns[i], seconds);
	close(disk.fd);
}

/* Networks. The first byte of a connection says what its peer does. */

enum {
	SINK = 's',   /* reads to the end and answers with a byte */
	SOURCE = 'g', /* writes until the other closes */
	ECHO = 'e',
};

static uint8_t piece[PIECE];

static void serve_one(int fd)
{
	uint8_t what = 0;
	ssize_t got;

	if (read(fd, &what, 1) != 1)
		return;
	if (what == SOURCE) {
		while (write(fd, piece, sizeof(piece)) > 0)
			;
		return;
	}
	while ((got = read(fd, piece, sizeof(piece))) > 0) {
		if (what == ECHO && write(fd, piece, (size_t)got) != got)
			return;
	}
	(void)!write(fd, piece, 1);
}

static void set_no_delay(int fd)
{
	const int one = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

static void serve(unsigned port)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1;

	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(listener, (struct sockaddr *)&address, sizeof(address)) < 0 ||
		listen(listener, 8) < 0)
		fail("listen");
	signal(SIGPIPE, SIG_IGN);
	signal(SIGCHLD, SIG_IGN);
	printf("serving\n");
	fflush(stdout);
	for (;;) {
		int fd = accept(listener, NULL, NULL);

		if (fd >= 0 && fork() == 0) {
			/* A guest that is gone does not end its connection: the next server has its
			 * port, and this process ends with the server. */
			prctl(PR_SET_PDEATHSIG, SIGTERM);
			close(listener);
			set_no_delay(fd);
			serve_one(fd);
			_exit(0);
		}
		if (fd >= 0)
			close(fd);
	}
}

static int dial(const char *host, unsigned port, uint8_t what)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };

	inet_pton(AF_INET, host, &address.sin_addr);
	for (unsigned tries = 0; tries < 100; tries++) {
		int fd = socket(AF_INET, SOCK_STREAM, 0);

		if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0) {
			set_no_delay(fd);
			if (write(fd, &what, 1) == 1)
				return fd;
		}
		close(fd);
		usleep(100000);
	}
	fail("connect");
	return -1;
}

static void measure_send(const char *host, unsigned port, double seconds)
{
	int fd = dial(host, port, SINK);
	uint64_t bytes = 0;
	double start, end;

	begin("send");
	start = now();
	while ((end = now()) - start < seconds) {
		ssize_t sent = write(fd, piece, sizeof(piece));

		if (sent < 0)
			fail("write");
		bytes += (uint64_t)sent;
	}
	/* All of it has come when the peer says so. */
	shutdown(fd, SHUT_WR);
	if (read(fd, piece, 1) != 1)
		fail("the peer's answer");
	end = now();
	row("send", (double)bytes / (end - start) / 1e6, "MB/s", bytes / PIECE);
	close(fd);
}

static void measure_receive(const char *host, unsigned port, double seconds)
{
	int fd = dial(host, port, SOURCE);
	uint64_t bytes = 0;
	double start, end;

	begin("receive");
	start = now();
	while ((end = now()) - start < seconds) {
		ssize_t got = read(fd, piece, sizeof(piece));

		if (got <= 0)
			fail("read");
		bytes += (uint64_t)got;
	}
	row("receive", (double)bytes / (end - start) / 1e6, "MB/s", bytes / PIECE);
	close(fd);
}

static void measure_latency(const char *host, unsigned port, double seconds)
{
	int fd = dial(host, port, ECHO);
	uint64_t trips = 0;
	double start, end;

	/* What the last connection left on its way. */
	sleep(1);
	begin("round_trips");
	start = now();
	while ((end = now()) - start < seconds) {
		if (write(fd, piece, 1) != 1 || read(fd, piece, 1) != 1)
			fail("an echo");
		trips++;
	}
	row("round_trips", (double)trips / (end - start), "/s", trips);
	close(fd);
}

int main(int argc, char **argv)
{
	if (argc == 4 && strcmp(argv[1], "disk") == 0) {
		measure_disk(argv[2], atof(argv[3]));
	} else if (argc == 3 && strcmp(argv[1], "serve") == 0) {
		serve((unsigned)atoi(argv[2]));
	} else if (argc == 5 && strcmp(argv[1], "net") == 0) {
		signal(SIGPIPE, SIG_IGN);
		measure_send(argv[2], (unsigned)atoi(argv[3]), atof(argv[4]));
		measure_receive(argv[2], (unsigned)atoi(argv[3]), atof(argv[4]));
		measure_latency(argv[2], (unsigned)atoi(argv[3]), atof(argv[4]));
	} else {
		fprintf(stderr, "usage: io disk DEVICE SECONDS | io serve PORT | "
				"io net ADDRESS PORT SECONDS\n");
		return 64;
	}
	return 0;
}
