#include "vmm/terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

/* Closes every descriptor but two: the keeper must not hold the VM's sockets or pipes open. */
static void keep_only(int a, int b)
{
	unsigned low = (unsigned)(a < b ? a : b), high = (unsigned)(a < b ? b : a);

	if (low > 0)
		close_range(0, low - 1, 0);
	if (high > low + 1)
		close_range(low + 1, high - 1, 0);
	close_range(high + 1, ~0u, 0);
}

/* In the child: waits for the other end of the pipe to close, restores, and leaves. */
static _Noreturn void keeper_main(int terminal_fd, int pipe_fd, const struct termios *former)
{
	sigset_t all;
	char byte;

	/* A session of its own: neither the terminal's signals nor its job control reach it. */
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL);
	setsid();
	prctl(PR_SET_NAME, "atoll-tty");
	keep_only(terminal_fd, pipe_fd);
	while (read(pipe_fd, &byte, 1) < 0 && errno == EINTR)
		;
	tcsetattr(terminal_fd, TCSADRAIN, former);
	_exit(0);
}

int terminal_init(struct terminal *terminal, int fd, struct error *err)
{
	struct termios former, raw;
	int ends[2];

	*terminal = (struct terminal){ .fd = -1, .keeper_fd = -1, .keeper = -1 };
	if (tcgetattr(fd, &former) < 0)
		return error_set_errno(
			err, EXIT_CODE_HOST, errno, "cannot read the terminal's settings");
	if (pipe2(ends, O_CLOEXEC) < 0)
		return error_set_errno(err, EXIT_CODE_HOST, errno, "cannot make a pipe");
	terminal->keeper = fork();
	if (terminal->keeper < 0) {
		close(ends[0]);
		close(ends[1]);
		return error_set_errno(err, EXIT_CODE_HOST, errno, "cannot start a process");
	}
	if (terminal->keeper == 0)
		keeper_main(fd, ends[0], &former);
	close(ends[0]);
	terminal->fd = fd;
	terminal->keeper_fd = ends[1];

	raw = former;
	cfmakeraw(&raw);
	if (tcsetattr(fd, TCSADRAIN, &raw) < 0) {
		int error = errno;

		terminal_finish(terminal);
		return error_set_errno(
			err, EXIT_CODE_HOST, error, "cannot put the terminal into raw mode");
	}
	return 0;
}

void terminal_finish(struct terminal *terminal)
{
	if (terminal->fd < 0)
		return;
	close(terminal->keeper_fd);
	while (waitpid(terminal->keeper, NULL, 0) < 0 && errno == EINTR)
		;
	*terminal = (struct terminal){ .fd = -1, .keeper_fd = -1, .keeper = -1 };
}
