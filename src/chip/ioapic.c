/*
 * I/O APIC (Intel 82093AA, 290566) of version 0x20, whose end-of-interrupt register is in the ICH.
 *
 * Edges on a masked pin are lost, as the data sheet says. Not modelled: the APIC bus (arbitration,
 * delivery status: messages arrive at once). Runs under the machine lock.
 */
#include "chip/ioapic.h"

#include "chip/ioapic_regs.h"

#include <assert.h>
#include <string.h>

static bool ioapic_pin_is_active(const struct ioapic *chip, unsigned pin)
{
	bool level = chip->state.lines & BIT(pin);

	return level != !!(chip->state.redirection[pin] & REDIRECTION_ACTIVE_LOW);
}

/* SMI, NMI, INIT and ExtINT are edges whatever the trigger mode says. */
static bool redirection_is_level(uint64_t entry)
{
	uint64_t mode = field_get(REDIRECTION_DELIVERY_MODE, entry);

	return (entry & REDIRECTION_LEVEL) && (mode == DELIVERY_FIXED || mode == DELIVERY_LOWEST);
}

static gpa_t redirection_address(uint64_t entry)
{
	uint64_t destination = field_get(REDIRECTION_DESTINATION, entry);

	return field_set(MSI_ADDRESS_DESTINATION, MSI_ADDRESS, destination) |
	       (entry & REDIRECTION_LOGICAL ? MSI_ADDRESS_LOGICAL : 0);
}

static uint32_t redirection_data(uint64_t entry)
{
	uint64_t data = field_get(REDIRECTION_VECTOR, entry);

	data = field_set(MSI_DATA_DELIVERY_MODE, data, field_get(REDIRECTION_DELIVERY_MODE, entry));
	if (redirection_is_level(entry))
		data |= MSI_DATA_LEVEL;
	return (uint32_t)(data | MSI_DATA_ASSERT);
}

static void ioapic_send(struct ioapic *chip, unsigned pin)
{
	uint64_t entry = chip->state.redirection[pin];

	if (chip->cpu_bus->msi)
		chip->cpu_bus->msi(
			chip->cpu_bus->engine, redirection_address(entry), redirection_data(entry));
}

/* Sends a level-triggered pin's message unless a processor already has it. */
static void ioapic_check_level(struct ioapic *chip, unsigned pin)
{
	uint64_t *entry = &chip->state.redirection[pin];

	if (!redirection_is_level(*entry) || !ioapic_pin_is_active(chip, pin) ||
		(*entry & (REDIRECTION_MASKED | REDIRECTION_REMOTE_IRR)))
		return;
	*entry |= REDIRECTION_REMOTE_IRR;
	ioapic_send(chip, pin);
}

static void ioapic_set_input(void *context, unsigned pin, bool level)
{
	struct ioapic *chip = context;
	bool was_active = ioapic_pin_is_active(chip, pin);
	uint64_t entry = chip->state.redirection[pin];

	chip->state.lines = (uint32_t)((chip->state.lines & ~BIT(pin)) | (level ? BIT(pin) : 0));
	if (redirection_is_level(entry))
		ioapic_check_level(chip, pin);
	else if (!was_active && ioapic_pin_is_active(chip, pin) && !(entry & REDIRECTION_MASKED))
		ioapic_send(chip, pin);
}

struct irq_line ioapic_input(struct ioapic *chip, unsigned pin)
{
	assert(pin < IOAPIC_NR_PINS);
	return (struct irq_line){ .set = ioapic_set_input, .context = chip, .pin = pin };
}

void ioapic_end_of_interrupt(struct ioapic *chip, uint8_t vector)
{
	for (unsigned pin = 0; pin < IOAPIC_NR_PINS; pin++) {
		uint64_t *entry = &chip->state.redirection[pin];

		if (!(*entry & REDIRECTION_REMOTE_IRR) ||
			field_get(REDIRECTION_VECTOR, *entry) != vector)
			continue;
		*entry &= ~REDIRECTION_REMOTE_IRR;
		ioapic_check_level(chip, pin);
	}
}

static void ioapic_route(struct ioapic *chip, unsigned pin)
{
	uint64_t entry = chip->state.redirection[pin];

	if (chip->cpu_bus->route)
		chip->cpu_bus->route(chip->cpu_bus->engine, pin, redirection_address(entry),
			redirection_data(entry), redirection_is_level(entry),
			entry & REDIRECTION_MASKED);
}

static void ioapic_write_redirection(struct ioapic *chip, unsigned pin, uint64_t value)
{
	uint64_t *entry = &chip->state.redirection[pin];

	*entry = (*entry & ~REDIRECTION_WRITABLE) | (value & REDIRECTION_WRITABLE);
	/* Remote IRR has a meaning for level-triggered pins only; systems clear it by going
	 * through edge mode. */
	if (!redirection_is_level(*entry))
		*entry &= ~REDIRECTION_REMOTE_IRR;
	ioapic_route(chip, pin);
	ioapic_check_level(chip, pin);
}

