/*
 * Direct execution: when, and what a runner's stops mean (direct.h).
 *
 * Whatever a runner stops at, the interpreter then executes the instruction there and finds what
 * the guest is to get; only page faults that the guest's page tables already answer are answered by
 * mapping. Owned by the vCPU's thread, which is the tracer of its runners.
 */
#include "engine/soft/direct.h"

#include "base/log.h"
#include "base/trace.h"
#include "engine/soft/debug.h"
#include "engine/soft/direct_map.h"
#include "engine/soft/direct_place.h"
#include "engine/soft/direct_registers.h"
#include "engine/soft/interpret.h"
#include "engine/soft/segment.h"
#include "engine/soft/tsc.h"
#include "engine/soft/vector.h"

#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#define MAX_SPACES 4

/* A host that does not let a runner start is asked no more after so many times. */
#define MAX_FAILURES 3

/* Ticks of the guest in a row that find the same address space in user mode make it hot, unless the
 * kernel was busy meanwhile: so many exceptions and TLB flushes a millisecond. */
#define HOT_SAMPLES 2
#define SAMPLE_NS   NS_PER_MS
#define BUSY_PER_MS 10
/* A hot one that has not run for so long has to show it again. */
#define STALE_NS (30 * NS_PER_MS)
/* An address space whose last STOPS_JUDGED runs took less than WORTH_STOPS times what their stops
 * cost is left to the translator for a while; STOPS_HOPELESS of them show it if they took next to
 * nothing. A stop costs from 10 us to more than 50, by host, and cold caches and TLBs after it. */
#define STOPS_JUDGED   16
#define STOPS_HOPELESS 4
#define HOPELESS_PART  4
#define WORTH_STOPS    3
#define MIN_WORTH_NS   (15 * NS_PER_US)
/* After a run that was not worth its stop, and after sleep, the kernel is often called again soon:
 * what follows is translated for so long. */
#define AGAIN_NS       (200 * NS_PER_US)
#define FIRST_PAUSE_NS (10 * NS_PER_MS)
#define LAST_PAUSE_NS  NS_PER_S
/* What has not run natively for so long is not kept on one CPU. */
#define AWAY_NS (8 * NS_PER_MS)

/* An address space that runs natively, or did. */
struct direct_space {
	gpa_t root; /* CR3 without flags; UINT64_MAX: none */
	struct direct_runner runner;
	struct direct_map map;
	/* Host TSC. */
	uint64_t pause_until, pause, used_at;
	ns_t judged_ns; /* the runner's processor time at the last judgement */
	unsigned stops; /* since */
	gva_t fault_rip, fault_address;
	bool fault_repeats;
};

struct direct {
	struct direct_commands commands;
	pthread_t owner;
	bool owned;
	bool forced;
	unsigned failures;                 /* to start a runner */
	struct direct_stop_cost stop_cost; /* the least that was measured */
	struct direct_place place;
	struct direct_space *active;
	struct direct_space *holder; /* while vcpu->vector_away: whose runner has them */
	struct direct_space spaces[MAX_SPACES];
	gpa_t sampled;
	unsigned samples;
	uint64_t sampled_at, sampled_activity;
};

static gpa_t root_of(const struct vcpu *vcpu)
{
	return vcpu->cr3 & BITS(51, 12);
}

/* A runner that died took the guest's registers with it. */
static void lose(struct vcpu *vcpu, struct direct_space *space)
{
	log_error("the process that ran the guest's code on vCPU %u was killed; use --soft-mode "
		  "translate where processes are",
		vcpu->index);
	direct_place_release(&vcpu->direct->place, vcpu);
	direct_runner_stop(&space->runner);
	vcpu->shutdown = true;
}

static bool has_vectors(const struct vcpu *vcpu, const struct direct_space *space)
{
	return vcpu->vector_away && vcpu->direct->holder == space;
}

/* Kernels leave them alone most of the time: they stay in the runner until somebody asks. */
static bool put_vectors(struct vcpu *vcpu, struct direct_space *space)
{
	struct cpu_xsave image;

	if (has_vectors(vcpu, space))
		return true;
	vector_get(vcpu, &image);
	if (direct_runner_put_vectors(&space->runner, &image, sizeof(image)) < 0)
		return false;
	vcpu->direct->holder = space;
	vcpu->vector_away = true;
	return true;
}

