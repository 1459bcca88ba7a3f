/*
 * pcap files (draft-ietf-opsawg-pcap, "PCAP Capture File Format"), LINKTYPE_ETHERNET. A record is
 * written with one call, so that a reader who follows the file sees whole frames only.
 */
#include "net/capture.h"

#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PCAP_MAGIC_NS      0xa1b23c4d
#define PCAP_MAJOR         2
#define PCAP_MINOR         4
#define LINKTYPE_ETHERNET  1
#define SNAP_LENGTH        (256 << 10)
#define CAPTURE_MAX_PIECES 64

struct file_header {
	uint32_t magic;
	uint16_t major, minor;
	uint32_t reserved[2];
	uint32_t snap_length, link_type;
};

struct record_header {
	uint32_t seconds, nanoseconds, captured, original;
};

struct net_capture {
	int fd;
	bool failed;
	char *path;
};

int net_capture_open(struct net_capture **capture, const char *path, struct error *err)
{
	const struct file_header header = { .magic = PCAP_MAGIC_NS,
		.major = PCAP_MAJOR,
		.minor = PCAP_MINOR,
		.snap_length = SNAP_LENGTH,
		.link_type = LINKTYPE_ETHERNET };
	struct net_capture *new = calloc(1, sizeof(*new));

	if (!new)
		return error_set_errno(err, EXIT_CODE_HOST, ENOMEM, "cannot capture packets");
	new->path = strdup(path);
	new->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (!new->path || new->fd < 0 ||
		write(new->fd, &header, sizeof(header)) != (ssize_t)sizeof(header)) {
		int reason = errno;

		net_capture_close(new);
		return error_set_errno(err, EXIT_CODE_CANNOT_WRITE, reason,
			"cannot write the packet capture '%s'", path);
	}
	*capture = new;
	return 0;
}

void net_capture_close(struct net_capture *capture)
{
	if (!capture)
		return;
	if (capture->fd >= 0)
		close(capture->fd);
	free(capture->path);
	free(capture);
}

void net_capture_frame(
	struct net_capture *capture, const struct iovec *iov, unsigned count, size_t size)
{
	struct iovec pieces[CAPTURE_MAX_PIECES + 1];
	struct record_header header;
	struct timespec now;
	size_t captured = 0;

	if (!capture || capture->failed)
		return;
	if (count > CAPTURE_MAX_PIECES)
		count = CAPTURE_MAX_PIECES;
	for (unsigned i = 0; i < count; i++) {
		pieces[i + 1] = iov[i];
		captured += iov[i].iov_len;
	}
	clock_gettime(CLOCK_REALTIME, &now);
	header = (struct record_header){ .seconds = (uint32_t)now.tv_sec,
		.nanoseconds = (uint32_t)now.tv_nsec,
		.captured = (uint32_t)captured,
		.original = (uint32_t)size };
	pieces[0] = (struct iovec){ &header, sizeof(header) };
	if (writev(capture->fd, pieces, (int)count + 1) == (ssize_t)(sizeof(header) + captured))
		return;
	capture->failed = true;
	log_warning("the packet capture '%s' ends here: %s", capture->path, strerror(errno));
}
