/*
 * Board "pc": a PC with either of two chipsets, with or without firmware (docs/pc.md). What is the
 * same on both: chips, ISA wiring, PCI interrupts, memory. Everything under the machine lock.
 */
#include "board/pc.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PC_MIN_RAM           (UINT64_C(4) << 20)
#define PC_MIN_RAM_SMM       (UINT64_C(64) << 20)
#define PC_MAX_RAM           (UINT64_C(512) << 30)
#define PC_MAX_DEVICE_MEMORY (UINT64_C(256) << 30)
#define PC_HIGH_ALIGNMENT    (UINT64_C(32) << 30) /* of PCI's window above RAM */
#define PC_GPE_PCI           1
#define PC_GPE_GENERATION    5 /* as in generation.asl */
#define PC_ROUTE_OFF         BIT(7)

/* The 8259s' input, by all that are routed to it. */
static void drive_routed(struct pc *pc, uint8_t irq)
{
	struct irq_line line = at_pci_irq(&pc->at, irq);
	bool level = false;

	if (irq & PC_ROUTE_OFF)
		return;
	for (unsigned i = 0; i < PC_NR_PIRQS; i++)
		level |= pc->pirq_levels[i] && pc->pirq_routes[i] == irq;
	irq_line_set(&line, level);
}

/* INTA to INTD are low when they are asserted, and the IOAPIC sees them so; the router in front of
 * the 8259s inverts them. */
static void set_pci_irq(void *context, unsigned pin, bool level)
{
	struct pc *pc = context;
	unsigned pirq = (pin + pc->chipset->pin_rotation) % PC_NR_PIRQS;
	struct irq_line ioapic = ioapic_input(&pc->at.ioapic, pc->chipset->first_pci_pin + pirq);

	pc->pirq_levels[pirq] = level;
	irq_line_set(&ioapic, !level);
	drive_routed(pc, pc->pirq_routes[pirq]);
}

void pc_route_pirq(struct pc *pc, unsigned pirq, uint8_t route)
{
	uint8_t before = pc->pirq_routes[pirq];

	/* The timer, keyboard, cascade, RTC and coprocessor cannot be chosen. */
	route &= PC_ROUTE_OFF | 0xf;
	if (!(BIT(route & 0xf) & (AT_ELCR_MASTER | AT_ELCR_SLAVE << 8)))
		route = PC_ROUTE_OFF;
	pc->pirq_routes[pirq] = route & PC_ROUTE_OFF ? PC_ROUTE_OFF : route;
	drive_routed(pc, before);
	drive_routed(pc, pc->pirq_routes[pirq]);
}

static void add_isa_devices(struct pc *pc)
{
	struct machine *machine = pc->board.machine;

	acpi_gpe_init(&pc->gpe, irq_wired_or_output(&pc->at.sci, AT_SCI_GPE));
	machine_add_device(machine, &acpi_gpe_type, "gpe", &pc->gpe);
	isa_map_acpi_gpe(machine, PC_PORT_GPE, "gpe", &pc->gpe);

	ps2_keyboard_init(&pc->keyboard, &machine->clock);
	ps2_mouse_init(&pc->mouse, &machine->clock);
	i8042_plug(&pc->at.keyboard, &pc->keyboard, &pc->mouse);
	machine_add_device(machine, &ps2_keyboard_type, "keyboard", &pc->keyboard);
	machine_add_device(machine, &ps2_mouse_type, "mouse", &pc->mouse);
	at_dma_init(&pc->dma, machine);
}

/* As PCI's, these inputs are low when they are asserted. */
static void set_hpet_input(void *context, unsigned input, bool level)
{
	struct pc *pc = context;
	struct irq_line ioapic = ioapic_input(&pc->at.ioapic, input);

	irq_line_set(&ioapic, !level);
}

static void set_hpet_replaces(void *context, unsigned pin, bool level)
{
	(void)pin;
	at_replace_timers(&((struct pc *)context)->at, level);
}

static uint64_t pc_hpet_read(void *device, uint64_t offset, unsigned size)
{
	return hpet_read(device, (uint32_t)offset, size);
}

static void pc_hpet_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	hpet_write(device, (uint32_t)offset, size, value);
}

