/*
 * Intel 8254 programmable interval timer: three counters, as in a PC at 1.193182 MHz.
 */
#ifndef CHIP_I8254_H
#define CHIP_I8254_H

#include "machine/clock.h"
#include "machine/device.h"
#include "machine/irq_line.h"

#define I8254_NR_COUNTERS 3
#define I8254_HZ          1193182

/* A counter is a function of time: what it holds follows from when it was loaded with what. */
struct i8254_counter_state {
	uint64_t load_tick;      /* CLK pulse that loads or resumes the counting element */
	uint32_t loaded;         /* the counting element at load_tick */
	uint32_t next;           /* a count for the next (half) period of modes 2 and 3, or 0 */
	uint16_t count_register; /* as written; BCD digits in BCD mode */
	uint16_t count_latch;
	uint8_t control; /* the low six bits of the control word */
	uint8_t status_latch;
	uint8_t low_byte; /* of a 16-bit count being written */
	bool count_latched;
	bool status_latched;
	bool write_high; /* the next byte written is the count's high one */
	bool read_high;  /* the next byte read is the count's high one */
	bool programmed; /* a count was written since the control word */
	bool counting;   /* else the counting element stands still at `loaded` */
	bool expired;    /* modes 0, 1, 4, 5: reached zero before load_tick */
	bool gate;
	bool null_count; /* the count register waits for a trigger, or for its first write */
	bool low_half;   /* mode 3: load_tick began the low half of the square wave */
	uint8_t reserved[7];
};

struct i8254_state {
	struct i8254_counter_state counters[I8254_NR_COUNTERS];
};

struct i8254_counter {
	struct irq_line output;
	struct timer timer;
	struct i8254 *chip;
	bool driven; /* the level that the line was last given */
};

struct i8254 {
	struct i8254_state state;
	struct clock *clock;
	struct i8254_counter counters[I8254_NR_COUNTERS];
};

extern const struct device_type i8254_type;

/* `outputs` are copied; an unconnected one costs no timer. Resets the chip. */
void i8254_init(
	struct i8254 *chip, struct clock *clock, const struct irq_line outputs[I8254_NR_COUNTERS]);

uint8_t i8254_read(struct i8254 *chip, unsigned reg);
void i8254_write(struct i8254 *chip, unsigned reg, uint8_t value);

/* The pins. After reset every gate is high, as a PC ties those of counters 0 and 1. */
void i8254_set_gate(struct i8254 *chip, unsigned counter, bool level);
bool i8254_output(const struct i8254 *chip, unsigned counter);

#endif
