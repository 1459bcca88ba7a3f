/*
 * The 8254's control word and status byte (Intel 8254 data sheet, 231164).
 */
#ifndef CHIP_I8254_REGS_H
#define CHIP_I8254_REGS_H

#include "base/bits.h"

/* The four addresses. */
#define I8254_REG_CONTROL 3 /* 0 to 2 are the counters */

/* Control word; the low six bits come back in the status byte. */
#define I8254_CONTROL_SELECT BITS(7, 6)
#define I8254_CONTROL_ACCESS BITS(5, 4)
#define I8254_CONTROL_MODE   BITS(3, 1)
#define I8254_CONTROL_BCD    BIT(0)
#define I8254_CONTROL_KEPT   BITS(5, 0)

#define I8254_SELECT_READ_BACK 3

#define I8254_ACCESS_LATCH 0
#define I8254_ACCESS_LSB   1
#define I8254_ACCESS_MSB   2
#define I8254_ACCESS_WORD  3

/* Read-back command; the two latch bits are active low. */
#define I8254_READ_BACK_NO_COUNT  BIT(5)
#define I8254_READ_BACK_NO_STATUS BIT(4)
#define I8254_READ_BACK_COUNTERS  BITS(3, 1)

/* Status byte. */
#define I8254_STATUS_OUTPUT     BIT(7)
#define I8254_STATUS_NULL_COUNT BIT(6)

#endif
