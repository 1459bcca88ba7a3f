/*
 * Registers of the MC146818A real-time clock (Motorola data sheet), and where a PC keeps the
 * century.
 */
#ifndef CHIP_MC146818_REGS_H
#define CHIP_MC146818_REGS_H

#include "base/bits.h"

/* The two addresses. */
#define MC146818_REG_INDEX 0
#define MC146818_REG_DATA  1

#define MC146818_INDEX BITS(6, 0) /* bit 7 masks NMI in a PC */

enum mc146818_register {
	RTC_SECONDS = 0x00,
	RTC_SECONDS_ALARM = 0x01,
	RTC_MINUTES = 0x02,
	RTC_MINUTES_ALARM = 0x03,
	RTC_HOURS = 0x04,
	RTC_HOURS_ALARM = 0x05,
	RTC_WEEKDAY = 0x06, /* 1 is Sunday */
	RTC_DAY = 0x07,
	RTC_MONTH = 0x08,
	RTC_YEAR = 0x09,
	RTC_A = 0x0a,
	RTC_B = 0x0b,
	RTC_C = 0x0c,
	RTC_D = 0x0d,
	RTC_CENTURY = 0x32,
};

#define RTC_A_UIP     BIT(7)
#define RTC_A_DIVIDER BITS(6, 4)
#define RTC_A_RATE    BITS(3, 0)
#define RTC_A_RESET   0x26 /* 32768 Hz, periodic rate 1024 Hz: what firmware leaves */

#define RTC_DIVIDER_32768 2

#define RTC_B_SET    BIT(7)
#define RTC_B_PIE    BIT(6)
#define RTC_B_AIE    BIT(5)
#define RTC_B_UIE    BIT(4)
#define RTC_B_SQWE   BIT(3)
#define RTC_B_BINARY BIT(2)
#define RTC_B_24H    BIT(1)
#define RTC_B_RESET  RTC_B_24H

/* The flags of register C stand where their enables stand in register B. */
#define RTC_C_IRQF  BIT(7)
#define RTC_C_PF    BIT(6)
#define RTC_C_AF    BIT(5)
#define RTC_C_UF    BIT(4)
#define RTC_C_FLAGS BITS(6, 4)

#define RTC_D_VRT BIT(7) /* the battery is good */

#define RTC_HOURS_PM  BIT(7)
#define RTC_ALARM_ANY 0xc0 /* this and above: every second, minute, hour */

#endif
