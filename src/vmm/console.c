#include "vmm/console.h"

#include "base/host_time.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define FLUSH_DELAY_NS (2 * NS_PER_MS)
#define STUCK_LIMIT_NS (5 * NS_PER_S)
#define REPLAY_BYTES   2048 /* what a later client sees of what was there before it */
#define OLD_LOG        BUNDLE_CONSOLE_LOG ".1"

static void console_want_service(struct console *console)
{
	if (!atomic_exchange(&console->wants_service, true))
		loop_wake(console->loop);
}

static size_t ring_used(const struct console *console)
{
	return console->ring_head - console->ring_tail;
}

/* On the event loop's thread, before it sleeps: console_deadline keeps it from sleeping. */
static void console_flush_timer(void *context)
{
	struct console *console = context;

	atomic_store(&console->wants_service, true);
}

static size_t console_write(void *context, const uint8_t *bytes, size_t count)
{
	struct console *console = context;
	size_t room = CONSOLE_RING_SIZE - ring_used(console);

	if (!console->bundle)
		return count;
	if (!console->first_output_ns && count > 0)
		console->first_output_ns = host_now();
	if (room < count) {
		console->refused = true;
		count = room;
	}
	for (size_t i = 0; i < count; i++)
		console->ring[console->ring_head++ % CONSOLE_RING_SIZE] = bytes[i];
	if (ring_used(console) > CONSOLE_RING_SIZE / 2)
		console_want_service(console);
	else if (!timer_is_armed(&console->flush_timer))
		timer_arm(&console->flush_timer,
			clock_now(&console->machine->clock) + FLUSH_DELAY_NS);
	return count;
}

static void console_has_room(void *context)
{
	struct console *console = context;

	if (console->bundle)
		console_want_service(console);
}

struct char_line console_line(struct console *console)
{
	return (struct char_line){
		.write = console_write, .room = console_has_room, .context = console
	};
}

static void client_close(struct console_client *client)
{
	if (client->fd < 0)
		return;
	loop_remove(client->console->loop, client->fd);
	close(client->fd);
	*client = (struct console_client){ .console = client->console, .fd = -1 };
}

/* Who types; NULL if nobody is attached. */
static struct console_client *console_typist(struct console *console)
{
	struct console_client *typist = NULL;

	for (unsigned i = 0; i < CONSOLE_MAX_CLIENTS; i++) {
		struct console_client *client = &console->clients[i];

		if (client->fd >= 0 && (!typist || client->arrival > typist->arrival))
			typist = client;
	}
	return typist;
}

