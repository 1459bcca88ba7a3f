/*
 * The wires between the processors (an engine) and the chips of a board.
 *
 * Both ends are function tables, so that neither knows the other. The engine fills the first half
 * when it is created, the board the second when it wires its interrupt controllers.
 */
#ifndef MACHINE_CPU_BUS_H
#define MACHINE_CPU_BUS_H

#include "base/types.h"
#include "machine/doorbell.h"

struct cpu_bus {
	/* Chips to processors. Any thread, with or without the machine lock. */
	void *engine;
	/* A message-signalled interrupt, format of SDM 3A 11.11: IOAPIC pins and PCI devices. */
	void (*msi)(void *engine, gpa_t address, uint32_t data);
	/* The 8259's INTR output, wired to LINT0 of every local APIC and through it to the BSP. */
	void (*intr)(void *engine, bool level);
	/* LINT1 of every local APIC. */
	void (*nmi)(void *engine);
	/* SMI#, of every processor. NULL: the engine has no system management mode. */
	void (*smi)(void *engine);
	/* The address line 20 gate; true lets the line through. NULL: the engine has no gate. */
	void (*set_a20)(void *engine, bool enabled);
	/*
	 * Tells what message an IOAPIC pin sends, so that an engine can route the pin's end of
	 * interrupt (KVM with a split irqchip). NULL: not needed.
	 */
	void (*route)(
		void *engine, unsigned pin, gpa_t address, uint32_t data, bool level, bool masked);

	/*
	 * Lets the host's kernel watch for a doorbell, or no more. Under the machine lock. What it
	 * has no room for arrives as an access, as before. NULL: the engine has no such thing.
	 */
	void (*doorbell)(void *engine, const struct doorbell *doorbell, bool attached);
	/*
	 * Lets an eventfd send a message without this process, in place of the one it sent before;
	 * an event that is waiting in it is sent at once. `address` 0 ends it. Any thread, but not
	 * concurrently for one `fd`. Returns 0 or -errno. NULL: the engine has no such thing.
	 */
	int (*irqfd)(void *engine, int fd, gpa_t address, uint32_t data);

	/* Processors to chips. Under the machine lock. */
	void *board;
	/* The INTA cycle: the vector of the 8259's highest request (a spurious one if none). */
	uint8_t (*acknowledge)(void *board);
	/* A level-triggered vector ended, broadcast to the IOAPICs. */
	void (*end_of_interrupt)(void *board, uint8_t vector);
};

#endif
