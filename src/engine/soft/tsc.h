/*
 * The guest's time-stamp counter: the host's plus an offset.
 *
 * It stands still while the machine clock does: the offset follows the clock's own. With c the
 * clock's offset_ns, guest TSC = host TSC + tsc_zero_offset - ticks(c), the same function on every
 * vCPU, so that counters which are equal stay equal through pauses, saves and restores.
 *
 * A machine's counter, as nobody has set it, can begin as the host's: the offset is then 0 until
 * the clock is paused, and native code may read it (engine_config.host_tsc).
 */
#ifndef ENGINE_SOFT_TSC_H
#define ENGINE_SOFT_TSC_H

#include "engine/soft/vcpu.h"

/* a * b / c with a 128-bit product; UINT64_MAX if the quotient is wider than 64 bits. */
static inline uint64_t mul_div(uint64_t a, uint64_t b, uint64_t c)
{
	uint64_t low, high;

	asm("mulq %3" : "=a"(low), "=d"(high) : "0"(a), "r"(b) : "cc");
	if (high >= c)
		return UINT64_MAX;
	asm("divq %4" : "=a"(low), "=d"(high) : "0"(low), "1"(high), "r"(c) : "cc");
	return low;
}

/* How far a vCPU's counter, or the host's, goes in `ns`. */
static inline uint64_t tsc_of_ns(const struct vcpu *vcpu, ns_t ns)
{
	return mul_div((uint64_t)ns, vcpu->cpu_model->tsc_hz, NS_PER_S);
}

/* Applies what the machine clock did while the vCPU did not run. True if it was paused or set. */
bool tsc_follow_clock(struct vcpu *vcpu);

/* The counter at guest time `time_ns`, and its replacement by one that has `tsc` there. Not under
 * the machine lock while another thread could pause or set the clock. */
uint64_t tsc_at(struct vcpu *vcpu, ns_t time_ns);
void tsc_set_at(struct vcpu *vcpu, uint64_t tsc, ns_t time_ns);

/* The guest writes IA32_TSC or IA32_TSC_ADJUST: `delta` is added to the counter. */
void tsc_adjust(struct vcpu *vcpu, uint64_t delta);

/* Guest time and the counter at one moment, the same line for every vCPU. */
struct tsc_point {
	uint64_t tsc;
	ns_t time_ns;
};

struct tsc_point tsc_point(struct vcpu *vcpu);

#endif
