/*
 * What the firmware of the board "pc" finds: files and items of fw_cfg, ACPI tables with the script
 * that installs them, and the RTC's memory. Names and layouts are those that SeaBIOS and OVMF read.
 */
#include "board/pc.h"

#include <stdlib.h>
#include <string.h>

#define MIB (UINT64_C(1) << 20)

/* The RTC's memory, as the BIOS of a PC/AT and SeaBIOS use it. */
#define CMOS_FLOPPIES  0x10
#define CMOS_EQUIPMENT 0x14
#define CMOS_BASE      0x15 /* KiB below 640 KiB, 16 bits */
#define CMOS_EXTENDED  0x17 /* KiB above 1 MiB, 16 bits; again at 0x30 */
#define CMOS_ABOVE_16M 0x34 /* 64 KiB units, 16 bits */
#define CMOS_HIGH      0x5b /* 64 KiB units above 4 GiB, 24 bits */

/* SeaBIOS's order where fw_cfg has none, four bits for each: 1 floppy, 2 disk, 3 disc, 4 network.
 */
#define CMOS_ORDER       0x3d /* the first and the second */
#define CMOS_ORDER_THIRD 0x38 /* in its upper half */
#define ORDER_FIRST_TWO  0x32
#define ORDER_THIRD      0x40
/* With floppy drives; the network comes last then. */
#define ORDER_FLOPPY_FIRST_TWO 0x12
#define ORDER_FLOPPY_THIRD     0x30

#define EQUIPMENT_FPU 0x02

#define E820_RAM      1
#define E820_RESERVED 2

struct e820_entry {
	uint64_t base, size;
	uint32_t type;
} __attribute__((packed));

static void put16(struct pc *pc, unsigned index, uint64_t value)
{
	if (value > UINT16_MAX)
		value = UINT16_MAX;
	pc->at.rtc.state.cmos[index] = (uint8_t)value;
	pc->at.rtc.state.cmos[index + 1] = (uint8_t)(value >> 8);
}

void pc_firmware_fill_cmos(struct pc *pc)
{
	uint64_t high = (pc->memory_bytes - pc->low_end) >> 16;
	uint8_t *cmos = pc->at.rtc.state.cmos;

	put16(pc, CMOS_BASE, 640);
	put16(pc, CMOS_EXTENDED, (pc->low_end - MIB) >> 10);
	put16(pc, 0x30, (pc->low_end - MIB) >> 10);
	put16(pc, CMOS_ABOVE_16M, pc->low_end > 16 * MIB ? (pc->low_end - 16 * MIB) >> 16 : 0);
	for (unsigned i = 0; i < 3; i++)
		cmos[CMOS_HIGH + i] = (uint8_t)(high >> (8 * i));
	cmos[CMOS_ORDER] = pc->has_fdc ? ORDER_FLOPPY_FIRST_TWO : ORDER_FIRST_TWO;
	cmos[CMOS_ORDER_THIRD] = pc->has_fdc ? ORDER_FLOPPY_THIRD : ORDER_THIRD;
	cmos[CMOS_FLOPPIES] = pc_floppy_kinds(pc);
	cmos[CMOS_EQUIPMENT] = EQUIPMENT_FPU | pc_floppy_equipment(pc);
}

static int set_file16(struct pc *pc, const char *name, uint16_t value, struct error *err)
{
	uint8_t bytes[2] = { (uint8_t)value, (uint8_t)(value >> 8) };

	return fw_cfg_set_file(&pc->fw_cfg, name, bytes, sizeof(bytes), err);
}

static int fill_boot(struct pc *pc, struct error *err)
{
	const struct board_boot *boot = &pc->boot;
	uint16_t menu = boot->menu;

	if (boot->order && fw_cfg_set_file(&pc->fw_cfg, "bootorder", boot->order,
				   (uint32_t)strlen(boot->order) + 1, err))
		return -1;
	if (fw_cfg_set(&pc->fw_cfg, FW_CFG_BOOT_MENU, &menu, sizeof(menu), err))
		return -1;
	return boot->menu ? set_file16(pc, "etc/boot-menu-wait", boot->wait_ms, err) : 0;
}

