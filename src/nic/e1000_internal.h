/*
 * Inside the 82540EM: registers and interrupts (e1000.c), EEPROM and PHY (e1000_phy.c), sending
 * (e1000_transmit.c) and receiving (e1000_receive.c). All of it under the machine lock.
 */
#ifndef NIC_E1000_INTERNAL_H
#define NIC_E1000_INTERNAL_H

#include "nic/e1000.h"
#include "nic/e1000_regs.h"
#include "nic/nic_cable.h"
#include "nic/nic_frame.h"

/* What a context descriptor says of checksums; the chip keeps one for large segments and one for
 * other frames (3.3.5). */
struct e1000_context {
	uint8_t ip_start, ip_offset;
	uint16_t ip_end; /* the last byte; 0: the frame's */
	uint8_t l4_start, l4_offset;
	uint16_t l4_end;
	uint16_t mss;
	uint8_t header_bytes;
	uint8_t reserved;
};

/* Guest-visible. */
struct e1000_state {
	uint32_t reg[E1000_NR_REGISTERS];
	uint32_t statistics[E1000_NR_STATISTICS];
	uint32_t multicast[E1000_NR_MTA];
	uint32_t addresses[2 * E1000_NR_RA];
	uint32_t vlans[E1000_NR_VFTA];
	uint32_t io_address;
	uint16_t phy[E1000_PHY_REGISTERS];
	uint16_t eeprom[E1000_EEPROM_WORDS];
	struct e1000_context context[2]; /* [1]: of large segments */
	/* The EEPROM's serial interface: what came in since it was selected, and what goes out. */
	uint16_t eeprom_in, eeprom_out;
	uint8_t eeprom_bits; /* that came in; more than an instruction: bits go out */
	uint8_t skipping;    /* a frame of too many descriptors is dropped until its end */
	uint8_t reserved[2];
	uint64_t interrupt_ns; /* guest time of the last interrupt, for throttling */
};

struct e1000 {
	struct e1000_state state;
	struct pci_function function;
	struct nic_cable cable;
	struct timer throttle;
	uint8_t address[NET_ADDRESS_BYTES];
	/* A frame that is being gathered, and one that is looped back. */
	uint8_t frame[NET_MAX_FRAME + 4];
};

extern const struct device_type e1000_type;

/* A descriptor ring as its registers say. */
struct e1000_ring {
	gpa_t base;
	uint32_t size; /* descriptors, 0: none */
	uint32_t head, tail;
};

/* Of receiving (E1000_RDBAL) or sending (E1000_TDBAL). Empty if head or tail are beyond it. */
struct e1000_ring e1000_ring(const struct e1000 *card, enum e1000_register base);

static inline uint32_t e1000_ring_filled(const struct e1000_ring *ring)
{
	return ring->size ? (ring->tail + ring->size - ring->head) % ring->size : 0;
}

void e1000_raise(struct e1000 *card, uint32_t causes);

/* Statistics stick at their maximum; of two registers the second holds the upper half. */
void e1000_count(struct e1000 *card, unsigned offset);
void e1000_count_bytes(struct e1000 *card, unsigned offset, uint32_t bytes);
/* Of the six counters by size, which begin at `offset`. */
void e1000_count_size(struct e1000 *card, unsigned offset, uint32_t bytes);

void e1000_phy_reset(struct e1000 *card);
void e1000_eeprom_init(struct e1000 *card);
void e1000_mdic_write(struct e1000 *card, uint32_t value);
void e1000_eecd_write(struct e1000 *card, uint32_t value);
void e1000_eerd_write(struct e1000 *card, uint32_t value);

/* One round. True if there is more to do at once. */
bool e1000_transmit(struct e1000 *card);
bool e1000_receive(struct e1000 *card);

/* A frame from the cable or looped back. Returns false if it must wait for descriptors. */
bool e1000_receive_frame(
	struct e1000 *card, const struct net_header *header, uint8_t *frame, size_t size);

#endif
