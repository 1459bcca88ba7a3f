#include "vmm/serial.h"

#include "base/host_time.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define FLUSH_DELAY_NS  (2 * NS_PER_MS)
#define FLUSH_THRESHOLD 512
#define KEY_ESCAPE      1 /* Ctrl-A */

static size_t ring_used(const struct serial *serial)
{
	return serial->ring_head - serial->ring_tail;
}

/* Sends what the outside takes now. Under the machine lock. */
static void serial_flush(struct serial *serial)
{
	while (ring_used(serial) > 0 && serial->out_fd >= 0) {
		size_t at = serial->ring_tail % SERIAL_RING_SIZE;
		size_t count = ring_used(serial);
		ssize_t written;

		if (count > SERIAL_RING_SIZE - at)
			count = SERIAL_RING_SIZE - at;
		written = write(serial->out_fd, serial->ring + at, count);
		if (written < 0 && errno == EINTR)
			continue;
		if (written < 0 && errno == EAGAIN) {
			serial->blocked = true;
			atomic_store(&serial->wants_service, true);
			loop_wake(serial->loop);
			return;
		}
		/* A closed pipe or a full disk: the guest goes on, its output is lost. */
		if (written < 0) {
			log_guest("the serial console cannot be written: %s", strerror(errno));
			written = (ssize_t)count;
		}
		serial->ring_tail += (size_t)written;
	}
	serial->blocked = false;
}

static void serial_flush_timer(void *context)
{
	serial_flush(context);
}

static size_t serial_write(void *context, const uint8_t *bytes, size_t count)
{
	struct serial *serial = context;
	size_t room = SERIAL_RING_SIZE - ring_used(serial);
	bool line_end = false;

	if (!serial->first_output_ns && count > 0)
		serial->first_output_ns = host_now();
	if (serial->kind == SERIAL_NONE)
		return count;
	/* Nobody listens on the socket: keep the newest output for who comes. */
	if (serial->out_fd < 0 && room < count) {
		serial->ring_tail += count - room;
		room = count;
	}
	if (room < count) {
		serial->refused = true;
		count = room;
	}
	for (size_t i = 0; i < count; i++) {
		serial->ring[serial->ring_head++ % SERIAL_RING_SIZE] = bytes[i];
		line_end |= bytes[i] == '\n';
	}
	if (serial->blocked)
		return count;
	if (line_end || ring_used(serial) >= FLUSH_THRESHOLD)
		serial_flush(serial);
	else if (!timer_is_armed(&serial->flush_timer))
		timer_arm(
			&serial->flush_timer, clock_now(&serial->machine->clock) + FLUSH_DELAY_NS);
	return count;
}

static void serial_wants_input(void *context)
{
	struct serial *serial = context;

	if (!serial->machine)
		return; /* not open yet */
	atomic_store(&serial->wants_service, true);
	loop_wake(serial->loop);
}

static void print_keys(void)
{
	fputs("\r\natoll: Ctrl-A x  end the virtual machine\r\n"
	      "atoll: Ctrl-A p  press the power button\r\n"
	      "atoll: Ctrl-A r  press the reset button\r\n"
	      "atoll: Ctrl-A h  this list\r\n"
	      "atoll: Ctrl-A Ctrl-A  send Ctrl-A\r\n",
		stderr);
}

/* The key after Ctrl-A; true if it goes to the guest. */
static bool serial_escape_key(struct serial *serial, uint8_t key)
{
	switch (key) {
	case KEY_ESCAPE: return true;
	case 'x': serial->key(serial->key_context, SERIAL_KEY_QUIT); break;
	case 'p': serial->key(serial->key_context, SERIAL_KEY_POWER); break;
	case 'r': serial->key(serial->key_context, SERIAL_KEY_RESET); break;
	default: print_keys();
	}
	return false;
}

/* Takes Ctrl-A and the keys after it out of the input; terminals only. */
static size_t serial_filter_keys(struct serial *serial, uint8_t *bytes, size_t count)
{
	size_t kept = 0;

	for (size_t i = 0; i < count; i++) {
		if (serial->escaped) {
			serial->escaped = false;
			if (serial_escape_key(serial, bytes[i]))
				bytes[kept++] = bytes[i];
		} else if (bytes[i] == KEY_ESCAPE) {
			serial->escaped = true;
		} else {
			bytes[kept++] = bytes[i];
		}
	}
	return kept;
}

static void serial_in_ready(void *context, unsigned events);

static void serial_drop_client(struct serial *serial)
{
	loop_remove(serial->loop, serial->in_fd);
	machine_lock(serial->machine);
	close(serial->in_fd);
	serial->in_fd = serial->out_fd = -1;
	serial->blocked = false;
	machine_unlock(serial->machine);
}

