/*
 * Messages for the person who runs atoll. They go to stderr, one line each, prefixed "atoll: ".
 * What a guest does wrong goes through log_guest, which is rate-limited for each call site: a guest
 * must not be able to fill a log or to slow the host by misbehaving.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/types.h"

enum log_level { LOG_ERROR, LOG_WARNING, LOG_INFO, LOG_DEBUG };

/* Messages above `level` are dropped. The default is LOG_INFO. */
void log_set_level(enum log_level level);

/*
 * Messages, and everything else that is printed on stdout and stderr, go to the end of a file from
 * now on. Past LOG_FILE_BYTES it becomes NAME.1, which is replaced. `dir_fd` stays open. If the
 * file cannot be written, messages stay where they went.
 */
#define LOG_FILE_BYTES (1 << 20)
void log_to_file(int dir_fd, const char *name);

void log_message(enum log_level level, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

#define log_error(...)   log_message(LOG_ERROR, __VA_ARGS__)
#define log_warning(...) log_message(LOG_WARNING, __VA_ARGS__)
#define log_info(...)    log_message(LOG_INFO, __VA_ARGS__)
#define log_debug(...)   log_message(LOG_DEBUG, __VA_ARGS__)

/* One for each call site of log_guest; zero-initialised. Any thread. */
struct log_limit {
	ns_t window_start_ns;
	uint32_t in_window;
	uint64_t dropped;
};

void log_guest_limited(struct log_limit *limit, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* At most LOG_GUEST_PER_SECOND messages a second for each call site; the rest are counted. */
#define LOG_GUEST_PER_SECOND 5
#define log_guest(...)                                                                             \
	do {                                                                                       \
		static struct log_limit log_limit_;                                                \
		log_guest_limited(&log_limit_, __VA_ARGS__);                                       \
	} while (0)

#endif
