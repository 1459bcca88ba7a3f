/*
 * The local APIC of the software engine (SDM 3A chapter 11): xAPIC and x2APIC, timer in one-shot,
 * periodic and TSC-deadline mode, logical and physical destinations, IPIs.
 *
 * Called by the vCPU's own thread unless a function says otherwise.
 */
#ifndef ENGINE_SOFT_APIC_H
#define ENGINE_SOFT_APIC_H

#include "engine/soft/vcpu.h"

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

/* Fires the timer if it is due. */
void apic_timer_poll(struct vcpu *vcpu);
/* Guest time until it fires; CLOCK_NEVER if it is not armed. */
ns_t apic_timer_remaining_ns(struct vcpu *vcpu);
/* IA32_TSC_DEADLINE was written. */
void apic_set_tsc_deadline(struct vcpu *vcpu, uint64_t deadline);
/* The guest added `delta` to its counter: a count in progress goes on unmoved. */
void apic_timer_moved(struct vcpu *vcpu, uint64_t delta);

/* Conversion to and from the saved form, together with vcpu->tsc_deadline. */
void apic_get_state(struct vcpu *vcpu, struct cpu_apic *state);
void apic_set_state(struct vcpu *vcpu, const struct cpu_apic *state);

/* Between apic.c, apic_timer.c and apic_message.c. */
void apic_deliver_local(struct vcpu *vcpu, uint32_t lvt);
void apic_accept(struct vcpu *vcpu, uint8_t vector, bool level_triggered);
void apic_send_ipi(struct vcpu *vcpu, uint32_t icr_low, uint32_t destination);
void apic_error(struct vcpu *vcpu, uint32_t esr_bit);
void apic_timer_set_lvt(struct vcpu *vcpu, uint32_t lvt);
void apic_timer_set_divide(struct vcpu *vcpu, uint32_t divide);
void apic_timer_set_initial(struct vcpu *vcpu, uint32_t initial);
uint32_t apic_timer_current(struct vcpu *vcpu);
/* Delivers what is due; returns what is left of a timer that still runs, else 0. */
uint32_t apic_timer_save(struct vcpu *vcpu);
void apic_timer_restore(struct vcpu *vcpu, uint32_t current);

static inline bool apic_is_x2apic(const struct vcpu *vcpu)
{
	return vcpu->apic_base & APIC_BASE_X2APIC;
}

#endif
