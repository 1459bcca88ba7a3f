/*
 * Sockets between guest and host, from the guest's side:
 *
 *	vsock serve PORT	answers the first connection with what it sends, and ends with it
 *	vsock send PORT BYTES	sends so many bytes of a fixed pattern to the host, and ends
 *
 * Prints "net: vsock BYTES HASH" of what was received or sent (FNV-1a), or "vsock failed".
 */
#include <linux/vm_sockets.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static uint64_t hash = 14695981039346656037u, total;

static void count(const unsigned char *bytes, size_t size)
{
	for (size_t i = 0; i < size; i++)
		hash = (hash ^ bytes[i]) * 1099511628211u;
	total += size;
}

static int put(int fd, const unsigned char *bytes, size_t size)
{
	while (size) {
		ssize_t sent = write(fd, bytes, size);

		if (sent <= 0)
			return -1;
		bytes += sent;
		size -= (size_t)sent;
	}
	return 0;
}

static int serve(int fd, struct sockaddr_vm *address)
{
	unsigned char bytes[8192];
	ssize_t size;
	int peer;

	address->svm_cid = VMADDR_CID_ANY;
	if (bind(fd, (struct sockaddr *)address, sizeof(*address)) || listen(fd, 1))
		return -1;
	puts("net: vsock listens");
	fflush(stdout);
	peer = accept(fd, NULL, NULL);
	while ((size = read(peer, bytes, sizeof(bytes))) > 0) {
		count(bytes, (size_t)size);
		if (put(peer, bytes, (size_t)size))
			return -1;
	}
	close(peer);
	return size < 0 ? -1 : 0;
}

static int send_pattern(int fd, struct sockaddr_vm *address, uint64_t size)
{
	unsigned char bytes[10000];

	address->svm_cid = VMADDR_CID_HOST;
	if (connect(fd, (struct sockaddr *)address, sizeof(*address)))
		return -1;
	while (total < size) {
		size_t part = size - total < sizeof(bytes) ? size - total : sizeof(bytes);

		for (size_t i = 0; i < part; i++)
			bytes[i] = (unsigned char)((total + i) * 31 >> 3);
		if (put(fd, bytes, part))
			return -1;
		count(bytes, part);
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct sockaddr_vm address = { .svm_family = AF_VSOCK };
	int fd = socket(AF_VSOCK, SOCK_STREAM, 0), ret = -1;

	if (argc > 2)
		address.svm_port = (unsigned)atoi(argv[2]);
	if (fd >= 0 && argc == 3 && strcmp(argv[1], "serve") == 0)
		ret = serve(fd, &address);
	else if (fd >= 0 && argc == 4 && strcmp(argv[1], "send") == 0)
		ret = send_pattern(fd, &address, strtoull(argv[3], NULL, 0));
	close(fd);
	if (ret)
		perror("vsock failed");
	else
		printf("net: vsock %llu %016llx\n", (unsigned long long)total,
			(unsigned long long)hash);
	return ret != 0;
}
