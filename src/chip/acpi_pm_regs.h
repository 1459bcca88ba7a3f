/*
 * ACPI fixed hardware registers (ACPI 6.4, 4.8.3), in the order in which this block has them.
 */
#ifndef CHIP_ACPI_PM_REGS_H
#define CHIP_ACPI_PM_REGS_H

#include "base/bits.h"

#define ACPI_PM_STATUS  0 /* 16 bits */
#define ACPI_PM_ENABLE  2 /* 16 bits */
#define ACPI_PM_CONTROL 4 /* 16 bits */
#define ACPI_PM_TIMER   8 /* 32 bits */
#define ACPI_PM_SIZE    12

#define PM1_TIMER        BIT(0)
#define PM1_GLOBAL       BIT(5)
#define PM1_POWER_BUTTON BIT(8)
#define PM1_SLEEP_BUTTON BIT(9)
#define PM1_RTC          BIT(10)
/* Events that exist here; others are never set and cannot be enabled. */
#define PM1_EVENTS (PM1_TIMER | PM1_GLOBAL | PM1_POWER_BUTTON | PM1_RTC)

#define PM1_CONTROL_SCI_EN   BIT(0)
#define PM1_CONTROL_BM_RLD   BIT(1)
#define PM1_CONTROL_SLP_TYP  BITS(12, 10)
#define PM1_CONTROL_SLP_EN   BIT(13) /* reads as 0 */
#define PM1_CONTROL_WRITABLE (PM1_CONTROL_BM_RLD | PM1_CONTROL_SLP_TYP)

#endif
