/*
 * I/O APIC: 24 inputs, each of which sends a message to local APICs.
 */
#ifndef CHIP_IOAPIC_H
#define CHIP_IOAPIC_H

#include "machine/cpu_bus.h"
#include "machine/device.h"
#include "machine/irq_line.h"

#define IOAPIC_NR_PINS   24
#define IOAPIC_MMIO_SIZE 0x1000

struct ioapic_state {
	uint64_t redirection[IOAPIC_NR_PINS];
	uint32_t lines; /* the levels of the inputs, as driven */
	uint8_t select;
	uint8_t id;
	uint8_t reserved[2];
};

struct ioapic {
	struct ioapic_state state;
	const struct cpu_bus *cpu_bus;
};

extern const struct device_type ioapic_type;

/* Messages and routes go to the engine's half of `cpu_bus`, which may be filled later. */
void ioapic_init(struct ioapic *chip, const struct cpu_bus *cpu_bus);

struct irq_line ioapic_input(struct ioapic *chip, unsigned pin);

/* A processor ended a level-triggered interrupt. */
void ioapic_end_of_interrupt(struct ioapic *chip, uint8_t vector);

/* Any offset and any size up to 4 inside a 4-byte register; others float. */
uint32_t ioapic_read(struct ioapic *chip, uint64_t offset, unsigned size);
void ioapic_write(struct ioapic *chip, uint64_t offset, unsigned size, uint32_t value);

#endif
