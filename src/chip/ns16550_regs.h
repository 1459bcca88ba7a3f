/*
 * Registers of the PC16550D universal asynchronous receiver/transmitter with FIFOs (National
 * Semiconductor data sheet, June 1995).
 */
#ifndef CHIP_NS16550_REGS_H
#define CHIP_NS16550_REGS_H

#include "base/bits.h"

enum ns16550_reg {
	NS16550_RBR_THR, /* DLL while LCR_DLAB is set */
	NS16550_IER,     /* DLM while LCR_DLAB is set */
	NS16550_IIR_FCR,
	NS16550_LCR,
	NS16550_MCR,
	NS16550_LSR,
	NS16550_MSR,
	NS16550_SCR,
	NS16550_NR_REGS,
};

#define IER_RECEIVED BIT(0)
#define IER_THR      BIT(1)
#define IER_LINE     BIT(2)
#define IER_MODEM    BIT(3)
#define IER_WRITABLE BITS(3, 0)

#define IIR_NONE     0x01
#define IIR_MODEM    0x00
#define IIR_THR      0x02
#define IIR_RECEIVED 0x04
#define IIR_LINE     0x06
#define IIR_TIMEOUT  0x0c
#define IIR_FIFOS    BITS(7, 6)

#define FCR_ENABLE   BIT(0)
#define FCR_CLEAR_RX BIT(1)
#define FCR_CLEAR_TX BIT(2)
#define FCR_TRIGGER  BITS(7, 6)
#define FCR_KEPT     (FCR_ENABLE | BIT(3) | FCR_TRIGGER)

#define LCR_WORD_LENGTH BITS(1, 0) /* 5 bits and up */
#define LCR_STOP        BIT(2)
#define LCR_PARITY      BIT(3)
#define LCR_DLAB        BIT(7)

#define MCR_DTR      BIT(0)
#define MCR_RTS      BIT(1)
#define MCR_OUT1     BIT(2)
#define MCR_OUT2     BIT(3)
#define MCR_LOOP     BIT(4)
#define MCR_WRITABLE BITS(4, 0)

#define LSR_READY     BIT(0)
#define LSR_OVERRUN   BIT(1)
#define LSR_PARITY    BIT(2)
#define LSR_FRAMING   BIT(3)
#define LSR_BREAK     BIT(4)
#define LSR_THRE      BIT(5)
#define LSR_TEMT      BIT(6)
#define LSR_FIFO      BIT(7)
#define LSR_CHARACTER (LSR_PARITY | LSR_FRAMING | LSR_BREAK)
#define LSR_ERRORS    (LSR_OVERRUN | LSR_CHARACTER)

#define MSR_DELTA_CTS   BIT(0)
#define MSR_DELTA_DSR   BIT(1)
#define MSR_TRAILING_RI BIT(2)
#define MSR_DELTA_DCD   BIT(3)
#define MSR_CTS         BIT(4)
#define MSR_DSR         BIT(5)
#define MSR_RI          BIT(6)
#define MSR_DCD         BIT(7)
#define MSR_INPUTS      BITS(7, 4)
#define MSR_DELTAS      BITS(3, 0)

#endif
