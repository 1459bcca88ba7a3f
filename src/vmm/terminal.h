/*
 * The user's terminal as a guest's console: raw mode, and its restoration whatever happens.
 */
#ifndef VMM_TERMINAL_H
#define VMM_TERMINAL_H

#include "base/error.h"

#include <stdbool.h>
#include <sys/types.h>

struct terminal {
	int fd;        /* -1: not in raw mode */
	int keeper_fd; /* its closing, by our death too, tells the keeper to restore */
	pid_t keeper;
};

/*
 * Puts the terminal behind `fd` into raw mode. A child process, the keeper, holds the former
 * settings and restores them when this process ends, even by SIGKILL. Returns 0 or fills `err`.
 */
int terminal_init(struct terminal *terminal, int fd, struct error *err);

/* Restores, and returns when that is done. Takes a terminal that never was raw. */
void terminal_finish(struct terminal *terminal);

#endif
