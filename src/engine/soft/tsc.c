/*
 * The guest's time-stamp counter, see tsc.h.
 *
 * The host's TSC and the machine clock's source are tied together at one point, the anchor. It is
 * taken anew for the first conversion after vCPUs have run, so that conversions made together, of
 * all vCPUs of a stopped machine, use one anchor, and the drift between the two does not add up.
 */
#include "engine/soft/tsc.h"

#include "engine/soft/apic.h"
#include "engine/soft/vector.h"

#define ANCHOR_TRIES 16

static uint64_t ticks(const struct vcpu *vcpu, ns_t ns)
{
	return (uint64_t)(int64_t)((__int128)ns * (int64_t)vcpu->cpu_model->tsc_hz / NS_PER_S);
}

/* Of several brackets the narrowest has met no interrupt and no migration. */
static void take_anchor(
	struct tsc_anchor *anchor, const struct vcpu *vcpu, const struct clock *clock)
{
	uint64_t best_width = UINT64_MAX;

	for (int i = 0; i < ANCHOR_TRIES; i++) {
		uint64_t before = vcpu_host_tsc(vcpu);
		ns_t ns = clock->source(clock->context);
		uint64_t width = vcpu_host_tsc(vcpu) - before;

		if (width < best_width) {
			best_width = width;
			anchor->host_tsc = before + width / 2;
			anchor->source_ns = ns;
		}
	}
}

static struct tsc_anchor current_anchor(struct vcpu *vcpu, bool may_renew)
{
	struct soft_engine *engine = vcpu->engine;
	struct tsc_anchor anchor;

	pthread_mutex_lock(&engine->tsc_lock);
	if (may_renew && atomic_exchange(&engine->tsc_anchor.stale, false)) {
		take_anchor(&engine->tsc_anchor, vcpu, &vcpu->machine->clock);
		for (unsigned i = 0; i < engine->nr_vcpus; i++)
			engine->vcpus[i].kvmclock_stale = true;
	}
	anchor.host_tsc = engine->tsc_anchor.host_tsc;
	anchor.source_ns = engine->tsc_anchor.source_ns;
	pthread_mutex_unlock(&engine->tsc_lock);
	return anchor;
}

/* The host's TSC at guest time `time_ns`. */
static uint64_t host_tsc_at(struct vcpu *vcpu, ns_t time_ns)
{
	struct tsc_anchor anchor = current_anchor(vcpu, true);
	ns_t source_ns = time_ns + vcpu->machine->clock.offset_ns;

	return anchor.host_tsc + ticks(vcpu, source_ns - anchor.source_ns);
}

/* The counter after a reset, which is 0 at the beginning of time, is the host's from now on; all
 * vCPUs' alike. */
static void take_hosts(struct vcpu *vcpu, ns_t clock_offset_ns, bool runs)
{
	struct soft_engine *engine = vcpu->engine;

	pthread_mutex_lock(&engine->tsc_lock);
	if (runs && !engine->host_zero_known) {
		engine->host_zero_known = true;
		engine->host_zero_offset = ticks(vcpu, clock_offset_ns);
	}
	if (engine->host_zero_known) {
		vcpu->tsc_fresh = false;
		vcpu->tsc_zero_offset = engine->host_zero_offset;
	}
	pthread_mutex_unlock(&engine->tsc_lock);
}

static void apply_clock_offset(struct vcpu *vcpu, ns_t clock_offset_ns)
{
	vcpu->tsc_offset = vcpu->tsc_zero_offset - ticks(vcpu, clock_offset_ns);
}

bool tsc_follow_clock(struct vcpu *vcpu)
{
	uint64_t before = vcpu->tsc_offset;
	ns_t clock_offset_ns;

	machine_lock(vcpu->machine);
	clock_offset_ns = vcpu->machine->clock.offset_ns;
	machine_unlock(vcpu->machine);
	atomic_store(&vcpu->engine->tsc_anchor.stale, true);
	if (vcpu->tsc_fresh)
		take_hosts(vcpu, clock_offset_ns, true);
	apply_clock_offset(vcpu, clock_offset_ns);
	return vcpu->tsc_offset != before;
}

uint64_t tsc_at(struct vcpu *vcpu, ns_t time_ns)
{
	if (vcpu->tsc_fresh)
		take_hosts(vcpu, vcpu->machine->clock.offset_ns, false);
	apply_clock_offset(vcpu, vcpu->machine->clock.offset_ns);
	return host_tsc_at(vcpu, time_ns) + vcpu->tsc_offset;
}

void tsc_set_at(struct vcpu *vcpu, uint64_t tsc, ns_t time_ns)
{
	ns_t clock_offset_ns = vcpu->machine->clock.offset_ns;

	vcpu->tsc_zero_offset = tsc - host_tsc_at(vcpu, time_ns) + ticks(vcpu, clock_offset_ns);
	apply_clock_offset(vcpu, clock_offset_ns);
	vcpu->tsc_fresh = vcpu->engine->host_tsc && tsc == 0 && time_ns == 0;
	vcpu->engine->host_zero_known = false;
}

void tsc_adjust(struct vcpu *vcpu, uint64_t delta)
{
	vcpu->tsc_zero_offset += delta;
	vcpu->tsc_offset += delta;
	vcpu->kvmclock_stale = true;
	apic_timer_moved(vcpu, delta);
}

struct tsc_point tsc_point(struct vcpu *vcpu)
{
	struct tsc_anchor anchor = current_anchor(vcpu, false);
	ns_t clock_offset_ns;

	machine_lock(vcpu->machine);
	clock_offset_ns = vcpu->machine->clock.offset_ns;
	machine_unlock(vcpu->machine);
	return (struct tsc_point){ .tsc = anchor.host_tsc + vcpu->tsc_offset,
		.time_ns = anchor.source_ns - clock_offset_ns };
}
