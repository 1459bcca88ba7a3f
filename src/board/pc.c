/*
 * Board "pc": a PC with either of two chipsets, with or without firmware (docs/pc.md). What is the
 * same on both: chips, ISA wiring, PCI interrupts, memory. Everything under the machine lock.
 */
#include "board/pc.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PC_IOAPIC_PIN_PIT 2
#define PC_MIN_RAM        (UINT64_C(4) << 20)
#define PC_MAX_RAM        (UINT64_C(512) << 30)
#define PC_HIGH_WINDOW    (UINT64_C(32) << 30) /* and what its base is a multiple of */
#define PC_SLEEP_S5       5                    /* as in pc.asl */
#define PC_GPE_PCI        1
#define PC_ELCR_MASTER    0xf8
#define PC_ELCR_SLAVE     0xde
#define PC_ROUTE_OFF      BIT(7)

enum pc_sci_source { PC_SCI_PM, PC_SCI_GPE };
enum pc_a20_source { PC_A20_KEYBOARD, PC_A20_PORT_A };

/* The 8259s see ISA and PCI interrupts of one number as one. */
static void drive_pic(struct pc *pc, unsigned irq)
{
	struct i8259 *pic = irq < I8259_NR_PINS ? &pc->pic_master : &pc->pic_slave;
	struct irq_line line = i8259_input(pic, irq % I8259_NR_PINS);
	bool level = pc->isa_levels & BIT(irq);

	for (unsigned i = 0; i < PC_NR_PIRQS; i++)
		level |= pc->pirq_levels[i] && pc->pirq_routes[i] == irq;
	irq_line_set(&line, level);
}

static void set_isa_irq(void *context, unsigned irq, bool level)
{
	struct pc *pc = context;
	struct irq_line ioapic =
		ioapic_input(&pc->ioapic, irq == PC_IRQ_PIT ? PC_IOAPIC_PIN_PIT : irq);

	pc->isa_levels = (uint16_t)((pc->isa_levels & ~BIT(irq)) | (uint64_t)level << irq);
	drive_pic(pc, irq);
	irq_line_set(&ioapic, level);
}

struct irq_line pc_isa_irq(struct pc *pc, unsigned irq)
{
	return (struct irq_line){ .set = set_isa_irq, .context = pc, .pin = irq };
}

/* The RTC's interrupt is an ACPI event besides, when it rises. */
static void set_rtc_irq(void *context, unsigned irq, bool level)
{
	struct pc *pc = context;
	bool was_high = pc->isa_levels & BIT(irq);

	set_isa_irq(pc, irq, level);
	if (level && !was_high)
		acpi_pm_rtc_alarm(&pc->pm);
}

/* INTA to INTD are low when they are asserted, and the IOAPIC sees them so; the router in front of
 * the 8259s inverts them. */
static void set_pci_irq(void *context, unsigned pin, bool level)
{
	struct pc *pc = context;
	unsigned pirq = (pin + pc->chipset->pin_rotation) % PC_NR_PIRQS;
	struct irq_line ioapic = ioapic_input(&pc->ioapic, pc->chipset->first_pci_pin + pirq);

	pc->pirq_levels[pirq] = level;
	irq_line_set(&ioapic, !level);
	if (!(pc->pirq_routes[pirq] & PC_ROUTE_OFF))
		drive_pic(pc, pc->pirq_routes[pirq]);
}

void pc_route_pirq(struct pc *pc, unsigned pirq, uint8_t route)
{
	uint8_t before = pc->pirq_routes[pirq];

	/* The timer, keyboard, cascade, RTC and coprocessor cannot be chosen. */
	route &= PC_ROUTE_OFF | 0xf;
	if (!(BIT(route & 0xf) & (PC_ELCR_MASTER | PC_ELCR_SLAVE << 8)))
		route = PC_ROUTE_OFF;
	pc->pirq_routes[pirq] = route & PC_ROUTE_OFF ? PC_ROUTE_OFF : route;
	if (!(before & PC_ROUTE_OFF))
		drive_pic(pc, before);
	if (!(pc->pirq_routes[pirq] & PC_ROUTE_OFF))
		drive_pic(pc, pc->pirq_routes[pirq]);
}

