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
#include "board/at.h"

#include "chip/acpi_pm_regs.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

/* The SLP_TYP of S5 in the DSDT. */
#define MICRO_SLEEP_S5 5

#define MICRO_HOLE_BASE UINT64_C(0xc0000000)
#define MICRO_HIGH_BASE UINT64_C(0x100000000)
#define MICRO_MIN_RAM   (UINT64_C(1) << 20)
#define MICRO_MAX_RAM   (UINT64_C(512) << 30)

/* As in pci.asl. */
#define MICRO_PCI_ECAM    UINT64_C(0xfe000000)
#define MICRO_PCI_IO_BASE 0x1000
#define MICRO_PCI_IO_END  0x10000
#define MICRO_PCI_HIGH_WINDOW                                                                      \
	(UINT64_C(32) << 30) /* its size, and what its base is a multiple of */
#define MICRO_PCI_IOAPIC_PIN 16
#define MICRO_GPE_PCI        1
#define MICRO_GPE_GENERATION 5 /* as in generation.asl */

enum micro_port {
	MICRO_PORT_PM = 0x600, /* status, enable, control, timer */
	MICRO_PORT_GPE = 0x610,
	MICRO_PORT_PCI_HOTPLUG = 0x620,
};

#define MICRO_IRQ_PCI 10 /* and 11 */

struct micro {
	struct board board;
	struct at at;
	struct acpi_gpe gpe; /* with PCI or a generation only */
	bool has_events;
	/* With PCI only. */
	struct pci_host *pci;
	struct irq_wired_or pci_irqs[2]; /* at the 8259s */
};

/* INTA to INTD are low when they are asserted, and the IOAPIC sees them so; the router in front of
 * the 8259s inverts them. */
static void micro_set_pci_irq(void *context, unsigned pin, bool level)
{
	struct micro *micro = context;
	struct irq_line ioapic = ioapic_input(&micro->at.ioapic, MICRO_PCI_IOAPIC_PIN + pin);

	irq_line_set(&ioapic, !level);
	irq_wired_or_set(&micro->pci_irqs[pin % 2], pin / 2, level);
}

static void micro_route_pci_irqs(struct micro *micro, struct pci_host_config *config)
{
	for (unsigned i = 0; i < ARRAY_SIZE(micro->pci_irqs); i++)
		micro->pci_irqs[i].line = at_pci_irq(&micro->at, MICRO_IRQ_PCI + i);
	for (unsigned pin = 0; pin < PCI_NR_PINS; pin++) {
		config->intx[pin] =
			(struct irq_line){ .set = micro_set_pci_irq, .context = micro, .pin = pin };
		config->interrupt_line[pin] = (uint8_t)(MICRO_IRQ_PCI + pin % 2);
		micro_set_pci_irq(micro, pin, false);
	}
}

static void micro_add_events(struct micro *micro)
{
	struct machine *machine = micro->board.machine;

	acpi_gpe_init(&micro->gpe, irq_wired_or_output(&micro->at.sci, AT_SCI_GPE));
	machine_add_device(machine, &acpi_gpe_type, "gpe", &micro->gpe);
	isa_map_acpi_gpe(machine, MICRO_PORT_GPE, "gpe", &micro->gpe);
	micro->has_events = true;
}

/* After memory, events and power, on whose reset control register CONFIG_ADDRESS lies. */
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

	micro_route_pci_irqs(micro, &config);
	rc = pci_host_create(&micro->pci, machine, &config, err);
	if (rc < 0)
		return rc;
	pci_host_map_config_ports(micro->pci, AT_PORT_PCI_CONFIG);
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
	at_init(&micro->at, machine, config, MICRO_SLEEP_S5);
	isa_map_acpi_pm(machine, MICRO_PORT_PM, "pm", &micro->at.pm);
	if (config->has_pci || config->has_generation)
		micro_add_events(micro);
	if (config->has_pci)
		rc = micro_add_pci(micro, err);
	if (rc == 0 && config->has_generation)
		rc = board_add_generation(
			&micro->board, acpi_gpe_input(&micro->gpe, MICRO_GPE_GENERATION), err);
	if (rc == 0)
		rc = at_add_debug_exit(&micro->at, "micro", config->debug_exit_port, err);
	if (rc < 0) {
		micro_destroy(&micro->board);
		return rc;
	}
	*board = &micro->board;
	return 0;
}

static void micro_describe(const struct board *board, struct acpi_config *acpi)
{
	const struct micro *micro = container_of(board, struct micro, board);

	*acpi = (struct acpi_config){
		.pm1_event_port = MICRO_PORT_PM + ACPI_PM_STATUS,
		.pm1_control_port = MICRO_PORT_PM + ACPI_PM_CONTROL,
		.pm_timer_port = MICRO_PORT_PM + ACPI_PM_TIMER,
		.dsdt = acpi_micro_dsdt,
		.dsdt_size = acpi_micro_dsdt_size,
	};
	at_describe(&micro->at, acpi);
	acpi->has_generation = board->has_generation;
	acpi->generation_address = ACPI_GENERATION_PAGE;
	if (micro->has_events) {
		acpi->gpe0_port = MICRO_PORT_GPE;
		acpi->gpe0_length = ACPI_GPE_SIZE;
	}
	if (!micro->pci)
		return;
	acpi->ecam_address = MICRO_PCI_ECAM;
	acpi->ssdts[acpi->nr_ssdts++] = (struct acpi_aml){ acpi_pci_ssdt, acpi_pci_ssdt_size };
}

static struct pci_host *micro_pci(struct board *board)
{
	return container_of(board, struct micro, board)->pci;
}

static gpa_t micro_generation_page(struct board *board)
{
	(void)board;
	return ACPI_GENERATION_PAGE;
}

static void micro_power_button(struct board *board)
{
	acpi_pm_press_power_button(&container_of(board, struct micro, board)->at.pm);
}

static struct at *micro_at(struct board *board)
{
	return &container_of(board, struct micro, board)->at;
}

const struct board_type micro_board_type = {
	.name = "micro",
	.summary = "serial console and ACPI, nothing else",
	.create = micro_create,
	.destroy = micro_destroy,
	.describe = micro_describe,
	.power_button = micro_power_button,
	.at = micro_at,
	.pci = micro_pci,
	.generation_page = micro_generation_page,
};
