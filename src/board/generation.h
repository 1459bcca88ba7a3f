/*
 * The virtual machine generation identifier (Microsoft's specification of 2012): a random number in
 * a page of the guest's memory, which changes when the machine is not the one that it was, so that
 * what must never be used twice is not. Under the machine lock.
 */
#ifndef BOARD_GENERATION_H
#define BOARD_GENERATION_H

#include "machine/irq_line.h"
#include "machine/memory.h"

#define GENERATION_SIZE   16
#define GENERATION_OFFSET 40 /* in its page: not at the start, where firmware puts headers */

struct generation {
	uint8_t id[GENERATION_SIZE];
	struct irq_line event; /* an ACPI event: look again */
};

/* With an identifier of its own. Returns 0 or -errno. */
int generation_init(struct generation *generation, struct irq_line event);

/* Another one; the guest finds it in its page, if it has one by now, and is told. Returns 0 or
 * -errno. */
int generation_renew(struct generation *generation, struct guest_memory *memory, gpa_t page);

/* The page as it is given to the guest. */
void generation_fill(const struct generation *generation, uint8_t page[GUEST_PAGE_SIZE]);

#endif