/* The master 8259's INT. */
static void set_intr(void *context, unsigned pin, bool level)
{
	const struct cpu_bus *bus = context;

	(void)pin;
	if (bus->intr)
		bus->intr(bus->engine, level);
}

static void set_a20(void *context, unsigned source, bool level)
{
	struct pc *pc = context;
	const struct cpu_bus *bus = &pc->board.machine->cpu_bus;

	pc->a20_sources = (uint8_t)((pc->a20_sources & ~BIT(source)) | level << source);
	if (bus->set_a20)
		bus->set_a20(bus->engine, pc->a20_sources);
}

static struct irq_line a20(struct pc *pc, enum pc_a20_source source)
{
	return (struct irq_line){ .set = set_a20, .context = pc, .pin = source };
}

static void set_request(void *context, unsigned request, bool level)
{
	if (level)
		machine_request(context, (enum machine_request)request);
}

struct irq_line pc_request(struct pc *pc, enum machine_request request)
{
	return (struct irq_line){
		.set = set_request, .context = pc->board.machine, .pin = request
	};
}

static uint8_t acknowledge(void *board)
{
	return i8259_acknowledge(&((struct pc *)board)->pic_master);
}

static void end_of_interrupt(void *board, uint8_t vector)
{
	ioapic_end_of_interrupt(&((struct pc *)board)->ioapic, vector);
}

static uint64_t pc_ioapic_read(void *device, uint64_t offset, unsigned size)
{
	return ioapic_read(device, offset, size);
}

static void pc_ioapic_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	ioapic_write(device, offset, size, (uint32_t)value);
}

static void add_interrupt_controllers(struct pc *pc)
{
	static const struct io_ops ioapic_ops = { pc_ioapic_read, pc_ioapic_write, 4 };
	struct machine *machine = pc->board.machine;
	struct irq_line intr = { .set = set_intr, .context = &machine->cpu_bus };

	i8259_init(&pc->pic_master, intr, PC_ELCR_MASTER);
	i8259_init(&pc->pic_slave,
		i8259_attach_slave(&pc->pic_master, PC_IRQ_CASCADE, &pc->pic_slave), PC_ELCR_SLAVE);
	ioapic_init(&pc->ioapic, &machine->cpu_bus);

	machine_add_device(machine, &i8259_type, "pic-master", &pc->pic_master);
	machine_add_device(machine, &i8259_type, "pic-slave", &pc->pic_slave);
	machine_add_device(machine, &ioapic_type, "ioapic", &pc->ioapic);

	isa_map_i8259(
		machine, PC_PORT_PIC_MASTER, PC_PORT_ELCR_MASTER, "pic-master", &pc->pic_master);
	isa_map_i8259(machine, PC_PORT_PIC_SLAVE, PC_PORT_ELCR_SLAVE, "pic-slave", &pc->pic_slave);
	address_space_map(&machine->mmio, &(struct io_region){ .base = PC_IOAPIC_BASE,
						  .size = IOAPIC_MMIO_SIZE,
						  .ops = &ioapic_ops,
						  .device = &pc->ioapic,
						  .name = "ioapic" });

	machine->cpu_bus.board = pc;
	machine->cpu_bus.acknowledge = acknowledge;
	machine->cpu_bus.end_of_interrupt = end_of_interrupt;
}

static void add_timers(struct pc *pc, const struct board_config *config)
{
	struct machine *machine = pc->board.machine;
	const struct irq_line pit_outputs[I8254_NR_COUNTERS] = { pc_isa_irq(pc, PC_IRQ_PIT) };
	const struct irq_line rtc_irq = { .set = set_rtc_irq, .context = pc, .pin = PC_IRQ_RTC };

	i8254_init(&pc->pit, &machine->clock, pit_outputs);
	machine_add_device(machine, &i8254_type, "pit", &pc->pit);
	isa_map_i8254(machine, PC_PORT_PIT, "pit", &pc->pit);

	mc146818_init(&pc->rtc, &machine->clock, rtc_irq, config->wall_clock_ns);
	machine_add_device(machine, &mc146818_type, "rtc", &pc->rtc);
	isa_map_mc146818(machine, PC_PORT_RTC, "rtc", &pc->rtc);
}

