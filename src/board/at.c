#include "board/at.h"

enum at_a20_source { AT_A20_KEYBOARD, AT_A20_PORT_A };

/* The 8259s see ISA and PCI interrupts of one number as one. */
static void drive_pic(struct at *at, unsigned irq)
{
	struct i8259 *pic = irq < I8259_NR_PINS ? &at->pic_master : &at->pic_slave;
	struct irq_line line = i8259_input(pic, irq % I8259_NR_PINS);

	irq_line_set(&line, (at->isa_levels | at->pci_levels) & BIT(irq));
}

static void set_level(uint16_t *levels, unsigned irq, bool level)
{
	*levels = (uint16_t)((*levels & ~BIT(irq)) | (uint64_t)level << irq);
}

static void set_isa_irq(void *context, unsigned irq, bool level)
{
	struct at *at = context;
	struct irq_line ioapic =
		ioapic_input(&at->ioapic, irq == AT_IRQ_PIT ? AT_IOAPIC_PIN_PIT : irq);

	set_level(&at->isa_levels, irq, level);
	drive_pic(at, irq);
	irq_line_set(&ioapic, level);
}

struct irq_line at_isa_irq(struct at *at, unsigned irq)
{
	return (struct irq_line){ .set = set_isa_irq, .context = at, .pin = irq };
}

static void set_pci_irq(void *context, unsigned irq, bool level)
{
	struct at *at = context;

	set_level(&at->pci_levels, irq, level);
	drive_pic(at, irq);
}

struct irq_line at_pci_irq(struct at *at, unsigned irq)
{
	return (struct irq_line){ .set = set_pci_irq, .context = at, .pin = irq };
}

static void set_pit_irq(void *context, unsigned irq, bool level)
{
	struct at *at = context;

	at->pit_level = level;
	if (!at->timers_replaced)
		set_isa_irq(at, irq, level);
}

/* The RTC's interrupt is an ACPI event besides, when it rises. */
static void set_rtc_irq(void *context, unsigned irq, bool level)
{
	struct at *at = context;
	bool was_high = at->rtc_level;

	at->rtc_level = level;
	if (!at->timers_replaced)
		set_isa_irq(at, irq, level);
	if (level && !was_high)
		acpi_pm_rtc_alarm(&at->pm);
}

void at_replace_timers(struct at *at, bool replace)
{
	if (at->timers_replaced == replace)
		return;
	at->timers_replaced = replace;
	set_isa_irq(at, AT_IRQ_PIT, !replace && at->pit_level);
	set_isa_irq(at, AT_IRQ_RTC, !replace && at->rtc_level);
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
	struct at *at = context;
	const struct cpu_bus *bus = &at->machine->cpu_bus;

	at->a20_sources = (uint8_t)((at->a20_sources & ~BIT(source)) | level << source);
	if (bus->set_a20)
		bus->set_a20(bus->engine, at->a20_sources);
}

static struct irq_line a20(struct at *at, enum at_a20_source source)
{
	return (struct irq_line){ .set = set_a20, .context = at, .pin = source };
}

/* A line whose rising edge is a request to whoever runs the machine. */
static void set_request(void *context, unsigned request, bool level)
{
	if (level)
		machine_request(context, (enum machine_request)request);
}

static struct irq_line request_line(struct at *at, enum machine_request request)
{
	return (struct irq_line){ .set = set_request, .context = at->machine, .pin = request };
}

static uint8_t acknowledge(void *board)
{
	return i8259_acknowledge(&((struct at *)board)->pic_master);
}

static void end_of_interrupt(void *board, uint8_t vector)
{
	ioapic_end_of_interrupt(&((struct at *)board)->ioapic, vector);
}

static uint64_t at_ioapic_read(void *device, uint64_t offset, unsigned size)
{
	return ioapic_read(device, offset, size);
}

static void at_ioapic_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	ioapic_write(device, offset, size, (uint32_t)value);
}

static void add_interrupt_controllers(struct at *at)
{
	static const struct io_ops ioapic_ops = { at_ioapic_read, at_ioapic_write, 4 };
	struct machine *machine = at->machine;
	struct irq_line intr = { .set = set_intr, .context = &machine->cpu_bus };

	i8259_init(&at->pic_master, intr, AT_ELCR_MASTER);
	i8259_init(&at->pic_slave,
		i8259_attach_slave(&at->pic_master, AT_IRQ_CASCADE, &at->pic_slave), AT_ELCR_SLAVE);
	ioapic_init(&at->ioapic, &machine->cpu_bus);

	machine_add_device(machine, &i8259_type, "pic-master", &at->pic_master);
	machine_add_device(machine, &i8259_type, "pic-slave", &at->pic_slave);
	machine_add_device(machine, &ioapic_type, "ioapic", &at->ioapic);

	isa_map_i8259(
		machine, AT_PORT_PIC_MASTER, AT_PORT_ELCR_MASTER, "pic-master", &at->pic_master);
	isa_map_i8259(machine, AT_PORT_PIC_SLAVE, AT_PORT_ELCR_SLAVE, "pic-slave", &at->pic_slave);
	address_space_map(&machine->mmio, &(struct io_region){ .base = AT_IOAPIC_BASE,
						  .size = IOAPIC_MMIO_SIZE,
						  .ops = &ioapic_ops,
						  .device = &at->ioapic,
						  .name = "ioapic" });

	machine->cpu_bus.board = at;
	machine->cpu_bus.acknowledge = acknowledge;
	machine->cpu_bus.end_of_interrupt = end_of_interrupt;
}

