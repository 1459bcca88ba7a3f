/*
 * The 82540EM's EEPROM (a 93C46: 64 words behind a serial interface, 5.3, or read by EERD) and its
 * PHY behind MDIC. The EEPROM cannot be written: software finds it protected. The link is there as
 * soon as the PHY is reset; negotiation takes no time and always gives 1000 Mb/s.
 */
#include "nic/e1000_internal.h"

#include <string.h>

#define EEPROM_INSTRUCTION_BITS 3 /* the start bit and two of an opcode */
#define EEPROM_READ             6
#define EEPROM_ALL_BITS         (EEPROM_INSTRUCTION_BITS + E1000_EEPROM_ADDRESS_BITS)

/* Registers after reset (M88E1011; 13.5 and IEEE 802.3 22.2.4), with a partner that does all. */
static const uint16_t phy_reset_values[E1000_PHY_REGISTERS] = {
	[0] = 0x1140, /* negotiates, 1000 Mb/s, full duplex */
	[1] = 0x796d, /* all of 10 and 100 Mb/s, negotiated, link */
	[2] = 0x0141,
	[3] = 0x0c20,
	[4] = 0x0de1,
	[5] = 0x4de1,
	[6] = 0x000f,
	[7] = 0x2001,
	[9] = 0x0e00,
	[10] = 0x3c00,
	[15] = 0x3000,
	[16] = 0x0360,
	[17] = 0xac00, /* 1000 Mb/s, full duplex, resolved, link */
	[20] = 0x0d60,
};

/* What software may write. */
static const uint16_t phy_writable[E1000_PHY_REGISTERS] = {
	[0] = 0x7dc0,
	[4] = 0xbfff,
	[7] = 0xbfff,
	[9] = 0xff00,
	[16] = 0xffff,
	[18] = 0xffff,
	[20] = 0xffff,
	[24] = 0xffff,
	[29] = 0xffff,
	[30] = 0xffff,
};

void e1000_phy_reset(struct e1000 *card)
{
	memcpy(card->state.phy, phy_reset_values, sizeof(card->state.phy));
}

void e1000_eeprom_init(struct e1000 *card)
{
	/* 5.6: init control 1 with its signature, IDs, init control 2. */
	static const uint16_t ids[] = { 0x4408, 0x001e, 0x8086, 0x100e, 0x8086, 0x3040 };
	uint16_t *words = card->state.eeprom, sum = 0;

	memset(words, 0, sizeof(card->state.eeprom));
	for (unsigned i = 0; i < 3; i++)
		words[i] = (uint16_t)(card->address[2 * i] | card->address[2 * i + 1] << 8);
	words[4] = 0xffff;
	memcpy(&words[10], ids, sizeof(ids));
	for (unsigned i = 0; i < E1000_EEPROM_CHECKSUM_AT; i++)
		sum = (uint16_t)(sum + words[i]);
	words[E1000_EEPROM_CHECKSUM_AT] = (uint16_t)(E1000_EEPROM_CHECKSUM - sum);
}

static void phy_write(struct e1000 *card, unsigned at, uint16_t value)
{
	uint16_t *phy = card->state.phy;

	if (at == E1000_PHY_CONTROL && value & E1000_PHY_CONTROL_RESET) {
		e1000_phy_reset(card);
		e1000_raise(card, E1000_ICR_LSC);
		return;
	}
	phy[at] = (uint16_t)((phy[at] & ~phy_writable[at]) | (value & phy_writable[at]));
	if (at == E1000_PHY_CONTROL && value & E1000_PHY_CONTROL_RESTART) {
		/* It clears itself. */
		phy[at] &= (uint16_t)~E1000_PHY_CONTROL_RESTART;
		e1000_raise(card, E1000_ICR_LSC);
	}
}

void e1000_mdic_write(struct e1000 *card, uint32_t value)
{
	unsigned at = (unsigned)field_get(E1000_MDIC_REGISTER, value);
	uint64_t op = field_get(E1000_MDIC_OP, value);

	value &= (uint32_t) ~(E1000_MDIC_READY | E1000_MDIC_ERROR);
	if (field_get(E1000_MDIC_PHY, value) != E1000_PHY_ADDRESS)
		value |= E1000_MDIC_ERROR;
	else if (op == E1000_MDIC_OP_WRITE)
		phy_write(card, at, (uint16_t)value);
	else if (op == E1000_MDIC_OP_READ)
		value = (uint32_t)field_set(E1000_MDIC_DATA, value, card->state.phy[at]);
	else
		value |= E1000_MDIC_ERROR;
	card->state.reg[E1000_MDIC] = value | E1000_MDIC_READY;
	if (value & E1000_MDIC_INTERRUPT)
		e1000_raise(card, E1000_ICR_MDAC);
}

/* A rising edge of the serial clock while the EEPROM is selected. */
static void eeprom_clock(struct e1000_state *state, bool in)
{
	if (state->eeprom_bits >= EEPROM_ALL_BITS) {
		state->reg[E1000_EECD] = (uint32_t)field_set(
			E1000_EECD_DO, state->reg[E1000_EECD], state->eeprom_out >> 15);
		state->eeprom_out = (uint16_t)(state->eeprom_out << 1);
		return;
	}
	if (!in && state->eeprom_bits == 0)
		return; /* no start bit yet */
	state->eeprom_in = (uint16_t)(state->eeprom_in << 1 | in);
	if (++state->eeprom_bits < EEPROM_ALL_BITS)
		return;
	/* A 0 comes out with the last bit of the address. */
	state->reg[E1000_EECD] &= (uint32_t)~E1000_EECD_DO;
	state->eeprom_out = 0xffff;
	if (state->eeprom_in >> E1000_EEPROM_ADDRESS_BITS == EEPROM_READ)
		state->eeprom_out = state->eeprom[state->eeprom_in % E1000_EEPROM_WORDS];
}

void e1000_eecd_write(struct e1000 *card, uint32_t value)
{
	struct e1000_state *state = &card->state;
	const uint32_t pins = E1000_EECD_SK | E1000_EECD_CS | E1000_EECD_DI | E1000_EECD_REQ | 0x30;
	uint32_t before = state->reg[E1000_EECD];

	state->reg[E1000_EECD] = (before & ~pins) | (value & pins) | (uint32_t)E1000_EECD_PRES;
	if (value & E1000_EECD_REQ)
		state->reg[E1000_EECD] |= (uint32_t)E1000_EECD_GNT;
	else
		state->reg[E1000_EECD] &= (uint32_t)~E1000_EECD_GNT;
	if (!(value & E1000_EECD_CS)) {
		state->eeprom_bits = 0;
		state->eeprom_in = 0;
		state->reg[E1000_EECD] |= (uint32_t)E1000_EECD_DO; /* ready */
	} else if (value & E1000_EECD_SK && !(before & E1000_EECD_SK)) {
		eeprom_clock(state, value & E1000_EECD_DI);
	}
}

void e1000_eerd_write(struct e1000 *card, uint32_t value)
{
	unsigned at = (unsigned)field_get(E1000_EERD_ADDRESS, value);
	uint16_t word = at < E1000_EEPROM_WORDS ? card->state.eeprom[at] : 0xffff;

	card->state.reg[E1000_EERD] = value & (uint32_t)E1000_EERD_ADDRESS;
	if (value & E1000_EERD_START)
		card->state.reg[E1000_EERD] |=
			(uint32_t)(E1000_EERD_DONE | field_set(E1000_EERD_DATA, 0, word));
}