/* Power, reset and the A20 gate. After the timers, whose gate port B drives. */
static void add_power(struct pc *pc)
{
	struct machine *machine = pc->board.machine;
	struct irq_line reset = pc_request(pc, MACHINE_REQUEST_RESET);
	const struct i8042_lines keyboard_lines = {
		.keyboard_irq = pc_isa_irq(pc, PC_IRQ_KEYBOARD),
		.aux_irq = pc_isa_irq(pc, PC_IRQ_AUX),
		.a20 = a20(pc, PC_A20_KEYBOARD),
		.reset = reset,
	};

	pc->sci.line = pc_isa_irq(pc, PC_IRQ_SCI);
	acpi_pm_init(&pc->pm, &machine->clock, irq_wired_or_output(&pc->sci, PC_SCI_PM),
		pc_request(pc, MACHINE_REQUEST_POWEROFF), PC_SLEEP_S5);
	acpi_gpe_init(&pc->gpe, irq_wired_or_output(&pc->sci, PC_SCI_GPE));
	i8042_init(&pc->keyboard, &keyboard_lines);
	ps2_keyboard_init(&pc->ps2_keyboard, &machine->clock);
	ps2_mouse_init(&pc->ps2_mouse, &machine->clock);
	i8042_plug(&pc->keyboard, &pc->ps2_keyboard, &pc->ps2_mouse);
	system_port_init(
		&pc->system_port, &machine->clock, &pc->pit, a20(pc, PC_A20_PORT_A), reset);
	reset_control_init(&pc->reset_control, reset);

	machine_add_device(machine, &acpi_pm_type, "pm", &pc->pm);
	machine_add_device(machine, &acpi_gpe_type, "gpe", &pc->gpe);
	machine_add_device(machine, &i8042_type, "i8042", &pc->keyboard);
	machine_add_device(machine, &ps2_keyboard_type, "keyboard", &pc->ps2_keyboard);
	machine_add_device(machine, &ps2_mouse_type, "mouse", &pc->ps2_mouse);
	machine_add_device(machine, &system_port_type, "system-port", &pc->system_port);
	machine_add_device(machine, &reset_control_type, "reset-control", &pc->reset_control);

	isa_map_acpi_gpe(machine, PC_PORT_GPE, "gpe", &pc->gpe);
	isa_map_i8042(machine, PC_PORT_KEYBOARD, "i8042", &pc->keyboard);
	isa_map_system_port(machine, PC_PORT_A, PC_PORT_B, &pc->system_port);
	isa_map_reset_control(machine, PC_PORT_PCI_CONFIG, &pc->reset_control);
}

static uint64_t pm_read(void *device, uint64_t offset, unsigned size)
{
	struct pc *pc = device;

	if (offset < ACPI_PM_SIZE)
		return acpi_pm_read(&pc->pm, (unsigned)offset, size);
	if (!pc->chipset->pm_read)
		return 0;
	return pc->chipset->pm_read(pc, (unsigned)align_down(offset, 4)) >> (8 * (offset % 4)) &
	       byte_mask(size);
}

static void pm_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct pc *pc = device;

	if (offset < ACPI_PM_SIZE)
		acpi_pm_write(&pc->pm, (unsigned)offset, size, (uint32_t)value);
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

