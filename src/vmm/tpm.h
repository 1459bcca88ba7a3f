/*
 * A TPM by swtpm, a process of its own, whose state is a directory. Commands are sent under the
 * machine lock, answers are read by the event loop, and checked: a TPM that fails answers nothing
 * more.
 */
#ifndef VMM_TPM_H
#define VMM_TPM_H

#include "base/loop.h"
#include "bundle/bundle.h"
#include "tpm/tpm_crb.h"

#include <sys/types.h>

struct board;

struct tpm {
	struct loop *loop;
	struct board *board;
	pid_t pid;
	int control_fd; /* -1: not open */
	int data_fd;    /* written under the machine lock, read by the event loop */

	/* Event loop. */
	uint8_t response[TPM_CRB_BUFFER_SIZE];
	size_t received;
};

/* `directory` is for its state; "": that of the VM. Returns 0, or fills `err`. */
int tpm_open(struct tpm *tpm, const char *directory, const struct bundle *bundle, struct loop *loop,
	struct error *err);
struct tpm_backend tpm_backend(struct tpm *tpm);
/* When the board is there. Returns 0, or fills `err`. */
int tpm_attach(struct tpm *tpm, struct board *board, struct error *err);
/* As when the machine is switched on. No vCPU runs; takes one that is not open. Returns 0, or fills
 * `err`. */
int tpm_power(struct tpm *tpm, struct error *err);
/* Takes a zeroed one. */
void tpm_close(struct tpm *tpm);

#endif
