/*
 * The serial console of a VM that runs in the background: a socket in its bundle that people
 * attach to and detach from, and a log.
 *
 * The guest's bytes come on a vCPU thread under the machine lock and are gathered in a ring; the
 * event loop's thread moves them into the history, from which the log and each client are served.
 * A client that does not read holds the guest back until it has taken nothing for five seconds;
 * then it is cut off. Everybody attached sees the output; who attached last has the keyboard, and
 * gives it back by leaving.
 */
#ifndef VMM_CONSOLE_H
#define VMM_CONSOLE_H

#include "base/loop.h"
#include "board/board.h"
#include "bundle/bundle.h"
#include "machine/machine.h"

#include <stdatomic.h>

#define CONSOLE_RING_SIZE    65536 /* powers of two */
#define CONSOLE_HISTORY_SIZE 65536
#define CONSOLE_INPUT_SIZE   4096
#define CONSOLE_MAX_CLIENTS  8
#define CONSOLE_LOG_BYTES    (1 << 20) /* then it becomes console.log.1 */

struct console_client {
	struct console *console;
	int fd;              /* -1: free */
	unsigned arrival;    /* the highest has the keyboard */
	size_t sent;         /* of what was printed, free-running like `printed` */
	ns_t stuck_since_ns; /* CLOCK_MONOTONIC; 0: it takes what it is given */
};

struct console {
	struct loop *loop;
	struct machine *machine;
	struct board *board;         /* whose COM1 this is; set before the first vCPU runs */
	const struct bundle *bundle; /* NULL: not open */

	/* Event loop only. */
	int listen_fd, log_fd;
	size_t log_size;
	struct console_client clients[CONSOLE_MAX_CLIENTS];
	unsigned nr_arrivals;
	uint8_t history[CONSOLE_HISTORY_SIZE];
	size_t printed; /* bytes that went into the history; free-running */
	uint8_t input[CONSOLE_INPUT_SIZE];
	size_t input_size, input_used;

	/* Machine lock. */
	uint8_t ring[CONSOLE_RING_SIZE];
	size_t ring_head, ring_tail; /* written up to head, taken up to tail; free-running */
	bool refused;                /* the UART waits for room */
	struct timer flush_timer;
	ns_t first_output_ns; /* CLOCK_MONOTONIC of the first byte; 0: none yet */

	/* Any thread. */
	_Atomic bool wants_service;
};

/* What the UART is to be connected to; also before console_open. */
struct char_line console_line(struct console *console);

/* Listens and opens the log. `console` must stay where it is. Returns 0 or fills `err`. */
int console_open(struct console *console, const struct bundle *bundle, struct loop *loop,
	struct machine *machine, struct error *err);
/* Writes out what is left, removes the socket. Takes one that is zeroed. */
void console_close(struct console *console);

/* Called by the loop's owner after each round. */
void console_service(struct console *console);
/* When it has to be called next though nothing happens: CLOCK_MONOTONIC, or CLOCK_NEVER. */
ns_t console_deadline(const struct console *console);

unsigned console_nr_clients(const struct console *console);

#endif
