/*
 * ACPI fixed hardware: power button, RTC alarm, sleep control, and the power management timer.
 */
#ifndef CHIP_ACPI_PM_H
#define CHIP_ACPI_PM_H

#include "machine/clock.h"
#include "machine/device.h"
#include "machine/irq_line.h"

#define ACPI_PM_TIMER_HZ 3579545

struct acpi_pm_state {
	uint64_t seen_halves; /* how often bit 31 of the timer had changed when last looked at */
	uint16_t status;
	uint16_t enable;
	uint16_t control;
	uint8_t reserved[2];
};

struct acpi_pm {
	struct acpi_pm_state state;
	struct clock *clock;
	struct irq_line sci;       /* level triggered */
	struct irq_line power_off; /* pulsed */
	struct timer timer;
	uint8_t soft_off; /* the SLP_TYP of S5 */
};

extern const struct device_type acpi_pm_type;

/* `soft_off` is the SLP_TYP that the DSDT gives for S5. */
void acpi_pm_init(struct acpi_pm *chip, struct clock *clock, struct irq_line sci,
	struct irq_line power_off, uint8_t soft_off);

/* Any size up to 4 bytes. */
uint32_t acpi_pm_read(struct acpi_pm *chip, unsigned offset, unsigned size);
void acpi_pm_write(struct acpi_pm *chip, unsigned offset, unsigned size, uint32_t value);

void acpi_pm_press_power_button(struct acpi_pm *chip);
/* The real-time clock raises its interrupt. */
void acpi_pm_rtc_alarm(struct acpi_pm *chip);

#endif