void direct_take_vectors(struct vcpu *vcpu)
{
	struct direct_space *space = vcpu->direct->holder;
	struct cpu_xsave image;

	vcpu->vector_away = false;
	if (direct_runner_get_vectors(&space->runner, &image, sizeof(image)) == 0)
		vector_set(vcpu, &image);
	else
		lose(vcpu, space);
}

static void stop_runner(struct vcpu *vcpu, struct direct_space *space)
{
	if (has_vectors(vcpu, space))
		direct_take_vectors(vcpu);
	direct_place_release(&vcpu->direct->place, vcpu);
	direct_runner_stop(&space->runner);
}

/* Its runner is of no use any more. */
static void forsake(struct vcpu *vcpu, struct direct_space *space)
{
	stop_runner(vcpu, space);
	space->root = UINT64_MAX;
	vcpu->direct->active = NULL;
}

/* Is the host's counter the guest's, for user code too? */
static bool reads_host_tsc(const struct vcpu *vcpu)
{
	return vcpu->tsc_offset == 0 && !(vcpu->cr4 & CR4_TSD) && !vcpu->lockstep;
}

/* Once and until it stops. */
static enum direct_stop run_once(
	struct vcpu *vcpu, struct direct_space *space, struct direct_signal *why)
{
	struct direct *direct = vcpu->direct;
	enum direct_stop stop = DIRECT_STOP_KICK;
	uint64_t start = host_tsc();

	direct_place_together(&direct->place, vcpu, space->runner.pid, start);
	direct_put_registers(vcpu, &space->runner.regs);
	if (!put_vectors(vcpu, space))
		return DIRECT_STOP_ABSENT;
	/* Whoever wants the vCPU's attention sets what is looked at here, then looks at this. */
	atomic_store(&vcpu->direct_running, space->runner.pid);
	if (atomic_load(&vcpu->requests) == 0 &&
		atomic_load(&vcpu->engine->direct_revokes) == space->map.revokes_seen) {
		/* Its writes are not this thread's: who waits for those need not wait. */
		atomic_store(&vcpu->quiescent, true);
		stop = direct_runner_run(&space->runner, why);
		atomic_store(&vcpu->quiescent, false);
		if (stop != DIRECT_STOP_DEAD)
			direct_take_registers(vcpu, &space->runner.regs);
		space->stops++;
	}
	atomic_store(&vcpu->direct_running, 0);
	atomic_fetch_add(&vcpu->direct_stops, 1);
	space->used_at = host_tsc();
	vcpu->direct_counters.run_tsc += space->used_at - start;
	vcpu->direct_counters.entries++;
	return stop;
}

/* A page fault of the host's. */
static void take_fault(struct vcpu *vcpu, struct direct_space *space, gva_t address)
{
	bool again = space->fault_repeats && space->fault_rip == vcpu->rip &&
		     space->fault_address == address;

	space->fault_rip = vcpu->rip;
	space->fault_address = address;
	space->fault_repeats = true;
	/* Code that is not mapped is looked at before the next run. */
	if (address == vcpu->rip && !again)
		return;
	if (!again &&
		direct_map_fill(&space->map, address, address - vcpu->rip < INSN_MAX_LENGTH)) {
		vcpu->direct_counters.faults_mapped++;
		return;
	}
	vcpu->direct_counters.faults_interpreted++;
	interpret_one(vcpu);
	direct_map_fill(&space->map, address, false);
}

static uint8_t byte_before(struct vcpu *vcpu, gva_t rip, unsigned distance)
{
	gpa_t physical;
	uint8_t byte = 0;

	if (mmu_translate(vcpu, rip - distance, &physical))
		guest_memory_read(&vcpu->machine->memory, physical, &byte, 1);
	return byte;
}

/* By its last byte: INT 3 is CD 03; what begins with 0Fh or a prefix is what a copy has a trap at.
 */
static unsigned trap_length(uint8_t last)
{
	return last == 0x03 ? 2 : 1;
}

