/*
 * atoll console, and start --attach.
 */
#include "cli/attach.h"

#include "base/log.h"
#include "bundle/control_client.h"
#include "cli/command.h"
#include "vmm/terminal.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define KEY_ESCAPE 1 /* Ctrl-A */

struct attachment {
	const struct bundle *bundle;
	int socket_fd;
	int resized_fd;   /* of SIGWINCH, if somebody has to hear of it; -1: nobody */
	bool input_ended; /* a pipe's end; the output goes on */
	bool escaped;     /* the last key was Ctrl-A */
	bool detached;
	struct terminal terminal;
};

static bool write_all(int fd, const char *bytes, size_t size)
{
	while (size > 0) {
		ssize_t count = write(fd, bytes, size);

		if (count < 0 && errno == EINTR)
			continue;
		if (count < 0 && errno == EAGAIN) {
			struct pollfd writable = { .fd = fd, .events = POLLOUT };

			poll(&writable, 1, -1);
			continue;
		}
		if (count <= 0)
			return false;
		bytes += count;
		size -= (size_t)count;
	}
	return true;
}

/* The key after Ctrl-A; true if it goes to the guest. */
static bool attachment_key(struct attachment *attachment, char key)
{
	if (key == KEY_ESCAPE)
		return true;
	if (key == 'd' || key == 'x')
		attachment->detached = true;
	else
		fputs("\r\natoll: Ctrl-A d  leave the console; the VM goes on\r\n"
		      "atoll: Ctrl-A h  this list\r\n"
		      "atoll: Ctrl-A Ctrl-A  send Ctrl-A\r\n",
			stderr);
	return false;
}

static size_t attachment_filter(struct attachment *attachment, char *bytes, size_t count)
{
	size_t kept = 0;

	for (size_t i = 0; i < count && !attachment->detached; i++) {
		if (attachment->escaped) {
			attachment->escaped = false;
			if (attachment_key(attachment, bytes[i]))
				bytes[kept++] = bytes[i];
		} else if (bytes[i] == KEY_ESCAPE) {
			attachment->escaped = true;
		} else {
			bytes[kept++] = bytes[i];
		}
	}
	return kept;
}

