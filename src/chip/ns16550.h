/*
 * PC16550D serial port with 16-byte FIFOs, as a PC wires it.
 */
#ifndef CHIP_NS16550_H
#define CHIP_NS16550_H

#include "chip/char_line.h"
#include "machine/clock.h"
#include "machine/device.h"
#include "machine/irq_line.h"

#define NS16550_FIFO_SIZE 16
#define NS16550_HZ        1843200 /* 16 times the baud rate at divisor 1 */

struct ns16550_state {
	uint64_t touched_ns; /* when the receive FIFO was last filled or read */
	uint8_t rx[NS16550_FIFO_SIZE];
	uint8_t rx_error[NS16550_FIFO_SIZE]; /* LSR bits of each character, until it is on top */
	uint8_t tx[NS16550_FIFO_SIZE];
	uint8_t rx_head;
	uint8_t rx_count;
	uint8_t tx_count;
	uint8_t ier;
	uint8_t fcr;
	uint8_t lcr;
	uint8_t mcr;
	uint8_t scr;
	uint8_t dll;
	uint8_t dlm;
	uint8_t lsr_errors; /* until LSR is read */
	uint8_t msr_deltas; /* until MSR is read */
	bool thr_interrupt; /* the transmitter became empty, until IIR tells or THR is written */
	bool timeout_interrupt; /* characters wait in the FIFO, until one is read */
	uint8_t reserved[2];
};

struct ns16550 {
	struct ns16550_state state;
	struct clock *clock;
	struct irq_line interrupt;
	struct char_line line;
	struct timer timeout;
	bool outside_waits; /* input was refused: tell line.room */
};

extern const struct device_type ns16550_type;

void ns16550_init(struct ns16550 *chip, struct clock *clock, struct irq_line interrupt,
	struct char_line line);

uint8_t ns16550_read(struct ns16550 *chip, unsigned reg);
void ns16550_write(struct ns16550 *chip, unsigned reg, uint8_t value);

/*
 * Input from outside. The chip takes bytes while the guest asserts RTS and there is room, so that
 * nothing is lost; if it takes fewer than offered it calls line.room later. Returns bytes taken.
 */
size_t ns16550_receive(struct ns16550 *chip, const uint8_t *bytes, size_t size);
size_t ns16550_receive_room(const struct ns16550 *chip);

/* The outside holds the line in the break state; lost if there is no room. */
void ns16550_receive_break(struct ns16550 *chip);

/* The outside can take output again. */
void ns16550_writable(struct ns16550 *chip);

#endif
