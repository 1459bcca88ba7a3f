/*
 * The board "micro": the least that a modern operating system needs, and no firmware.
 *
 *	0x00000000  RAM, up to 3 GiB, 0xa0000 to 0xfffff included
 *	0xc0000000  the hole: PCI, ECAM at 0xfe000000, IOAPIC at 0xfec00000, local APICs at
 *	            0xfee00000
 *	4 GiB       the rest of RAM; from the next multiple of 32 GiB, PCI again
 *
 * ISA interrupts go to the pair of 8259s and to the IOAPIC pin of the same number, the timer's to
 * pin 2; PCI's INTA to INTD to IOAPIC pins 16 to 19, active low, and to IRQ 10 and 11 of the 8259s.
 * PCI is there only if the board's configuration says so. Everything runs under the machine lock.
 */
#include "board/board.h"

#include "base/bits.h"
#include "chip/acpi_gpe.h"
#include "chip/acpi_pm.h"
#include "chip/acpi_pm_regs.h"
#include "chip/i8042.h"
#include "chip/i8254.h"
#include "chip/i8259.h"
#include "chip/ioapic.h"
#include "chip/mc146818.h"
#include "chip/ns16550.h"
#include "chip/reset_control.h"
#include "chip/system_port.h"
#include "isa/isa_ports.h"
#include "pci/pci_host.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define MICRO_HOLE_BASE UINT64_C(0xc0000000)
#define MICRO_HIGH_BASE UINT64_C(0x100000000)
#define MICRO_MIN_RAM   (UINT64_C(1) << 20)
#define MICRO_MAX_RAM   (UINT64_C(512) << 30)

#define MICRO_IOAPIC_BASE UINT64_C(0xfec00000)
#define MICRO_IOAPIC_ID   0
#define MICRO_LAPIC_BASE  UINT64_C(0xfee00000)

/* As in pci.asl. */
#define MICRO_PCI_ECAM    UINT64_C(0xfe000000)
#define MICRO_PCI_IO_BASE 0x1000
#define MICRO_PCI_IO_END  0x10000
#define MICRO_PCI_HIGH_WINDOW                                                                      \
	(UINT64_C(32) << 30) /* its size, and what its base is a multiple of */
#define MICRO_PCI_IOAPIC_PIN 16
#define MICRO_GPE_PCI        1

enum micro_port {
	MICRO_PORT_PIC_MASTER = 0x20,
	MICRO_PORT_PIT = 0x40,
	MICRO_PORT_KEYBOARD = 0x60,
	MICRO_PORT_B = 0x61,
	MICRO_PORT_RTC = 0x70,
	MICRO_PORT_A = 0x92,
	MICRO_PORT_PIC_SLAVE = 0xa0,
	MICRO_PORT_COM1 = 0x3f8,
	MICRO_PORT_ELCR_MASTER = 0x4d0,
	MICRO_PORT_ELCR_SLAVE = 0x4d1,
	MICRO_PORT_PM = 0x600, /* status, enable, control, timer */
	MICRO_PORT_GPE = 0x610,
	MICRO_PORT_PCI_HOTPLUG = 0x620,
	MICRO_PORT_PCI_CONFIG = 0xcf8,
	MICRO_PORT_RESET = 0xcf9,
};

enum micro_irq {
	MICRO_IRQ_PIT = 0,
	MICRO_IRQ_KEYBOARD = 1,
	MICRO_IRQ_CASCADE = 2,
	MICRO_IRQ_COM1 = 4,
	MICRO_IRQ_RTC = 8,
	MICRO_IRQ_SCI = 9,
	MICRO_IRQ_PCI = 10, /* and 11 */
	MICRO_IRQ_AUX = 12,
};
#define MICRO_IOAPIC_PIN_PIT 2

/* The SLP_TYP of S5 in micro.asl. */
#define MICRO_SLEEP_S5 5

/* The inputs that can be made level triggered: not the timer's, the keyboard's, the cascade, the
 * RTC's and the coprocessor's. */
#define MICRO_ELCR_MASTER 0xf8
#define MICRO_ELCR_SLAVE  0xde