static uint32_t ioapic_read_window(const struct ioapic *chip)
{
	unsigned reg = chip->state.select;
	unsigned half = reg - IOAPIC_REG_REDIRECTION;

	switch (reg) {
	case IOAPIC_REG_ID:
	case IOAPIC_REG_ARBITRATION: return (uint32_t)field_set(IOAPIC_ID, 0, chip->state.id);
	case IOAPIC_REG_VERSION:
		return (uint32_t)field_set(
			IOAPIC_MAX_ENTRY, IOAPIC_VERSION_ICH, IOAPIC_NR_PINS - 1);
	}
	if (reg < IOAPIC_REG_REDIRECTION || half / 2 >= IOAPIC_NR_PINS)
		return 0;
	return (uint32_t)(chip->state.redirection[half / 2] >> (half % 2 ? 32 : 0));
}

static void ioapic_write_window(struct ioapic *chip, uint32_t value)
{
	unsigned reg = chip->state.select;
	unsigned half = reg - IOAPIC_REG_REDIRECTION;
	uint64_t entry;

	if (reg == IOAPIC_REG_ID)
		chip->state.id = (uint8_t)field_get(IOAPIC_ID, value);
	if (reg < IOAPIC_REG_REDIRECTION || half / 2 >= IOAPIC_NR_PINS)
		return;
	entry = chip->state.redirection[half / 2];
	entry = field_set(half % 2 ? BITS(63, 32) : BITS(31, 0), entry, value);
	ioapic_write_redirection(chip, half / 2, entry);
}

uint32_t ioapic_read(struct ioapic *chip, uint64_t offset, unsigned size)
{
	uint32_t value = 0;

	switch (offset & ~UINT64_C(3)) {
	case IOAPIC_IOREGSEL: value = chip->state.select; break;
	case IOAPIC_IOWIN: value = ioapic_read_window(chip); break;
	}
	return (uint32_t)((value >> (8 * (offset & 3))) & byte_mask(size));
}

void ioapic_write(struct ioapic *chip, uint64_t offset, unsigned size, uint32_t value)
{
	switch (offset) {
	case IOAPIC_IOREGSEL: chip->state.select = (uint8_t)value; break;
	case IOAPIC_IOWIN:
		if (size == 4)
			ioapic_write_window(chip, value);
		break;
	case IOAPIC_EOIR: ioapic_end_of_interrupt(chip, (uint8_t)value); break;
	}
}

static void ioapic_reset(void *device)
{
	struct ioapic *chip = device;
	uint32_t lines = chip->state.lines; /* driven from outside */

	memset(&chip->state, 0, sizeof(chip->state));
	chip->state.lines = lines;
	for (unsigned pin = 0; pin < IOAPIC_NR_PINS; pin++) {
		chip->state.redirection[pin] = REDIRECTION_MASKED;
		ioapic_route(chip, pin);
	}
}

static void ioapic_restored(void *device)
{
	for (unsigned pin = 0; pin < IOAPIC_NR_PINS; pin++)
		ioapic_route(device, pin);
}

void ioapic_init(struct ioapic *chip, const struct cpu_bus *cpu_bus)
{
	memset(chip, 0, sizeof(*chip));
	chip->cpu_bus = cpu_bus;
	ioapic_reset(chip);
}

static bool ioapic_check(const void *state, struct error *err)
{
	const struct ioapic_state *ioapic = state;

	(void)err;
	for (unsigned pin = 0; pin < IOAPIC_NR_PINS; pin++) {
		uint64_t entry = ioapic->redirection[pin];

		if (entry & ~(REDIRECTION_WRITABLE | REDIRECTION_REMOTE_IRR))
			return false;
		if ((entry & REDIRECTION_REMOTE_IRR) && !redirection_is_level(entry))
			return false;
	}
	return true;
}

static const struct state_field ioapic_fields[] = {
	STATE_ARRAY(struct ioapic_state, redirection),
	STATE_MAX(struct ioapic_state, lines, BITS(IOAPIC_NR_PINS - 1, 0)),
	STATE(struct ioapic_state, select),
	STATE_MAX(struct ioapic_state, id, 15),
	STATE_PAD(struct ioapic_state, reserved),
};
static const struct state_table ioapic_table =
	STATE_TABLE_OF(struct ioapic_state, "ioapic", ioapic_fields, ioapic_check);

const struct device_type ioapic_type = {
	.name = "ioapic",
	.state = &ioapic_table,
	.state_offset = offsetof(struct ioapic, state),
	.reset = ioapic_reset,
	.restored = ioapic_restored,
};
