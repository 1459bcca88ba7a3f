/*
 * Model-specific registers. Both return false where the processor raises #GP(0).
 */
#ifndef ENGINE_SOFT_MSR_H
#define ENGINE_SOFT_MSR_H

#include "engine/soft/vcpu.h"

bool msr_read(struct vcpu *vcpu, uint32_t msr, uint64_t *value);
bool msr_write(struct vcpu *vcpu, uint32_t msr, uint64_t value);

#endif
