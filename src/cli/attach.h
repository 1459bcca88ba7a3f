/*
 * This terminal as the console of a VM that runs in the background.
 */
#ifndef CLI_ATTACH_H
#define CLI_ATTACH_H

#include "bundle/bundle.h"

/*
 * Stays until Ctrl-A d, or until the VM ends. Returns the exit code of the command: if the VM ended
 * and `pass_exit` is set, the VM's. Mistakes are printed.
 */
int attach_to_console(const struct bundle *bundle, bool pass_exit);

#endif
