/*
 * PC16550D universal asynchronous receiver/transmitter with FIFOs (National Semiconductor data
 * sheet, June 1995), wired as in a PC: OUT2 lets the interrupt through, and the other end of the
 * cable asserts CTS, DSR and DCD and sends only while RTS is asserted.
 *
 * Characters take no time, in either direction; only the receive timeout counts in character times.
 * While the outside takes no output the transmitter stays full. Not modelled: breaks and line
 * parameters towards the outside, DMA mode. Runs under the machine lock.
 */
#include "chip/ns16550.h"

#include "chip/ns16550_regs.h"

#include <assert.h>
#include <string.h>

#define NS16550_TIMEOUT_CHARACTERS 4

static bool ns16550_fifos_enabled(const struct ns16550 *chip)
{
	return chip->state.fcr & FCR_ENABLE;
}

static unsigned ns16550_capacity(const struct ns16550 *chip)
{
	return ns16550_fifos_enabled(chip) ? NS16550_FIFO_SIZE : 1;
}

static unsigned ns16550_trigger(const struct ns16550 *chip)
{
	static const uint8_t triggers[] = { 1, 4, 8, 14 };

	return ns16550_fifos_enabled(chip) ? triggers[field_get(FCR_TRIGGER, chip->state.fcr)] : 1;
}

static ns_t ns16550_character_ns(const struct ns16550 *chip)
{
	const struct ns16550_state *state = &chip->state;
	unsigned divisor = state->dlm << 8 | state->dll;
	unsigned bits = 1 + 5 + (unsigned)field_get(LCR_WORD_LENGTH, state->lcr) +
			!!(state->lcr & LCR_PARITY) + (state->lcr & LCR_STOP ? 2 : 1);

	/* Divisor 0 is not defined: count it as 1. */
	return ticks_to_ns(16u * bits * (divisor ? divisor : 1), NS16550_HZ);
}

static bool ns16550_fifo_has_error(const struct ns16550 *chip)
{
	uint8_t errors = chip->state.lsr_errors & LSR_CHARACTER;

	for (unsigned i = 0; i < NS16550_FIFO_SIZE; i++)
		errors |= chip->state.rx_error[i];
	return ns16550_fifos_enabled(chip) && errors;
}

static uint8_t ns16550_lsr(const struct ns16550 *chip)
{
	const struct ns16550_state *state = &chip->state;

	return state->lsr_errors | (state->rx_count > 0 ? LSR_READY : 0) |
	       (state->tx_count == 0 ? LSR_THRE | LSR_TEMT : 0) |
	       (ns16550_fifo_has_error(chip) ? LSR_FIFO : 0);
}

/* In loopback the modem control outputs come back as the modem status inputs. */
static uint8_t ns16550_modem_inputs(uint8_t mcr)
{
	if (!(mcr & MCR_LOOP))
		return MSR_CTS | MSR_DSR | MSR_DCD;
	return (mcr & MCR_RTS ? MSR_CTS : 0) | (mcr & MCR_DTR ? MSR_DSR : 0) |
	       (mcr & MCR_OUT1 ? MSR_RI : 0) | (mcr & MCR_OUT2 ? MSR_DCD : 0);
}

/* The pending interrupt of highest priority, without the FIFO bits. */
static uint8_t ns16550_iir(const struct ns16550 *chip)
{
	const struct ns16550_state *state = &chip->state;

	if ((state->ier & IER_LINE) && state->lsr_errors)
		return IIR_LINE;
	if ((state->ier & IER_RECEIVED) && state->rx_count >= ns16550_trigger(chip))
		return IIR_RECEIVED;
	if ((state->ier & IER_RECEIVED) && state->timeout_interrupt)
		return IIR_TIMEOUT;
	if ((state->ier & IER_THR) && state->thr_interrupt)
		return IIR_THR;
	if ((state->ier & IER_MODEM) && state->msr_deltas)
		return IIR_MODEM;
	return IIR_NONE;
}

/* Brings the interrupt line up to date and asks for more input. */
static void ns16550_update(struct ns16550 *chip)
{
	bool enabled = (chip->state.mcr & (MCR_OUT2 | MCR_LOOP)) == MCR_OUT2;

	irq_line_set(&chip->interrupt, enabled && ns16550_iir(chip) != IIR_NONE);
	if (chip->outside_waits && ns16550_receive_room(chip) > 0) {
		chip->outside_waits = false;
		if (chip->line.room)
			chip->line.room(chip->line.context);
	}
}

