/*
 * Intel 8259A programmable interrupt controller, and the edge/level register beside it.
 */
#ifndef CHIP_I8259_H
#define CHIP_I8259_H

#include "machine/device.h"
#include "machine/irq_line.h"

#define I8259_NR_PINS 8

/* Which command word the data address takes next. */
enum i8259_expects {
	I8259_EXPECTS_OCW1,
	I8259_EXPECTS_ICW2,
	I8259_EXPECTS_ICW3,
	I8259_EXPECTS_ICW4
};

struct i8259_state {
	uint8_t lines;   /* the levels of the inputs */
	uint8_t latches; /* edge mode: a rising edge was seen and the input is still high */
	uint8_t isr;     /* in service */
	uint8_t imr;     /* masked */
	uint8_t elcr;    /* inputs that are level triggered */
	uint8_t lowest;  /* the input with the lowest priority */
	uint8_t icw1;
	uint8_t icw2;
	uint8_t icw3;
	uint8_t icw4;
	uint8_t expects; /* enum i8259_expects */
	bool special_mask;
	bool rotate_on_aeoi;
	bool read_isr;
	bool poll; /* the next read is a poll */
	uint8_t reserved;
};

struct i8259 {
	struct i8259_state state;
	struct irq_line output; /* INT */
	struct i8259 *slave;    /* on input slave_pin, or NULL */
	unsigned slave_pin;
	uint8_t elcr_writable;
};

extern const struct device_type i8259_type;

/* `elcr_writable`: the inputs that the board lets a guest make level triggered. */
void i8259_init(struct i8259 *chip, struct irq_line output, uint8_t elcr_writable);

/* Puts `slave` on an input: gives the line for the slave's output. */
struct irq_line i8259_attach_slave(struct i8259 *chip, unsigned pin, struct i8259 *slave);

/* The line of an input. */
struct irq_line i8259_input(struct i8259 *chip, unsigned pin);

/* The INTA cycles: gives the vector, a spurious one (of input 7) if no request is left. */
uint8_t i8259_acknowledge(struct i8259 *chip);

uint8_t i8259_read(struct i8259 *chip, unsigned reg);
void i8259_write(struct i8259 *chip, unsigned reg, uint8_t value);
uint8_t i8259_read_elcr(const struct i8259 *chip);
void i8259_write_elcr(struct i8259 *chip, uint8_t value);

#endif