/* INT3, INT 3, a trap of ours, INT1, or the end of a step that the guest asked for. */
static void take_trap(struct vcpu *vcpu, int code)
{
	if (code == TRAP_TRACE || vcpu->flags_system & RFLAGS_TF) {
		vcpu->debug_pending |= DR6_BS;
		return;
	}
	/* Some hypervisors under the host show INT1 as a fault, with RIP before it. */
	if (code != SI_KERNEL)
		vcpu->rip -= byte_before(vcpu, vcpu->rip, 1) == 0xf1;
	else
		vcpu->rip -= trap_length(byte_before(vcpu, vcpu->rip, 1));
	interpret_one(vcpu);
}

static void take_signal(
	struct vcpu *vcpu, struct direct_space *space, const struct direct_signal *why)
{
	if (why->number == SIGSEGV && why->code != SI_KERNEL) {
		take_fault(vcpu, space, why->address);
		return;
	}
	space->fault_repeats = false;
	vcpu->direct_counters.exceptions++;
	if (why->number == SIGTRAP)
		take_trap(vcpu, why->code);
	else
		interpret_one(vcpu);
}

/* What one run has to take. */
static ns_t worth_of_stop(const struct direct *direct)
{
	ns_t worth = WORTH_STOPS * (direct->stop_cost.runner_ns + direct->stop_cost.thread_ns);

	return worth > MIN_WORTH_NS ? worth : MIN_WORTH_NS;
}

/* Short runs do not pay: leaves the address space to the translator for a time. */
static void judge(struct vcpu *vcpu, struct direct_space *space)
{
	struct direct *direct = vcpu->direct;
	const struct direct_stop_cost *cost = &direct->stop_cost;
	ns_t now, used, native, worth;

	if ((space->stops != STOPS_HOPELESS && space->stops < STOPS_JUDGED) || direct->forced)
		return;
	now = direct_runner_time(space->runner.pid);
	used = now - space->judged_ns;
	native = used > space->stops * cost->runner_ns ? used - space->stops * cost->runner_ns : 0;
	worth = space->stops * worth_of_stop(direct);
	if (space->stops < STOPS_JUDGED && native >= worth / HOPELESS_PART)
		return;
	space->judged_ns = now;
	space->stops = 0;
	if (native >= worth) {
		space->pause = tsc_of_ns(vcpu, FIRST_PAUSE_NS);
		return;
	}
	space->pause_until = host_tsc() + space->pause;
	if (space->pause < tsc_of_ns(vcpu, LAST_PAUSE_NS))
		space->pause *= 2;
	direct_place_release(&direct->place, vcpu);
	direct->active = NULL;
	vcpu->direct_counters.pauses++;
}

static void wait_a_while(struct vcpu *vcpu)
{
	vcpu->direct_again_tsc = vcpu_tsc(vcpu) + tsc_of_ns(vcpu, AGAIN_NS);
}

/* Called the kernel early: the start and the end of a thread, input and output. */
static void hold_back(struct vcpu *vcpu, enum direct_stop stop, uint64_t ran_tsc)
{
	struct direct *direct = vcpu->direct;

	if (stop == DIRECT_STOP_SYSTEM_CALL && !direct->forced &&
		ran_tsc < tsc_of_ns(vcpu, worth_of_stop(direct)))
		wait_a_while(vcpu);
}

static bool is_held_back(struct vcpu *vcpu)
{
	uint64_t left = vcpu->direct_again_tsc - vcpu_tsc(vcpu);

	if (vcpu->direct_again_tsc == 0)
		return false;
	/* The guest may have set its TSC meanwhile. */
	if (left != 0 && left <= tsc_of_ns(vcpu, AGAIN_NS))
		return true;
	vcpu->direct_again_tsc = 0;
	return false;
}

static void take_stop(struct vcpu *vcpu, struct direct_space *space, enum direct_stop stop,
	const struct direct_signal *why)
{
	struct direct_counters *counters = &vcpu->direct_counters;

	switch (stop) {
	case DIRECT_STOP_ABSENT: forsake(vcpu, space); return;
	case DIRECT_STOP_DEAD: lose(vcpu, space); return;
	case DIRECT_STOP_KICK:
		counters->kicks++;
		direct_take_selectors(vcpu, &space->runner.regs);
		return;
	case DIRECT_STOP_SYSTEM_CALL:
		counters->system_calls++;
		vcpu->rip -= 2;
		space->fault_repeats = false;
		direct_take_selectors(vcpu, &space->runner.regs);
		interpret_one(vcpu);
		return;
	case DIRECT_STOP_SIGNAL:
		direct_take_selectors(vcpu, &space->runner.regs);
		take_signal(vcpu, space, why);
		return;
	}
}

