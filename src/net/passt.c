/*
 * User networking: passt, a process of its own, is the guest's router, DHCP and DNS server, and
 * turns its connections into the host user's. Nothing of it needs root.
 *
 * If the process ends it is reported and started again, so that the guest's cable is out for a
 * second; connections through it are lost. It ends by itself when this process does: its socket
 * closes.
 */
#include "net/backend.h"

#include "base/log.h"
#include "base/properties.h"
#include "net/stream.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROGRAM         "passt"
#define PASST_FD        3 /* of the socket in passt */
#define PASST_FD_TEXT   "3"
#define MAX_ARGUMENTS   32
#define MAX_SPEC        512
#define MESSAGE_BYTES   256
#define RESTART_S       1
#define BUFFER_BYTES    (4 << 20) /* of the socket, each way, if the host allows it */
#define DEFAULT_ADDRESS "10.0.2.15"
#define NETWORK_BITS    "24"
#define GATEWAY_HOST    2 /* last byte of the gateway's address... */

extern char **environ;

struct passt {
	struct net_backend backend;
	struct net_stream stream;
	int restart_fd; /* a timer */
	pid_t pid;      /* -1: not running */
	unsigned wanted;
	char address[INET_ADDRSTRLEN], gateway[INET_ADDRSTRLEN];
	char tcp[MAX_SPEC], udp[MAX_SPEC]; /* forwarded ports, as passt takes them */
	char mtu[8];
	FILE *messages; /* what passt said on its standard error */
};

static struct passt *passt_of(struct net_backend *backend)
{
	return (struct passt *)backend;
}

/* The last line that passt wrote, which says why it ended. */
static void last_message(struct passt *passt, char *text, size_t size)
{
	char line[MESSAGE_BYTES];

	snprintf(text, size, "it said nothing");
	rewind(passt->messages);
	while (fgets(line, sizeof(line), passt->messages)) {
		line[strcspn(line, "\n")] = '\0';
		/* Its complaint that there is no system log. */
		if (*line && !strstr(line, "syslog"))
			snprintf(text, size, "%s", line);
	}
}

static unsigned arguments(struct passt *passt, const char *argv[MAX_ARGUMENTS])
{
	unsigned n = 0;

	argv[n++] = PROGRAM;
	argv[n++] = "--foreground";
	argv[n++] = "--quiet";
	argv[n++] = "--stderr";
	argv[n++] = "--fd";
	argv[n++] = PASST_FD_TEXT;
	argv[n++] = "--address";
	argv[n++] = passt->address;
	argv[n++] = "--netmask";
	argv[n++] = NETWORK_BITS;
	argv[n++] = "--gateway";
	argv[n++] = passt->gateway;
	argv[n++] = "--tcp-ports";
	argv[n++] = passt->tcp;
	argv[n++] = "--udp-ports";
	argv[n++] = passt->udp;
	if (*passt->mtu) {
		argv[n++] = "--mtu";
		argv[n++] = passt->mtu;
	}
	argv[n] = NULL;
	return n;
}

/*
 * passt drops frames that its socket does not take, and repeats all that follows the first: by
 * default three of its largest fit. The forced size needs CAP_NET_ADMIN, the other is cut down to
 * what net.core.wmem_max allows.
 */
static void widen(int fd)
{
	const int size = BUFFER_BYTES;

	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) < 0)
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
}

/* Starts passt at the other end of a socket pair. Returns our end or -errno. */
static int spawn(struct passt *passt)
{
	const char *argv[MAX_ARGUMENTS];
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	int ends[2], ret;
	sigset_t none;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
		return -errno;
	widen(ends[0]);
	widen(ends[1]);
	arguments(passt, argv);
	if (ftruncate(fileno(passt->messages), 0) < 0)
		clearerr(passt->messages);
	sigemptyset(&none);
	posix_spawnattr_init(&attributes);
	posix_spawnattr_setsigmask(&attributes, &none);
	/* A terminal's Ctrl-C is the guest's, not passt's. */
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDWR, 0);
	posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_RDWR, 0);
	posix_spawn_file_actions_adddup2(&actions, fileno(passt->messages), STDERR_FILENO);
	posix_spawn_file_actions_adddup2(&actions, ends[1], PASST_FD);
	ret = -posix_spawnp(
		&passt->pid, PROGRAM, &actions, &attributes, (char *const *)argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attributes);
	close(ends[1]);
	if (ret < 0) {
		passt->pid = -1;
		close(ends[0]);
		return ret;
	}
	fcntl(ends[0], F_SETFL, O_NONBLOCK);
	return ends[0];
}

static void arm_restart(struct passt *passt)
{
	const struct itimerspec at = { .it_value.tv_sec = RESTART_S };

	timerfd_settime(passt->restart_fd, 0, &at, NULL);
}

