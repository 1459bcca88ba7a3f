#include "base/log.h"

#include "base/trace.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

static enum log_level log_threshold = LOG_INFO;
static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;

void log_set_level(enum log_level level)
{
	log_threshold = level;
}

static void log_write(const char *format, va_list args)
{
	char line[1024];

	vsnprintf(line, sizeof(line), format, args);
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
