/*
 * What the hand-over test and its guest share: the memory map and the fields they talk through.
 */
#ifndef TESTS_GUEST_HANDOVER_H
#define TESTS_GUEST_HANDOVER_H

#define HANDOVER_PORT 0xf4

/* Guest physical memory; linear addresses are the same. */
#define GUEST_MEMORY_BYTES 0x200000
#define GUEST_PAGE_TABLES  0x1000
#define GUEST_GDT          0x8000
#define GUEST_IDT          0x9000
#define GUEST_TSS          0xa000
#define GUEST_STACK_TOP    0x10000
#define GUEST_CODE         0x10000
#define GUEST_SHARED       0x20000

/* Offsets in struct handover_shared. */
#define SHARED_PROGRESS      0x00
#define SHARED_ROUNDS        0x08
#define SHARED_FEATURES      0x10
#define SHARED_HASH          0x18
#define SHARED_PERIOD        0x20
#define SHARED_TICKS         0x28
#define SHARED_DEADLINE_STEP 0x30
#define SHARED_DEADLINES     0x38
#define SHARED_NEXT          0x40
#define SHARED_EARLY         0x48
#define SHARED_TSC           0x50
#define SHARED_EARLINESS     0x58
#define SHARED_PVCLOCK       0x80
#define SHARED_BUFFER        0x1000
#define SHARED_BUFFER_BYTES  0x10000

#define FEATURE_AVX 1

#define TICKS     30
#define ONE_SHOTS 20
#define DEADLINES 30
#define MARKS     8

#define STAGE_STARTED  1
#define STAGE_COMPUTED 2
#define STAGE_TICKED   3
#define STAGE_DONE     4
#define STAGE_END      5
#define STAGE_FAULT    0xee

#define VECTOR_TIMER    0x40
#define VECTOR_DEADLINE 0x41

/* Registers, SDM 3A table 11-1 and 11.12.1.2. */
#define MSR_APIC_BASE         0x1b
#define APIC_BASE_X2APIC_MODE 0x400
#define MSR_TSC_DEADLINE      0x6e0
#define MSR_X2APIC            0x800
#define MSR_KVM_SYSTEM_TIME   0x4b564d01
#define APIC_PAGE             0xfee00000
#define APIC_EOI              0x0b0
#define APIC_SVR              0x0f0
#define APIC_LVT_TIMER        0x320
#define APIC_TIMER_INITIAL    0x380
#define APIC_TIMER_DIVIDE     0x3e0
#define APIC_DIVIDE_BY_1      0xb
#define APIC_TIMER_PERIODIC   0x20000
#define APIC_TIMER_DEADLINE   0x40000

#endif