static int status_of(struct passt *passt)
{
	int status = 0;

	/* Its socket is closed: it has ended, or is about to and is not waited for. */
	kill(passt->pid, SIGKILL);
	while (waitpid(passt->pid, &status, 0) < 0 && errno == EINTR)
		;
	passt->pid = -1;
	return status;
}

static void lost(struct passt *passt)
{
	char message[MESSAGE_BYTES];

	if (passt->pid < 0)
		return;
	status_of(passt);
	last_message(passt, message, sizeof(message));
	log_warning("the network is out: passt ended (%s); it is started again", message);
	net_stream_connect(&passt->stream, -1);
	arm_restart(passt);
}

/*
 * Ethernet's least frame is padded, which passt of Debian 12 takes for TCP data. Returns the size
 * without padding of an IP packet in a frame of at most MIN_FRAME bytes.
 */
#define MIN_FRAME 60

static size_t without_padding(const uint8_t *frame, size_t size)
{
	const uint8_t *ip = frame + NET_ETHERNET_HEADER;
	size_t bytes = size;

	if (size >= NET_ETHERNET_HEADER + 20 && frame[12] == 0x08 && frame[13] == 0x00)
		bytes = NET_ETHERNET_HEADER + (size_t)(ip[2] << 8 | ip[3]);
	else if (size >= NET_ETHERNET_HEADER + 40 && frame[12] == 0x86 && frame[13] == 0xdd)
		bytes = NET_ETHERNET_HEADER + 40 + (size_t)(ip[4] << 8 | ip[5]);
	return bytes < size && bytes >= NET_ETHERNET_HEADER + 20 ? bytes : size;
}

static int send_small(struct passt *passt, const struct iovec *iov, unsigned count)
{
	uint8_t frame[MIN_FRAME];
	struct iovec whole = { .iov_base = frame };

	for (unsigned i = 0; i < count; i++) {
		memcpy(frame + whole.iov_len, iov[i].iov_base, iov[i].iov_len);
		whole.iov_len += iov[i].iov_len;
	}
	whole.iov_len = without_padding(frame, whole.iov_len);
	return net_stream_send(&passt->stream, &whole, 1);
}

static size_t size_of(const struct iovec *iov, unsigned count)
{
	size_t size = 0;

	for (unsigned i = 0; i < count; i++)
		size += iov[i].iov_len;
	return size;
}

static int passt_send(struct net_backend *backend, const struct net_header *header,
	const struct iovec *iov, unsigned count)
{
	struct passt *passt = passt_of(backend);
	int ret = size_of(iov, count) <= MIN_FRAME ? send_small(passt, iov, count)
						   : net_stream_send(&passt->stream, iov, count);

	(void)header;
	if (ret == -EPIPE)
		lost(passt);
	return ret;
}

static ssize_t passt_receive(struct net_backend *backend, struct net_header *header, uint8_t *frame)
{
	struct passt *passt = passt_of(backend);
	ssize_t ret = net_stream_receive(&passt->stream, frame);

	/* passt has checked what it sends. */
	header->flags = NET_HEADER_CHECKSUM_VALID;
	if (ret != -EPIPE)
		return ret;
	lost(passt);
	return 0;
}

static void passt_want(struct net_backend *backend, unsigned events)
{
	struct passt *passt = passt_of(backend);

	passt->wanted = events;
	net_backend_watch(backend, passt->stream.fd, events);
}

static void passt_ready(struct net_backend *backend)
{
	struct passt *passt = passt_of(backend);
	uint64_t expirations;
	int fd;

	if (passt->pid >= 0 || read(passt->restart_fd, &expirations, sizeof(expirations)) < 0)
		return;
	fd = spawn(passt);
	if (fd < 0) {
		arm_restart(passt);
		return;
	}
	log_warning("the network is back: passt runs again");
	net_stream_connect(&passt->stream, fd);
	net_backend_watch(backend, fd, passt->wanted);
}

static void passt_destroy(struct net_backend *backend)
{
	struct passt *passt = passt_of(backend);

	net_stream_finish(&passt->stream);
	if (passt->pid >= 0)
		status_of(passt);
	if (passt->restart_fd >= 0)
		close(passt->restart_fd);
	if (passt->messages)
		fclose(passt->messages);
	net_backend_finish(backend);
	free(passt);
}

static const struct net_backend_ops passt_ops = {
	.send = passt_send,
	.receive = passt_receive,
	.want = passt_want,
	.ready = passt_ready,
	.destroy = passt_destroy,
};

static int append(char *list, const char *spec, struct error *err)
{
	size_t used = strlen(list);

	if (used + strlen(spec) + 2 > MAX_SPEC)
		return error_set(err, EXIT_CODE_USAGE,
			"--net forwards too many ports; give fewer, or ranges such as 8000-8099");
	snprintf(list + used, MAX_SPEC - used, "%s%s", used ? "," : "", spec);
	return 0;
}

static bool is_port(const char *text, char end)
{
	char *rest;
	unsigned long port = strtoul(text, &rest, 10);

	return *text >= '0' && *text <= '9' && *rest == end && port >= 1 && port <= 65535;
}

