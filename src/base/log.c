#include "base/log.h"

#include "base/trace.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static enum log_level log_threshold = LOG_INFO;
static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;

/* Set before threads are started, or under log_lock. */
static int log_dir_fd = -1; /* -1: messages go where stderr went at the start */
static const char *log_name;

void log_set_level(enum log_level level)
{
	log_threshold = level;
}

/* A new file behind stdout and stderr. */
static void log_open_file(void)
{
	int fd = openat(
		log_dir_fd, log_name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0)
		return;
	dup2(fd, STDOUT_FILENO);
	dup2(fd, STDERR_FILENO);
	close(fd);
}

void log_to_file(int dir_fd, const char *name)
{
	log_dir_fd = dir_fd;
	log_name = name;
	log_open_file();
}

static void log_rotate(void)
{
	char old[64];
	struct stat status;

	pthread_mutex_lock(&log_lock);
	if (fstat(STDERR_FILENO, &status) == 0 && status.st_size > LOG_FILE_BYTES) {
		snprintf(old, sizeof(old), "%s.1", log_name);
		renameat(log_dir_fd, log_name, log_dir_fd, old);
		log_open_file();
	}
	pthread_mutex_unlock(&log_lock);
}

static void log_write(const char *format, va_list args)
{
	char line[1024];

	vsnprintf(line, sizeof(line), format, args);
	if (log_dir_fd >= 0) {
		fprintf(stderr, "atoll: %s\n", line);
		log_rotate();
		return;
	}
	/* \r: stderr may be the terminal that the guest's console has in raw mode. */
	fprintf(stderr, "atoll: %s\r\n", line);
}

void log_message(enum log_level level, const char *format, ...)
{
	va_list args;

	if (level > log_threshold)
		return;
	va_start(args, format);
	log_write(format, args);
	va_end(args);
}

static void trace_guest(const char *format, va_list args)
{
	char line[1024];

	vsnprintf(line, sizeof(line), format, args);
	trace(guest_error, trace_text(line));
}

void log_guest_limited(struct log_limit *limit, const char *format, ...)
{
	struct timespec now;
	ns_t now_ns;
	bool allowed;
	uint64_t dropped = 0;
	va_list args;

	if (trace_is_on(TRACE_CATEGORY_guest)) {
		va_start(args, format);
		trace_guest(format, args);
		va_end(args);
	}
	clock_gettime(CLOCK_MONOTONIC, &now);
	now_ns = now.tv_sec * NS_PER_S + now.tv_nsec;

	pthread_mutex_lock(&log_lock);
	if (now_ns - limit->window_start_ns >= NS_PER_S) {
		limit->window_start_ns = now_ns;
		limit->in_window = 0;
		dropped = limit->dropped;
		limit->dropped = 0;
	}
	allowed = limit->in_window < LOG_GUEST_PER_SECOND;
	if (allowed)
		limit->in_window++;
	else
		limit->dropped++;
	pthread_mutex_unlock(&log_lock);

	if (dropped)
		log_message(
			LOG_WARNING, "%llu similar messages dropped", (unsigned long long)dropped);
	if (!allowed || LOG_WARNING > log_threshold)
		return;
	va_start(args, format);
	log_write(format, args);
	va_end(args);
}
