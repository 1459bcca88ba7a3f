/*
 * The local APIC's timer (SDM 3A 11.5.4). Its input is CPU_MODEL_APIC_HZ; every deadline is kept as
 * a value of the guest's TSC. Periods that passed while the vCPU could not look are dropped.
 */
#include "engine/soft/apic.h"
#include "engine/soft/apic_regs.h"
#include "engine/soft/tsc.h"

#define NEVER UINT64_MAX

static unsigned mode_of(uint32_t lvt)
{
	return field_get(LVT_TIMER_MODE, lvt);
}

/* SDM 3A figure 11-10: bits 3, 1, 0; 111b divides by 1. */
static unsigned divisor(const struct vcpu *vcpu)
{
	uint32_t value = vcpu->apic.regs.timer_divide;
	unsigned code = (value & 3) | (value >> 1 & 4);

	return code == 7 ? 1 : 2u << code;
}

static uint64_t counts_to_tsc(const struct vcpu *vcpu, uint32_t counts)
{
	uint64_t tsc = mul_div(
		(uint64_t)counts * divisor(vcpu), vcpu->cpu_model->tsc_hz, CPU_MODEL_APIC_HZ);

	return tsc ? tsc : 1;
}

static uint64_t tsc_to_counts(const struct vcpu *vcpu, uint64_t tsc)
{
	return mul_div(tsc, CPU_MODEL_APIC_HZ, vcpu->cpu_model->tsc_hz) / divisor(vcpu);
}

static void set_deadline(struct vcpu *vcpu, uint64_t tsc)
{
	vcpu->timer_deadline_tsc = tsc;
}

/* Starts counting down from `current`; the following periods start from the initial count. */
static void start(struct vcpu *vcpu, uint32_t current)
{
	uint64_t now = vcpu_tsc(vcpu);
	uint64_t whole, left;

	if (current == 0) {
		set_deadline(vcpu, NEVER);
		return;
	}
	whole = counts_to_tsc(vcpu, vcpu->apic.regs.timer_initial);
	left = counts_to_tsc(vcpu, current);
	vcpu->apic.timer_started_tsc = now - (whole - left);
	set_deadline(vcpu, now + left);
}

uint32_t apic_timer_current(struct vcpu *vcpu)
{
	uint32_t initial = vcpu->apic.regs.timer_initial;
	uint64_t gone;

	if (mode_of(vcpu->apic.regs.lvt_timer) == LVT_TIMER_DEADLINE ||
		vcpu->timer_deadline_tsc == NEVER)
		return 0;
	gone = tsc_to_counts(vcpu, vcpu_tsc(vcpu) - vcpu->apic.timer_started_tsc);
	return gone < initial ? (uint32_t)(initial - gone) : 0;
}

void apic_timer_set_lvt(struct vcpu *vcpu, uint32_t lvt)
{
	bool was_deadline = mode_of(vcpu->apic.regs.lvt_timer) == LVT_TIMER_DEADLINE;
	bool is_deadline = mode_of(lvt) == LVT_TIMER_DEADLINE;

	__atomic_store_n(&vcpu->apic.regs.lvt_timer, lvt, __ATOMIC_RELAXED);
	/* Between TSC-deadline and the other modes the timer is disarmed (SDM 3A 11.5.4.1). */
	if (was_deadline != is_deadline) {
		vcpu->apic.regs.timer_initial = 0;
		vcpu->tsc_deadline = 0;
		set_deadline(vcpu, NEVER);
	}
}

void apic_timer_set_divide(struct vcpu *vcpu, uint32_t divide)
{
	uint32_t current = apic_timer_current(vcpu);

	vcpu->apic.regs.timer_divide = divide;
	if (current)
		start(vcpu, current);
}

void apic_timer_set_initial(struct vcpu *vcpu, uint32_t initial)
{
	if (mode_of(vcpu->apic.regs.lvt_timer) == LVT_TIMER_DEADLINE)
		return;
	vcpu->apic.regs.timer_initial = initial;
	start(vcpu, initial);
}

void apic_set_tsc_deadline(struct vcpu *vcpu, uint64_t deadline)
{
	if (mode_of(vcpu->apic.regs.lvt_timer) != LVT_TIMER_DEADLINE)
		return;
	vcpu->tsc_deadline = deadline;
	set_deadline(vcpu, deadline ? deadline : NEVER);
}

void apic_timer_moved(struct vcpu *vcpu, uint64_t delta)
{
	if (mode_of(vcpu->apic.regs.lvt_timer) == LVT_TIMER_DEADLINE ||
		vcpu->timer_deadline_tsc == NEVER)
		return;
	vcpu->apic.timer_started_tsc += delta;
	set_deadline(vcpu, vcpu->timer_deadline_tsc + delta);
}

uint32_t apic_timer_save(struct vcpu *vcpu)
{
	uint32_t current;

	/* A deadline is saved as such. */
	if (mode_of(vcpu->apic.regs.lvt_timer) == LVT_TIMER_DEADLINE)
		return 0;
	apic_timer_poll(vcpu);
	if (vcpu->timer_deadline_tsc == NEVER)
		return 0;
	/* 0 would be a stopped timer; this one may only be due since the poll. */
	current = apic_timer_current(vcpu);
	return current ? current : 1;
}

void apic_timer_restore(struct vcpu *vcpu, uint32_t current)
{
	set_deadline(vcpu, NEVER);
	if (mode_of(vcpu->apic.regs.lvt_timer) == LVT_TIMER_DEADLINE)
		set_deadline(vcpu, vcpu->tsc_deadline ? vcpu->tsc_deadline : NEVER);
	else if (current == 0 && mode_of(vcpu->apic.regs.lvt_timer) == LVT_TIMER_PERIODIC)
		start(vcpu, vcpu->apic.regs.timer_initial); /* it never rests at 0 */
	else
		start(vcpu, current);
}

static void next_period(struct vcpu *vcpu, uint64_t now)
{
	uint64_t period = counts_to_tsc(vcpu, vcpu->apic.regs.timer_initial);
	uint64_t late = now - vcpu->timer_deadline_tsc;

	vcpu->apic.timer_started_tsc = now - late % period;
	set_deadline(vcpu, vcpu->apic.timer_started_tsc + period);
}

void apic_timer_poll(struct vcpu *vcpu)
{
	uint32_t lvt = vcpu->apic.regs.lvt_timer;
	uint64_t now;

	if (vcpu->timer_deadline_tsc == NEVER)
		return;
	now = vcpu_tsc(vcpu);
	if (now < vcpu->timer_deadline_tsc)
		return;
	if (mode_of(lvt) == LVT_TIMER_PERIODIC) {
		next_period(vcpu, now);
	} else {
		vcpu->tsc_deadline = 0;
		set_deadline(vcpu, NEVER);
	}
	apic_deliver_local(vcpu, lvt);
}

ns_t apic_timer_remaining_ns(struct vcpu *vcpu)
{
	uint64_t now, ns;

	if (vcpu->timer_deadline_tsc == NEVER)
		return CLOCK_NEVER;
	now = vcpu_tsc(vcpu);
	if (now >= vcpu->timer_deadline_tsc)
		return 0;
	ns = mul_div(vcpu->timer_deadline_tsc - now, NS_PER_S, vcpu->cpu_model->tsc_hz);
	return ns < (uint64_t)CLOCK_NEVER ? (ns_t)ns : CLOCK_NEVER;
}