struct micro {
	struct board board;
	struct i8259 pic_master, pic_slave;
	struct ioapic ioapic;
	struct i8254 pit;
	struct mc146818 rtc;
	struct acpi_pm pm;
	struct i8042 keyboard;
	struct system_port system_port;
	struct reset_control reset_control;
	struct ns16550 com1;
	struct irq_wired_or sci;
	/* With PCI only. */
	struct acpi_gpe gpe;
	struct pci_host *pci;
	struct irq_wired_or pci_irqs[2]; /* at the 8259s */
	uint8_t a20_sources;             /* MICRO_A20_*; any of them opens the gate */
};

enum micro_sci_source { MICRO_SCI_PM, MICRO_SCI_GPE };
enum micro_a20_source { MICRO_A20_KEYBOARD, MICRO_A20_PORT_A };

static void micro_set_isa_irq(void *context, unsigned irq, bool level)
{
	struct micro *micro = context;
	unsigned ioapic_pin = irq == MICRO_IRQ_PIT ? MICRO_IOAPIC_PIN_PIT : irq;
	struct i8259 *pic = irq < I8259_NR_PINS ? &micro->pic_master : &micro->pic_slave;
	struct irq_line pic_line = i8259_input(pic, irq % I8259_NR_PINS);
	struct irq_line ioapic_line = ioapic_input(&micro->ioapic, ioapic_pin);

	irq_line_set(&pic_line, level);
	irq_line_set(&ioapic_line, level);
}

static struct irq_line micro_isa_irq(struct micro *micro, unsigned irq)
{
	return (struct irq_line){ .set = micro_set_isa_irq, .context = micro, .pin = irq };
}

/* The RTC's interrupt is an ACPI event besides, when it rises. */
static void micro_set_rtc_irq(void *context, unsigned irq, bool level)
{
	struct micro *micro = context;
	bool was_high = micro->pic_slave.state.lines & BIT(irq % I8259_NR_PINS);

	micro_set_isa_irq(micro, irq, level);
	if (level && !was_high)
		acpi_pm_rtc_alarm(&micro->pm);
}

/* The master 8259's INT. */
static void micro_set_intr(void *context, unsigned pin, bool level)
{
	const struct cpu_bus *bus = context;

	(void)pin;
	if (bus->intr)
		bus->intr(bus->engine, level);
}

static void micro_set_a20(void *context, unsigned source, bool level)
{
	struct micro *micro = context;
	const struct cpu_bus *bus = &micro->board.machine->cpu_bus;

	micro->a20_sources = (uint8_t)((micro->a20_sources & ~BIT(source)) | level << source);
	if (bus->set_a20)
		bus->set_a20(bus->engine, micro->a20_sources);
}

static struct irq_line micro_a20(struct micro *micro, enum micro_a20_source source)
{
	return (struct irq_line){ .set = micro_set_a20, .context = micro, .pin = source };
}

/* A line whose rising edge is a request to whoever runs the machine. */
static void micro_set_request(void *context, unsigned request, bool level)
{
	if (level)
		machine_request(context, (enum machine_request)request);
}

static struct irq_line micro_request(struct micro *micro, enum machine_request request)
{
	return (struct irq_line){
		.set = micro_set_request, .context = micro->board.machine, .pin = request
	};
}

static uint8_t micro_acknowledge(void *board)
{
	return i8259_acknowledge(&((struct micro *)board)->pic_master);
}

static void micro_end_of_interrupt(void *board, uint8_t vector)
{
	ioapic_end_of_interrupt(&((struct micro *)board)->ioapic, vector);
}

static uint64_t micro_ioapic_read(void *device, uint64_t offset, unsigned size)
{
	return ioapic_read(device, offset, size);
}

static void micro_ioapic_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	ioapic_write(device, offset, size, (uint32_t)value);
}