/* May code at RIP run natively? Sets A of its page, or raises what fetching does. */
static bool executes(struct vcpu *vcpu, struct direct_space *space)
{
	unsigned available;
	gpa_t physical;

	if (direct_map_executes(&space->map, vcpu->rip))
		return true;
	mmu_fetch(vcpu, vcpu->rip, &physical, &available);
	return direct_map_executes(&space->map, vcpu->rip);
}

/* The program that was hot has ended, and another has its CR3: that has to show what it is. */
static void cool(struct vcpu *vcpu, struct direct_space *space)
{
	space->root = UINT64_MAX;
	vcpu->direct->active = NULL;
	vcpu->direct->samples = 0;
}

static void note_run(const struct vcpu *vcpu, gva_t from, uint64_t tsc, enum direct_stop stop)
{
	static const char *const names[] = {
		[DIRECT_STOP_KICK] = "request",
		[DIRECT_STOP_SYSTEM_CALL] = "system-call",
		[DIRECT_STOP_SIGNAL] = "exception",
		[DIRECT_STOP_DEAD] = "killed",
	};

	trace(native_run, from, vcpu->rip, mul_div(tsc, NS_PER_S, vcpu->cpu_model->tsc_hz),
		trace_text(names[stop]));
}

/* True if anything was run. */
static bool run(struct vcpu *vcpu, struct direct_space *space)
{
	bool ran = false;

	while (!vcpu->shutdown && vcpu->direct->active == space && !vcpu->debug_pending &&
		atomic_load(&vcpu->requests) == 0 && direct_suits(vcpu)) {
		struct direct_signal why = { 0 };
		enum direct_stop stop;
		uint64_t start, from;

		if (!direct_map_sync(&space->map, reads_host_tsc(vcpu)))
			break;
		if (space->map.replaced) {
			cool(vcpu, space);
			break;
		}
		if (!executes(vcpu, space)) {
			vcpu->direct_counters.unfit++;
			break;
		}
		vcpu->shadow_active = false;
		start = host_tsc();
		from = vcpu->rip;
		stop = run_once(vcpu, space, &why);
		if (stop != DIRECT_STOP_ABSENT)
			note_run(vcpu, from, space->used_at - start, stop);
		ran = true;
		judge(vcpu, space);
		hold_back(vcpu, stop, space->used_at - start);
		take_stop(vcpu, space, stop, &why);
	}
	return ran;
}

static struct direct_space *find(struct direct *direct, gpa_t root)
{
	for (unsigned i = 0; i < MAX_SPACES; i++)
		if (direct->spaces[i].root == root)
			return &direct->spaces[i];
	return NULL;
}

static struct direct_space *oldest(struct direct *direct)
{
	struct direct_space *found = &direct->spaces[0];

	for (unsigned i = 1; i < MAX_SPACES; i++)
		if (direct->spaces[i].used_at < found->used_at)
			found = &direct->spaces[i];
	return found;
}

/* Linux gives programs the ends of the user half; the stub goes where nothing is in between. */
static gva_t free_place(struct vcpu *vcpu, gpa_t root)
{
	uint64_t random = host_tsc() * UINT64_C(0x9e3779b97f4a7c15);

	for (unsigned i = 0; i < 16; i++) {
		uint64_t slot = 16 + (random >> 40) % 128;
		gva_t at = slot << 39 | (random & BITS(37, 16));

		if (direct_map_is_free(vcpu, root, at))
			return at;
		random *= UINT64_C(0x9e3779b97f4a7c15);
	}
	return 0;
}

/* Of what is measured on a busy host, the least is nearest to the truth. */
static int learn_stop_cost(struct direct *direct, struct direct_space *space)
{
	struct direct_stop_cost cost, *least = &direct->stop_cost;
	int ret = direct_runner_measure(&space->runner, &cost);

	if (ret < 0)
		return ret;
	if (least->runner_ns == 0 || cost.runner_ns < least->runner_ns)
		least->runner_ns = cost.runner_ns;
	if (least->thread_ns == 0 || cost.thread_ns < least->thread_ns)
		least->thread_ns = cost.thread_ns;
	return 0;
}

