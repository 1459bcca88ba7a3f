/*
 * How a vCPU's registers get into a runner and back, all but the vector registers. For the vCPU's
 * thread.
 */
#ifndef ENGINE_SOFT_DIRECT_REGISTERS_H
#define ENGINE_SOFT_DIRECT_REGISTERS_H

#include "engine/soft/vcpu.h"

#include <sys/user.h>

/* Would native code see the processor that the guest has? */
bool direct_suits(const struct vcpu *vcpu);

void direct_put_registers(const struct vcpu *vcpu, struct user_regs_struct *regs);
/* But for selectors. */
void direct_take_registers(struct vcpu *vcpu, const struct user_regs_struct *regs);
/* Those that the guest loaded natively. Raises if they are not in its own tables. */
void direct_take_selectors(struct vcpu *vcpu, const struct user_regs_struct *regs);

#endif
