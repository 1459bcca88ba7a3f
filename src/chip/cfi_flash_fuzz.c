/*
 * Fuzz target: a guest's bus cycles on the flash memory. Nothing outside the array is written, what
 * is reported as written covers every change, and the state is one that a guest could be in.
 */
#include "chip/cfi_flash.h"

#include <stdlib.h>
#include <string.h>

#define SIZE  0x1000u
#define BLOCK 0x400u

struct fuzz {
	struct cfi_flash chip;
	uint8_t array[SIZE], copy[SIZE];
};

static void array_shown(void *context, bool shown)
{
	(void)context;
	(void)shown;
}

static void written(void *context, uint32_t offset, uint32_t size)
{
	struct fuzz *fuzz = context;

	if (offset > SIZE || size > SIZE - offset)
		abort();
	memcpy(fuzz->copy + offset, fuzz->array + offset, size);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	struct fuzz fuzz;
	const struct cfi_flash_events events = {
		.array_shown = array_shown, .written = written, .context = &fuzz
	};

	memset(fuzz.array, 0xff, SIZE);
	memset(fuzz.copy, 0xff, SIZE);
	cfi_flash_init(&fuzz.chip, fuzz.array, SIZE, BLOCK, &events);
	for (size_t i = 0; i + 3 < size; i += 4) {
		uint32_t offset = (bytes[i] | (uint32_t)bytes[i + 1] << 8) % SIZE;

		if (bytes[i + 2] & 1)
			cfi_flash_read(&fuzz.chip, offset);
		else
			cfi_flash_write(&fuzz.chip, offset, bytes[i + 3]);
	}
	if (!state_check(cfi_flash_type.state, &fuzz.chip.state, NULL) ||
		memcmp(fuzz.array, fuzz.copy, SIZE) != 0)
		abort();
	return 0;
}
