/*
 * A thread that sets REQUEST_TIMER when a vCPU's APIC timer is due, so that translated code need
 * not look at the clock.
 */
#ifndef ENGINE_SOFT_TICKER_H
#define ENGINE_SOFT_TICKER_H

#include "engine/soft/vcpu.h"

int ticker_create(struct soft_engine *engine, struct error *err);
void ticker_destroy(struct soft_engine *engine);

/* The vCPU is about to run with this deadline (its timer_deadline_tsc). The vCPU's thread. */
void ticker_arm(struct vcpu *vcpu);

#endif
