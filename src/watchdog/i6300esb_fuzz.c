/*
 * Fuzz target: the watchdog's registers, configuration space and time.
 */
#include "pci/pci_fixture.h"
#include "watchdog/i6300esb.h"

#include "base/log.h"

static ns_t now_ns;

static ns_t fuzz_now(void *context)
{
	(void)context;
	return now_ns;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	static struct pci_fixture f;
	struct i6300esb *chip;
	struct error err = { 0 };

	log_set_level(LOG_ERROR);
	now_ns = 0;
	fixture_init(&f);
	clock_init_source(&f.machine.clock, fuzz_now, NULL);
	if (i6300esb_create(&chip, "watchdog0", &f.machine, MACHINE_REQUEST_RESET, &err) ||
		pci_plug(f.host, &chip->function, 3, false, &err))
		abort();
	for (; size >= 4; bytes += 4, size -= 4) {
		uint32_t value = bytes[2] | (uint32_t)bytes[3] << 8;

		switch (bytes[0] % 5) {
		case 0:
			pci_bar_write(
				&chip->function, 0, bytes[1] % 16u, 1u << bytes[0] / 5 % 3, value);
			break;
		case 1:
			pci_bar_read(&chip->function, 0, bytes[1] % 16u, 1u << bytes[0] / 5 % 3);
			break;
		case 2: config_set(&f, 3, 0x60u + bytes[1] % 12u, 1, value); break;
		case 3:
			pci_bar_write(&chip->function, 0, 0xc, 2, bytes[1] & 1 ? 0x80 : 0x86);
			break;
		case 4:
			now_ns += value * NS_PER_MS;
			clock_run(&f.machine.clock);
			break;
		}
	}
	if (!state_check(i6300esb_type.state, &chip->state, &err))
		abort();
	pci_unplug(&chip->function);
	i6300esb_destroy(chip);
	fixture_finish(&f);
	return 0;
}
