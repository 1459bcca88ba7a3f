/*
 * x87, MMX, SSE and AVX by the host's own unit.
 *
 * While the engine executes guest code the guest's registers stay live in the host's; they are
 * loaded when the first such instruction runs and stored before any C code that may use vectors
 * itself (device accesses, returning to the caller). An instruction is run by a thunk: a routine
 * made at run time that holds the same instruction with its memory operand replaced by one at a
 * fixed register and its general registers by scratch ones (thunk.h).
 *
 * The compiler may call memcpy and its kin for struct copies, and the C library's use vectors: code
 * compiled -mgeneral-regs-only that can run while vector_live is set must not copy large structs.
 *
 * User code that runs natively (direct.h) leaves them in its runner, from where vector_image brings
 * them: whoever wants vcpu->xsave asks for it by that.
 *
 * x87, SSE and AVX components are always kept, whatever the guest's XCR0 says. The host's unit
 * records host addresses as those of the last x87 instruction; the guest's are kept in
 * vcpu->x87_last_* and FXSAVE and XSAVE always store them (as Intel's processors do, and AMD's with
 * XSaveErPtr). FCS and FDS are saved as 0 (CPUID.7.EBX[13]). CR0.NE = 0 is not modelled: unmasked
 * x87 exceptions always raise #MF, never IRQ 13.
 */
#ifndef ENGINE_SOFT_VECTOR_H
#define ENGINE_SOFT_VECTOR_H

#include "engine/soft/direct.h"
#include "engine/soft/vcpu.h"

/* The writable bits of the guest's MXCSR. AMD's misaligned exception mask is not offered. */
#define VECTOR_MXCSR_MASK 0xffffu

/* Makes the guest's registers live in the host's unit, or puts them back into vcpu->xsave and gives
 * the unit a state that C may use. The live registers belong to the thread that loaded them. */
void vector_load(struct vcpu *vcpu);
void vector_store(struct vcpu *vcpu);

/* Every function the engine calls that is not compiled -mgeneral-regs-only is called after this. */
static inline void vector_leave(struct vcpu *vcpu)
{
	if (vcpu->vector_live)
		vector_store(vcpu);
}

/* Likewise; the image in memory, with the registers in it. */
static inline struct cpu_xsave *vector_image(struct vcpu *vcpu)
{
	vector_leave(vcpu);
	if (vcpu->vector_away)
		direct_take_vectors(vcpu);
	return &vcpu->xsave;
}

/*
 * AddressSanitizer's runtime uses vectors, and any instrumented function may call it: in such
 * builds nothing stays live beyond the host's instruction.
 */
#if defined(__SANITIZE_ADDRESS__)
#define VECTOR_SETTLES 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define VECTOR_SETTLES 1
#endif
#endif

static inline void vector_settle(struct vcpu *vcpu)
{
#ifdef VECTOR_SETTLES
	vector_leave(vcpu);
#else
	(void)vcpu;
#endif
}

/*
 * Makes the thunk caches of engine->vcpus, whose engine and index are set, puts their registers
 * into the reset state, and takes the signals. Returns 0, or -errno and fills `err`.
 */
int vector_init(struct soft_engine *engine, struct error *err);
void vector_finish(struct soft_engine *engine);

/*
 * Installs the handler that turns the signals of a thunk (SIGFPE, SIGILL, SIGSEGV) into the guest's
 * exceptions and passes all others on to the one that was there before, and unblocks them for the
 * calling thread and those it creates. Does nothing if it is in place. For programs, such as unit
 * tests, that install others after vector_init.
 */
void vector_take_signals(void);

/*
 * Conversion to and from the saved form, while the vCPU does not run. Any image can be set:
 * reserved MXCSR bits are cleared, components that XSTATE_BV does not name get their initial
 * values.
 */
void vector_get(struct vcpu *vcpu, struct cpu_xsave *image);
void vector_set(struct vcpu *vcpu, const struct cpu_xsave *image);

#endif
