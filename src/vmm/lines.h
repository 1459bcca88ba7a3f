/*
 * The cables of a PC besides COM1's: COM2 to COM4 and the parallel port, each to a file or a unix
 * socket. Event loop only, but for what vmm/serial.h says.
 */
#ifndef VMM_LINES_H
#define VMM_LINES_H

#include "vmm/serial.h"
#include "vmm/vm.h"

struct lines {
	struct serial *items[BOARD_NR_LINES]; /* NULL: there is no such port */
};

/* Reads what --com2 and the like have. Returns 0, or fills `err`. */
int lines_parse(const char *option, const char *text, struct error *err);

/* What the board is told of them. Returns 0, or fills `err`. */
int lines_describe(struct lines *lines, const struct vm_config *config, struct board_config *board,
	struct error *err);
/* When the board is there. Returns 0, or fills `err`. */
int lines_open(struct lines *lines, const struct vm_config *config, struct loop *loop,
	struct board *board, struct error *err);
void lines_service(struct lines *lines);
/* Takes a zeroed one. */
void lines_close(struct lines *lines);

#endif
