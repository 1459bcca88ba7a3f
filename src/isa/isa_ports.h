/*
 * Puts chips on the ports of a machine: decodes addresses, nothing else. Every chip must outlive
 * the machine's last access.
 */
#ifndef ISA_ISA_PORTS_H
#define ISA_ISA_PORTS_H

#include "chip/i8254.h"
#include "chip/i8259.h"
#include "chip/ns16550.h"
#include "machine/machine.h"

/* Four ports. */
void isa_map_i8254(struct machine *machine, uint16_t port, const char *name, struct i8254 *chip);
/* Two ports, and one for its edge/level register. */
void isa_map_i8259(struct machine *machine, uint16_t port, uint16_t elcr_port, const char *name,
	struct i8259 *chip);
/* Eight ports. */
void isa_map_ns16550(
	struct machine *machine, uint16_t port, const char *name, struct ns16550 *chip);

#endif