static void ns16550_arm_timeout(struct ns16550 *chip)
{
	struct ns16550_state *state = &chip->state;

	if (!ns16550_fifos_enabled(chip) || state->rx_count == 0 || state->timeout_interrupt)
		timer_cancel(&chip->timeout);
	else
		timer_arm(&chip->timeout,
			(ns_t)state->touched_ns +
				NS16550_TIMEOUT_CHARACTERS * ns16550_character_ns(chip));
}

static void ns16550_timeout(void *context)
{
	struct ns16550 *chip = context;

	chip->state.timeout_interrupt = true;
	ns16550_update(chip);
}

/* The receive FIFO was filled or read: the timeout starts anew. */
static void ns16550_touch_rx(struct ns16550 *chip)
{
	chip->state.touched_ns = (uint64_t)clock_now(chip->clock);
	ns16550_arm_timeout(chip);
}

/* The errors of a character show in LSR when it comes to the top of the FIFO. */
static void ns16550_reveal_errors(struct ns16550 *chip)
{
	struct ns16550_state *state = &chip->state;

	if (state->rx_count == 0)
		return;
	state->lsr_errors |= state->rx_error[state->rx_head];
	state->rx_error[state->rx_head] = 0;
}

static void ns16550_push_rx(struct ns16550 *chip, uint8_t byte, uint8_t errors)
{
	struct ns16550_state *state = &chip->state;
	unsigned at = (state->rx_head + state->rx_count) % NS16550_FIFO_SIZE;

	if (state->rx_count >= ns16550_capacity(chip)) {
		/* The FIFO keeps what it has; a lone holding register is overwritten. */
		state->lsr_errors |= LSR_OVERRUN;
		if (!ns16550_fifos_enabled(chip))
			state->rx[state->rx_head] = byte;
		return;
	}
	state->rx[at] = byte;
	state->rx_error[at] = errors;
	state->rx_count++;
	if (state->rx_count == 1)
		ns16550_reveal_errors(chip);
}

static uint8_t ns16550_read_rbr(struct ns16550 *chip)
{
	struct ns16550_state *state = &chip->state;
	uint8_t byte = state->rx[state->rx_head];

	state->timeout_interrupt = false;
	if (state->rx_count == 0)
		return byte;
	state->rx_head = (state->rx_head + 1) % NS16550_FIFO_SIZE;
	state->rx_count--;
	ns16550_reveal_errors(chip);
	ns16550_touch_rx(chip);
	return byte;
}

static void ns16550_clear_rx(struct ns16550 *chip)
{
	struct ns16550_state *state = &chip->state;

	state->rx_head = 0;
	state->rx_count = 0;
	memset(state->rx_error, 0, sizeof(state->rx_error));
	state->timeout_interrupt = false;
	ns16550_arm_timeout(chip);
}

/* Sends what the outside (in loopback, the receiver) takes. */
static void ns16550_flush(struct ns16550 *chip)
{
	struct ns16550_state *state = &chip->state;
	size_t sent = state->tx_count;

	if (state->tx_count == 0)
		return;
	if (state->mcr & MCR_LOOP) {
		for (unsigned i = 0; i < state->tx_count; i++)
			ns16550_push_rx(chip, state->tx[i], 0);
		ns16550_touch_rx(chip);
	} else if (chip->line.write) {
		sent = chip->line.write(chip->line.context, state->tx, state->tx_count);
	}
	assert(sent <= state->tx_count);
	state->tx_count -= (uint8_t)sent;
	memmove(state->tx, state->tx + sent, state->tx_count);
	if (state->tx_count == 0)
		state->thr_interrupt = true;
}

static void ns16550_write_thr(struct ns16550 *chip, uint8_t value)
{
	struct ns16550_state *state = &chip->state;

	state->thr_interrupt = false;
	/* A driver that does not wait for THRE overwrites its last character. */
	if (state->tx_count == ns16550_capacity(chip))
		state->tx_count--;
	state->tx[state->tx_count++] = value;
	ns16550_flush(chip);
}