static void micro_add_interrupt_controllers(struct micro *micro)
{
	static const struct io_ops ioapic_ops = { micro_ioapic_read, micro_ioapic_write, 4 };
	struct machine *machine = micro->board.machine;
	struct irq_line intr = { .set = micro_set_intr, .context = &machine->cpu_bus };

	i8259_init(&micro->pic_master, intr, MICRO_ELCR_MASTER);
	i8259_init(&micro->pic_slave,
		i8259_attach_slave(&micro->pic_master, MICRO_IRQ_CASCADE, &micro->pic_slave),
		MICRO_ELCR_SLAVE);
	ioapic_init(&micro->ioapic, &machine->cpu_bus);

	machine_add_device(machine, &i8259_type, "pic-master", &micro->pic_master);
	machine_add_device(machine, &i8259_type, "pic-slave", &micro->pic_slave);
	machine_add_device(machine, &ioapic_type, "ioapic", &micro->ioapic);

	isa_map_i8259(machine, MICRO_PORT_PIC_MASTER, MICRO_PORT_ELCR_MASTER, "pic-master",
		&micro->pic_master);
	isa_map_i8259(machine, MICRO_PORT_PIC_SLAVE, MICRO_PORT_ELCR_SLAVE, "pic-slave",
		&micro->pic_slave);
	address_space_map(&machine->mmio, &(struct io_region){ .base = MICRO_IOAPIC_BASE,
						  .size = IOAPIC_MMIO_SIZE,
						  .ops = &ioapic_ops,
						  .device = &micro->ioapic,
						  .name = "ioapic" });

	machine->cpu_bus.board = micro;
	machine->cpu_bus.acknowledge = micro_acknowledge;
	machine->cpu_bus.end_of_interrupt = micro_end_of_interrupt;
}

static void micro_add_timers(struct micro *micro, const struct board_config *config)
{
	struct machine *machine = micro->board.machine;
	const struct irq_line pit_outputs[I8254_NR_COUNTERS] = {
		micro_isa_irq(micro, MICRO_IRQ_PIT),
	};
	const struct irq_line rtc_irq = {
		.set = micro_set_rtc_irq, .context = micro, .pin = MICRO_IRQ_RTC
	};

	i8254_init(&micro->pit, &machine->clock, pit_outputs);
	machine_add_device(machine, &i8254_type, "pit", &micro->pit);
	isa_map_i8254(machine, MICRO_PORT_PIT, "pit", &micro->pit);

	mc146818_init(&micro->rtc, &machine->clock, rtc_irq, config->wall_clock_ns);
	machine_add_device(machine, &mc146818_type, "rtc", &micro->rtc);
	isa_map_mc146818(machine, MICRO_PORT_RTC, "rtc", &micro->rtc);
}

/* Power, reset and the A20 gate. After the timers, whose gate port B drives. */
static void micro_add_power(struct micro *micro)
{
	struct machine *machine = micro->board.machine;
	struct irq_line reset = micro_request(micro, MACHINE_REQUEST_RESET);
	const struct i8042_lines keyboard_lines = {
		.keyboard_irq = micro_isa_irq(micro, MICRO_IRQ_KEYBOARD),
		.aux_irq = micro_isa_irq(micro, MICRO_IRQ_AUX),
		.a20 = micro_a20(micro, MICRO_A20_KEYBOARD),
		.reset = reset,
	};

	micro->sci.line = micro_isa_irq(micro, MICRO_IRQ_SCI);
	acpi_pm_init(&micro->pm, &machine->clock, irq_wired_or_output(&micro->sci, MICRO_SCI_PM),
		micro_request(micro, MACHINE_REQUEST_POWEROFF), MICRO_SLEEP_S5);
	i8042_init(&micro->keyboard, &keyboard_lines);
	system_port_init(&micro->system_port, &machine->clock, &micro->pit,
		micro_a20(micro, MICRO_A20_PORT_A), reset);
	reset_control_init(&micro->reset_control, reset);

	machine_add_device(machine, &acpi_pm_type, "pm", &micro->pm);
	machine_add_device(machine, &i8042_type, "keyboard", &micro->keyboard);
	machine_add_device(machine, &system_port_type, "system-port", &micro->system_port);
	machine_add_device(machine, &reset_control_type, "reset-control", &micro->reset_control);

	isa_map_acpi_pm(machine, MICRO_PORT_PM, "pm", &micro->pm);
	isa_map_i8042(machine, MICRO_PORT_KEYBOARD, "keyboard", &micro->keyboard);
	isa_map_system_port(machine, MICRO_PORT_A, MICRO_PORT_B, &micro->system_port);
	isa_map_reset_control(machine, MICRO_PORT_PCI_CONFIG, &micro->reset_control);
}

