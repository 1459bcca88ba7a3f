/*
 * The 8237A's registers (Intel 8237A data sheet, 231466), with the read-backs of the 82C37A.
 */
#ifndef CHIP_I8237_REGS_H
#define CHIP_I8237_REGS_H

#include "base/bits.h"

/* Registers 0 to 7: address and count of each channel. */
#define I8237_REG_STATUS       0x8 /* read */
#define I8237_REG_COMMAND      0x8 /* write */
#define I8237_REG_REQUEST      0x9
#define I8237_REG_COMMAND_READ 0xa /* read: 82C37A */
#define I8237_REG_MASK_BIT     0xa /* write */
#define I8237_REG_MODE         0xb /* read: 82C37A, of each channel in turn */
#define I8237_REG_FLIP_FLOP    0xc /* write clears it; read sets it: 82C37A */
#define I8237_REG_TEMPORARY    0xd /* read */
#define I8237_REG_MASTER_CLEAR 0xd /* write */
#define I8237_REG_MODE_COUNTER 0xe /* read clears it: 82C37A */
#define I8237_REG_CLEAR_MASK   0xe /* write */
#define I8237_REG_MASK         0xf

#define I8237_COMMAND_DISABLE BIT(2)

/* The request and mask bit registers. */
#define I8237_BIT_SET     BIT(2)
#define I8237_BIT_CHANNEL BITS(1, 0)

#define I8237_MODE_CHANNEL   BITS(1, 0)
#define I8237_MODE_TRANSFER  BITS(3, 2)
#define I8237_MODE_AUTO      BIT(4)
#define I8237_MODE_DECREMENT BIT(5)
#define I8237_MODE_KIND      BITS(7, 6)

#define I8237_KIND_CASCADE 3

#define I8237_ALL_CHANNELS 0xf

#endif
