/*
 * Fuzz target: a guest's accesses to an 8237, and a device that asks for cycles. What is granted is
 * never more than was asked for and never wraps, and the state is one that a guest could be in.
 */
#include "chip/i8237.h"

#include "machine/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	struct fuzz_input input = { bytes, size };
	struct i8237 chip;

	i8237_init(&chip);
	while (input.left > 0) {
		uint8_t action = fuzz_u8(&input);
		unsigned units = fuzz_u8(&input) * 0x101u;
		struct i8237_run run;

		switch (action >> 6) {
		case 0: i8237_read(&chip, action & 0xf); break;
		case 1:
			run = i8237_request(&chip, action & 3, units);
			if (run.units > units)
				abort();
			if (run.decrement ? run.units > run.address + 1u
					  : run.units > 0x10000u - run.address)
				abort();
			break;
		default: i8237_write(&chip, action & 0xf, (uint8_t)units); break;
		}
	}
	if (!state_check(i8237_type.state, &chip.state, NULL))
		abort();
	return 0;
}