static void micro_add_serial(struct micro *micro, const struct board_config *config)
{
	struct machine *machine = micro->board.machine;

	ns16550_init(
		&micro->com1, &machine->clock, micro_isa_irq(micro, MICRO_IRQ_COM1), config->com1);
	machine_add_device(machine, &ns16550_type, "com1", &micro->com1);
	isa_map_ns16550(machine, MICRO_PORT_COM1, "com1", &micro->com1);
}

/* INTA to INTD are low when they are asserted, and the IOAPIC sees them so; the router in front of
 * the 8259s inverts them. */
static void micro_set_pci_irq(void *context, unsigned pin, bool level)
{
	struct micro *micro = context;
	struct irq_line ioapic = ioapic_input(&micro->ioapic, MICRO_PCI_IOAPIC_PIN + pin);

	irq_line_set(&ioapic, !level);
	irq_wired_or_set(&micro->pci_irqs[pin % 2], pin / 2, level);
}

static void micro_route_pci_irqs(struct micro *micro, struct pci_host_config *config)
{
	for (unsigned i = 0; i < ARRAY_SIZE(micro->pci_irqs); i++) {
		unsigned irq = MICRO_IRQ_PCI + i - I8259_NR_PINS;

		micro->pci_irqs[i].line = i8259_input(&micro->pic_slave, irq);
	}
	for (unsigned pin = 0; pin < PCI_NR_PINS; pin++) {
		config->intx[pin] =
			(struct irq_line){ .set = micro_set_pci_irq, .context = micro, .pin = pin };
		config->interrupt_line[pin] = (uint8_t)(MICRO_IRQ_PCI + pin % 2);
		micro_set_pci_irq(micro, pin, false);
	}
}

/* After memory and power, on whose reset control register CONFIG_ADDRESS lies. */
static int micro_add_pci(struct micro *micro, struct error *err)
{
	struct machine *machine = micro->board.machine;
	uint64_t ram_end = micro->board.device_memory_end;
	struct pci_host_config config = {
		.ecam_base = MICRO_PCI_ECAM,
		.memory32 = { MICRO_HOLE_BASE, MICRO_PCI_ECAM - MICRO_HOLE_BASE },
		.memory64 = { align_up(ram_end, MICRO_PCI_HIGH_WINDOW), MICRO_PCI_HIGH_WINDOW },
		.io = { MICRO_PCI_IO_BASE, MICRO_PCI_IO_END - MICRO_PCI_IO_BASE },
		.hotplug_event = acpi_gpe_input(&micro->gpe, MICRO_GPE_PCI),
	};
	int rc;

	acpi_gpe_init(&micro->gpe, irq_wired_or_output(&micro->sci, MICRO_SCI_GPE));
	machine_add_device(machine, &acpi_gpe_type, "gpe", &micro->gpe);
	isa_map_acpi_gpe(machine, MICRO_PORT_GPE, "gpe", &micro->gpe);

	micro_route_pci_irqs(micro, &config);
	rc = pci_host_create(&micro->pci, machine, &config, err);
	if (rc < 0)
		return rc;
	pci_host_map_config_ports(micro->pci, MICRO_PORT_PCI_CONFIG);
	pci_host_map_hotplug_ports(micro->pci, MICRO_PORT_PCI_HOTPLUG);
	return 0;
}

static int micro_add_memory(struct machine *machine, uint64_t bytes, struct error *err)
{
	uint64_t low = bytes < MICRO_HOLE_BASE ? bytes : MICRO_HOLE_BASE;
	int rc;

	if (bytes < MICRO_MIN_RAM || bytes > MICRO_MAX_RAM || bytes % GUEST_PAGE_SIZE)
		return error_set(err, EXIT_CODE_CONFIG,
			"the board micro cannot have %llu bytes of memory; use --memory with 1M to "
			"512G, in whole pages of 4K",
			(unsigned long long)bytes);
	rc = guest_memory_add(&machine->memory, 0, low, false, err);
	if (rc == 0 && bytes > low)
		rc = guest_memory_add(&machine->memory, MICRO_HIGH_BASE, bytes - low, false, err);
	return rc;
}

/* The user chooses the port: it must not be another chip's. */
static int micro_add_debug_exit(
	struct micro *micro, const struct board_config *config, struct error *err)
{
	struct machine *machine = micro->board.machine;
	int port = config->debug_exit_port;

