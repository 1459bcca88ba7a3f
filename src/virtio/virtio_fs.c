#include "virtio/virtio_fs.h"

#include "base/host_time.h"
#include "base/log.h"
#include "virtio/vhost_user.h"
#include "virtio/virtio_fs_server.h"

#include <errno.h>
#include <linux/fuse.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define QUEUE_SIZE 256
#define NR_QUEUES  2 /* of high priority; of requests */
#define PCI_CLASS  0x018000

#define DRAIN_NS   (2 * NS_PER_S) /* how long a reset waits for the server */
#define RESTART_NS NS_PER_S       /* between two starts of it */

/* Linux's open flags, as they travel. */
#define OPEN_ACCESS_MODE 03u
#define OPEN_CREATE      0100u
#define OPEN_TRUNCATE    01000u

struct fs_registers {
	char tag[VIRTIO_FS_TAG_BYTES];
	uint32_t nr_request_queues;
};

struct fs;

struct fs_queue {
	struct fs *fs;
	unsigned index;
	struct virtio_watch call;
};

struct fs_request {
	struct virtq_request request;
	uint64_t unique;
	bool has_header;
};

struct fs {
	struct virtio_device device;
	struct fs_registers registers; /* immutable */
	char *directory;
	struct virtio_fs_server_config server_config;
	bool read_only;

	/* Lane. */
	struct virtio_fs_server server;
	struct vhost_user link; /* connected: it serves */
	struct fs_queue queues[NR_QUEUES];
	struct virtio_watch gone;
	ns_t started_ns;
};

bool virtio_fs_only_reads(const void *head, size_t bytes)
{
	struct fuse_in_header header;
	uint32_t flags;

	if (bytes < sizeof(header))
		return false;
	memcpy(&header, head, sizeof(header));
	switch (header.opcode) {
	case FUSE_LOOKUP:
	case FUSE_FORGET:
	case FUSE_GETATTR:
	case FUSE_READLINK:
	case FUSE_READ:
	case FUSE_STATFS:
	case FUSE_RELEASE:
	case FUSE_FSYNC:
	case FUSE_GETXATTR:
	case FUSE_LISTXATTR:
	case FUSE_FLUSH:
	case FUSE_INIT:
	case FUSE_OPENDIR:
	case FUSE_READDIR:
	case FUSE_RELEASEDIR:
	case FUSE_FSYNCDIR:
	case FUSE_ACCESS:
	case FUSE_INTERRUPT:
	case FUSE_DESTROY:
	case FUSE_BATCH_FORGET:
	case FUSE_READDIRPLUS:
	case FUSE_SYNCFS:
	case FUSE_LSEEK: return true;
	case FUSE_OPEN:
		if (bytes < sizeof(header) + sizeof(flags))
			return false;
		memcpy(&flags, (const uint8_t *)head + sizeof(header), sizeof(flags));
		return !(flags & (OPEN_ACCESS_MODE | OPEN_CREATE | OPEN_TRUNCATE));
	default: return false;
	}
}

/* Copies the first bytes of a request, without consuming them. */
static size_t peek(const struct virtq_request *request, uint8_t *to, size_t bytes)
{
	size_t done = 0;

	for (unsigned i = 0; i < request->nr_readable && done < bytes; i++) {
		const struct iovec *piece = &request->readable[i];
		size_t chunk = bytes - done < piece->iov_len ? bytes - done : piece->iov_len;

		memcpy(to + done, piece->iov_base, chunk);
		done += chunk;
	}
	return done;
}

/* Answers a request with an error, if it is one that is answered. */
static void refuse(struct fs_request *request, int error)
{
	const struct fuse_out_header answer = {
		.len = sizeof(answer), .error = -error, .unique = request->unique
	};

	if (request->has_header && request->request.writable_bytes >= sizeof(answer))
		virtq_write(request, &answer, sizeof(answer));
	virtq_push(request->request.queue, request, 0);
}

/* The server. All of this holds the lane. */

static const char *server_name(const struct fs *fs)
{
	return fs->server_config.kind == VIRTIO_FS_BUILTIN ? "its server" : "virtiofsd";
}

static bool is_connected(const struct fs *fs)
{
	return fs->link.socket >= 0;
}

static void disconnect(struct fs *fs)
{
	struct virtio_lane *lane = virtio_queue_lane(&fs->device, 0);

	if (is_connected(fs)) {
		virtio_lane_unwatch(lane, &fs->gone);
		for (unsigned i = 0; i < NR_QUEUES; i++)
			virtio_lane_unwatch(lane, &fs->queues[i].call);
	}
	vhost_user_disconnect(&fs->link);
	virtio_fs_server_end(&fs->server);
}

