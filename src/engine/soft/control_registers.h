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

#endif
