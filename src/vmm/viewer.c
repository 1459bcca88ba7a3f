#include "vmm/viewer.h"

#include "base/host_time.h"
#include "base/log.h"
#include "vmm/curses.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/input-event-codes.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define FRAME_NS   (16 * NS_PER_MS)
#define IDLE_NS    (100 * NS_PER_MS) /* of a picture that has not changed for long */
#define START_MS   5000
#define AGAIN_NS   NS_PER_S
#define MAX_EVENTS 64 /* of one round; the loop serves others in between */

extern char **environ;

/* Other hosts could look on, and type, without having said who they are. */
static bool is_loopback(const char *host, size_t length)
{
	static const char *const hosts[] = { "localhost", "127.0.0.1", "::1", "[::1]" };

	for (unsigned i = 0; i < ARRAY_SIZE(hosts); i++) {
		if (strlen(hosts[i]) == length && strncmp(hosts[i], host, length) == 0)
			return true;
	}
	return false;
}

int viewer_parse(const char *text, const char **address, struct error *err)
{
	const char *colon;
	char *end;
	long port;

	*address = NULL;
	if (!text || strcmp(text, "none") == 0 || curses_is_wanted(text))
		return 0;
	if (strcmp(text, "vnc") == 0) {
		*address = "";
		return 0;
	}
	if (strncmp(text, "vnc=", 4) != 0)
		return error_set(err, EXIT_CODE_USAGE,
			"--display does not know '%.80s'; use none, curses, vnc, vnc=unix:PATH or "
			"vnc=localhost:PORT",
			text);
	*address = text + 4;
	if (strncmp(*address, "unix:", 5) == 0 && (*address)[5])
		return 0;
	colon = strrchr(*address, ':');
	port = colon ? strtol(colon + 1, &end, 10) : 0;
	if (!colon || *end || port < 1 || port > 65535)
		return error_set(err, EXIT_CODE_USAGE,
			"--display cannot read the address '%.80s'; use vnc=unix:PATH or "
			"vnc=localhost:5900",
			*address);
	if (!is_loopback(*address, (size_t)(colon - *address)))
		return error_set(err, EXIT_CODE_USAGE,
			"--display vnc asks for no password and serves this host only; use "
			"vnc=localhost:%ld, and reach it from elsewhere through ssh -L",
			port);
	return 0;
}

/* Beside the program, where it was built or installed. */
static char *program_path(void)
{
	char self[4096];
	ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *path = NULL;

	if (length < 0)
		return NULL;
	self[length] = '\0';
	*strrchr(self, '/') = '\0';
	if (asprintf(&path, "%s/atoll-vnc", self) < 0)
		return NULL;
	return path;
}

static int spawn(struct viewer *viewer, const char *program, char *address, int channel,
	int picture, int directory)
{
	char *argv[] = { (char *)"atoll-vnc", address, NULL };
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t none;
	int rc;

	sigemptyset(&none);
	posix_spawnattr_init(&attributes);
	posix_spawnattr_setsigmask(&attributes, &none);
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
	posix_spawn_file_actions_init(&actions);
	/* Whoever waits for the end of what 'atoll start' prints must not wait for this. */
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		posix_spawn_file_actions_addopen(&actions, fd, "/dev/null", O_RDWR, 0);
	posix_spawn_file_actions_adddup2(&actions, channel, VIEWER_CHANNEL_FD);
	posix_spawn_file_actions_adddup2(&actions, picture, VIEWER_PICTURE_FD);
	if (directory >= 0)
		posix_spawn_file_actions_adddup2(&actions, directory, VIEWER_DIRECTORY_FD);
	rc = -posix_spawn(&viewer->pid, program, &actions, &attributes, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attributes);
	return rc;
}

/* A descriptor above those that the viewer gets, so that none is overwritten before it is moved. */
static int above(int fd)
{
	int moved = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 16);

	if (fd >= 0)
		close(fd);
	return moved;
}

static int share_picture(struct viewer *viewer)
{
	int fd = above(memfd_create("atoll-picture", MFD_CLOEXEC | MFD_ALLOW_SEALING));
	void *pixels = MAP_FAILED;

	if (fd >= 0 && ftruncate(fd, (off_t)VIEWER_PICTURE_BYTES) == 0 &&
		fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0)
		pixels = mmap(NULL, VIEWER_PICTURE_BYTES, PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_NORESERVE, fd, 0);
	if (pixels == MAP_FAILED) {
		if (fd >= 0)
			close(fd);
		return -1;
	}
	viewer->shown = (struct surface){ .pixels = pixels,
		.room = VIEWER_PICTURE_BYTES / sizeof(*viewer->shown.pixels) };
	return fd;
}

