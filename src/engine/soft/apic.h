/*
 * The local APIC of the software engine (SDM 3A chapter 11): xAPIC and x2APIC, timer in one-shot,
 * periodic and TSC-deadline mode, logical and physical destinations, IPIs.
 */
#ifndef ENGINE_SOFT_APIC_H
#define ENGINE_SOFT_APIC_H

#include "engine/soft/vcpu.h"

void apic_reset(struct vcpu *vcpu);

/* An MSI, or an IOAPIC's message. Any thread. */
void apic_message(struct soft_engine *engine, gpa_t address, uint32_t data);
/* LINT0 (the 8259's INTR) and LINT1 (NMI) of all local APICs. Any thread. */
void apic_set_intr(struct soft_engine *engine, bool level);
void apic_nmi(struct soft_engine *engine);

/* The guest's access to the MMIO page; offset within it. */
uint32_t apic_mmio_read(struct vcpu *vcpu, unsigned offset);
void apic_mmio_write(struct vcpu *vcpu, unsigned offset, uint32_t value);
/* x2APIC MSRs; false: raise #GP(0). */
bool apic_msr_read(struct vcpu *vcpu, uint32_t msr, uint64_t *value);
bool apic_msr_write(struct vcpu *vcpu, uint32_t msr, uint64_t value);
bool apic_base_write(struct vcpu *vcpu, uint64_t value);

/* Task priority as CR8 shows it. */
uint64_t apic_cr8(struct vcpu *vcpu);
void apic_set_cr8(struct vcpu *vcpu, uint64_t value);

/* True if an interrupt would be delivered were IF set; no side effects. */
bool apic_interrupt_ready(struct vcpu *vcpu);
/* Takes the highest one (IRR to ISR, or the 8259's INTA cycle); -1 if none is left. */
int apic_acknowledge(struct vcpu *vcpu);

/* Fires the timer if it is due. Called by the owning vCPU thread. */
void apic_timer_poll(struct vcpu *vcpu);
/* Guest time until it fires; CLOCK_NEVER if it is not armed. */
ns_t apic_timer_remaining_ns(struct vcpu *vcpu);

/* Conversion to and from the saved form. */
void apic_get_state(struct vcpu *vcpu, struct cpu_apic *state);
void apic_set_state(struct vcpu *vcpu, const struct cpu_apic *state);

#endif