static void add_hpet(struct pc *pc)
{
	static const struct io_ops ops = { pc_hpet_read, pc_hpet_write, 8 };
	struct machine *machine = pc->board.machine;
	const struct hpet_wiring wiring = {
		.routes = pc->chipset->hpet_inputs,
		.set = set_hpet_input,
		.context = pc,
		.legacy = { at_isa_irq(&pc->at, AT_IRQ_PIT), at_isa_irq(&pc->at, AT_IRQ_RTC) },
		.replaces = { .set = set_hpet_replaces, .context = pc },
	};

	if (!wiring.routes)
		return;
	hpet_init(&pc->hpet, &machine->clock, &wiring);
	machine_add_device(machine, &hpet_type, "hpet", &pc->hpet);
	address_space_map(&machine->mmio,
		&(struct io_region){ PC_HPET_BASE, HPET_MMIO_SIZE, &ops, &pc->hpet, "hpet" });
	for (unsigned i = 0; i < IOAPIC_NR_PINS; i++) {
		if (wiring.routes >> i & 1)
			set_hpet_input(pc, i, false);
	}
}

static uint64_t pm_read(void *device, uint64_t offset, unsigned size)
{
	struct pc *pc = device;

	if (offset < ACPI_PM_SIZE)
		return acpi_pm_read(&pc->at.pm, (unsigned)offset, size);
	if (!pc->chipset->pm_read)
		return 0;
	return pc->chipset->pm_read(pc, (unsigned)align_down(offset, 4)) >> (8 * (offset % 4)) &
	       byte_mask(size);
}

static void pm_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct pc *pc = device;

	if (offset < ACPI_PM_SIZE)
		acpi_pm_write(&pc->at.pm, (unsigned)offset, size, (uint32_t)value);
	else if (pc->chipset->pm_write)
		pc->chipset->pm_write(pc, (unsigned)offset, size, (uint32_t)value);
}

/* Not where something else is. */
void pc_move_pm(struct pc *pc, uint16_t base, bool enabled)
{
	static const struct io_ops ops = { pm_read, pm_write, 4 };
	struct address_space *pio = &pc->board.machine->pio;

	if (!enabled || base + pc->chipset->pm_size > UINT16_MAX)
		base = 0;
	if (base == pc->pm_base)
		return;
	if (pc->pm_base)
		address_space_unmap(pio, pc->pm_base);
	pc->pm_base = 0;
	if (!base || !address_space_is_free(pio, base, pc->chipset->pm_size))
		return;
	address_space_map(pio, &(struct io_region){ base, pc->chipset->pm_size, &ops, pc, "pm" });
	pc->pm_base = base;
}

static void add_firmware_devices(struct pc *pc, const struct board_config *config)
{
	struct machine *machine = pc->board.machine;

	fw_cfg_init(&pc->fw_cfg, &machine->memory);
	machine_add_device(machine, &fw_cfg_type, "fw-cfg", &pc->fw_cfg);
	isa_map_fw_cfg(machine, PC_PORT_FW_CFG, &pc->fw_cfg);
	pc->debug_console.write = config->firmware_line;
	pc->debug_console.context = config->firmware_line_context;
	isa_map_debug_console(machine, PC_PORT_DEBUG, &pc->debug_console);
}

/* Room for the memory of devices, between RAM and PCI's window. */
static void reserve_device_memory(struct pc *pc, uint64_t bytes)
{
	uint64_t ram_end = pc->board.machine->memory.end;

	pc->device_memory_bytes = bytes;
	pc->board.device_memory = align_up(
		ram_end > PC_HIGH_BASE ? ram_end : PC_HIGH_BASE, BOARD_DEVICE_MEMORY_ALIGNMENT);
	pc->board.device_memory_end = pc->board.device_memory + bytes;
	pc->pci_high = align_up(pc->board.device_memory_end, PC_HIGH_ALIGNMENT);
}

/* Above 4 GiB everything that is not memory is PCI's: SeaBIOS puts BARs at the beginning, OVMF at
 * the end. */
