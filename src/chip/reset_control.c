/*
 * The reset control register (Intel ICH9 data sheet, 316972, RST_CNT).
 *
 * A rising RST_CPU resets. Not modelled: the difference between a soft reset (INIT), a hard reset
 * and a power cycle; each resets the whole machine. Runs under the machine lock.
 */
#include "chip/reset_control.h"

#include "base/bits.h"

#include <string.h>

#define RST_CNT_SYS_RST  BIT(1)
#define RST_CNT_RST_CPU  BIT(2)
#define RST_CNT_FULL_RST BIT(3)
#define RST_CNT_WRITABLE (RST_CNT_SYS_RST | RST_CNT_RST_CPU | RST_CNT_FULL_RST)

uint8_t reset_control_read(const struct reset_control *chip)
{
	return chip->state.control;
}

void reset_control_write(struct reset_control *chip, uint8_t value)
{
	bool reset = value & ~chip->state.control & RST_CNT_RST_CPU;

	chip->state.control = value & RST_CNT_WRITABLE;
	if (reset)
		irq_line_pulse(&chip->reset);
}

static void reset_control_reset(void *device)
{
	((struct reset_control *)device)->state.control = 0;
}

void reset_control_init(struct reset_control *chip, struct irq_line reset)
{
	memset(chip, 0, sizeof(*chip));
	chip->reset = reset;
}

static const struct state_field reset_control_fields[] = {
	STATE_MAX(struct reset_control_state, control, RST_CNT_WRITABLE),
};
static const struct state_table reset_control_table =
	STATE_TABLE_OF(struct reset_control_state, "reset_control", reset_control_fields, NULL);

const struct device_type reset_control_type = {
	.name = "reset_control",
	.state = &reset_control_table,
	.state_offset = offsetof(struct reset_control, state),
	.reset = reset_control_reset,
};
