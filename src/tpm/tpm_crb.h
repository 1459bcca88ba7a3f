/*
 * A TPM's command response buffer (TCG PC Client Platform TPM Profile 1.05, 6.5.3), in front of a
 * TPM that somebody else is.
 */
#ifndef TPM_TPM_CRB_H
#define TPM_TPM_CRB_H

#include "machine/device.h"

#define TPM_CRB_SIZE        0x1000 /* of its registers */
#define TPM_CRB_BUFFER      0x80   /* where in them the buffer begins */
#define TPM_CRB_BUFFER_SIZE (TPM_CRB_SIZE - TPM_CRB_BUFFER)
#define TPM_CRB_CONTROL     0x40 /* what the TPM2 table points to */

struct tpm_crb_state {
	bool has_locality; /* locality 0 was granted */
	bool idle, failed;
	bool running; /* a command was started, and has not been answered */
	uint8_t reserved[4];
	uint8_t buffer[TPM_CRB_BUFFER_SIZE];
};

/* Who carries out commands; under the machine lock, must not block. */
struct tpm_backend {
	/* Takes a command; tpm_crb_respond answers it, perhaps later. False: it cannot. NULL: no
	 * TPM. */
	bool (*start)(void *context, const uint8_t *command, size_t size);
	void *context;
};

struct tpm_crb {
	struct tpm_crb_state state;
	struct tpm_backend backend;
};

extern const struct device_type tpm_crb_type;

void tpm_crb_init(struct tpm_crb *crb, const struct tpm_backend *backend);

/* Registers of locality 0, up to 8 bytes. */
uint64_t tpm_crb_read(const struct tpm_crb *crb, unsigned offset, unsigned size);
void tpm_crb_write(struct tpm_crb *crb, unsigned offset, unsigned size, uint64_t value);

/* The answer to the command that runs; `size` 0: there is none, and the TPM has failed. */
void tpm_crb_respond(struct tpm_crb *crb, const uint8_t *response, size_t size);

#endif
