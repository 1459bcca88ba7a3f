/*
 * The PS/2 keyboard controller: IBM PS/2 Hardware Interface Technical Reference, keyboard and
 * auxiliary device controller.
 */
#ifndef CHIP_I8042_REGS_H
#define CHIP_I8042_REGS_H

#include "base/bits.h"

/* The two addresses (0x60 and 0x64 in a PC). */
#define I8042_REG_DATA    0
#define I8042_REG_COMMAND 1

#define I8042_STATUS_OUTPUT_FULL BIT(0)
#define I8042_STATUS_SYSTEM      BIT(2)
#define I8042_STATUS_COMMAND     BIT(3) /* the last write was a command */
#define I8042_STATUS_UNLOCKED    BIT(4) /* no key lock */
#define I8042_STATUS_AUX         BIT(5) /* the output is from the auxiliary device */
#define I8042_STATUS_TIMEOUT     BIT(6)

/* The controller's RAM has 32 bytes; the first is the command byte. */
#define I8042_NR_RAM            32
#define I8042_BYTE_KEYBOARD_IRQ BIT(0)
#define I8042_BYTE_AUX_IRQ      BIT(1)
#define I8042_BYTE_SYSTEM       BIT(2)
#define I8042_BYTE_KEYBOARD_OFF BIT(4)
#define I8042_BYTE_AUX_OFF      BIT(5)
#define I8042_BYTE_TRANSLATE    BIT(6)

#define I8042_OUTPUT_RESET    BIT(0) /* active low */
#define I8042_OUTPUT_A20      BIT(1)
#define I8042_OUTPUT_AUX_FULL BIT(5)
#define I8042_OUTPUT_FULL     BIT(4)

enum i8042_command {
	I8042_READ_RAM = 0x20,  /* to 0x3f */
	I8042_WRITE_RAM = 0x60, /* to 0x7f */
	I8042_AUX_OFF = 0xa7,
	I8042_AUX_ON = 0xa8,
	I8042_AUX_TEST = 0xa9,
	I8042_SELF_TEST = 0xaa,
	I8042_KEYBOARD_TEST = 0xab,
	I8042_KEYBOARD_OFF = 0xad,
	I8042_KEYBOARD_ON = 0xae,
	I8042_READ_INPUT = 0xc0,
	I8042_READ_OUTPUT = 0xd0,
	I8042_WRITE_OUTPUT = 0xd1,
	I8042_WRITE_KEYBOARD_BUFFER = 0xd2,
	I8042_WRITE_AUX_BUFFER = 0xd3,
	I8042_WRITE_AUX = 0xd4,
	I8042_A20_OFF = 0xdd,
	I8042_A20_ON = 0xdf,
	I8042_PULSE = 0xf0, /* to 0xff; a clear bit pulses its output low */
};

#define I8042_SELF_TEST_PASSED 0x55
#define I8042_PORT_TEST_PASSED 0x00
#define I8042_RESEND           0xfe

#endif
