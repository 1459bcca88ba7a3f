/*
 * Realtek RTL8139C+ (data sheet 1.6): registers, interrupts, EEPROM (a 93C46), and its place on
 * PCI.
 *
 * Not modelled: power management, wake on LAN, the high priority ring of C+ mode, the tally
 * counters, early interrupts, and the time-out interrupt of the timer. The link is always 100 Mb/s,
 * full duplex. Under the machine lock.
 */
#include "nic/rtl8139_internal.h"

#include <stdlib.h>
#include <string.h>

#define MMIO_BAR 1

/* The counter TCTR runs with the PCI clock. */
#define TIMER_HZ 33000000

static const struct state_field rtl8139_fields[] = {
	STATE_BYTES(struct rtl8139_state, reg),
	STATE(struct rtl8139_state, tx_ring),
	STATE_TIME(struct rtl8139_state, timer_base_ns),
	STATE_ARRAY(struct rtl8139_state, tsd),
	STATE_ARRAY(struct rtl8139_state, tsad),
	STATE(struct rtl8139_state, missed),
	STATE_ARRAY(struct rtl8139_state, eeprom),
	STATE(struct rtl8139_state, eeprom_in),
	STATE(struct rtl8139_state, eeprom_out),
	STATE_MAX(struct rtl8139_state, eeprom_bits, 9),
	STATE_MAX(struct rtl8139_state, tx_next, 3),
	STATE_MAX(struct rtl8139_state, tx_slot, RTL8139_RING_MAX - 1),
	STATE_MAX(struct rtl8139_state, rx_slot, RTL8139_RING_MAX - 1),
	STATE_MAX(struct rtl8139_state, tx_polled, 1),
	STATE_PAD(struct rtl8139_state, reserved),
};

static const struct state_table rtl8139_table =
	STATE_TABLE_OF(struct rtl8139_state, "rtl8139", rtl8139_fields, NULL);

static void update_interrupt(struct rtl8139 *card)
{
	pci_set_intx(&card->function,
		rtl8139_get16(card, RTL8139_ISR) & rtl8139_get16(card, RTL8139_IMR));
}

void rtl8139_raise(struct rtl8139 *card, uint16_t causes)
{
	rtl8139_set16(card, RTL8139_ISR, rtl8139_get16(card, RTL8139_ISR) | causes);
	update_interrupt(card);
}

static void reset_frames(struct rtl8139 *card)
{
	struct rtl8139_state *state = &card->state;

	for (unsigned i = 0; i < 4; i++) {
		state->tsd[i] = RTL8139_TSD_OWN;
		state->tsad[i] = 0;
	}
	state->tx_next = state->tx_slot = state->rx_slot = state->tx_polled = 0;
	state->tx_ring = 0;
	state->missed = 0;
	memset(state->reg + RTL8139_RBSTART, 0, 4);
	rtl8139_set16(card, RTL8139_CAPR, 0xfff0);
	rtl8139_set16(card, RTL8139_CBR, 0);
	rtl8139_set16(card, RTL8139_IMR, 0);
	rtl8139_set16(card, RTL8139_ISR, 0);
	memset(state->reg + RTL8139_TCR, 0, 8);
	rtl8139_set16(card, RTL8139_TCR + 2, RTL8139_TCR_VERSION >> 16);
	rtl8139_set16(card, RTL8139_CPCR, 0);
	state->reg[RTL8139_CR] = 0;
	card->cable.held_bytes = 0;
	nic_cable_want(&card->cable, NET_READ | NET_WRITE, false);
	update_interrupt(card);
}

static void reset_state(struct rtl8139 *card)
{
	struct rtl8139_state *state = &card->state;

	memset(state->reg, 0, sizeof(state->reg));
	memcpy(state->reg + RTL8139_IDR, card->address, NET_ADDRESS_BYTES);
	state->reg[RTL8139_CONFIG1] = 0x0c; /* registers in memory and ports */
	state->reg[RTL8139_CONFIG3] = 0x01;
	rtl8139_set16(card, RTL8139_BMCR, 0x3100); /* 100 Mb/s, negotiates, full duplex */
	rtl8139_set16(card, RTL8139_BMSR, 0x782d); /* negotiated, link */
	rtl8139_set16(card, RTL8139_ANAR, 0x01e1);
	rtl8139_set16(card, RTL8139_ANLPAR, 0x41e1);
	rtl8139_set16(card, RTL8139_ANER, 0x0001);
	state->timer_base_ns = (uint64_t)clock_now(&card->cable.machine->clock);
	reset_frames(card);
}

