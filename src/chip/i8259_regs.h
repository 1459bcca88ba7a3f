/*
 * The 8259A's initialization and operation command words (Intel 8259A data sheet, 231468).
 */
#ifndef CHIP_I8259_REGS_H
#define CHIP_I8259_REGS_H

#include "base/bits.h"

#define I8259_REG_COMMAND 0
#define I8259_REG_DATA    1

/* Written to address 0, bit 4 tells an ICW1, else bit 3 an OCW3 from an OCW2. */
#define ICW1_INIT   BIT(4)
#define ICW1_LEVEL  BIT(3) /* LTIM: every input is level triggered */
#define ICW1_SINGLE BIT(1) /* SNGL: no ICW3 follows */
#define ICW1_ICW4   BIT(0) /* IC4: an ICW4 follows */

#define ICW2_VECTOR BITS(7, 3)

#define ICW4_SFNM BIT(4) /* special fully nested mode */
#define ICW4_AEOI BIT(1)

#define OCW2_COMMAND BITS(7, 5)
#define OCW2_LEVEL   BITS(2, 0)

/* Values of OCW2_COMMAND: R, SL, EOI. */
#define OCW2_ROTATE_AEOI_CLEAR 0
#define OCW2_EOI               1
#define OCW2_NOP               2
#define OCW2_EOI_SPECIFIC      3
#define OCW2_ROTATE_AEOI_SET   4
#define OCW2_EOI_ROTATE        5
#define OCW2_SET_PRIORITY      6
#define OCW2_EOI_ROTATE_LEVEL  7

#define OCW3_SELECT    BIT(3)
#define OCW3_SMM       BITS(6, 5) /* ESMM, SMM */
#define OCW3_POLL      BIT(2)
#define OCW3_READ      BITS(1, 0) /* RR, RIS */
#define OCW3_SMM_CLEAR 2
#define OCW3_SMM_SET   3
#define OCW3_READ_IRR  2
#define OCW3_READ_ISR  3

#define I8259_POLL_INTERRUPT BIT(7)

#endif