static void attachment_input(struct attachment *attachment)
{
	char bytes[4096];
	ssize_t count = read(STDIN_FILENO, bytes, sizeof(bytes));

	if (count < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (count <= 0) {
		attachment->input_ended = true;
		return;
	}
	if (attachment->terminal.fd >= 0)
		count = (ssize_t)attachment_filter(attachment, bytes, (size_t)count);
	for (size_t sent = 0; sent < (size_t)count;) {
		ssize_t part = send(
			attachment->socket_fd, bytes + sent, (size_t)count - sent, MSG_NOSIGNAL);

		if (part <= 0 && errno != EINTR)
			return;
		sent += part > 0 ? (size_t)part : 0;
	}
}

/* False when the VM is gone, or nobody reads us. */
static bool attachment_output(const struct attachment *attachment)
{
	char bytes[16384];
	ssize_t count = read(attachment->socket_fd, bytes, sizeof(bytes));

	if (count < 0 && errno == EINTR)
		return true;
	return count > 0 && write_all(STDOUT_FILENO, bytes, (size_t)count);
}

/* Tells the VM how large this terminal is; who cannot be told has the size of before. */
static void attachment_tell_size(const struct attachment *attachment)
{
	struct control_client client;
	struct error err = { 0 };
	struct winsize size;

	if (ioctl(STDIN_FILENO, TIOCGWINSZ, &size) < 0 || !size.ws_col || !size.ws_row ||
		control_connect(&client, attachment->bundle, CONTROL_PATIENCE_NS, &err))
		return;
	control_call(&client, "console-size",
		json_pack("{s:i, s:i}", "columns", size.ws_col, "rows", size.ws_row), NULL, &err);
	control_disconnect(&client);
}

static void attachment_resized(const struct attachment *attachment)
{
	struct signalfd_siginfo signal;

	if (read(attachment->resized_fd, &signal, sizeof(signal)) == sizeof(signal))
		attachment_tell_size(attachment);
}

static void attachment_watch_size(struct attachment *attachment)
{
	sigset_t signals;

	sigemptyset(&signals);
	sigaddset(&signals, SIGWINCH);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	attachment->resized_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
	attachment_tell_size(attachment);
}

static void attachment_serve(struct attachment *attachment)
{
	struct pollfd ready[3];

	do {
		ready[0] = (struct pollfd){ .fd = attachment->socket_fd, .events = POLLIN };
		ready[1] = (struct pollfd){ .fd = attachment->input_ended ? -1 : STDIN_FILENO,
			.events = POLLIN };
		ready[2] = (struct pollfd){ .fd = attachment->resized_fd, .events = POLLIN };
		if (poll(ready, 3, -1) < 0)
			continue;
		if (ready[2].revents)
			attachment_resized(attachment);
		if (ready[1].revents)
			attachment_input(attachment);
		if (ready[0].revents && !attachment_output(attachment))
			return;
	} while (!attachment->detached);
}

/* The process writes down its exit code after its console closes. */
static int wait_for_exit(const struct bundle *bundle)
{
	const struct timespec pause = { .tv_nsec = 5000000 };

	for (unsigned i = 0; i < 2000 && bundle_is_running(bundle, NULL); i++)
		nanosleep(&pause, NULL);
	return bundle_last_exit(bundle);
}

int attach_to_console(const struct bundle *bundle, enum attach_line line, bool pass_exit)
{
	struct attachment attachment = { .bundle = bundle,
		.resized_fd = -1,
		.terminal = { .fd = -1, .keeper_fd = -1, .keeper = -1 } };
	struct error err = { 0 };
	int exit_code;

	attachment.socket_fd =
		bundle_connect(bundle, line == ATTACH_HVC ? BUNDLE_HVC : BUNDLE_CONSOLE);
	if (attachment.socket_fd < 0) {
		/* It may have ended already, all said and done. */
		if (pass_exit && !bundle_is_running(bundle, NULL))
			return wait_for_exit(bundle) < 0 ? EXIT_CODE_INTERNAL
							 : bundle_last_exit(bundle);
		if (!bundle_is_running(bundle, NULL))
			log_error("the VM '%s' is not running; 'atoll start %s' starts it",
				bundle->name, bundle->name);
		else if (line == ATTACH_HVC)
			log_error("the VM '%s' has no hvc0 to attach to; start it with --console "
				  "attach",
				bundle->name);
		else
			log_error("the console of the VM '%s' is not here; its 'serial' option "
				  "sends it elsewhere",
				bundle->name);
		return EXIT_CODE_CONFIG;
	}
	if (isatty(STDIN_FILENO)) {
		log_info("this is the console of '%s'; Ctrl-A d leaves it", bundle->name);
		terminal_init(&attachment.terminal, STDIN_FILENO, &err);
		if (line == ATTACH_HVC)
			attachment_watch_size(&attachment);
	}
	if (err.exit_code) {
		log_error("%s", err.text);
		close(attachment.socket_fd);
		return err.exit_code;
	}
	attachment_serve(&attachment);
	terminal_finish(&attachment.terminal);
	close(attachment.socket_fd);
	if (attachment.resized_fd >= 0)
		close(attachment.resized_fd);
	if (attachment.detached) {
		fputc('\n', stderr);
		log_info("left the console; the VM '%s' goes on", bundle->name);
		return EXIT_CODE_OK;
	}
	exit_code = wait_for_exit(bundle);
	if (bundle_is_running(bundle, NULL)) {
		log_warning("the VM '%s' closed this console, which did not take its output",
			bundle->name);
		return EXIT_CODE_UNAVAILABLE;
	}
	return pass_exit && exit_code >= 0 ? exit_code : EXIT_CODE_OK;
}

static int set_hvc(void *target, const char *value, struct error *err)
{
	(void)value;
	(void)err;
	*(enum attach_line *)target = ATTACH_HVC;
	return 0;
}

const struct option_spec console_option_table[] = {
	{ "hvc", NULL,
		"The VM's second console (--console attach), hvc0 in the guest, which is told how "
		"large this terminal is.",
		NULL, COMPLETE_NOTHING, NULL, set_hvc },
	{ 0 },
};

int console_main(const struct command *command, int argc, char **argv)
{
	enum attach_line line = ATTACH_SERIAL;
	struct bundle bundle = { 0 };
	struct error err = { 0 };
	int nr_operands, exit_code;
	bool help;

	if (options_parse(command, argc, argv, &line, &nr_operands, &help, &err) == 0) {
		if (help) {
			command_print_help(stdout, command);
			return EXIT_CODE_OK;
		}
		if (nr_operands != 1)
			error_set(&err, EXIT_CODE_USAGE,
				"one VM has to be named: atoll console NAME; 'atoll ls' lists "
				"them");
		else if (bundle_open(&bundle, argv[0], &err) == 0) {
			exit_code = attach_to_console(&bundle, line, false);
			bundle_close(&bundle);
			return exit_code;
		}
	}
	log_error("%s", err.text);
	return err.exit_code;
}