/* Sends what the client takes of what it has not seen. */
static void client_send(struct console_client *client)
{
	struct console *console = client->console;

	while (client->fd >= 0 && client->sent != console->printed) {
		size_t at = client->sent % CONSOLE_HISTORY_SIZE;
		size_t size = console->printed - client->sent;
		ssize_t count;

		if (size > CONSOLE_HISTORY_SIZE - at)
			size = CONSOLE_HISTORY_SIZE - at;
		count = send(client->fd, console->history + at, size, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (count < 0 && errno == EINTR)
			continue;
		if (count < 0 && errno == EAGAIN) {
			if (!client->stuck_since_ns)
				client->stuck_since_ns = host_now();
			else if (host_now() - client->stuck_since_ns > STUCK_LIMIT_NS)
				client_close(client);
			return;
		}
		if (count < 0) {
			client_close(client);
			return;
		}
		client->sent += (size_t)count;
		client->stuck_since_ns = 0;
	}
}

static void console_rotate_log(struct console *console)
{
	close(console->log_fd);
	renameat(console->bundle->dir_fd, BUNDLE_CONSOLE_LOG, console->bundle->dir_fd, OLD_LOG);
	console->log_fd = openat(console->bundle->dir_fd, BUNDLE_CONSOLE_LOG,
		O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	console->log_size = 0;
}

/* A full disk costs the log, not the guest. */
static void console_log(struct console *console, const uint8_t *bytes, size_t size)
{
	if (console->log_size + size > CONSOLE_LOG_BYTES && console->log_fd >= 0)
		console_rotate_log(console);
	if (console->log_fd >= 0 && write(console->log_fd, bytes, size) > 0)
		console->log_size += size;
}

/* How much the history can take without a client's losing something. */
static size_t console_history_room(const struct console *console)
{
	size_t room = CONSOLE_HISTORY_SIZE;

	for (unsigned i = 0; i < CONSOLE_MAX_CLIENTS; i++) {
		const struct console_client *client = &console->clients[i];

		if (client->fd >= 0 &&
			CONSOLE_HISTORY_SIZE - (console->printed - client->sent) < room)
			room = CONSOLE_HISTORY_SIZE - (console->printed - client->sent);
	}
	return room;
}

/* Moves the guest's bytes into the history; true if there was something. */
static bool console_take(struct console *console)
{
	size_t at = console->printed % CONSOLE_HISTORY_SIZE;
	size_t room = console_history_room(console), size;

	if (room > CONSOLE_HISTORY_SIZE - at)
		room = CONSOLE_HISTORY_SIZE - at;
	machine_lock(console->machine);
	size = ring_used(console) < room ? ring_used(console) : room;
	for (size_t i = 0; i < size; i++)
		console->history[at + i] = console->ring[console->ring_tail++ % CONSOLE_RING_SIZE];
	if (console->refused && ring_used(console) < CONSOLE_RING_SIZE / 2) {
		console->refused = false;
		board_line_writable(console->board, BOARD_COM1);
	}
	machine_unlock(console->machine);
	console->printed += size;
	console_log(console, console->history + at, size);
	return size > 0;
}

static void console_type(struct console *console)
{
	if (console->input_used == console->input_size)
		return;
	machine_lock(console->machine);
	console->input_used += board_line_receive(console->board, BOARD_COM1,
		console->input + console->input_used, console->input_size - console->input_used);
	machine_unlock(console->machine);
}

/* What each client's descriptor is waited for: only who has the keyboard is held back by a UART
 * that is full. */
static void console_watch(struct console *console)
{
	const struct console_client *typist = console_typist(console);

	for (unsigned i = 0; i < CONSOLE_MAX_CLIENTS; i++) {
		const struct console_client *client = &console->clients[i];
		unsigned events = LOOP_READ;

		if (client->fd < 0)
			continue;
		if (client == typist && console->input_used < console->input_size)
			events = 0;
		if (client->sent != console->printed)
			events |= LOOP_WRITE;
		loop_change(console->loop, client->fd, events);
	}
}

void console_service(struct console *console)
{
	if (!console->bundle)
		return;
	if (!atomic_exchange(&console->wants_service, false) &&
		console_deadline(console) > host_now())
		return;
	do {
		for (unsigned i = 0; i < CONSOLE_MAX_CLIENTS; i++)
			client_send(&console->clients[i]);
	} while (console_take(console));
	console_type(console);
	console_watch(console);
}

ns_t console_deadline(const struct console *console)
{
	ns_t deadline_ns = CLOCK_NEVER;

	if (!console->bundle)
		return CLOCK_NEVER;
	if (atomic_load(&console->wants_service))
		return 0;
	for (unsigned i = 0; i < CONSOLE_MAX_CLIENTS; i++) {
		const struct console_client *client = &console->clients[i];

		if (client->fd >= 0 && client->stuck_since_ns &&
			client->stuck_since_ns + STUCK_LIMIT_NS < deadline_ns)
			deadline_ns = client->stuck_since_ns + STUCK_LIMIT_NS + NS_PER_MS;
	}
	return deadline_ns;
}

unsigned console_nr_clients(const struct console *console)
{
	unsigned count = 0;

	for (unsigned i = 0; i < CONSOLE_MAX_CLIENTS && console->bundle; i++)
		count += console->clients[i].fd >= 0;
	return count;
}

static void client_ready(void *context, unsigned events)
{
	struct console_client *client = context;
	struct console *console = client->console;
	uint8_t unheard[256];
	bool types = client == console_typist(console);
	ssize_t count;

	atomic_store(&console->wants_service, true);
	if (!(events & LOOP_READ))
		return;
	if (types && console->input_used < console->input_size)
		return;
	count = types ? read(client->fd, console->input, sizeof(console->input))
		      : read(client->fd, unheard, sizeof(unheard));
	if (count < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (count <= 0) {
		client_close(client);
		return;
	}
	if (types) {
		console->input_used = 0;
		console->input_size = (size_t)count;
	}
}

/* Where a new client begins: the first sees everything that is still there, later ones the last
 * lines. */
static size_t console_replay_from(const struct console *console)
{
	size_t kept =
		console->printed < CONSOLE_HISTORY_SIZE ? console->printed : CONSOLE_HISTORY_SIZE;
	size_t from;

	if (console->nr_arrivals == 0 || kept <= REPLAY_BYTES)
		return console->printed - kept;
	from = console->printed - REPLAY_BYTES;
	while (from != console->printed &&
		console->history[(from - 1) % CONSOLE_HISTORY_SIZE] != '\n')
		from++;
	return from;
}

static void console_accept(void *context, unsigned events)
{
	struct console *console = context;
	struct console_client *client = NULL;
	int fd = bundle_accept(console->listen_fd);

	(void)events;
	if (fd < 0)
		return;
	for (unsigned i = 0; i < CONSOLE_MAX_CLIENTS && !client; i++)
		if (console->clients[i].fd < 0)
			client = &console->clients[i];
	if (!client || loop_add(console->loop, fd, LOOP_READ, client_ready, client)) {
		close(fd);
		return;
	}
	client->fd = fd;
	client->sent = console_replay_from(console);
	client->arrival = ++console->nr_arrivals;
	atomic_store(&console->wants_service, true);
}

static int console_open_log(struct console *console, struct error *err)
{
	struct stat status;

	console->log_fd = openat(console->bundle->dir_fd, BUNDLE_CONSOLE_LOG,
		O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (console->log_fd < 0 || fstat(console->log_fd, &status) < 0)
		return error_set_errno(err, EXIT_CODE_CANNOT_WRITE, errno,
			"cannot write %s/" BUNDLE_CONSOLE_LOG, console->bundle->path);
	console->log_size = (size_t)status.st_size;
	return 0;
}

int console_open(struct console *console, const struct bundle *bundle, struct loop *loop,
	struct machine *machine, struct error *err)
{
	int result;

	memset(console, 0, sizeof(*console));
	console->loop = loop;
	console->machine = machine;
	console->bundle = bundle;
	console->log_fd = console->listen_fd = -1;
	timer_init(&console->flush_timer, &machine->clock, console_flush_timer, console);
	for (unsigned i = 0; i < CONSOLE_MAX_CLIENTS; i++)
		console->clients[i] = (struct console_client){ .console = console, .fd = -1 };
	if (console_open_log(console, err))
		return -EINVAL;
	console->listen_fd = bundle_listen(bundle, BUNDLE_CONSOLE);
	if (console->listen_fd < 0)
		return error_set_errno(err, EXIT_CODE_CANNOT_WRITE, -console->listen_fd,
			"cannot listen on %s/" BUNDLE_CONSOLE, bundle->path);
	result = loop_add(loop, console->listen_fd, LOOP_READ, console_accept, console);
	if (result)
		return error_set_errno(
			err, EXIT_CODE_HOST, -result, "cannot watch " BUNDLE_CONSOLE);
	return 0;
}

/* Gives clients a last chance to take what was printed, for a tenth of a second at most. */
static void console_drain(struct console *console)
{
	ns_t limit_ns = host_now() + 100 * NS_PER_MS;
	const struct timespec pause = { .tv_nsec = 2 * NS_PER_MS };

	for (;;) {
		bool left = false;

		for (unsigned i = 0; i < CONSOLE_MAX_CLIENTS; i++) {
			client_send(&console->clients[i]);
			left |= console->clients[i].fd >= 0 &&
				console->clients[i].sent != console->printed;
		}
		if (!console_take(console) && (!left || host_now() > limit_ns))
			return;
		if (left)
			nanosleep(&pause, NULL);
	}
}

void console_close(struct console *console)
{
	if (!console->bundle)
		return;
	console_drain(console);
	machine_lock(console->machine);
	timer_cancel(&console->flush_timer);
	machine_unlock(console->machine);
	for (unsigned i = 0; i < CONSOLE_MAX_CLIENTS; i++)
		client_close(&console->clients[i]);
	if (console->listen_fd >= 0) {
		loop_remove(console->loop, console->listen_fd);
		close(console->listen_fd);
		unlinkat(console->bundle->dir_fd, BUNDLE_CONSOLE, 0);
	}
	if (console->log_fd >= 0)
		close(console->log_fd);
	console->bundle = NULL;
}
