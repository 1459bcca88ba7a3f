/*
 * A block of sixteen ACPI general-purpose events: status and enable.
 */
#ifndef CHIP_ACPI_GPE_H
#define CHIP_ACPI_GPE_H

#include "machine/device.h"
#include "machine/irq_line.h"

#define ACPI_GPE_NR_EVENTS 16
#define ACPI_GPE_SIZE      4 /* bytes: status, then enable, 16 bits each */

struct acpi_gpe_state {
	uint16_t status;
	uint16_t enable;
	uint8_t reserved[4];
};

struct acpi_gpe {
	struct acpi_gpe_state state;
	struct irq_line sci; /* level triggered */
};

extern const struct device_type acpi_gpe_type;

void acpi_gpe_init(struct acpi_gpe *chip, struct irq_line sci);

/* A rising edge makes the event happen. */
struct irq_line acpi_gpe_input(struct acpi_gpe *chip, unsigned event);

/* Any size up to 4 bytes. */
uint32_t acpi_gpe_read(struct acpi_gpe *chip, unsigned offset, unsigned size);
void acpi_gpe_write(struct acpi_gpe *chip, unsigned offset, unsigned size, uint32_t value);

#endif
