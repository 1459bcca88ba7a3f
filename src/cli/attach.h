/*
 * This terminal as the console of a VM that runs in the background.
 */
#ifndef CLI_ATTACH_H
#define CLI_ATTACH_H

#include "bundle/bundle.h"

enum attach_line {
	ATTACH_SERIAL,
	ATTACH_HVC, /* which is told how large this terminal is */
};

/*
 * Stays until Ctrl-A d, or until the VM ends. Returns the exit code of the command: if the VM ended
 * and `pass_exit` is set, the VM's. Mistakes are printed.
 */
int attach_to_console(const struct bundle *bundle, enum attach_line line, bool pass_exit);

#endif
