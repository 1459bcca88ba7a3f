/*
 * The PC/AT's parallel port with a printer at it.
 */
#ifndef CHIP_PARALLEL_PORT_H
#define CHIP_PARALLEL_PORT_H

#include "chip/char_line.h"
#include "machine/device.h"
#include "machine/irq_line.h"

#define PARALLEL_PORT_PORTS 3

struct parallel_port_state {
	uint8_t data;
	uint8_t control;
	bool waits; /* the printer has not taken the byte that was strobed: it is busy */
	uint8_t waiting;
};

struct parallel_port {
	struct parallel_port_state state;
	struct irq_line interrupt;
	struct char_line line;
};

extern const struct device_type parallel_port_type;

/* `line.room` is not used: a printer sends nothing. */
void parallel_port_init(
	struct parallel_port *chip, struct irq_line interrupt, struct char_line line);

/* Registers 0 to 2: data, status, control. */
uint8_t parallel_port_read(const struct parallel_port *chip, unsigned reg);
void parallel_port_write(struct parallel_port *chip, unsigned reg, uint8_t value);

/* line.write took nothing, and can take a byte now. */
void parallel_port_writable(struct parallel_port *chip);

#endif
