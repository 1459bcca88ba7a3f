/*
 * A thread for each vCPU that sets REQUEST_TIMER when its APIC timer is due and it runs, so that
 * translated code need not look at the clock.
 */
#ifndef ENGINE_SOFT_TICKER_H
#define ENGINE_SOFT_TICKER_H

#include "engine/soft/vcpu.h"

#include <sys/types.h>

/* For all vCPUs of the engine. Returns 0, or -errno and fills `err`. */
int tickers_create(struct soft_engine *engine, struct error *err);
void tickers_destroy(struct soft_engine *engine);

/* The vCPU is about to run until `deadline`, of the guest's TSC; UINT64_MAX: without one. The
 * vCPU's thread. */
void ticker_arm(struct vcpu *vcpu, uint64_t deadline);

/* The vCPU's thread is about to sleep, and wakes by itself: there is no deadline any more. */
void ticker_rest(struct vcpu *vcpu);

/* Its thread; 0 if there is none. */
pid_t ticker_thread(const struct vcpu *vcpu);

#endif