static void add_timers(struct at *at, const struct board_config *config)
{
	struct machine *machine = at->machine;
	const struct irq_line pit_outputs[I8254_NR_COUNTERS] = {
		{ .set = set_pit_irq, .context = at, .pin = AT_IRQ_PIT }
	};
	const struct irq_line rtc_irq = { .set = set_rtc_irq, .context = at, .pin = AT_IRQ_RTC };

	i8254_init(&at->pit, &machine->clock, pit_outputs);
	machine_add_device(machine, &i8254_type, "pit", &at->pit);
	isa_map_i8254(machine, AT_PORT_PIT, "pit", &at->pit);

	mc146818_init(&at->rtc, &machine->clock, rtc_irq, config->wall_clock_ns);
	machine_add_device(machine, &mc146818_type, "rtc", &at->rtc);
	isa_map_mc146818(machine, AT_PORT_RTC, "rtc", &at->rtc);
}

/* Power, reset and the A20 gate. After the timers, whose gate port B drives. */
static void add_power(struct at *at, uint8_t soft_off)
{
	struct machine *machine = at->machine;
	struct irq_line reset = request_line(at, MACHINE_REQUEST_RESET);
	const struct i8042_lines keyboard_lines = {
		.keyboard_irq = at_isa_irq(at, AT_IRQ_KEYBOARD),
		.aux_irq = at_isa_irq(at, AT_IRQ_AUX),
		.a20 = a20(at, AT_A20_KEYBOARD),
		.reset = reset,
	};

	at->sci.line = at_isa_irq(at, AT_IRQ_SCI);
	acpi_pm_init(&at->pm, &machine->clock, irq_wired_or_output(&at->sci, AT_SCI_PM),
		request_line(at, MACHINE_REQUEST_POWEROFF), soft_off);
	i8042_init(&at->keyboard, &keyboard_lines);
	system_port_init(
		&at->system_port, &machine->clock, &at->pit, a20(at, AT_A20_PORT_A), reset);
	reset_control_init(&at->reset_control, reset);

	machine_add_device(machine, &acpi_pm_type, "pm", &at->pm);
	machine_add_device(machine, &i8042_type, "i8042", &at->keyboard);
	machine_add_device(machine, &system_port_type, "system-port", &at->system_port);
	machine_add_device(machine, &reset_control_type, "reset-control", &at->reset_control);

	isa_map_i8042(machine, AT_PORT_KEYBOARD, "i8042", &at->keyboard);
	isa_map_system_port(machine, AT_PORT_A, AT_PORT_B, &at->system_port);
	isa_map_reset_control(machine, AT_PORT_PCI_CONFIG, &at->reset_control);
}

static void add_serial(struct at *at, const struct board_config *config)
{
	static const uint16_t ports[] = { AT_PORT_COM1, AT_PORT_COM2, AT_PORT_COM3, AT_PORT_COM4 };
	static const char *const names[] = { "com1", "com2", "com3", "com4" };
	struct machine *machine = at->machine;

	at->serial_irqs[0].line = at_isa_irq(at, AT_IRQ_COM1);
	at->serial_irqs[1].line = at_isa_irq(at, AT_IRQ_COM2);
	for (unsigned i = 0; i < BOARD_NR_SERIALS; i++) {
		if (i > 0 && !config->lines[i].present)
			continue;
		at->has_serial[i] = true;
		ns16550_init(&at->serials[i], &machine->clock,
			irq_wired_or_output(&at->serial_irqs[i % 2], i / 2),
			i ? config->lines[i].line : config->com1);
		machine_add_device(machine, &ns16550_type, names[i], &at->serials[i]);
		isa_map_ns16550(machine, ports[i], names[i], &at->serials[i]);
	}
}

static void add_parallel(struct at *at, const struct board_config *config)
{
	if (!config->lines[BOARD_PARALLEL].present)
		return;
	at->has_parallel = true;
	parallel_port_init(
		&at->parallel, at_isa_irq(at, AT_IRQ_LPT1), config->lines[BOARD_PARALLEL].line);
	machine_add_device(at->machine, &parallel_port_type, "lpt1", &at->parallel);
	isa_map_parallel_port(at->machine, AT_PORT_LPT1, "lpt1", &at->parallel);
}

static uint64_t at_tpm_read(void *device, uint64_t offset, unsigned size)
{
	return tpm_crb_read(device, (unsigned)offset, size);
}

static void at_tpm_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	tpm_crb_write(device, (unsigned)offset, size, value);
}