/* No more input will come from here. */
static void serial_in_end(struct serial *serial)
{
	if (serial->kind == SERIAL_UNIX) {
		serial_drop_client(serial);
		return;
	}
	loop_remove(serial->loop, serial->in_fd);
	serial->in_ended = true;
}

static void serial_in_ready(void *context, unsigned events)
{
	struct serial *serial = context;
	ssize_t count;

	if (events & LOOP_WRITE) {
		machine_lock(serial->machine);
		serial_flush(serial);
		machine_unlock(serial->machine);
		atomic_store(&serial->wants_service, true);
	}
	if (!(events & LOOP_READ) || serial->input_used < serial->input_size)
		return;
	count = read(serial->in_fd, serial->input, sizeof(serial->input));
	if (count < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (count <= 0) {
		serial_in_end(serial);
		return;
	}
	serial->input_used = 0;
	serial->input_size = (size_t)count;
	if (serial->terminal.fd >= 0)
		serial->input_size = serial_filter_keys(serial, serial->input, (size_t)count);
	atomic_store(&serial->wants_service, true);
}

static void serial_out_ready(void *context, unsigned events)
{
	struct serial *serial = context;

	(void)events;
	machine_lock(serial->machine);
	serial_flush(serial);
	machine_unlock(serial->machine);
	atomic_store(&serial->wants_service, true);
}

static void serial_accept(void *context, unsigned events)
{
	struct serial *serial = context;
	int fd = accept4(serial->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)events;
	if (fd < 0)
		return;
	/* One client at a time; a new one takes over, as the old may have died unseen. */
	if (serial->in_fd >= 0)
		serial_drop_client(serial);
	if (loop_add(serial->loop, fd, LOOP_READ, serial_in_ready, serial) < 0) {
		close(fd);
		return;
	}
	machine_lock(serial->machine);
	serial->in_fd = serial->out_fd = fd;
	serial->input_size = serial->input_used = 0;
	serial_flush(serial);
	machine_unlock(serial->machine);
}

struct char_line serial_line(struct serial *serial)
{
	return (struct char_line){
		.write = serial_write, .room = serial_wants_input, .context = serial
	};
}

/* Moves input into the UART, and says what the descriptors have to be watched for. */
void serial_service(struct serial *serial)
{
	bool blocked;

	if (!atomic_exchange(&serial->wants_service, false))
		return;
	machine_lock(serial->machine);
	if (serial->input_used < serial->input_size)
		serial->input_used += board_line_receive(serial->board, serial->line,
			serial->input + serial->input_used,
			serial->input_size - serial->input_used);
	blocked = serial->blocked;
	if (serial->refused && ring_used(serial) < SERIAL_RING_SIZE / 2) {
		serial->refused = false;
		board_line_writable(serial->board, serial->line);
	}
	machine_unlock(serial->machine);

	if (serial->in_fd >= 0 && !serial->in_ended) {
		unsigned events = serial->input_used < serial->input_size ? 0 : LOOP_READ;

		if (blocked && serial->in_fd == serial->out_fd)
			events |= LOOP_WRITE;
		loop_change(serial->loop, serial->in_fd, events);
	}
	if (serial->out_fd >= 0 && serial->out_fd != serial->in_fd && serial->kind == SERIAL_STDIO)
		loop_change(serial->loop, serial->out_fd, blocked ? LOOP_WRITE : 0);
}

int serial_parse(const char *text, enum serial_kind *kind, const char **path, struct error *err)
{
	*path = NULL;
	if (strcmp(text, "none") == 0) {
		*kind = SERIAL_NONE;
	} else if (strcmp(text, "stdio") == 0) {
		*kind = SERIAL_STDIO;
	} else if (strcmp(text, "console") == 0) {
		*kind = SERIAL_CONSOLE;
	} else if (strncmp(text, "file:", 5) == 0 && text[5]) {
		*kind = SERIAL_FILE;
		*path = text + 5;
	} else if (strncmp(text, "unix:", 5) == 0 && text[5]) {
		*kind = SERIAL_UNIX;
		*path = text + 5;
	} else {
		return error_set(err, EXIT_CODE_USAGE,
			"--serial does not know '%s'; use stdio, none, console, file:PATH or "
			"unix:PATH",
			text);
	}
	return 0;
}

/*
 * A non-blocking descriptor of our own for a standard stream: O_NONBLOCK set on the inherited one
 * would hold for every process that shares it.
 */
static int reopen_stream(int fd, int flags)
{
	char name[32];
	int own;

	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	own = open(name, flags | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	return own >= 0 ? own : fcntl(fd, F_DUPFD_CLOEXEC, 3);
}

static bool is_regular_file(int fd)
{
	struct stat status;

	return fstat(fd, &status) == 0 && S_ISREG(status.st_mode);
}

static int serial_open_stdio(struct serial *serial, struct error *err)
{
	/* A file that is appended to or shared must keep its one offset. */
	serial->out_fd = is_regular_file(STDOUT_FILENO) ? fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3)
							: reopen_stream(STDOUT_FILENO, O_WRONLY);
	serial->in_fd = is_regular_file(STDIN_FILENO) ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3)
						      : reopen_stream(STDIN_FILENO, O_RDONLY);
	if (serial->out_fd < 0)
		return error_set(err, EXIT_CODE_CANNOT_WRITE,
			"standard output is closed; use --serial none or file:PATH");
	if (loop_add(serial->loop, serial->out_fd, LOOP_WRITE, serial_out_ready, serial) == 0)
		loop_change(serial->loop, serial->out_fd, 0);
	if (serial->in_fd < 0)
		return 0;
	if (isatty(STDIN_FILENO) && terminal_init(&serial->terminal, STDIN_FILENO, err))
		return -1;
	if (loop_add(serial->loop, serial->in_fd, LOOP_READ, serial_in_ready, serial) < 0)
		serial->in_ended = true;
	return 0;
}

