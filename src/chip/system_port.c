/*
 * System control ports A and B (IBM PS/2 Hardware Interface Technical Reference).
 *
 * Not modelled: the speaker, and the parity and channel checks, which never fail. Runs under the
 * machine lock.
 */
#include "chip/system_port.h"

#include "base/bits.h"

#include <string.h>

#define PORT_A_RESET    BIT(0)
#define PORT_A_A20      BIT(1)
#define PORT_A_WRITABLE (PORT_A_RESET | PORT_A_A20 | BITS(7, 6)) /* 7 and 6: the disk light */

#define PORT_B_GATE     BIT(0)
#define PORT_B_WRITABLE BITS(3, 0)
#define PORT_B_REFRESH  BIT(4) /* changes with each memory refresh */
#define PORT_B_OUTPUT   BIT(5)

#define SPEAKER_COUNTER 2
#define REFRESH_NS      15085 /* 18 CLK pulses of counter 1 */

uint8_t system_port_read_a(const struct system_port *chip)
{
	return chip->state.a;
}

void system_port_write_a(struct system_port *chip, uint8_t value)
{
	bool reset = (value & ~chip->state.a) & PORT_A_RESET;

	chip->state.a = value & PORT_A_WRITABLE;
	irq_line_set(&chip->a20, value & PORT_A_A20);
	if (reset)
		irq_line_pulse(&chip->reset);
}

uint8_t system_port_read_b(const struct system_port *chip)
{
	bool refresh = clock_now(chip->clock) / REFRESH_NS % 2;

	return chip->state.b | (refresh ? PORT_B_REFRESH : 0) |
	       (i8254_output(chip->pit, SPEAKER_COUNTER) ? PORT_B_OUTPUT : 0);
}

void system_port_write_b(struct system_port *chip, uint8_t value)
{
	chip->state.b = value & PORT_B_WRITABLE;
	i8254_set_gate(chip->pit, SPEAKER_COUNTER, value & PORT_B_GATE);
}

static void system_port_reset(void *device)
{
	system_port_write_a(device, 0);
	system_port_write_b(device, 0);
}

static void system_port_restored(void *device)
{
	struct system_port *chip = device;

	irq_line_set(&chip->a20, chip->state.a & PORT_A_A20);
	i8254_set_gate(chip->pit, SPEAKER_COUNTER, chip->state.b & PORT_B_GATE);
}

void system_port_init(struct system_port *chip, struct clock *clock, struct i8254 *pit,
	struct irq_line a20, struct irq_line reset)
{
	memset(chip, 0, sizeof(*chip));
	chip->clock = clock;
	chip->pit = pit;
	chip->a20 = a20;
	chip->reset = reset;
	system_port_reset(chip);
}

static const struct state_field system_port_fields[] = {
	STATE_MAX(struct system_port_state, a, PORT_A_WRITABLE),
	STATE_MAX(struct system_port_state, b, PORT_B_WRITABLE),
};
static const struct state_table system_port_table =
	STATE_TABLE_OF(struct system_port_state, "system_port", system_port_fields, NULL);

const struct device_type system_port_type = {
	.name = "system_port",
	.state = &system_port_table,
	.state_offset = offsetof(struct system_port, state),
	.reset = system_port_reset,
	.restored = system_port_restored,
};