static void add_tpm(struct at *at, const struct board_config *config)
{
	static const struct io_ops ops = { at_tpm_read, at_tpm_write, 8 };

	if (!config->tpm.start)
		return;
	at->has_tpm = true;
	tpm_crb_init(&at->tpm, &config->tpm);
	machine_add_device(at->machine, &tpm_crb_type, "tpm", &at->tpm);
	address_space_map(&at->machine->mmio, &(struct io_region){ .base = AT_TPM_BASE,
						      .size = TPM_CRB_SIZE,
						      .ops = &ops,
						      .device = &at->tpm,
						      .name = "tpm" });
}

static void add_pvpanic(struct at *at, const struct board_config *config)
{
	if (!config->has_pvpanic)
		return;
	at->has_pvpanic = true;
	at->pvpanic =
		(struct pvpanic){ .told = config->panicked, .context = config->panic_context };
	isa_map_pvpanic(at->machine, AT_PORT_PVPANIC, &at->pvpanic);
}

void at_init(
	struct at *at, struct machine *machine, const struct board_config *config, uint8_t soft_off)
{
	at->machine = machine;
	machine->nr_vcpus = config->nr_vcpus;
	add_interrupt_controllers(at);
	add_timers(at, config);
	add_power(at, soft_off);
	add_serial(at, config);
	add_parallel(at, config);
	add_pvpanic(at, config);
	add_tpm(at, config);
}

static void add_ssdt(struct acpi_config *acpi, const uint8_t *bytes, size_t size)
{
	acpi->ssdts[acpi->nr_ssdts++] = (struct acpi_aml){ bytes, size };
}

/* COM1 is in the boards' DSDTs. */
static void describe_lines(const struct at *at, struct acpi_config *acpi)
{
	if (at->has_serial[BOARD_COM2])
		add_ssdt(acpi, acpi_com2_ssdt, acpi_com2_ssdt_size);
	if (at->has_serial[BOARD_COM3])
		add_ssdt(acpi, acpi_com3_ssdt, acpi_com3_ssdt_size);
	if (at->has_serial[BOARD_COM4])
		add_ssdt(acpi, acpi_com4_ssdt, acpi_com4_ssdt_size);
	if (at->has_parallel)
		add_ssdt(acpi, acpi_lpt1_ssdt, acpi_lpt1_ssdt_size);
}

void at_describe(const struct at *at, struct acpi_config *acpi)
{
	acpi->nr_vcpus = at->machine->nr_vcpus;
	acpi->local_apic_address = AT_LAPIC_BASE;
	acpi->ioapic_id = AT_IOAPIC_ID;
	acpi->ioapic_address = AT_IOAPIC_BASE;
	acpi->overrides[0] =
		(struct acpi_interrupt_override){ .isa_irq = AT_IRQ_PIT, .pin = AT_IOAPIC_PIN_PIT };
	acpi->overrides[1] = (struct acpi_interrupt_override){
		.isa_irq = AT_IRQ_SCI, .pin = AT_IRQ_SCI, .level = true
	};
	acpi->nr_overrides = 2;
	acpi->sci_irq = AT_IRQ_SCI;
	acpi->reset_port = AT_PORT_RESET;
	acpi->reset_value = RESET_CONTROL_HARD_RESET;
	describe_lines(at, acpi);
	if (at->has_pvpanic)
		add_ssdt(acpi, acpi_pvpanic_ssdt, acpi_pvpanic_ssdt_size);
	if (at->has_tpm) {
		add_ssdt(acpi, acpi_tpm_ssdt, acpi_tpm_ssdt_size);
		acpi->tpm_control_address = AT_TPM_BASE + TPM_CRB_CONTROL;
	}
}

size_t at_line_receive(struct at *at, enum board_line line, const uint8_t *bytes, size_t size)
{
	return line < BOARD_NR_SERIALS && at->has_serial[line]
		       ? ns16550_receive(&at->serials[line], bytes, size)
		       : size;
}

void at_line_receive_break(struct at *at, enum board_line line)
{
	if (line < BOARD_NR_SERIALS && at->has_serial[line])
		ns16550_receive_break(&at->serials[line]);
}

void at_line_writable(struct at *at, enum board_line line)
{
	if (line == BOARD_PARALLEL && at->has_parallel)
		parallel_port_writable(&at->parallel);
	else if (line < BOARD_NR_SERIALS && at->has_serial[line])
		ns16550_writable(&at->serials[line]);
}

int at_add_debug_exit(struct at *at, const char *board, int port, struct error *err)
{
	if (port < 0)
		return 0;
	for (int i = port; i < port + ISA_DEBUG_EXIT_PORTS; i++) {
		if (i > UINT16_MAX || address_space_find(&at->machine->pio, (uint64_t)i))
			return error_set(err, EXIT_CODE_CONFIG,
				"the board %s cannot have its debug exit at port 0x%x, which is "
				"taken; use --debug-exit 0xf4",
				board, (unsigned)port);
	}
	isa_map_debug_exit(at->machine, (uint16_t)port);
	return 0;
}
