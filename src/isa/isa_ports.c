/*
 * From ports to chips. Most have byte-wide registers: address_space splits wider accesses, as the
 * ISA bus does for an 8-bit card.
 */
#include "isa/isa_ports.h"

#include "chip/acpi_pm_regs.h"
#include "chip/debug_exit.h"
#include "chip/i8042_regs.h"

static void isa_map(struct machine *machine, uint16_t port, unsigned size, const char *name,
	const struct io_ops *ops, void *device)
{
	address_space_map(&machine->pio,
		&(struct io_region){
			.base = port, .size = size, .ops = ops, .device = device, .name = name });
}

static uint64_t isa_i8254_read(void *device, uint64_t offset, unsigned size)
{
	(void)size;
	return i8254_read(device, (unsigned)offset);
}

static void isa_i8254_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	(void)size;
	i8254_write(device, (unsigned)offset, (uint8_t)value);
}

void isa_map_i8254(struct machine *machine, uint16_t port, const char *name, struct i8254 *chip)
{
	static const struct io_ops ops = { isa_i8254_read, isa_i8254_write, 1 };

	isa_map(machine, port, 4, name, &ops, chip);
}

static uint64_t isa_i8237_read(void *device, uint64_t offset, unsigned size)
{
	(void)size;
	return i8237_read(device, (unsigned)offset);
}

static void isa_i8237_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	(void)size;
	i8237_write(device, (unsigned)offset, (uint8_t)value);
}

/* Address line 0 is not decoded. */
static uint64_t isa_i8237_words_read(void *device, uint64_t offset, unsigned size)
{
	return isa_i8237_read(device, offset / 2, size);
}

static void isa_i8237_words_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	isa_i8237_write(device, offset / 2, size, value);
}

void isa_map_i8237(
	struct machine *machine, uint16_t port, bool words, const char *name, struct i8237 *chip)
{
	static const struct io_ops bytes_ops = { isa_i8237_read, isa_i8237_write, 1 };
	static const struct io_ops words_ops = { isa_i8237_words_read, isa_i8237_words_write, 1 };

	if (words)
		isa_map(machine, port, 2 * I8237_NR_REGISTERS, name, &words_ops, chip);
	else
		isa_map(machine, port, I8237_NR_REGISTERS, name, &bytes_ops, chip);
}

static uint64_t isa_i8259_read(void *device, uint64_t offset, unsigned size)
{
	(void)size;
	return i8259_read(device, (unsigned)offset);
}

static void isa_i8259_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	(void)size;
	i8259_write(device, (unsigned)offset, (uint8_t)value);
}

static uint64_t isa_elcr_read(void *device, uint64_t offset, unsigned size)
{
	(void)offset;
	(void)size;
	return i8259_read_elcr(device);
}

static void isa_elcr_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	(void)offset;
	(void)size;
	i8259_write_elcr(device, (uint8_t)value);
}

void isa_map_i8259(struct machine *machine, uint16_t port, uint16_t elcr_port, const char *name,
	struct i8259 *chip)
{
	static const struct io_ops ops = { isa_i8259_read, isa_i8259_write, 1 };
	static const struct io_ops elcr_ops = { isa_elcr_read, isa_elcr_write, 1 };

	isa_map(machine, port, 2, name, &ops, chip);
	isa_map(machine, elcr_port, 1, name, &elcr_ops, chip);
}

static uint64_t isa_ns16550_read(void *device, uint64_t offset, unsigned size)
{
	(void)size;
	return ns16550_read(device, (unsigned)offset);
}

static void isa_ns16550_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	(void)size;
	ns16550_write(device, (unsigned)offset, (uint8_t)value);
}

void isa_map_ns16550(struct machine *machine, uint16_t port, const char *name, struct ns16550 *chip)
{
	static const struct io_ops ops = { isa_ns16550_read, isa_ns16550_write, 1 };

	isa_map(machine, port, 8, name, &ops, chip);
}

