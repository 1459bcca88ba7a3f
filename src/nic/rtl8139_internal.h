/*
 * Inside the RTL8139C+: registers (rtl8139.c), sending and receiving (rtl8139_frames.c). All of it
 * under the machine lock.
 */
#ifndef NIC_RTL8139_INTERNAL_H
#define NIC_RTL8139_INTERNAL_H

#include "nic/nic_cable.h"
#include "nic/nic_frame.h"
#include "nic/rtl8139.h"
#include "nic/rtl8139_regs.h"

/* Guest-visible. */
struct rtl8139_state {
	/* As bytes: what has no effect of its own, and what is read as it was written. */
	uint8_t reg[RTL8139_SIZE];
	uint64_t tx_ring; /* C+: normal priority; its registers are those of TSAD 0 and 1 */
	uint64_t timer_base_ns;
	uint32_t tsd[4], tsad[4];
	uint32_t missed;
	uint16_t eeprom[RTL8139_EEPROM_WORDS];
	uint16_t eeprom_in, eeprom_out;
	uint8_t eeprom_bits;
	uint8_t tx_next;          /* of the four buffers */
	uint8_t tx_slot, rx_slot; /* C+: the next descriptors */
	uint8_t tx_polled;        /* C+: there is something to send */
	uint8_t reserved[11];
};

struct rtl8139 {
	struct rtl8139_state state;
	struct pci_function function;
	struct nic_cable cable;
	uint8_t address[NET_ADDRESS_BYTES];
	uint8_t frame[NET_MAX_FRAME + 4];
};

extern const struct device_type rtl8139_type;

static inline uint16_t rtl8139_get16(const struct rtl8139 *card, unsigned at)
{
	return (uint16_t)(card->state.reg[at] | card->state.reg[at + 1] << 8);
}

static inline uint32_t rtl8139_get32(const struct rtl8139 *card, unsigned at)
{
	return rtl8139_get16(card, at) | (uint32_t)rtl8139_get16(card, at + 2) << 16;
}

static inline void rtl8139_set16(struct rtl8139 *card, unsigned at, uint16_t value)
{
	card->state.reg[at] = (uint8_t)value;
	card->state.reg[at + 1] = (uint8_t)(value >> 8);
}

void rtl8139_raise(struct rtl8139 *card, uint16_t causes);

/* One round. True if there is more to do at once. */
bool rtl8139_transmit(struct rtl8139 *card);
bool rtl8139_receive(struct rtl8139 *card);

/* What is free of the receive ring, in bytes, and whether nothing is in it. */
uint32_t rtl8139_ring_bytes(const struct rtl8139 *card);
bool rtl8139_ring_is_empty(const struct rtl8139 *card);

#endif
