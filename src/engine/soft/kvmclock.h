/*
 * KVM's paravirtual clock (Linux Documentation/virt/kvm/x86/msr.rst): a page in guest memory from
 * which the guest computes time with its TSC alone.
 */
#ifndef ENGINE_SOFT_KVMCLOCK_H
#define ENGINE_SOFT_KVMCLOCK_H

#include "engine/soft/vcpu.h"

/* The guest wrote the address of its time page, or of the wall clock. */
void kvmclock_set_system_time(struct vcpu *vcpu, uint64_t value);
void kvmclock_set_wall_clock(struct vcpu *vcpu, uint64_t value);

/* Rewrites the time page if its parameters changed. `was_paused` tells the guest that it did not
 * run for a while, so that its watchdogs forgive. */
void kvmclock_update(struct vcpu *vcpu, bool was_paused);

#endif
