/*
 * Registers of the local APIC: SDM 3A 11.4.1 table 11-1 (offsets in the page; the x2APIC MSR is
 * 800h + offset / 16) and their fields.
 */
#ifndef ENGINE_SOFT_APIC_REGS_H
#define ENGINE_SOFT_APIC_REGS_H

#include "base/bits.h"

#define APIC_ID            0x020
#define APIC_VERSION       0x030
#define APIC_TPR           0x080
#define APIC_APR           0x090
#define APIC_PPR           0x0a0
#define APIC_EOI           0x0b0
#define APIC_RRD           0x0c0
#define APIC_LDR           0x0d0
#define APIC_DFR           0x0e0
#define APIC_SVR           0x0f0
#define APIC_ISR           0x100
#define APIC_TMR           0x180
#define APIC_IRR           0x200
#define APIC_ESR           0x280
#define APIC_ICR_LOW       0x300
#define APIC_ICR_HIGH      0x310
#define APIC_LVT_TIMER     0x320
#define APIC_LVT_THERMAL   0x330
#define APIC_LVT_PMC       0x340
#define APIC_LVT_LINT0     0x350
#define APIC_LVT_LINT1     0x360
#define APIC_LVT_ERROR     0x370
#define APIC_TIMER_INITIAL 0x380
#define APIC_TIMER_CURRENT 0x390
#define APIC_TIMER_DIVIDE  0x3e0
#define APIC_SELF_IPI      0x3f0 /* x2APIC only */

/* Version 14h, LVT entries 0 to 5, EOI broadcasts can be suppressed. */
#define APIC_VERSION_VALUE (0x14 | 5 << 16 | BIT(24))

#define SVR_VECTOR       BITS(7, 0)
#define SVR_ENABLE       BIT(8)
#define SVR_FOCUS        BIT(9)
#define SVR_SUPPRESS_EOI BIT(12)

#define ESR_SEND_ILLEGAL    BIT(5)
#define ESR_RECEIVE_ILLEGAL BIT(6)
#define ESR_ILLEGAL_ADDRESS BIT(7)

/* LVT entries; the ICR and messages have the first two fields in the same place. */
#define LVT_VECTOR         BITS(7, 0)
#define LVT_DELIVERY       BITS(10, 8)
#define LVT_POLARITY       BIT(13)
#define LVT_TRIGGER_LEVEL  BIT(15)
#define LVT_MASKED         BIT(16)
#define LVT_TIMER_MODE     BITS(18, 17)
#define LVT_TIMER_ONE_SHOT 0
#define LVT_TIMER_PERIODIC 1
#define LVT_TIMER_DEADLINE 2

enum apic_delivery {
	APIC_FIXED = 0,
	APIC_LOWEST_PRIORITY = 1,
	APIC_SMI = 2,
	APIC_NMI = 4,
	APIC_INIT = 5,
	APIC_STARTUP = 6,
	APIC_EXTINT = 7
};

#define ICR_LOGICAL       BIT(11)
#define ICR_LEVEL_ASSERT  BIT(14)
#define ICR_TRIGGER_LEVEL BIT(15)
#define ICR_SHORTHAND     BITS(19, 18)
#define ICR_TO_SELF       1
#define ICR_TO_ALL        2
#define ICR_TO_OTHERS     3
#define ICR_WRITABLE      (BITS(11, 0) | BITS(15, 14) | ICR_SHORTHAND)

#define DFR_MODEL      BITS(31, 28)
#define DFR_MODEL_FLAT 0xf

/* The address of a message, SDM 3A 11.11.1; its data has the ICR's low fields. */
#define MSI_ADDRESS_BASE    UINT64_C(0xfee00000)
#define MSI_ADDRESS_MASK    BITS(63, 20)
#define MSI_ADDRESS_ID      BITS(19, 12)
#define MSI_ADDRESS_LOGICAL BIT(2)

#endif