static int fill_smbios(struct pc *pc, struct error *err)
{
	struct smbios_image *image = malloc(sizeof(*image));
	int rc = -1;

	if (!image)
		return error_set(err, EXIT_CODE_HOST, "no memory for SMBIOS tables");
	if (!smbios_build(&pc->board.smbios, 0, image))
		error_set(err, EXIT_CODE_CONFIG, "the texts of --smbios are too long");
	else if (fw_cfg_set_file(&pc->fw_cfg, SMBIOS_FILE_ANCHOR, image->anchor,
			 sizeof(image->anchor), err) == 0)
		rc = fw_cfg_set_file(
			&pc->fw_cfg, SMBIOS_FILE_TABLES, image->tables, (uint32_t)image->size, err);
	free(image);
	return rc;
}

/* Its page, and the address that firmware answers with. */
static int fill_generation(struct pc *pc, struct error *err)
{
	uint8_t page[GUEST_PAGE_SIZE];
	uint64_t none = 0;

	if (!pc->board.has_generation)
		return 0;
	generation_fill(&pc->board.generation, page);
	if (fw_cfg_set_file(&pc->fw_cfg, ACPI_LOADER_GENERATION, page, sizeof(page), err) ||
		fw_cfg_set_file(
			&pc->fw_cfg, ACPI_LOADER_GENERATION_ADDRESS, &none, sizeof(none), err))
		return -1;
	fw_cfg_file(&pc->fw_cfg, ACPI_LOADER_GENERATION_ADDRESS)->writable = true;
	return 0;
}

gpa_t pc_generation_page(struct board *board)
{
	const struct fw_cfg_item *item;
	struct pc *pc = pc_of(board);
	gpa_t address = 0;

	if (!pc->has_firmware)
		return ACPI_GENERATION_PAGE;
	item = fw_cfg_file(&pc->fw_cfg, ACPI_LOADER_GENERATION_ADDRESS);
	if (item && item->size == sizeof(address))
		memcpy(&address, item->bytes, sizeof(address));
	return address;
}

static int fill_items(struct pc *pc, struct error *err)
{
	uint32_t id = FW_CFG_ID_TRADITIONAL | FW_CFG_ID_DMA;
	uint16_t cpus = (uint16_t)pc->board.machine->nr_vcpus;
	struct e820_entry map[] = {
		{ 0, pc->low_end, E820_RAM },
		{ PC_HIGH_BASE, pc->memory_bytes - pc->low_end, E820_RAM },
	};
	uint32_t map_size = pc->memory_bytes > pc->low_end ? sizeof(map) : sizeof(map[0]);
	struct fw_cfg *chip = &pc->fw_cfg;

	if (fw_cfg_set(chip, FW_CFG_SIGNATURE, "QEMU", 4, err) ||
		fw_cfg_set(chip, FW_CFG_ID, &id, sizeof(id), err) ||
		fw_cfg_set(chip, FW_CFG_NR_CPUS, &cpus, sizeof(cpus), err) ||
		fw_cfg_set(chip, FW_CFG_MAX_CPUS, &cpus, sizeof(cpus), err) ||
		fw_cfg_set_file(chip, "etc/e820", map, map_size, err))
		return -1;
	/* Behind which firmware may put BARs. */
	if (pc->device_memory_bytes > 0 && fw_cfg_set_file(chip, "etc/reserved-memory-end",
						   &pc->pci_high, sizeof(pc->pci_high), err))
		return -1;
	/* By the PCI IDs of src/vga. */
	if (pc->vga_bios && fw_cfg_set_file(chip, "pci1234,1111.rom", pc->vga_bios,
				    (uint32_t)pc->vga_bios_size, err))
		return -1;
	if (fill_smbios(pc, err) || fill_generation(pc, err))
		return -1;
	if (pc->has_smm && pc_smm_fill(pc, err))
		return -1;
	/* With or without a screen it talks to the first serial line. */
	return set_file16(pc, "etc/sercon-port", AT_PORT_COM1, err);
}

