/*
 * Fuzz target: what a guest sends to the share server, against a directory in /tmp with a few files
 * of each kind. The input is a sequence of requests: a byte that picks the opcode, one that picks
 * how the request and the room for its answer are cut, a length, and the bytes behind the header.
 * Node and handle numbers are small, so that they are often right.
 */
#include "share/share.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_REQUESTS 64

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static char place[] = "/tmp/share-fuzz-XXXXXX";

static void remove_place(void)
{
	char command[64];

	snprintf(command, sizeof(command), "rm -rf %s", place);
	if (system(command) != 0)
		return;
}

static int make_place(void)
{
	int fd;

	if (!mkdtemp(place))
		abort();
	atexit(remove_place);
	fd = open(place, O_PATH | O_DIRECTORY | O_CLOEXEC);
	mkdirat(fd, "d", 0700);
	mkdirat(fd, "d/e", 0700);
	close(openat(fd, "f", O_CREAT | O_RDWR, 0600));
	close(openat(fd, "d/g", O_CREAT | O_RDWR, 0600));
	if (symlinkat("..", fd, "l") < 0)
		abort();
	mkfifoat(fd, "p", 0600);
	return fd;
}

/* Sizes and offsets would let it fill the host. */
static void tame(uint32_t opcode, uint8_t *arguments, size_t bytes)
{
	size_t offset = opcode == FUSE_SETATTR ? 16 : opcode == FUSE_WRITE ? 8 : 0;

	if (opcode == FUSE_FALLOCATE && bytes >= 24)
		memset(arguments + 10, 0, 6), memset(arguments + 18, 0, 6);
	if (opcode == FUSE_COPY_FILE_RANGE && bytes >= 48)
		memset(arguments + 34, 0, 6);
	if (offset && bytes >= offset + 8)
		memset(arguments + offset + 2, 0, 6);
}

static void serve(
	struct share *share, uint32_t opcode, uint8_t cut, uint8_t *arguments, size_t bytes)
{
	static uint8_t answer[4096];
	struct fuse_in_header header = { .opcode = opcode,
		.nodeid = 1 + (cut >> 1) % 8,
		.uid = geteuid(),
		.gid = getegid(),
		.unique = cut };
	size_t half = bytes * (cut >> 6) / 4, room = cut & 1 ? sizeof(answer) : 16 + (cut & 63);
	struct iovec in[] = { { &header, sizeof(header) }, { arguments, half },
		{ arguments + half, bytes - half } };
	struct iovec out[] = { { answer, room / 2 }, { answer + room / 2, room - room / 2 } };

	if (share_serve(share, in, 3, out, 2) > room)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	static int root = -1;
	static const struct fuse_init_in begin = { .major = 7, .minor = 38, .flags = UINT32_MAX };
	struct share share;
	struct fuse_init_in first = begin;

	if (root < 0)
		root = make_place();
	if (share_init(&share, fcntl(root, F_DUPFD_CLOEXEC, 0),
		    open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC), 64))
		return 0;
	serve(&share, FUSE_INIT, 1, (uint8_t *)&first, sizeof(first));
	for (unsigned i = 0; i < MAX_REQUESTS && size >= 3; i++) {
		uint32_t opcode = bytes[0] % 56;
		size_t length = bytes[2] < size - 3 ? bytes[2] : size - 3;
		uint8_t *copy = malloc(length + 1);

		if (!copy)
			break;
		memcpy(copy, bytes + 3, length);
		tame(opcode, copy, length);
		serve(&share, opcode, bytes[1], copy, length);
		free(copy);
		bytes += 3 + length;
		size -= 3 + length;
	}
	share_finish(&share);
	return 0;
}
