/*
 * ACPI fixed hardware (ACPI 6.4, 4.8): the PM1 event and control blocks with power button and RTC
 * alarm, and the 32-bit power management timer.
 *
 * The machine is always in ACPI mode: SCI_EN is hardwired and there is no SMI command port. The
 * only sleep state is S5. The timer counts guest time and does not stop at a reset. Runs under the
 * machine lock.
 */
#include "chip/acpi_pm.h"

#include "base/log.h"
#include "chip/acpi_pm_regs.h"

#include <string.h>

#define ACPI_PM_TIMER_HALF 31 /* the bit whose change sets the status */

static uint64_t acpi_pm_ticks(const struct acpi_pm *chip)
{
	return ns_to_ticks(clock_now(chip->clock), ACPI_PM_TIMER_HZ);
}

static void acpi_pm_drive(struct acpi_pm *chip)
{
	const struct acpi_pm_state *state = &chip->state;

	irq_line_set(&chip->sci, state->status & state->enable);
	if ((state->enable & PM1_TIMER) && !(state->status & PM1_TIMER))
		timer_arm(&chip->timer, ticks_to_ns((state->seen_halves + 1) << ACPI_PM_TIMER_HALF,
						ACPI_PM_TIMER_HZ));
	else
		timer_cancel(&chip->timer);
}

static void acpi_pm_update(struct acpi_pm *chip)
{
	uint64_t halves = acpi_pm_ticks(chip) >> ACPI_PM_TIMER_HALF;

	if (halves != chip->state.seen_halves)
		chip->state.status |= PM1_TIMER;
	chip->state.seen_halves = halves;
	acpi_pm_drive(chip);
}

static void acpi_pm_fire(void *context)
{
	acpi_pm_update(context);
}

static void acpi_pm_sleep(struct acpi_pm *chip)
{
	unsigned type = (unsigned)field_get(PM1_CONTROL_SLP_TYP, chip->state.control);

	if (type == chip->soft_off)
		irq_line_pulse(&chip->power_off);
	else
		log_guest("the guest asked for sleep type %u, which does not exist", type);
}

/* One byte of a register, merged with what the other byte holds. */
static void acpi_pm_write_byte(struct acpi_pm *chip, unsigned offset, uint8_t value)
{
	struct acpi_pm_state *state = &chip->state;
	unsigned shift = 8 * (offset & 1);
	uint16_t mask = (uint16_t)(0xff << shift), bits = (uint16_t)(value << shift);

	switch (offset & ~1u) {
	case ACPI_PM_STATUS: state->status &= ~bits; break; /* write one to clear */
	case ACPI_PM_ENABLE: state->enable = (state->enable & ~mask) | (bits & PM1_EVENTS); break;
	case ACPI_PM_CONTROL:
		mask &= PM1_CONTROL_WRITABLE;
		state->control = (state->control & ~mask) | (bits & mask);
		if (bits & PM1_CONTROL_SLP_EN)
			acpi_pm_sleep(chip);
		break;
	}
}

void acpi_pm_write(struct acpi_pm *chip, unsigned offset, unsigned size, uint32_t value)
{
	acpi_pm_update(chip);
	for (unsigned i = 0; i < size; i++)
		acpi_pm_write_byte(chip, offset + i, (uint8_t)(value >> (8 * i)));
	acpi_pm_update(chip);
}

uint32_t acpi_pm_read(struct acpi_pm *chip, unsigned offset, unsigned size)
{
	const struct acpi_pm_state *state = &chip->state;
	uint32_t value;

	acpi_pm_update(chip);
	switch (offset & ~3u) {
	case ACPI_PM_STATUS: value = state->status | (uint32_t)state->enable << 16; break;
	case ACPI_PM_CONTROL: value = state->control; break;
	case ACPI_PM_TIMER: value = (uint32_t)acpi_pm_ticks(chip); break;
	default: value = UINT32_MAX; break;
	}
	return (uint32_t)((value >> (8 * (offset & 3))) & byte_mask(size));
}

void acpi_pm_press_power_button(struct acpi_pm *chip)
{
	chip->state.status |= PM1_POWER_BUTTON;
	acpi_pm_update(chip);
}

void acpi_pm_rtc_alarm(struct acpi_pm *chip)
{
	chip->state.status |= PM1_RTC;
	acpi_pm_update(chip);
}

static void acpi_pm_reset(void *device)
{
	struct acpi_pm *chip = device;

	chip->state = (struct acpi_pm_state){
		.control = PM1_CONTROL_SCI_EN,
		.seen_halves = acpi_pm_ticks(chip) >> ACPI_PM_TIMER_HALF,
	};
	acpi_pm_update(chip);
}

static void acpi_pm_restored(void *device)
{
	acpi_pm_drive(device);
}

void acpi_pm_init(struct acpi_pm *chip, struct clock *clock, struct irq_line sci,
	struct irq_line power_off, uint8_t soft_off)
{
	memset(chip, 0, sizeof(*chip));
	chip->clock = clock;
	chip->sci = sci;
	chip->power_off = power_off;
	chip->soft_off = soft_off;
	timer_init(&chip->timer, clock, acpi_pm_fire, chip);
	acpi_pm_reset(chip);
}

static bool acpi_pm_check(const void *state, struct error *err)
{
	const struct acpi_pm_state *pm = state;

	(void)err;
	return !(pm->status & ~PM1_EVENTS) && !(pm->enable & ~PM1_EVENTS) &&
	       (pm->control & ~PM1_CONTROL_WRITABLE) == PM1_CONTROL_SCI_EN;
}

static const struct state_field acpi_pm_fields[] = {
	STATE_MAX(struct acpi_pm_state, seen_halves,
		STATE_TIME_MAX / NS_PER_S * ACPI_PM_TIMER_HZ >> ACPI_PM_TIMER_HALF),
	STATE(struct acpi_pm_state, status),
	STATE(struct acpi_pm_state, enable),
	STATE(struct acpi_pm_state, control),
	STATE_PAD(struct acpi_pm_state, reserved),
};
static const struct state_table acpi_pm_table =
	STATE_TABLE_OF(struct acpi_pm_state, "acpi_pm", acpi_pm_fields, acpi_pm_check);

const struct device_type acpi_pm_type = {
	.name = "acpi_pm",
	.state = &acpi_pm_table,
	.state_offset = offsetof(struct acpi_pm, state),
	.reset = acpi_pm_reset,
	.restored = acpi_pm_restored,
};
