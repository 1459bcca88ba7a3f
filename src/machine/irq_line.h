/*
 * A wire that carries a level: what a chip drives and another chip (or the engine) samples.
 * Driven under the machine lock. A zeroed line is connected to nothing.
 */
#ifndef MACHINE_IRQ_LINE_H
#define MACHINE_IRQ_LINE_H

#include "base/types.h"

struct irq_line {
	void (*set)(void *context, unsigned pin, bool level);
	void *context;
	unsigned pin;
};

static inline void irq_line_set(const struct irq_line *line, bool level)
{
	if (line->set)
		line->set(line->context, line->pin, level);
}

static inline void irq_line_pulse(const struct irq_line *line)
{
	irq_line_set(line, true);
	irq_line_set(line, false);
}

/* Several outputs on one line: it is high while any of them is. Up to 32; not saved, since who
 * drives an output drives it again when its state is restored. */
struct irq_wired_or {
	struct irq_line line;
	uint32_t high; /* the outputs that are */
};

static inline void irq_wired_or_set(void *context, unsigned output, bool level)
{
	struct irq_wired_or *wire = (struct irq_wired_or *)context;
	uint32_t bit = UINT32_C(1) << output;

	wire->high = level ? wire->high | bit : wire->high & ~bit;
	irq_line_set(&wire->line, wire->high);
}

static inline struct irq_line irq_wired_or_output(struct irq_wired_or *wire, unsigned output)
{
	return (struct irq_line){ .set = irq_wired_or_set, .context = wire, .pin = output };
}

#endif