static void add_serial(struct pc *pc, const struct board_config *config)
{
	struct machine *machine = pc->board.machine;

	ns16550_init(&pc->com1, &machine->clock, pc_isa_irq(pc, PC_IRQ_COM1), config->com1);
	machine_add_device(machine, &ns16550_type, "com1", &pc->com1);
	isa_map_ns16550(machine, PC_PORT_COM1, "com1", &pc->com1);
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

/* Above 4 GiB everything that is not RAM is PCI's, up to what 40 address bits reach. */
static int add_pci(struct pc *pc, struct error *err)
{
	struct machine *machine = pc->board.machine;
	const struct pc_chipset *chipset = pc->chipset;
	uint64_t window = pc->low_end > chipset->pci_window ? pc->low_end : chipset->pci_window;
	uint64_t ram_end = machine->memory.end > PC_HIGH_BASE ? machine->memory.end : PC_HIGH_BASE;
	struct pci_host_config config = {
		.bridge = &pc->bridge,
		.ecam_size = chipset->ecam_size,
		.memory32 = { window, PC_IOAPIC_BASE - window },
		.memory64 = { align_up(ram_end, PC_HIGH_WINDOW), PC_HIGH_WINDOW },
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
	pci_host_map_config_ports(pc->pci, PC_PORT_PCI_CONFIG);
	pci_host_map_hotplug_ports(pc->pci, PC_PORT_PCI_HOTPLUG);
	return 0;
}

static int add_memory(struct pc *pc, uint64_t bytes, struct error *err)
{
	const struct pc_chipset *chipset = pc->chipset;

	if (bytes < PC_MIN_RAM || bytes > PC_MAX_RAM || bytes % GUEST_PAGE_SIZE)
		return error_set(err, EXIT_CODE_CONFIG,
			"the board pc cannot have %llu bytes of memory; use --memory with 4M to "
			"512G, in whole pages of 4K",
			(unsigned long long)bytes);
	pc->memory_bytes = bytes;
	pc->low_end = bytes <= chipset->max_low_ram ? bytes : chipset->split_low_ram;
	return pc_memory_create(&pc->memory, pc->board.machine, bytes, pc->low_end, err);
}

/* The user chooses the port: it must not be another chip's. */
static int add_debug_exit(struct pc *pc, const struct board_config *config, struct error *err)
{
	struct machine *machine = pc->board.machine;
	int port = config->debug_exit_port;

	if (port < 0)
		return 0;
	for (int i = port; i < port + ISA_DEBUG_EXIT_PORTS; i++) {
		if (i > UINT16_MAX || address_space_find(&machine->pio, (uint64_t)i))
			return error_set(err, EXIT_CODE_CONFIG,
				"the board pc cannot have its debug exit at port 0x%x, which is "
				"taken; use --debug-exit 0xf4",
				(unsigned)port);
	}
	isa_map_debug_exit(machine, (uint16_t)port);
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
	return pc_memory_add_rom(&pc->memory, firmware->code, firmware->code_size, err);
}

static void pc_destroy(struct board *board)
{
	struct pc *pc = pc_of(board);

	pci_host_destroy(pc->pci);
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
	machine->nr_vcpus = config->nr_vcpus;
	rc = add_memory(pc, config->memory_bytes, err);
	if (rc == 0)
		rc = add_firmware(pc, config, err);
	if (rc < 0) {
		free(pc->vga_bios);
		free(pc);
		return rc;
	}
	add_interrupt_controllers(pc);
	add_timers(pc, config);
	add_power(pc);
	add_serial(pc, config);
	add_firmware_devices(pc, config);
	rc = add_pci(pc, err);
	if (rc == 0)
		rc = add_debug_exit(pc, config, err);
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
	acpi_pm_press_power_button(&pc_of(board)->pm);
}

static struct ns16550 *pc_com1(struct board *board)
{
	return &pc_of(board)->com1;
}

static struct i8042 *pc_i8042(struct board *board)
{
	return &pc_of(board)->keyboard;
}

const struct board_type pc_board_type = {
	.name = "pc",
	.summary = "a PC, with firmware or without",
	.create = pc_create,
	.destroy = pc_destroy,
	.start = pc_start,
	.describe = pc_describe,
	.power_button = pc_power_button,
	.com1 = pc_com1,
	.pci = pc_pci,
	.i8042 = pc_i8042,
	.display_device = "vga",
	.vga_slot = PC_SLOT_VGA,
};