static uint64_t isa_mc146818_read(void *device, uint64_t offset, unsigned size)
{
	(void)size;
	return mc146818_read(device, (unsigned)offset);
}

static void isa_mc146818_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	(void)size;
	mc146818_write(device, (unsigned)offset, (uint8_t)value);
}

void isa_map_mc146818(
	struct machine *machine, uint16_t port, const char *name, struct mc146818 *chip)
{
	static const struct io_ops ops = { isa_mc146818_read, isa_mc146818_write, 1 };

	isa_map(machine, port, 2, name, &ops, chip);
}

static uint64_t isa_i8042_read_data(void *device, uint64_t offset, unsigned size)
{
	(void)offset;
	(void)size;
	return i8042_read(device, I8042_REG_DATA);
}

static void isa_i8042_write_data(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	(void)offset;
	(void)size;
	i8042_write(device, I8042_REG_DATA, (uint8_t)value);
}

static uint64_t isa_i8042_read_status(void *device, uint64_t offset, unsigned size)
{
	(void)offset;
	(void)size;
	return i8042_read(device, I8042_REG_COMMAND);
}

static void isa_i8042_write_command(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	(void)offset;
	(void)size;
	i8042_write(device, I8042_REG_COMMAND, (uint8_t)value);
}

void isa_map_i8042(struct machine *machine, uint16_t port, const char *name, struct i8042 *chip)
{
	static const struct io_ops data = { isa_i8042_read_data, isa_i8042_write_data, 1 };
	static const struct io_ops command = { isa_i8042_read_status, isa_i8042_write_command, 1 };

	isa_map(machine, port, 1, name, &data, chip);
	isa_map(machine, port + 4, 1, name, &command, chip);
}

static uint64_t isa_port_a_read(void *device, uint64_t offset, unsigned size)
{
	(void)offset;
	(void)size;
	return system_port_read_a(device);
}

static void isa_port_a_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	(void)offset;
	(void)size;
	system_port_write_a(device, (uint8_t)value);
}

static uint64_t isa_port_b_read(void *device, uint64_t offset, unsigned size)
{
	(void)offset;
	(void)size;
	return system_port_read_b(device);
}

static void isa_port_b_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	(void)offset;
	(void)size;
	system_port_write_b(device, (uint8_t)value);
}

void isa_map_system_port(
	struct machine *machine, uint16_t port_a, uint16_t port_b, struct system_port *chip)
{
	static const struct io_ops a = { isa_port_a_read, isa_port_a_write, 1 };
	static const struct io_ops b = { isa_port_b_read, isa_port_b_write, 1 };

	isa_map(machine, port_a, 1, "port-a", &a, chip);
	isa_map(machine, port_b, 1, "port-b", &b, chip);
}

#define RESET_CONTROL_OFFSET 1

/* Wider accesses are PCI configuration addresses, which must not reset the machine. */
static uint64_t isa_reset_control_read(void *device, uint64_t offset, unsigned size)
{
	if (offset != RESET_CONTROL_OFFSET || size != 1)
		return UINT64_MAX;
	return reset_control_read(device);
}

static void isa_reset_control_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	if (offset == RESET_CONTROL_OFFSET && size == 1)
		reset_control_write(device, (uint8_t)value);
}

void isa_map_reset_control(struct machine *machine, uint16_t port, struct reset_control *chip)
{
	static const struct io_ops ops = { isa_reset_control_read, isa_reset_control_write, 4 };

	isa_map(machine, port, 4, "reset-control", &ops, chip);
}

static uint64_t isa_acpi_pm_read(void *device, uint64_t offset, unsigned size)
{
	return acpi_pm_read(device, (unsigned)offset, size);
}

static void isa_acpi_pm_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	acpi_pm_write(device, (unsigned)offset, size, (uint32_t)value);
}

void isa_map_acpi_pm(struct machine *machine, uint16_t port, const char *name, struct acpi_pm *chip)
{
	static const struct io_ops ops = { isa_acpi_pm_read, isa_acpi_pm_write, 4 };

	isa_map(machine, port, ACPI_PM_SIZE, name, &ops, chip);
}