static int add_pci(struct pc *pc, struct error *err)
{
	struct machine *machine = pc->board.machine;
	const struct pc_chipset *chipset = pc->chipset;
	uint64_t window = pc->low_end > chipset->pci_window ? pc->low_end : chipset->pci_window;
	struct pci_host_config config = {
		.bridge = &pc->bridge,
		.ecam_size = chipset->ecam_size,
		.memory32 = { window, AT_IOAPIC_BASE - window },
		.memory64 = { pc->pci_high, BIT(PC_ADDRESS_BITS) - pc->pci_high },
		.io = { 0x1000, 0xf000 },
		.has_firmware = true,
		.hotplug_event = acpi_gpe_input(&pc->gpe, PC_GPE_PCI),
	};
	int rc;

	for (unsigned pin = 0; pin < PCI_NR_PINS; pin++) {
		config.intx[pin] =
			(struct irq_line){ .set = set_pci_irq, .context = pc, .pin = pin };
		config.interrupt_line[pin] =
			(uint8_t)(10 + (pin + chipset->pin_rotation) % PC_NR_PIRQS / 2);
		pc->pirq_routes[pin] = PC_ROUTE_OFF;
		set_pci_irq(pc, pin, false);
	}
	chipset->init_bridge(pc, &pc->bridge);
	rc = pci_host_create(&pc->pci, machine, &config, err);
	if (rc < 0)
		return rc;
	chipset->add_functions(pc);
	pci_host_map_config_ports(pc->pci, AT_PORT_PCI_CONFIG);
	pci_host_map_hotplug_ports(pc->pci, PC_PORT_PCI_HOTPLUG);
	return 0;
}

static int add_memory(struct pc *pc, const struct board_config *config, struct error *err)
{
	const struct pc_chipset *chipset = pc->chipset;
	uint64_t bytes = config->memory_bytes;

	pc->has_smm = config->firmware.smm;
	if (pc->has_smm && !chipset->has_smm)
		return error_set(err, EXIT_CODE_CONFIG,
			"the chipset %s has no system management mode, which Secure Boot needs; "
			"use "
			"chipset=q35",
			chipset->name);
	if (pc->has_smm && bytes < PC_MIN_RAM_SMM)
		return error_set(err, EXIT_CODE_CONFIG,
			"system management mode takes 16 MiB of the guest's memory; give it at "
			"least 64 MiB with --memory");
	if (bytes < PC_MIN_RAM || bytes > PC_MAX_RAM || bytes % GUEST_PAGE_SIZE)
		return error_set(err, EXIT_CODE_CONFIG,
			"the board pc cannot have %llu bytes of memory; use --memory with 4M to "
			"512G, in whole pages of 4K",
			(unsigned long long)bytes);
	if (config->device_memory_bytes > PC_MAX_DEVICE_MEMORY)
		return error_set(err, EXIT_CODE_CONFIG,
			"the board pc cannot have more than 256 GiB of memory that comes and goes, "
			"or is a file's");
	pc->memory_bytes = bytes;
	pc->low_end = bytes <= chipset->max_low_ram ? bytes : chipset->split_low_ram;
	if (pc_memory_create(&pc->memory, pc->board.machine, bytes, pc->low_end, pc->has_smm, err))
		return -1;
	reserve_device_memory(pc, config->device_memory_bytes);
	return 0;
}

static int add_firmware(struct pc *pc, const struct board_config *config, struct error *err)
{
	const struct board_firmware *firmware = &config->firmware;

	pc->has_firmware = firmware->code;
	if (!pc->has_firmware)
		return 0;
	if (firmware->vga_bios) {
		pc->vga_bios_size = firmware->vga_bios_size;
		pc->vga_bios = malloc(pc->vga_bios_size);
		if (!pc->vga_bios)
			return error_set_errno(
				err, EXIT_CODE_HOST, ENOMEM, "no memory for the VGA BIOS");
		memcpy(pc->vga_bios, firmware->vga_bios, pc->vga_bios_size);
	}
	if (pc_memory_add_rom(&pc->memory, firmware->code, firmware->code_size, err))
		return -1;
	if (!firmware->variables)
		return 0;
	return pc_flash_create(&pc->flash, pc->board.machine, firmware->variables,
		firmware->variables_size, PC_HIGH_BASE - firmware->code_size, firmware->smm, err);
}

static void pc_destroy(struct board *board)
{
	struct pc *pc = pc_of(board);

	pci_host_destroy(pc->pci);
	i82077_finish(&pc->fdc);
	fw_cfg_finish(&pc->fw_cfg);
	free(pc->vga_bios);
	free(pc);
}

static const struct pc_chipset *find_chipset(const char *name)
{
	if (!name || strcmp(name, pc_q35.name) == 0)
		return &pc_q35;
	return strcmp(name, pc_i440fx.name) == 0 ? &pc_i440fx : NULL;
}