static bool start_runner(struct vcpu *vcpu, struct direct_space *space, gpa_t root)
{
	struct direct *direct = vcpu->direct;
	int fd = vcpu->machine->memory.regions[0].fd;
	gva_t stub = free_place(vcpu, root);

	direct_map_finish(&space->map);
	direct_map_init(&space->map, vcpu, &space->runner);
	if (!stub)
		return false;
	if (direct_runner_start(&space->runner, &direct->commands, fd, stub) == 0 &&
		learn_stop_cost(direct, space) == 0)
		return true;
	direct_runner_stop(&space->runner);
	direct->failures++;
	return false;
}

/* Gives the least recently used runner, or a new one, to an address space. */
static struct direct_space *claim(struct vcpu *vcpu, gpa_t root)
{
	struct direct *direct = vcpu->direct;
	struct direct_space *space = oldest(direct);

	if (has_vectors(vcpu, space))
		direct_take_vectors(vcpu);
	space->root = UINT64_MAX;
	space->used_at = host_tsc();
	space->pause = tsc_of_ns(vcpu, FIRST_PAUSE_NS);
	space->pause_until = 0;
	space->stops = 0;
	space->fault_repeats = false;
	if (space->runner.pid > 0 && !direct_map_is_free(vcpu, root, space->runner.stub))
		stop_runner(vcpu, space);
	if (space->runner.pid <= 0 && !start_runner(vcpu, space, root))
		return NULL;
	space->judged_ns = direct_runner_time(space->runner.pid);
	direct_map_reset(&space->map, root);
	space->root = root;
	vcpu->direct_counters.spaces++;
	return space;
}

/* The runners' tracer is a thread: another one starts anew. */
static void own(struct vcpu *vcpu)
{
	struct direct *direct = vcpu->direct;

	if (direct->owned && pthread_equal(direct->owner, pthread_self()))
		return;
	for (unsigned i = 0; i < MAX_SPACES; i++) {
		direct_runner_stop(&direct->spaces[i].runner);
		direct->spaces[i].root = UINT64_MAX;
	}
	direct->active = NULL;
	vcpu->vector_away = false;
	direct->owner = pthread_self();
	direct->owned = true;
	direct_place_init(&direct->place);
}

static bool activate(struct vcpu *vcpu, gpa_t root)
{
	struct direct *direct = vcpu->direct;
	struct direct_space *space;

	if (direct->failures >= MAX_FAILURES)
		return false;
	vector_leave(vcpu);
	own(vcpu);
	space = find(direct, root);
	if (!space)
		space = claim(vcpu, root);
	if (!space || space->pause_until > host_tsc())
		return false;
	direct->active = space;
	space->used_at = host_tsc();
	/* Translated user code is left where it enters another page, and direct_enter asked. */
	translate_forget_mappings(vcpu, true);
	return true;
}

bool direct_wants(const struct vcpu *vcpu)
{
	const struct direct_space *space;
	uint64_t now = host_tsc();

	if (!vcpu->direct || !vcpu->direct->owned)
		return false;
	space = find(vcpu->direct, root_of(vcpu));
	return space && space->pause_until <= now &&
	       now - space->used_at <= tsc_of_ns(vcpu, STALE_NS);
}

bool direct_enter(struct vcpu *vcpu)
{
	struct direct *direct = vcpu->direct;

	if (!direct || vcpu->mode.cpl != 3 || !direct->owned)
		return false;
	if (!direct->active || direct->active->root != root_of(vcpu)) {
		if (!direct_wants(vcpu))
			return false;
		direct->active = find(direct, root_of(vcpu));
	}
	if (is_held_back(vcpu) || !direct_suits(vcpu) ||
		!pthread_equal(direct->owner, pthread_self()))
		return false;
	if (direct_map_is_unfit(&direct->active->map, vcpu->rip)) {
		vcpu->direct_counters.unfit++;
		return false;
	}
	vector_leave(vcpu);
	translate_arm_timer(vcpu);
	/* What was translated meanwhile would go on so when the kernel comes back to it. */
	translate_forget_mappings(vcpu, true);
	return run(vcpu, direct->active);
}

