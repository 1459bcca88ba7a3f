/*
 * What the run loop needs of exceptions beside execute.h.
 */
#ifndef ENGINE_SOFT_EXCEPTION_H
#define ENGINE_SOFT_EXCEPTION_H

#include "engine/soft/vcpu.h"

/*
 * Delivers what cpu_raise left behind when it came back to the run loop; may raise in its turn.
 * Sets RIP. A triple fault sets vcpu->shutdown.
 */
void exception_deliver(struct vcpu *vcpu);

/* Delivers an exception that set_state found pending. */
void exception_deliver_pending(struct vcpu *vcpu);

/* INT1: #DB without a check of the gate's privilege. */
void cpu_software_debug(struct vcpu *vcpu);

#endif
