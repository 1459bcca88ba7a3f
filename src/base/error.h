/*
 * A user's mistake, or a failure that a user must hear of: one sentence that names the object and
 * the remedy, and the exit code the process ends with if nobody handles it. Libraries fill it and
 * return a negative errno; only the edges of the process print it.
 */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

/* The exit codes of every atoll command (sysexits.h numbers), documented in atoll(1). */
enum exit_code {
	EXIT_CODE_OK = 0,
	EXIT_CODE_USAGE = 64,        /* the command line cannot be understood */
	EXIT_CODE_BAD_FILE = 65,     /* a file is there, but is not what it should be */
	EXIT_CODE_NO_FILE = 66,      /* a file is not there or cannot be read */
	EXIT_CODE_UNAVAILABLE = 69,  /* the host lacks what was asked for */
	EXIT_CODE_INTERNAL = 70,     /* a bug in atoll */
	EXIT_CODE_HOST = 71,         /* the host refused a resource */
	EXIT_CODE_CANNOT_WRITE = 73, /* an output cannot be created */
	EXIT_CODE_PERMISSION = 77,   /* the host has it, but not for this user */
	EXIT_CODE_CONFIG = 78, /* the options do not fit together, or the guest does not fit */
	EXIT_CODE_TRIPLE_FAULT = 80, /* the guest triple-faulted and may not reboot */
	EXIT_CODE_KILLED = 137,      /* the VM was ended by 'atoll kill' */
};

struct error {
	enum exit_code exit_code;
	char text[512];
};

/*
 * Fills `err` (may be NULL) unless it already holds an error: the first cause is kept.
 * Returns -EINVAL so that a caller can write `return error_set(...)`.
 */
int error_set(struct error *err, enum exit_code exit_code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Like error_set, and ends the sentence with strerror(errno_value); returns -errno_value. */
int error_set_errno(struct error *err, enum exit_code exit_code, int errno_value,
	const char *format, ...) __attribute__((format(printf, 4, 5)));

#endif
