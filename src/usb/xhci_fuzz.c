/*
 * Fuzz target: what a guest can do to the xHCI, a keyboard and a disk: registers, doorbells, TRBs
 * and contexts in its memory, time, resets. Afterwards every state must be one that a restore
 * accepts.
 */
#include "storage/storage_fixture.h"
#include "usb/usb_hid.h"
#include "usb/usb_storage.h"
#include "usb/xhci.h"

#include "base/log.h"

#define MEMORY 0x20000 /* bytes that structures are likely in */

struct input {
	const uint8_t *bytes;
	size_t left;
};

struct target {
	struct storage_fixture storage;
	struct xhci *xhci;
	struct usb_hid keyboard;
	struct usb_storage *disk;
};

static ns_t now_ns;

static ns_t fuzz_now(void *context)
{
	(void)context;
	return now_ns;
}

static uint8_t take(struct input *input)
{
	if (input->left == 0)
		return 0;
	input->left--;
	return *input->bytes++;
}

static uint32_t take_u32(struct input *input)
{
	uint32_t value = 0;

	for (unsigned i = 0; i < 4; i++)
		value = value << 8 | take(input);
	return value;
}

static uint32_t take_value(struct input *input)
{
	static const uint32_t likely[] = { 0, 1, 3, 5, 0x1001, 0x2001, 0x3000, 0x4000, 0x5000,
		0x6000, 0x7001, 0x8001, 0x10000, FIXTURE_RAM - 16, 0xfee00000, 0xffffffff,
		0x08000000, 0x00010000, 0x00050000, 0x02000020, 0x04000010, 0x04000030 };
	uint8_t choice = take(input);

	if (choice < ARRAY_SIZE(likely))
		return likely[choice];
	return choice < 128 ? (uint32_t)choice << 8 : take_u32(input);
}

static void put(struct target *t, gpa_t at, const void *bytes, uint64_t size)
{
	guest_memory_write(&t->storage.pci.machine.memory, at, bytes, size);
}

static void put_trb(struct target *t, struct input *input)
{
	struct xhci_trb trb = { take_value(input), take_value(input),
		(uint32_t)(take(input) % 26) << 10 | (uint32_t)take(input) << 24 |
			(take(input) & 0x7f) | (uint32_t)take(input) << 16 };
	static const gpa_t rings[] = { 0x1000, 0x2000, 0x7000, 0x8000 };

	put(t, rings[take(input) % 4] + 16u * (take(input) % 16), &trb, sizeof(trb));
}

static void act(struct target *t, struct input *input)
{
	static const uint16_t registers[] = { 0x40, 0x44, 0x58, 0x5c, 0x70, 0x74, 0x78, 0x1020,
		0x1028, 0x1030, 0x1038, 0x103c, 0x440, 0x480, 0x2000, 0x2004 };
	uint8_t action = take(input);
	uint32_t value;

	switch (action % 8) {
	case 0:
	case 1:
		bar_set(&t->storage, &t->xhci->function, 0, registers[action / 8 % 16], 4,
			take_value(input));
		break;
	case 2:
		bar_set(&t->storage, &t->xhci->function, 0,
			take(input) % 64 * 4 + (action & 0xf0) * 64u, 4, take_value(input));
		break;
	case 3:
		bar_get(&t->storage, &t->xhci->function, 0,
			take(input) * 4u + (action & 0xf0) * 64u, 4);
		break;
	case 4: put_trb(t, input); break;
	case 5:
		value = take_value(input);
		put(t, take(input) * 4u + (action / 8u) * 0x1000, &value, sizeof(value));
		break;
	case 6:
		now_ns += take(input) * NS_PER_MS / 8;
		machine_lock(&t->storage.pci.machine);
		clock_run(&t->storage.pci.machine.clock);
		machine_unlock(&t->storage.pci.machine);
		settle(&t->storage, &t->disk->drive);
		break;
	case 7:
		machine_lock(&t->storage.pci.machine);
		if (action & 0x80)
			usb_hid_key(&t->keyboard, take(input), action & 0x40);
		else if (action == 7)
			machine_reset(&t->storage.pci.machine);
		machine_unlock(&t->storage.pci.machine);
		config_set(&t->storage.pci, t->xhci->function.number, PCI_COMMAND, 2, 7);
		break;
	}
}

/* As a driver leaves it: a ring of events, a slot with a device. */
static void start(struct target *t)
{
	const struct {
		uint64_t base;
		uint32_t size, reserved;
	} segment = { 0x3000, 64, 0 };
	static const uint32_t context[] = { 0, 3, 0, 0, 0, 0, 0, 0, 0x08000000, 0x00010000, 0, 0, 0,
		0, 0, 0, 0, 0x00400020, 0x7001 };
	static const struct {
		uint16_t reg;
		uint32_t value;
	} writes[] = { { 0x78, 16 }, { 0x70, 0x6000 }, { 0x58, 0x1001 }, { 0x1028, 1 },
		{ 0x1038, 0x3000 }, { 0x1030, 0x4000 }, { 0x1020, 2 }, { 0x40, 5 } };

	put(t, 0x4000, &segment, sizeof(segment));
	put(t, 0x5000, context, sizeof(context));
	for (unsigned i = 0; i < ARRAY_SIZE(writes); i++)
		bar_set(&t->storage, &t->xhci->function, 0, writes[i].reg, 4, writes[i].value);
}

static void check_states(struct machine *machine)
{
	machine_lock(machine);
	for (unsigned i = 0; i < machine->nr_devices; i++) {
		const struct device *device = &machine->devices[i];

		if (!state_check(device->type->state, device_state(device), NULL))
			abort();
	}
	machine_unlock(machine);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	static struct target t;
	struct machine *machine = &t.storage.pci.machine;
	struct input input = { bytes, size };

	log_set_level(LOG_ERROR);
	now_ns = 0;
	storage_fixture_init(&t.storage);
	clock_init_source(&machine->clock, fuzz_now, NULL);
	if (xhci_create(&t.xhci, "usb", machine, NULL) ||
		usb_storage_create(&t.disk, "disk0", "1", machine, t.storage.image, NULL))
		abort();
	usb_hid_init(&t.keyboard, USB_HID_KEYBOARD);
	xhci_plug(t.xhci, &t.keyboard.device);
	xhci_plug(t.xhci, &t.disk->device);
	machine_add_device(machine, &usb_hid_type, "keyboard", &t.keyboard);
	machine_add_device(machine, &usb_storage_type, "disk", t.disk);
	machine_add_device(machine, &usb_device_type, "disk-device", &t.disk->device);
	fixture_plug(&t.storage, &t.xhci->function);
	start(&t);
	while (input.left > 0)
		act(&t, &input);
	settle(&t.storage, &t.disk->drive);
	check_states(machine);
	fixture_unplug(&t.storage, &t.xhci->function);
	machine_lock(machine);
	xhci_unplug(&t.disk->device);
	machine_unlock(machine);
	usb_storage_destroy(t.disk);
	xhci_destroy(t.xhci);
	storage_fixture_finish(&t.storage);
	return 0;
}
