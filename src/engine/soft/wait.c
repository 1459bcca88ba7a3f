/*
 * A halted vCPU: sleeps on its futex until something arrives that could end the halt, or the APIC
 * timer is due.
 *
 * It spins for a while first where waking up promptly has paid, as KVM's halt polling does: the
 * spin grows after short sleeps and is none after a long one, so an idle guest does not spin. What
 * spins longer offers its CPU to others now and then, and sleeps if somebody takes it. Not compiled
 * for vectors: only system calls are made while the guest's may be live.
 */
#include "engine/soft/apic.h"
#include "engine/soft/direct.h"
#include "engine/soft/tsc.h"

#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SPIN_MIN_NS    (5 * NS_PER_US)
#define SPIN_MAX_NS    (300 * NS_PER_US)
#define SLEEP_SHORT_NS (400 * NS_PER_US)
#define OFFER_NS       (20 * NS_PER_US) /* between two offers */
#define TAKEN_NS       (10 * NS_PER_US) /* somebody ran meanwhile */
#define SPIN_CHECKS    16               /* PAUSEs between two looks at the time */

/* Without an invariant TSC nothing here is exact, so the sleep is bounded. */
#define SLEEP_MAX_NS NS_PER_S

/* What ends a halt, or the wait for SIPI: other requests stay for later. */
static bool has_reason(struct vcpu *vcpu)
{
	uint64_t requests = atomic_load(&vcpu->requests);
	const uint64_t outside_smm = REQUEST_INIT | REQUEST_SMI;

	if (requests & (REQUEST_KICK | REQUEST_FLUSH_TLB))
		return true;
	if (vcpu->activity == CPU_WAIT_FOR_SIPI)
		return requests & (REQUEST_INIT | REQUEST_SIPI);
	if (requests & outside_smm && !vcpu->smm)
		return true;
	if (requests & REQUEST_NMI && !vcpu->nmi_blocked)
		return true;
	return vcpu->flags_system & RFLAGS_IF && apic_interrupt_ready(vcpu);
}

static void sleep_until_woken(struct vcpu *vcpu, ns_t limit_ns)
{
	struct timespec timeout = { .tv_sec = limit_ns / NS_PER_S, .tv_nsec = limit_ns % NS_PER_S };

	atomic_store(&vcpu->futex, 1);
	if (!has_reason(vcpu))
		syscall(SYS_futex, &vcpu->futex, FUTEX_WAIT_PRIVATE, 1, &timeout, NULL, 0);
	atomic_store(&vcpu->futex, 0);
}

/* False if somebody else had the CPU meanwhile. */
static bool offer_cpu(const struct vcpu *vcpu)
{
	uint64_t start = host_tsc();

	syscall(SYS_sched_yield);
	return host_tsc() - start < tsc_of_ns(vcpu, TAKEN_NS);
}

static bool spin(struct vcpu *vcpu)
{
	uint64_t now = host_tsc();
	uint64_t end = now + tsc_of_ns(vcpu, vcpu->spin_ns);
	uint64_t offer = now + tsc_of_ns(vcpu, OFFER_NS);

	do {
		for (int i = 0; i < SPIN_CHECKS; i++)
			__builtin_ia32_pause();
		apic_timer_poll(vcpu);
		if (has_reason(vcpu))
			return true;
		now = host_tsc();
		if (now < offer)
			continue;
		if (!offer_cpu(vcpu)) {
			vcpu->spin_ns = SPIN_MIN_NS;
			return false;
		}
		offer = host_tsc() + tsc_of_ns(vcpu, OFFER_NS);
	} while (now < end);
	return false;
}

static void adapt_spin(struct vcpu *vcpu, uint64_t slept_tsc)
{
	if (vcpu->engine->host_cpus < vcpu->engine->nr_vcpus || vcpu->engine->host_cpus == 1) {
		vcpu->spin_ns = 0;
	} else if (slept_tsc > tsc_of_ns(vcpu, SLEEP_SHORT_NS)) {
		vcpu->spin_ns = 0;
	} else {
		vcpu->spin_ns = vcpu->spin_ns ? 2 * vcpu->spin_ns : SPIN_MIN_NS;
		if (vcpu->spin_ns > SPIN_MAX_NS)
			vcpu->spin_ns = SPIN_MAX_NS;
	}
}

void vcpu_wait(struct vcpu *vcpu)
{
	uint64_t started;

	if (vcpu->lockstep) {
		vcpu_request(vcpu, REQUEST_KICK);
		return;
	}
	apic_timer_poll(vcpu);
	if (has_reason(vcpu) || (vcpu->spin_ns && spin(vcpu)))
		return;
	direct_rest(vcpu);
	translate_rest_timer(vcpu);
	started = host_tsc();
	do {
		ns_t limit_ns = apic_timer_remaining_ns(vcpu);

		sleep_until_woken(vcpu, limit_ns < SLEEP_MAX_NS ? limit_ns : SLEEP_MAX_NS);
		apic_timer_poll(vcpu);
	} while (!has_reason(vcpu));
	direct_woke(vcpu);
	adapt_spin(vcpu, host_tsc() - started);
}
