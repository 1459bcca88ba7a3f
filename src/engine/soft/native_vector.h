/*
 * Vector state for generated tests: values where floating point is interesting, and what of two
 * states has to agree.
 */
#ifndef ENGINE_SOFT_NATIVE_VECTOR_H
#define ENGINE_SOFT_NATIVE_VECTOR_H

#include "engine/soft/native.h"

/* Eight bytes: a double, two singles or integers; often a NaN, an infinity, a zero, a denormal. */
uint64_t native_vector_value(struct native_random *random);

/*
 * Registers of such values, random control words; exceptions unmasked in one case of three, some
 * then pending. MXCSR has no reserved bits.
 */
void native_vector_state(struct cpu_xsave *xsave, struct native_random *random);

/*
 * False if a program could tell the two apart. FIP, FDP and FOP are left out: the processor keeps
 * them of the last exception only, or not at all (SDM 1 8.1.8).
 */
bool native_vector_same(const struct cpu_xsave *a, const struct cpu_xsave *b);

/* Prints what differs. */
void native_vector_print(const struct cpu_xsave *before, const struct cpu_xsave *host,
	const struct cpu_xsave *engine);

#endif