static int watch_link(struct fs *fs)
{
	struct virtio_lane *lane = virtio_queue_lane(&fs->device, 0);
	int rc;

	fs->gone.fd = fs->link.socket;
	rc = virtio_lane_watch(lane, &fs->gone);
	for (unsigned i = 0; i < NR_QUEUES && rc == 0; i++) {
		fs->queues[i].call.fd = fs->link.queues[i].call_fd;
		rc = virtio_lane_watch(lane, &fs->queues[i].call);
	}
	return rc;
}

static int connect_server(struct fs *fs)
{
	int rc = virtio_fs_server_start(&fs->server, &fs->server_config);

	fs->started_ns = host_now();
	if (rc >= 0)
		rc = vhost_user_connect(&fs->link, rc, &fs->device.machine->memory, NR_QUEUES);
	if (rc == 0)
		rc = watch_link(fs);
	if (rc < 0)
		disconnect(fs);
	return rc;
}

/* It serves no more: what it has is answered here. */
static void lose(struct fs *fs, const char *why)
{
	struct virtq_request *request;
	char message[VIRTIO_FS_MESSAGE_BYTES];

	virtio_fs_server_last_message(&fs->server, message);
	log_warning("the share '%s' is out: %s %s (%s); mounting it again starts another",
		fs->directory, server_name(fs), why, message);
	for (unsigned i = 0; i < NR_QUEUES; i++) {
		while ((request = vhost_ring_abandon(&fs->link.queues[i].ring)))
			refuse((struct fs_request *)request, ENOTCONN);
	}
	disconnect(fs);
}

static void server_gone(void *context)
{
	lose(context, "ended");
}

/* Pushes what the server is done with; true if that was something. */
static bool take_answers(struct fs_queue *queue)
{
	struct fs *fs = queue->fs;
	bool broken = false, any = false;
	struct virtq_request *request;
	uint32_t written;

	while ((request =
			vhost_ring_take(&fs->link.queues[queue->index].ring, &written, &broken))) {
		virtq_push(request->queue, request, written);
		any = true;
	}
	if (broken)
		lose(fs, "broke its ring");
	return any;
}

static void answers_ready(void *context)
{
	struct fs_queue *queue = context;
	uint64_t count;

	if (read(queue->call.fd, &count, sizeof(count)) < 0)
		return;
	/* What did not fit into the ring does now. */
	if (take_answers(queue))
		virtio_serve_again(&queue->fs->device, queue->index);
}

/* A new mount may begin with a new server. */
static bool revive(struct fs *fs, uint32_t opcode)
{
	int rc;

	if (opcode != FUSE_INIT || host_now() - fs->started_ns < RESTART_NS)
		return false;
	rc = connect_server(fs);
	if (rc < 0)
		log_warning("the share '%s' stays out: %s cannot be started: %s", fs->directory,
			server_name(fs), strerror(-rc));
	else
		log_info("the share '%s' is back: %s runs again", fs->directory, server_name(fs));
	return rc == 0;
}

/* The queue's functions. */

/* Hands a request over. False if there is no room for it now. */
static bool forward(struct fs *fs, unsigned index, struct fs_request *request)
{
	uint8_t head[sizeof(struct fuse_in_header) + 2 * sizeof(uint32_t)];
	struct fuse_in_header header = { 0 };
	size_t bytes = peek(&request->request, head, sizeof(head));
	unsigned head_bytes = 0;
	int rc;

	request->has_header = bytes >= sizeof(header);
	if (request->has_header)
		memcpy(&header, head, sizeof(header));
	request->unique = header.unique;
	if (!is_connected(fs) && !revive(fs, header.opcode)) {
		refuse(request, ENOTCONN);
		return true;
	}
	if (fs->read_only) {
		if (!virtio_fs_only_reads(head, bytes)) {
			refuse(request, EROFS);
			return true;
		}
		/* What was checked is what the server reads. */
		head_bytes = (unsigned)bytes;
		if (!vhost_ring_has_room(&fs->link.queues[index].ring, request))
			return false;
		virtq_read(request, (uint8_t[sizeof(head)]){ 0 }, bytes);
	}
	rc = vhost_ring_add(&fs->link.queues[index].ring, request, head, head_bytes);
	if (rc == -ENOSPC)
		return false;
	if (rc < 0)
		refuse(request, EIO);
	return true;
}

static bool fs_serve(struct virtio_device *device, unsigned index)
{
	struct fs *fs = (struct fs *)device;
	struct virtq *queue = virtio_queue(device, index);
	struct fs_request *request;
	bool took_all = true;

	while (took_all && (request = virtq_pop(queue))) {
		took_all = forward(fs, index, request);
		if (!took_all)
			virtq_unpop(queue, request);
	}
	if (is_connected(fs))
		vhost_user_kick(&fs->link, index);
	return took_all;
}

