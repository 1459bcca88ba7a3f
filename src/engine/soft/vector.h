/*
 * x87, MMX, SSE and AVX by the host's own unit.
 *
 * While the engine executes guest code the guest's registers stay live in the host's; they are
 * loaded when the first such instruction runs and stored before any C code that may use vectors
 * itself (device accesses, returning to the caller).
 */
#ifndef ENGINE_SOFT_VECTOR_H
#define ENGINE_SOFT_VECTOR_H

#include "engine/soft/vcpu.h"

/* Makes the guest's registers live in the host's unit, or puts them back into vcpu->xsave and gives
 * the unit a state that C may use. Cheap if already so. */
void vector_load(struct vcpu *vcpu);
void vector_store(struct vcpu *vcpu);

/* Every function the engine calls that is not compiled -mgeneral-regs-only is called after this. */
static inline void vector_leave(struct vcpu *vcpu)
{
	if (vcpu->vector_live)
		vector_store(vcpu);
}

/* Process-wide: makes the code cache of thunks. Returns 0 or fills `err`. */
int vector_init(struct soft_engine *engine, struct error *err);
void vector_finish(struct soft_engine *engine);

#endif