/* Has the kernel left the address space alone since the last sample? */
static bool is_calm(struct vcpu *vcpu, uint64_t now)
{
	struct direct *direct = vcpu->direct;
	uint64_t activity = vcpu->direct_flushes + vcpu->counters.exceptions;
	uint64_t events = activity - direct->sampled_activity;
	uint64_t passed = now - direct->sampled_at;

	direct->sampled_activity = activity;
	direct->sampled_at = now;
	return events <= mul_div(passed, BUSY_PER_MS, tsc_of_ns(vcpu, NS_PER_MS));
}

void direct_sample(struct vcpu *vcpu)
{
	struct direct *direct = vcpu->direct;
	gpa_t root = root_of(vcpu);
	uint64_t now = host_tsc();

	if (!direct || now - direct->sampled_at < tsc_of_ns(vcpu, SAMPLE_NS))
		return;
	if (atomic_load(&vcpu->direct_cpu) &&
		(!direct->active || now - direct->active->used_at > tsc_of_ns(vcpu, AWAY_NS)))
		direct_rest(vcpu);
	if (!is_calm(vcpu, now))
		direct->samples = 0;
	if (vcpu->mode.cpl != 3 ||
		(direct->active && direct->active->root == root &&
			now - direct->active->used_at < tsc_of_ns(vcpu, STALE_NS)))
		return;
	direct->samples = root == direct->sampled ? direct->samples + 1 : 1;
	direct->sampled = root;
	if (direct->samples > HOT_SAMPLES && direct_suits(vcpu))
		activate(vcpu, root);
}

void direct_woke(struct vcpu *vcpu)
{
	if (vcpu->direct && vcpu->direct->owned && !vcpu->direct->forced)
		wait_a_while(vcpu);
}

void direct_rest(struct vcpu *vcpu)
{
	/* For other threads to see, and so that a runner that stands still may be killed. */
	if (vcpu->vector_away) {
		vector_leave(vcpu);
		direct_take_vectors(vcpu);
	}
	if (atomic_load(&vcpu->direct_cpu) == 0)
		return;
	vector_leave(vcpu);
	direct_place_release(&vcpu->direct->place, vcpu);
}

bool direct_force(struct vcpu *vcpu)
{
	if (!vcpu->direct)
		return false;
	vcpu->direct->forced = true;
	return activate(vcpu, root_of(vcpu));
}

bool direct_make_hot(struct vcpu *vcpu)
{
	if (!vcpu->direct)
		return false;
	vcpu->direct->forced = false;
	return activate(vcpu, root_of(vcpu));
}

void direct_revoke(struct soft_engine *engine)
{
	atomic_fetch_add(&engine->direct_revokes, 1);
	for (unsigned i = 0; i < engine->nr_vcpus; i++) {
		struct vcpu *vcpu = &engine->vcpus[i];
		uint64_t stops = atomic_load(&vcpu->direct_stops);

		direct_kick(vcpu);
		while (atomic_load(&vcpu->direct_running) > 0 &&
			atomic_load(&vcpu->direct_stops) == stops)
			sched_yield();
	}
}

void direct_create(struct soft_engine *engine)
{
	struct sigaction action;

	/* A runner's stop is no business of any thread but its tracer. */
	if (sigaction(SIGCHLD, NULL, &action) == 0 && action.sa_handler == SIG_DFL) {
		action.sa_flags |= SA_NOCLDSTOP;
		sigaction(SIGCHLD, &action, NULL);
	}
	for (unsigned i = 0; i < engine->nr_vcpus; i++) {
		struct direct *direct = calloc(1, sizeof(*direct));

		if (!direct)
			return;
		direct->commands.fd = -1;
		if (engine->base.machine->memory.regions[0].fd < 0 ||
			direct_commands_create(&direct->commands) < 0) {
			free(direct);
			return;
		}
		for (unsigned n = 0; n < MAX_SPACES; n++)
			direct->spaces[n].root = UINT64_MAX;
		engine->vcpus[i].direct = direct;
	}
}

void direct_destroy(struct soft_engine *engine)
{
	for (unsigned i = 0; i < engine->nr_vcpus; i++) {
		struct direct *direct = engine->vcpus[i].direct;

		if (!direct)
			continue;
		for (unsigned n = 0; n < MAX_SPACES; n++) {
			direct_runner_stop(&direct->spaces[n].runner);
			direct_map_finish(&direct->spaces[n].map);
		}
		direct_commands_destroy(&direct->commands);
		free(direct);
		engine->vcpus[i].direct = NULL;
	}
}