static void ns16550_write_ier(struct ns16550 *chip, uint8_t value)
{
	struct ns16550_state *state = &chip->state;
	uint8_t enabled = value & ~state->ier;

	state->ier = value & IER_WRITABLE;
	if ((enabled & IER_THR) && state->tx_count == 0)
		state->thr_interrupt = true;
}

static void ns16550_write_fcr(struct ns16550 *chip, uint8_t value)
{
	struct ns16550_state *state = &chip->state;
	bool toggled = (state->fcr ^ value) & FCR_ENABLE;

	/* The other bits are programmable only together with the enable bit. */
	state->fcr = value & FCR_ENABLE ? value & FCR_KEPT : 0;
	if (toggled || (value & FCR_CLEAR_RX))
		ns16550_clear_rx(chip);
	if ((toggled || (value & FCR_CLEAR_TX)) && state->tx_count > 0) {
		state->tx_count = 0;
		state->thr_interrupt = true;
	}
}

static void ns16550_write_mcr(struct ns16550 *chip, uint8_t value)
{
	struct ns16550_state *state = &chip->state;
	uint8_t before = ns16550_modem_inputs(state->mcr);
	uint8_t after = ns16550_modem_inputs(value);
	uint8_t changed = before ^ after;

	state->mcr = value & MCR_WRITABLE;
	state->msr_deltas |= (changed & MSR_CTS ? MSR_DELTA_CTS : 0) |
			     (changed & MSR_DSR ? MSR_DELTA_DSR : 0) |
			     (changed & MSR_DCD ? MSR_DELTA_DCD : 0) |
			     (changed & before & MSR_RI ? MSR_TRAILING_RI : 0);
}

static void ns16550_write_divisor(struct ns16550 *chip, uint8_t *half, uint8_t value)
{
	*half = value;
	ns16550_arm_timeout(chip);
}

void ns16550_write(struct ns16550 *chip, unsigned reg, uint8_t value)
{
	struct ns16550_state *state = &chip->state;
	bool dlab = state->lcr & LCR_DLAB;

	switch ((enum ns16550_reg)reg) {
	case NS16550_RBR_THR:
		if (dlab)
			ns16550_write_divisor(chip, &state->dll, value);
		else
			ns16550_write_thr(chip, value);
		break;
	case NS16550_IER:
		if (dlab)
			ns16550_write_divisor(chip, &state->dlm, value);
		else
			ns16550_write_ier(chip, value);
		break;
	case NS16550_IIR_FCR: ns16550_write_fcr(chip, value); break;
	case NS16550_LCR:
		state->lcr = value;
		ns16550_arm_timeout(chip);
		break;
	case NS16550_MCR: ns16550_write_mcr(chip, value); break;
	case NS16550_SCR: state->scr = value; break;
	case NS16550_LSR: /* writes are for factory tests */
	case NS16550_MSR:
	case NS16550_NR_REGS: break;
	}
	ns16550_update(chip);
}

/* Reading IIR is how a driver takes the transmitter's interrupt. */
static uint8_t ns16550_read_iir(struct ns16550 *chip)
{
	uint8_t iir = ns16550_iir(chip);

	if (iir == IIR_THR)
		chip->state.thr_interrupt = false;
	return iir | (ns16550_fifos_enabled(chip) ? IIR_FIFOS : 0);
}

static uint8_t ns16550_read_lsr(struct ns16550 *chip)
{
	uint8_t lsr = ns16550_lsr(chip);

	chip->state.lsr_errors = 0;
	return lsr;
}

static uint8_t ns16550_read_msr(struct ns16550 *chip)
{
	uint8_t msr = chip->state.msr_deltas | ns16550_modem_inputs(chip->state.mcr);

	chip->state.msr_deltas = 0;
	return msr;
}

uint8_t ns16550_read(struct ns16550 *chip, unsigned reg)
{
	struct ns16550_state *state = &chip->state;
	bool dlab = state->lcr & LCR_DLAB;
	uint8_t value = 0xff;

	switch ((enum ns16550_reg)reg) {
	case NS16550_RBR_THR: value = dlab ? state->dll : ns16550_read_rbr(chip); break;
	case NS16550_IER: value = dlab ? state->dlm : state->ier; break;
	case NS16550_IIR_FCR: value = ns16550_read_iir(chip); break;
	case NS16550_LCR: value = state->lcr; break;
	case NS16550_MCR: value = state->mcr; break;
	case NS16550_LSR: value = ns16550_read_lsr(chip); break;
	case NS16550_MSR: value = ns16550_read_msr(chip); break;
	case NS16550_SCR: value = state->scr; break;
	case NS16550_NR_REGS: break;
	}
	ns16550_update(chip);
	return value;
}

