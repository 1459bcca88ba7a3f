/*
 * See debug_exit.h. Under the machine lock.
 */
#include "chip/debug_exit.h"

void debug_exit_write(struct machine *machine, uint32_t value)
{
	machine->exit_code = (int)((value << 1 | 1) & 0xff);
	machine_request(machine, MACHINE_REQUEST_DEBUG_EXIT);
}