/* Requests are the server's business of moments; one that is not answered by then has lost it. */
static void fs_drain(struct virtio_device *device, unsigned index, bool cancel)
{
	struct fs *fs = (struct fs *)device;
	ns_t deadline = host_now() + DRAIN_NS;

	(void)cancel;
	while (is_connected(fs) && fs->link.queues[index].ring.in_flight > 0) {
		struct pollfd fds[] = { { .fd = fs->link.queues[index].call_fd, .events = POLLIN },
			{ .fd = fs->link.socket, .events = POLLIN } };
		uint64_t count;

		poll(fds, 2, (int)(DRAIN_NS / NS_PER_MS / 20));
		if (fds[0].revents && read(fds[0].fd, &count, sizeof(count)) < 0)
			continue;
		take_answers(&fs->queues[index]);
		if (is_connected(fs) && (fds[1].revents || host_now() > deadline))
			lose(fs, fds[1].revents ? "ended" : "did not answer");
	}
}

static const struct virtio_device_type fs_type = {
	.name = "virtio-fs",
	.id = VIRTIO_ID_FS,
	.pci_class = PCI_CLASS,
	.request_size = sizeof(struct fs_request),
	.serve = fs_serve,
	.drain = fs_drain,
};

static int start(struct fs *fs, struct error *err)
{
	char message[VIRTIO_FS_MESSAGE_BYTES];
	struct virtio_lane *lane = virtio_queue_lane(&fs->device, 0);
	int rc;

	virtio_lane_enter(lane);
	rc = connect_server(fs);
	virtio_lane_leave(lane);
	if (rc == -ENOENT && fs->server_config.kind == VIRTIO_FS_VIRTIOFSD)
		return error_set(err, EXIT_CODE_UNAVAILABLE,
			"--share server=virtiofsd needs the program virtiofsd; install Debian's "
			"qemu-system-common or virtiofsd, or leave the server out");
	if (rc < 0) {
		virtio_fs_server_last_message(&fs->server, message);
		return error_set_errno(err, EXIT_CODE_HOST, -rc,
			"cannot share '%s', %s ends with '%s'", fs->directory, server_name(fs),
			message);
	}
	return 0;
}

int virtio_fs_create(
	struct virtio_device **device, const struct virtio_fs_config *config, struct error *err)
{
	static const struct virtio_queue_config queues[NR_QUEUES] = {
		{ .size = QUEUE_SIZE },
		{ .size = QUEUE_SIZE },
	};
	struct fs *fs = calloc(1, sizeof(*fs));
	struct virtio_device_config base = {
		.name = config->name,
		.machine = config->machine,
		.config_size = sizeof(fs->registers),
		.queues = queues,
		.nr_queues = NR_QUEUES,
		.nr_lanes = 1,
	};
	int rc;

	*device = NULL;
	if (!fs || !(fs->directory = strdup(config->directory))) {
		free(fs);
		return error_set_errno(
			err, EXIT_CODE_HOST, ENOMEM, "cannot share '%s'", config->directory);
	}
	fs->read_only = config->read_only;
	fs->server_config = (struct virtio_fs_server_config){ .kind = config->server,
		.directory = fs->directory,
		.read_only = config->read_only,
		.caches = config->caches };
	fs->link.socket = -1;
	fs->gone = (struct virtio_watch){ .ready = server_gone, .context = fs };
	for (unsigned i = 0; i < NR_QUEUES; i++)
		fs->queues[i] = (struct fs_queue){ .fs = fs,
			.index = i,
			.call = { .ready = answers_ready, .context = &fs->queues[i] } };
	memcpy(fs->registers.tag, config->tag, strnlen(config->tag, VIRTIO_FS_TAG_BYTES));
	fs->registers.nr_request_queues = NR_QUEUES - 1;
	base.config = &fs->registers;
	rc = virtio_device_init(&fs->device, &fs_type, &base, err);
	if (rc == 0)
		rc = start(fs, err);
	if (rc < 0) {
		virtio_fs_destroy(&fs->device);
		return rc;
	}
	*device = &fs->device;
	return 0;
}

void virtio_fs_destroy(struct virtio_device *device)
{
	struct fs *fs = (struct fs *)device;

	if (!fs)
		return;
	/* The lane is gone when the server is: nothing is left to watch. */
	virtio_device_finish(device);
	vhost_user_disconnect(&fs->link);
	virtio_fs_server_finish(&fs->server);
	free(fs->directory);
	free(fs);
}
