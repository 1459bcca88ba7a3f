/*
 * Locks the share server in: root gives up all but the capabilities that files need and the sight
 * of other files (a mount namespace whose root is the share); then, for any user, Landlock confines
 * opening to the share, and a seccomp filter leaves the system calls that serving takes. What the
 * host cannot do is left out: no name leads out of the share even without it (share.h).
 */
#ifndef SHARE_SHARE_SANDBOX_H
#define SHARE_SHARE_SANDBOX_H

#include <stdbool.h>

/* `root` is the shared directory; replaced by the same in the sandbox. Returns 0 or -errno. */
int share_sandbox_enter(int *root, bool read_only);

#endif
