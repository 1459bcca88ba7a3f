/*
 * Puts chips on the ports of a machine: decodes addresses, nothing else. Every chip must outlive
 * the machine's last access.
 */
#ifndef ISA_ISA_PORTS_H
#define ISA_ISA_PORTS_H

#include "chip/acpi_gpe.h"
#include "chip/acpi_pm.h"
#include "chip/debug_console.h"
#include "chip/fw_cfg.h"
#include "chip/i8042.h"
#include "chip/i8237.h"
#include "chip/i8254.h"
#include "chip/i8259.h"
#include "chip/ich9_smi.h"
#include "chip/mc146818.h"
#include "chip/ns16550.h"
#include "chip/parallel_port.h"
#include "chip/pvpanic.h"
#include "chip/reset_control.h"
#include "chip/system_port.h"
#include "machine/machine.h"

/* Four ports. */
void isa_map_i8254(struct machine *machine, uint16_t port, const char *name, struct i8254 *chip);
/* 16 ports; `words`: 32, as the one whose channels are of words has two for each register. */
void isa_map_i8237(
	struct machine *machine, uint16_t port, bool words, const char *name, struct i8237 *chip);
/* Two ports, and one for its edge/level register. */
void isa_map_i8259(struct machine *machine, uint16_t port, uint16_t elcr_port, const char *name,
	struct i8259 *chip);
/* Eight ports. */
void isa_map_ns16550(
	struct machine *machine, uint16_t port, const char *name, struct ns16550 *chip);
/* Two ports. */
void isa_map_mc146818(
	struct machine *machine, uint16_t port, const char *name, struct mc146818 *chip);
/* Its two ports are not neighbours: data, and four above it commands. */
void isa_map_i8042(struct machine *machine, uint16_t port, const char *name, struct i8042 *chip);
/* One port each. */
void isa_map_system_port(
	struct machine *machine, uint16_t port_a, uint16_t port_b, struct system_port *chip);
/* Four ports, of which one byte is decoded, as it is on chips that share them with PCI
 * configuration: 0xcf8 for the register at 0xcf9. */
void isa_map_reset_control(struct machine *machine, uint16_t port, struct reset_control *chip);
/* Four ports. */
void isa_map_acpi_gpe(
	struct machine *machine, uint16_t port, const char *name, struct acpi_gpe *chip);
/* Two ports. */
void isa_map_apm(struct machine *machine, uint16_t port, struct ich9_smi *chip);
/* Twelve ports. */
void isa_map_acpi_pm(
	struct machine *machine, uint16_t port, const char *name, struct acpi_pm *chip);
/* FW_CFG_PORTS ports. */
void isa_map_fw_cfg(struct machine *machine, uint16_t port, struct fw_cfg *chip);
/* One port. */
void isa_map_debug_console(struct machine *machine, uint16_t port, struct debug_console *chip);
/* PARALLEL_PORT_PORTS ports. */
void isa_map_parallel_port(
	struct machine *machine, uint16_t port, const char *name, struct parallel_port *chip);
/* One port. */
void isa_map_pvpanic(struct machine *machine, uint16_t port, struct pvpanic *chip);
/* One register at each of ISA_DEBUG_EXIT_PORTS ports. */
#define ISA_DEBUG_EXIT_PORTS 4
void isa_map_debug_exit(struct machine *machine, uint16_t port);

#endif
