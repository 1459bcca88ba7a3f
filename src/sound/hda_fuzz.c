/*
 * Fuzz target: the sound card's registers, rings and lists in memory, and time.
 */
#include "machine/fuzz.h"
#include "pci/pci_fixture.h"
#include "sound/hda.h"

#include "base/log.h"

static ns_t now_ns;

static ns_t fuzz_now(void *context)
{
	(void)context;
	return now_ns;
}

static void play(void *context, const uint8_t *bytes, size_t size)
{
	*(uint8_t *)context ^= bytes[size - 1];
}

static void act(struct pci_fixture *f, struct hda *hda, struct fuzz_input *input)
{
	uint8_t action = fuzz_u8(input);
	unsigned size = 1u << action / 8 % 3;
	uint32_t value = fuzz_u16(input);

	switch (action % 8) {
	case 0:
	case 1:
	case 2: pci_bar_write(&hda->function, 0, fuzz_u8(input), size, value); break;
	case 3: pci_bar_write(&hda->function, 0, 0x80 + fuzz_u8(input) % 32u, size, value); break;
	case 4: pci_bar_read(&hda->function, 0, fuzz_u8(input), size); break;
	case 5:
		value = value << 16 | fuzz_u16(input);
		guest_memory_write(&f->machine.memory, fuzz_u8(input) * 4u + (action & 0xf0) * 16u,
			&value, sizeof(value));
		break;
	case 6:
		now_ns += value * 10000;
		clock_run(&f->machine.clock);
		break;
	case 7:
		/* A stream that nearly runs. */
		pci_bar_write(&hda->function, 0, 0x08, 4, 1);
		pci_bar_write(&hda->function, 0, 0x92, 2, value & 1 ? 0x11 : value);
		pci_bar_write(&hda->function, 0, 0x80, 1, 2 | (value & 4));
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	static struct pci_fixture f;
	struct fuzz_input input = { bytes, size };
	uint8_t heard = 0;
	struct hda_sink sink = { .play = play, .context = &heard };
	struct error err = { 0 };
	struct hda *hda;

	log_set_level(LOG_ERROR);
	now_ns = 0;
	fixture_init(&f);
	clock_init_source(&f.machine.clock, fuzz_now, NULL);
	if (guest_memory_add(&f.machine.memory, 0, 0x10000, false, &err) ||
		hda_create(&hda, "sound0", &f.machine, &sink, &err) ||
		pci_plug(f.host, &hda->function, 3, false, &err))
		abort();
	config_set(&f, 3, PCI_COMMAND, 2, 7);
	while (input.left > 0)
		act(&f, hda, &input);
	if (!state_check(hda_type.state, &hda->state, &err))
		abort();
	pci_unplug(&hda->function);
	hda_destroy(hda);
	fixture_finish(&f);
	return 0;
}
