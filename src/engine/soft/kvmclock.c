/*
 * KVM's paravirtual clock, see kvmclock.h. Guest time is the machine clock; the page gives one
 * point on it and the TSC's rate. A page is written by its own vCPU's thread only, but other vCPUs
 * may be reading it: the version is odd while the rest changes.
 */
#include "engine/soft/kvmclock.h"

#include "engine/soft/tsc.h"
#include "engine/soft/vector.h"

#include <time.h>

#define SYSTEM_TIME_ENABLE BIT(0)

#define FLAG_TSC_STABLE    BIT(0)
#define FLAG_GUEST_STOPPED BIT(1)

#define KVM_FEATURE_CLOCKSOURCE_STABLE BIT(24)

struct time_info {
	uint32_t version;
	uint32_t reserved;
	uint64_t tsc_timestamp;
	uint64_t system_time; /* ns at tsc_timestamp */
	uint32_t tsc_to_system_mul;
	int8_t tsc_shift;
	uint8_t flags;
	uint8_t reserved2[2];
};

struct wall_clock {
	uint32_t version;
	uint32_t seconds, nanoseconds; /* of the epoch at system time 0 */
};

/* ns = ((ticks << shift) * mul) >> 32, with mul's top bit set (msr.rst). */
static void set_scale(struct time_info *info, uint64_t tsc_hz)
{
	uint64_t hz = tsc_hz;

	while (hz > 2 * (uint64_t)NS_PER_S) {
		hz >>= 1;
		info->tsc_shift--;
	}
	while (hz <= (uint64_t)NS_PER_S) {
		hz <<= 1;
		info->tsc_shift++;
	}
	/* hz is now in (1, 2] GHz, so mul fits in 32 bits; from the unrounded rate. */
	info->tsc_to_system_mul =
		info->tsc_shift < 0
			? (uint32_t)(((unsigned __int128)NS_PER_S << (32 - info->tsc_shift)) /
				     tsc_hz)
			: (uint32_t)(((uint64_t)NS_PER_S << (32 - info->tsc_shift)) / tsc_hz);
}

static bool tsc_is_stable(const struct vcpu *vcpu)
{
	uint32_t out[4];

	cpu_model_cpuid(vcpu->cpu_model, vcpu->index, 0x40000001, 0, false, 0, out);
	return out[0] & KVM_FEATURE_CLOCKSOURCE_STABLE;
}

void kvmclock_update(struct vcpu *vcpu, bool was_paused)
{
	struct guest_memory *memory = &vcpu->machine->memory;
	gpa_t address = vcpu->kvm_system_time & ~SYSTEM_TIME_ENABLE;
	struct time_info info = { 0 };
	struct tsc_point point;

	atomic_store(&vcpu->kvmclock_stale, false);
	if (!(vcpu->kvm_system_time & SYSTEM_TIME_ENABLE))
		return;
	point = tsc_point(vcpu);
	info.tsc_timestamp = point.tsc;
	info.system_time = (uint64_t)point.time_ns;
	set_scale(&info, vcpu->cpu_model->tsc_hz);
	info.flags =
		(tsc_is_stable(vcpu) ? FLAG_TSC_STABLE : 0) | (was_paused ? FLAG_GUEST_STOPPED : 0);

	info.version = vcpu->kvmclock_version | 1;
	if (guest_memory_write(memory, address, &info.version, sizeof(info.version)) < 0)
		return;
	atomic_thread_fence(memory_order_seq_cst);
	guest_memory_write(memory, address, &info, sizeof(info));
	atomic_thread_fence(memory_order_seq_cst);
	vcpu->kvmclock_version = info.version + 1;
	guest_memory_write(
		memory, address, &vcpu->kvmclock_version, sizeof(vcpu->kvmclock_version));
}

void kvmclock_set_system_time(struct vcpu *vcpu, uint64_t value)
{
	vcpu->kvm_system_time = value;
	vector_leave(vcpu);
	kvmclock_update(vcpu, false);
}

void kvmclock_set_wall_clock(struct vcpu *vcpu, uint64_t value)
{
	struct guest_memory *memory = &vcpu->machine->memory;
	struct wall_clock clock = { .version = 1 };
	struct timespec realtime = { 0 };
	ns_t epoch_ns;

	vcpu->kvm_wall_clock = value;
	if (!value)
		return;
	vector_leave(vcpu);
	if (!vcpu->lockstep)
		clock_gettime(CLOCK_REALTIME, &realtime);
	machine_lock(vcpu->machine);
	epoch_ns = realtime.tv_sec * NS_PER_S + realtime.tv_nsec - clock_now(&vcpu->machine->clock);
	machine_unlock(vcpu->machine);
	clock.seconds = (uint32_t)(epoch_ns / NS_PER_S);
	clock.nanoseconds = (uint32_t)(epoch_ns % NS_PER_S);
	if (guest_memory_write(memory, value, &clock, sizeof(clock)) < 0)
		return;
	clock.version = 2;
	atomic_thread_fence(memory_order_seq_cst);
	guest_memory_write(memory, value, &clock.version, sizeof(clock.version));
}
