/*
 * IA-PC HPET 1.0a, 2.3: registers of the high precision event timers.
 */
#ifndef CHIP_HPET_REGS_H
#define CHIP_HPET_REGS_H

#include "base/bits.h"

#define HPET_CAPABILITIES  0x000
#define HPET_CONFIGURATION 0x010
#define HPET_STATUS        0x020
#define HPET_COUNTER       0x0f0
#define HPET_TIMERS        0x100 /* blocks of */
#define HPET_TIMER_SIZE    0x20

/* Of a timer's block. */
#define HPET_TIMER_CONFIGURATION 0x00
#define HPET_TIMER_COMPARATOR    0x08

#define HPET_CAP_PERIOD BITS(63, 32) /* femtoseconds */
#define HPET_CAP_VENDOR BITS(31, 16)
#define HPET_CAP_LEGACY BIT(15)
#define HPET_CAP_64BIT  BIT(13)
#define HPET_CAP_LAST   BITS(12, 8) /* the number of the last timer */
#define HPET_CAP_REV    BITS(7, 0)

#define HPET_CONF_LEGACY BIT(1)
#define HPET_CONF_ENABLE BIT(0)

#define HPET_TIMER_ROUTES   BITS(63, 32)
#define HPET_TIMER_ROUTE    BITS(13, 9)
#define HPET_TIMER_32BIT    BIT(8)
#define HPET_TIMER_VAL_SET  BIT(6)
#define HPET_TIMER_SIZE_CAP BIT(5)
#define HPET_TIMER_PER_CAP  BIT(4)
#define HPET_TIMER_PERIODIC BIT(3)
#define HPET_TIMER_ENABLE   BIT(2)
#define HPET_TIMER_LEVEL    BIT(1)
#define HPET_TIMER_WRITABLE                                                                        \
	(HPET_TIMER_ROUTE | HPET_TIMER_32BIT | HPET_TIMER_VAL_SET | HPET_TIMER_PERIODIC |          \
		HPET_TIMER_ENABLE | HPET_TIMER_LEVEL)

#endif