static bool serve(void *context)
{
	struct rtl8139 *card = context;
	bool more = rtl8139_receive(card);

	return rtl8139_transmit(card) || more;
}

/* Something that a frame may have waited for was written. */
static void receive_again(struct rtl8139 *card)
{
	bool on = card->state.reg[RTL8139_CR] & RTL8139_CR_RE;

	nic_cable_want(&card->cable, NET_READ, on);
	if (on && card->cable.held_bytes)
		nic_cable_wake(&card->cable);
}

static void transmit(struct rtl8139 *card)
{
	if (rtl8139_transmit(card))
		nic_cable_wake(&card->cable);
}

static void eeprom_clock(struct rtl8139_state *state, bool in)
{
	uint8_t *cr = &state->reg[RTL8139_9346CR];

	if (state->eeprom_bits >= 9) {
		*cr = (uint8_t)field_set(RTL8139_9346_EEDO, *cr, state->eeprom_out >> 15);
		state->eeprom_out = (uint16_t)(state->eeprom_out << 1);
		return;
	}
	if (!in && state->eeprom_bits == 0)
		return; /* no start bit yet */
	state->eeprom_in = (uint16_t)(state->eeprom_in << 1 | in);
	if (++state->eeprom_bits < 9)
		return;
	*cr &= (uint8_t)~RTL8139_9346_EEDO;
	state->eeprom_out = state->eeprom_in >> 6 == 6
				    ? state->eeprom[state->eeprom_in % RTL8139_EEPROM_WORDS]
				    : 0xffff;
}

static void write_9346cr(struct rtl8139 *card, uint8_t value)
{
	struct rtl8139_state *state = &card->state;
	uint8_t before = state->reg[RTL8139_9346CR];

	state->reg[RTL8139_9346CR] =
		(uint8_t)((value & ~RTL8139_9346_EEDO) | (before & RTL8139_9346_EEDO));
	if (!(value & RTL8139_9346_EECS)) {
		state->eeprom_bits = 0;
		state->eeprom_in = 0;
	} else if (value & RTL8139_9346_EESK && !(before & RTL8139_9346_EESK)) {
		eeprom_clock(state, value & RTL8139_9346_EEDI);
	}
}

static void write_cr(struct rtl8139 *card, uint8_t value)
{
	if (value & RTL8139_CR_RST) {
		reset_frames(card);
		return;
	}
	card->state.reg[RTL8139_CR] = value & (uint8_t)(RTL8139_CR_TE | RTL8139_CR_RE);
	receive_again(card);
	transmit(card);
}

/* Of a byte that nothing happens to when it is written: which bits may be. */
static uint8_t writable(const struct rtl8139 *card, unsigned at)
{
	bool unlocked = field_get(RTL8139_9346_MODE, card->state.reg[RTL8139_9346CR]) == 3;

	if (at < 16 || (at >= RTL8139_RBSTART && at < RTL8139_RBSTART + 4) ||
		(at >= RTL8139_RDSAR && at < RTL8139_RDSAR + 8))
		return 0xff;
	if (at >= RTL8139_TCR && at < RTL8139_TCR + 4)
		return (uint8_t)(RTL8139_TCR_WRITABLE >> 8 * (at - RTL8139_TCR));
	if (at >= RTL8139_RCR && at < RTL8139_RCR + 4)
		return (uint8_t)(RTL8139_RCR_WRITABLE >> 8 * (at - RTL8139_RCR));
	if (at == RTL8139_CPCR || at == RTL8139_CPCR + 1)
		return (uint8_t)(RTL8139_CPCR_WRITABLE >> 8 * (at - RTL8139_CPCR));
	if (at == RTL8139_CONFIG1 || at == RTL8139_CONFIG3 || at == RTL8139_CONFIG4)
		return unlocked ? 0xff : 0;
	if (at == RTL8139_CAPR || at == RTL8139_CAPR + 1 || at == RTL8139_CONFIG5 ||
		at == RTL8139_CPLUS_TX_THRESHOLD)
		return 0xff;
	if (at == RTL8139_BMCR + 1)
		return 0x31;
	return at == RTL8139_ANAR ? 0xff : 0;
}

