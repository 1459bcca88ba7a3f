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

#endif
