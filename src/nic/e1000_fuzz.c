/* Fuzz target: what a driver and a network can do to the 82540EM. */
#include "nic/e1000_internal.h"
#include "nic/nic_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	struct nic_fuzz fuzz = { .input = { bytes, size } };
	struct nic_config config = { .name = "net0", .address = { 2, 0, 0, 0, 0, 1 } };
	struct e1000 *card;

	log_set_level(LOG_ERROR);
	nic_fixture_init(&fuzz.nic);
	config.machine = &fuzz.nic.pci.machine;
	config.backend = &fuzz.nic.cable->backend;
	if (e1000_create(&card, &config, NULL))
		abort();
	nic_fixture_plug(&fuzz.nic, &card->function);
	nic_fuzz_run(&fuzz, &card->function, &card->cable);
	nic_fixture_unplug(&fuzz.nic, &card->function);
	e1000_destroy(card);
	fixture_finish(&fuzz.nic.pci);
	return 0;
}