/* tcp:HOST:GUEST; passt takes HOST:GUEST. */
static int parse_forward(struct passt *passt, char *spec, struct error *err)
{
	bool tcp = strncmp(spec, "tcp:", 4) == 0, udp = strncmp(spec, "udp:", 4) == 0;
	const char *ports = spec + 4, *guest = tcp || udp ? strchr(ports, ':') : NULL;

	if (!guest || !is_port(ports, ':') || !is_port(guest + 1, '\0'))
		return error_set(err, EXIT_CODE_USAGE,
			"--net cannot read forward=%s; give tcp:HOST_PORT:GUEST_PORT, or udp:, "
			"such "
			"as tcp:2222:22",
			spec);
	return append(tcp ? passt->tcp : passt->udp, ports, err);
}

static int parse_forwards(struct passt *passt, const char *text, struct error *err)
{
	char *copy, *next;

	if (!text)
		return 0;
	copy = strdup(text);
	for (char *at = copy; at; at = next) {
		next = strchr(at, '+');
		if (next)
			*next++ = '\0';
		if (parse_forward(passt, at, err)) {
			free(copy);
			return -EINVAL;
		}
	}
	free(copy);
	return 0;
}

static int parse_address(struct passt *passt, const char *text, struct error *err)
{
	struct in_addr address;
	uint32_t network;

	if (!text)
		text = DEFAULT_ADDRESS;
	if (inet_pton(AF_INET, text, &address) != 1)
		return error_set(err, EXIT_CODE_USAGE,
			"--net cannot read address=%s; give an IPv4 address, such as %s", text,
			DEFAULT_ADDRESS);
	network = ntohl(address.s_addr) & ~UINT32_C(0xff);
	snprintf(passt->address, sizeof(passt->address), "%s", text);
	address.s_addr = htonl(network | GATEWAY_HOST);
	inet_ntop(AF_INET, &address, passt->gateway, sizeof(passt->gateway));
	return 0;
}

static int parse(struct passt *passt, struct properties *properties, struct error *err)
{
	uint64_t mtu = 0;

	if (parse_address(passt, properties_take(properties, "address"), err) ||
		parse_forwards(passt, properties_take(properties, "forward"), err) ||
		properties_take_number(properties, "mtu", NET_MIN_MTU, 65520, &mtu, err))
		return -EINVAL;
	if (!*passt->tcp)
		strcpy(passt->tcp, "none");
	if (!*passt->udp)
		strcpy(passt->udp, "none");
	if (mtu)
		snprintf(passt->mtu, sizeof(passt->mtu), "%u", (unsigned)mtu);
	passt->backend.mtu = (unsigned)mtu;
	return 0;
}

/* A port that is taken, say, ends passt within milliseconds: a mistake to be told at once. */
static int wait_for_start(struct passt *passt, struct error *err)
{
	static const struct timespec step = { .tv_nsec = 5 * NS_PER_MS };
	enum { STEPS = 20 };
	int status;

	for (unsigned i = 0; i < STEPS; i++) {
		char message[MESSAGE_BYTES];

		if (waitpid(passt->pid, &status, WNOHANG) == passt->pid) {
			passt->pid = -1;
			last_message(passt, message, sizeof(message));
			return error_set(err, EXIT_CODE_HOST,
				"--net user: passt could not start: %s", message);
		}
		nanosleep(&step, NULL);
	}
	return 0;
}

static int start(struct passt *passt, struct error *err)
{
	int fd = spawn(passt);

	if (fd == -ENOENT)
		return error_set(err, EXIT_CODE_UNAVAILABLE,
			"--net user needs the program passt; install the package passt");
	if (fd < 0)
		return error_set_errno(err, EXIT_CODE_HOST, -fd, "--net user cannot start passt");
	net_stream_connect(&passt->stream, fd);
	return wait_for_start(passt, err);
}

int net_passt_open(struct net_backend **backend, struct properties *properties, struct error *err)
{
	struct passt *passt = calloc(1, sizeof(*passt));

	if (!passt)
		return error_set_errno(err, EXIT_CODE_HOST, ENOMEM, "cannot open a network");
	passt->pid = passt->restart_fd = -1;
	passt->stream.fd = -1;
	if (net_backend_init(&passt->backend, &passt_ops, err) || parse(passt, properties, err))
		goto fail;
	passt->messages = tmpfile();
	passt->restart_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (!passt->messages || passt->restart_fd < 0 || net_stream_init(&passt->stream)) {
		error_set_errno(err, EXIT_CODE_HOST, errno, "cannot open a network");
		goto fail;
	}
	fcntl(fileno(passt->messages), F_SETFD, FD_CLOEXEC);
	net_backend_watch(&passt->backend, passt->restart_fd, NET_READ);
	if (start(passt, err))
		goto fail;
	*backend = &passt->backend;
	return 0;
fail:
	passt_destroy(&passt->backend);
	return -EINVAL;
}
