/*
 * Fuzz target: what a guest can do to IDE, AHCI and NVMe: registers, the structures in its memory
 * that they read, configuration space, resets; with a disk and an optical drive behind them.
 *
 * Each byte picks an action. Afterwards every state must be one that a restore accepts, and come
 * back the same.
 */
#include "storage/storage_fixture.h"

#include "machine/fuzz.h"
#include "storage/ahci_regs.h"

#define STRUCTURES 0x10000 /* bytes of memory that lists and tables are likely in */

struct target {
	struct pci_function *function;
	struct drive *drives[2];
};

/* Addresses of structures, and values at which something happens, are likelier than others. */
static uint32_t take_value(struct fuzz_input *input)
{
	static const uint32_t likely[] = { 0, 1, 2, 0x11, 0x17, 0xffffffff, 0x80000002, 0x00460001,
		0xfee00000, FIXTURE_RAM - 16, 0x000f000f, 0x2000, 0x1000, 0x3000 };
	uint8_t choice = fuzz_u8(input);

	if (choice < ARRAY_SIZE(likely))
		return likely[choice];
	return choice < 128 ? (uint32_t)choice << 7 : fuzz_u32(input);
}

/* A command list of one AHCI command: the FIS is the input's, the data in RAM or not. */
static void put_command(struct storage_fixture *f, struct fuzz_input *input)
{
	uint32_t header[8] = { 5 | (fuzz_u8(input) & 0x60u) | (uint32_t)(fuzz_u8(input) % 4) << 16,
		0, 0x3000 };
	uint8_t fis[64] = { FIS_H2D, 0x80, fuzz_u8(input) };
	uint32_t prd[4] = { take_value(input), 0, 0, fuzz_u32(input) };

	for (unsigned i = 3; i < 16; i++)
		fis[i] = fuzz_u8(input);
	memcpy(ram(f, 0x1000 + 32u * (fuzz_u8(input) % 32)), header, sizeof(header));
	memcpy(ram(f, 0x3000), fis, 20);
	for (unsigned i = 0; i < 12; i++)
		*ram(f, 0x3040 + i) = fuzz_u8(input);
	for (unsigned i = 0; i < 4; i++)
		memcpy(ram(f, 0x3080 + 16 * i), prd, sizeof(prd));
}

/* An entry of a submission queue at 0x2000 or 0x4000. */
static void put_entry(struct storage_fixture *f, struct fuzz_input *input)
{
	uint32_t words[16] = { fuzz_u8(input) | (uint32_t)fuzz_u8(input) << 16,
		fuzz_u8(input) & 1 };

	words[6] = take_value(input);
	words[8] = take_value(input);
	for (unsigned i = 10; i < 13; i++)
		words[i] = take_value(input);
	memcpy(ram(f, (fuzz_u8(input) & 1 ? 0x4000 : 0x2000) + 64u * (fuzz_u8(input) % 16)), words,
		sizeof(words));
}

static void act(struct storage_fixture *f, struct target *target, struct fuzz_input *input)
{
	uint8_t action = fuzz_u8(input), bar = fuzz_u8(input) % PCI_NR_BARS;
	unsigned size = 1u << action / 16 % 4;
	uint64_t offset = (action & 8 ? 0x100u * (fuzz_u8(input) % 17) : 0u) + fuzz_u8(input);

	switch (action % 8) {
	case 0:
	case 1:
	case 2:
		bar_set(f, target->function, bar, offset & ~(size - 1ull), size, take_value(input));
		break;
	case 3: bar_get(f, target->function, bar, offset & ~(size - 1ull), size); break;
	case 4: put_command(f, input); break;
	case 5: put_entry(f, input); break;
	case 6:
		for (unsigned at = fuzz_u32(input) % STRUCTURES, i = 0; i < 16; i++)
			*ram(f, at + i) = fuzz_u8(input);
		break;
	case 7:
		for (unsigned i = 0; i < 2 && target->drives[i]; i++)
			settle(f, target->drives[i]);
		if (offset == 0xff) {
			machine_lock(&f->pci.machine);
			machine_reset(&f->pci.machine);
			machine_unlock(&f->pci.machine);
			config_set(&f->pci, target->function->number, PCI_COMMAND, 2, 7);
		}
		break;
	}
}

static void forget_message(void *engine, gpa_t address, uint32_t data)
{
	(void)engine;
	(void)address;
	(void)data;
}

static void run(struct storage_fixture *f, struct target *target, struct fuzz_input *input)
{
	fixture_plug(f, target->function);
	while (input->left > 0)
		act(f, target, input);
	for (unsigned i = 0; i < 2 && target->drives[i]; i++)
		settle(f, target->drives[i]);
	machine_lock(&f->pci.machine);
	fuzz_check_states(&f->pci.machine, false);
	machine_unlock(&f->pci.machine);
	fixture_unplug(f, target->function);
}

static void fuzz_ahci(
	struct storage_fixture *f, struct block_device *disc, struct fuzz_input *input)
{
	static const struct ata_identity disk = { .serial = "1" }, optical = { .is_packet = true };
	struct target target = { 0 };
	struct ahci *ahci;

	if (ahci_create(&ahci, "ahci0", &f->pci.machine, 1, NULL) ||
		ahci_attach(ahci, 0, "disk0", &disk, f->image, NULL) ||
		ahci_attach(ahci, 1, "cdrom0", &optical, disc, NULL))
		abort();
	target.function = ahci_function(ahci);
	target.drives[0] = &ahci_device(ahci, 0)->drive;
	target.drives[1] = &ahci_device(ahci, 1)->drive;
	run(f, &target, input);
	ahci_destroy(ahci);
}

static void fuzz_ide(struct storage_fixture *f, struct block_device *disc, struct fuzz_input *input)
{
	static const struct ata_identity disk = { .serial = "1" }, optical = { .is_packet = true };
	struct target target = { 0 };
	struct ide *ide;

	if (ide_create(&ide, "ide0", &f->pci.machine, NULL, NULL) ||
		ide_attach(ide, 0, "disk0", &disk, f->image, NULL) ||
		ide_attach(ide, 2, "cdrom0", &optical, disc, NULL))
		abort();
	target.function = ide_function(ide);
	target.drives[0] = &ide_device(ide, 0)->drive;
	target.drives[1] = &ide_device(ide, 2)->drive;
	run(f, &target, input);
	ide_destroy(ide);
}

static void fuzz_nvme(struct storage_fixture *f, struct fuzz_input *input)
{
	struct nvme_config config = {
		.name = "disk0", .serial = "1", .machine = &f->pci.machine, .image = f->image
	};
	struct target target = { 0 };
	struct nvme *nvme;

	if (nvme_create(&nvme, &config, NULL))
		abort();
	target.function = nvme_function(nvme);
	run(f, &target, input);
	nvme_destroy(nvme);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	static struct storage_fixture f, disc;
	struct fuzz_input input = { bytes, size };

	log_set_level(LOG_ERROR);
	storage_fixture_init(&f);
	storage_fixture_init(&disc);
	f.pci.machine.cpu_bus.msi = forget_message;
	switch (fuzz_u8(&input) % 3) {
	case 0: fuzz_ahci(&f, disc.image, &input); break;
	case 1: fuzz_ide(&f, disc.image, &input); break;
	case 2: fuzz_nvme(&f, &input); break;
	}
	storage_fixture_finish(&disc);
	storage_fixture_finish(&f);
	return 0;
}