static int serial_open_unix(struct serial *serial, struct error *err)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct stat status;

	if (strlen(serial->path) >= sizeof(address.sun_path))
		return error_set(err, EXIT_CODE_USAGE,
			"--serial unix:%s: the path is too long for a socket; choose one under %zu "
			"bytes",
			serial->path, sizeof(address.sun_path));
	strcpy(address.sun_path, serial->path);
	/* A socket left by a VM that was killed is replaced; anything else is not ours. */
	if (lstat(serial->path, &status) == 0 && S_ISSOCK(status.st_mode))
		unlink(serial->path);
	serial->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (serial->listen_fd < 0 ||
		bind(serial->listen_fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
		listen(serial->listen_fd, 1) < 0)
		return error_set_errno(err, EXIT_CODE_CANNOT_WRITE, errno,
			"cannot listen on the socket %s; choose another with --serial unix:PATH",
			serial->path);
	return loop_add(serial->loop, serial->listen_fd, LOOP_READ, serial_accept, serial);
}

int serial_open(struct serial *serial, const char *text, struct loop *loop, struct machine *machine,
	struct error *err)
{
	memset(serial, 0, sizeof(*serial));
	serial->loop = loop;
	serial->machine = machine;
	serial->in_fd = serial->out_fd = serial->listen_fd = -1;
	serial->terminal = (struct terminal){ .fd = -1, .keeper_fd = -1, .keeper = -1 };
	timer_init(&serial->flush_timer, &machine->clock, serial_flush_timer, serial);
	if (serial_parse(text, &serial->kind, &serial->path, err))
		return -1;

	switch (serial->kind) {
	case SERIAL_STDIO: return serial_open_stdio(serial, err);
	case SERIAL_UNIX: return serial_open_unix(serial, err);
	case SERIAL_FILE:
		serial->out_fd = open(serial->path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
		if (serial->out_fd < 0)
			return error_set_errno(err, EXIT_CODE_CANNOT_WRITE, errno,
				"cannot write %s; choose another file with --serial file:PATH",
				serial->path);
		return 0;
	case SERIAL_CONSOLE:
		return error_set(err, EXIT_CODE_CONFIG,
			"--serial console is for a VM with a name; give it one with --name NAME");
	case SERIAL_NONE: break;
	}
	return 0;
}

void serial_close(struct serial *serial)
{
	ns_t limit_ns = host_now() + NS_PER_S;

	if (!serial->machine)
		return;
	machine_lock(serial->machine);
	serial_flush(serial);
	while (serial->blocked && serial->out_fd >= 0 && host_now() < limit_ns) {
		struct pollfd writable = { .fd = serial->out_fd, .events = POLLOUT };

		poll(&writable, 1, 50);
		serial_flush(serial);
	}
	timer_cancel(&serial->flush_timer);
	machine_unlock(serial->machine);

	terminal_finish(&serial->terminal);
	if (serial->in_fd >= 0)
		loop_remove(serial->loop, serial->in_fd);
	if (serial->out_fd >= 0)
		loop_remove(serial->loop, serial->out_fd);
	if (serial->listen_fd >= 0) {
		loop_remove(serial->loop, serial->listen_fd);
		close(serial->listen_fd);
		unlink(serial->path);
	}
	if (serial->in_fd >= 0)
		close(serial->in_fd);
	if (serial->out_fd >= 0 && serial->out_fd != serial->in_fd)
		close(serial->out_fd);
	serial->machine = NULL;
}