static uint64_t isa_acpi_gpe_read(void *device, uint64_t offset, unsigned size)
{
	return acpi_gpe_read(device, (unsigned)offset, size);
}

static void isa_acpi_gpe_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	acpi_gpe_write(device, (unsigned)offset, size, (uint32_t)value);
}

static uint64_t isa_apm_read(void *device, uint64_t offset, unsigned size)
{
	(void)size;
	return ich9_smi_apm_read(device, (unsigned)offset);
}

static void isa_apm_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	(void)size;
	ich9_smi_apm_write(device, (unsigned)offset, (uint8_t)value);
}

void isa_map_apm(struct machine *machine, uint16_t port, struct ich9_smi *chip)
{
	static const struct io_ops ops = { isa_apm_read, isa_apm_write, 1 };

	isa_map(machine, port, 2, "apm", &ops, chip);
}

void isa_map_acpi_gpe(
	struct machine *machine, uint16_t port, const char *name, struct acpi_gpe *chip)
{
	static const struct io_ops ops = { isa_acpi_gpe_read, isa_acpi_gpe_write, 4 };

	isa_map(machine, port, ACPI_GPE_SIZE, name, &ops, chip);
}

static void isa_debug_exit_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	(void)offset;
	(void)size;
	debug_exit_write(device, (uint32_t)value);
}

void isa_map_debug_exit(struct machine *machine, uint16_t port)
{
	static const struct io_ops ops = { NULL, isa_debug_exit_write, 4 };

	isa_map(machine, port, ISA_DEBUG_EXIT_PORTS, "debug-exit", &ops, machine);
}

static uint64_t isa_fw_cfg_read(void *device, uint64_t offset, unsigned size)
{
	return fw_cfg_read(device, (unsigned)offset, size);
}

static void isa_fw_cfg_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	fw_cfg_write(device, (unsigned)offset, size, value);
}

void isa_map_fw_cfg(struct machine *machine, uint16_t port, struct fw_cfg *chip)
{
	static const struct io_ops ops = { isa_fw_cfg_read, isa_fw_cfg_write, 4 };

	isa_map(machine, port, FW_CFG_PORTS, "fw-cfg", &ops, chip);
}

static uint64_t isa_debug_console_read(void *device, uint64_t offset, unsigned size)
{
	(void)offset;
	(void)size;
	return debug_console_read(device);
}

static void isa_debug_console_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	(void)offset;
	(void)size;
	debug_console_write(device, (uint8_t)value);
}

void isa_map_debug_console(struct machine *machine, uint16_t port, struct debug_console *chip)
{
	static const struct io_ops ops = { isa_debug_console_read, isa_debug_console_write, 1 };

	isa_map(machine, port, 1, "debug-console", &ops, chip);
}

static uint64_t isa_parallel_port_read(void *device, uint64_t offset, unsigned size)
{
	(void)size;
	return parallel_port_read(device, (unsigned)offset);
}

static void isa_parallel_port_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	(void)size;
	parallel_port_write(device, (unsigned)offset, (uint8_t)value);
}

void isa_map_parallel_port(
	struct machine *machine, uint16_t port, const char *name, struct parallel_port *chip)
{
	static const struct io_ops ops = { isa_parallel_port_read, isa_parallel_port_write, 1 };

	isa_map(machine, port, PARALLEL_PORT_PORTS, name, &ops, chip);
}

static uint64_t isa_pvpanic_read(void *device, uint64_t offset, unsigned size)
{
	(void)offset;
	(void)size;
	return pvpanic_read(device);
}

static void isa_pvpanic_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	(void)offset;
	(void)size;
	pvpanic_write(device, (uint8_t)value);
}

void isa_map_pvpanic(struct machine *machine, uint16_t port, struct pvpanic *chip)
{
	static const struct io_ops ops = { isa_pvpanic_read, isa_pvpanic_write, 1 };

	isa_map(machine, port, 1, "pvpanic", &ops, chip);
}