size_t ns16550_receive_room(const struct ns16550 *chip)
{
	/* In loopback the RTS pin is inactive. */
	if ((chip->state.mcr & (MCR_RTS | MCR_LOOP)) != MCR_RTS)
		return 0;
	return ns16550_capacity(chip) - chip->state.rx_count;
}

size_t ns16550_receive(struct ns16550 *chip, const uint8_t *bytes, size_t size)
{
	size_t room = ns16550_receive_room(chip);
	size_t taken = size < room ? size : room;

	for (size_t i = 0; i < taken; i++)
		ns16550_push_rx(chip, bytes[i], 0);
	if (taken > 0)
		ns16550_touch_rx(chip);
	ns16550_update(chip);
	chip->outside_waits = taken < size;
	return taken;
}

void ns16550_receive_break(struct ns16550 *chip)
{
	if (ns16550_receive_room(chip) == 0)
		return;
	ns16550_push_rx(chip, 0, LSR_BREAK);
	ns16550_touch_rx(chip);
	ns16550_update(chip);
}

void ns16550_writable(struct ns16550 *chip)
{
	ns16550_flush(chip);
	ns16550_update(chip);
}

static void ns16550_reset(void *device)
{
	struct ns16550 *chip = device;

	memset(&chip->state, 0, sizeof(chip->state));
	timer_cancel(&chip->timeout);
	ns16550_update(chip);
}

static void ns16550_restored(void *device)
{
	struct ns16550 *chip = device;

	ns16550_arm_timeout(chip);
	ns16550_update(chip);
}

void ns16550_init(
	struct ns16550 *chip, struct clock *clock, struct irq_line interrupt, struct char_line line)
{
	memset(chip, 0, sizeof(*chip));
	chip->clock = clock;
	chip->interrupt = interrupt;
	chip->line = line;
	timer_init(&chip->timeout, clock, ns16550_timeout, chip);
	ns16550_reset(chip);
}

static bool ns16550_check(const void *state, struct error *err)
{
	const struct ns16550_state *uart = state;
	unsigned capacity = uart->fcr & FCR_ENABLE ? NS16550_FIFO_SIZE : 1;

	(void)err;
	return uart->rx_count <= capacity && uart->tx_count <= capacity;
}

static const struct state_field ns16550_fields[] = {
	STATE_TIME(struct ns16550_state, touched_ns),
	STATE_ARRAY(struct ns16550_state, rx),
	STATE_ARRAY_MAX(struct ns16550_state, rx_error, LSR_CHARACTER),
	STATE_ARRAY(struct ns16550_state, tx),
	STATE_MAX(struct ns16550_state, rx_head, NS16550_FIFO_SIZE - 1),
	STATE_MAX(struct ns16550_state, rx_count, NS16550_FIFO_SIZE),
	STATE_MAX(struct ns16550_state, tx_count, NS16550_FIFO_SIZE),
	STATE_MAX(struct ns16550_state, ier, IER_WRITABLE),
	STATE_MAX(struct ns16550_state, fcr, FCR_KEPT),
	STATE(struct ns16550_state, lcr),
	STATE_MAX(struct ns16550_state, mcr, MCR_WRITABLE),
	STATE(struct ns16550_state, scr),
	STATE(struct ns16550_state, dll),
	STATE(struct ns16550_state, dlm),
	STATE_MAX(struct ns16550_state, lsr_errors, LSR_ERRORS),
	STATE_MAX(struct ns16550_state, msr_deltas, MSR_DELTAS),
	STATE(struct ns16550_state, thr_interrupt),
	STATE(struct ns16550_state, timeout_interrupt),
	STATE_PAD(struct ns16550_state, reserved),
};
static const struct state_table ns16550_table =
	STATE_TABLE_OF(struct ns16550_state, "ns16550", ns16550_fields, ns16550_check);

const struct device_type ns16550_type = {
	.name = "ns16550",
	.state = &ns16550_table,
	.state_offset = offsetof(struct ns16550, state),
	.reset = ns16550_reset,
	.restored = ns16550_restored,
};
