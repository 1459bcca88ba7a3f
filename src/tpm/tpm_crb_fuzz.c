/*
 * Fuzz target: the TPM's registers, and answers that come whenever.
 */
#include "machine/fuzz.h"
#include "tpm/tpm_crb.h"

#include <stdlib.h>

static bool take(void *context, const uint8_t *command, size_t size)
{
	*(uint8_t *)context ^= command[size - 1];
	return size & 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	struct fuzz_input input = { bytes, size };
	uint8_t seen = 0;
	struct tpm_backend backend = { .start = take, .context = &seen };
	static struct tpm_crb crb;
	uint8_t response[32] = { 0 };

	tpm_crb_init(&crb, &backend);
	while (input.left > 0) {
		uint8_t action = fuzz_u8(&input);
		unsigned offset =
			action & 0x80 ? fuzz_u16(&input) % TPM_CRB_SIZE : fuzz_u8(&input) % 0x90u;

		switch (action % 4) {
		case 0:
		case 1: tpm_crb_write(&crb, offset, 1u << action / 4 % 4, fuzz_u32(&input)); break;
		case 2: tpm_crb_read(&crb, offset, 1u << action / 4 % 4); break;
		case 3: tpm_crb_respond(&crb, response, fuzz_u8(&input) % sizeof(response)); break;
		}
	}
	if (!state_check(tpm_crb_type.state, &crb.state, NULL))
		abort();
	return 0;
}
