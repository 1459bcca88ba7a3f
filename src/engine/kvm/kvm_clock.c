/*
 * Guest time under KVM: the time-stamp counters and the paravirtual clock follow the machine's
 * clock, which may be paused and set.
 *
 * The kernel's counters never stand still. What a vCPU remembers is its lag, host time minus guest
 * time when its counter was last set; when `run` finds another lag, the counter is set back by the
 * difference. Counters are set through their offset to the host's, so that vCPUs whose counters
 * agree get the very same offset: only then does KVM let them share one clock page's parameters.
 */
#include "engine/kvm/kvm_engine.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/ioctl.h>

/* Counters that differ by less than this are meant to be equal: they were read one by one. */
#define AGREEMENT_NS (100 * NS_PER_US)
/* A model's rate within this of the host's was measured there, less exactly than KVM knows it. */
#define RATE_TOLERANCE_PPM 10000

int kvm_clock_set_rate(struct kvm_vcpu *vcpu)
{
	struct kvm_engine *engine = vcpu->engine;
	uint64_t wanted_hz = engine->base.cpu_model->tsc_hz;
	long host_khz = ioctl(vcpu->fd, KVM_GET_TSC_KHZ, 0);
	uint64_t host_hz = host_khz > 0 ? host_khz * UINT64_C(1000) : wanted_hz;

	engine->tsc_hz = host_hz;
	if (llabs((int64_t)(wanted_hz - host_hz)) <
		(int64_t)(host_hz / 1000000) * RATE_TOLERANCE_PPM)
		return 0;
	engine->tsc_hz = wanted_hz;
	vcpu->tsc_scaled = true;
	return ioctl(vcpu->fd, KVM_SET_TSC_KHZ, (unsigned long)(wanted_hz / 1000)) < 0 ? -errno : 0;
}

static ns_t host_now(const struct clock *clock)
{
	return clock->source(clock->context);
}

/* Host time minus guest time; grows while the clock is paused. */
static ns_t lag_at(const struct clock *clock, ns_t host_ns)
{
	return clock->paused ? host_ns - clock->paused_at_ns : clock->offset_ns;
}

static int64_t signed_ticks(ns_t ns, uint64_t hz)
{
	return ns >= 0 ? (int64_t)ns_to_ticks(ns, hz) : -(int64_t)ns_to_ticks(-ns, hz);
}

static int tsc_offset_attribute(struct kvm_vcpu *vcpu, unsigned long request, uint64_t *offset)
{
	struct kvm_device_attr attribute = {
		.group = KVM_VCPU_TSC_CTRL,
		.attr = KVM_VCPU_TSC_OFFSET,
		.addr = (uintptr_t)offset,
	};

	return ioctl(vcpu->fd, request, &attribute) < 0 ? -errno : 0;
}

/*
 * Reads the counter, its offset and the host time of that moment. The host's own counter plus the
 * offset is the guest's, unless its rate is scaled; then only the kernel can tell.
 */
static int sample(struct kvm_vcpu *vcpu, uint64_t *tsc, uint64_t *offset, ns_t *host_ns)
{
	const struct clock *clock = &vcpu->engine->base.machine->clock;
	ns_t best_ns = INT64_MAX;
	int rc = tsc_offset_attribute(vcpu, KVM_GET_DEVICE_ATTR, offset);

	for (unsigned i = 0; i < 8 && rc == 0 && best_ns > NS_PER_US; i++) {
		ns_t before_ns = host_now(clock), after_ns;
		uint64_t value;

		if (vcpu->tsc_scaled)
			rc = kvm_msr_get(vcpu, MSR_IA32_TSC, &value);
		else
			value = __builtin_ia32_rdtsc() + *offset;
		after_ns = host_now(clock);
		if (after_ns - before_ns >= best_ns)
			continue;
		best_ns = after_ns - before_ns;
		*tsc = value;
		*host_ns = before_ns + best_ns / 2;
	}
	return rc;
}

/*
 * Takes the offset of the vCPUs whose counters agree with this one, or founds a new agreement.
 * An agreement holds for one lag: offsets of another say nothing about this one's.
 */
static uint64_t agree(struct kvm_engine *engine, uint64_t offset, ns_t lag_ns)
{
	uint64_t hz = engine->tsc_hz;

	pthread_mutex_lock(&engine->tsc_lock);
	if (engine->tsc_offset_known && engine->tsc_lag_ns == lag_ns &&
		llabs((int64_t)(offset - engine->tsc_offset)) < signed_ticks(AGREEMENT_NS, hz))
		offset = engine->tsc_offset;
	engine->tsc_offset = offset;
	engine->tsc_lag_ns = lag_ns;
	engine->tsc_offset_known = true;
	pthread_mutex_unlock(&engine->tsc_lock);
	return offset;
}

int kvm_clock_get_tsc(struct kvm_vcpu *vcpu, struct cpu_state *state)
{
	const struct clock *clock = &vcpu->engine->base.machine->clock;
	uint64_t hz = vcpu->engine->tsc_hz;
	uint64_t offset;
	ns_t host_ns;
	int rc = sample(vcpu, &state->tsc, &offset, &host_ns);

	if (rc < 0)
		return rc;
	state->tsc_time_ns = clock_now(clock);
	state->tsc -= signed_ticks(host_ns - vcpu->lag_ns - state->tsc_time_ns, hz);
	return 0;
}

int kvm_clock_set_tsc(struct kvm_vcpu *vcpu, uint64_t tsc, ns_t time_ns)
{
	const struct clock *clock = &vcpu->engine->base.machine->clock;
	uint64_t hz = vcpu->engine->tsc_hz;
	uint64_t current, offset, wanted;
	ns_t host_ns;
	int rc = sample(vcpu, &current, &offset, &host_ns);

	if (rc < 0)
		return rc;
	vcpu->lag_ns = lag_at(clock, host_ns);
	wanted = tsc + signed_ticks(host_ns - vcpu->lag_ns - time_ns, hz);
	offset = agree(vcpu->engine, wanted - (current - offset), vcpu->lag_ns);
	return tsc_offset_attribute(vcpu, KVM_SET_DEVICE_ATTR, &offset);
}

int kvm_clock_set_paravirtual(struct kvm_engine *engine)
{
	struct kvm_clock_data data = { .clock = clock_now(&engine->base.machine->clock) };

	return ioctl(engine->vm_fd, KVM_SET_CLOCK, &data) < 0 ? -errno : 0;
}

/* Once for each lag, before any vCPU runs under it: a guest must not see its clock go back. */
static void follow_paravirtual(struct kvm_engine *engine, ns_t lag_ns)
{
	pthread_mutex_lock(&engine->tsc_lock);
	if (engine->clock_lag_ns != lag_ns) {
		kvm_clock_set_paravirtual(engine);
		engine->clock_lag_ns = lag_ns;
	}
	pthread_mutex_unlock(&engine->tsc_lock);
}

void kvm_clock_follow(struct kvm_vcpu *vcpu)
{
	struct machine *machine = vcpu->engine->base.machine;
	uint64_t tsc, offset;
	ns_t host_ns, lag_ns;

	machine_lock(machine);
	lag_ns = lag_at(&machine->clock, host_now(&machine->clock));
	machine_unlock(machine);
	if (lag_ns == vcpu->lag_ns)
		return;
	if (sample(vcpu, &tsc, &offset, &host_ns) == 0)
		kvm_clock_set_tsc(vcpu, tsc, host_ns - vcpu->lag_ns);
	follow_paravirtual(vcpu->engine, lag_ns);
}
