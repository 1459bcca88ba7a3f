/*
 * The local APIC, time, and the second processor, for payloads that need them.
 */
#ifndef PAYLOAD_APIC_H
#define PAYLOAD_APIC_H

#include "payload.h"

#define APIC_ID            0x20
#define APIC_VERSION       0x30
#define APIC_TPR           0x80
#define APIC_EOI           0xb0
#define APIC_LDR           0xd0
#define APIC_DFR           0xe0
#define APIC_SVR           0xf0
#define APIC_ISR           0x100
#define APIC_IRR           0x200
#define APIC_ESR           0x280
#define APIC_ICR           0x300
#define APIC_ICR_HIGH      0x310
#define APIC_LVT_TIMER     0x320
#define APIC_LVT_LINT0     0x350
#define APIC_LVT_LINT1     0x360
#define APIC_LVT_ERROR     0x370
#define APIC_TIMER_INITIAL 0x380
#define APIC_TIMER_CURRENT 0x390
#define APIC_TIMER_DIVIDE  0x3e0

#define APIC_MASKED   0x10000
#define APIC_PERIODIC 0x20000
#define APIC_DEADLINE 0x40000
#define APIC_EXTINT   0x700

#define ICR_FIXED   0x000
#define ICR_LOWEST  0x100
#define ICR_NMI     0x400
#define ICR_INIT    0x500
#define ICR_SIPI    0x600
#define ICR_LOGICAL 0x800
#define ICR_ASSERT  0x4000
#define ICR_SELF    0x40000
#define ICR_ALL     0x80000
#define ICR_OTHERS  0xc0000

#define SPURIOUS_VECTOR 0xff

u32 apic_read(u32 offset);
void apic_write(u32 offset, u32 value);
void apic_enable(void); /* software enable, spurious vector 0xff */
void apic_eoi(void);
void apic_send(u32 destination, u32 low); /* waits until it is sent */
bool apic_bit(u32 base, unsigned vector); /* of ISR or IRR */

u64 tsc_hz(void); /* measured once against PIT channel 2 */
void delay_us(u64 us);
/* Lets interrupts in until *counter is `value` or `ms` have passed; true in the former case. */
bool wait_count(volatile unsigned *counter, unsigned value, unsigned ms);
/* The same with interrupts off, for what another processor does. */
bool poll_count(volatile unsigned *counter, unsigned value, unsigned ms);

/*
 * Starts the processor with APIC id 1, which then runs what it is told; false if there is none.
 * Can be called again after an INIT.
 */
bool smp_start(void);
void smp_run(void (*function)(void *), void *argument); /* returns at once */
bool smp_wait(unsigned ms);                             /* until it has returned */

#endif
