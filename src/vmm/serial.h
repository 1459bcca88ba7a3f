/*
 * The outside end of a serial line: the terminal, a file, a unix socket, or nothing.
 *
 * The guest's bytes come on a vCPU thread under the machine lock, which never blocks: they are
 * gathered, and written at a line's end, when there are many, or a moment later. What the outside
 * cannot take waits in a ring; when that is full, the UART is refused and holds its transmitter
 * busy, so that nothing is lost. Input is read only as far as the UART
 * has room. All else runs on the event loop's thread.
 */
#ifndef VMM_SERIAL_H
#define VMM_SERIAL_H

#include "base/error.h"
#include "base/loop.h"
#include "board/board.h"
#include "machine/machine.h"
#include "vmm/terminal.h"

#include <stdatomic.h>

#define SERIAL_RING_SIZE  65536 /* a power of two */
#define SERIAL_INPUT_SIZE 4096

enum serial_kind { SERIAL_NONE, SERIAL_STDIO, SERIAL_FILE, SERIAL_UNIX, SERIAL_CONSOLE };

/* What a person asks for with Ctrl-A. */
enum serial_key { SERIAL_KEY_QUIT, SERIAL_KEY_POWER, SERIAL_KEY_RESET };

struct serial {
	enum serial_kind kind;
	const char *path; /* of the file or socket */
	struct loop *loop;
	struct machine *machine;
	struct board *board; /* whose port this is; set before the first vCPU runs */
	enum board_line line;
	void (*key)(void *context, enum serial_key key);
	void *key_context;
	struct terminal terminal;

	/* Event loop only. */
	int in_fd, out_fd, listen_fd; /* -1: none */
	uint8_t input[SERIAL_INPUT_SIZE];
	size_t input_size, input_used;
	bool escaped; /* the last key was Ctrl-A */
	bool in_ended;

	/* Machine lock. */
	uint8_t ring[SERIAL_RING_SIZE];
	size_t ring_head, ring_tail; /* written up to head, sent up to tail; free-running */
	bool blocked;                /* the outside took less than offered */
	bool refused;                /* the UART waits for room */
	struct timer flush_timer;
	ns_t first_output_ns; /* CLOCK_MONOTONIC of the first byte; 0: none yet */

	/* Any thread. */
	_Atomic bool wants_service; /* serial_service has something to do */
};

/* Reads "stdio", "none", "console" (which is vmm/console.h's), "file:PATH" or "unix:PATH". */
int serial_parse(const char *text, enum serial_kind *kind, const char **path, struct error *err);

/*
 * Opens the outside end; stdio on a terminal goes to raw mode. `serial` must stay where it is.
 */
int serial_open(struct serial *serial, const char *text, struct loop *loop, struct machine *machine,
	struct error *err);
/* Writes out what is left (waiting at most a second), restores the terminal. */
void serial_close(struct serial *serial);

/* What the UART is to be connected to. */
struct char_line serial_line(struct serial *serial);

/* Called by the loop's owner after each round. */
void serial_service(struct serial *serial);

#endif
