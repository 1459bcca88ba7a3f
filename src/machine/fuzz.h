/*
 * What the fuzz targets of devices share: the input, which is taken byte by byte and then goes on
 * as zeros, and what must hold of a machine whatever its guest did.
 */
#ifndef MACHINE_FUZZ_H
#define MACHINE_FUZZ_H

#include "base/log.h"
#include "machine/machine.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

struct fuzz_input {
	const uint8_t *bytes;
	size_t left;
};

static inline uint8_t fuzz_u8(struct fuzz_input *input)
{
	if (input->left == 0)
		return 0;
	input->left--;
	return *input->bytes++;
}

static inline uint16_t fuzz_u16(struct fuzz_input *input)
{
	uint16_t value = (uint16_t)(fuzz_u8(input) << 8);

	return (uint16_t)(value | fuzz_u8(input));
}

static inline uint32_t fuzz_u32(struct fuzz_input *input)
{
	uint32_t value = 0;

	for (unsigned i = 0; i < 4; i++)
		value = value << 8 | fuzz_u8(input);
	return value;
}

static inline void fuzz_bytes(struct fuzz_input *input, void *to, size_t size)
{
	for (size_t i = 0; i < size; i++)
		((uint8_t *)to)[i] = fuzz_u8(input);
}

/* Values at which something happens are likelier than a random one. */
static inline uint32_t fuzz_likely(struct fuzz_input *input, const uint32_t *likely, unsigned count)
{
	uint8_t choice = fuzz_u8(input);

	return choice < count ? likely[choice] : fuzz_u32(input);
}

/*
 * Every device's state is one that its table accepts, and the same after it was saved and restored.
 * `restore` has the devices derive their lines and timers from it again. Under the machine lock.
 */
static inline void fuzz_check_states(struct machine *machine, bool restore)
{
	for (unsigned i = 0; i < machine->nr_devices; i++) {
		const struct device *device = &machine->devices[i];
		const struct device_type *type = device->type;
		struct state_buffer before = { 0 }, after = { 0 };

		state_encode(&before, type->state, device->instance, device_state(device));
		if (state_decode(before.bytes, before.size, type->state, device_state(device),
			    NULL) != (long)before.size)
			abort();
		if (restore && type->restored)
			type->restored(device->object);
		state_encode(&after, type->state, device->instance, device_state(device));
		if (after.size != before.size ||
			memcmp(after.bytes, before.bytes, before.size) != 0) {
			fprintf(stderr, "%s is not the same after a restore\n", device->instance);
			abort();
		}
		state_buffer_finish(&before);
		state_buffer_finish(&after);
	}
}

#endif