/* What viewers have taken over may not listen to less, and nothing here waits for it. */
static void stop(struct viewer *viewer)
{
	if (viewer->channel_fd >= 0) {
		loop_remove(viewer->loop, viewer->channel_fd);
		close(viewer->channel_fd);
	}
	viewer->channel_fd = -1;
	viewer->wants_frame = false;
	if (viewer->pid > 0) {
		kill(viewer->pid, SIGKILL);
		while (waitpid(viewer->pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	viewer->pid = 0;
	if (viewer->shown.pixels)
		munmap(viewer->shown.pixels, VIEWER_PICTURE_BYTES);
	viewer->shown = (struct surface){ 0 };
}

static void send_key(struct viewer *viewer, unsigned key, bool down)
{
	viewer->down[key / 8] &= (uint8_t) ~(1u << key % 8);
	viewer->down[key / 8] |= (uint8_t)((unsigned)down << key % 8);
	input_key(viewer->input, key, down);
}

static void ended(struct viewer *viewer)
{
	for (unsigned key = 0; key < KEY_CNT; key++) {
		if (viewer->down[key / 8] & 1u << key % 8)
			send_key(viewer, key, false);
	}
	stop(viewer);
	if (viewer->asked) {
		log_warning("the VNC server has ended; it is started again");
		viewer->start_ns = host_now() + AGAIN_NS;
	} else {
		log_warning("the VNC server has ended; the guest goes on without it");
	}
}

/* Somebody waits for what comes of it. */
static void expect_answer(struct viewer *viewer)
{
	ns_t soon_ns = host_now() + FRAME_NS / 2;

	viewer->pause_ns = FRAME_NS;
	if (viewer->next_frame_ns > soon_ns)
		viewer->next_frame_ns = soon_ns;
}

static void take_event(struct viewer *viewer, const struct viewer_event *event)
{
	const struct surface *picture = &viewer->shown;

	switch (event->type) {
	case VIEWER_WANTS_FRAME: viewer->wants_frame = viewer->asked = true; break;
	case VIEWER_KEY:
		if (event->key > 0 && event->key < KEY_CNT)
			send_key(viewer, event->key, event->down);
		expect_answer(viewer);
		break;
	case VIEWER_POINTER:
		if (event->x >= 0 && event->y >= 0 && event->x < SURFACE_MAX_WIDTH &&
			event->y < SURFACE_MAX_HEIGHT)
			input_point(viewer->input, event->x, event->y, (int)picture->width,
				(int)picture->height, event->wheel < 0 ? -1 : event->wheel > 0,
				event->buttons & 0x1f);
		expect_answer(viewer);
		break;
	}
}

static void on_event(void *context, unsigned events)
{
	struct viewer *viewer = context;
	struct viewer_event event;

	(void)events;
	for (unsigned i = 0; i < MAX_EVENTS; i++) {
		ssize_t size = recv(viewer->channel_fd, &event, sizeof(event), MSG_DONTWAIT);

		if (size < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (size <= 0) {
			ended(viewer);
			return;
		}
		if (size == sizeof(event))
			take_event(viewer, &event);
	}
}

/* It listens once it asks for the first picture. */
static int wait_until_ready(struct viewer *viewer, const char *address, struct error *err)
{
	struct pollfd ready = { .fd = viewer->channel_fd, .events = POLLIN };
	struct viewer_event event;

	if (poll(&ready, 1, START_MS) == 1 &&
		recv(viewer->channel_fd, &event, sizeof(event), MSG_DONTWAIT) == sizeof(event)) {
		take_event(viewer, &event);
		return 0;
	}
	return error_set(err, EXIT_CODE_HOST,
		"the VNC server cannot listen at '%s'; is the address taken?", address);
}

static int start(struct viewer *viewer, struct error *err)
{
	char *program = program_path();
	int sockets[2] = { -1, -1 }, picture = share_picture(viewer), rc = -EMFILE;

	viewer->start_ns = INT64_MAX;
	viewer->asked = false;
	if (picture >= 0 && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) == 0) {
		int directory = viewer->directory_fd < 0
					? -1
					: fcntl(viewer->directory_fd, F_DUPFD_CLOEXEC, 16);

		sockets[1] = above(sockets[1]);
		rc = program ? spawn(viewer, program, viewer->address, sockets[1], picture,
				       directory)
			     : -ENOENT;
		close(sockets[1]);
		if (directory >= 0)
			close(directory);
	}
	if (picture >= 0)
		close(picture);
	if (rc < 0)
		error_set_errno(err, EXIT_CODE_UNAVAILABLE, -rc,
			"cannot start the VNC server %s; was atoll built with neatvnc?",
			program ? program : "atoll-vnc");
	free(program);
	if (rc == 0) {
		rc = loop_add(viewer->loop, sockets[0], LOOP_READ, on_event, viewer);
		if (rc < 0)
			error_set_errno(err, EXIT_CODE_HOST, -rc, "cannot watch the VNC server");
	}
	if (rc == 0)
		viewer->channel_fd = sockets[0];
	else if (sockets[0] >= 0)
		close(sockets[0]);
	return rc;
}

int viewer_open(struct viewer *viewer, const char *text, const struct bundle *bundle,
	struct loop *loop, struct devices *devices, struct input *input, struct error *err)
{
	const char *address;
	int rc = viewer_parse(text, &address, err);

	viewer->loop = loop;
	viewer->devices = devices;
	viewer->input = input;
	viewer->channel_fd = -1;
	viewer->directory_fd = bundle ? bundle->dir_fd : -1;
	viewer->start_ns = INT64_MAX;
	viewer->pause_ns = FRAME_NS;
	if (rc < 0 || !address)
		return rc;
	if (!*address && !bundle)
		return error_set(err, EXIT_CODE_CONFIG,
			"--display vnc is for a VM with a name; give it one with --name NAME, or "
			"an address: vnc=unix:PATH or vnc=localhost:PORT");
	/* The path to the VM's directory may be longer than a socket's address holds. */
	if (*address)
		viewer->address = strdup(address);
	else if (asprintf(&viewer->address, "unix:/proc/self/fd/%d/" BUNDLE_VNC,
			 VIEWER_DIRECTORY_FD) < 0)
		viewer->address = NULL;
	if (!viewer->address)
		return error_set(err, EXIT_CODE_HOST, "out of memory");
	rc = start(viewer, err);
	return rc < 0 ? rc : wait_until_ready(viewer, address, err);
}

void viewer_close(struct viewer *viewer)
{
	if (!viewer->loop)
		return;
	stop(viewer);
	free(viewer->address);
	surface_finish(&viewer->scratch);
}

ns_t viewer_deadline(const struct viewer *viewer)
{
	return viewer->wants_frame ? viewer->next_frame_ns : viewer->start_ns;
}

/* Too many rectangles become one around all of them. */
static void add_damage(void *context, const struct surface_rect *rect)
{
	struct viewer_frame *frame = context;
	struct surface_rect *last = &frame->rects[VIEWER_MAX_RECTS - 1];
	uint32_t right, bottom;

	if (frame->nr_rects < VIEWER_MAX_RECTS) {
		frame->rects[frame->nr_rects++] = *rect;
		return;
	}
	right = last->x + last->width > rect->x + rect->width ? last->x + last->width
							      : rect->x + rect->width;
	bottom = last->y + last->height > rect->y + rect->height ? last->y + last->height
								 : rect->y + rect->height;
	last->x = last->x < rect->x ? last->x : rect->x;
	last->y = last->y < rect->y ? last->y : rect->y;
	last->width = right - last->x;
	last->height = bottom - last->y;
}

/* Negative: there is none. */
static int make_frame(struct viewer *viewer)
{
	struct viewer_frame *frame = &viewer->frame;
	int rc;

	frame->nr_rects = 0;
	rc = screen_update(viewer->devices, &viewer->shown, &viewer->scratch, add_damage, frame);
	frame->width = viewer->shown.width;
	frame->height = viewer->shown.height;
	return rc;
}

static void start_again(struct viewer *viewer)
{
	struct error err = { 0 };

	if (start(viewer, &err) == 0)
		return;
	log_warning("%s", err.text);
	stop(viewer);
}

void viewer_service(struct viewer *viewer)
{
	ns_t now_ns = host_now();

	if (viewer_deadline(viewer) > now_ns)
		return;
	if (!viewer->wants_frame) {
		start_again(viewer);
		return;
	}
	viewer->next_frame_ns = now_ns + viewer->pause_ns;
	if (make_frame(viewer) < 0)
		return;
	if (viewer->frame.nr_rects == 0) {
		/* To look costs up to a millisecond. So a change is seen late by a frame and a
		 * quarter of the time since the last one at most. */
		viewer->pause_ns += viewer->pause_ns / 4;
		if (viewer->pause_ns > IDLE_NS)
			viewer->pause_ns = IDLE_NS;
		return;
	}
	viewer->pause_ns = FRAME_NS;
	viewer->next_frame_ns = now_ns + FRAME_NS;
	viewer->wants_frame = false;
	if (send(viewer->channel_fd, &viewer->frame, sizeof(viewer->frame),
		    MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		ended(viewer);
}