static int pc_create(struct board **board, const struct board_config *config,
	struct machine *machine, struct error *err)
{
	struct pc *pc = calloc(1, sizeof(*pc));
	int rc;

	if (!pc)
		return error_set_errno(err, EXIT_CODE_HOST, ENOMEM, "cannot create the board");
	pc->board = (struct board){ .type = &pc_board_type, .machine = machine };
	pc->chipset = find_chipset(config->chipset);
	if (!pc->chipset) {
		free(pc);
		return error_set(err, EXIT_CODE_USAGE,
			"the board pc has no chipset \"%s\"; use chipset=q35 or chipset=i440fx",
			config->chipset);
	}
	rc = add_memory(pc, config, err);
	if (rc == 0)
		rc = add_firmware(pc, config, err);
	if (rc < 0) {
		free(pc->vga_bios);
		free(pc);
		return rc;
	}
	at_init(&pc->at, machine, config, PC_SLEEP_S5);
	add_isa_devices(pc);
	if (config->has_floppies)
		pc_floppy_add(pc);
	add_hpet(pc);
	if (pc->has_smm)
		pc_smm_add(pc);
	add_firmware_devices(pc, config);
	rc = add_pci(pc, err);
	if (rc == 0 && config->has_generation)
		rc = board_add_generation(
			&pc->board, acpi_gpe_input(&pc->gpe, PC_GPE_GENERATION), err);
	if (rc == 0)
		rc = at_add_debug_exit(&pc->at, "pc", config->debug_exit_port, err);
	if (rc < 0) {
		pc_destroy(&pc->board);
		return rc;
	}
	*board = &pc->board;
	return 0;
}

/* After the reset of every device. */
static int pc_start(struct board *board, struct error *err)
{
	struct pc *pc = pc_of(board);

	pc_firmware_fill_cmos(pc);
	if (pc->has_firmware)
		return pc_firmware_fill(pc, err);
	machine_lock(board->machine);
	pc->chipset->configure(pc);
	pci_host_assign(pc->pci);
	machine_unlock(board->machine);
	return 0;
}

static struct pci_host *pc_pci(struct board *board)
{
	return pc_of(board)->pci;
}

static void pc_power_button(struct board *board)
{
	acpi_pm_press_power_button(&pc_of(board)->at.pm);
}

static struct at *pc_at(struct board *board)
{
	return &pc_of(board)->at;
}

/* The interrupt pin is ICH9's for SATA, and the one for which SeaBIOS and OVMF, who do not rotate
 * the pins of devices from 25 on, come to the same line as the others. */
static void pc_storage_place(struct board *board, struct board_storage_place *place)
{
	struct pc *pc = pc_of(board);

	*place = (struct board_storage_place){
		.kind = pc->chipset->storage,
		.device = pc->chipset->storage_device,
		.sub_number = pc->chipset->storage_function,
		.interrupt_pin = 2,
		.command_port = { AT_PORT_IDE_PRIMARY, AT_PORT_IDE_SECONDARY },
		.control_port = { AT_PORT_IDE_PRIMARY_CONTROL, AT_PORT_IDE_SECONDARY_CONTROL },
		.irq = { at_isa_irq(&pc->at, AT_IRQ_IDE_PRIMARY),
			at_isa_irq(&pc->at, AT_IRQ_IDE_SECONDARY) },
	};
}

static void pc_set_boot(struct board *board, const struct board_boot *boot)
{
	pc_of(board)->boot = *boot;
}

static unsigned pc_isa_bridge(struct board *board)
{
	return pc_of(board)->isa_bridge.number & 0x1f;
}

static struct i8042 *pc_i8042(struct board *board)
{
	return &pc_of(board)->at.keyboard;
}

const struct board_type pc_board_type = {
	.name = "pc",
	.summary = "a PC, with firmware or without",
	.create = pc_create,
	.destroy = pc_destroy,
	.start = pc_start,
	.describe = pc_describe,
	.power_button = pc_power_button,
	.at = pc_at,
	.pci = pc_pci,
	.generation_page = pc_generation_page,
	.i8042 = pc_i8042,
	.fdc = pc_floppy_fdc,
	.isa_bridge = pc_isa_bridge,
	.storage_place = pc_storage_place,
	.set_boot = pc_set_boot,
	.display_device = "vga",
	.vga_slot = PC_SLOT_VGA,
	.address_bits = PC_ADDRESS_BITS,
};