static void write_tsd(struct rtl8139 *card, unsigned index, uint32_t value)
{
	card->state.tsd[index] = value & (uint32_t)(RTL8139_TSD_SIZE | RTL8139_TSD_OWN | 0x3f0000);
	transmit(card);
}

/* The four addresses, or the C+ ring in their place. */
static void write_tsad(struct rtl8139 *card, unsigned index, uint32_t value)
{
	struct rtl8139_state *state = &card->state;

	state->tsad[index] = value;
	if (index < 2)
		state->tx_ring = (state->tsad[0] & ~255u) | (uint64_t)state->tsad[1] << 32;
	state->tx_slot = 0;
}

/* Registers of several bytes that act as a whole; true if it was one. */
static bool write_whole(struct rtl8139 *card, unsigned at, unsigned size, uint32_t value)
{
	if (size == 4 && !(at & 3) && at >= RTL8139_TSD && at < RTL8139_TSAD) {
		write_tsd(card, (at - RTL8139_TSD) / 4, value);
		return true;
	}
	if (size == 4 && !(at & 3) && at >= RTL8139_TSAD && at < RTL8139_RBSTART) {
		write_tsad(card, (at - RTL8139_TSAD) / 4, value);
		return true;
	}
	if (at == RTL8139_IMR && size >= 2) {
		rtl8139_set16(card, RTL8139_IMR, value & RTL8139_INT_ALL);
		if (size == 4)
			write_whole(card, RTL8139_ISR, 2, value >> 16);
		update_interrupt(card);
		return true;
	}
	if (at == RTL8139_ISR && size == 2) {
		rtl8139_set16(
			card, RTL8139_ISR, (uint16_t)(rtl8139_get16(card, RTL8139_ISR) & ~value));
		update_interrupt(card);
		/* Overflow was acknowledged: there may be room. */
		receive_again(card);
		return true;
	}
	if (at == RTL8139_TCTR) {
		card->state.timer_base_ns = (uint64_t)clock_now(&card->cable.machine->clock);
		return true;
	}
	if (at == RTL8139_MPC) {
		card->state.missed = 0;
		return true;
	}
	return false;
}

static void write_byte(struct rtl8139 *card, unsigned at, uint8_t value)
{
	uint8_t mask = writable(card, at), *reg = &card->state.reg[at];

	switch (at) {
	case RTL8139_CR: write_cr(card, value); return;
	case RTL8139_9346CR: write_9346cr(card, value); return;
	case RTL8139_TPPOLL:
		card->state.tx_polled |= (value & 0x40) != 0;
		transmit(card);
		if (value & 1)
			rtl8139_raise(card, RTL8139_INT_SWINT);
		return;
	default: *reg = (uint8_t)((*reg & ~mask) | (value & mask)); break;
	}
}

static void card_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct rtl8139 *card = device;

	if (write_whole(card, (unsigned)offset, size, (uint32_t)value))
		return;
	for (unsigned i = 0; i < size; i++)
		write_byte(card, (unsigned)offset + i, (uint8_t)(value >> 8 * i));
	/* The driver has read, or changed what is received. */
	if (offset <= RTL8139_CAPR + 1 && offset + size > RTL8139_RBSTART)
		receive_again(card);
	if (offset == RTL8139_RDSAR)
		card->state.rx_slot = 0;
}

static uint8_t read_byte(struct rtl8139 *card, unsigned at)
{
	const struct rtl8139_state *state = &card->state;
	uint64_t ns;

	if (at >= RTL8139_TSD && at < RTL8139_TSAD)
		return (uint8_t)(state->tsd[(at - RTL8139_TSD) / 4] >> 8 * (at & 3));
	if (at >= RTL8139_TSAD && at < RTL8139_RBSTART)
		return (uint8_t)(state->tsad[(at - RTL8139_TSAD) / 4] >> 8 * (at & 3));
	switch (at) {
	case RTL8139_CR:
		return state->reg[at] |
		       (rtl8139_ring_is_empty(card) ? (uint8_t)RTL8139_CR_BUFE : 0);
	case RTL8139_TCTR:
	case RTL8139_TCTR + 1:
	case RTL8139_TCTR + 2:
	case RTL8139_TCTR + 3:
		ns = (uint64_t)clock_now(&card->cable.machine->clock) - state->timer_base_ns;
		return (uint8_t)(ns_to_ticks((ns_t)ns, TIMER_HZ) >> 8 * (at & 3));
	default: return state->reg[at];
	}
}

