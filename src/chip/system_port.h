/*
 * The PS/2 system control ports: A (0x92: fast reset and A20) and B (0x61: timer 2 and speaker).
 */
#ifndef CHIP_SYSTEM_PORT_H
#define CHIP_SYSTEM_PORT_H

#include "chip/i8254.h"

struct system_port_state {
	uint8_t a;
	uint8_t b;
};

struct system_port {
	struct system_port_state state;
	struct clock *clock;
	struct i8254 *pit;
	struct irq_line a20;   /* high lets address line 20 through */
	struct irq_line reset; /* pulsed */
};

extern const struct device_type system_port_type;

/* Port B drives the gate of the timer's counter 2 and shows its output. */
void system_port_init(struct system_port *chip, struct clock *clock, struct i8254 *pit,
	struct irq_line a20, struct irq_line reset);

uint8_t system_port_read_a(const struct system_port *chip);
void system_port_write_a(struct system_port *chip, uint8_t value);
uint8_t system_port_read_b(const struct system_port *chip);
void system_port_write_b(struct system_port *chip, uint8_t value);

#endif
