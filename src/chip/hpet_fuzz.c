/*
 * Fuzz target: a guest's accesses to the HPET, and time that passes in steps of any length. The
 * state must be one that a guest could be in, and a line that is driven is one that a timer may
 * have.
 */
#include "chip/chip_fixture.h"
#include "chip/hpet.h"

#define ROUTES 0x000f0000u

static void set(void *context, unsigned input, bool level)
{
	(void)context;
	(void)level;
	if (!(ROUTES >> input & 1))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	const struct hpet_wiring wiring = { .routes = ROUTES, .set = set };
	struct fake_clock clock;
	struct hpet chip;

	fake_clock_init(&clock);
	hpet_init(&chip, &clock.clock, &wiring);
	for (size_t i = 0; i + 10 < size; i += 11) {
		uint32_t offset =
			(bytes[i + 1] | (uint32_t)bytes[i + 2] << 8) % HPET_MMIO_SIZE & ~3u;
		unsigned width = bytes[i] & 1 ? 8 : 4;
		uint64_t value;

		memcpy(&value, bytes + i + 3, sizeof(value));
		switch (bytes[i] >> 1 & 3) {
		case 0:
		case 1: hpet_write(&chip, offset, width, value); break;
		case 2: hpet_read(&chip, offset, width); break;
		case 3:
			/* A host that wakes up late, a bounded number of times. */
			clock.source_ns += (ns_t)(value & 0xffffffff);
			clock_run(&clock.clock);
			break;
		}
	}
	if (!state_check(hpet_type.state, &chip.state, NULL))
		abort();
	return 0;
}
