/*
 * The I/O APIC's registers (Intel 82093AA data sheet, 290566), with the end-of-interrupt register
 * that version 0x20 adds (ICH).
 */
#ifndef CHIP_IOAPIC_REGS_H
#define CHIP_IOAPIC_REGS_H

#include "base/bits.h"

/* Memory-mapped, 32 bits each. */
#define IOAPIC_IOREGSEL 0x00
#define IOAPIC_IOWIN    0x10
#define IOAPIC_EOIR     0x40

/* Selected by IOREGSEL. */
#define IOAPIC_REG_ID          0x00
#define IOAPIC_REG_VERSION     0x01
#define IOAPIC_REG_ARBITRATION 0x02
#define IOAPIC_REG_REDIRECTION 0x10 /* two for each pin, low half first */

#define IOAPIC_ID          BITS(27, 24)
#define IOAPIC_VERSION     BITS(7, 0)
#define IOAPIC_MAX_ENTRY   BITS(23, 16)
#define IOAPIC_VERSION_ICH 0x20

/* Redirection table entry. */
#define REDIRECTION_VECTOR          BITS(7, 0)
#define REDIRECTION_DELIVERY_MODE   BITS(10, 8)
#define REDIRECTION_LOGICAL         BIT(11)
#define REDIRECTION_DELIVERY_STATUS BIT(12)
#define REDIRECTION_ACTIVE_LOW      BIT(13)
#define REDIRECTION_REMOTE_IRR      BIT(14)
#define REDIRECTION_LEVEL           BIT(15)
#define REDIRECTION_MASKED          BIT(16)
#define REDIRECTION_DESTINATION     BITS(63, 56)
#define REDIRECTION_WRITABLE                                                                       \
	(REDIRECTION_VECTOR | REDIRECTION_DELIVERY_MODE | REDIRECTION_LOGICAL |                    \
		REDIRECTION_ACTIVE_LOW | REDIRECTION_LEVEL | REDIRECTION_MASKED |                  \
		REDIRECTION_DESTINATION)

#define DELIVERY_FIXED  0
#define DELIVERY_LOWEST 1
#define DELIVERY_SMI    2
#define DELIVERY_NMI    4
#define DELIVERY_INIT   5
#define DELIVERY_EXTINT 7

/* The message that a pin sends (SDM 3A 11.11). */
#define MSI_ADDRESS             UINT64_C(0xfee00000)
#define MSI_ADDRESS_DESTINATION BITS(19, 12)
#define MSI_ADDRESS_LOGICAL     BIT(2)
#define MSI_DATA_VECTOR         BITS(7, 0)
#define MSI_DATA_DELIVERY_MODE  BITS(10, 8)
#define MSI_DATA_ASSERT         BIT(14)
#define MSI_DATA_LEVEL          BIT(15)

#endif
