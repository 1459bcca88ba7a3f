/*
 * The PC/AT's parallel port (IBM PC/AT Technical Reference, Serial/Parallel Adapter), and a printer
 * that acknowledges each byte at once unless its outside holds it up. Runs under the machine lock.
 *
 * Not modelled: input (byte mode, EPP, ECP), and a printer that is out of paper or has an error.
 */
#include "chip/parallel_port.h"

#include "base/bits.h"

#include <string.h>

enum parallel_port_register { DATA, STATUS, CONTROL };

/* As the port shows the lines: BUSY is inverted. */
#define STATUS_ERROR    BIT(3) /* 0: there is one */
#define STATUS_SELECTED BIT(4)
#define STATUS_ACK      BIT(6) /* 0 for a moment after each byte */
#define STATUS_READY    BIT(7)

#define CONTROL_STROBE    BIT(0)
#define CONTROL_INIT      BIT(2) /* 0 resets the printer */
#define CONTROL_INTERRUPT BIT(4)
#define CONTROL_WRITABLE  BITS(4, 0)
#define CONTROL_ONES      BITS(7, 5)

static void acknowledge(struct parallel_port *chip)
{
	if (chip->state.control & CONTROL_INTERRUPT)
		irq_line_pulse(&chip->interrupt);
}

static void print(struct parallel_port *chip, uint8_t byte)
{
	if (chip->line.write && chip->line.write(chip->line.context, &byte, 1) == 0) {
		chip->state.waits = true;
		chip->state.waiting = byte;
		return;
	}
	chip->state.waits = false;
	chip->state.waiting = 0;
	acknowledge(chip);
}

void parallel_port_writable(struct parallel_port *chip)
{
	if (chip->state.waits)
		print(chip, chip->state.waiting);
}

uint8_t parallel_port_read(const struct parallel_port *chip, unsigned reg)
{
	switch (reg) {
	case DATA: return chip->state.data;
	case STATUS:
		return STATUS_ERROR | STATUS_SELECTED | STATUS_ACK |
		       (chip->state.waits ? 0 : STATUS_READY);
	case CONTROL: return chip->state.control | CONTROL_ONES;
	}
	return 0xff;
}

static void write_control(struct parallel_port *chip, uint8_t value)
{
	bool strobe = (value & ~chip->state.control) & CONTROL_STROBE;

	chip->state.control = value & CONTROL_WRITABLE;
	/* A printer that is reset, or busy, takes nothing. */
	if (strobe && (value & CONTROL_INIT) && !chip->state.waits)
		print(chip, chip->state.data);
}

void parallel_port_write(struct parallel_port *chip, unsigned reg, uint8_t value)
{
	if (reg == DATA)
		chip->state.data = value;
	else if (reg == CONTROL)
		write_control(chip, value);
}

static void parallel_port_reset(void *device)
{
	struct parallel_port *chip = device;

	memset(&chip->state, 0, sizeof(chip->state));
	irq_line_set(&chip->interrupt, false);
}

void parallel_port_init(
	struct parallel_port *chip, struct irq_line interrupt, struct char_line line)
{
	memset(chip, 0, sizeof(*chip));
	chip->interrupt = interrupt;
	chip->line = line;
}

static const struct state_field parallel_port_fields[] = {
	STATE(struct parallel_port_state, data),
	STATE_MAX(struct parallel_port_state, control, CONTROL_WRITABLE),
	STATE(struct parallel_port_state, waits),
	STATE(struct parallel_port_state, waiting),
};
static const struct state_table parallel_port_table =
	STATE_TABLE_OF(struct parallel_port_state, "parallel_port", parallel_port_fields, NULL);

const struct device_type parallel_port_type = {
	.name = "parallel_port",
	.state = &parallel_port_table,
	.state_offset = offsetof(struct parallel_port, state),
	.reset = parallel_port_reset,
};
