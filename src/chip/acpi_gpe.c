/*
 * ACPI general-purpose event registers (ACPI 6.4, 4.8.4.1): a GPE0 block of two times two bytes.
 * All events are edges. Runs under the machine lock.
 */
#include "chip/acpi_gpe.h"

#include "base/bits.h"

#include <assert.h>
#include <string.h>

#define STATUS_SIZE 2

static void acpi_gpe_drive(struct acpi_gpe *chip)
{
	irq_line_set(&chip->sci, chip->state.status & chip->state.enable);
}

static void acpi_gpe_raise(void *context, unsigned event, bool level)
{
	struct acpi_gpe *chip = context;

	if (level)
		chip->state.status |= (uint16_t)BIT(event);
	acpi_gpe_drive(chip);
}

struct irq_line acpi_gpe_input(struct acpi_gpe *chip, unsigned event)
{
	assert(event < ACPI_GPE_NR_EVENTS);
	return (struct irq_line){ .set = acpi_gpe_raise, .context = chip, .pin = event };
}

uint32_t acpi_gpe_read(struct acpi_gpe *chip, unsigned offset, unsigned size)
{
	uint32_t value = chip->state.status | (uint32_t)chip->state.enable << 16;

	return (uint32_t)((value >> (8 * (offset & 3))) & byte_mask(size));
}

static void acpi_gpe_write_byte(struct acpi_gpe *chip, unsigned offset, uint8_t value)
{
	unsigned shift = 8 * (offset % STATUS_SIZE);
	uint16_t bits = (uint16_t)(value << shift), mask = (uint16_t)(0xff << shift);

	if (offset < STATUS_SIZE)
		chip->state.status &= ~bits; /* write one to clear */
	else
		chip->state.enable = (chip->state.enable & ~mask) | bits;
}

void acpi_gpe_write(struct acpi_gpe *chip, unsigned offset, unsigned size, uint32_t value)
{
	for (unsigned i = 0; i < size; i++)
		acpi_gpe_write_byte(chip, (offset + i) & 3, (uint8_t)(value >> (8 * i)));
	acpi_gpe_drive(chip);
}

static void acpi_gpe_reset(void *device)
{
	struct acpi_gpe *chip = device;

	memset(&chip->state, 0, sizeof(chip->state));
	acpi_gpe_drive(chip);
}

static void acpi_gpe_restored(void *device)
{
	acpi_gpe_drive(device);
}

void acpi_gpe_init(struct acpi_gpe *chip, struct irq_line sci)
{
	memset(chip, 0, sizeof(*chip));
	chip->sci = sci;
}

static const struct state_field acpi_gpe_fields[] = {
	STATE(struct acpi_gpe_state, status),
	STATE(struct acpi_gpe_state, enable),
	STATE_PAD(struct acpi_gpe_state, reserved),
};
static const struct state_table acpi_gpe_table =
	STATE_TABLE_OF(struct acpi_gpe_state, "acpi_gpe", acpi_gpe_fields, NULL);

const struct device_type acpi_gpe_type = {
	.name = "acpi_gpe",
	.state = &acpi_gpe_table,
	.state_offset = offsetof(struct acpi_gpe, state),
	.reset = acpi_gpe_reset,
	.restored = acpi_gpe_restored,
};