/* With the addresses that firmware has chosen by now. */
static int fill_tables(struct pc *pc, struct error *err)
{
	struct acpi_image *image = malloc(sizeof(*image));
	struct acpi_loader loader;
	struct acpi_config config = { 0 };
	int rc = -1;

	if (!image)
		return error_set(err, EXIT_CODE_HOST, "no memory for ACPI tables");
	pc_describe(&pc->board, &config);
	if (!acpi_build(&config, 0, image)) {
		error_set(err, EXIT_CODE_INTERNAL, "the ACPI tables have no room");
	} else {
		acpi_loader_build(image, &loader);
		rc = fw_cfg_set_file(&pc->fw_cfg, ACPI_LOADER_RSDP, image->bytes,
			(uint32_t)loader.rsdp_size, err);
		if (rc == 0)
			rc = fw_cfg_set_file(&pc->fw_cfg, ACPI_LOADER_TABLES, image->bytes,
				(uint32_t)image->size, err);
		if (rc == 0)
			rc = fw_cfg_set_file(&pc->fw_cfg, ACPI_LOADER_SCRIPT, loader.commands,
				loader.nr_commands * ACPI_LOADER_COMMAND_SIZE, err);
	}
	free(image);
	return rc;
}

/* Firmware has set up the chipset before it asks for tables. */
static void tables_selected(void *context)
{
	fill_tables(context, NULL);
}

int pc_firmware_fill(struct pc *pc, struct error *err)
{
	static const char *const tables[] = { ACPI_LOADER_RSDP, ACPI_LOADER_TABLES,
		ACPI_LOADER_SCRIPT };

	if (fill_items(pc, err) || fill_boot(pc, err) || fill_tables(pc, err))
		return -1;
	for (unsigned i = 0; i < ARRAY_SIZE(tables); i++) {
		struct fw_cfg_item *file = fw_cfg_file(&pc->fw_cfg, tables[i]);

		file->selected = tables_selected;
		file->context = pc;
	}
	return 0;
}

void pc_describe(const struct board *board, struct acpi_config *acpi)
{
	const struct pc *pc = (const struct pc *)board;

	*acpi = (struct acpi_config){
		.pm1_event_port = (uint16_t)(PC_PORT_PM + ACPI_PM_STATUS),
		.pm1_control_port = (uint16_t)(PC_PORT_PM + ACPI_PM_CONTROL),
		.pm_timer_port = (uint16_t)(PC_PORT_PM + ACPI_PM_TIMER),
		.gpe0_port = PC_PORT_GPE,
		.gpe0_length = ACPI_GPE_SIZE,
		/* Firmware learns the size of the tables before it has put ECAM somewhere. */
		.ecam_address =
			pci_host_ecam(pc->pci) ? pci_host_ecam(pc->pci) : pc->chipset->ecam_base,
		.ecam_last_bus = (uint8_t)((pc->chipset->ecam_size >> 20) - 1),
		.has_i8042 = true,
		.has_vga = true,
		.dsdt = acpi_pc_dsdt,
		.dsdt_size = acpi_pc_dsdt_size,
	};
	acpi->hpet_address = pc->chipset->hpet_inputs ? PC_HPET_BASE : 0;
	at_describe(&pc->at, acpi);
	acpi->has_generation = board->has_generation;
	acpi->generation_address = pc->has_firmware ? 0 : ACPI_GENERATION_PAGE;
	if (pc->pm_base) {
		acpi->pm1_event_port = (uint16_t)(pc->pm_base + ACPI_PM_STATUS);
		acpi->pm1_control_port = (uint16_t)(pc->pm_base + ACPI_PM_CONTROL);
		acpi->pm_timer_port = (uint16_t)(pc->pm_base + ACPI_PM_TIMER);
	}
	pc_floppy_describe(pc, acpi);
	acpi->ssdts[acpi->nr_ssdts++] =
		(struct acpi_aml){ pc->chipset->ssdt, *pc->chipset->ssdt_size };
}