	if (port < 0)
		return 0;
	for (int i = port; i < port + ISA_DEBUG_EXIT_PORTS; i++) {
		if (i > UINT16_MAX || address_space_find(&machine->pio, (uint64_t)i))
			return error_set(err, EXIT_CODE_CONFIG,
				"the board micro cannot have its debug exit at port 0x%x, which is "
				"taken; use --debug-exit 0xf4",
				(unsigned)port);
	}
	isa_map_debug_exit(machine, (uint16_t)port);
	return 0;
}

static void micro_destroy(struct board *board)
{
	struct micro *micro = container_of(board, struct micro, board);

	pci_host_destroy(micro->pci);
	free(micro);
}

static int micro_create(struct board **board, const struct board_config *config,
	struct machine *machine, struct error *err)
{
	struct micro *micro;
	int rc = micro_add_memory(machine, config->memory_bytes, err);

	if (rc < 0)
		return rc;
	micro = calloc(1, sizeof(*micro));
	if (!micro)
		return error_set_errno(err, EXIT_CODE_HOST, ENOMEM, "cannot create the board");
	micro->board = (struct board){ .type = &micro_board_type, .machine = machine };
	micro->board.device_memory = align_up(
		machine->memory.end > MICRO_HIGH_BASE ? machine->memory.end : MICRO_HIGH_BASE,
		BOARD_DEVICE_MEMORY_ALIGNMENT);
	micro->board.device_memory_end = micro->board.device_memory + config->device_memory_bytes;
	machine->nr_vcpus = config->nr_vcpus;

	micro_add_interrupt_controllers(micro);
	micro_add_timers(micro, config);
	micro_add_power(micro);
	micro_add_serial(micro, config);
	if (config->has_pci)
		rc = micro_add_pci(micro, err);
	if (rc == 0)
		rc = micro_add_debug_exit(micro, config, err);
	if (rc < 0) {
		micro_destroy(&micro->board);
		return rc;
	}
	*board = &micro->board;
	return 0;
}

static void micro_describe(const struct board *board, struct acpi_config *acpi)
{
	*acpi = (struct acpi_config){
		.nr_vcpus = board->machine->nr_vcpus,
		.local_apic_address = MICRO_LAPIC_BASE,
		.ioapic_id = MICRO_IOAPIC_ID,
		.ioapic_address = MICRO_IOAPIC_BASE,
		.overrides = {
			{ .isa_irq = MICRO_IRQ_PIT, .pin = MICRO_IOAPIC_PIN_PIT },
			{ .isa_irq = MICRO_IRQ_SCI, .pin = MICRO_IRQ_SCI, .level = true },
		},
		.nr_overrides = 2,
		.sci_irq = MICRO_IRQ_SCI,
		.pm1_event_port = MICRO_PORT_PM + ACPI_PM_STATUS,
		.pm1_control_port = MICRO_PORT_PM + ACPI_PM_CONTROL,
		.pm_timer_port = MICRO_PORT_PM + ACPI_PM_TIMER,
		.reset_port = MICRO_PORT_RESET,
		.reset_value = RESET_CONTROL_HARD_RESET,
		.dsdt = acpi_micro_dsdt,
		.dsdt_size = acpi_micro_dsdt_size,
	};
	if (!container_of(board, struct micro, board)->pci)
		return;
	acpi->gpe0_port = MICRO_PORT_GPE;
	acpi->gpe0_length = ACPI_GPE_SIZE;
	acpi->ecam_address = MICRO_PCI_ECAM;
	acpi->ssdts[acpi->nr_ssdts++] = (struct acpi_aml){ acpi_pci_ssdt, acpi_pci_ssdt_size };
}

static struct pci_host *micro_pci(struct board *board)
{
	return container_of(board, struct micro, board)->pci;
}

static void micro_power_button(struct board *board)
{
	acpi_pm_press_power_button(&container_of(board, struct micro, board)->pm);
}

static struct ns16550 *micro_com1(struct board *board)
{
	return &container_of(board, struct micro, board)->com1;
}

const struct board_type micro_board_type = {
	.name = "micro",
	.summary = "serial console and ACPI, nothing else",
	.create = micro_create,
	.destroy = micro_destroy,
	.describe = micro_describe,
	.power_button = micro_power_button,
	.com1 = micro_com1,
	.pci = micro_pci,
};