/* What has become of each of the four buffers, in one register (5.15). */
static uint16_t read_tsad_all(const struct rtl8139 *card)
{
	uint16_t value = 0;

	for (unsigned i = 0; i < 4; i++) {
		if (card->state.tsd[i] & RTL8139_TSD_OWN)
			value |= (uint16_t)BIT(i);
		if (card->state.tsd[i] & RTL8139_TSD_TOK)
			value |= (uint16_t)BIT(12 + i);
	}
	return value;
}

static uint64_t card_read(void *device, uint64_t offset, unsigned size)
{
	struct rtl8139 *card = device;
	uint64_t value = 0;

	if (offset == RTL8139_TSAD_ALL && size == 2)
		return read_tsad_all(card);
	for (unsigned i = 0; i < size; i++)
		value |= (uint64_t)read_byte(card, (unsigned)offset + i) << 8 * i;
	return value;
}

static void card_reset(void *device)
{
	reset_state(device);
}

static void command_changed(void *device, uint16_t command)
{
	struct rtl8139 *card = device;

	if (command & PCI_COMMAND_MASTER)
		nic_cable_wake(&card->cable);
}

static void card_restored(void *device)
{
	struct rtl8139 *card = device;

	update_interrupt(card);
	receive_again(card);
	nic_cable_wake(&card->cable);
}

const struct device_type rtl8139_type = {
	.name = "rtl8139",
	.state = &rtl8139_table,
	.state_offset = offsetof(struct rtl8139, state),
	/* Reset is that of its PCI function. */
	.restored = card_restored,
};

static void init_eeprom(struct rtl8139 *card)
{
	uint16_t *words = card->state.eeprom;

	words[0] = 0x8129;
	words[1] = 0x10ec;
	words[2] = 0x8139;
	words[3] = 0x10ec;
	words[4] = 0x8139;
	for (unsigned i = 0; i < 3; i++)
		words[7 + i] = (uint16_t)(card->address[2 * i] | card->address[2 * i + 1] << 8);
}

static void init_function(struct rtl8139 *card, const char *name)
{
	static const struct pci_identity identity = {
		.vendor_id = 0x10ec,
		.device_id = 0x8139,
		.revision = 0x20,
		.class_code = 0x020000,
		.subsystem_vendor_id = 0x10ec,
		.subsystem_id = 0x8139,
		.interrupt_pin = 1,
	};
	static const struct pci_function_ops function_ops = { .reset = card_reset,
		.command_changed = command_changed };
	static const struct io_ops ops = { card_read, card_write, 4 };
	static const struct pci_bar ports = {
		.kind = PCI_BAR_IO, .size = RTL8139_SIZE, .ops = &ops, .name = "rtl8139-ports"
	};
	static const struct pci_bar mmio = {
		.kind = PCI_BAR_MEMORY32, .size = RTL8139_SIZE, .ops = &ops, .name = "rtl8139"
	};

	pci_function_init(&card->function, name, &identity, &function_ops, card);
	pci_add_bar(&card->function, 0, &ports);
	pci_add_bar(&card->function, MMIO_BAR, &mmio);
}

int rtl8139_create(struct rtl8139 **result, const struct nic_config *config, struct error *err)
{
	static const struct nic_cable_ops ops = { &rtl8139_type, serve, card_reset };
	struct rtl8139 *card = calloc(1, sizeof(*card));
	int rc;

	if (!card) {
		net_close(config->backend);
		return error_set(err, EXIT_CODE_HOST, "no memory for the NIC '%s'", config->name);
	}
	memcpy(card->address, config->address, NET_ADDRESS_BYTES);
	init_function(card, config->name);
	init_eeprom(card);
	rc = nic_cable_attach(&card->cable, config, &ops, card, err);
	if (rc < 0) {
		pci_function_finish(&card->function);
		free(card);
		return rc;
	}
	*result = card;
	return 0;
}

void rtl8139_destroy(struct rtl8139 *card)
{
	if (!card)
		return;
	nic_cable_detach(&card->cable);
	pci_function_finish(&card->function);
	free(card);
}

struct pci_function *rtl8139_function(struct rtl8139 *card)
{
	return &card->function;
}
