/*
 * Writes to CR0, CR3, CR4 and EFER with their checks and consequences (SDM 3A 2.5, 4.1.1, 10.8.5).
 * Each returns false, with nothing changed, where the processor raises #GP(0).
 */
#ifndef ENGINE_SOFT_CONTROL_REGISTERS_H
#define ENGINE_SOFT_CONTROL_REGISTERS_H

#include "engine/soft/vcpu.h"

bool cr0_write(struct vcpu *vcpu, uint64_t value);
bool cr3_write(struct vcpu *vcpu, uint64_t value);
bool cr4_write(struct vcpu *vcpu, uint64_t value);
bool efer_write(struct vcpu *vcpu, uint64_t value);
bool xcr0_write(struct vcpu *vcpu, uint64_t value);

/* All at once, as RSM does; EFER.LMA follows from the others. False if no processor could have
 * them: EFER may have changed then. The caller flushes the TLB and derives the mode. */
bool control_registers_load(
	struct vcpu *vcpu, uint64_t cr0, uint64_t cr3, uint64_t cr4, uint64_t efer);

#endif
