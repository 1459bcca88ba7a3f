/*
 * A VM that has a name is a directory, its bundle: everything that makes up the VM lies there, so
 * that it can be looked at, copied and removed as one.
 *
 *	$ATOLL_HOME/vms/NAME/     ($ATOLL_HOME: by default $XDG_DATA_HOME/atoll,
 *~/.local/share/atoll) vm.yaml           the options, one key for each (spec.h) lock locked by the
 *VM's process while it lives; holds its number exit              how it ended last: the exit code
 *		control.sock      the control protocol (docs/control-protocol.md)
 *		console.sock      the serial console
 *		agent.sock        the line to the guest agent
 *		vnc.sock          the screen, for VNC viewers
 *		uefi-vars.fd      the variables of UEFI
 *		id_ed25519        the key of 'atoll ssh', if the VM is one of the catalogue
 *		console.log       what the guest printed there
 *		atoll.log         what atoll has to say
 *
 * The lock is one of the open file description, so it goes from the process that starts a VM to
 * the one that runs it, and ends with the last of them whatever happens.
 */
#ifndef BUNDLE_BUNDLE_H
#define BUNDLE_BUNDLE_H

#include "base/error.h"

#include <stdbool.h>
#include <sys/types.h>

#define BUNDLE_NAME_MAX 63

#define BUNDLE_SPEC             "vm.yaml"
#define BUNDLE_CONTROL          "control.sock"
#define BUNDLE_CONSOLE          "console.sock"
#define BUNDLE_AGENT            "agent.sock"
#define BUNDLE_HVC              "hvc0.sock"
#define BUNDLE_VNC              "vnc.sock"
#define BUNDLE_VARIABLES        "uefi-vars.fd"
#define BUNDLE_SECURE_VARIABLES "uefi-vars-secure.fd"
#define BUNDLE_SSH_KEY          "id_ed25519"
#define BUNDLE_CONSOLE_LOG      "console.log"
#define BUNDLE_LOG              "atoll.log"

struct bundle {
	char name[BUNDLE_NAME_MAX + 1];
	char *path;  /* absolute */
	int dir_fd;  /* -1: not open */
	int lock_fd; /* -1: the lock is not ours */
};

/* Letters, digits, '.', '_' and '-', the first a letter or digit, 63 at most. */
int bundle_check_name(const char *name, struct error *err);

/* Opens the bundle of a VM that is there. */
int bundle_open(struct bundle *bundle, const char *name, struct error *err);
/* Makes the directory of a new VM. */
int bundle_create(struct bundle *bundle, const char *name, struct error *err);
/* Gives up what is open, and the lock. Takes a bundle that is zeroed or was never opened. */
void bundle_close(struct bundle *bundle);

/* Takes the lock; it is a mistake if a process has it. */
int bundle_lock(struct bundle *bundle, struct error *err);
/* Writes the calling process's number into the lock, which it or its parent has taken. */
int bundle_claim(struct bundle *bundle, struct error *err);
/* Does a process hold the lock? `*pid` (may be NULL) is its number, 0 while it is starting. */
bool bundle_is_running(const struct bundle *bundle, pid_t *pid);

/* How the VM ended last; -1 if it never did or nobody could write it down. */
int bundle_last_exit(const struct bundle *bundle);
void bundle_write_exit(const struct bundle *bundle, int exit_code);

/* Removes the directory and everything in it. The lock has to be ours. */
int bundle_remove(struct bundle *bundle, struct error *err);

/* The names of all VMs, in order; ends with a NULL; free it with bundle_free_names. */
int bundle_names(char ***names, struct error *err);
void bundle_free_names(char **names);

/*
 * A listening or a connected stream socket in the bundle. The path may be longer than the address
 * of a socket holds. Returns the descriptor (non-blocking for listen) or -errno.
 */
int bundle_listen(const struct bundle *bundle, const char *socket_name);
/* A client of a listening socket, non-blocking; -EPERM turned one of another user away. */
int bundle_accept(int listen_fd);
int bundle_connect(const struct bundle *bundle, const char *socket_name);

#endif
