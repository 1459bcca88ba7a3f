/*
 * isa-debug-exit, after QEMU's device: a write ends the machine with an exit code, for test images.
 * It has no state.
 */
#ifndef CHIP_DEBUG_EXIT_H
#define CHIP_DEBUG_EXIT_H

#include "machine/machine.h"

/* Ends with (value << 1) | 1, of which a process's exit status keeps eight bits. */
void debug_exit_write(struct machine *machine, uint32_t value);

#endif
